// Timers as Node.js has them: objects with `unref`, and `setImmediate`.

import { inRun } from "./state.js";

const { setTimeout, setInterval, clearTimeout, clearInterval } = globalThis;

class Timeout {
  constructor(start, stop, callback, delay, values) {
    // There is no clock while the component is built, and nobody would wait: a timer of the
    // top level, such as one that tidies a cache, never fires.
    this._start = () => (inRun() ? start(callback, delay, ...values) : undefined);
    this._stop = stop;
    this._id = this._start();
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
  hasRef() {
    return true;
  }
  refresh() {
    this.close();
    this._id = this._start();
    return this;
  }
  close() {
    if (this._id !== undefined) this._stop(this._id);
    return this;
  }
  [Symbol.toPrimitive]() {
    return this._id;
  }
  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.close();
  }
}

const idOf = (timer) => (timer instanceof Timeout ? timer._id : timer);
// The engine takes a delay of at most 2^31 - 1; Node.js makes 1 ms of more.
const delayOf = (delay) => (delay >= 0 && delay <= 0x7fffffff ? Number(delay) : 1);

export function nodeSetTimeout(callback, delay, ...values) {
  return new Timeout(setTimeout, clearTimeout, callback, delayOf(delay ?? 0), values);
}

export function nodeSetInterval(callback, delay, ...values) {
  return new Timeout(setInterval, clearInterval, callback, delayOf(delay ?? 0), values);
}

export function nodeClearTimeout(timer) {
  const id = timer == null ? undefined : idOf(timer);
  if (id !== undefined) clearTimeout(id);
}

export function nodeClearInterval(timer) {
  const id = timer == null ? undefined : idOf(timer);
  if (id !== undefined) clearInterval(id);
}

export function setImmediate(callback, ...values) {
  return new Timeout(setTimeout, clearTimeout, callback, 0, values);
}

export const clearImmediate = nodeClearTimeout;

// What node:util's promisify makes of them: their callback is no error's.
const promised = Symbol.for("nodejs.util.promisify.custom");
Object.defineProperty(nodeSetTimeout, promised, { value: (delay, value) => new Promise((resolve) => nodeSetTimeout(resolve, delay, value)) });
Object.defineProperty(setImmediate, promised, { value: (value) => new Promise((resolve) => setImmediate(resolve, value)) });

export function installTimers() {
  globalThis.setTimeout = nodeSetTimeout;
  globalThis.setInterval = nodeSetInterval;
  globalThis.clearTimeout = nodeClearTimeout;
  globalThis.clearInterval = nodeClearInterval;
}
