"""The packages that a step's requirements.txt names: pure Python, from wheels, so that nothing
of theirs runs on this machine."""

import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import bounded
from problem import Problem

#: What pip is asked for: what every Python 3.14 can run, whatever the machine.
PURE = ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", "--python-version=3.14"]
#: What the folder of an installation under way begins with, and seconds after which it is none any more: no build is
#: given longer.
UNDER_WAY = "install-"
LONGEST = 24 * 3600
NATIVE = (".so", ".pyd", ".dylib", ".dll")
#: What of the environment pip is given: where to find programs and indexes, and no variable that an
#: author could name.
PASSED = re.compile(
    r"PATH|HOME|LANG|LC_\w+|TMPDIR|XDG_\w+|(?i:https?|all|no)_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE"
    r"|PIP_(INDEX_URL|EXTRA_INDEX_URL|CERT|CLIENT_CERT|CONFIG_FILE|CACHE_DIR|RETRIES|TIMEOUT|TRUSTED_HOST)"
)
_FLAG = re.compile(r"--(pre|require-hashes|prefer-binary)")
_INDEX = re.compile(r"(--index-url|-i|--extra-index-url)[ =]+(https://[^\s$#]+)")
#: What pip would take for an option behind a package.
_OPTION = re.compile(r"[ ;]-(?!-hash[= ]sha)")
_HASH = r"--hash[= ]sha(256|384|512):[0-9a-f]+"
_WHEEL = r"@ *https://[^\s$#@]+\.whl(#\S*)?"
_NAMED = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]* *(\[[A-Za-z0-9._, -]*\])? *"
    rf"({_WHEEL}|[(<>=!~][A-Za-z0-9.*+!<>=~,() -]*)? *(;[A-Za-z0-9_.\"'<>=!~,() -]*)?( +{_HASH})*"
)


def _lines(text):
    """Each line without its comment, with its number. A line that ends in a backslash goes on in the next."""
    begun, number = "", None
    for count, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        line = re.sub(r"(^|[ \t])#.*", "", line).strip(" \t")
        number = number or count
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield number, re.sub(r"[ \t]+", " ", begun + line).strip()
        begun, number = "", None
    yield number or 1, begun.strip()


def _accepted(file, text):
    """The options, and the packages with their places, of a requirements.txt. pip never reads the author's own text:
    it would run, fetch and fill in more than this."""
    options, packages = [], []
    for number, line in _lines(text):
        place = f"{file}:{number}"
        if line == "":
            continue
        named = re.sub(r"//[^/@\s]*@", "//…@", line.split()[0])
        if not line.isascii() or not line.isprintable() or "$" in line:
            raise Problem(f"{named!a} has characters that no requirement has", place, "write NAME or NAME==VERSION")
        if _FLAG.fullmatch(line):
            options.append(line)
        elif index := _INDEX.fullmatch(line):
            options += ["--extra-index-url" if index[1].startswith("--e") else "--index-url", index[2]]
        elif line.startswith("-"):
            raise Problem(
                f"{named} is not for the requirements of a step",
                place,
                "name the packages themselves, one a line; an index has an https address",
            )
        elif _NAMED.fullmatch(line) and not _OPTION.search(line):
            packages.append(line)
        else:
            raise Problem(
                f"{named} would have to be built: a step takes packages from an index, as wheels",
                place,
                "write NAME or NAME==VERSION",
            )
    return options, packages


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


def _sweep(cache):
    """Takes away what builds left that were killed."""
    for made in Path(cache).glob(f"{UNDER_WAY}*"):
        try:
            left = time.time() - made.stat().st_mtime > LONGEST
        except OSError:
            continue
        if left:
            shutil.rmtree(made, ignore_errors=True)


def installed(file, cache):
    """The folder with what `file` names; None if there is no such file."""
    if not file.is_file():
        return None
    try:
        options, packages = _accepted(file, file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise Problem("it is not text in UTF-8", str(file), "save it as UTF-8") from None
    folder = Path(cache) / hashlib.sha256("\0".join([*PURE, *options, *packages]).encode()).hexdigest()[:32]
    if folder.is_dir():
        return folder
    _sweep(cache)
    made = Path(tempfile.mkdtemp(prefix=UNDER_WAY, dir=cache))
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
        checked = made / "requirements.txt"
        checked.write_text("".join(f"{one}\n" for one in packages), encoding="ascii")
        # Where pip unpacks what it fetched.
        (made / "tmp").mkdir()
        passed = {name: value for name, value in os.environ.items() if PASSED.fullmatch(name)}
        # The last word is ours.
        command = [*pip, *options, *PURE, "--target", made / "packages", "-r", checked]
        try:
            status, said = bounded.run(command, [made], env={**passed, "TMPDIR": str(made / "tmp")})
        except bounded.TooMuch:
            raise Problem(
                f"the packages take more than {bounded.MOST_WRITTEN >> 20} MiB",
                str(file),
                "a component holds at most 64 MiB: name fewer packages, or smaller ones",
            ) from None
        if status != 0:
            raise _failed(file, said)
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
