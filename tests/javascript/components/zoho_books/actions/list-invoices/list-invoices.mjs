import zohoBooks from "../../zoho_books.app.mjs";

export default {
  key: "zoho_books-list-invoices",
  name: "List Invoices",
  version: "0.0.1",
  type: "action",
  props: {
    zohoBooks,
  },
  run({ $ }) {
    return this.zohoBooks.makeRequest({
      $,
      path: "/invoices",
      params: {
        organization_id: 7,
      },
    });
  },
};
