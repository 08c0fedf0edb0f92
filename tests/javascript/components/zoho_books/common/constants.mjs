const BASE_URL = "https://api.zoho-books.example/books/v3";

export default {
  BASE_URL,
};
