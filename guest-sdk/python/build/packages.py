"""The packages that a step's requirements.txt names: pure Python, from wheels, so that nothing
of theirs runs on this machine."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from problem import Problem

#: What pip is asked for: what every Python 3.14 can run, whatever the machine.
PURE = ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", "--python-version=3.14"]
NATIVE = (".so", ".pyd", ".dylib", ".dll")
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*([<>=!~(;@].*)?")
_OPTIONS = (
    "--hash",
    "--index-url",
    "-i ",
    "--extra-index-url",
    "--pre",
    "--require-hashes",
    "--prefer-binary",
    "--trusted-host",
)


def _check(file, text):
    """Refuses what pip would build here, or take from elsewhere than an index."""
    joined = re.sub(r"\\\n", lambda _: " \x00", text)
    line = 0
    for one in joined.split("\n"):
        line += 1
        place, line = f"{file}:{line}", line + one.count("\x00")
        one = re.sub(r"(^|\s)#.*", "", one.replace("\x00", "")).strip()
        if one == "" or one.startswith(_OPTIONS):
            continue
        if one.startswith("-"):
            raise Problem(
                f"{one.split()[0]} is not for the requirements of a step",
                place,
                "name the packages themselves, one a line",
            )
        url = re.search(r"@\s*(\S+)", one)
        if not _NAMED.fullmatch(one) or (url and not re.fullmatch(r"https://[^\s#]+\.whl(#\S*)?", url[1])):
            raise Problem(
                f"{one.split()[0]} would have to be built: a step takes packages from an index, as wheels",
                place,
                "write NAME or NAME==VERSION",
            )


def _native(folder):
    for at, _, names in os.walk(folder):
        for name in names:
            if name.endswith(NATIVE):
                return Path(at, name).relative_to(folder)
    return None


def _failed(file, said):
    text = "\n".join(line for line in said.splitlines() if not line.startswith(("WARNING", "[notice]")))
    missing = re.search(r"No matching distribution found for ([^\s(]+)", text)
    if missing:
        line = next(
            (
                n
                for n, one in enumerate(file.read_text().splitlines(), 1)
                if one.strip().lower().startswith(re.split(r"[<>=!~\[;]", missing[1])[0].lower())
            ),
            None,
        )
        place = f"{file}:{line}" if line else str(file)
        message = f"the package {missing[1]} is not pure Python, or not there: no index has a wheel of it that runs everywhere (py3-none-any)"
        return Problem(
            message, place, "a step runs no native code: use a package in Python, or a service with an HTTP API"
        )
    return Problem(
        f"pip could not install the packages:\n{text.strip()}",
        str(file),
        "see that pip reaches its index (python3 -m pip download --no-deps requests)",
    )


def installed(file, cache):
    """The folder with what `file` names; None if there is no such file."""
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    _check(file, text)
    folder = Path(cache) / hashlib.sha256("\0".join([*PURE, text]).encode()).hexdigest()[:32]
    if folder.is_dir():
        return folder
    made = Path(tempfile.mkdtemp(prefix="install-", dir=cache))
    try:
        pip = [
            sys.executable,
            "-I",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-compile",
        ]
        # A copy: what was checked is what is installed.
        checked = made / "requirements.txt"
        checked.write_text(text, encoding="utf-8")
        ended = subprocess.run(
            [*pip, *PURE, "--target", made / "packages", "-r", checked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if ended.returncode != 0:
            raise _failed(file, ended.stderr)
        (made / "packages").mkdir(exist_ok=True)
        if (native := _native(made / "packages")) is not None:
            raise Problem(
                f"{native} is native code, which can't work in a step",
                str(file),
                "use a package in Python, or a service with an HTTP API",
            )
        try:
            (made / "packages").rename(folder)
        except OSError:
            # Another build was faster.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder
