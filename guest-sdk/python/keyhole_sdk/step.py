"""The three exports of the world `step`, for a module with `handler`."""

import asyncio
import importlib
import inspect
import json

from . import flow, log, loop
from .failure import failure_of
from .props import SourceError, definition_of, described, prop_of
from .guard import seed_anew
from .state import enter_call
from .values import to_json


def load(name):
    """The author's module."""
    module = importlib.import_module(name)
    if not callable(getattr(module, "handler", None)):
        raise SourceError("the step has no handler: write `def handler(pd):`")
    return module


def _called(function, *values):
    value = function(*values)
    return asyncio.run(value) if inspect.iscoroutine(value) else value


class Step:
    """One step: its module, and its definition."""

    def __init__(self, name, file):
        self._module = load(name)
        self._props = getattr(self._module, "props", {})
        self.definition = json.dumps(definition_of(self._module, file))

    def _calling(self, work, *values):
        enter_call()
        seed_anew()
        try:
            return work(*values)
        except BaseException as error:
            if isinstance(error, SystemExit) and error.code in (None, 0):
                return "null"
            raise failure_of(error) from None
        finally:
            log.end_lines()

    def run(self, input):
        return self._calling(self._run, input)

    def _run(self, input):
        try:
            value = _called(self._module.handler, flow.Pd.of_run(self._props, input))
        except flow.FlowExit:
            value = None
        return to_json(value, "what handler returned")

    def configure(self, prop, state):
        return self._calling(self._configure, prop, state)

    def _configure(self, prop, state):
        values = json.loads(state)
        pd = flow.Pd(self._props, values)
        pd.page, pd.previous, pd.query = (
            values.get("$page", 0),
            values.get("$prevContext", {}),
            values.get("$query", ""),
        )
        declared = prop_of(prop, self._props[prop]) if prop in self._props else {}
        answer = {}
        # The host wants the props that are added alone: options may take a request each.
        if callable(declared.get("options")) and not values.get("$propsOnly", False):
            given = _called(declared["options"], pd)
            answer = dict(given) if isinstance(given, dict) else {"options": list(given)}
        if hasattr(self._module, "additional_props") and (not declared or declared.get("reload_props")):
            answer["props"] = described(_called(self._module.additional_props, pd))
        return to_json(answer, "what the options function gave")


loop.install()
