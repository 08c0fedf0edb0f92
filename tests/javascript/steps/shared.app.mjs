export default {
  type: "app",
  app: "bearer_crm",
  optional: true,
  scopes: ["contacts.read"],
  propDefinitions: {
    list: {
      type: "string",
      label: "List",
      async options({ page, prefix }) {
        return [`${prefix}-${page}-${this.name()}`];
      },
    },
  },
  methods: {
    name: () => "shared",
    greet() {
      return `hello from ${this.name()}`;
    },
  },
};
