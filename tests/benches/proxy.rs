//! What `wasmtime serve` does, in a process of its own, but for the sender: that one's trusts the web's authorities and
//! no other, so calls over TLS to a service of a test are sent by [`OverTls`].

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::bare::State;
use crate::common::component;
use crate::sender::OverTls;

/// The first argument of its process; the authority's file and the service's address follow.
pub const SERVER: &str = "__proxy";

/// As `throughput` tunes `wasmtime serve`.
pub const KEEP_RESIDENT: usize = 2 << 20;

/// It serves until it is dropped.
pub struct Proxy {
    child: Child,
    pub url: String,
}

impl Proxy {
    /// Starts it; it calls `service`, whose certificate is from `authority`.
    pub fn start(authority: &Path, service: SocketAddr) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([SERVER.as_ref(), authority.as_os_str(), service.to_string().as_ref()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut address)?;
        Ok(Self { child, url: format!("http://{}", address.trim()) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Service {
    engine: wasmtime::Engine,
    pre: ProxyPre<State>,
    sender: OverTls,
}

/// The process: says where it listens, and serves.
pub fn serve(authority: &str, service: &str) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut pool = PoolingAllocationConfig::default();
    pool.linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    let mut settings = Config::new();
    settings.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = wasmtime::Engine::new(&settings)?;
    let mut linker: Linker<State> = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let component = Component::new(&engine, component("bare-server")?)?;
    let pre = ProxyPre::new(linker.instantiate_pre(&component)?)?;
    let sender = OverTls { authority: std::fs::read_to_string(authority)?, address: service.parse()? };
    let service = Arc::new(Service { engine, pre, sender });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = service.clone();
            let answer = service_fn(move |request| service.clone().answer(request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    })
}

impl Service {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<HyperOutgoingBody>> {
        let mut store = Store::new(&self.engine, State::new(Some(self.sender.clone())));
        let (sender, receiver) = oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let out = store.data_mut().http().new_response_outparam(sender)?;
        let proxy = self.pre.instantiate_async(&mut store).await?;
        let call = async move { proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await };
        let call = tokio::spawn(call);
        match receiver.await {
            Ok(answer) => answer.map_err(|code| anyhow!("{code:?}")),
            Err(_) => Err(call.await?.err().map_or_else(|| anyhow!("it gave no answer"), anyhow::Error::from)),
        }
    }
}
