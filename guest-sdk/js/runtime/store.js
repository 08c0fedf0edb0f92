// `data_store` and `$.service.db`: the host's data stores, under the names of the component API.

import { open } from "keyhole:step/data@0.1.0";

import { StepError } from "./failure.js";
import { toJson } from "./json.js";
import { inRun } from "./state.js";

const PAGE = 100;

function told(call) {
  try {
    return call();
  } catch (thrown) {
    const { tag, val } = thrown?.payload ?? thrown ?? {};
    if (tag === undefined) throw thrown;
    throw new StepError(val ?? tag, tag === "not-linked" ? "input" : "step", tag === "unavailable");
  }
}

/** Seconds of the component API as the contract's milliseconds. */
function milliseconds(ttl) {
  if (ttl === undefined || ttl === null) return undefined;
  const seconds = Number(ttl);
  if (!(seconds > 0)) throw new StepError(`ttl takes a number of seconds, not ${String(ttl)}`, "step");
  return BigInt(Math.max(1, Math.round(seconds * 1000)));
}

/** The contract's condition: `revision` of an entry, or null for "only if there is none". */
function expectation({ revision } = {}) {
  if (revision === undefined) return { tag: "anything" };
  return revision === null ? { tag: "absent" } : { tag: "revision", val: BigInt(revision) };
}

const described = ({ key, value, revision, expires }) => ({
  key,
  value: JSON.parse(value),
  revision: Number(revision),
  ...(expires === undefined ? {} : { expires: new Date(Number(expires)) }),
});

/** `store` as the component API has data stores: each method gives a promise. */
function promising(store) {
  const wrapped = Object.entries(store).map(([name, value]) => [name, typeof value === "function" ? async (...values) => value(...values) : value]);
  return Object.assign(Object.fromEntries(wrapped), { [Symbol.asyncIterator]: store[Symbol.asyncIterator] });
}

/** What a prop of type `data_store` is; `name` is the store's. */
export const dataStore = (prop, name) => promising(database(prop, name));

/** What a prop of type `$.service.db` is: the same at once, without promises. */
export function database(prop, name) {
  let handle;
  const host = () => {
    if (!inRun()) throw new StepError(`this.${prop} is there in run and in options, not while the step is built`, "step");
    return (handle ??= told(() => open(prop)));
  };
  function* pages(prefix) {
    let after;
    for (;;) {
      const page = told(() => host().entries(prefix, after, PAGE));
      if (page.length === 0) return;
      after = page.at(-1).key;
      yield* page.map(described);
    }
  }
  const store = {
    $name: name,
    get(key, otherwise) {
      const found = told(() => host().get(String(key)));
      return found === undefined ? otherwise : JSON.parse(found.value);
    },
    /** The value with its `revision`, and when it `expires`. */
    entry(key) {
      const found = told(() => host().get(String(key)));
      return found === undefined ? undefined : described(found);
    },
    /** With `revision`: only if the entry still has it, or with null if there is none. Gives the new one, or null. */
    set(key, value, options = {}) {
      if (value === undefined) {
        store.delete(key);
        return null;
      }
      const json = toJson(value, `the value for ${JSON.stringify(String(key))}`);
      const put = told(() => host().set(String(key), json, milliseconds(options.ttl), expectation(options)));
      return put === undefined ? null : Number(put);
    },
    /** Has the entry expire in so many seconds, or never for null. Whether there is one. */
    setTtl(key, ttl) {
      for (;;) {
        const found = told(() => host().get(String(key)));
        if (found === undefined) return false;
        const put = told(() => host().set(String(key), found.value, milliseconds(ttl), expectation(found)));
        if (put !== undefined) return true;
      }
    },
    has: (key) => told(() => host().get(String(key))) !== undefined,
    delete: (key, options) => told(() => host().delete(String(key), expectation(options))),
    increment(key, by = 1, { ttl } = {}) {
      return Number(told(() => host().increment(String(key), BigInt(by), milliseconds(ttl))));
    },
    clear: () => told(() => host().clear()),
    keys: (prefix = "") => [...pages(prefix)].map(({ key }) => key),
    entries: (prefix = "") => [...pages(prefix)].map(({ key, value }) => [key, value]),
    size: () => [...pages("")].length,
    async *[Symbol.asyncIterator]() {
      for (const { key, value } of pages("")) yield [key, value];
    },
  };
  return store;
}
