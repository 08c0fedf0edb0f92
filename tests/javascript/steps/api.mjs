// The component API itself.

import shared from "./shared.app.mjs";

export default {
  key: "Api_Step.v2",
  name: "The API",
  version: "1.2.3",
  props: {
    shared: { ...shared, reloadProps: true },
    http: { type: "$.interface.http", customResponse: true },
    db: "$.service.db",
    store: { type: "data_store", default: "of-the-step" },
    note: { type: "alert", alertType: "info", content: "Read this" },
    text: { type: "string", label: "Text", description: "Some text", default: "hello" },
    count: { type: "integer", default: "3", min: 1 },
    colour: { type: "string", options: ["red", { label: "Blue", value: "blue" }], default: "red" },
    tags: { type: "string[]", optional: true },
    secret: { type: "string", secret: true, optional: true },
    anything: { type: "any", optional: true },
    list: { propDefinition: [shared, "list", (configured) => ({ prefix: configured.text })], optional: true },
    ratio: { type: "number", optional: true },
    settings: { type: "object", optional: true },
    counts: { type: "integer[]", optional: true },
    things: { type: "object[]", optional: true },
    flags: { type: "boolean[]", optional: true },
    numbers: { type: "number[]", optional: true },
    chosen: { type: "string", optional: true, withLabel: true, options: [{ label: "Tea", value: "tea" }] },
    unasked: { type: "string", optional: true, options: () => { throw new Error("asked for options when the added props were wanted"); } },
    more: { type: "boolean", optional: true, reloadProps: true },
  },
  methods: {
    shout(text) {
      return `${text.toUpperCase()}${this.mark()}`;
    },
    mark: () => "!",
    fail(kind) {
      if (kind === "configuration") throw Object.assign(new Error("the channel is missing"), { name: "ConfigurationError" });
      if (kind === "upstream") throw Object.assign(new Error("busy"), { response: { status: 503 } });
      if (kind === "text") throw "just text";
      throw new TypeError("thrown here");
    },
  },
  async additionalProps(existing) {
    existing.note.hidden = !this.more;
    if (!this.more) return {};
    return {
      extra: { type: "string", label: `After ${Object.keys(existing).length}, ${existing.list.label}`, optional: true },
      again: { propDefinition: [this.shared, "list", () => ({ prefix: "again" })], optional: true },
      "Due Date.1": { type: "string", optional: true },
      "8f3a": { type: "integer", default: 7 },
      "": { type: "string" },
    };
  },
  async run({ steps, $, event }) {
    console.debug("fine", { a: [1] });
    console.log("%s is %d", "text", 1);
    console.warn("careful");
    console.error(new Error("not thrown"));
    if (event.throw) this.fail(event.throw);
    if (event.exit) $.flow.exit("enough");
    if (event.send) $.send.http({ method: "put", url: event.send, params: { q: 1 }, auth: { username: "u", password: "p" }, data: { a: 1 } });
    await this.store.set("k", { a: 1 }, { ttl: 60 });
    this.db.set("n", (this.db.get("n") ?? 0) + 1);
    const first = await this.store.set("only", 1, { revision: null });
    const counted = await this.store.increment("count", 5);
    $.export("value", { when: new Date(0), big: 10n });
    const circle = { name: "circle", list: [] };
    circle.list.push(circle);
    $.export("circle", circle);
    $.export("$summary", "Done");
    $.flow.delay(1500);
    $.flow.suspend(60000);
    const urls = $.flow.rerun(1000, { page: 2 }, 3);
    const responded = await this.http.respond({ status: 99 }).catch((error) => error.message);
    await $.respond({ status: 201, headers: { "x-a": "b" }, body: { ok: true } });
    return {
      text: this.shout(this.text),
      count: this.count,
      tags: this.tags,
      extra: this.extra,
      added: [this["Due Date.1"], this["8f3a"]],
      greeting: this.shared.greet(),
      store: [await this.store.get("k").then((value) => value), await this.store.get("none", "otherwise"), this.db.get("n")],
      refused: await this.store.set("k", 1, { ttl: -1 }).catch((error) => error.message),
      entries: await Array.fromAsync(this.store),
      expires: (await this.store.entry("k")).expires - Date.now(),
      stored: [first === null, counted, await this.store.has("k"), await this.store.delete("k"), await this.store.has("k"), await this.store.keys(), await this.store.size()],
      typed: [this.ratio, this.settings, this.counts, this.things, this.flags, this.numbers],
      chosen: [this.chosen, this.anything],
      responded,
      urls: Object.keys(urls),
      event: [event.a, steps.trigger.event.a],
      context: [$.context.attempt, typeof $.context.id, $.context.member],
      random: [Math.random(), crypto.randomUUID()],
    };
  },
};
