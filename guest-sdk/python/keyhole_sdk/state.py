"""Whether a call of the host is under way: only then may its imports be called. A build
runs what stands outside of functions without them."""

_calls = False


def in_run():
    return _calls


def enter_call():
    global _calls
    _calls = True


def only_in_run(what):
    if not _calls:
        raise RuntimeError(
            f"{what} is not there while the step is built: use it in handler, which is called in each run"
        )
