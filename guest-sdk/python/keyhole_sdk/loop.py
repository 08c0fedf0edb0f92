"""asyncio without sockets: one thread, timers and tasks. A request blocks; everything else takes turns."""

import asyncio
import selectors
import time


class _Clock(selectors.BaseSelector):
    """Nothing is ever ready; there is only time to wait for."""

    def register(self, fileobj, events, data=None):
        raise OSError("a step has no sockets to wait for")

    def unregister(self, fileobj):
        raise KeyError(fileobj)

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("every task waits for another one, so none would ever go on")
        if timeout > 0:
            time.sleep(timeout)
        return []

    def get_map(self):
        return {}


class Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        super().__init__(_Clock())

    def _make_self_pipe(self):
        self._csock = self._ssock = None
        self._internal_fds = 0

    def _close_self_pipe(self):
        pass

    def _write_to_self(self):
        pass


def install():
    asyncio.DefaultEventLoopPolicy._loop_factory = Loop
    asyncio.new_event_loop = asyncio.events.new_event_loop = Loop
