// node:fs/promises.

import fs from "./fs.js";

export default fs.promises;
export const { constants } = fs;
export const {
  access, appendFile, chmod, chown, copyFile, cp, link, lstat, mkdir, mkdtemp, open, opendir, readdir, readFile, readlink, realpath, rename, rm, rmdir,
  stat, statfs, symlink, truncate, unlink, utimes, watch, writeFile,
} = fs.promises;
