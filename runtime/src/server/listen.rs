//! Listening: over TLS, or over loopback, or in the clear because someone said so. It must
//! never listen on another address in the clear by itself: tokens and keys would be on the wire.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use super::problem::Inner;

/// How long a client has to send a request's headers, and to shake hands.
const HEADERS: Duration = Duration::from_secs(15);
/// How long requests that are under way may go on once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(20);
/// Streams that one HTTP/2 connection may have at a time.
const STREAMS: u32 = 64;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// The certificate chain and its key, two PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether to listen beyond loopback without TLS.
    pub insecure: bool,
}

impl Listen {
    /// Whether it may be listened so, without doing it.
    ///
    /// # Errors
    /// [`ListenError::InTheClear`], or what is wrong with the certificate.
    pub fn check(&self) -> Result<(), ListenError> {
        self.tls_config().map(drop)
    }

    fn tls_config(&self) -> Result<Option<ServerConfig>, ListenError> {
        match &self.tls {
            Some((certificate, key)) => tls_config(certificate, key).map(Some),
            None if self.address.ip().to_canonical().is_loopback() || self.insecure => Ok(None),
            None => Err(ListenError::InTheClear(self.address)),
        }
    }
}

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Everybody on the way could read it.
    #[error(
        "{0} is not a loopback address, and without TLS everybody on the way could read tokens and keys; give --tls-cert \
         and --tls-key, or --insecure if something in front of it speaks TLS"
    )]
    InTheClear(SocketAddr),
    /// A PEM file is not what it should be.
    #[error("{path}: {what}")]
    Pem {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The certificate and the key do not fit.
    #[error("the certificate and its key can't be used: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The address can't be had.
    #[error("{address} can't be listened on: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Listening ended.
    #[error("listening ended: {0}")]
    Io(#[from] io::Error),
}

/// A server that listens already and answers as soon as it is [run](Server::run).
pub struct Server {
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    address: SocketAddr,
}

impl Server {
    /// Begins to listen. Port 0 takes any that is free.
    ///
    /// # Errors
    /// [`ListenError::InTheClear`], or what is wrong with the certificate or the address.
    pub fn bind(listen: &Listen) -> Result<Self, ListenError> {
        let tls = listen.tls_config()?.map(|config| RustlsConfig::from_config(Arc::new(config)));
        let bind = |error| ListenError::Bind { address: listen.address, error };
        let listener = TcpListener::bind(listen.address).map_err(bind)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, tls, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Answers until `stop` ends, and then lets what is under way end.
    ///
    /// # Errors
    /// If the listening socket fails.
    pub async fn run(self, router: Router, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ListenError> {
        let handle = Handle::new();
        tokio::spawn({
            let handle = handle.clone();
            async move {
                stop.await;
                handle.graceful_shutdown(Some(GRACE));
            }
        });
        let router = router.layer(from_fn(log_failure));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let mut server = axum_server::from_tcp(self.listener)?.handle(handle);
        let builder = server.http_builder();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(HEADERS);
        match self.tls {
            Some(config) => {
                let acceptor = RustlsAcceptor::new(config).handshake_timeout(HEADERS);
                server.acceptor(acceptor).serve(service).await?;
            }
            None => server.serve(service).await?,
        }
        Ok(())
    }
}

fn tls_config(certificate: &Path, key: &Path) -> Result<ServerConfig, ListenError> {
    let pem = |path: &Path, what: String| ListenError::Pem { path: path.display().to_string(), what };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| pem(certificate, format!("no certificate can be read: {error}")))?;
    if chain.is_empty() {
        return Err(pem(
            certificate,
            "there is no certificate in it; give the chain in PEM form, the server's first".into(),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        pem(key, format!("no private key can be read: {error}; give it in PEM form, not encrypted"))
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Tells the operator why the server failed, which the caller is not told.
async fn log_failure(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if let Some(Inner(error)) = answer.extensions().get() {
        tracing::error!(error, "a request failed");
    }
    answer
}
