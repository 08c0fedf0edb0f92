//! The way through an upstream proxy: CONNECT to the very address that was checked, then TLS to the service
//! inside it. The proxy gets no name to resolve and no credential to see.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use super::error::{ClientError, TransportError};
use super::names::Resolver;
use super::{CONNECT_TIMEOUT, IDLE_TIMEOUT, MAX_HEADER_BYTES, MAX_HEADERS};
use crate::broker::egress::Proxy;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// From a URL to a connection: boxed, since the client asks for a future that can be moved.
type Reach = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// A client whose connections all go through the proxy.
pub(super) struct Tunnelled(Client<Reach, reqwest::Body>);

impl Tunnelled {
    /// `fixed` is where the operator leads names, by name and port. Opens no connection.
    pub(super) fn new(
        proxy: &Proxy,
        mut tls: rustls::ClientConfig,
        resolver: Resolver,
        fixed: HashMap<(String, u16), Vec<SocketAddr>>,
    ) -> Result<Self, ClientError> {
        // Whoever makes the connection says which protocols it speaks.
        tls.alpn_protocols.clear();
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        let mut tunnel = Tunnel::new(proxy.uri()?, http);
        if let Some(credentials) = &proxy.credentials {
            let basic = format!("Basic {}", STANDARD.encode(credentials.expose()));
            let basic = HeaderValue::try_from(basic).map_err(|error| ClientError::Http(error.to_string()))?;
            tunnel = tunnel.with_auth(basic);
        }
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Connector { tunnel, resolver, fixed });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .build(Reach::new(Timeout::new(connector, CONNECT_TIMEOUT)));
        Ok(Self(client))
    }

    pub(super) async fn execute(&self, request: reqwest::Request) -> Result<Response<Incoming>, TransportError> {
        let request = Request::<reqwest::Body>::try_from(request)?;
        Ok(self.0.request(request).await?)
    }
}

/// Resolves, checks, and has the proxy connect to the address.
#[derive(Clone)]
struct Connector {
    tunnel: Tunnel<HttpConnector>,
    resolver: Resolver,
    fixed: HashMap<(String, u16), Vec<SocketAddr>>,
}

impl Connector {
    async fn connect(mut self, uri: Uri) -> Result<TokioIo<TcpStream>, BoxError> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let addresses = match literal {
            // It was checked with the URL.
            Some(ip) => vec![SocketAddr::new(ip, port)],
            None => {
                let fixed = self.fixed.get(&(host.to_owned(), port)).cloned();
                Resolver { fixed, port: Some(port), ..self.resolver }.addresses(host).await?
            }
        };
        let mut failed = None;
        for address in addresses {
            let target = Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/").build()?;
            match self.tunnel.call(target).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.map_or_else(|| "the name has no address".into(), |error| format!("the proxy: {error}").into()))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tunnel.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The one that was asked is ready; a clone need not be.
        let fresh = self.clone();
        Box::pin(std::mem::replace(self, fresh).connect(uri))
    }
}
