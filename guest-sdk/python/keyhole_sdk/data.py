"""Props of type `data_store`: the host's data stores as mappings."""

import json
from collections.abc import MutableMapping
from datetime import UTC, datetime

from componentize_py_types import Err
from wit_world.imports import data as host

from .failure import StepError
from .state import only_in_run
from .values import to_json

PAGE = 100


def _told(call, *values):
    try:
        return call(*values)
    except Err as error:
        said = error.value
        linked = isinstance(said, host.DataError_NotLinked)
        again = isinstance(said, host.DataError_Unavailable)
        raise StepError(said.value, "input" if linked else "step", again) from None


def _milliseconds(ttl):
    """Seconds, as the contract's milliseconds."""
    if ttl is None:
        return None
    if not isinstance(ttl, (int, float)) or not ttl > 0:
        raise StepError(f"ttl takes a number of seconds above 0, not {ttl!r}")
    return max(1, round(ttl * 1000))


_ANY = object()


def _expect(revision):
    """The contract's condition: a revision, or None for "only if there is none"."""
    if revision is _ANY:
        return host.Expect_Anything()
    return host.Expect_Absent() if revision is None else host.Expect_Revision(revision)


class DataStore(MutableMapping):
    """Values by key that outlive the run. What is put in is on disk when the call returns."""

    def __init__(self, prop, name):
        self.name = name
        self._prop = prop
        self._handle = None

    @property
    def _store(self):
        only_in_run(f'pd.inputs["{self._prop}"]')
        if self._handle is None:
            self._handle = _told(host.open, self._prop)
        return self._handle

    def _pages(self, prefix=""):
        after = None
        while page := _told(self._store.entries, prefix, after, PAGE):
            after = page[-1].key
            yield from page

    def __getitem__(self, key):
        found = _told(self._store.get, key)
        if found is None:
            raise KeyError(key)
        return json.loads(found.value)

    def __setitem__(self, key, value):
        self.set(key, value)

    def __delitem__(self, key):
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key):
        return isinstance(key, str) and _told(self._store.get, key) is not None

    def __iter__(self):
        return (entry.key for entry in self._pages())

    def __len__(self):
        return sum(1 for _ in self._pages())

    def entry(self, key):
        """The value with its `revision`, and when it `expires`; None if there is none."""
        found = _told(self._store.get, key)
        if found is None:
            return None
        expires = found.expires and datetime.fromtimestamp(found.expires / 1000, UTC)
        return {"key": key, "value": json.loads(found.value), "revision": found.revision, "expires": expires}

    def set(self, key, value, ttl=None, revision=_ANY):
        """Puts `value` at `key`, for `ttl` seconds or for good. With `revision`: only if the entry
        still has it, or with None if there is none. Gives the new revision; None if that did not hold."""
        text = to_json(value, f"the value for {key!r}")
        return _told(self._store.set, key, text, _milliseconds(ttl), _expect(revision))

    def delete(self, key, revision=_ANY):
        """Whether it was there, and of that revision, and is gone."""
        return _told(self._store.delete, key, _expect(revision))

    def increment(self, key, by=1, ttl=None):
        """Adds to the integer at `key`, 0 if there is none; no other change comes in between."""
        return _told(self._store.increment, key, by, _milliseconds(ttl))

    def items(self, prefix=""):
        return [(entry.key, json.loads(entry.value)) for entry in self._pages(prefix)]

    def keys(self, prefix=""):
        return [entry.key for entry in self._pages(prefix)]

    def values(self):
        return [value for _, value in self.items()]

    def clear(self):
        _told(self._store.clear)

    def __repr__(self):
        return f"<data store {self.name}>"
