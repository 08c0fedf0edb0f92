"""A step's props: what its source says of them, and what the contract's `definition` says."""

import re

SEMVER = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
TYPES = re.compile(r"app|data_store|(string|integer|number|boolean|object|any)(\[\])?")
KEPT = ("label", "description", "optional", "default", "secret")


class SourceError(Exception):
    """A fault of the author's file as a whole: the build shows its message alone."""


def prop_of(name, declared):
    """A prop as it is meant: a text is its type."""
    prop = {"type": declared} if isinstance(declared, str) else declared
    if not isinstance(prop, dict):
        raise SourceError(f"the prop {name} is not a dict with a type but {prop!r}")
    kind = prop.get("type")
    if not isinstance(kind, str) or not TYPES.fullmatch(kind):
        raise SourceError(
            f"the prop {name} has the type {kind!r}: use app, data_store, or string, integer, number, boolean, object, any, each also with []"
        )
    if kind == "app" and not isinstance(prop.get("app"), str):
        raise SourceError(f'the prop {name} names no app: write {{"type": "app", "app": "slack"}}')
    return prop


def _described(name, declared):
    prop = prop_of(name, declared)
    described = {"type": prop["type"]}
    if prop["type"] == "app":
        described["app"] = prop["app"]
        if prop.get("scopes"):
            scopes = prop["scopes"]
            described["scopes"] = [scopes] if isinstance(scopes, str) else list(scopes)
    described |= {key: prop[key] for key in KEPT if prop.get(key) is not None and prop[key] is not False}
    options = prop.get("options")
    if callable(options) or prop.get("reload_props"):
        described["configure"] = True
    if prop.get("reload_props"):
        described["reload"] = True
    if options is not None and not callable(options):
        described["options"] = list(options)
    return described


def described(props):
    """Every prop as the contract has it, in the author's order."""
    if not isinstance(props, dict):
        raise SourceError(f"props is not a dict from name to prop but {props!r}")
    return {name: _described(name, prop) for name, prop in props.items()}


def definition_of(module, file):
    """The contract's definition, as a dict."""

    def text(name):
        value = getattr(module, name, None)
        return value if isinstance(value, str) else None

    name = re.sub(r"[^a-z0-9-]+", "-", (text("name") or file).lower()).strip("-")[:64]
    version = text("version") or ""
    definition = {
        "name": name or "step",
        "version": version if SEMVER.fullmatch(version) else "0.0.1",
        "props": described(getattr(module, "props", {})),
    }
    about = text("description") or (module.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    if about:
        definition["description"] = about if len(about) <= 1024 else about[:1023] + "…"
    return definition
