"""Files: those that the step was built from, to be read, and a `/tmp` in the run's memory.

While the component is built, the system's own functions see the copies that the build gave
them; there is nothing to see in a run, so these take their place."""

import builtins
import errno
import io
import itertools
import os
import stat as kinds
import time
import zlib

#: By path: compressed bytes of a file from the build, or a `bytearray` that the run may change.
files = {}
folders = {"/", "/tmp"}
WRITABLE = "/tmp"
_FIRST = 1 << 20
_open_files = {}
#: No number is given twice.
_numbers = itertools.count(_FIRST)


def _path(path):
    if isinstance(path, int):
        return path
    path = os.fsdecode(path)
    return os.path.normpath(path if path.startswith("/") else "/tmp/" + path)


def _error(number, path):
    return OSError(number, os.strerror(number), os.fspath(path) if not isinstance(path, int) else path)


def keep(path, data):
    """Has a file of the build be there in runs."""
    files[path] = zlib.compress(data, 6)
    while (path := os.path.dirname(path)) not in folders:
        folders.add(path)


def read(path):
    """The bytes of a file; OSError if there is none."""
    data = files.get(path)
    if data is None:
        raise _error(errno.EISDIR if path in folders else errno.ENOENT, path)
    return zlib.decompress(data) if isinstance(data, bytes) else bytes(data)


def _may_change(path):
    if path != WRITABLE and not path.startswith(WRITABLE + "/"):
        raise _error(errno.EROFS, path)
    if os.path.dirname(path) not in folders and path != WRITABLE:
        raise _error(errno.ENOENT, path)


class _File(io.RawIOBase):
    def __init__(self, data, name, flags):
        access = flags & os.O_ACCMODE
        self.name, self._data, self._at = name, data, 0
        self._reads, self._writes, self._appends = (
            access in (os.O_RDONLY, os.O_RDWR),
            access in (os.O_WRONLY, os.O_RDWR),
            flags & os.O_APPEND,
        )
        self._number = None

    def readable(self):
        return self._reads

    def writable(self):
        return self._writes

    def seekable(self):
        return True

    def fileno(self):
        if self._number is None:
            self._number = next(_numbers)
            _open_files[self._number] = self
        return self._number

    def close(self):
        if self._number is not None:
            _open_files.pop(self._number, None)
        super().close()

    def readinto(self, buffer):
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def write(self, data):
        if not self._writes:
            raise io.UnsupportedOperation("not writable")
        data = bytes(data)
        if self._appends:
            self._at = len(self._data)
        if self._at > len(self._data):
            self._data.extend(bytes(self._at - len(self._data)))
        self._data[self._at : self._at + len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset, whence=0):
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def tell(self):
        return self._at

    def truncate(self, size=None):
        size = self._at if size is None else size
        del self._data[size:]
        self._data.extend(bytes(size - len(self._data)))
        return size


def _raw(path, flags):
    path = _path(path)
    if isinstance(path, int):
        if path not in _open_files:
            raise _error(errno.EBADF, path)
        return _open_files[path]
    if path in folders:
        raise _error(errno.EISDIR, path)
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    if writes:
        _may_change(path)
    if path in files and flags & os.O_EXCL and flags & os.O_CREAT:
        raise _error(errno.EEXIST, path)
    if path not in files:
        if not flags & os.O_CREAT:
            raise _error(errno.ENOENT, path)
        files[path] = bytearray()
    if flags & os.O_TRUNC and writes:
        files[path] = bytearray()
    data = files[path]
    return _File(data if writes else bytearray(read(path)) if isinstance(data, bytes) else data, path, flags)


_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}


def _open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    kind = next((one for one in mode if one in _FLAGS), None)
    if kind is None or set(mode) - set("rwaxbt+"):
        raise ValueError(f"invalid mode: {mode!r}")
    flags = _FLAGS[kind]
    if "+" in mode:
        flags = flags & ~os.O_ACCMODE | os.O_RDWR
    raw = _raw(opener(file, flags) if opener else file, flags)
    if buffering == 0 and "b" in mode:
        return raw
    size = io.DEFAULT_BUFFER_SIZE if buffering in (-1, 0, 1) else buffering
    buffered = (
        io.BufferedRandom(raw, size)
        if "+" in mode
        else io.BufferedReader(raw, size)
        if kind == "r"
        else io.BufferedWriter(raw, size)
    )
    return (
        buffered
        if "b" in mode
        else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline, line_buffering=buffering == 1)
    )


def _os_open(path, flags, mode=0o777, *, dir_fd=None):
    return _raw(path, flags).fileno()


def _close(fd):
    if _open_files.pop(fd, None) is None:
        raise _error(errno.EBADF, fd)


def _write(fd, data):
    return _raw(fd, 0).write(data)


def _read(fd, size):
    buffer = bytearray(size)
    return bytes(buffer[: _raw(fd, 0).readinto(buffer)])


def _stat(path, *, dir_fd=None, follow_symlinks=True):
    path = _path(_raw(path, 0).name if isinstance(path, int) else path)
    if path in folders:
        mode, size = kinds.S_IFDIR | 0o755, 0
    elif path in files:
        mode, size = kinds.S_IFREG | 0o644, len(read(path))
    else:
        raise _error(errno.ENOENT, path)
    now = int(time.time())
    return os.stat_result((mode, hash(path) & 0xFFFFFFFF, 1, 1, 0, 0, size, now, now, now))


def _listdir(path="."):
    path = _path(path)
    if path not in folders:
        raise _error(errno.ENOTDIR if path in files else errno.ENOENT, path)
    start = path.rstrip("/") + "/"
    return sorted(
        {
            name[len(start) :].partition("/")[0]
            for name in (*files, *folders)
            if name.startswith(start) and name != start
        }
    )


class _Entry:
    def __init__(self, folder, name):
        self.name, self.path = name, os.path.join(folder, name)

    def is_dir(self, *, follow_symlinks=True):
        return _path(self.path) in folders

    def is_file(self, *, follow_symlinks=True):
        return _path(self.path) in files

    def is_symlink(self):
        return False

    def stat(self, *, follow_symlinks=True):
        return _stat(self.path)

    def __fspath__(self):
        return self.path


class _Scan(list):
    def __enter__(self):
        return iter(self)

    def __exit__(self, *_):
        pass

    def close(self):
        pass


def _scandir(path="."):
    return _Scan(_Entry(os.fsdecode(path), name) for name in _listdir(path))


def _mkdir(path, mode=0o777, *, dir_fd=None):
    path = _path(path)
    if path in folders or path in files:
        raise _error(errno.EEXIST, path)
    _may_change(path)
    folders.add(path)


def _remove(path, *, dir_fd=None):
    path = _path(path)
    _may_change(path)
    if path not in files:
        raise _error(errno.EISDIR if path in folders else errno.ENOENT, path)
    del files[path]


def _rmdir(path, *, dir_fd=None):
    path = _path(path)
    _may_change(path)
    if path not in folders or path == WRITABLE:
        raise _error(errno.EBUSY if path == WRITABLE else errno.ENOENT, path)
    if _listdir(path):
        raise _error(errno.ENOTEMPTY, path)
    folders.discard(path)


def _rename(source, target, *, src_dir_fd=None, dst_dir_fd=None):
    source, target = _path(source), _path(target)
    _may_change(source)
    _may_change(target)
    if source not in files:
        raise _error(errno.ENOENT, source)
    files[target] = files.pop(source)


def _access(path, mode, **_):
    path = _path(path)
    return path in files or path in folders


def _expanduser(path):
    path = os.fspath(path)
    return path.replace("~", WRITABLE, 1) if path == "~" or path.startswith("~/") else path


def home():
    """Gives `~` a place: nobody's is here, while the component is built neither."""
    os.path.expanduser = _expanduser


def _nothing(*_, **__):
    return None


def install():
    builtins.open = io.open = _open
    replaced = {
        "open": _os_open, "close": _close, "read": _read, "write": _write, "stat": _stat, "lstat": _stat, "fstat": _stat,
        "listdir": _listdir, "scandir": _scandir, "mkdir": _mkdir, "remove": _remove, "unlink": _remove, "rmdir": _rmdir,
        "rename": _rename, "replace": _rename, "access": _access, "chmod": _nothing, "utime": _nothing, "fsync": _nothing,
        "getcwd": lambda: WRITABLE, "fdopen": lambda fd, *more, **options: _open(fd, *more, **options),
    }  # fmt: skip
    for name, own in replaced.items():
        setattr(os, name, own)
    os.environ["TMPDIR"] = WRITABLE
