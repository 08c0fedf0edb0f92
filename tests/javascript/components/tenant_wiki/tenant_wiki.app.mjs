import { axios } from "@pipedream/platform";

export default {
  type: "app",
  app: "tenant_wiki",
  methods: {
    _baseUrl() {
      return `https://${this.$auth.domain}.tenant-wiki.example/api`;
    },
    search($ = this) {
      return axios($, {
        url: `${this._baseUrl()}/search?q=keys`,
        headers: {
          Authorization: `Bearer ${this.$auth.api_key}`,
        },
      });
    },
  },
};
