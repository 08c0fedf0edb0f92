"""One HTTP exchange through `wasi:http`: where every request leaves for the host's broker."""

from componentize_py_types import Err, Ok
from wit_world.imports import monotonic_clock, outgoing_handler, poll, streams
from wit_world.imports import wasi_http_types as http

#: How the host's broker begins the message of a refusal.
REFUSAL = "keyhole: "
CHUNK = 64 << 10

#: What `wasi:http` sets by itself, or knows nothing of.
_CONNECTION = {
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}

_SAID = {
    http.ErrorCode_DnsTimeout: "looking up its host took too long",
    http.ErrorCode_DnsError: "its host was not found",
    http.ErrorCode_DestinationNotFound: "its host was not found",
    http.ErrorCode_ConnectionRefused: "the connection was refused",
    http.ErrorCode_ConnectionTerminated: "the connection was closed before the answer was complete",
    http.ErrorCode_TlsCertificateError: "the service's TLS certificate is not trusted",
    http.ErrorCode_HttpRequestBodySize: "the request's body is not as long as its content-length says",
    http.ErrorCode_HttpRequestMethodInvalid: "the request's method is not valid",
    http.ErrorCode_HttpRequestUriInvalid: "the request's URL is not valid",
}
_TIMEOUTS = (
    http.ErrorCode_ConnectionTimeout,
    http.ErrorCode_ConnectionReadTimeout,
    http.ErrorCode_ConnectionWriteTimeout,
    http.ErrorCode_HttpResponseTimeout,
)


class RequestFailed(ConnectionError):
    """A request that the broker refused, or that got no answer."""

    def __init__(self, message, kind, retry):
        super().__init__(message)
        self.keyhole_kind, self.keyhole_retry = kind, retry


class RequestTimedOut(TimeoutError):
    """A request that took longer than its timeout."""

    keyhole_kind, keyhole_retry = "upstream", True


def _failed(what, code):
    if isinstance(code, http.ErrorCode_InternalError) and code.value:
        refused = code.value.startswith(REFUSAL)
        return RequestFailed(
            code.value if refused else f"{what}: {code.value}", "refused" if refused else "upstream", not refused
        )
    if isinstance(code, _TIMEOUTS):
        return RequestTimedOut(f"{what}: the service did not answer in time")
    denied = isinstance(code, (http.ErrorCode_HttpRequestDenied, http.ErrorCode_DestinationIpProhibited))
    said = _SAID.get(type(code)) or (
        "the host does not allow this request" if denied else type(code).__name__.partition("_")[2]
    )
    return RequestFailed(
        f"{what}: {said}",
        "refused" if denied else "upstream",
        isinstance(
            code,
            (
                http.ErrorCode_DnsTimeout,
                http.ErrorCode_DnsError,
                http.ErrorCode_ConnectionRefused,
                http.ErrorCode_ConnectionTerminated,
            ),
        ),
    )


def _method(name):
    known = getattr(http, f"Method_{name.capitalize()}", None)
    return known() if known and name.isupper() and name != "OTHER" else http.Method_Other(name)


def wait(pollable, timeout, what):
    """Until it is ready, or `timeout` seconds have passed."""
    with pollable:
        if timeout is None:
            pollable.block()
            return
        with monotonic_clock.subscribe_duration(max(1, int(timeout * 1e9))) as clock:
            if 0 not in poll.poll([pollable, clock]):
                raise RequestTimedOut(f"{what}: not done within {timeout:g} s")


class Exchange:
    """A request whose body is written as it comes, and its answer, read as it comes."""

    def __init__(self, scheme, authority, method, target, headers, timeout):
        self.what = f"{method} {scheme}://{authority}{target.partition('?')[0]}"
        fields = [(name.lower(), value) for name, value in headers if name.lower() not in _CONNECTION]
        try:
            request = http.OutgoingRequest(http.Fields.from_list(fields))
            request.set_method(_method(method))
            request.set_scheme(http.Scheme_Https() if scheme == "https" else http.Scheme_Http())
            request.set_authority(authority)
            request.set_path_with_query(target)
        except Err as error:
            reason = type(error.value).__name__.partition("_")[2]
            raise RequestFailed(
                f"{self.what}: the method, the URL or a header is not valid{f' ({reason})' if reason else ''}",
                "step",
                False,
            ) from None
        # Kept by this side: clients change it between connecting and reading.
        self._timeout = timeout
        self._cut = False
        self._body = request.body()
        self._out = self._body.write()
        try:
            self._future = outgoing_handler.handle(request, None)
        except Err as error:
            raise _failed(self.what, error.value) from None
        self._response = self._in = self._in_body = None

    def set_timeout(self, timeout):
        """Seconds that each wait for the answer may take."""
        self._timeout = timeout

    def write(self, data):
        """Sends a part of the body. A service may answer before it has all of it, and read no more:
        what it answers is then told by `head`."""
        view = memoryview(data)
        try:
            while view and not self._cut:
                room = self._out.check_write()
                if room == 0:
                    wait(self._out.subscribe(), self._timeout, self.what)
                    continue
                part = bytes(view[: min(room, CHUNK)])
                self._out.write(part)
                view = view[len(part) :]
        except Err as error:
            self._cut_off(error.value)

    def finish(self):
        """Ends the body."""
        out, body = self._out, self._body
        self._out = self._body = None
        try:
            out.flush()
        except Err as error:
            self._cut_off(error.value)
        finally:
            out.__exit__(None, None, None)
        try:
            http.OutgoingBody.finish(body, None)
        except Err as error:
            if not self._cut:
                raise _failed(self.what, error.value) from None

    def _cut_off(self, error):
        if not isinstance(error, streams.StreamError_Closed):
            raise self._broken(error) from None
        self._cut = True

    def _broken(self, error):
        """What a stream failed with."""
        with error.value as reason:
            code = http.http_error_code(reason)
            return _failed(self.what, code or http.ErrorCode_InternalError(reason.to_debug_string()))

    def head(self):
        """The answer's status and headers, when they are there."""
        while (answer := self._future.get()) is None:
            wait(self._future.subscribe(), self._timeout, self.what)
        self._future.__exit__(None, None, None)
        self._future = None
        if isinstance(answer, Ok) and isinstance(answer.value, Ok):
            self._response = answer.value.value
        elif isinstance(answer, Ok):
            raise _failed(self.what, answer.value.value)
        else:
            raise RequestFailed(f"{self.what}: its answer was read already", "step", False)
        with self._response.headers() as headers:
            fields = headers.entries()
        status = self._response.status()
        self._in_body = self._response.consume()
        self._in = self._in_body.stream()
        return status, fields

    def read(self, most):
        """Bytes of the answer's body; none at its end."""
        try:
            while not (data := self._in.read(min(most, CHUNK))):
                wait(self._in.subscribe(), self._timeout, self.what)
            return data
        except Err as error:
            if isinstance(error.value, streams.StreamError_Closed):
                return b""
            raise self._broken(error.value) from None

    def close(self):
        """Gives everything back, what is under way included."""
        for name in ("_in", "_in_body", "_response", "_out", "_body", "_future"):
            resource = getattr(self, name, None)
            setattr(self, name, None)
            if resource is not None:
                resource.__exit__(None, None, None)
