//! The HTTP client behind the broker: connects to the very address that was checked,
//! over rustls, and to nothing else.
//!
//! It must never follow a redirect, keep a cookie, read a proxy from the environment or
//! connect to an address that the [`gate`] did not pass.

mod connect;
mod error;
mod gate;
mod names;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::ServiceExt as _;
use tower_http::decompression::Decompression;
use url::Url;

use super::address::AddressPolicy;
use super::body::Body;
use super::egress::Egress;
use connect::{Reach, reach};
pub use error::{ClientError, Closed, TransportError};
use gate::Gate;
use names::{Names, Resolver};

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

/// A client with a pool of connections, behind the gate.
pub struct Client {
    gate: Arc<Gate>,
    http: legacy::Client<Reach, Body>,
}

impl Client {
    /// Reads the certificates; opens no connection.
    pub fn new(egress: &Egress) -> Result<Self, ClientError> {
        let gate = Arc::new(Gate {
            addresses: AddressPolicy { allowed: egress.allow_ranges.clone() },
            hosts: egress.closed_hosts.clone(),
            own: egress.own.clone(),
        });
        let mut fixed: HashMap<(String, u16), Vec<SocketAddr>> = HashMap::new();
        for entry in &egress.resolve {
            fixed.entry((entry.host.clone(), entry.port)).or_default().extend(&entry.addresses);
        }
        let names = Names::new(&egress.name_servers)?;
        let resolver = Resolver { gate: gate.clone(), names, fixed: fixed.into() };
        let reach = reach(tls_config(&egress.ca_certs)?, resolver, egress.proxy.as_ref())?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .build(reach);
        Ok(Self { gate, http })
    }

    /// Sends one request, to `url`, which is the value that was checked.
    pub(super) async fn send(&self, url: &Url, mut request: Request<Body>) -> Result<Answer, TransportError> {
        if !url.has_host() {
            return Err(TransportError::Protocol("the URL has no host".into()));
        }
        self.gate.url(url)?;
        *request.uri_mut() = Uri::try_from(url.as_str())
            .map_err(|error| TransportError::Protocol(format!("the URL can't be sent: {error}")))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT_ENCODING, CODINGS);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let answer = self.http.request(request).await?;
        Ok(decoded(answer.map(|body| body.map_err(TransportError::from))).await)
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
