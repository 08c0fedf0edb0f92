//! wasmtime-wasi-http's own sender trusts the web's authorities and no other. Over TLS this one does as it does, a
//! connection, a handshake and a configuration for each request, and trusts the test's.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

type Io = Box<dyn Future<Output = Result<()>> + Send>;

/// Sends all requests over TLS, and to one service.
#[derive(Clone)]
pub struct OverTls {
    pub authority: String,
    pub address: SocketAddr,
}

impl OverTls {
    fn connector(&self) -> Result<TlsConnector> {
        let failed = |error: &dyn std::fmt::Display| Error::InternalError(Some(error.to_string()));
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.as_bytes()).map_err(|error| failed(&error))?;
        roots.add(root).map_err(|error| failed(&error))?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn send(self, request: Request<WasiBody>) -> Result<(Response<WasiBody>, Io)> {
        let host = request.uri().host().ok_or(Error::HttpRequestUriInvalid)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let stream = TcpStream::connect(self.address).await.map_err(Error::Connect)?;
        let stream = self.connector()?.connect(name, stream).await.map_err(Error::Tls)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let answer = sender.send_request(Request::from_parts(parts, body)).await?;
        let ended = async move {
            connection.await.map_err(|error| Error::InternalError(Some(error.to_string())))??;
            Ok(())
        };
        Ok((answer.map(|body| body.map_err(Error::from).boxed_unsync()), Box::new(ended)))
    }
}

impl WasiHttpHooks for OverTls {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _guest_side: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io)>> + Send> {
        Box::new(self.clone().send(request))
    }
}
