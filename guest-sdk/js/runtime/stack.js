// Stacks that name the author's files and lines.
//
// The build leaves a reduced source map in `globalThis.__keyholeMap`; it is decoded only
// when something was thrown.

import { TraceMap, originalPositionFor } from "@jridgewell/trace-mapping";

let map;

function position(line, column) {
  if (map === undefined) map = globalThis.__keyholeMap ? new TraceMap(globalThis.__keyholeMap) : null;
  if (map === null) return null;
  // SpiderMonkey counts columns from 1.
  const found = originalPositionFor(map, { line, column: Math.max(0, column - 1) });
  return found.source === null ? null : found;
}

function isOwn(source) {
  return source.startsWith("keyhole:");
}

/** One frame of SpiderMonkey's, `name@file:line:column`, or null where it is not of the author's code. */
function frame(line) {
  const match = /^(.*?)@(.*?):(\d+):(\d+)$/.exec(line);
  if (!match) return null;
  const [, name, , at, column] = match;
  const found = position(Number(at), Number(column));
  if (found === null || isOwn(found.source)) return null;
  // Where a function was made is before its name: `module/outer/name<`.
  const own = name.replace(/^(async|promise callback)\*/, "").split("/").filter((part) => part !== "" && part !== "<").pop()?.replace(/<$/, "") ?? "";
  return { name: own, file: found.source, line: found.line, column: found.column + 1 };
}

/** As Node.js writes it. */
function written({ name, file, line, column }) {
  const place = `${file}:${line}:${column}`;
  return name === "" ? `at ${place}` : `at ${name} (${place})`;
}

/** The frames of a stack of the engine's, in the author's lines. */
function frames(stack) {
  return String(stack ?? "")
    .split("\n")
    .map(frame)
    .filter((found) => found !== null);
}

/** A frame as V8 hands it to `Error.prepareStackTrace`. What only the engine knows is unknown. */
class CallSite {
  #frame;

  constructor(frame) {
    this.#frame = frame;
  }

  getFileName() {
    return this.#frame.file;
  }

  getScriptNameOrSourceURL() {
    return this.#frame.file;
  }

  getLineNumber() {
    return this.#frame.line;
  }

  getColumnNumber() {
    return this.#frame.column;
  }

  getFunctionName() {
    return this.#frame.name || null;
  }

  getTypeName() {
    return null;
  }

  getMethodName() {
    return null;
  }

  getThis() {}

  getFunction() {}

  getEvalOrigin() {}

  getPromiseIndex() {
    return null;
  }

  isToplevel() {
    return true;
  }

  isConstructor() {
    return false;
  }

  isNative() {
    return false;
  }

  isEval() {
    return false;
  }

  isAsync() {
    return false;
  }

  isPromiseAll() {
    return false;
  }

  toString() {
    return written(this.#frame).slice("at ".length);
  }
}

const { get: ownStack, set: setStack } = Object.getOwnPropertyDescriptor(Error.prototype, "stack");

/** The error's own frames, as the engine has them. */
function rawStack(error) {
  try {
    return ownStack.call(error);
  } catch {
    return undefined;
  }
}

const header = (error) => (error.message ? `${error.name}: ${error.message}` : String(error.name));
let preparing = false;

/** What `error.stack` is in Node.js. */
function asNode(error, stack) {
  const { prepareStackTrace } = Error;
  if (typeof prepareStackTrace !== "function" || preparing) return [header(error), ...frames(stack).map((one) => `    ${written(one)}`)].join("\n");
  preparing = true;
  try {
    return prepareStackTrace.call(Error, error, frames(stack).map((one) => new CallSite(one)));
  } finally {
    preparing = false;
  }
}

/** Makes `error.stack` what Node.js makes of it: libraries print it, and some read it. */
export function installStack() {
  Object.defineProperty(Error.prototype, "stack", {
    configurable: true,
    get() {
      const stack = rawStack(this);
      return typeof stack === "string" ? asNode(this, stack) : stack;
    },
    set: setStack,
  });
  Error.stackTraceLimit = 10;
  Error.captureStackTrace = function captureStackTrace(target) {
    const stack = rawStack(new Error());
    Object.defineProperty(target, "stack", { configurable: true, get: () => asNode(target, stack), set: (value) => Object.defineProperty(target, "stack", { value, writable: true, configurable: true }) });
  };
}

/** The error's frames in the author's lines, with those of its causes. */
export function originalStack(error) {
  const lines = [];
  const seen = new Set();
  for (let cause = error; cause != null && typeof cause === "object" && !seen.has(cause) && seen.size < 5; cause = cause.cause) {
    seen.add(cause);
    const own = frames(rawStack(cause)).map(written);
    if (cause !== error && own.length > 0) lines.push(`caused by ${cause.name}: ${cause.message}`);
    lines.push(...own);
  }
  return lines.join("\n");
}
