"""Values as JSON, with an error that says which value was none."""

import json
from collections.abc import Mapping


def _other(value):
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__} is not JSON")


def plain(text):
    """Text as it can be sent: half of a surrogate pair is no character (Unicode, section 3.9)."""
    return text.encode("utf-8", "replace").decode()


def to_json(value, what):
    """`value` as JSON text. `what` names it in the error."""
    try:
        return plain(json.dumps(value, default=_other, allow_nan=False, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise TypeError(f"{what} is not JSON: {reason}") from None
