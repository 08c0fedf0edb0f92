// What the types know of a step; each `@ts-expect-error` is an error that they find.

import { defineComponent, type App, type DataStore } from "@keyhole/sdk";

const crm = {
  type: "app",
  app: "bearer_crm",
  propDefinitions: { list: { type: "string", label: "List" } },
  methods: { greeting: (): string => "hello" },
} satisfies App;

export default defineComponent({
  key: "typed",
  version: "0.0.1",
  props: {
    crm,
    text: { type: "string", label: "Text" },
    maybe: { type: "integer", optional: true, min: 1, max: 9 },
    tags: { type: "string[]" },
    list: { propDefinition: [crm, "list", (configured: any) => ({ prefix: configured.text })] },
    request: { type: "http_request", label: "Request" },
    short: "string",
    store: { type: "data_store" },
    db: { type: "$.service.db" },
    kept: "$.service.db",
    http: { type: "$.interface.http", customResponse: true },
    timer: { type: "$.interface.timer", default: { intervalSeconds: 60 } },
    dir: { type: "dir", accessMode: "read", sync: true },
    note: { type: "alert", alertType: "info", content: "Read this" },
  },
  methods: {
    shout(): string {
      return this.text.toUpperCase();
    },
  },
  async additionalProps(existing) {
    existing.note.hidden = this.text === "";
    return { more: { type: "string" } };
  },
  async run({ steps, $ }) {
    const token: string = this.crm.$auth.oauth_access_token;
    const greeting: string = this.crm.greeting();
    const short: string = this.short;
    const tags: string[] = this.tags;
    const store: DataStore = this.store;
    const size: number = await store.size();
    const there: boolean = await store.setTtl("key", size === 0 ? null : 60);
    const same: number | undefined = this.maybe;
    // @ts-expect-error: it may be left out
    const sure: number = this.maybe;
    // @ts-expect-error: a text is no number
    const number: number = this.text;
    // @ts-expect-error: there is no such prop
    this.none;
    // @ts-expect-error: there is no such function
    $.nothing();
    this.db.set("n", this.kept.get("n"));
    await this.http.respond({ status: 204 });
    $.export("$summary", this.shout());
    const sent: globalThis.Response = await $.send.http({ url: "https://a.example", data: steps.trigger.event });
    if (size > 9) $.flow.exit("enough");
    return [token, greeting, short, tags, there, same, sure, number, this.request.url, sent.status, $.context.id];
  },
});

// @ts-expect-error: there is no such type of prop
defineComponent({ props: { text: { type: "strng" } }, run() {} });
