// What the engine lacks of the language, because it was built without threads and without
// Unicode's tables. Evaluated before everything else.

import { inRun } from "./state.js";
import { installUnicode } from "./unicode.js";

// Before any package makes an expression.
installUnicode();

// Libraries look through it; without shared memory nothing can be done with it.
globalThis.Atomics ??= {};

if (String.prototype.normalize === undefined) {
  Object.defineProperty(String.prototype, "normalize", {
    writable: true,
    configurable: true,
    value: function normalize(form = "NFC") {
      // Its tables take 4 MB: they are read when somebody asks.
      const to = require("unorm")[String(form).toLowerCase()];
      if (to === undefined) throw new RangeError(`The normalization form should be one of NFC, NFD, NFKC, NFKD`);
      return to(String(this));
    },
  });
}

// The engine's clock of the page has no origin while the component is built, and ends the
// build when it is asked.
const ownNow = performance.now.bind(performance);
Object.defineProperty(performance, "now", { writable: true, configurable: true, value: () => (inRun() ? ownNow() : 0) });
const { get: ownOrigin } = Object.getOwnPropertyDescriptor(Performance.prototype, "timeOrigin");
Object.defineProperty(performance, "timeOrigin", { configurable: true, get: () => (inRun() ? ownOrigin.call(performance) : 0) });

// By these libraries tell what they were given.
for (const name of ["AbortController", "AbortSignal", "Blob", "File", "FormData", "Headers", "ReadableStream", "Request", "Response", "TransformStream", "URL", "URLSearchParams", "WritableStream"]) {
  const { prototype } = globalThis[name] ?? {};
  if (prototype !== undefined && !Object.hasOwn(prototype, Symbol.toStringTag)) {
    Object.defineProperty(prototype, Symbol.toStringTag, { value: name, configurable: true });
  }
}

if (ReadableStream.prototype[Symbol.asyncIterator] === undefined) {
  const values = function values({ preventCancel = false } = {}) {
    const reader = this.getReader();
    return {
      next: () => reader.read(),
      async return(value) {
        if (!preventCancel) await reader.cancel(value);
        reader.releaseLock();
        return { done: true, value };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  };
  for (const name of ["values", Symbol.asyncIterator]) Object.defineProperty(ReadableStream.prototype, name, { value: values, writable: true, configurable: true });
}
