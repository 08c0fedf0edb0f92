// Options that need what is filled in elsewhere: a data store, and props that can't be added for every value.

export default {
  name: "choices",
  props: {
    store: { type: "data_store" },
    key: {
      type: "string",
      optional: true,
      reloadProps: true,
      async options() {
        return [...(await this.store.keys()), "new"];
      },
    },
  },
  async additionalProps() {
    if (this.key === "odd") throw new Error("no props for this one");
    return this.key === undefined ? {} : { value: { type: "string", default: `of ${this.key}, ${await this.store.size()}` } };
  },
  async run() {
    await this.store.set(this.key, this.value);
    return this.value;
  },
};
