//! The service that the demo plays: real HTTP over TLS on loopback, with an API key. It
//! remembers what it received, so that the demo can show and check it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};

use super::super::error::Result;

/// The name of the service that has the account.
pub const SERVICE: &str = "api.acme.example";
/// A host of someone else's.
pub const ELSEWHERE: &str = "collector.example";

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The host that the caller meant.
    pub host: String,
    /// The path.
    pub path: String,
    /// The header `Authorization`.
    pub authorization: String,
}

/// The running service. It ends with the program.
pub struct Service {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The certificate of the authority made for it, PEM.
    pub ca: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Service {
    /// Starts it. It answers those who hold `key`.
    pub async fn start(key: &str) -> Result<Self> {
        let (ca, acceptor) = certificates()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let expected: Arc<str> = format!("Bearer {key}").into();
        let log = received.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, expected, log) = (acceptor.clone(), expected.clone(), log.clone());
                tokio::spawn(async move {
                    // A caller that breaks off is none of the service's business.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = service_fn(move |request| {
                        let answer = answer(&request, &expected, &log);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(Self { port, ca, received })
    }

    /// What arrived since this was last asked.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *lock(&self.received))
    }
}

fn lock(received: &Mutex<Vec<Received>>) -> MutexGuard<'_, Vec<Received>> {
    received.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn answer(request: &Request<Incoming>, expected: &str, log: &Mutex<Vec<Received>>) -> Response<Full<Bytes>> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let authorization = text(header::AUTHORIZATION);
    let path = request.uri().path().to_owned();
    lock(log).push(Received { host: text(header::HOST), path: path.clone(), authorization: authorization.clone() });
    if authorization != expected {
        return reply(StatusCode::UNAUTHORIZED, &json!({"error": "the key is not valid"}));
    }
    match path.as_str() {
        "/v1/me" => reply(StatusCode::OK, &json!({"id": "u-1", "name": "Alice at Acme"})),
        "/v1/echo" => {
            let headers: BTreeMap<&str, &str> = request
                .headers()
                .iter()
                .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
                .collect();
            reply(StatusCode::OK, &json!({ "headers": headers }))
        }
        _ => reply(StatusCode::NOT_FOUND, &json!({"error": "there is no such page"})),
    }
}

fn reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// An authority that nobody else trusts, and a certificate of it for both names.
fn certificates() -> Result<(String, TlsAcceptor)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate()?;
    let names = vec![SERVICE.to_owned(), ELSEWHERE.to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let private = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())?;
    Ok((ca, TlsAcceptor::from(Arc::new(config))))
}
