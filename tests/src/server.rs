//! Real servers on loopback, over TLS, that play a service. They remember what they
//! received, and how many connections are open.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// An answer's body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a server got, as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header lines, lower-case names. HTTP/2's `:authority` is among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Received {
    /// The first header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A certificate authority made for one test.
pub struct Authority {
    /// Its certificate, for `--ca-cert`.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        Self { pem: cert.pem(), issuer: Issuer::new(params, key) }
    }
}

impl Authority {
    fn issue(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let cert = CertificateParams::new(names).and_then(|p| p.signed_by(&key, &self.issuer)).expect("a certificate");
        (cert, key)
    }

    /// A certificate for `names` and its key, both in PEM.
    pub fn issue_pem(&self, names: &[&str]) -> (String, String) {
        let (cert, key) = self.issue(names);
        (cert.pem(), key.serialize_pem())
    }

    fn acceptor(&self, names: &[&str], protocol: &[u8]) -> TlsAcceptor {
        let (cert, key) = self.issue(names);
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
                .expect("a TLS configuration");
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    open: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Answers HTTP requests by `answer`.
    pub fn http<F>(authority: &Authority, names: &[&str], answer: F) -> Self
    where
        F: Fn(&Received) -> Response<Body> + Send + Sync + 'static,
    {
        Self::over(b"http/1.1", authority, names, answer)
    }

    /// The same, and speaks HTTP/2 alone.
    pub fn http2<F>(authority: &Authority, names: &[&str], answer: F) -> Self
    where
        F: Fn(&Received) -> Response<Body> + Send + Sync + 'static,
    {
        Self::over(b"h2", authority, names, answer)
    }

    fn over<F>(protocol: &[u8], authority: &Authority, names: &[&str], answer: F) -> Self
    where
        F: Fn(&Received) -> Response<Body> + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        Self::start(Some(authority.acceptor(names, protocol)), move |stream, received| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, received) = (answer.clone(), received.clone());
                    async move {
                        let request = read(request).await;
                        received.lock().expect("no panic in a handler").push(request.clone());
                        Ok::<_, Infallible>(answer(&request))
                    }
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // A client that goes away is part of the tests.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        })
    }

    /// Hands each TLS connection to `handle`, which speaks as it likes.
    pub fn raw<F, T>(authority: &Authority, names: &[&str], handle: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::start(Some(authority.acceptor(names, b"http/1.1")), move |stream, _| handle(stream))
    }

    fn start<F, T>(acceptor: Option<TlsAcceptor>, handle: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>, Arc<Mutex<Vec<Received>>>) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let port = listener.local_addr().expect("a bound socket").port();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let open = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (log, opened, counted) = (received.clone(), open.clone(), accepted.clone());
        let handle = Arc::new(handle);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a bound socket");
            while let Ok((stream, _)) = listener.accept().await {
                let (log, opened, acceptor, handle) = (log.clone(), opened.clone(), acceptor.clone(), handle.clone());
                opened.fetch_add(1, Ordering::SeqCst);
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    if let Some(acceptor) = acceptor
                        && let Ok(stream) = acceptor.accept(stream).await
                    {
                        handle(stream, log).await;
                    }
                    opened.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, received, open, accepted, runtime: Some(runtime) }
    }

    /// What has arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic in a handler").clone()
    }

    /// How many connections were ever accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits until no connection is open. Fails after 10 s.
    pub fn wait_until_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.open.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < deadline, "{} connections are still open", self.open.load(Ordering::SeqCst));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The flag that leads `host` here.
    pub fn resolve(&self, host: &str) -> String {
        format!("{host}:443:127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Waiting for its threads, as a runtime does by itself, is not allowed in an async test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn read(request: Request<Incoming>) -> Received {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let lines = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
    let authority = parts.uri.authority().map(|authority| (":authority".to_owned(), authority.to_string()));
    Received {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: lines.chain(authority).collect(),
        body,
    }
}

/// A whole answer.
pub fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()).boxed_unsync())
        .expect("a valid answer")
}

/// A JSON answer.
pub fn json(status: u16, value: &serde_json::Value) -> Response<Body> {
    answer(status, "application/json", value.to_string())
}

/// The service that the tests call: `/v1/me` answers who holds `key`, `/v1/echo` what it received.
pub fn acme(authority: &Authority, key: &str) -> Server {
    let expected = format!("Bearer {key}");
    Server::http(authority, &["api.acme.example"], move |request| {
        let path = request.target.split('?').next().unwrap_or_default();
        if path == "/v1/echo" {
            let headers: BTreeMap<_, _> = request.headers.iter().cloned().collect();
            let body = String::from_utf8_lossy(&request.body);
            return json(200, &serde_json::json!({"headers": headers, "target": request.target, "body": body}));
        }
        if request.header("authorization") != Some(expected.as_str()) {
            return json(401, &serde_json::json!({"error": "the key is not valid"}));
        }
        json(200, &serde_json::json!({"id": "u-1", "name": "Alice at Acme"}))
    })
}
