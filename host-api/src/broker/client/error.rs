//! Why a request got no answer, in words that hold neither a URL nor what a server wrote.

use std::io;
use std::net::SocketAddr;

use super::names::NotFound;
use crate::broker::address::AddressRefused;
use crate::broker::body::BodyError;

/// Why the client could not be set up.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// A `--ca-cert` file has no certificate in it.
    #[error("a --ca-cert file holds no PEM certificate; it starts with -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// TLS could not be set up.
    #[error(
        "TLS can't be set up: {0}; install the system's CA certificates (Debian: ca-certificates), or pass --ca-cert"
    )]
    Tls(String),
    /// The HTTP client could not be set up.
    #[error("the HTTP client can't be set up: {0}")]
    Http(String),
    /// The name servers can't be asked.
    #[error("the name servers can't be used: {0}; see --name-server")]
    Names(String),
}

/// Why a request that passed every check got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Where it was to go is closed. Nothing was sent.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The name is not known. Nothing was sent.
    #[error("{0}")]
    Name(String),
    /// No connection came about. Nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// A time limit passed.
    #[error("timed out")]
    Timeout,
    /// The server broke the protocol, or hung up.
    #[error("the connection failed: {0}")]
    Protocol(String),
    /// The request's own body broke off.
    #[error(transparent)]
    Body(BodyError),
    /// The client could not be set up. Nothing was sent.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why no request goes there, whoever sends it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Closed {
    /// The address is not public.
    #[error(transparent)]
    Address(#[from] AddressRefused),
    /// Nobody listens there.
    #[error("no request goes to port 0")]
    PortZero,
    /// Keyhole itself listens there.
    #[error("{0} is Keyhole's own address, where no request goes")]
    Own(SocketAddr),
    /// Keyhole itself is reached by that name.
    #[error("{0} is where Keyhole itself is reached, and no request goes there")]
    OwnName(String),
    /// The operator closed the host.
    #[error("the operator has closed {0}; ask for it to be taken out of closed_hosts")]
    Host(String),
}

/// What went wrong below the HTTP client's error.
fn underneath(error: &(dyn std::error::Error + 'static)) -> Option<TransportError> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(closed) = inner.downcast_ref::<Closed>() {
            return Some(closed.clone().into());
        }
        if let Some(missing) = inner.downcast_ref::<NotFound>() {
            return Some(TransportError::Name(missing.to_string()));
        }
        if let Some(body) = inner.downcast_ref::<BodyError>() {
            return Some(TransportError::Body(body.clone()));
        }
        let io = inner.downcast_ref::<io::Error>();
        if inner.is::<tower::timeout::error::Elapsed>() || io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return Some(TransportError::Timeout);
        }
        cause = inner.source();
    }
    None
}

impl From<hyper_util::client::legacy::Error> for TransportError {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        underneath(&error).unwrap_or_else(|| match error.is_connect() {
            true => Self::Connect(chain(&error)),
            false => Self::Protocol(chain(&error)),
        })
    }
}

impl From<hyper::Error> for TransportError {
    fn from(error: hyper::Error) -> Self {
        underneath(&error).unwrap_or_else(|| Self::Protocol(chain(&error)))
    }
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = said(error);
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = said(inner);
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// What an error says of itself. Not what the server wrote: that would be recorded and shown, and it
/// could be the credential.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        let reason = error.reason();
        return format!("HTTP/2: {}", reason.as_ref().map_or("the stream failed", h2::Reason::description));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        use rustls::{CertificateError as Certificate, Error};
        let reason = match error {
            Error::InvalidCertificate(Certificate::UnknownIssuer) => {
                "nobody trusted has issued the certificate; see --ca-cert"
            }
            Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
                "the certificate has expired"
            }
            Error::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => {
                "the certificate is another server's"
            }
            Error::InvalidCertificate(_) => "the certificate is not valid",
            _ => "the server's TLS can't be spoken with",
        };
        return format!("TLS: {reason}");
    }
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return said(inner);
    }
    error.to_string()
}
