// `console` writes to the run's log, with its level.
//
// At the top level, while the component is built, there is no run yet: the engine's own
// console prints to the build's output.

import { log } from "keyhole:step/flow@0.1.0";
import { formatWithOptions, inspect } from "node-inspect-extracted";

import { inRun } from "./state.js";

const LEVELS = { debug: "debug", trace: "debug", log: "info", info: "info", dir: "info", warn: "warn", error: "error" };
const own = globalThis.console;

/** Prints to the output of the build. */
export function print(text) {
  own.log(text);
}

/** Adds one line to the run's log. */
export function logLine(level, text) {
  if (inRun()) log(level, text);
  else own.log(text);
}

export function format(...values) {
  return formatWithOptions({ colors: false, depth: 4 }, ...values);
}

export function installConsole() {
  const counts = new Map();
  const timers = new Map();
  let indent = "";
  const write = (level, text) => {
    // What a package calls is none of the author's business.
    if (text.startsWith("[DeprecationWarning] [unenv]")) return;
    logLine(level, indent === "" ? text : indent + text.replaceAll("\n", `\n${indent}`));
  };
  const console = {};
  for (const [name, level] of Object.entries(LEVELS)) {
    console[name] = (...values) => write(level, format(...values));
  }
  console.trace = (...values) => {
    const stack = new Error().stack.split("\n").slice(1).join("\n");
    write("debug", `Trace: ${format(...values)}\n${stack}`);
  };
  console.dir = (value, options) => write("info", inspect(value, { customInspect: false, ...options }));
  console.dirxml = console.log;
  console.table = (value) => write("info", inspect(value, { depth: 3 }));
  console.assert = (holds, ...values) => {
    if (!holds) write("error", values.length ? `Assertion failed: ${format(...values)}` : "Assertion failed");
  };
  console.group = (...values) => {
    if (values.length) write("info", format(...values));
    indent += "  ";
  };
  console.groupCollapsed = console.group;
  console.groupEnd = () => {
    indent = indent.slice(2);
  };
  console.count = (label = "default") => {
    counts.set(label, (counts.get(label) ?? 0) + 1);
    write("info", `${label}: ${counts.get(label)}`);
  };
  console.countReset = (label = "default") => counts.delete(label);
  console.time = (label = "default") => timers.set(label, performance.now());
  const elapsed = (label) => `${label}: ${(performance.now() - (timers.get(label) ?? performance.now())).toFixed(3)}ms`;
  console.timeLog = (label = "default", ...values) => write("info", format(elapsed(label), ...values));
  console.timeEnd = (label = "default") => {
    write("info", elapsed(label));
    timers.delete(label);
  };
  console.clear = () => {};
  console.Console = class Console {
    constructor() {
      return console;
    }
  };
  Object.defineProperty(globalThis, "console", { value: console, writable: true, configurable: true, enumerable: false });
}
