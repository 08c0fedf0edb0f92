// node:timers.

import { clearImmediate, nodeClearInterval, nodeClearTimeout, nodeSetInterval, nodeSetTimeout, setImmediate } from "../runtime/timers.js";
import promises from "./timers-promises.js";

export { clearImmediate, setImmediate, promises };
export { nodeClearInterval as clearInterval, nodeClearTimeout as clearTimeout, nodeSetInterval as setInterval, nodeSetTimeout as setTimeout };
export default {
  clearImmediate, setImmediate, clearInterval: nodeClearInterval, clearTimeout: nodeClearTimeout, setInterval: nodeSetInterval, setTimeout: nodeSetTimeout, promises,
};
