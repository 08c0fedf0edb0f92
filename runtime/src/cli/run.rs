//! `keyhole run`: one step, once. What runs a step here is what `demo` uses, too.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueHint};
use comfy_table::Cell;
use keyhole::engine::{
    self, BaseType, CodeCacheConfig, CompileWorker, Definition, Engine, EngineConfig, EngineError, FlowResponse, Input,
    Json, Level, Limits, LogLine, MAX_DEADLINE, MAX_MEMORY, Pause, RunOutcome, Step, StepFailure, StepHost,
};
use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::{AllowedHost, Broker, Brokered, Link, Scope, Session, Spent};
use keyhole_host_api::data::{DataStore, DataStores};
use keyhole_host_api::members::MemberId;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::error::{Context as _, Error, Result};
use super::home::Home;
use super::output::{self, Output, style};
use super::settings::{AsMember, EgressFlags, Settings, parse_duration, parse_size, read_text};
use super::{audit, build, configure};

/// Run a step once
///
///   keyhole run slack-post.wasm --as alice --link slack="alice's Slack" --prop text='Hello, world!'
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Run {
    /// The component, or the folder or file to build it from
    #[arg(value_name = "COMPONENT", value_hint = ValueHint::AnyPath)]
    component: PathBuf,

    /// The event, a JSON file; '-' for standard input [default: an empty object]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    event: Option<PathBuf>,

    /// Link an app prop to an account, by its id or nickname
    #[arg(long, value_name = "PROP=ACCOUNT")]
    link: Vec<String>,

    /// Give a prop a value: JSON, or else a text
    #[arg(long, value_name = "NAME=VALUE")]
    prop: Vec<String>,

    /// Show what the step offers for this prop, given the others, instead of running it
    #[arg(long, value_name = "PROP")]
    configure: Option<String>,

    /// Open a host to requests without a credential: HOST, HOST:PORT or http://HOST
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<AllowedHost>,

    /// End the run after this time [default: 30s; at most 750s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// End the run when it needs more memory [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Send a request again, so often at most, where the service asks for that (429, 502, 503, 504) or can't be reached,
    /// and where it does no harm
    #[arg(long, value_name = "TIMES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10))]
    retry_requests: u32,

    #[command(flatten)]
    as_member: AsMember,

    #[command(flatten)]
    egress: EgressFlags,
}

impl Run {
    /// Runs it and shows what came of it. Fails if the step did.
    pub async fn run(self, settings: &Settings) -> Result {
        let event = event(self.event.as_deref())?;
        let limits = limits(self.timeout.or(settings.timeout), self.memory.or(settings.memory))?;
        let egress = settings.egress(&self.egress)?;
        let bytes = component(&self.component, settings.out).await?;
        let home = Home::open(settings).await?;
        let member = home.member(&self.as_member, settings).await?;
        let engine = self::engine(Some(home.code_cache(settings)))?;
        let step = engine.load(bytes).await.at(self.component.display())?;
        let links = links(&self.link, &step.definition, &home, &member).await?;
        for (prop, app, required) in step.definition.app_props() {
            let known = home.catalog.get(app);
            if required && !links.contains_key(prop) && known.is_none_or(|app| app.takes_account()) {
                settings.out.note(match known {
                    Some(_) => {
                        format!("no account is linked to the prop {prop}; add --link {prop}=ACCOUNT, one of {app}")
                    }
                    None => format!("no account is linked to the prop {prop}, and {}; {}", no_app(app), draft_it(app)),
                });
            }
        }
        let props = given_props(&self.prop, &step.definition)?;
        let retries = self.retry_requests;
        let mut attempt = Attempt { member, links, props, event, allow_hosts: self.allow_host, limits, retries };
        let broker = home.broker(egress).await?;
        let stores = DataStores::new(home.store.clone());
        stores.set_most(settings.store_size);
        if let Some(prop) = &self.configure {
            let answer = configure::ask(&attempt, &engine, &step, &broker, &stores, prop).await?;
            return settings.out.either(&answer, || pretty(&answer));
        }
        let definition = configure::definition(&attempt, &engine, &step, &broker, &stores).await?;
        attempt.props = definition.props(&given_props(&self.prop, &definition)?).map_err(usage)?;
        let data = attempt.data(&definition, &stores);
        let see = |session| Arc::new(engine::Attempt { session, data, callbacks: None, observer: None });
        let ran = tokio::select! {
            ran = attempt.run(&engine, &step, &broker, see) => ran?,
            () = super::interrupt() => return Err(Error::interrupted()),
        };
        show(&ran, settings.out)
    }
}

/// One attempt at a step: on whose behalf, and with what.
pub struct Attempt {
    /// On whose behalf.
    pub member: MemberId,
    /// The accounts linked to app props.
    pub links: BTreeMap<String, AccountId>,
    /// The values of the other props.
    pub props: Map<String, Value>,
    /// The event, JSON.
    pub event: String,
    /// Hosts opened to requests without a credential.
    pub allow_hosts: Vec<AllowedHost>,
    /// What it may take.
    pub limits: Limits,
    /// How often a request is sent again by itself.
    pub retries: u32,
}

/// What came of an attempt.
pub struct Ran {
    /// The run's id.
    pub run: String,
    /// The step's definition.
    pub definition: Definition,
    /// On whose behalf it ran.
    pub member: MemberId,
    /// What the step did.
    pub outcome: RunOutcome,
    /// What it asked of the world.
    pub requests: Vec<Brokered>,
}

impl Attempt {
    /// The data stores that its props name, opened.
    pub fn data(&self, definition: &Definition, stores: &Arc<DataStores>) -> BTreeMap<String, DataStore> {
        let named = definition.data_stores(&self.props, [self.member.as_str(), "", &definition.name]);
        named.into_iter().map(|(prop, name)| (prop, stores.open(name))).collect()
    }

    /// Runs the step. `see` may put something between the step and its session.
    pub async fn run<H: StepHost>(
        &self,
        engine: &Engine,
        step: &Step,
        broker: &Arc<Broker>,
        see: impl FnOnce(Arc<Session>) -> Arc<H>,
    ) -> Result<Ran> {
        let definition = step.definition.clone();
        let (run, session) = self.session(broker, &definition);
        let context = json!({
            "run": run,
            "step": definition.name,
            "attempt": 1,
            "member": self.member,
            "deadline_ms": u64::try_from(self.limits.deadline.as_millis()).unwrap_or(u64::MAX),
            "memory_bytes": self.limits.memory,
        });
        let input = Input {
            event: self.event.clone(),
            steps: "{}".to_owned(),
            props: serde_json::to_string(&self.props)?,
            context: context.to_string(),
        };
        let outcome = engine.run(step, see(session.clone()), &input, &self.limits).await;
        // What the step left open ends with it; its outcomes belong to the run.
        let _ = tokio::time::timeout(Duration::from_secs(1), session.ended()).await;
        broker.settle().await?;
        Ok(Ran { run, definition, member: self.member.clone(), outcome, requests: session.requests() })
    }

    /// An id for a run, and what the step gets of the world in it.
    pub fn session(&self, broker: &Arc<Broker>, definition: &Definition) -> (String, Arc<Session>) {
        let run = ulid::Ulid::generate().to_string();
        let props = definition
            .app_props()
            .map(|(prop, app, _)| {
                (prop.to_owned(), Link { app: app.to_owned(), account: self.links.get(prop).cloned() })
            })
            .collect();
        let session = broker.session(Scope {
            run: run.clone(),
            step: definition.name.clone(),
            member: self.member.clone(),
            props,
            allow_hosts: self.allow_hosts.clone(),
            books: broker.books(Spent::default()),
            retries: self.retries,
        });
        (run, session)
    }
}

/// An engine for a few runs. Without `cache` it keeps no compiled code.
pub fn engine(cache: Option<CodeCacheConfig>) -> Result<Engine> {
    Ok(engine_with(cache, Some(16))?)
}

/// An engine with so many runs at once, or as many as the machine carries.
pub fn engine_with(cache: Option<CodeCacheConfig>, slots: Option<u32>) -> std::result::Result<Engine, EngineError> {
    // This very program, even if its file was replaced meanwhile.
    let worker = CompileWorker { program: "/proc/self/exe".into(), args: vec!["__compile".into()] };
    let config = EngineConfig { slots, code_cache: cache, worker: Some(worker), ..EngineConfig::default() };
    super::while_dumpable(|| Engine::new(config))
}

/// The component's bytes: a file's, or those built from source.
pub async fn component(path: &Path, out: Output) -> Result<Bytes> {
    if build::is_source(path) {
        return Ok(build::source(path, None, out).await?.component.into());
    }
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::usage("there is no such component or folder").at(path.display()))
        }
        Err(error) => Err(Error::from(error).at(path.display())),
    }
}

/// The event in a file, JSON.
pub fn event(path: Option<&Path>) -> Result<String> {
    let (text, place) = match path {
        None => return Ok("{}".to_owned()),
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).doing("the event can't be read from standard input")?;
            (text, "standard input".to_owned())
        }
        Some(path) => (read_text(path)?, path.display().to_string()),
    };
    if let Err(error) = Json::parse(text.clone()) {
        let place = format!("{place}:{}:{}", error.line(), error.column());
        return Err(Error::usage(format!("the event is not JSON: {error}")).at(place));
    }
    Ok(text)
}

fn limits(timeout: Option<Duration>, memory: Option<u64>) -> Result<Limits> {
    let mut limits = Limits::default();
    if let Some(timeout) = timeout {
        if timeout > MAX_DEADLINE || timeout.is_zero() {
            return Err(Error::usage(format!("a run may take up to {} s", MAX_DEADLINE.as_secs())).at("--timeout"));
        }
        limits.deadline = timeout;
    }
    if let Some(memory) = memory {
        limits.memory = usize::try_from(memory)
            .ok()
            .filter(|memory| (1..=MAX_MEMORY).contains(memory))
            .ok_or_else(|| Error::usage("a run may have up to 4 GiB of memory").at("--memory"))?;
    }
    Ok(limits)
}

/// `NAME=VALUE`, cut at the first `=`.
fn pair<'t>(text: &'t str, flag: &str, form: &str) -> Result<(&'t str, &'t str)> {
    text.split_once('=').ok_or_else(|| Error::usage(format!("'{text}' is not of the form {form}")).at(flag.to_owned()))
}

async fn links(
    given: &[String],
    definition: &Definition,
    home: &Home,
    member: &MemberId,
) -> Result<BTreeMap<String, AccountId>> {
    let mut links = BTreeMap::new();
    for link in given {
        let (prop, named) = pair(link, "--link", "PROP=ACCOUNT")?;
        let Some((_, app, _)) = definition.app_props().find(|(name, ..)| *name == prop) else {
            let names: Vec<&str> = definition.app_props().map(|(name, ..)| name).collect();
            return Err(Error::usage(format!("{} has no app prop '{prop}'", definition.name)).at("--link").help(
                match names.as_slice() {
                    [] => "it takes no account".to_owned(),
                    names => format!("its app props are {}", names.join(", ")),
                },
            ));
        };
        if home.catalog.get(app).is_none() {
            return Err(Error::usage(no_app(app)).at(format!("prop {prop}")).help(draft_it(app)));
        }
        let id = match home.account(member, named).await {
            Ok(account) => account.id,
            // An id is taken as it is: whether the member may use it is the broker's to say.
            Err(error) => named.parse().map_err(|_| error)?,
        };
        links.insert(prop.to_owned(), id);
    }
    Ok(links)
}

fn no_app(app: &str) -> String {
    format!("the catalog has no app {app}")
}

fn draft_it(app: &str) -> String {
    format!("draft it with `keyhole apps new {app}`")
}

fn given_props(given: &[String], definition: &Definition) -> Result<Map<String, Value>> {
    let mut props = Map::new();
    for prop in given {
        let (name, text) = pair(prop, "--prop", "NAME=VALUE")?;
        let is_text =
            definition.props.get(name).is_some_and(|prop| prop.kind.base == BaseType::String && !prop.kind.list);
        let value = match serde_json::from_str(text) {
            // For a text, 42 is the text 42; only what is quoted is read as JSON.
            Ok(value) if !is_text || matches!(value, Value::String(_)) => value,
            _ => Value::String(text.to_owned()),
        };
        props.insert(name.to_owned(), value);
    }
    Ok(props)
}

fn usage(error: impl std::fmt::Display) -> Error {
    Error::usage(error.to_string())
}

/// The object that `run --json` prints.
#[derive(Serialize)]
struct Document<'r> {
    status: &'static str,
    run: &'r str,
    step: &'r str,
    version: String,
    member: &'r MemberId,
    return_value: Option<&'r Json>,
    exports: &'r BTreeMap<String, Json>,
    log: &'r [LogLine],
    log_cut: bool,
    requests: &'r [Brokered],
    duration_ms: f64,
    peak_memory: usize,
    /// What the trigger's caller would be answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Answer<'r>>,
    /// Why a workflow would end here.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<&'r str>,
    /// What a workflow would do before its next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<String>,
    error: Option<Value>,
}

/// A response as it stands in that object.
#[derive(Serialize)]
struct Answer<'r> {
    status: u16,
    headers: &'r [(String, String)],
    bytes: usize,
    /// None if it is not text.
    body: Option<&'r str>,
}

impl<'r> Answer<'r> {
    fn of(response: &'r FlowResponse) -> Self {
        let FlowResponse { status, headers, body, .. } = response;
        Self { status: *status, headers, bytes: body.len(), body: std::str::from_utf8(body).ok() }
    }
}

/// The failure as it stands in that object: its own members, and two that every kind has.
fn failure_document(failure: &StepFailure) -> Result<Value> {
    let mut document = serde_json::to_value(failure)?;
    document["message"] = json!(failure.to_string());
    document["retry"] = json!(failure.retry());
    Ok(document)
}

fn show(ran: &Ran, out: Output) -> Result {
    let outcome = &ran.outcome;
    let failure = outcome.result.as_ref().err();
    if out.json {
        out.document(&Document {
            status: if failure.is_none() { "ok" } else { "failed" },
            run: &ran.run,
            step: &ran.definition.name,
            version: ran.definition.version.to_string(),
            member: &ran.member,
            return_value: outcome.result.as_ref().ok(),
            exports: &outcome.exports,
            log: &outcome.log,
            log_cut: outcome.log_cut,
            requests: &ran.requests,
            duration_ms: outcome.duration.as_secs_f64() * 1e3,
            peak_memory: outcome.peak_memory,
            response: outcome.flow.response.as_ref().map(Answer::of),
            exit: outcome.flow.exit.as_deref(),
            then: outcome.flow.pause.as_ref().map(pause),
            error: failure.map(failure_document).transpose()?,
        })?;
        return if failure.is_none() { Ok(()) } else { Err(Error::said()) };
    }
    out.line(text(ran).trim_end())?;
    match failure {
        None => Ok(()),
        Some(failure) => Err(Error::new(failure.to_string()).at(format!("run {}", ran.run))),
    }
}

fn text(ran: &Ran) -> String {
    let outcome = &ran.outcome;
    let mut text = String::new();
    let mut section = |title: &str, body: &str| {
        let body = body.trim_end().replace('\n', "\n  ");
        text += &format!("{}{title}{:#}\n  {body}\n\n", style::BOLD, style::BOLD);
    };
    if let Ok(value) = &outcome.result {
        section("return value", &pretty(value));
    }
    if !outcome.exports.is_empty() {
        let exports: Vec<String> = outcome
            .exports
            .iter()
            .map(|(name, value)| format!("{}: {}", output::visible(name), pretty(value)))
            .collect();
        section("exports", &exports.join("\n"));
    }
    if let Some(response) = &outcome.flow.response {
        section("answer to the trigger", &format!("{}, {} bytes", response.status, response.body.len()));
    }
    if let Some(reason) = &outcome.flow.exit {
        section("ends the workflow", &output::visible(reason));
    }
    if let Some(pause) = &outcome.flow.pause {
        section("a workflow would then", &self::pause(pause));
    }
    if !outcome.log.is_empty() {
        let mut log: Vec<String> = outcome.log.iter().map(log_line).collect();
        if outcome.log_cut {
            log.push(format!("{}the log was cut here: it is at its limit{:#}", style::WARN, style::WARN));
        }
        section("log", &log.join("\n"));
    }
    if !ran.requests.is_empty() {
        section("requests", &requests(&ran.requests));
    }
    if let Err(StepFailure::Trapped { trace, .. }) = &outcome.result
        && !trace.is_empty()
    {
        section("where it was, innermost first", &output::visible(&trace.join("\n")));
    }
    if let Err(StepFailure::Failed { trace: Some(trace), .. }) = &outcome.result {
        section("where it was", &output::visible(trace));
    }
    let (word, color) = if outcome.result.is_ok() { ("ok", style::GOOD) } else { ("failed", style::BAD) };
    text + &format!(
        "{color}{word}{color:#} in {}, peak memory {}, run {}",
        output::duration(outcome.duration),
        output::size(outcome.peak_memory as u64),
        ran.run,
    )
}

/// Longest value that is laid out in lines. Doing so takes many times its memory.
const PRETTY: usize = 64 * 1024;

fn pretty(value: &Json) -> String {
    let laid_out =
        (value.as_str().len() <= PRETTY).then(|| serde_json::to_string_pretty(&value.to_value()).ok()).flatten();
    output::visible(laid_out.as_deref().unwrap_or(value.as_str())).into_owned()
}

/// A line of a log, as people read it.
pub fn log_line(line: &LogLine) -> String {
    let (word, color) = match line.level {
        Level::Debug => ("debug", style::DIM),
        Level::Info => ("info ", style::DIM),
        Level::Warn => ("warn ", style::WARN),
        Level::Error => ("error", style::BAD),
    };
    format!("{color}{word}{color:#}  {}", output::visible(&line.text))
}

fn requests(requests: &[Brokered]) -> String {
    let mut table = output::table(&["request", "app", "answer", "took", "reason"]);
    for request in requests {
        let (answer, color) = audit::answer(request.decision, request.status);
        table.add_row([
            Cell::new(output::one_line(&format!("{} {}{}", request.method, request.host, request.path), 120)),
            Cell::new(request.app.as_deref().unwrap_or("–")),
            Cell::new(answer).fg(color),
            Cell::new(output::duration(request.duration)),
            Cell::new(output::one_line(request.reason.as_deref().unwrap_or(""), 200)),
        ]);
    }
    output::table_text(&mut table)
}

/// What a step has its workflow do before it goes on.
pub fn pause(pause: &Pause) -> String {
    let time = |milliseconds: &u64| output::duration(Duration::from_millis(*milliseconds));
    match pause {
        Pause::Delay(milliseconds) => format!("wait {}", time(milliseconds)),
        Pause::Suspend(milliseconds, _) => {
            format!("wait until its resume URL is called, {} at most", time(milliseconds))
        }
        Pause::Rerun(milliseconds, _, rerun) => format!(
            "run this step again after {}, or when its resume URL is called; {} times at most",
            time(milliseconds),
            rerun.most
        ),
    }
}
