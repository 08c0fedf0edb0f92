// What a step's code finds as globals besides the engine's own. Evaluated before the
// author's code, so that its top level finds them, too.

import "./engine.js";

import process from "node:process";
import { Buffer } from "node:buffer";

import { defineComponent } from "../index.js";
import { installConsole } from "./console.js";
import { installFetch } from "./fetch.js";
import { installIntl } from "./intl.js";
import { installRandom } from "./random.js";
import { require } from "./require.js";
import { installStack } from "./stack.js";
import { clearImmediate, setImmediate, installTimers } from "./timers.js";

function define(name, value) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
}

define("global", globalThis);
define("process", process);
define("Buffer", Buffer);
define("defineComponent", defineComponent);
define("setImmediate", setImmediate);
define("clearImmediate", clearImmediate);
define("require", require);
// A browser's worker has these, Node.js does not, and libraries tell the two apart by them.
delete globalThis.location;
delete globalThis.WorkerLocation;

installStack();
installTimers();
installConsole();
installFetch();
installIntl();
installRandom();
