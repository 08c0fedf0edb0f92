import { axios } from "@pipedream/platform";

export default {
  type: "app",
  app: "odd_places",
  methods: {
    _baseUrl() {
      return "https://api.odd-places.example";
    },
    _botUrl() {
      return `${this._baseUrl()}/bot${this.$auth.api_key}`;
    },
    _makeRequest({
      $ = this, url, path, ...opts
    }) {
      return axios($, {
        method: "POST",
        url: url ?? `${this._baseUrl()}${path}`,
        ...opts,
      });
    },
    search({
      data, ...opts
    }) {
      return this._makeRequest({
        path: "/search",
        data: {
          auth: {
            api_key: this.$auth.api_key,
          },
          ...data,
        },
        ...opts,
      });
    },
    sendSms({
      data, ...opts
    }) {
      return this._makeRequest({
        path: "/sms",
        headers: {
          "Content-Type": "application/x-www-form-urlencoded",
        },
        data: new URLSearchParams({
          ...data,
          api_key: this.$auth.api_key,
        }),
        ...opts,
      });
    },
    upload(file, opts) {
      const data = new FormData();
      data.append("api_key", this.$auth.api_key);
      data.append("file", file, "notes.txt");
      return this._makeRequest({
        path: "/upload",
        data,
        ...opts,
      });
    },
    sendAsUser(opts) {
      return this._makeRequest({
        path: "/user",
        auth: {
          username: this.$auth.api_key,
          password: "",
        },
        ...opts,
      });
    },
    sendAsEncodedUser(opts) {
      return this._makeRequest({
        path: "/encoded-user",
        headers: {
          Authorization: `Basic ${Buffer.from(`${this.$auth.api_key}:`).toString("base64")}`,
        },
        ...opts,
      });
    },
    sendMessage(opts) {
      return this._makeRequest({
        url: `${this._botUrl()}/sendMessage`,
        ...opts,
      });
    },
  },
};
