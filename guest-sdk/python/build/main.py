"""The build of one step: python3 -I main.py REQUEST.json. `keyhole build` starts it.

The request names the author's file, the folder to work in, the WIT and the packages that every
step has; the answer is written to `answer.json` in the folder to work in, the component to
`step.wasm`.

componentize-py runs the author's top level in WebAssembly, and lets it read and write the
folders that it is given. So it is given copies, and none of this machine's own."""

import json
import keyword
import os
import re
import shutil
import stat
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import bounded  # noqa: E402
import packages  # noqa: E402
from problem import Problem  # noqa: E402
from source import Source  # noqa: E402

SDK = Path(__file__).resolve().parent.parent
SCRIPT = "from componentize_py import script; script()"
#: Bytes of each file that the author's code leaves, and that is read.
MOST_LEFT = 16 << 20


def left(folder, name):
    """What the snapshot left; None if it left nothing. Whatever is there, the author's code may
    have put it there: a link is not followed."""
    try:
        handle = os.open(folder / f"{name}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        try:
            return json.loads(file.read(MOST_LEFT))
        except ValueError:
            return None


def failed(source, problem, said):
    """Why there is no component."""
    if isinstance(problem, dict) and isinstance(problem.get("message"), str):
        place = None
        if problem.get("file"):
            place = ":".join(
                str(one) for one in (source.root / problem["file"], problem.get("line"), problem.get("column")) if one
            )
        return Problem(problem["message"], place, problem.get("help"))
    # What is on a stack of the tool's own helps nobody.
    own = said.rpartition("AssertionError: ")[2].partition("Stack backtrace:")[0]
    text = re.sub(r"\s*Caused by:\s*", ": ", own.strip()).strip(": ")
    if "memory" in text.lower() or "allocat" in text.lower():
        text = "it needs more memory than a build has"
    return Problem(
        f"the step's top level failed: {text or 'it broke off'}",
        help="what stands outside of functions is run when the step is built: see that it ends, and what it allocates",
    )


def module_name(stem):
    """What the author's module is imported as: its own name, unless Python or this build has a module
    of that name, or it can be none."""
    name = re.sub(r"\W", "_", stem)
    taken = name in sys.stdlib_module_names or name in ("keyhole_app", "keyhole_sdk", "wit_world")
    return f"step_{name}" if taken or not name.isidentifier() or keyword.iskeyword(name) else name


def programs(folder, *more):
    """What is not for the component: the programs that pip puts beside packages, and what Python made of their text."""
    rest = shutil.ignore_patterns("__pycache__", *more)
    return lambda at, names: {*rest(at, names), *(["bin"] if os.path.samefile(at, folder) else [])}


def build(request):
    work, entry = Path(request["work"]), Path(request["entry"])
    source = Source(entry)
    requirements = entry.parent / "requirements.txt"
    named = packages.installed(requirements, request["packages"])
    module = module_name(entry.stem)

    folders = {name: work / name for name in ("app", "source", "packages", "own", "none")}
    source.copy(folders["source"])
    if module != entry.stem:
        (folders["source"] / entry.name).rename(folders["source"] / f"{module}.py")
    folders["app"].mkdir()
    shutil.copyfile(SDK / "build/keyhole_app.py", folders["app"] / "keyhole_app.py")
    shutil.copytree(SDK / "keyhole_sdk", folders["app"] / "keyhole_sdk")
    (folders["app"] / "step.json").write_text(
        json.dumps({"module": module, "file": entry.name, "name": request["name"]})
    )
    if named is None:
        folders["packages"].mkdir()
    else:
        shutil.copytree(named, folders["packages"], ignore=programs(named))
    shutil.copytree(request["own"], folders["own"], ignore=programs(request["own"], "*.so"))
    # componentize-py lets the step see the packages of the virtual environment that is active, or
    # of this Python: this one has none.
    (folders["none"] / "lib/python3/site-packages").mkdir(parents=True)

    environment = {"PATH": os.defpath, "VIRTUAL_ENV": str(folders["none"]), "TMPDIR": str(work / "tmp")}
    command = [
        sys.executable,
        "-I",
        "-c",
        SCRIPT,
        "-q",
        "-d",
        request["wit"],
        "-w",
        "step",
        "componentize",
        "-o",
        str(work / "step.wasm"),
    ]
    for name in ("app", "source", "packages", "own"):
        command += ["-p", str(folders[name])]
    try:
        status, said = bounded.run([*command, "keyhole_app"], [work], env=environment, cwd=folders["none"])
    except bounded.TooMuch:
        raise Problem(
            f"the step's top level wrote more than {bounded.MOST_WRITTEN >> 20} MiB of files",
            help="what stands outside of functions is run when the step is built: keep files out of it",
        ) from None
    output = left(folders["app"], "output")
    if isinstance(output, str):
        print(output, end="")
    problem, definition = left(folders["app"], "problem"), left(folders["app"], "definition")
    if status != 0 or problem is not None or not isinstance(definition, str):
        raise failed(source, problem, said)
    inputs = [str(file) for file in source.files]
    return {"definition": definition, "inputs": [*inputs, str(requirements)], "folders": source.folders}


with open(sys.argv[1]) as file:
    request = json.load(file)
try:
    answer = build(request)
except Problem as error:
    answer = {"problems": [error.said]}
Path(request["work"], "answer.json").write_text(json.dumps(answer))
