"""Modules: the author's and those of packages with short names in traces, and all that were not
imported while the step was built, from memory, so that an import within a function works."""

import importlib.machinery as machinery
import linecache
import os
import sys

from . import files

LIBRARY = "/python"
#: Where componentize-py puts the contract, and what it needs for that.
BINDINGS = ("/world", "/bundled")
#: Parts of Python's library that can't work in a step, or are of no use there.
LEFT_OUT = {
    "__pycache__", "_pyrepl", "config-3.14-wasm32-wasi", "ctypes", "curses", "ensurepip", "idlelib", "multiprocessing", "pydoc_data", "site-packages",
    "sqlite3", "sysconfig", "test", "tkinter", "turtledemo", "unittest", "venv", "wsgiref", "dbm", "xmlrpc", "turtle.py", "pydoc.py", "pdb.py", "doctest.py",
}  # fmt: skip

_frozen = False
_names = {}
_renamed = {}


def shown(path):
    """The name of a file in a trace."""
    if path in _renamed:
        return _renamed[path]
    for folder, name in _names.items():
        if path.startswith(folder + "/"):
            return name + path[len(folder) + 1 :]
    return path


class Loader(machinery.SourceFileLoader):
    """Source that is compiled under the name that a trace shows."""

    def get_data(self, path):
        return files.read(path) if _frozen else super().get_data(path)

    def path_stats(self, path):
        # No bytecode is kept: what is imported in a build is in the component as it is.
        raise OSError

    def set_data(self, path, data, *, _mode=0o666):
        pass

    def source_to_code(self, data, path, *rest, **options):
        name = shown(path)
        if name != path:
            # Traces show lines; in a run there is no file to read them from.
            text = data.decode("utf-8", "replace") if isinstance(data, (bytes, bytearray)) else data
            linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        return super().source_to_code(data, name, *rest, **options)


class _Finder:
    """Modules from memory."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        last = name.rpartition(".")[2]
        for folder in sys.path if path is None else path:
            at = f"{folder}/{last}"
            for file, inner in ((f"{at}/__init__.py", [at]), (f"{at}.py", None)):
                if file in files.files:
                    from importlib.util import spec_from_file_location

                    return spec_from_file_location(
                        name, file, loader=Loader(name, file), submodule_search_locations=inner
                    )
            if at in files.folders and folder != "/":
                spec = machinery.ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [at]
                return spec
        return None


def _hook(path):
    if not any(path == folder or path.startswith(folder + "/") for folder in _names):
        raise ImportError
    return machinery.FileFinder(path, (Loader, machinery.SOURCE_SUFFIXES))


def install(names, renamed):
    """How the files of a folder are shown, by folder, and those that are not called as their author did."""
    _names.update(names)
    _renamed.update(renamed)
    sys.dont_write_bytecode = True
    sys.path_hooks.insert(0, _hook)
    sys.path_importer_cache.clear()


def _walk(folder, left_out):
    for at, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if name not in left_out]
        for name in names:
            if name not in left_out and not name.endswith((".pyc", ".pyi")):
                yield os.path.join(at, name)


def freeze():
    """Keeps everything that a run may import or read. Called last: from here on there is no other file."""
    global _frozen
    kept = []
    for path in _walk(LIBRARY, LEFT_OUT):
        if path.endswith(".py"):
            kept.append(path)
    for folder in (*_names, *BINDINGS):
        kept += _walk(folder, {"__pycache__"})
    for path in kept:
        try:
            with open(path, "rb") as file:
                files.keep(path, file.read())
        except OSError:
            # A link that the step's own code made, to what it may not see.
            continue
    _frozen = True
    finders = [finder for finder in sys.meta_path if finder is not machinery.PathFinder]
    # Kept for importlib.metadata, which asks it.
    sys.meta_path[:] = [*finders, _Finder, machinery.PathFinder]
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    files.install()
