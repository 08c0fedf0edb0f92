"""What goes into every component of a Python step: the step's API, and what stands where
Python expects files, sockets and TLS.

A step needs nothing of it; `ConfigurationError` and `StepError` are there for those who want to
say what kind of error it is."""


def __getattr__(name):
    # Late: what they need is there once a step is being built.
    if name in ("ConfigurationError", "StepError"):
        from . import failure

        return getattr(failure, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
