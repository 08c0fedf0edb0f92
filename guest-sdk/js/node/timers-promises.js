// node:timers/promises.

import { nodeClearTimeout, nodeSetTimeout } from "../runtime/timers.js";

export function setTimeout(delay, value, { signal } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = nodeSetTimeout(resolve, delay, value);
    signal?.addEventListener("abort", () => {
      nodeClearTimeout(timer);
      reject(signal.reason);
    });
  });
}
export const setImmediate = (value, options) => setTimeout(0, value, options);
export async function* setInterval(delay, value, options) {
  for (;;) yield await setTimeout(delay, value, options);
}
export const scheduler = { wait: (delay, options) => setTimeout(delay, undefined, options), yield: () => setTimeout(0) };

export default { setTimeout, setImmediate, setInterval, scheduler };
