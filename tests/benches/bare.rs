//! wasmtime without Keyhole, for comparison: it instantiates and calls the same component
//! with the same allocator, in a store as the documentation of wasmtime-wasi shows one. No
//! limits, no log, no epochs, no accounts; its requests go out by wasmtime-wasi-http's own sender, or as that would.

use anyhow::{Context as _, Result, anyhow};
use keyhole::engine::{Engine, EngineConfig, Input};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Config, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, default_hooks};

use crate::common::STAND_IN;
use crate::sender::OverTls;
use bindings::StepPre;
use bindings::keyhole::step::{accounts, data, flow, signer, types};

#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "keyhole:step/step",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:random": wasmtime_wasi::p2::bindings::random,
            "wasi:http": wasmtime_wasi_http::p2::bindings::http,
            "keyhole:step/accounts.account": super::Account,
            "keyhole:step/data.store": super::Data,
        },
        require_store_data_send: true,
    });
}

/// The only account; there is nothing to know of it.
pub struct Account;

/// A data store, of which there is none.
pub struct Data;

type Answer<T> = wasmtime::Result<Result<T, data::DataError>>;

fn none<T>() -> Answer<T> {
    Ok(Err(data::DataError::NotLinked(String::new())))
}

impl data::Host for State {
    fn open(&mut self, _: String) -> Answer<Resource<Data>> {
        none()
    }
}

impl data::HostStore for State {
    fn get(&mut self, _: Resource<Data>, _: String) -> Answer<Option<data::Entry>> {
        none()
    }

    fn set(&mut self, _: Resource<Data>, _: String, _: String, _: Option<u64>, _: data::Expect) -> Answer<Option<u64>> {
        none()
    }

    fn delete(&mut self, _: Resource<Data>, _: String, _: data::Expect) -> Answer<bool> {
        none()
    }

    fn increment(&mut self, _: Resource<Data>, _: String, _: i64, _: Option<u64>) -> Answer<i64> {
        none()
    }

    fn entries(&mut self, _: Resource<Data>, _: String, _: Option<String>, _: u32) -> Answer<Vec<data::Entry>> {
        none()
    }

    fn clear(&mut self, _: Resource<Data>) -> Answer<()> {
        none()
    }

    fn drop(&mut self, _: Resource<Data>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The data of a store.
pub struct State {
    table: ResourceTable,
    http: WasiHttpCtx,
    wasi: WasiCtx,
    sender: Option<OverTls>,
}

impl State {
    /// For one instance, whose requests `sender` sends, or else wasmtime-wasi-http's own.
    pub fn new(sender: Option<OverTls>) -> Self {
        Self { table: ResourceTable::new(), http: WasiHttpCtx::new(), wasi: WasiCtx::builder().build(), sender }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let hooks: &mut dyn WasiHttpHooks = match &mut self.sender {
            Some(sender) => sender,
            None => default_hooks(),
        };
        WasiHttpCtxView { hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

impl types::Host for State {}

impl accounts::Host for State {
    fn linked(&mut self, _: String) -> wasmtime::Result<Result<Resource<Account>, accounts::AccessError>> {
        Ok(Ok(Resource::new_own(0)))
    }
}

impl accounts::HostAccount for State {
    fn app(&mut self, _: Resource<Account>) -> wasmtime::Result<String> {
        Ok("acme".to_owned())
    }

    fn nickname(&mut self, _: Resource<Account>) -> wasmtime::Result<String> {
        Ok("alice's Acme".to_owned())
    }

    fn auth(&mut self, _: Resource<Account>) -> wasmtime::Result<Vec<types::Field>> {
        Ok(vec![types::Field { name: "api_key".to_owned(), value: STAND_IN.to_owned(), secret: true }])
    }

    fn request(&mut self, _: Resource<Account>) -> wasmtime::Result<accounts::RequestTemplate> {
        Ok(accounts::RequestTemplate {
            base_url: None,
            headers: vec![("authorization".to_owned(), format!("Bearer {STAND_IN}"))],
            query: Vec::new(),
        })
    }

    fn drop(&mut self, _: Resource<Account>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl flow::Host for State {
    fn export(&mut self, _: String, _: String) -> wasmtime::Result<Result<(), flow::FlowError>> {
        Ok(Ok(()))
    }

    fn log(&mut self, _: flow::Level, _: String) -> wasmtime::Result<()> {
        Ok(())
    }

    fn respond(&mut self, _: flow::Response) -> wasmtime::Result<Result<(), flow::FlowError>> {
        Ok(Ok(()))
    }

    fn exit(&mut self, _: String) -> wasmtime::Result<()> {
        Ok(())
    }

    fn delay(&mut self, _: u64) -> wasmtime::Result<Result<(), flow::FlowError>> {
        Ok(Ok(()))
    }

    fn suspend(&mut self, _: u64) -> wasmtime::Result<Result<flow::Callbacks, flow::FlowError>> {
        Ok(Ok(flow::Callbacks { resume_url: None, cancel_url: None }))
    }

    fn rerun(&mut self, _: u64, _: String, _: u32) -> wasmtime::Result<Result<flow::Callbacks, flow::FlowError>> {
        Ok(Ok(flow::Callbacks { resume_url: None, cancel_url: None }))
    }
}

impl signer::Host for State {
    fn hmac(&mut self, _: String, _: String, _: Vec<u8>) -> wasmtime::Result<Result<String, signer::SignError>> {
        Ok(Ok(String::new()))
    }
}

/// A component, ready to be instantiated.
pub struct Bare {
    engine: wasmtime::Engine,
    pre: StepPre<State>,
}

impl Bare {
    /// Compiles and links `component`, with the pool that `keyhole` got for `config`.
    pub fn new(keyhole: &Engine, config: &EngineConfig, component: &[u8]) -> Result<Self> {
        let pool = keyhole.pool();
        let slots = pool.slots.context("Keyhole has no pool to compare with")?;
        let mut settings = Config::new();
        settings.allocation_strategy(config.allocator(slots, pool.pagemap_scan));
        let engine = wasmtime::Engine::new(&settings)?;
        let mut linker: Linker<State> = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        accounts::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        flow::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        signer::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        data::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        let pre = StepPre::new(linker.instantiate_pre(&Component::new(&engine, component)?)?)?;
        Ok(Self { engine, pre })
    }

    /// Instantiates it and calls `run`.
    pub async fn run(&self, input: &Input) -> Result<String> {
        self.run_by(None, input).await
    }

    /// The same, with requests sent by `sender`.
    pub async fn run_by(&self, sender: Option<&OverTls>, input: &Input) -> Result<String> {
        let mut store = Store::new(&self.engine, State::new(sender.cloned()));
        let step = self.pre.instantiate_async(&mut store).await?;
        let Input { event, steps, props, context } = input.clone();
        let result = step.call_run(&mut store, &types::Input { event, steps, props, context }).await?;
        result.map_err(|failure| anyhow!("the step failed: {}", failure.message))
    }
}
