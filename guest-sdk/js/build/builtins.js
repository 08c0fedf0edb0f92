// Which file stands for which of Node.js's built-in modules in a step.

import { builtinModules, createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";
import { defineEnv } from "unenv";

const here = (file) => fileURLToPath(new URL(`../node/${file}`, import.meta.url));

/** Those that work, by this folder or by packages. */
const OWN = {
  crypto: here("crypto.js"),
  events: here("events.js"),
  fs: here("fs.js"),
  "fs/promises": here("fs-promises.js"),
  http: here("http.js"),
  https: here("https.js"),
  module: here("module.js"),
  process: here("process.js"),
  readline: here("readline.js"),
  "readline/promises": here("readline-promises.js"),
  stream: here("stream.js"),
  "stream/consumers": here("stream-consumers.js"),
  "stream/promises": here("stream-promises.js"),
  "stream/web": here("stream-web.js"),
  timers: here("timers.js"),
  "timers/promises": here("timers-promises.js"),
  tls: here("tls.js"),
  util: here("util.js"),
  "util/types": here("util-types.js"),
  zlib: here("zlib.js"),
};

/** A package in the tool chain that is the module. The slash keeps it from being taken for the built-in. */
const PACKAGES = { string_decoder: "string_decoder/" };

/** A package that is nothing but sockets, and has a place in Node.js itself. */
export const UNDICI = here("undici.js");

/** Those that can't work in a step: what to use instead. A package may import one as long as it does not call it. */
export const IMPOSSIBLE = {
  child_process: "a step starts no programs",
  cluster: "a step is one thread",
  dgram: "a step has no sockets; use fetch",
  dns: "the host looks names up; use fetch with the name",
  "dns/promises": "the host looks names up; use fetch with the name",
  http2: "use fetch, or node:https",
  inspector: "use console.log",
  net: "a step has no sockets; use fetch",
  repl: "a step has no terminal",
  sqlite: "keep data in a service, or in a data_store prop",
  tls: "a step has no sockets; use fetch",
  vm: "use new Function",
  worker_threads: "a step is one thread; use promises",
};

/** Those of them that a step may import all the same, as long as it does not call them. */
export const LATE = new Set(["dns", "dns/promises", "vm"]);

const { alias } = defineEnv({ nodeCompat: true }).env;
const NAMES = new Set([...builtinModules.filter((name) => !name.startsWith("_")), ...Object.keys(OWN)]);

/** The bare name of a built-in, or undefined. */
export function builtinName(specifier) {
  if (specifier.startsWith("node:")) return specifier.slice(5);
  return NAMES.has(specifier) ? specifier : undefined;
}

/** What to bundle for a built-in: a file, or a specifier to resolve in the tool chain. */
export function standIn(name) {
  return OWN[name] ?? PACKAGES[name] ?? alias[`node:${name}`] ?? alias[name];
}

const require = createRequire(import.meta.url);

/** The source of a module that is `file` with every name that Node.js exports of the built-in. */
export async function whole(name, file) {
  const { metafile } = await esbuild.build({ entryPoints: [file], bundle: true, packages: "external", platform: "neutral", format: "esm", write: false, metafile: true, outdir: "/", logLevel: "silent" });
  const there = new Set(Object.values(metafile.outputs).flatMap(({ exports }) => exports));
  let known = {};
  try {
    known = require(`node:${name}`);
  } catch {
    // Not of this Node.js: what the file has is all there is.
  }
  const lines = [`export * from ${JSON.stringify(file)};`];
  if (there.has("default")) lines.push(`export { default } from ${JSON.stringify(file)};`);
  for (const [key, value] of Object.entries(known)) {
    if (there.has(key) || key === "default" || !/^[A-Za-z_$][\w$]*$/.test(key)) continue;
    if (typeof value !== "function") lines.push(`const $${key} = undefined;`);
    else lines.push(`function $${key}() { throw new Error(${JSON.stringify(`node:${name}'s ${key} can't work in a step: ${IMPOSSIBLE[name] ?? "README.md of guest-sdk/js lists what can"}`)}); }`);
    lines.push(`export { $${key} as ${key} };`);
  }
  return lines.join("\n");
}
