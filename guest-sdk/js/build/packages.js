// Packages that the author's folder does not hold: installed from the package.json beside
// the step, or by name, into the build's cache. No package's scripts are run.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { spawnSync } from "node:child_process";

import { problem } from "./problem.js";

const FLAGS = ["--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error"];

function npm(folder, args) {
  const ended = spawnSync("npm", [...args, ...FLAGS], { cwd: folder, encoding: "utf8", stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, NODE_OPTIONS: "" } });
  if (ended.status === 0) return undefined;
  return ended.error?.message ?? (ended.stderr.trim() || `npm ended with ${ended.status ?? ended.signal}`);
}

/** Installs into a folder named after what is asked for; what is there already is kept. */
function install(cache, files, args, note) {
  const key = createHash("sha256").update(JSON.stringify([files, args])).digest("hex").slice(0, 32);
  const folder = join(cache, key);
  if (existsSync(join(folder, "node_modules"))) return { folder };
  process.stderr.write(`${note}\n`);
  const making = `${folder}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(making, name), text);
  const failed = npm(making, args);
  if (failed !== undefined) {
    rmSync(making, { recursive: true, force: true });
    return { failed };
  }
  mkdirSync(join(making, "node_modules"), { recursive: true });
  try {
    renameSync(making, folder);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    // Another build was faster.
    if (!existsSync(folder)) throw error;
  }
  return { folder };
}

/** What the package.json names, or undefined if it names nothing. */
export function installManifest(cache, manifest) {
  let parsed;
  const text = readFileSync(manifest, "utf8");
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw problem(`it is not JSON: ${error.message}`, { place: manifest });
  }
  const { name = "step", dependencies, optionalDependencies, overrides } = parsed;
  if (dependencies === undefined && optionalDependencies === undefined) return undefined;
  const files = { "package.json": JSON.stringify({ name: String(name).replace(/^@/, "").replace("/", "-"), private: true, dependencies, optionalDependencies, overrides }) };
  const lock = join(dirname(manifest), "package-lock.json");
  let args = ["install"];
  if (existsSync(lock)) {
    files["package-lock.json"] = readFileSync(lock, "utf8");
    files["package.json"] = text;
    args = ["ci"];
  }
  const { folder, failed } = install(cache, files, args, `installing the packages of ${manifest}`);
  if (failed !== undefined) throw problem(`npm can't install its packages:\n${failed}`, { place: manifest, help: "see that npm reaches its registry and that the versions exist" });
  return folder;
}

/** A package that no package.json names. */
export function installNamed(cache, name, version, place) {
  const wanted = `${name}@${version ?? "latest"}`;
  const { folder, failed } = install(cache, { "package.json": '{"private":true}' }, ["install", wanted], `installing ${wanted}, which no package.json beside the step names`);
  if (failed !== undefined) throw problem(`the package ${name} is not there, and npm can't install it:\n${failed}`, { place, help: `see that the name is right, and add it to a package.json beside the step: npm install ${name}` });
  return folder;
}
