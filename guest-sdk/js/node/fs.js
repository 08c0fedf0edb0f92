// node:fs: a file system in the run's own memory, empty but for /tmp. Never a folder of the host.

import { createFsFromVolume, Volume } from "memfs";

const volume = Volume.fromJSON({ "/tmp": null, "/home": null }, "/");
const fs = createFsFromVolume(volume);

export default fs;
export const {
  promises, constants, F_OK, R_OK, W_OK, X_OK, Stats, Dirent, ReadStream, WriteStream,
  access, accessSync, appendFile, appendFileSync, chmod, chmodSync, chown, chownSync, close, closeSync, copyFile, copyFileSync, cp, cpSync,
  createReadStream, createWriteStream, exists, existsSync, fchmod, fchmodSync, fdatasync, fdatasyncSync, fstat, fstatSync, fsync, fsyncSync,
  ftruncate, ftruncateSync, futimes, futimesSync, link, linkSync, lstat, lstatSync, mkdir, mkdirSync, mkdtemp, mkdtempSync, open, openSync,
  opendir, opendirSync, read, readSync, readdir, readdirSync, readFile, readFileSync, readlink, readlinkSync, realpath, realpathSync, rename, renameSync, rm, rmSync,
  rmdir, rmdirSync, stat, statSync, statfs, statfsSync, symlink, symlinkSync, truncate, truncateSync, unlink, unlinkSync, unwatchFile, utimes, utimesSync,
  watch, watchFile, write, writeSync, writeFile, writeFileSync, writev, writevSync,
} = fs;
