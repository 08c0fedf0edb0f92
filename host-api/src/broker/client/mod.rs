//! The HTTP client behind the broker: connects to the very address that was checked,
//! over rustls, and to nothing else.
//!
//! It must never follow a redirect, keep a cookie, read a proxy from the environment or
//! connect to an address that the [`gate`] did not pass.

mod error;
mod gate;
mod names;
mod tunnel;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::ServiceExt as _;
use tower_http::decompression::Decompression;
use url::Url;

use super::address::AddressPolicy;
use super::egress::Egress;
use error::chain;
pub use error::{ClientError, Closed, TransportError};
use gate::Gate;
use names::{Names, Resolver};
use tunnel::Tunnelled;

/// Longest time to a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection nobody uses is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Most header lines of an answer over HTTP/1.
const MAX_HEADERS: usize = 256;
/// Most bytes of an answer's headers over HTTP/2. Over HTTP/1 hyper's own limit holds.
const MAX_HEADER_BYTES: u32 = 256 * 1024;

/// The content-encodings that are undone. Not zstd: a frame of few bytes has its decoder hold 128 MiB for as long
/// as the step has the answer.
const CODINGS: HeaderValue = HeaderValue::from_static("gzip, br, deflate");

/// An answer, its content-encoding undone if it is one that is known. What has more than one is
/// as the server sent it.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, TransportError>>;

/// Pooled clients, all behind one gate.
pub struct Client {
    gate: Arc<Gate>,
    reach: Reach,
}

enum Reach {
    Direct(Box<Direct>),
    Proxy(Box<Tunnelled>),
}

/// Clients that connect by themselves.
struct Direct {
    tls: rustls::ClientConfig,
    resolver: Resolver,
    general: OnceLock<Result<reqwest::Client, ClientError>>,
    /// For the ports on which Keyhole itself listens.
    own_ports: HashMap<u16, reqwest::Client>,
    /// A client of its own for each `--resolve` entry: its key has the port, a resolver's has not.
    resolved: HashMap<(String, u16), reqwest::Client>,
}

impl Client {
    /// Reads the certificates; opens no connection.
    pub fn new(egress: &Egress) -> Result<Self, ClientError> {
        let gate = Arc::new(Gate {
            addresses: AddressPolicy { allowed: egress.allow_ranges.clone() },
            hosts: egress.closed_hosts.clone(),
            own: egress.own.clone(),
        });
        let tls = tls_config(&egress.ca_certs)?;
        let names = Names::new(&egress.name_servers)?;
        let resolver = Resolver { gate: gate.clone(), names, fixed: None, port: None };
        let mut fixed: HashMap<(String, u16), Vec<SocketAddr>> = HashMap::new();
        for entry in &egress.resolve {
            fixed.entry((entry.host.clone(), entry.port)).or_default().extend(&entry.addresses);
        }
        let reach = match &egress.proxy {
            Some(proxy) => Reach::Proxy(Box::new(Tunnelled::new(proxy, tls, resolver, fixed)?)),
            None => {
                let own_port =
                    |port: u16| Ok((port, build(tls.clone(), Resolver { port: Some(port), ..resolver.clone() })?));
                let own_ports = egress.own.listen.iter().map(|own| own_port(own.port()));
                let own_ports = own_ports.collect::<Result<_, ClientError>>()?;
                let resolved = fixed
                    .into_iter()
                    .map(|(key, fixed)| {
                        Ok((key, build(tls.clone(), Resolver { fixed: Some(fixed), ..resolver.clone() })?))
                    })
                    .collect::<Result<_, ClientError>>()?;
                Reach::Direct(Box::new(Direct { tls, resolver, general: OnceLock::new(), own_ports, resolved }))
            }
        };
        Ok(Self { gate, reach })
    }

    /// Sends one request. `url` is the value that was checked.
    pub(super) async fn send(&self, mut request: reqwest::Request) -> Result<Answer, TransportError> {
        let headers = request.headers_mut();
        headers.insert(ACCEPT_ENCODING, CODINGS);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let url = request.url();
        if !url.has_host() {
            return Err(TransportError::Protocol("the URL has no host".into()));
        }
        self.gate.url(url)?;
        match &self.reach {
            Reach::Direct(direct) => {
                let answer = Response::<reqwest::Body>::from(direct.for_url(url)?.execute(request).await?);
                Ok(decoded(answer.map(|body| body.map_err(TransportError::from))).await)
            }
            Reach::Proxy(proxy) => {
                let answer = proxy.execute(request).await?;
                Ok(decoded(answer.map(|body| body.map_err(TransportError::from))).await)
            }
        }
    }
}

impl Direct {
    fn for_url(&self, url: &Url) -> Result<&reqwest::Client, ClientError> {
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.resolved.is_empty() {
            let key = (url.host_str().unwrap_or_default().to_owned(), port);
            if let Some(client) = self.resolved.get(&key) {
                return Ok(client);
            }
        }
        if let Some(client) = self.own_ports.get(&port) {
            return Ok(client);
        }
        let general = self.general.get_or_init(|| build(self.tls.clone(), self.resolver.clone()));
        general.as_ref().map_err(Clone::clone)
    }
}

/// Undoes the content-encoding. The decoder looks at the header's first line alone and then takes
/// all of them out, so it is not given answers with two.
async fn decoded<B>(mut answer: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes, Error = TransportError> + Send + 'static,
{
    if answer.headers().get_all(CONTENT_ENCODING).iter().count() != 1 {
        return answer.map(|body| body.boxed_unsync());
    }
    // Codings are case-insensitive (RFC 9110, section 8.4.1), and the decoder is not.
    if let Some(coding) = answer.headers_mut().get_mut(CONTENT_ENCODING)
        && let Ok(lower) = HeaderValue::from_bytes(&coding.as_bytes().to_ascii_lowercase())
    {
        *coding = lower;
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
