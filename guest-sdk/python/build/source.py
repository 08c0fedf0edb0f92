"""Which files are a step's source: its module, the modules of its own that it imports, and the
packages that these are in. Nothing else of the machine goes into a build."""

import ast
import os
import re
import shutil
import sys
from pathlib import Path

from problem import Problem

#: Bytes of source that a build takes.
MOST_BYTES = 64 << 20
LEFT_OUT = {"__pycache__", ".git", ".venv", "venv", "node_modules", "target"}
#: The Python that componentize-py puts into components.
GUEST = (3, 14)
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+([^\n#]+)|import[ \t]+([\w., \t]+))", re.MULTILINE
)


def _imports(text, path):
    """(level, module, names) of each import."""
    try:
        tree = ast.parse(text)
    except (RecursionError, MemoryError):
        raise Problem("it is nested too deeply to be read", str(path)) from None
    except (SyntaxError, ValueError) as error:
        if sys.version_info[:2] >= GUEST and isinstance(error, SyntaxError):
            raise Problem(error.msg, f"{path}:{error.lineno}:{error.offset}") from None
        # Perhaps it is newer Python than this: the build itself will tell.
        for dots, module, names, plain in _IMPORT.findall(text):
            if plain:
                yield from ((0, one.split()[0], []) for one in plain.split(",") if one.strip())
            else:
                yield len(dots), module, re.findall(r"\w+", names)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


class Source:
    """The files of one step."""

    def __init__(self, entry):
        self.entry = Path(entry)
        self.root = self.entry.parent
        self.files = []
        #: Where a file that appears could be one of them.
        self._looked = {self.root}
        self._bytes = 0
        self._add(self.entry)

    @property
    def folders(self):
        return sorted({str(folder) for folder in self._looked})

    def _add(self, file):
        if file in self.files or file.suffix == ".pyc":
            return
        real = Path(os.path.realpath(file))
        if not real.is_relative_to(self.root) or not real.is_file():
            raise Problem(f"{file} lies outside of the step's source, {self.root}", help="put it in there")
        self._bytes += real.stat().st_size
        if self._bytes > MOST_BYTES:
            raise Problem(
                f"the step's source is larger than {MOST_BYTES >> 20} MiB",
                str(file),
                "keep data out of the packages that the step imports",
            )
        self.files.append(file)
        self._looked.add(file.parent)
        if file.suffix == ".py":
            text = file.read_text(encoding="utf-8", errors="replace")
            for level, module, names in _imports(text, file):
                self._follow(file, level, module, names)

    def _follow(self, file, level, module, names):
        base = self.root
        if level:
            base = file.parent
            for _ in range(level - 1):
                base = base.parent
            if not base.is_relative_to(self.root):
                return
        at = base
        for part in module.split(".") if module else []:
            if not self._module(at / part):
                return
            at = at / part
        for name in names:
            self._module(at / name)

    def _module(self, at):
        """Adds a module or a package, if there is one."""
        if (file := at.with_name(at.name + ".py")).is_file():
            self._add(file)
            return True
        if not at.is_dir() or at.name in LEFT_OUT or at == self.root:
            return False
        for folder, inner, names in os.walk(at):
            inner[:] = sorted(name for name in inner if name not in LEFT_OUT and not name.startswith("."))
            self._looked.add(Path(folder))
            for name in sorted(name for name in names if not name.startswith(".")):
                self._add(Path(folder, name))
        return True

    def copy(self, to):
        for file in self.files:
            target = to / file.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
