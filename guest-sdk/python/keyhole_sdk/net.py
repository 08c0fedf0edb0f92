"""`socket` for HTTP clients: what they write is read as a request, sent through the broker, and
its answer is what they read. So `http.client` and everything upon it works as it stands.

There is nothing beneath: a socket that is used for anything but HTTP fails."""

import _socket
import errno
import io
import socket

from .exchange import Exchange
from .state import in_run

NO_SOCKETS = "a step has no sockets: requests leave by HTTP, with requests, urllib.request or http.client"


def _denied(*_, **__):
    raise OSError(errno.EACCES, NO_SOCKETS)


class Socket:
    """A connection to one host and port, for HTTP/1.1."""

    def __init__(self, family=socket.AF_INET, type=socket.SOCK_STREAM, proto=0, fileno=None):
        if fileno is not None or type & 0xF != socket.SOCK_STREAM:
            _denied()
        self.family, self.type, self.proto = family, type, proto
        self.tls = False
        self._timeout = socket.getdefaulttimeout()
        self._peer = None
        self._readers = 0
        self._closed = False
        self._reset()

    def _reset(self):
        self._exchange = None
        self._sent = bytearray()
        # How the rest of the request's body comes: a number of bytes, chunks (None), or done (0).
        self._rest = 0
        self._answer = b""
        self._answered = self._ended = False

    # What is called before and around a request.

    def connect(self, address):
        self._peer = address[:2]

    def connect_ex(self, address):
        self.connect(address)
        return 0

    def settimeout(self, timeout):
        self._timeout = timeout
        if self._exchange is not None:
            self._exchange.set_timeout(timeout)

    def gettimeout(self):
        return self._timeout

    def setblocking(self, flag):
        self.settimeout(None if flag else 0.0)

    def setsockopt(self, *_):
        pass

    def getsockopt(self, *_):
        return 0

    def getpeername(self):
        return self._peer

    def getsockname(self):
        return ("0.0.0.0", 0)

    def fileno(self):
        return -1

    def shutdown(self, how):
        pass

    def detach(self):
        self.close()
        return -1

    bind = listen = accept = sendto = recvfrom = sendmsg = _denied

    # Requests.

    def sendall(self, data, flags=0):
        if self._peer is None:
            raise OSError(errno.ENOTCONN, "the socket is not connected")
        view = memoryview(data).cast("B")
        if self._exchange is None or self._ended:
            self._begin(bytes(view))
        else:
            self._body(view)

    def send(self, data, flags=0):
        self.sendall(data, flags)
        return len(data)

    def _begin(self, data):
        if not self._sent:
            self.finish()
            self._reset()
        self._sent += data
        head, found, rest = bytes(self._sent).partition(b"\r\n\r\n")
        if not found:
            if len(self._sent) > 1 << 20:
                raise OSError(errno.EMSGSIZE, "the request's headers are too large")
            return
        self._sent.clear()
        line, *lines = head.decode("latin-1").split("\r\n")
        method, _, target = line.partition(" ")
        target, _, version = target.rpartition(" ")
        if not version.startswith("HTTP/1"):
            _denied()
        headers = [
            (name.strip(), value.strip().encode("latin-1")) for name, _, value in (one.partition(":") for one in lines)
        ]
        if method == "CONNECT":
            raise OSError(errno.EACCES, "a step uses no proxy: requests leave through the host")
        known = {name.lower(): value for name, value in headers}
        host, port = self._peer
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.tls else "http"
        authority = host if port == (443 if self.tls else 80) else f"{host}:{port}"
        self._exchange = Exchange(scheme, authority, method, target, headers, self._timeout)
        if b"chunked" in known.get("transfer-encoding", b"").lower():
            self._rest = None
        else:
            self._rest = int(known.get("content-length", b"0") or 0)
        if self._rest == 0:
            self._done()
        if rest:
            self._body(memoryview(rest))

    def _done(self):
        self._rest = 0
        self._exchange.finish()

    def _body(self, view):
        if self._rest is not None:
            if len(view) > self._rest:
                raise OSError(errno.EPROTO, "the body is longer than its content-length says")
            self._exchange.write(view)
            self._rest -= len(view)
            if self._rest == 0:
                self._done()
            return
        self._sent += view
        while True:
            size, found, after = bytes(self._sent).partition(b"\r\n")
            if not found:
                return
            length = int(size.partition(b";")[0], 16)
            if len(after) < length + 2:
                return
            self._exchange.write(after[:length])
            del self._sent[: len(size) + 2 + length + 2]
            if length == 0:
                self._sent.clear()
                self._done()
                return

    # Answers.

    def _head(self):
        status, fields = self._exchange.head()
        lines = [f"HTTP/1.1 {status} {_reason(status)}".encode()]
        lines += [
            name.encode("latin-1") + b": " + bytes(value)
            for name, value in fields
            if name.lower() not in ("connection", "transfer-encoding", "keep-alive")
        ]
        # The next request is an exchange of its own; connections are the host's business.
        lines += [b"connection: close", b"", b""]
        return b"\r\n".join(lines)

    def recv_into(self, buffer, nbytes=0, flags=0):
        view = memoryview(buffer).cast("B")
        size = min(nbytes or len(view), len(view))
        if self._exchange is None:
            if not self._answered:
                # A protocol in which the service speaks first.
                _denied()
            return 0
        if not self._answer and not self._ended:
            if not self._answered:
                self._answered = True
                self._answer = self._head()
            else:
                self._answer = self._exchange.read(size)
                self._ended = not self._answer
        part = self._answer[:size]
        self._answer = self._answer[len(part) :]
        view[: len(part)] = part
        return len(part)

    def recv(self, size, flags=0):
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    def makefile(self, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
        self._readers += 1
        raw = _Stream(self)
        if "w" in mode:
            file = io.BufferedRWPair(raw, raw) if "r" in mode else io.BufferedWriter(raw)
        else:
            file = (
                raw
                if buffering == 0
                else io.BufferedReader(raw, io.DEFAULT_BUFFER_SIZE if buffering in (None, -1) else buffering)
            )
        return file if "b" in mode else io.TextIOWrapper(file, encoding, errors, newline)

    def finish(self):
        if self._exchange is not None:
            self._exchange.close()
            self._exchange = None

    def reader_closed(self):
        self._readers -= 1
        if self._closed and self._readers <= 0:
            self.finish()

    def close(self):
        self._closed = True
        if self._readers <= 0:
            self.finish()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Stream(io.RawIOBase):
    """A socket as a file."""

    def __init__(self, sock):
        self._sock = sock

    def readable(self):
        return True

    def writable(self):
        return True

    def readinto(self, buffer):
        return self._sock.recv_into(buffer)

    def write(self, data):
        return self._sock.send(data)

    def close(self):
        if not self.closed:
            super().close()
            self._sock.reader_closed()


def _reason(status):
    from http.client import responses

    return responses.get(status, "")


def create_connection(address, timeout=socket._GLOBAL_DEFAULT_TIMEOUT, source_address=None, *, all_errors=False):
    if not in_run():
        raise OSError(errno.EACCES, "a request can't be sent while the step is built: send it in handler")
    made = Socket()
    if timeout is not socket._GLOBAL_DEFAULT_TIMEOUT:
        made.settimeout(timeout)
    made.connect(address)
    return made


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    """Names stay names: the host looks them up when the request leaves."""
    if not in_run():
        raise socket.gaierror(
            socket.EAI_FAIL, "a name can't be looked up while the step is built: send requests in handler"
        )
    host = host.decode() if isinstance(host, bytes) else host
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, int(port or 0)))]


def install():
    socket.create_connection = create_connection
    # What `socket` is made of, too: in a run, what it kept of the build would be of no use.
    for module in (socket, _socket):
        module.socket = module.SocketType = Socket
        module.getaddrinfo = getaddrinfo
        module.gethostbyname = lambda name: name
        module.gethostname = lambda: "localhost"
        for name in ("create_server", "fromfd", "gethostbyaddr", "gethostbyname_ex", "getnameinfo", "socketpair"):
            setattr(module, name, _denied)
    socket.has_ipv6 = False
