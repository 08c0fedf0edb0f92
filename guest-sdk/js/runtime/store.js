// `data_store` and `$.service.db` within one run.
//
// Keeping what is stored between runs is the workflow runner's part; until the contract
// has it, what is put in is there for this run, and the run's log says so.

import { logLine } from "./console.js";

export function dataStore(prop, name) {
  const entries = new Map();
  let told = false;
  const tell = () => {
    if (told) return;
    told = true;
    logLine("warn", `this.${prop} keeps what is stored until this run ends: \`keyhole run\` has no store for steps`);
  };
  const copy = (value) => (value === undefined ? undefined : structuredClone(value));
  const store = {
    $name: name ?? prop,
    get: (key, otherwise) => {
      const value = copy(entries.get(String(key)));
      return value === undefined ? otherwise : value;
    },
    set: (key, value, _options) => {
      tell();
      entries.set(String(key), copy(value));
    },
    has: (key) => entries.has(String(key)),
    delete: (key) => {
      entries.delete(String(key));
    },
    clear: () => entries.clear(),
    keys: () => [...entries.keys()],
    entries: () => [...entries].map(([key, value]) => [key, copy(value)]),
    size: () => entries.size,
    async *[Symbol.asyncIterator]() {
      yield* store.entries();
    },
  };
  return store;
}
