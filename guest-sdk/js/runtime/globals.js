// What a step's code finds as globals besides the engine's own. Evaluated before the
// author's code, so that its top level finds them, too.

import "./engine.js";

import process from "node:process";
import { Buffer } from "./buffer.js";

import { defineComponent } from "../index.js";
import { installConsole } from "./console.js";
import { installFetch } from "./fetch.js";
import { installIntl } from "./intl.js";
import { installRandom } from "./random.js";
import { require } from "./require.js";
import { installStack } from "./stack.js";
import { clearImmediate, setImmediate, installTimers } from "./timers.js";
import { installWeb } from "./web.js";

function define(name, value) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
}

/** There to be found, as in Node.js since 22: clients that only could open one look for it when they are made. */
class WebSocket extends EventTarget {
  static [Symbol.hasInstance] = () => false;
  constructor() {
    super();
    throw new Error("WebSocket can't work in a step: it has no sockets; use fetch");
  }
}
for (const [state, name] of ["CONNECTING", "OPEN", "CLOSING", "CLOSED"].entries()) WebSocket[name] = state;

define("global", globalThis);
define("process", process);
define("Buffer", Buffer);
define("defineComponent", defineComponent);
define("setImmediate", setImmediate);
define("clearImmediate", clearImmediate);
define("require", require);
define("WebSocket", WebSocket);
// A browser's worker has these, Node.js does not, and libraries tell the two apart by them.
delete globalThis.location;
delete globalThis.WorkerLocation;

installStack();
installTimers();
installConsole();
installWeb();
installFetch();
installIntl();
installRandom();
