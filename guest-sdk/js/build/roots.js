// Which files a build may read: the author's source and packages, and nothing else of the
// machine. An import that leads elsewhere could carry what it finds into the component.

import { existsSync, realpathSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";

const within = (file, folder) => file === folder || file.startsWith(folder.endsWith(sep) ? folder : folder + sep);

function* upward(folder) {
  for (let at = folder; ; at = dirname(at)) {
    yield at;
    if (dirname(at) === at) return;
  }
}

/**
 * The folder that is a step's source: the `components` folder of a registry, the folder of
 * the nearest package.json, or the step's own.
 */
export function sourceRoot(entry) {
  const own = dirname(entry);
  const parts = own.split(sep);
  const at = parts.lastIndexOf("components");
  // components/<app>/…: app files and shared code of others lie beside.
  if (at > 0 && at < parts.length - 1) return parts.slice(0, at + 1).join(sep);
  for (const folder of upward(own)) if (existsSync(join(folder, "package.json"))) return folder;
  return own;
}

/** Where a package.json for a file in `folder` may be: from there up to `root`, nearest first. */
export function manifestsAbove(folder, root) {
  const found = [];
  for (const at of upward(folder)) {
    found.push(join(at, "package.json"));
    if (at === root) break;
  }
  return found;
}

export class Roots {
  /** @param tools the folders of the tool chain */
  constructor(entry, tools) {
    this.root = sourceRoot(entry);
    this.tools = tools.map((folder) => realpathSync(folder));
    this.added = [];
    this.packages = [...upward(this.root)].map((folder) => join(folder, "node_modules")).filter(existsSync).map((folder) => realpathSync(folder));
  }
  add(folder) {
    this.added.push(realpathSync(folder));
  }
  /** Whether `file` may be read. */
  allows(file) {
    const real = realpathSync(file);
    return within(real, realpathSync(this.root)) || [...this.tools, ...this.added, ...this.packages].some((folder) => within(real, folder));
  }
  isTools(file) {
    return this.tools.some((folder) => within(file, folder));
  }
  /** Whether the author wrote it, rather than a package. */
  isAuthors(file) {
    return within(file, this.root) && !file.slice(this.root.length).includes(`${sep}node_modules${sep}`);
  }
  /** The name to show for a file. */
  shown(file) {
    if (within(file, this.root)) return relative(this.root, file);
    const at = file.lastIndexOf(`${sep}node_modules${sep}`);
    return at < 0 ? file : file.slice(at + 1);
  }
}
