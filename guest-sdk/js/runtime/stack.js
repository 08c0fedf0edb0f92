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
  const shown = name.replace(/[</*]+/g, "").replace(/^async/, "async ").trim();
  return shown === "" ? `at ${place}` : `at ${shown} (${place})`;
}

/** The error's stack in the author's lines, with those of its causes. */
export function originalStack(error) {
  const lines = [];
  const seen = new Set();
  for (let cause = error; cause != null && typeof cause === "object" && !seen.has(cause) && seen.size < 5; cause = cause.cause) {
    seen.add(cause);
    const frames = String(cause.stack ?? "")
      .split("\n")
      .map(frame)
      .filter((text) => text !== null);
    if (cause !== error && frames.length > 0) lines.push(`caused by ${cause.name}: ${cause.message}`);
    lines.push(...frames);
  }
  return lines.join("\n");
}
