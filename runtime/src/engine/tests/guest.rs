//! Makes components from a few lines of WebAssembly text.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::super::host::{AccessError, Body, Injected, SendError, SignError, Timeouts};
use super::super::*;
use keyhole_host_api::broker::Field;

/// A step in WebAssembly text, around which [`Guest::component`] puts the rest.
#[derive(Clone)]
pub struct Guest {
    /// Imports of its world beside those of `step`.
    pub interfaces: Vec<String>,
    /// Core imports, such as `(import "keyhole:step/flow@0.1.0" "log" (func $log (param i32 i32 i32)))`.
    pub imports: String,
    /// Functions, data and globals. Data begins at 4096.
    pub items: String,
    /// Body of `run`, whose result is the address of a `result<json, failure>`.
    pub run: String,
    /// Body of `definition`, whose result is the address of a string.
    pub definition: String,
    /// Pages of memory.
    pub pages: u32,
}

/// What `run` ends with: the value that is at address 256.
pub const OK: &str = "(i32.const 256)";

impl Default for Guest {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            imports: String::new(),
            items: String::new(),
            run: OK.to_owned(),
            definition: "(i32.const 272)".to_owned(),
            pages: 2,
        }
    }
}

const DEFINITION: &str = r#"{"name":"t","version":"1.0.0","props":{}}"#;

/// `text` as the content of a data segment.
fn quoted(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:02x}")).collect()
}

/// A little-endian number as the content of a data segment.
fn word(number: usize) -> String {
    (number as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
}

impl Guest {
    pub fn run(run: &str) -> Self {
        Self { run: run.to_owned(), ..Self::default() }
    }

    pub fn imports(mut self, imports: &str) -> Self {
        self.imports.push_str(imports);
        self
    }

    pub fn items(mut self, items: &str) -> Self {
        self.items.push_str(items);
        self
    }

    pub fn interface(mut self, interface: &str) -> Self {
        self.interfaces.push(interface.to_owned());
        self
    }

    /// The text at address 512 and its length, returned by `run` as JSON in place of `null`.
    pub fn returning(mut self, json: &str) -> Self {
        self.items.push_str(&format!(
            r#"(data (i32.const 512) "{}") (data (i32.const 260) "{}{}")"#,
            quoted(json),
            word(512),
            word(json.len())
        ));
        self
    }

    pub fn text(&self) -> String {
        let Self { imports, items, run, definition, pages, .. } = self;
        format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (global $top (mut i32) (i32.const 65536))
                ;; 256: ok("null") · 272: the definition · 288: err(failure)
                (data (i32.const 256) "\00\00\00\00{null}{four}")
                (data (i32.const 272) "{at_definition}{definition_len}")
                (data (i32.const 320) "null")
                (data (i32.const 1024) "{definition_text}")
                (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                    (global.set $top (i32.add (local.get $at) (local.get 3)))
                    (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
                        (then (drop (memory.grow (i32.add (i32.div_u (local.get 3) (i32.const 65536)) (i32.const 1))))))
                    (local.get $at))
                (func (export "definition") (result i32) {definition})
                (func (export "configure") (param i32 i32 i32 i32) (result i32) (i32.const 256))
                (func $run (export "run") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (local $i i32) (local $n i32) (local $x i64)
                    {run})
                {items})"#,
            null = word(320),
            four = word(4),
            at_definition = word(1024),
            definition_len = word(DEFINITION.len()),
            definition_text = quoted(DEFINITION),
        )
    }

    pub fn component(&self) -> Bytes {
        let mut resolve = Resolve::default();
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
        resolve.push_dir(wit).unwrap();
        let imports: String = self.interfaces.iter().map(|interface| format!("import {interface};\n")).collect();
        let package = resolve
            .push_str(
                "guest.wit",
                &format!("package test:guest;\nworld guest {{ {imports} include keyhole:step/step@0.1.0; }}"),
            )
            .unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        let mut module = wat::parse_str(self.text()).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap().into()
    }
}

/// A host with one account, whose token is a placeholder, and a log of what it was asked.
#[derive(Default)]
pub struct TestHost {
    pub asked: Mutex<Vec<String>>,
}

pub const PLACEHOLDER: &str = "khp1AAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[async_trait]
impl StepHost for TestHost {
    async fn account(&self, prop: &str) -> Result<Injected, AccessError> {
        self.asked.lock().unwrap().push(prop.to_owned());
        if prop != "slack" {
            return Err(AccessError::NotDeclared(prop.to_owned()));
        }
        Ok(Injected {
            app: "slack".into(),
            nickname: "work".into(),
            auth: vec![Field { name: "token".into(), value: PLACEHOLDER.into(), secret: true }],
            base_url: Some("https://slack.example/".into()),
            headers: vec![],
            query: vec![],
        })
    }

    async fn sign_hmac(&self, _: &str, purpose: &str, message: &[u8]) -> Result<String, SignError> {
        Ok(format!("{purpose}:{}", message.len()))
    }

    fn send(
        self: Arc<Self>,
        request: ::http::Request<Body>,
        _: Timeouts,
    ) -> BoxFuture<'static, Result<::http::Response<Body>, SendError>> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        Box::pin(std::future::pending())
    }

    fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match text.contains(PLACEHOLDER) {
            true => Cow::Owned(text.replace(PLACEHOLDER, "‹slack.token›")),
            false => Cow::Borrowed(text),
        }
    }
}

/// An engine of a few slots, without a cache.
pub fn engine() -> Engine {
    Engine::new(EngineConfig { slots: Some(16), ..EngineConfig::default() }).unwrap()
}

pub fn input() -> Input {
    Input { event: r#"{"e":1}"#.into(), steps: "{}".into(), props: "{}".into(), context: "{}".into() }
}

/// Loads and runs with `limits`.
pub async fn run_with(engine: &Engine, guest: &Guest, limits: &Limits) -> RunOutcome {
    let step = engine.load(guest.component()).await.unwrap();
    engine.run(&step, Arc::new(TestHost::default()), &input(), limits).await
}

/// Loads and runs.
pub async fn run(guest: &Guest) -> RunOutcome {
    run_with(&engine(), guest, &Limits::default()).await
}

/// The limit that ended a run.
pub fn limit(outcome: &RunOutcome) -> Limit {
    match &outcome.result {
        Err(StepFailure::Limit { limit, .. }) => *limit,
        other => panic!("no limit ended it: {other:?}"),
    }
}

/// A component that imports `name` with `exports`, and is nothing else.
pub fn component_with(name: &str, exports: &str) -> Bytes {
    wat::parse_str(format!(r#"(component (import "{name}" (instance {exports})))"#)).unwrap().into()
}
