// node:fs/promises.

import { promises } from "./fs.js";

export default promises;
export const {
  constants,
  access, appendFile, chmod, chown, copyFile, cp, link, lstat, mkdir, mkdtemp, open, opendir, readdir, readFile, readlink, realpath, rename, rm,
  rmdir, stat, statfs, symlink, truncate, unlink, utimes, watch, writeFile,
} = promises;
