// Random numbers come from the host, which is not there while the component is built: what
// is drawn at the top level would be the same in every run.

import { inRun } from "./state.js";

const ownRandom = Math.random;
let state = 0x2545f491;

/** xorshift32: for code that shuffles or samples at its top level, where no secret can be made. */
function unrandom() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 0x100000000;
}

function guard(name) {
  const own = crypto[name].bind(crypto);
  const value = (...values) => {
    if (inRun()) return own(...values);
    throw new Error(`crypto.${name} at the top level would give the same value in every run: call it in run`);
  };
  Object.defineProperty(crypto, name, { value, writable: true, configurable: true });
}

export function installRandom() {
  Math.random = function random() {
    return inRun() ? ownRandom() : unrandom();
  };
  guard("getRandomValues");
  guard("randomUUID");
}
