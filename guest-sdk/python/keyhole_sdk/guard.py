"""Random bytes come from the host, which is not there while the component is built: what is
drawn at the top level would be the same in every run."""

import os
import random
import sys
import weakref

from .state import in_run

_own = os.urandom
_Random = random.Random
_early = weakref.WeakSet()


def urandom(size, /):
    if not in_run():
        # Which draws a key when it is imported, for processes that there can't be.
        if sys._getframe(1).f_code.co_filename.startswith("/python/multiprocessing/"):
            return bytes(size)
        raise RuntimeError("random bytes at the top level would be the same in every run: draw them in handler")
    return _own(size)


class Random(_Random):
    """Seeds anew in each run what was seeded by nobody while the component was built."""

    def seed(self, a=None, version=2):
        if a is None and not in_run():
            _early.add(self)
        else:
            _early.discard(self)
        super().seed(a, version)


def seed_anew():
    for one in list(_early):
        one.seed()


def install():
    random.Random = Random
    # `random.SystemRandom`, and with it `secrets`, has a name of its own for it.
    os.urandom = random._urandom = urandom
