"""Values as JSON, with an error that says which value was none."""

import json
from collections.abc import Mapping


def _other(value):
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__} is not JSON")


def to_json(value, what):
    """`value` as JSON text. `what` names it in the error."""
    try:
        return json.dumps(value, default=_other, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise TypeError(f"{what} is not JSON: {reason}") from None
