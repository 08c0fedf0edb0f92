import { axios } from "@pipedream/platform";

export default {
  type: "app",
  app: "token_desk",
  methods: {
    getHeaders() {
      return {
        authorization: `Token ${this.$auth.api_token}`,
      };
    },
    async listTickets($ = this) {
      return axios($, {
        url: "https://api.token-desk.example/tickets",
        headers: this.getHeaders(),
      });
    },
  },
};
