//! What the tests in here share: the hostile step run by the program, and in this process
//! where many runs at once are needed or what a run leaves behind is to be seen.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyhole::engine::{CompileWorker, Engine, EngineConfig, Input, Limits, RunOutcome, Step, StepFailure, StepHost};
use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::{Broker, Egress, Scope, Session};
use keyhole_tests::host::{Host, scope};
use keyhole_tests::program::{Ended, KEY, Keyhole};
use keyhole_tests::server::{Authority, Server};
use keyhole_tests::workspace::{component, keyhole};
use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The service's host, where alice's account leads.
pub const HOST: &str = "api.acme.example";

/// Alice with an account, and the hostile step.
pub struct Scene {
    pub keyhole: Keyhole,
    pub account: String,
    hostile: PathBuf,
}

impl Scene {
    pub fn new() -> Self {
        let keyhole = Keyhole::default();
        keyhole.member("alice");
        let account = keyhole.connect("alice", KEY);
        Self { keyhole, account, hostile: component("hostile") }
    }

    /// How alice's run of the attack, with her account linked, ended.
    pub fn attack(&self, attack: &str, how: Value, flags: &[&str]) -> Value {
        let flags = self.flags(flags);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.keyhole.run(&self.hostile, &event(attack, how), &flags)
    }

    /// The same, when it is the program's end that matters.
    pub fn end_of_attack(&self, attack: &str, how: Value, flags: &[&str]) -> Ended {
        let flags = self.flags(flags);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.keyhole.end_of_run(&self.hostile, &event(attack, how), &flags)
    }

    fn flags(&self, more: &[&str]) -> Vec<String> {
        let link = format!("acme={}", self.account);
        ["--as", "alice", "--link", &link].iter().chain(more).map(ToString::to_string).collect()
    }
}

/// The hostile step's event.
pub fn event(attack: &str, mut how: Value) -> Value {
    how["attack"] = json!(attack);
    how
}

/// The limit that ended the run; its message says which and how large.
pub fn limit(run: &Value) -> &str {
    assert_eq!(run["error"]["failure"], "limit", "no limit ended it: {run:#}");
    assert_eq!(run["error"]["retry"], false);
    run["error"]["limit"].as_str().expect("the limit's name")
}

/// Fails unless `message` has all of `parts`.
#[track_caller]
pub fn says(message: &Value, parts: &[&str]) {
    let text = message.as_str().unwrap_or_else(|| panic!("no message: {message}"));
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// Whether the long forms are asked for: `tests/run --long`.
pub fn long() -> bool {
    std::env::var_os("KEYHOLE_LONG").is_some_and(|value| value == "1")
}

/// Measures up to three times. None takes longer than `worst`, and the best takes `limit` at most: the machine may
/// have other things to do, and what Keyhole does wrong it does wrong each time.
#[track_caller]
pub fn at_best(limit: Duration, worst: Duration, mut measure: impl FnMut() -> Duration) {
    let mut all = Vec::new();
    for _ in 0..3 {
        let took = measure();
        assert!(took <= worst, "{took:?}, which should be {worst:?} at most whatever else the machine does");
        if took <= limit {
            return;
        }
        all.push(took);
    }
    panic!("{all:?}, the best of which should be {limit:?} at most");
}

/// One engine for all tests in this process. It compiles in a process of its own, as the program does.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(config()).expect("an engine"))
}

/// How it is set up.
pub fn config() -> EngineConfig {
    let worker = CompileWorker { program: keyhole(), args: vec!["__compile".into()] };
    EngineConfig { slots: Some(64), worker: Some(worker), ..EngineConfig::default() }
}

/// A test component, ready to run.
pub async fn step(package: &str) -> Arc<Step> {
    let bytes = std::fs::read(component(package)).expect("the component is read");
    engine().load(bytes.into()).await.expect("a step")
}

/// Limits with another deadline.
pub fn within(deadline: Duration) -> Limits {
    Limits { deadline, ..Limits::default() }
}

/// One run of `step` in this process.
pub async fn run(step: &Step, host: Arc<dyn StepHost>, event: &Value, limits: &Limits) -> RunOutcome {
    let context = json!({
        "run": "run-1",
        "step": step.definition.name,
        "attempt": 1,
        "member": "alice",
        "deadline_ms": limits.deadline.as_millis() as u64,
    });
    let input =
        Input { event: event.to_string(), steps: "{}".into(), props: "{}".into(), context: context.to_string() };
    engine().run(step, host, &input, limits).await
}

/// The failure of a run that a limit ended.
pub fn limit_of(outcome: &RunOutcome) -> (&'static str, String) {
    match &outcome.result {
        Err(StepFailure::Limit { limit, message }) => (limit.as_str(), message.clone()),
        other => panic!("no limit ended it: {other:?}"),
    }
}

/// Alice's account, and a broker that leads its host to a server: what stays when a run has ended.
pub struct World {
    pub broker: Arc<Broker>,
    pub account: AccountId,
    _host: Host,
}

impl World {
    pub async fn new(authority: &Authority, server: &Server) -> Self {
        let host = Host::new().await;
        let broker = host.broker(authority, &[(HOST, server)], Egress::default());
        let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
        Self { broker, account, _host: host }
    }

    /// What one of alice's runs may do.
    pub fn scope(&self) -> Scope {
        scope("alice", &[("acme", "acme", Some(&self.account))])
    }

    pub fn session(&self) -> Arc<Session> {
        self.broker.session(self.scope())
    }
}

/// The component that `guests/wat/NAME.wat`, a core module, makes of the world `step`.
pub fn component_of_text(name: &str) -> Vec<u8> {
    let text = keyhole_tests::workspace::fixture(&format!("guests/wat/{name}.wat"));
    let text = std::fs::read_to_string(text).expect("the module's text is read");
    let mut resolve = Resolve::default();
    resolve.push_dir(keyhole_tests::workspace::root().join("wit")).expect("the contract parses");
    // Beside the contract, what no step may import.
    let package = resolve
        .push_str(
            "guest.wit",
            "package test:guest;
             interface secrets { read: func(name: string) -> string; }
             world guest { import secrets; include keyhole:step/step@0.1.0; }",
        )
        .expect("the guest's world parses");
    let world = resolve.select_world(&[package], Some("guest")).expect("the guest's world");
    let mut module = wat::parse_str(text).expect("the module's text parses");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default().module(&module).expect("a module").validate(true).encode().expect("a component")
}
