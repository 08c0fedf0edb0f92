"""App props: `pd.inputs["slack"]["$auth"]`, asked of the host when it is first read."""

from collections.abc import Mapping

from componentize_py_types import Err
from wit_world.imports import accounts as host

from .failure import StepError
from .state import only_in_run


class Account(Mapping):
    """An app prop: `$auth` is the account's fields, `$request` how a request for it looks."""

    def __init__(self, prop, app):
        self._prop, self._app = prop, app
        self._auth = self._linked = None

    def _account(self):
        only_in_run(f'pd.inputs["{self._prop}"]["$auth"]')
        if self._linked is None:
            try:
                self._linked = host.linked(self._prop)
            except Err as error:
                again = isinstance(error.value, host.AccessError_Unavailable)
                raise StepError(error.value.value, "access", again) from None
        return self._linked

    def __getitem__(self, key):
        if key == "$auth":
            if self._auth is None:
                self._auth = {field.name: field.value for field in self._account().auth()}
            return self._auth
        if key == "$request":
            request = self._account().request()
            return {"base_url": request.base_url, "headers": dict(request.headers), "query": dict(request.query)}
        if key == "$app":
            return self._app
        raise KeyError(key)

    def __iter__(self):
        return iter(("$app", "$auth", "$request"))

    def __len__(self):
        return 3

    def __repr__(self):
        return f"<{self._app} account of the prop {self._prop}>"


def is_linked(prop):
    """Whether the workflow links an account to an optional prop."""
    try:
        host.linked(prop)
    except Err as error:
        return not isinstance(error.value, host.AccessError_NotLinked)
    return True
