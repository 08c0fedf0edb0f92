import { axios } from "@pipedream/platform";

export default {
  type: "app",
  app: "basic_pay",
  methods: {
    createCharge(opts = {}) {
      const { $ = this } = opts;
      return axios($, {
        method: "POST",
        url: "https://api.basic-pay.example/charges",
        auth: {
          username: `${this.$auth.account}`,
          password: `${this.$auth.api_key}`,
        },
        headers: {
          "Content-Type": "application/x-www-form-urlencoded",
        },
        data: new URLSearchParams({
          amount: "100",
        }),
      });
    },
  },
};
