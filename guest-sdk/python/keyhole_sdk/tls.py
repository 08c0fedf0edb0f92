"""`ssl`, as HTTP clients use it. TLS is the host's: it checks every certificate, with the
authorities that its operator trusts, whatever is asked for here."""

import enum
import sys
import types

from .net import Socket


class SSLError(OSError):
    """The `ssl` error that others are kinds of. Nothing here raises it."""

    library = reason = None


class TLSVersion(enum.IntEnum):
    MINIMUM_SUPPORTED = -2
    SSLv3 = 768
    TLSv1 = 769
    TLSv1_1 = 770
    TLSv1_2 = 771
    TLSv1_3 = 772
    MAXIMUM_SUPPORTED = -1


class VerifyMode(enum.IntEnum):
    CERT_NONE = 0
    CERT_OPTIONAL = 1
    CERT_REQUIRED = 2


class _SSLMethod(enum.IntEnum):
    PROTOCOL_SSLv23 = 2
    PROTOCOL_TLS = 2
    PROTOCOL_TLSv1 = 3
    PROTOCOL_TLSv1_1 = 4
    PROTOCOL_TLSv1_2 = 5
    PROTOCOL_TLS_CLIENT = 16
    PROTOCOL_TLS_SERVER = 17


class Options(enum.IntFlag):
    OP_ALL = 0x80000050
    OP_NO_SSLv2 = 0
    OP_NO_SSLv3 = 0x02000000
    OP_NO_TLSv1 = 0x04000000
    OP_NO_TLSv1_1 = 0x10000000
    OP_NO_TLSv1_2 = 0x08000000
    OP_NO_TLSv1_3 = 0x20000000
    OP_NO_COMPRESSION = 0x00020000
    OP_NO_TICKET = 0x00004000
    OP_NO_RENEGOTIATION = 0x40000000
    OP_IGNORE_UNEXPECTED_EOF = 0x80
    OP_SINGLE_DH_USE = 0
    OP_SINGLE_ECDH_USE = 0
    OP_CIPHER_SERVER_PREFERENCE = 0x400000
    OP_ENABLE_MIDDLEBOX_COMPAT = 0x100000
    OP_LEGACY_SERVER_CONNECT = 0x4


class VerifyFlags(enum.IntFlag):
    VERIFY_DEFAULT = 0
    VERIFY_CRL_CHECK_LEAF = 4
    VERIFY_CRL_CHECK_CHAIN = 12
    VERIFY_X509_STRICT = 32
    VERIFY_X509_TRUSTED_FIRST = 0x8000
    VERIFY_X509_PARTIAL_CHAIN = 0x80000


class Purpose(enum.Enum):
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"


class SSLSocket(Socket):
    """A socket whose requests leave by https."""

    @property
    def _sslobj(self):
        # What httpcore asks for the protocol that was negotiated.
        return self

    def version(self):
        return "TLSv1.3"

    def cipher(self):
        return None

    def getpeercert(self, binary_form=False):
        return b"" if binary_form else {}

    def selected_alpn_protocol(self):
        return "http/1.1"

    def do_handshake(self, block=False):
        pass

    def unwrap(self):
        return self

    def pending(self):
        return 0


class SSLContext:
    """Takes every setting, and leaves TLS to the host."""

    sslsocket_class = SSLSocket
    keylog_filename = None
    post_handshake_auth = False
    hostname_checks_common_name = False

    def __init__(self, protocol=_SSLMethod.PROTOCOL_TLS):
        self.protocol = protocol
        self.check_hostname = protocol == _SSLMethod.PROTOCOL_TLS_CLIENT
        self.verify_mode = VerifyMode.CERT_REQUIRED
        self.verify_flags = VerifyFlags.VERIFY_X509_TRUSTED_FIRST
        self.options = Options.OP_ALL
        self.minimum_version = TLSVersion.TLSv1_2
        self.maximum_version = TLSVersion.MAXIMUM_SUPPORTED

    def load_cert_chain(self, certfile, keyfile=None, password=None):
        raise SSLError("a step has no client certificate of its own: the account's is the host's")

    def _ignored(self, *_, **__):
        return None

    load_verify_locations = load_default_certs = set_default_verify_paths = _ignored
    set_ciphers = set_alpn_protocols = set_npn_protocols = set_ecdh_curve = _ignored

    def get_ca_certs(self, binary_form=False):
        return []

    def cert_store_stats(self):
        return {"x509": 0, "crl": 0, "x509_ca": 0}

    def wrap_socket(
        self,
        sock,
        server_side=False,
        do_handshake_on_connect=True,
        suppress_ragged_eofs=True,
        server_hostname=None,
        session=None,
    ):
        if server_side or not isinstance(sock, Socket):
            raise SSLError("a step has no sockets but those of HTTP clients")
        sock.__class__ = SSLSocket
        sock.tls = True
        sock.server_hostname, sock.context = server_hostname, self
        return sock

    def wrap_bio(self, *_, **__):
        raise SSLError("TLS is the host's: a step can't speak it by itself")


def create_default_context(purpose=Purpose.SERVER_AUTH, *, cafile=None, capath=None, cadata=None):
    return SSLContext(_SSLMethod.PROTOCOL_TLS_CLIENT)


def _errors():
    names = ("SSLZeroReturnError", "SSLWantReadError", "SSLWantWriteError", "SSLSyscallError", "SSLEOFError")
    errors = {name: type(name, (SSLError,), {"__module__": "ssl"}) for name in names}
    verification = type("SSLCertVerificationError", (SSLError, ValueError), {"__module__": "ssl"})
    return errors | {"SSLCertVerificationError": verification, "CertificateError": verification}


def install():
    """Puts it where `import ssl` finds it."""
    made = types.ModuleType("ssl", __doc__)
    own = (
        SSLError,
        TLSVersion,
        VerifyMode,
        _SSLMethod,
        Options,
        VerifyFlags,
        Purpose,
        SSLSocket,
        SSLContext,
        create_default_context,
    )
    made.__dict__.update({one.__name__: one for one in own})
    made.__dict__.update(_errors())
    for names in (VerifyMode, _SSLMethod, Options, VerifyFlags):
        made.__dict__.update(names.__members__)
    made.__dict__.update(
        HAS_SNI=True, HAS_ALPN=True, HAS_NPN=False, HAS_ECDH=True, HAS_NEVER_CHECK_COMMON_NAME=True, HAS_TLSv1_2=True, HAS_TLSv1_3=True,
        OPENSSL_VERSION="OpenSSL 3.0.0 (the host's TLS)", OPENSSL_VERSION_NUMBER=0x30000000, OPENSSL_VERSION_INFO=(3, 0, 0, 0, 0),
        _create_default_https_context=create_default_context, _create_unverified_context=SSLContext, socket_error=OSError,
    )  # fmt: skip
    sys.modules["ssl"] = made
