"""`print`, standard error, `logging` and `warnings` write to the run's log, with their level.

While the component is built there is no run yet: what is printed goes to the build's output."""

import io
import logging
import sys
import warnings

from wit_world.imports import flow as host

from .state import in_run
from .values import plain

#: Bytes of a build's output that are kept.
MOST_OUTPUT = 1 << 20

_LEVELS = [
    (logging.ERROR, host.Level.ERROR),
    (logging.WARNING, host.Level.WARN),
    (logging.INFO, host.Level.INFO),
    (0, host.Level.DEBUG),
]
_output = []


def output():
    """What was printed while the component was built."""
    return "".join(_output)[:MOST_OUTPUT]


def line(level, text):
    """Adds one line to the run's log."""
    if in_run():
        host.log(level, plain(text))
    elif sum(map(len, _output)) < MOST_OUTPUT:
        _output.append(text + "\n")


class _Stream(io.TextIOBase):
    """Text, line by line, at one level."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, name, level):
        self.name, self._level, self._rest = name, level, ""

    @property
    def buffer(self):
        return _Bytes(self)

    def writable(self):
        return True

    def fileno(self):
        raise io.UnsupportedOperation("fileno")

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        *lines, self._rest = (self._rest + text).split("\n")
        for one in lines:
            line(self._level, one)
        if len(self._rest) > 64 << 10:
            self.end()
        return len(text)

    def end(self):
        """Writes a last line that has no end."""
        if self._rest:
            rest, self._rest = self._rest, ""
            line(self._level, rest)


class _Bytes(io.RawIOBase):
    def __init__(self, stream):
        self._stream = stream

    def writable(self):
        return True

    def write(self, data):
        self._stream.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


class _Handler(logging.Handler):
    def emit(self, record):
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        level = next(one for least, one in _LEVELS if record.levelno >= least)
        line(level, text)


def _basic_config(**options):
    """`logging.basicConfig`, whose handler is the run's log already."""
    handler = next((one for one in logging.root.handlers if isinstance(one, _Handler)), None)
    if options.get("handlers") or options.get("filename") or options.get("stream") or handler is None:
        return _own_basic_config(**options)
    if options.get("format"):
        handler.setFormatter(logging.Formatter(options["format"], options.get("datefmt"), options.get("style", "%")))
    if options.get("level") is not None:
        logging.root.setLevel(options["level"])


_own_basic_config = logging.basicConfig


def _show_warning(message, category, filename, lineno, file=None, line_text=None):
    line(host.Level.WARN, f"{filename}:{lineno}: {category.__name__}: {message}")


def end_lines():
    """Writes what was printed without an end of line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Stream):
            stream.end()


def install():
    sys.stdout = sys.__stdout__ = _Stream("<stdout>", host.Level.INFO)
    sys.stderr = sys.__stderr__ = _Stream("<stderr>", host.Level.ERROR)
    sys.stdin = sys.__stdin__ = io.StringIO()
    logging.root.addHandler(_Handler())
    logging.root.setLevel(logging.INFO)
    logging.basicConfig = _basic_config
    warnings.showwarning = _show_warning
