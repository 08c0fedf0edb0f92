// node:fs: a file system in the run's own memory, empty but for /tmp. Never a folder of the host.
//
// It is made when it is first used: most steps that bundle it never do.

import { memory } from "../runtime/state.js";
import { lazyClass } from "./lazy.js";

/** The share of the run's memory that files may fill: what works with them needs the rest. */
const SHARE = 0.25;

let made;

/** Has files that would fill more than that refuse to grow, as on a disk that is full. */
function bound(volume) {
  const core = volume._core;
  const file = Object.getPrototypeOf(core.root.getNode());
  const held = () => Object.values(core.inodes).reduce((sum, { capacity }) => sum + capacity, 0);
  /** What one file may come to, beside the others. */
  const room = (node, bytes) => {
    const free = Math.floor(memory() * SHARE) - (held() - node.capacity);
    if (bytes <= free) return free;
    throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC", errno: -28, syscall: "write" });
  };
  /** Makes place for `bytes`: twice as much as before, as files do that grow, but no more than there is. */
  const grow = (node, bytes) => {
    if (bytes <= node.capacity) return;
    const grown = Buffer.allocUnsafe(Math.min(Math.max(bytes, 2 * node.capacity), room(node, bytes)));
    node.buf.copy(grown, 0, 0, node.size);
    [node.buf, node.capacity] = [grown, grown.length];
  };
  const { write, truncate, setBuffer } = file;
  file.write = function (bytes, from = 0, length = bytes.length, at = 0) {
    grow(this, at + Math.min(length, bytes.length - from));
    return write.call(this, bytes, from, length, at);
  };
  file.truncate = function (length = 0) {
    grow(this, length);
    return truncate.call(this, length);
  };
  file.setBuffer = function (bytes) {
    if (bytes.length > this.capacity) room(this, bytes.length);
    return setBuffer.call(this, bytes);
  };
}

function fs() {
  if (made === undefined) {
    const { createFsFromVolume, Volume } = require("memfs");
    const volume = Volume.fromJSON({ "/tmp": null, "/home": null, "/step": null }, "/");
    bound(volume);
    made = createFsFromVolume(volume);
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
