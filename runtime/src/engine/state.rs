//! What the host keeps for one call into a component, and drops with it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use bytes::Bytes;
use serde::Serialize;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::host::StepHost;
use super::http::{Broker, OverOnDrop};
use super::json::Json;
use super::limits::{Books, HEADERS_BYTES, Limits};
use super::log::{SharedLog, Stream};
use super::stdio::Stdio;

/// Bytes of random that one call gives.
const RANDOM_BYTES: u64 = 1 << 20;

/// The data of a store.
pub(super) struct State {
    /// First, since fields are dropped in their order, and requests go with the table.
    _over: OverOnDrop,
    pub table: ResourceTable,
    pub host: Arc<dyn StepHost>,
    pub books: Books,
    pub log: SharedLog,
    pub limits: Limits,
    pub exports: BTreeMap<String, Json>,
    pub export_bytes: usize,
    pub flow: Flow,
    /// Calls of data stores.
    pub data_calls: u64,
    pub broker: Broker,
    http: WasiHttpCtx,
    /// Made when first asked for: most calls never look at it, and it seeds three generators.
    wasi: Option<WasiCtx>,
}

/// What a step told the workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The answer for whoever called the trigger.
    pub response: Option<FlowResponse>,
    /// Why the workflow ends after this step, if it does.
    pub exit: Option<String>,
    /// What the workflow waits for before it goes on.
    pub pause: Option<Pause>,
}

/// What a step has its workflow wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// So many milliseconds before the next step.
    Delay(u64),
    /// The same, or a call of a URL with one of these tokens.
    Suspend(u64, Tokens),
    /// The same, and then comes this step again.
    Rerun(u64, Tokens, Rerun),
}

/// What URLs have in them that have a run go on, or end: 128 bits each that nobody guesses.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Of the one that has it go on.
    pub resume: String,
    /// Of the one that ends it.
    pub cancel: String,
}

/// They are as good as a key to the run.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

/// How a step is run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// What it wants to find in its context.
    pub value: Json,
    /// How often at most.
    pub most: u32,
}

impl Tokens {
    /// Fresh ones.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub(super) fn mint() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self { resume: text(&bytes[..16]), cancel: text(&bytes[16..]) })
    }
}

/// An HTTP answer for whoever called the workflow's trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowResponse {
    /// 200 to 599.
    pub status: u16,
    /// Valid header lines.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(skip)]
    pub body: Bytes,
    /// To be sent now, rather than when the workflow ends.
    pub immediate: bool,
}

impl FlowResponse {
    /// The same with labels where placeholders stood.
    pub(super) fn redacted(mut self, host: &dyn StepHost) -> Self {
        for (name, value) in &mut self.headers {
            *value = host.redact(value).into_owned();
            // A label is no header's name.
            if matches!(host.redact(name), Cow::Owned(_)) {
                *name = "redacted".to_owned();
            }
        }
        let text = String::from_utf8_lossy(&self.body);
        if let Cow::Owned(redacted) = host.redact(&text) {
            self.body = redacted.into();
        }
        self
    }
}

impl State {
    pub fn new(host: Arc<dyn StepHost>, limits: Limits) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADERS_BYTES);
        let over = Arc::new(AtomicBool::new(false));
        Self {
            _over: OverOnDrop(over.clone()),
            table,
            books: Books::new(&limits),
            log: SharedLog::new(limits.log_bytes),
            exports: BTreeMap::new(),
            export_bytes: 0,
            flow: Flow::default(),
            data_calls: 0,
            broker: Broker { host: host.clone(), over, unanswered: Arc::default(), header_sets: 0 },
            http,
            wasi: None,
            host,
            limits,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let log = &self.log;
        let ctx = self.wasi.get_or_insert_with(|| {
            WasiCtx::builder()
                .stdout(Stdio { log: log.clone(), stream: Stream::Out })
                .stderr(Stdio { log: log.clone(), stream: Stream::Err })
                .max_random_size(RANDOM_BYTES)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .socket_addr_check(|_, _| Box::pin(std::future::ready(false)))
                .build()
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.broker, table: &mut self.table, ctx: &mut self.http }
    }
}
