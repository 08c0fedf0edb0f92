// node:fs: a file system in the run's own memory, empty but for /tmp. Never a folder of the host.
//
// It is made when it is first used: most steps that bundle it never do.

import { lazyClass } from "./lazy.js";

let made;

function fs() {
  if (made === undefined) {
    const { createFsFromVolume, Volume } = require("memfs");
    made = createFsFromVolume(Volume.fromJSON({ "/tmp": null, "/home": null, "/step": null }, "/"));
  }
  return made;
}

/** Functions that pass a call on. */
function passing(target, names) {
  return Object.fromEntries(names.map((name) => [name, (...values) => target()[name](...values)]));
}

const FUNCTIONS = [
  "access", "accessSync", "appendFile", "appendFileSync", "chmod", "chmodSync", "chown", "chownSync", "close", "closeSync", "copyFile",
  "copyFileSync", "cp", "cpSync", "createReadStream", "createWriteStream", "exists", "existsSync", "fchmod", "fchmodSync", "fdatasync",
  "fdatasyncSync", "fstat", "fstatSync", "fsync", "fsyncSync", "ftruncate", "ftruncateSync", "futimes", "futimesSync", "link", "linkSync", "lstat",
  "lstatSync", "mkdir", "mkdirSync", "mkdtemp", "mkdtempSync", "open", "openSync", "opendir", "opendirSync", "read", "readSync", "readdir",
  "readdirSync", "readFile", "readFileSync", "readlink", "readlinkSync", "realpath", "realpathSync", "rename", "renameSync", "rm", "rmSync", "rmdir",
  "rmdirSync", "stat", "statSync", "statfs", "statfsSync", "symlink", "symlinkSync", "truncate", "truncateSync", "unlink", "unlinkSync",
  "unwatchFile", "utimes", "utimesSync", "watch", "watchFile", "write", "writeSync", "writeFile", "writeFileSync", "writev", "writevSync",
];
const PROMISES = [
  "access", "appendFile", "chmod", "chown", "copyFile", "cp", "link", "lstat", "mkdir", "mkdtemp", "open", "opendir", "readdir", "readFile",
  "readlink", "realpath", "rename", "rm", "rmdir", "stat", "statfs", "symlink", "truncate", "unlink", "utimes", "watch", "writeFile",
];

export const constants = {
  F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1, COPYFILE_EXCL: 1, COPYFILE_FICLONE: 2, COPYFILE_FICLONE_FORCE: 4, O_RDONLY: 0, O_WRONLY: 1, O_RDWR: 2, O_CREAT: 64,
  O_EXCL: 128, O_TRUNC: 512, O_APPEND: 1024, S_IFMT: 61440, S_IFREG: 32768, S_IFDIR: 16384, S_IFLNK: 40960,
};
export const { F_OK, R_OK, W_OK, X_OK } = constants;

export const [Stats, Dirent, ReadStream, WriteStream] = ["Stats", "Dirent", "ReadStream", "WriteStream"].map((name) => lazyClass(() => fs()[name]));

export const promises = { ...passing(() => fs().promises, PROMISES), constants };
const functions = passing(fs, FUNCTIONS);
functions.realpath.native = functions.realpath;
functions.realpathSync.native = functions.realpathSync;

/** In Node.js since 19.8. */
functions.openAsBlob = async (path, { type = "" } = {}) => new Blob([new Uint8Array(functions.readFileSync(path))], { type });

export const { openAsBlob } = functions;
export const {
  access, accessSync, appendFile, appendFileSync, chmod, chmodSync, chown, chownSync, close, closeSync, copyFile, copyFileSync, cp, cpSync,
  createReadStream, createWriteStream, exists, existsSync, fchmod, fchmodSync, fdatasync, fdatasyncSync, fstat, fstatSync, fsync, fsyncSync,
  ftruncate, ftruncateSync, futimes, futimesSync, link, linkSync, lstat, lstatSync, mkdir, mkdirSync, mkdtemp, mkdtempSync, open, openSync, opendir,
  opendirSync, read, readSync, readdir, readdirSync, readFile, readFileSync, readlink, readlinkSync, realpath, realpathSync, rename, renameSync, rm,
  rmSync, rmdir, rmdirSync, stat, statSync, statfs, statfsSync, symlink, symlinkSync, truncate, truncateSync, unlink, unlinkSync, unwatchFile, utimes,
  utimesSync, watch, watchFile, write, writeSync, writeFile, writeFileSync, writev, writevSync,
} = functions;

export default { ...functions, promises, constants, F_OK, R_OK, W_OK, X_OK, Stats, Dirent, ReadStream, WriteStream };
