import { axios } from "@pipedream/platform";

export default {
  type: "app",
  app: "query_maps",
  methods: {
    geocode({
      $ = this, params,
    }) {
      return axios($, {
        url: "https://api.query-maps.example/geocode/json",
        params: {
          ...params,
          key: this.$auth.api_key,
        },
      });
    },
  },
};
