import { axios } from "@pipedream/platform";
import common from "./common/constants.mjs";

export default {
  type: "app",
  app: "zoho_books",
  methods: {
    async makeRequest(args = {}) {
      const {
        $ = this, path, headers, ...otherArgs
      } = args;
      return axios($, {
        ...otherArgs,
        url: `${common.BASE_URL}${path}`,
        headers: {
          ...headers,
          Authorization: `Zoho-oauthtoken ${this.$auth.oauth_access_token}`,
        },
      });
    },
  },
};
