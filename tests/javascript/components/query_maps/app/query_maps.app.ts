import { axios } from "@pipedream/platform";
import { defineApp } from "@pipedream/types";

export default defineApp({
  type: "app",
  app: "query_maps",
  propDefinitions: {
    address: {
      type: "string",
      label: "Address",
      description: "Where to look",
    },
  },
  methods: {
    _baseUrl(): string {
      return "https://api.query-maps.example";
    },
    async geocode({
      $ = this, params,
    }: { $: any; params: Record<string, string>; }): Promise<object> {
      return axios($, {
        url: `${this._baseUrl()}/geocode/json`,
        params: {
          ...params,
          key: this.$auth.api_key,
        },
      });
    },
  },
});
