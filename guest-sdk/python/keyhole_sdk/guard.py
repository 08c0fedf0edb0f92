"""Random bytes come from the host, which is not there while the component is built: what is
drawn at the top level would be the same in every run."""

import os
import random

from .state import in_run

_own = os.urandom


def urandom(size, /):
    if not in_run():
        raise RuntimeError("random bytes at the top level would be the same in every run: draw them in handler")
    return _own(size)


def install():
    # `random.SystemRandom`, and with it `secrets`, has a name of its own for it.
    os.urandom = random._urandom = urandom
