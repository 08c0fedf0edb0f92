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

/** One frame of SpiderMonkey's, `name@file:line:column`, as Node.js writes it, or null. */
function frame(line) {
  const match = /^(.*?)@(.*?):(\d+):(\d+)$/.exec(line);
  if (!match) return null;
  const [, name, , at, column] = match;
  const found = position(Number(at), Number(column));
  if (found === null || isOwn(found.source)) return null;
  const place = `${found.source}:${found.line}:${found.column + 1}`;
  // Where a function was made is before its name: `module/outer/name<`.
  const shown = name.replace(/^(async|promise callback)\*/, "").split("/").filter((part) => part !== "" && part !== "<").pop()?.replace(/<$/, "") ?? "";
  return shown === "" ? `at ${place}` : `at ${shown} (${place})`;
}

/** The frames of a stack of the engine's, in the author's lines. */
function frames(stack) {
  return String(stack ?? "")
    .split("\n")
    .map(frame)
    .filter((text) => text !== null);
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
const asNode = (error, stack) => [header(error), ...frames(stack).map((text) => `    ${text}`)].join("\n");

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
    const own = frames(rawStack(cause));
    if (cause !== error && own.length > 0) lines.push(`caused by ${cause.name}: ${cause.message}`);
    lines.push(...own);
  }
  return lines.join("\n");
}
