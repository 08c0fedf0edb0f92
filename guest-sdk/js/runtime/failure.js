// What a step throws, as the contract's `failure`.

import { originalStack } from "./stack.js";
import { format } from "./console.js";

/** An error that ends a call with a kind of its own. */
export class StepError extends Error {
  constructor(message, kind = "step", retry = false) {
    super(message);
    this.name = "StepError";
    this.kind = kind;
    this.retry = retry;
  }
}

const NOT_IN_A_STEP = {
  child_process: "a step starts no programs",
  cluster: "a step is one thread",
  dgram: "a step has no sockets; use fetch, and services over HTTPS",
  dns: "the host looks names up; use fetch with the name",
  http2: "use fetch, or node:https",
  inspector: "use console.log",
  net: "a step has no sockets; use fetch, and services over HTTPS",
  tls: "a step has no sockets; use fetch, and services over HTTPS",
  vm: "a step has no second context; use new Function",
  worker_threads: "a step is one thread",
};

/** unenv's stubs throw on a call; this says what to do instead. */
function explained(message) {
  const match = /\[unenv\] ([a-z0-9_]+)\.(\S+) is not implemented yet!/.exec(message);
  if (!match) return message;
  const [, module, member] = match;
  return `node:${module}'s ${member} can't work in a step: ${NOT_IN_A_STEP[module] ?? "README.md of guest-sdk/js lists what can"}`;
}

const TRANSIENT = [408, 425, 429, 500, 502, 503, 504];

function kindOf(error) {
  if (error instanceof StepError) return [error.kind, error.retry];
  if (error.name === "ConfigurationError") return ["input", false];
  // Axios, gaxios, got, @sendgrid/*, @slack/*: each has the status in one of these.
  const status = error.response?.status ?? error.response?.statusCode ?? error.statusCode ?? error.status ?? error.code;
  if (typeof status === "number" && status >= 400 && status < 600) return ["upstream", TRANSIENT.includes(status)];
  for (let cause = error; cause != null; cause = cause.cause) {
    if (cause.code === "ERR_KEYHOLE_REQUEST") return ["upstream", false];
  }
  return ["step", false];
}

function messageOf(error) {
  const name = error.name && error.name !== "Error" && error.name !== "StepError" ? `${error.name}: ` : "";
  const message = explained(String(error.message ?? ""));
  return message.startsWith(name) ? message : name + message;
}

/** Whatever was thrown, as a record of the contract. */
export function failureOf(thrown) {
  if (thrown === null || (typeof thrown !== "object" && typeof thrown !== "function") || thrown.message === undefined) {
    return { message: `the step threw ${typeof thrown === "string" ? `'${thrown}'` : format(thrown)}`, kind: "step", retry: false };
  }
  const [kind, retry] = kindOf(thrown);
  const failure = { message: messageOf(thrown), kind, retry };
  const trace = originalStack(thrown);
  if (trace !== "") failure.trace = trace;
  return failure;
}
