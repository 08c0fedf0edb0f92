"""The module that componentize-py is given: it makes ready what a step finds, imports the
author's module, and leaves word of how that went in the folder of this file.

It runs within the snapshot, where nothing of the machine is to be seen but copies that the
build made for it."""

import json
import os
import sys
import traceback

HERE = os.path.dirname(__file__)

sys.dont_write_bytecode = True

from keyhole_sdk import modules  # noqa: E402

# In the order of the folders that main.py names.
SOURCE, PACKAGES, OWN = "/1", "/2", "/3"
with open(f"{HERE}/step.json") as file:
    ASKED = json.load(file)
modules.install(
    {HERE: "", SOURCE: "", PACKAGES: "site-packages/", OWN: "site-packages/"},
    {f"{SOURCE}/{ASKED['module']}.py": ASKED["file"]},
)

from keyhole_sdk import files, guard, log, net, tls  # noqa: E402

log.install()
tls.install()
net.install()
guard.install()
files.home()

import asyncio  # noqa: E402, F401
import datetime  # noqa: E402, F401
import http.client  # noqa: E402, F401
import importlib  # noqa: E402
import pkgutil  # noqa: E402
import urllib.request  # noqa: E402, F401
import uuid  # noqa: E402, F401

import wit_world  # noqa: E402
import wit_world.imports  # noqa: E402
from keyhole_sdk import props, step  # noqa: E402

# componentize-py asks for each of them once this module is there.
for module in pkgutil.iter_modules(wit_world.imports.__path__):
    importlib.import_module(f"wit_world.imports.{module.name}")


def leave(name, value):
    with open(f"{HERE}/{name}.json", "w") as file:
        json.dump(value, file)


def is_authors(name):
    return not os.path.isabs(name) and not name.startswith(("site-packages/", "keyhole_sdk/", "keyhole_app.py", "<"))


def problem_of(error):
    """What the top level failed with: a message, the author's file and line, and what to do."""
    if isinstance(error, props.SourceError):
        return {"message": str(error)}
    if isinstance(error, SyntaxError) and error.filename and is_authors(error.filename):
        return {"message": error.msg, "file": error.filename, "line": error.lineno, "column": error.offset}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_authors(frame.filename)]
    problem = {"file": frames[-1].filename, "line": frames[-1].lineno} if frames else {}
    if isinstance(error, ModuleNotFoundError):
        name = error.name or ""
        problem["message"] = f"there is no module {name}" if name else str(error)
        problem["help"] = (
            "name the package that it comes from in requirements.txt beside the step; packages must be pure Python"
        )
        if name in sys.stdlib_module_names or name.lstrip("_") in sys.stdlib_module_names:
            problem["message"] = f"Python's module {name} can't work in a step"
            problem["help"] = "README.md of guest-sdk/python lists what differs from ordinary Python"
        return problem
    said = (
        "it needs more memory than a build has"
        if isinstance(error, MemoryError)
        else traceback.format_exception_only(error)[-1].strip()
    )
    problem["message"] = f"the step's top level failed: {said}"
    problem["help"] = (
        "what stands outside of functions is run when the step is built: without accounts, network or files"
    )
    return problem


def build():
    try:
        made = step.Step(ASKED["module"], ASKED["name"])
    except BaseException as error:
        leave("problem", problem_of(error))
        raise SystemExit("the step does not build") from None
    finally:
        log.end_lines()
        leave("output", log.output())
    leave("definition", made.definition)
    modules.freeze()
    return made


STEP = build()


class WitWorld(wit_world.WitWorld):
    def definition(self):
        return STEP.definition

    def configure(self, prop, state):
        return STEP.configure(prop, state)

    def run(self, input):
        return STEP.run(input)
