//! From a URL to a connection: its name is resolved, every address is checked, and one that passed is connected to,
//! or an upstream proxy is asked to (CONNECT, with TLS to the service inside it). The proxy gets no name to resolve
//! and no credential to see.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use super::error::ClientError;
use super::names::Resolver;
use crate::broker::egress::Proxy;

/// Longest time to a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other end of a connection may be silent before it is asked whether it is there, and between askings.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_ASKS: u32 = 3;
/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// From a URL to a connection: boxed, since the client asks for a future that can be moved.
pub(super) type Reach = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// A way to the addresses that `resolver` gives. Opens no connection.
pub(super) fn reach(
    tls: rustls::ClientConfig,
    resolver: Resolver,
    proxy: Option<&Proxy>,
) -> Result<Reach, ClientError> {
    let tunnel = proxy.map(tunnel).transpose()?;
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(Connector { resolver, tunnel });
    Ok(Reach::new(Timeout::new(connector, CONNECT_TIMEOUT)))
}

fn tunnel(proxy: &Proxy) -> Result<Tunnel<HttpConnector>, ClientError> {
    let tunnel = Tunnel::new(proxy.uri()?, tcp(GaiResolver::new()));
    let Some(credentials) = &proxy.credentials else { return Ok(tunnel) };
    let basic = format!("Basic {}", STANDARD.encode(credentials.expose()));
    let basic = HeaderValue::try_from(basic).map_err(|error| ClientError::Http(error.to_string()))?;
    Ok(tunnel.with_auth(basic))
}

fn tcp<R>(resolver: R) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_ASKS));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

#[derive(Clone)]
struct Connector {
    resolver: Resolver,
    tunnel: Option<Tunnel<HttpConnector>>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, BoxError> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 });
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let addresses = match literal {
            Some(ip) => self.resolver.literal(SocketAddr::new(ip, port))?,
            None => self.resolver.addresses(host, port).await?,
        };
        match self.tunnel {
            None => direct(addresses).await,
            Some(tunnel) => through(tunnel, addresses).await,
        }
    }
}

/// Connects to the first of these that answers, of two families in parallel (RFC 8305).
async fn direct(addresses: Vec<SocketAddr>) -> Result<TokioIo<TcpStream>, BoxError> {
    let checked = move |_: Name| std::future::ready(Ok::<_, Infallible>(addresses.clone().into_iter()));
    let mut tcp = tcp(tower::service_fn(checked));
    // Each of them gets its part of this.
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // A name, since the connector asks no resolver about an address, and no port, since it prefers a URL's to theirs.
    Ok(tcp.call(Uri::from_static("http://checked")).await?)
}

async fn through(
    mut tunnel: Tunnel<HttpConnector>,
    addresses: Vec<SocketAddr>,
) -> Result<TokioIo<TcpStream>, BoxError> {
    let mut failed = None;
    for address in addresses {
        let target = Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/").build()?;
        match tunnel.call(target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or_else(|| "the name has no address".into(), |error| format!("the proxy: {error}").into()))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.tunnel {
            None => Poll::Ready(Ok(())),
            Some(tunnel) => tunnel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The one that was asked is ready; a clone need not be.
        let fresh = self.clone();
        Box::pin(std::mem::replace(self, fresh).connect(uri))
    }
}
