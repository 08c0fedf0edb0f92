// The build of one step: node main.js REQUEST.json. `keyhole build` starts it.
//
// The request names the author's file, the folder to work in and the WIT; the answer is
// written to `answer.json` in the folder to work in, the component to `step.wasm`.

import { existsSync, mkdirSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";

import { componentize } from "@bytecodealliance/componentize-js";
import wizer from "@bytecodealliance/wizer";

import { bundle } from "./bundle.js";
import { Problems, problem } from "./problem.js";
import { Roots } from "./roots.js";
import { named, placeIn, reduced } from "./sourcemap.js";
import { properties } from "./unicode.js";
import { zones } from "./zones.js";

// The tools for components are WebAssembly whose memory grows by small steps, and V8 marks its whole heap again every few of
// them: on threads of its own that was half of what a build cost.
setFlagsFromString("--no-concurrent-marking");

/** This SDK's folder, and the packages that it is built with. */
const sdk = realpathSync(dirname(dirname(fileURLToPath(import.meta.url))));
const modules = [join(sdk, "node_modules"), join(dirname(sdk), "node_modules")].find((folder) => existsSync(folder));

/** What the engine printed when the top level failed, as one sentence and a place. */
function topLevel(error, map, roots) {
  const text = String(error.message ?? error);
  const own = /TypeError: keyhole: (.*)/.exec(text);
  if (own) return new Problems([{ message: own[1] }]);
  const place = placeIn(text, map);
  const lines = text.split("\n").map((line) => line.trim());
  const said = lines.find((line) => /^(source\.js:\d+:\d+ )?\w*(Error|Exception)\b.*: /.test(line) && !/componentize|wizer/i.test(line));
  const memory = /out of memory|memory allocation|Cannot allocate/i.test(text);
  const reason = said?.replace(/^source\.js:\d+:\d+ /, "") ?? (memory ? "it needs more memory than a build has" : text);
  return new Problems([
    {
      message: `the step's top level failed: ${reason}`,
      place: place === undefined || place.startsWith("node_modules/") ? place : join(roots.root, place),
      help: "what stands outside of functions is run when the step is built: without accounts, network or files",
    },
  ]);
}

/**
 * Overwrites freed memory with zeros, which the snapshot leaves out. What parsing a bundle
 * leaves behind is about ten times the bundle's size, and would be a third of the component.
 * Buffers are given back by `transfer`, not to the garbage collector, which would then run
 * in the first call.
 */
function sweep(bytes) {
  const blocks = [[1 << 20, 0.5], [1 << 16, 0.4], [1 << 12, 0.1]].map(([size, share]) => `for (let i = ${Math.ceil((bytes * share) / size)}; i > 0; i--) held.push(new ArrayBuffer(${size}));`);
  return `{ const held = []; ${blocks.join(" ")} for (const one of held) one.transfer(0); held.length = 0; }`;
}

/** wizer, which runs the author's top level, under a memory limit of its own; in KiB. */
function limitedWizer(work, limit) {
  const script = join(work, "wizer");
  writeFileSync(script, `#!/bin/sh\nulimit -d ${limit} && exec "${wizer}" "$@"\n`, { mode: 0o700 });
  return script;
}

const MIB = 1 << 20;

/** Why a component of `size` bytes is none that could be deployed, and what to do. */
function tooLarge(size, limit, packages) {
  const largest = packages.slice(0, 3).map(({ name, bytes }) => `${name} (${(bytes / MIB).toFixed(1)} MiB of source)`);
  return problem(`the component has ${(size / MIB).toFixed(1)} MiB, and a step at most ${Math.floor(limit / MIB)} MiB`, {
    help: `import less, or make several steps of it${largest.length > 0 ? `; the most of it are ${largest.join(", ")}` : ""}`,
  });
}

async function build({ entry, work, wit, packages, memory, largest }) {
  // Beside the folder for temporary files: componentize-js mistakes the path of a script below the current one.
  mkdirSync(join(work, "source"), { recursive: true });
  process.chdir(join(work, "source"));
  entry = realpathSync(entry);
  const roots = new Roots(entry, [sdk, modules]);
  const started = performance.now();
  const bundled = await bundle({ entry, sdk, roots, cache: packages });
  const tables = [properties(bundled.code), bundled.zoned ? zones(packages) : ""].join("");
  const before = tables === "" ? "" : `${tables}\n`;
  // One line more, before the first.
  if (before !== "") bundled.map.mappings = `;${bundled.map.mappings}`;
  const map = named(bundled.map, bundled.folder, roots, sdk);
  const code = `${before}${bundled.code.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n")}\nglobalThis.__keyholeMap = ${JSON.stringify(JSON.stringify(reduced(map)))};\n${sweep(10 * bundled.code.length)}\n`;
  writeFileSync(join(work, "source.js"), code);
  const bundledAt = performance.now();
  let made;
  try {
    made = await componentize(code, { witPath: wit, worldName: "step", disableFeatures: ["fetch-event"], wizerBin: limitedWizer(work, Math.floor(memory / 1024)) });
  } catch (error) {
    throw topLevel(error, map, roots);
  }
  if (made.component.length > largest) throw tooLarge(made.component.length, largest, bundled.packages);
  writeFileSync(join(work, "step.wasm"), made.component);
  const folders = new Set(bundled.inputs.filter((file) => roots.isAuthors(file)).map((file) => dirname(file)));
  return {
    inputs: [...bundled.inputs.filter((file) => !roots.isTools(file)), ...bundled.manifests],
    folders: [...folders],
    bundle: Buffer.byteLength(code),
    times: { bundle: Math.round(bundledAt - started), component: Math.round(performance.now() - bundledAt) },
  };
}

const request = JSON.parse(readFileSync(process.argv[2], "utf8"));
let answer;
try {
  answer = await build(request);
} catch (error) {
  if (!(error instanceof Problems)) throw error;
  answer = { problems: error.list };
}
writeFileSync(join(request.work, "answer.json"), JSON.stringify(answer));
