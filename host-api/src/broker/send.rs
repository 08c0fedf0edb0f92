//! The HTTP client behind the broker: connects to the very address that was checked,
//! over rustls, and to nothing else.
//!
//! It must never follow a redirect, keep a cookie, read a proxy from the environment or
//! connect to an address that [`AddressPolicy`] did not pass.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::ServiceExt as _;
use tower_http::decompression::Decompression;
use url::{Host, Url};

use super::address::{AddressPolicy, AddressRefused};
use super::egress::Egress;

/// Longest time to a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection nobody uses is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most header lines of an answer over HTTP/1.
const MAX_HEADERS: usize = 256;
/// Most bytes of an answer's headers over HTTP/2. Over HTTP/1 hyper's own limit holds.
const MAX_HEADER_BYTES: u32 = 256 * 1024;

/// The content-encodings that are undone.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, br, zstd, deflate");

/// An answer, its content-encoding undone if it is one that is known. What has more than one is
/// as the server sent it.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, TransportError>>;

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
}

/// Pooled clients, all behind one address policy.
pub struct Client {
    policy: Arc<AddressPolicy>,
    tls: rustls::ClientConfig,
    general: OnceLock<Result<reqwest::Client, ClientError>>,
    /// A client of its own for each `--resolve` entry: its key has the port, a resolver's has not.
    resolved: HashMap<(String, u16), reqwest::Client>,
}

impl Client {
    /// Reads the certificates; opens no connection.
    pub fn new(egress: &Egress) -> Result<Self, ClientError> {
        let policy = Arc::new(AddressPolicy { allowed: egress.allow_ranges.clone() });
        let tls = tls_config(&egress.ca_certs)?;
        let mut overrides: HashMap<(String, u16), Vec<SocketAddr>> = HashMap::new();
        for entry in &egress.resolve {
            overrides.entry((entry.host.clone(), entry.port)).or_default().extend(&entry.addresses);
        }
        let resolved = overrides
            .into_iter()
            .map(|(key, fixed)| Ok((key, build(tls.clone(), Resolver { policy: policy.clone(), fixed: Some(fixed) })?)))
            .collect::<Result<_, ClientError>>()?;
        Ok(Self { policy, tls, general: OnceLock::new(), resolved })
    }

    /// Sends one request. `url` is the value that was checked.
    pub(super) async fn send(&self, mut request: reqwest::Request) -> Result<Answer, TransportError> {
        request.headers_mut().insert(ACCEPT_ENCODING, CODINGS);
        let url = request.url();
        // A literal never reaches the resolver, so it is checked here.
        match url.host() {
            Some(Host::Ipv4(ip)) => self.policy.check(ip.into())?,
            Some(Host::Ipv6(ip)) => self.policy.check(ip.into())?,
            Some(Host::Domain(_)) => {}
            None => return Err(TransportError::Protocol("the URL has no host".into())),
        }
        let answer = self.client_for(url)?.execute(request).await?;
        Ok(decoded(Response::<reqwest::Body>::from(answer).map(|body| body.map_err(TransportError::from))).await)
    }

    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, ClientError> {
        if !self.resolved.is_empty() {
            let key = (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default().unwrap_or_default());
            if let Some(client) = self.resolved.get(&key) {
                return Ok(client);
            }
        }
        let client =
            self.general.get_or_init(|| build(self.tls.clone(), Resolver { policy: self.policy.clone(), fixed: None }));
        client.as_ref().map_err(Clone::clone)
    }
}

/// Undoes the content-encoding. The decoder looks at the header's first line alone and then takes
/// all of them out, so it is not given answers with two.
async fn decoded<B>(answer: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes, Error = TransportError> + Send + 'static,
{
    if answer.headers().get_all(CONTENT_ENCODING).iter().count() != 1 {
        return answer.map(|body| body.boxed_unsync());
    }
    let mut answer = Some(answer);
    let service = tower::service_fn(move |_: Request<()>| {
        let answer = answer.take().unwrap_or_else(|| unreachable!("a service that is called once"));
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let Ok(answer) = Decompression::new(service).oneshot(Request::new(())).await;
    answer.map(|body| {
        body.map_err(|error| match error.downcast::<TransportError>() {
            Ok(error) => *error,
            Err(_) => TransportError::Protocol("the content-encoding is broken".to_owned()),
        })
        .boxed_unsync()
    })
}

fn tls_config(ca_certs: &[String]) -> Result<rustls::ClientConfig, ClientError> {
    let mut extra = Vec::new();
    for pem in ca_certs {
        let before = extra.len();
        for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            extra.push(cert.map_err(|_| ClientError::NoCertificate)?.into_owned());
        }
        if extra.len() == before {
            return Err(ClientError::NoCertificate);
        }
    }
    let tls = |error: rustls::Error| ClientError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider.clone()).map_err(tls)?;
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn build(mut tls: rustls::ClientConfig, resolver: Resolver) -> Result<reqwest::Client, ClientError> {
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(resolver))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_max_headers(MAX_HEADERS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .build()
        .map_err(|error| ClientError::Http(chain(&error)))
}

/// Resolves a name and passes on its addresses only if every one of them is allowed: a
/// name with one good and one bad address is somebody's attempt.
struct Resolver {
    policy: Arc<AddressPolicy>,
    fixed: Option<Vec<SocketAddr>>,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let policy = self.policy.clone();
        let fixed = self.fixed.clone();
        Box::pin(async move {
            let addresses = match fixed {
                Some(addresses) => addresses,
                // Port 0 has the client put in the URL's own.
                None => tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NotFound)?.collect(),
            };
            for address in &addresses {
                policy.check(address.ip())?;
            }
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the name can't be resolved: {0}")]
struct NotFound(std::io::Error);

/// Why a request that passed every check got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// The name leads to an address that is closed. Nothing was sent.
    #[error("{0}")]
    Address(#[from] AddressRefused),
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
    /// The client could not be set up. Nothing was sent.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if let Some(refused) = inner.downcast_ref::<AddressRefused>() {
                return Self::Address(refused.clone());
            }
            if let Some(missing) = inner.downcast_ref::<NotFound>() {
                return Self::Name(missing.to_string());
            }
            cause = inner.source();
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        let connect = error.is_connect();
        // The URL may hold a credential in its query.
        let text = chain(&error.without_url());
        if connect { Self::Connect(text) } else { Self::Protocol(text) }
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
    if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        return said(inner);
    }
    error.to_string()
}
