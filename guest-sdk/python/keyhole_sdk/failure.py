"""What a step raises, as the contract's `failure`."""

import traceback

from componentize_py_types import Err
from wit_world.imports import keyhole_step_types as types

from .values import plain

KINDS = types.FailureKind
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class StepError(Exception):
    """An error that ends a call with a kind of its own."""

    def __init__(self, message, kind="step", retry=False):
        super().__init__(message)
        self.kind = kind
        self.retry = retry


class ConfigurationError(StepError):
    """A prop or the event has the wrong shape."""

    def __init__(self, message):
        super().__init__(message, "input")


def _wraps(error):
    """Whether it is a library's own for what went wrong below it."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or library in ("requests", "urllib3", "urllib", "http", "httpx", "httpcore")


def _causes(error):
    """The error and what it came from: causes, errors that libraries wrap as arguments, and what a library was doing
    when it failed. What an author's own error followed is another matter, unless they say that it came from it."""
    seen, waiting = set(), [error]
    while waiting and len(seen) < 50:
        one = waiting.pop(0)
        if one is None or id(one) in seen or not isinstance(one, BaseException):
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, getattr(one, "reason", None), *one.args]
        if _wraps(one) and not one.__suppress_context__:
            waiting.append(one.__context__)


def _status(error):
    for holder in (getattr(error, "response", None), error):
        for name in ("status_code", "status", "code"):
            status = getattr(holder, name, None)
            if isinstance(status, int) and 400 <= status < 600:
                return int(status)
    return None


def _kind(error):
    """The kind, whether to try again, and a message that says more than the error's own."""
    if isinstance(error, StepError):
        return error.kind, error.retry, str(error)
    if (status := _status(error)) is not None:
        return "upstream", status in TRANSIENT, None
    for one in _causes(error):
        # What the host said is deep in what libraries made of it.
        if (kind := getattr(one, "keyhole_kind", None)) is not None:
            message = f"{type(error).__name__}: {one}" if _wraps(error) else None
            return kind, one.keyhole_retry, str(one) if one is error else message
    if isinstance(error, TimeoutError) or type(error).__name__ in ("ReadTimeout", "ConnectTimeout", "Timeout"):
        return "upstream", True, None
    return "step", False, None


def _own(frame):
    name = frame.filename.removeprefix("/0/")
    return not name.startswith(("keyhole_sdk/", "keyhole_app.py", "/world/", "<frozen importlib"))


def trace_of(error):
    """The author's frames and those of packages, as Python prints them."""
    lines, seen = [], set()

    def add(one):
        if one is None or id(one) in seen or len(seen) > 5:
            return
        seen.add(id(one))
        before = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if before is not None and id(before) not in seen:
            add(before)
            lines.append("which led to:")
        for frame in traceback.extract_tb(one.__traceback__):
            if _own(frame):
                lines.append(f'File "{frame.filename}", line {frame.lineno}, in {frame.name}')
                if frame.line:
                    lines.append(f"  {frame.line}")
        said = traceback.format_exception_only(one)
        lines.append(said[-1].rstrip("\n") if said else type(one).__name__)

    add(error)
    return "\n".join(lines)


def failure_of(error):
    """Whatever was raised, to be raised to the host."""
    if isinstance(error, SystemExit):
        said = plain(f"the step called sys.exit({error.code!r})")
        return Err(types.Failure(said, KINDS.STEP, False, plain(trace_of(error))))
    kind, retry, message = _kind(error)
    if message is None:
        text = str(error)
        message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return Err(types.Failure(plain(message), KINDS[kind.upper()], retry, plain(trace_of(error))))
