"""Tries the whole of the API of Python steps.

Each test asks for one thing: `event["do"]` names the function."""

import asyncio
import logging
import os
import random
import socket
import sys
import time

import inflection
import words
from keyhole_sdk import ConfigurationError

name = "python-api"
version = "1.2.3"
props = {
    "bearer": {"type": "app", "app": "bearer_crm", "optional": True, "scopes": ["contacts.read"]},
    "basic": {"type": "app", "app": "basic_pay", "optional": True},
    "maps": {"type": "app", "app": "query_maps", "optional": True},
    "text": {"type": "string", "default": "hello", "description": "Some text"},
    "count": "integer",
    "colour": {"type": "string", "optional": True, "options": [{"label": "Blue", "value": "blue"}, "red"]},
    "list": {"type": "string[]", "optional": True, "options": lambda pd: [f"{pd.inputs['text']}-{pd.page}"]},
    "more": {"type": "boolean", "optional": True, "reload_props": True},
    "secret": {"type": "string", "optional": True, "secret": True},
    "store": {"type": "data_store", "optional": True},
}
props["count"] = {"type": "integer", "default": 3}

#: Without a seed: of each run, although it is made in the build.
EARLY = random.Random()
CRM = "https://api.bearer-crm.example"
SILENT = "https://api.silent.example"


def attempt(function, *values):
    try:
        return function(*values)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def outside():
    """What code finds of the machine."""
    tries = {
        "listed": lambda: os.listdir("/"),
        "passwd": lambda: open("/etc/passwd").read(),
        "above": lambda: os.listdir("/1/.."),
        "proc": lambda: open("/proc/self/environ").read(),
        "own": lambda: sorted(os.listdir(os.path.dirname(__file__))),
        "packages": lambda: [
            name
            for folder in sys.path
            for name in (os.listdir(folder) if os.path.isdir(folder) else [])
            if name.startswith(("pip", "setuptools", "componentize_py-"))
        ],
        "link": lambda: (
            os.symlink("../../../../../../../../etc/passwd", os.path.join(os.path.dirname(__file__), "link"))
            or open(os.path.join(os.path.dirname(__file__), "link")).read()
        ),
        "environment": lambda: {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "connected": lambda: socket.create_connection(("127.0.0.1", 22), 1).sendall(b"SSH-2.0-a\r\n\r\n"),
        "listened": lambda: socket.create_server(("127.0.0.1", 0)),
        "datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"a", ("127.0.0.1", 53)),
        "program": lambda: os.system("id"),
        "random": lambda: os.urandom(4).hex(),
    }
    return {key: attempt(one) for key, one in tries.items()}


print("at the top level")
SEEN = outside()


def additional_props(pd):
    return {"extra": {"type": "string", "label": f"After {pd.inputs['text']}"}} if pd.inputs["more"] else {}


def the_api(pd):
    import tempfile

    print("text is", 1)
    print("no end of line", end="")
    logging.debug("not shown")
    logging.warning("careful")
    logging.getLogger("own").error("wrong %s", "way")
    print("complaint", file=sys.stderr)
    pd.export("value", {"a": [1, None]})
    pd.export("$summary", "Done")
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/a.txt", "w") as file:
            file.write("kept in memory")
        with open(f"{folder}/a.txt") as file:
            temporary = [file.read(), os.listdir(folder)]
    import colorsys  # was not imported while the step was built

    async def turns():
        async def one(value):
            await asyncio.sleep(0.01)
            return value

        return await asyncio.gather(one(1), one(2))

    return {
        "text": pd.inputs["text"],
        "count": pd.inputs["count"],
        "extra": pd.inputs.get("extra"),
        "event": [pd.event["do"], pd.steps["trigger"]["event"]["do"]],
        "context": [pd.context["attempt"], pd.context["member"], pd.context["run"]["runs"]],
        "greeting": words.greeting(),
        "package": inflection.camelize("a_pure_package"),
        "temporary": temporary,
        "late": colorsys.rgb_to_hsv(1, 0, 0),
        "asyncio": asyncio.run(turns()),
        "random": os.urandom(8).hex(),
        "early_random": EARLY.random(),
        "half": "\ud83d",
        "missing": attempt(lambda: pd.inputs["bearer"]["$auth"]),
    }


def seen(pd):
    return {"built": SEEN, "run": outside()}


def store(pd):
    store = pd.inputs["store"]
    store["k"] = {"a": 1}
    first = store.set("once", 1, ttl=60, revision=None)
    again = store.set("once", 2, revision=None)
    changed = store.set("once", 3, revision=first)
    found = [
        store["k"],
        store.get("none", "otherwise"),
        "k" in store,
        "none" in store,
        again,
        changed is not None,
        store.entry("once")["value"],
    ]
    counted = [store.increment("count", 2), store.increment("count")]
    entries = [sorted(store), store.items("on"), len(store)]
    del store["k"]
    missing = attempt(lambda: store["k"])
    store.clear()
    return [found, counted, entries, missing, len(store)]


def fail(pd):
    how = pd.event["how"]
    if how == "configuration":
        raise ConfigurationError("the channel is missing")
    if how == "exit":
        sys.exit("no more")
    if how == "value":
        return {"when": object()}
    import late

    return late.fail(how)


def leave(pd):
    try:
        pd.flow.exit("nothing to do")
    except Exception:
        pass
    pd.export("after", True)


def pause(pd):
    urls = pd.flow.rerun(1000, {"n": 1}, 3)
    return sorted(urls)


def answer(pd):
    pd.respond({"status": 201, "headers": {"x-own": "yes"}, "body": {"made": True}})
    return attempt(lambda: pd.respond(status=99))


def placed(pd):
    import base64

    import requests

    auth = pd.inputs["bearer"]["$auth"]
    basic = pd.inputs["basic"]["$auth"]
    bearer = requests.get(f"{CRM}/placed", headers={"Authorization": f"Bearer {auth['oauth_access_token']}"})
    pair = requests.get("https://api.basic-pay.example/placed", auth=(basic["account"], basic["api_key"]))
    composed = base64.b64encode(f"{basic['account']}:{basic['api_key']}".encode()).decode()
    by_hand = requests.get("https://api.basic-pay.example/placed", headers={"Authorization": f"Basic {composed}"})
    query = requests.get(
        "https://api.query-maps.example/placed", params={"key": pd.inputs["maps"]["$auth"]["api_key"], "q": "a b"}
    )
    return [one.json() for one in (bearer, pair, by_hand, query)]


def http(pd):
    import http.client
    import urllib.error
    import urllib.request

    import requests

    session = requests.Session()
    session.headers["authorization"] = f"Bearer {pd.inputs['bearer']['$auth']['oauth_access_token']}"

    def streamed():
        with session.get(f"{CRM}/long", stream=True) as response:
            sizes = [len(chunk) for chunk in response.iter_content(100_000)]
        return [sum(sizes), len(sizes) > 5]

    def uploaded():
        parts = session.post(f"{CRM}/echo", data=(str(n).encode() * 50_000 for n in range(4)))
        return len(parts.json()["body"])

    def urllib_posted():
        asked = urllib.request.Request(
            f"{CRM}/echo",
            b'{"a": 1}',
            {"Authorization": session.headers["authorization"], "content-type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=10) as response:
            import json

            return [response.status, response.headers["content-type"], json.load(response)["body"]]

    def urllib_failed():
        try:
            urllib.request.urlopen(f"{CRM}/missing")
        except urllib.error.HTTPError as error:
            return [error.code, error.read().decode()]

    def by_client():
        connection = http.client.HTTPSConnection("api.bearer-crm.example", timeout=10)
        answers = []
        for n in range(2):
            connection.request("PUT", f"/echo?n={n}", body="x")
            answers.append(connection.getresponse().read()[:1].decode())
        return answers

    return {
        "json": session.post(f"{CRM}/echo", json={"a": 1}, params={"n": [1, 2]}).json(),
        "form": session.post(f"{CRM}/echo", data={"a": "1 2"}).json()["body"],
        "file": 'name="f"; filename="a.txt"'
        in session.post(f"{CRM}/echo", files={"f": ("a.txt", b"content")}).json()["body"],
        "redirect": [session.get(f"{CRM}/redirect").url, len(session.get(f"{CRM}/redirect").history)],
        "packed": session.get(f"{CRM}/packed").text,
        "cookies": [
            session.get(f"{CRM}/cookie").status_code,
            session.get(f"{CRM}/echo").json()["headers"].get("cookie"),
        ],
        "empty": [session.head(f"{CRM}/echo").status_code, session.delete(f"{CRM}/empty").status_code],
        "streamed": streamed(),
        "uploaded": uploaded(),
        "unverified": session.get(f"{CRM}/echo", verify=False).status_code,
        "urllib": [urllib_posted(), urllib_failed()],
        "client": by_client(),
        "slow": attempt(lambda: requests.get(f"{SILENT}/", timeout=0.3)).partition(":")[0],
        "refused": attempt(lambda: session.get("https://elsewhere.example/a?b=c")),
        "proxied": attempt(lambda: session.get(f"{CRM}/echo", proxies={"https": "http://127.0.0.1:1"})),
    }


def broken(pd):
    import requests

    how = pd.event["how"]
    if how == "refused":
        return requests.get("https://elsewhere.example/").text
    response = requests.get(SILENT if how == "silent" else f"{CRM}/{how}", timeout=0.3)
    response.raise_for_status()


def timed(pd):
    began = time.monotonic()
    time.sleep(0.05)
    return time.monotonic() - began >= 0.05


def handler(pd):
    # A trigger's event has what was sent to it in its body.
    asked = pd.event.get("do") or pd.event["body"]["do"]
    return globals()[asked](pd)
