// node:events: the events package, whose EventEmitter can be called as older code does, with
// what Node.js has had since.

import EventEmitter from "events/events.js";

export const errorMonitor = Symbol("events.errorMonitor");
export const captureRejectionSymbol = Symbol.for("nodejs.rejection");
export const { defaultMaxListeners, once } = EventEmitter;
export const listenerCount = (emitter, name) => emitter.listenerCount(name);
export const getEventListeners = (emitter, name) => emitter.listeners?.(name) ?? [];
export const setMaxListeners = (count, ...emitters) => {
  for (const emitter of emitters) emitter.setMaxListeners?.(count);
};
export const getMaxListeners = (emitter) => emitter.getMaxListeners?.() ?? EventEmitter.defaultMaxListeners;

export function addAbortListener(signal, listener) {
  if (signal.aborted) queueMicrotask(listener);
  else signal.addEventListener("abort", listener, { once: true });
  return { [Symbol.dispose ?? Symbol.for("Symbol.dispose")]: () => signal.removeEventListener("abort", listener) };
}

/** The events `name` as they come. */
export function on(emitter, name, { signal } = {}) {
  const waiting = [];
  const arrived = [];
  let ended;
  const settle = (how, value) => {
    const next = waiting.shift();
    if (next === undefined) return false;
    next[how](value);
    return true;
  };
  const onEvent = (...values) => {
    if (!settle("resolve", { done: false, value: values })) arrived.push(values);
  };
  const stop = (error) => {
    emitter.off(name, onEvent);
    emitter.off("error", stop);
    ended ??= { error };
    while (waiting.length > 0) if (error) settle("reject", error); else settle("resolve", { done: true, value: undefined });
  };
  emitter.on(name, onEvent);
  if (name !== "error") emitter.on("error", stop);
  if (signal) addAbortListener(signal, () => stop(signal.reason));
  return {
    next() {
      if (arrived.length > 0) return Promise.resolve({ done: false, value: arrived.shift() });
      if (ended) return ended.error ? Promise.reject(ended.error) : Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    },
    return() {
      stop();
      return Promise.resolve({ done: true, value: undefined });
    },
    throw(error) {
      stop(error);
      return Promise.reject(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

Object.assign(EventEmitter, { errorMonitor, captureRejectionSymbol, listenerCount, getEventListeners, setMaxListeners, getMaxListeners, addAbortListener, on });
export { EventEmitter };
export default EventEmitter;
