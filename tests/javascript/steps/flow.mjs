// What a step tells the workflow that it is part of. `do` of the event says which of it.

export default {
  key: "flow",
  version: "1.0.0",
  props: {
    http: { type: "$.interface.http", customResponse: true },
    store: { type: "data_store", default: "of-the-flow" },
    mode: { type: "string", options: ["auto", "by hand"], optional: true, reloadProps: true },
    recipient: { type: "string" },
  },
  methods: {
    async respond($) {
      await $.respond({ status: 201, headers: { "x-own": "yes" }, body: { made: true } });
      await $.respond({ status: 500, body: "the first counts" });
    },
    async respond_by_prop() {
      await this.http.respond({ status: 418, headers: { "content-type": "image/x-teapot", "x-many": ["a", "b"] }, body: Buffer.from([0, 255]) });
    },
    delay: ($) => $.flow.delay(1500),
    suspend: ($) => Object.keys($.flow.suspend(60_000)),
    exit($) {
      $.flow.exit("enough");
      return "not there";
    },
    exit_and_throw($) {
      try {
        $.flow.exit("enough");
      } catch (error) {
        throw new Error(`the author's own: ${error.message}`, { cause: error });
      }
    },
    async rerun($, { times, wait, most }) {
      const { runs, context, callback_request } = $.context.run;
      if (runs > times) return { runs, seen: context.seen, called: callback_request?.body ?? null };
      const { resume_url } = $.flow.rerun(wait, { seen: [...(context?.seen ?? []), runs] }, most);
      await this.store.set("resume_url", resume_url);
    },
    async ttl() {
      const { store } = this;
      await store.set("k", { a: 1 });
      const found = [await store.setTtl("k", 60), await store.get("k")];
      const left = (await store.entry("k")).expires - Date.now();
      const forever = [await store.setTtl("k", null), await store.get("k"), (await store.entry("k")).expires === undefined];
      const missing = [await store.setTtl("none", 60), await store.has("none")];
      const refused = await store.setTtl("k", -1).catch((error) => error.message);
      await store.setTtl("k", 0.05);
      while (await store.has("k")) await new Promise((resolve) => setTimeout(resolve, 5));
      return { found, left, forever, missing, refused };
    },
    address() {
      return this.recipient ?? "whoever is there";
    },
    /** How often the props that it adds were asked for. */
    async asked($) {
      await $.respond({ body: { asked: await this.store.get("asked") } });
    },
  },
  async additionalProps(existing) {
    await this.store.increment("asked");
    existing.recipient.hidden = this.mode === "auto";
    return { table: { type: "string", optional: true, reloadProps: true } };
  },
  run({ $, event }) {
    // An HTTP trigger's event has what the caller sent in its body.
    const asked = event.body ?? event;
    return this[asked.do]($, asked);
  },
};
