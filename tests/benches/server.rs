//! The service on loopback that both sides of a comparison call: HTTP/1.1 with keep-alive,
//! one answer for all, and nothing remembered.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyhole_tests::server::{Authority, Server};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Answers over plain HTTP until it is dropped.
pub struct Plain {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Plain {
    pub fn new(body: Bytes) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(serve(stream, body.clone()));
            }
            #[allow(unreachable_code, reason = "it tells the compiler which error `?` gives")]
            Ok::<_, std::io::Error>(())
        });
        Ok(Self { address, runtime: Some(runtime) })
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // Waiting for its threads, as a runtime does by itself, is not allowed in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The same over TLS, under the name that the account is for, and by its address.
pub fn tls(authority: &Authority, body: Bytes) -> Server {
    Server::raw(authority, &["api.acme.example", "127.0.0.1"], move |stream| serve(stream, body.clone()))
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, body: Bytes) {
    let answer = service_fn(move |_: Request<Incoming>| {
        let answer = Response::builder().header("content-type", "application/json").body(Full::new(body.clone()));
        std::future::ready(Ok::<_, Infallible>(answer.expect("a valid answer")))
    });
    // A client that goes away is how each measurement ends.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}
