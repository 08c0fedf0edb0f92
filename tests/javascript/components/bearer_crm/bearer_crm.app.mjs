import { axios } from "@pipedream/platform";

export default {
  type: "app",
  app: "bearer_crm",
  propDefinitions: {
    contactId: {
      type: "string",
      label: "Contact ID",
      description: "The contact",
      async options({ page }) {
        const { contacts } = await this.listContacts({
          params: {
            page,
          },
        });
        return contacts.map(({
          id: value, name: label,
        }) => ({
          label,
          value,
        }));
      },
    },
  },
  methods: {
    _baseUrl() {
      return "https://api.bearer-crm.example/v1";
    },
    _headers(headers) {
      return {
        "Authorization": `Bearer ${this.$auth.oauth_access_token}`,
        "Content-Type": "application/json",
        ...headers,
      };
    },
    _makeRequest({
      $ = this, path, headers, ...opts
    }) {
      return axios($, {
        url: `${this._baseUrl()}${path}`,
        headers: this._headers(headers),
        ...opts,
      });
    },
    listContacts(opts = {}) {
      return this._makeRequest({
        path: "/contacts",
        ...opts,
      });
    },
    updateContact({
      contactId, ...opts
    }) {
      return this._makeRequest({
        method: "PATCH",
        path: `/contacts/${contactId}`,
        ...opts,
      });
    },
  },
};
