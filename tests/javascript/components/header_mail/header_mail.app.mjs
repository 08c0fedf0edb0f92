import axios from "axios";

export default {
  type: "app",
  app: "header_mail",
  methods: {
    async request(config) {
      const { data } = await axios.request({
        baseURL: "https://api.header-mail.example",
        headers: {
          "X-Api-Key": this.$auth.api_key,
        },
        ...config,
      });
      return data;
    },
  },
};
