"""`pd`: what a step is given, and what it tells the workflow that it is part of."""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

from componentize_py_types import Err
from wit_world.imports import flow as host

from .account import Account, is_linked
from .data import DataStore
from .failure import StepError
from .props import prop_of
from .values import to_json

DAY = 24 * 3600 * 1000
YEAR = 365 * DAY


class FlowExit(BaseException):
    """Ends `handler`; the host was told already. No `except Exception` stops it."""


def _told(what, call, *values):
    try:
        return call(*values)
    except Err as error:
        raise StepError(f"{what}: {error.value.value}") from None


def _milliseconds(value, what):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= YEAR:
        raise StepError(f"{what} takes a number of milliseconds, a year at most, not {value!r}")
    return round(value)


def _urls(callbacks):
    return {"resume_url": callbacks.resume_url, "cancel_url": callbacks.cancel_url}


class Flow:
    """What comes after this step."""

    def exit(self, reason=""):
        """Ends the workflow, and this step at once."""
        host.exit("" if reason is None else str(reason))
        raise FlowExit

    def delay(self, ms):
        """Has the workflow wait between this step's return and the next step."""
        _told("pd.flow.delay", host.delay, _milliseconds(ms, "pd.flow.delay"))

    def suspend(self, ms=DAY):
        """Has the workflow wait after this step until `resume_url` is called, or that long."""
        return _urls(_told("pd.flow.suspend", host.suspend, _milliseconds(ms, "pd.flow.suspend")))

    def rerun(self, ms=0, context=None, retries=10):
        """Has this step run again, then or when `resume_url` is called; `pd.context["run"]` has
        `runs`, `context` and `callback_request`."""
        value = to_json({} if context is None else context, "the context given to pd.flow.rerun")
        return _urls(_told("pd.flow.rerun", host.rerun, _milliseconds(ms, "pd.flow.rerun"), value, retries))


class Send:
    """Requests that a step leaves to be sent."""

    def http(self, options=None, /, **more):
        """Sends `method`, `url`, `headers`, `params`, `data` and gives the answer, whatever its status."""
        import requests

        asked = {"method": "POST", **(options or {}), **more}
        if "url" not in asked:
            raise StepError("pd.send.http needs a url")
        url, data, headers = asked["url"], asked.get("data", asked.get("body")), dict(asked.get("headers") or {})
        if asked.get("params"):
            url += ("&" if "?" in url else "?") + urlencode(asked["params"], doseq=True)
        body = {"data": data} if data is None or isinstance(data, (str, bytes)) else {"json": data}
        return requests.request(asked["method"].upper(), url, headers=headers, **body)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise StepError(f"pd.send.{name} is not there: use an app with an HTTP API, return the value, or use pd.export")


def _body(body):
    if body is None:
        return b"", None
    if isinstance(body, str):
        return body.encode(), None
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), None
    return to_json(body, "pd.respond's body").encode(), "application/json; charset=utf-8"


def _context(context):
    """The host's context under the names that such code knows."""
    run = {
        "id": context["run"],
        "runs": context.get("runs", 1),
        "context": context.get("rerun"),
        "callback_request": context.get("resumed"),
    }
    workflow = context.get("workflow")
    return {
        **context,
        "id": context["run"],
        "trace_id": context["run"],
        "workflow_id": workflow or "keyhole-run",
        "workflow_name": workflow or "keyhole run",
        "owner_id": context["member"],
        "ts": datetime.now(UTC).isoformat(),
        "run": run,
    }


def inputs_of(props, values):
    """The step's inputs: values as they are, accounts and data stores as what they stand for."""
    inputs = {}
    for name, declared in props.items():
        prop = prop_of(name, declared)
        if prop["type"] == "app":
            inputs[name] = None if prop.get("optional") and not is_linked(name) else Account(name, prop["app"])
        elif prop["type"] == "data_store":
            inputs[name] = DataStore(name, values.get(name))
        else:
            inputs[name] = values.get(name)
    # What `additional_props` added is not in the step's source.
    return inputs | {name: value for name, value in values.items() if name not in inputs and not name.startswith("$")}


class Pd:
    """What `handler` is given."""

    def __init__(self, props, values, event=None, steps=None, context=None):
        self.inputs = inputs_of(props, values)
        self.event = event
        self.steps = dict(steps or {})
        self.context = _context(context) if context else {}
        self.steps.setdefault("trigger", {"event": event, "context": self.context})
        self.flow = Flow()
        self.send = Send()

    def export(self, name, value):
        """A value for later steps, which read it as `steps.<step>.<name>`; `$summary` is a line for people."""
        what = f"pd.export({name!r})"
        _told(what, host.export, str(name), to_json(value, what))

    def respond(self, response=None, /, **more):
        """Answers the trigger's caller: `status`, `headers`, `body`, `immediate`."""
        asked = {"status": 200, **(response or {}), **more}
        body, kind = _body(asked.get("body"))
        headers = [
            (str(name), str(one))
            for name, value in (asked.get("headers") or {}).items()
            for one in (value if isinstance(value, list) else [value])
        ]
        if kind is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("content-type", kind))
        if not isinstance(asked["status"], int) or not 200 <= asked["status"] <= 599:
            raise StepError(f"pd.respond takes a status from 200 to 599, not {asked['status']!r}")
        _told("pd.respond", host.respond, host.Response(asked["status"], headers, body, asked.get("immediate") is True))

    @classmethod
    def of_run(cls, props, input):
        return cls(
            props, json.loads(input.props), json.loads(input.event), json.loads(input.steps), json.loads(input.context)
        )
