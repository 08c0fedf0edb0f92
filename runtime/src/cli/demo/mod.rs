//! `keyhole demo`: the main job from start to end, with real HTTP on loopback. What it
//! shows it has checked; it must not print a line that it only hopes is so.

mod screen;
mod service;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use keyhole::engine::{Engine, FailureKind, Limit, Limits, Step, StepFailure};
use keyhole::server::model::{
    AccessView, AccountView, AccountsQuery, AddedMember, AuditQuery, Audited, ConnectedView, Deleted, Grant,
    MOST_LISTED, MemberView, NewAccount, NewMember, hidden,
};
use keyhole_host_api::accounts::Access;
use keyhole_host_api::apps::Catalog;
use keyhole_host_api::broker::{AllowedHost, AuditMode, Broker, Decision, Egress, Resolve};
use keyhole_host_api::vault::Secret;
use reqwest::Method;
use serde_json::{Map, Value};

use super::client::{Acting, Client};
use super::error::{Context as _, Error, Result};
use super::home::Home;
use super::output::{self, Output, style};
use super::run::{self, Attempt, Ran};
use super::settings::Settings;
use super::{audit, cargo};
use screen::Screen;
use service::{ELSEWHERE, SERVICE, Service};
use watch::{Seen, Watched};

/// See the main job from start to end: a step uses an account and never sees its key
///
/// Builds two example steps, starts a small server on loopback that plays a service, and shows what each of them sees.
/// Everything is thrown away afterwards; --data-dir DIR keeps the store.
#[derive(Args, Debug)]
pub struct Demo {}

/// The member who has the account.
const ALICE: &str = "alice";
/// And the one who wants to use it.
const BOB: &str = "bob";
/// What alice calls it.
const NICKNAME: &str = "alice's Acme";

/// Everything that the acts need. What members do goes through the client, as with every command: so it is recorded.
struct Stage {
    client: Client,
    broker: Arc<Broker>,
    engine: Engine,
    service: Service,
    echo: Arc<Step>,
    hostile: Arc<Step>,
    alice: Acting,
    bob: Acting,
    key: String,
    data_dir: PathBuf,
    began: jiff::Timestamp,
    /// Every placeholder that a step was handed.
    placeholders: Vec<String>,
}

impl Demo {
    /// Plays the acts; fails unless every line is right.
    pub async fn run(self, settings: &Settings) -> Result {
        let root = clone_root()?;
        let temporary = if settings.data_dir_given { None } else { Some(tempfile::tempdir()?) };
        let data_dir = temporary.as_ref().map_or(settings.data_dir.clone(), |dir| dir.path().join("data"));
        let [echo, hostile] = build_examples(&root, settings.out).await?;
        let mut stage = Stage::set(settings, &data_dir, &echo, &hostile).await?;

        let mut screen = Screen::new(settings.out);
        let (bold, dim) = (style::BOLD, style::DIM);
        screen.say(&format!(
            "{bold}Keyhole{bold:#} runs a step against an account and never hands it the key.\n\
             {dim}This program plays the service, too: https://{SERVICE} is TLS on 127.0.0.1:{}.{dim:#}",
            stage.service.port
        ))?;
        let account = stage.connect(&mut screen).await?;
        stage.use_it(&mut screen, &account).await?;
        stage.share_it(&mut screen, &account).await?;
        stage.attack(&mut screen, &account).await?;
        stage.audit(&mut screen, &account).await?;
        let closing = match &temporary {
            Some(_) => format!("{dim}Nothing is kept; --data-dir DIR keeps the store.{dim:#}"),
            None => look_around(&data_dir),
        };
        if screen.close(&closing)? { Ok(()) } else { Err(Error::said()) }
    }
}

impl Stage {
    async fn set(settings: &Settings, data_dir: &Path, echo: &Path, hostile: &Path) -> Result<Self> {
        let apps = data_dir.join("apps");
        let settings = settings.on(data_dir, &apps);
        // Opened before anything is written: it makes the directory as it must be.
        let before = Home::open_with(&settings, Arc::new(Catalog::embedded())).await?;
        let others = before.members.list().await?;
        if others.iter().any(|member| ![ALICE, BOB].contains(&member.id.as_str())) {
            return Err(Error::usage("this data directory is somebody's own")
                .at(data_dir.display())
                .help("give the demo a new one: keyhole demo --data-dir DIR"));
        }
        drop(before);
        std::fs::create_dir_all(&apps).at(apps.display())?;
        std::fs::write(apps.join("acme.toml"), include_str!("acme.toml")).at(apps.display())?;
        let home = Home::open(&settings).await?;
        let engine = run::engine(Some(home.code_cache(&settings)))?;

        let key = format!("acme_live_{}", ulid::Ulid::generate());
        let service = Service::start(&key).await?;
        let lead = |host: &str| format!("{host}:443:127.0.0.1:{}", service.port).parse::<Resolve>();
        let egress = Egress {
            resolve: vec![lead(SERVICE)?, lead(ELSEWHERE)?],
            ca_certs: vec![service.ca.clone()],
            allow_ranges: vec!["127.0.0.1/32".parse()?],
            audit: AuditMode::Strict,
            ..Egress::default()
        };
        let api = home.api(&settings, egress, None).await?;
        let (broker, client) = (api.broker.clone(), Client::here(home, api));
        let (alice, bob) = (Acting(ALICE.parse()?), Acting(BOB.parse()?));
        make_room(&client, &alice, settings.out).await?;

        let (echo_bytes, hostile_bytes) = (std::fs::read(echo)?, std::fs::read(hostile)?);
        let (echo, hostile) = tokio::try_join!(engine.load(echo_bytes.into()), engine.load(hostile_bytes.into()))?;
        let data_dir = data_dir.to_owned();
        let (began, placeholders) = (jiff::Timestamp::now(), Vec::new());
        Ok(Self { client, broker, engine, service, echo, hostile, alice, bob, key, data_dir, began, placeholders })
    }

    async fn connect(&self, screen: &mut Screen) -> Result<ConnectedView> {
        screen.act("alice connects an account with a key; it is private")?;
        let fields = BTreeMap::from([("api_key".to_owned(), Secret::new(self.key.clone()))]);
        let new = NewAccount {
            app: "acme".to_owned(),
            nickname: Some(NICKNAME.to_owned()),
            fields: hidden(fields),
            custom: None,
            test: true,
        };
        let account: ConnectedView = self.client.send(Method::POST, Some(&self.alice), &["accounts"], &new).await?;
        screen.check(true, "the key", &self.key)?;
        let told = format!("{} ({}), access: {}", account.nickname, account.id, account.access);
        screen.check(account.access == Access::Private, "the account", &told)?;
        let (files, hits) = search(&self.data_dir, &[&self.key])?;
        screen.check(hits == 0, "on disk", &format!("sealed: none of {files} files holds the key in the clear"))?;
        Ok(account)
    }

    async fn use_it(&mut self, screen: &mut Screen, account: &ConnectedView) -> Result {
        screen.act("alice's step reads $auth, calls the service and gets its answer")?;
        let (ran, seen) = self.run(&self.echo, &self.alice, account, "", Limits::default()).await?;
        let received = self.service.take_received();
        let value = ran.outcome.result.as_ref().map(|value| value.to_value()).unwrap_or_default();
        let placeholder = seen.secrets.first().cloned().unwrap_or_default();
        self.placeholders.extend(seen.secrets.clone());

        let unlike = !placeholder.is_empty() && placeholder != self.key && placeholder.len() == self.key.len();
        screen.check(unlike, "the step saw", &placeholder)?;
        let expected = format!("Bearer {}", self.key);
        let paths: Vec<&str> = received.iter().map(|request| request.path.as_str()).collect();
        let all = paths == ["/v1/me", "/v1/echo"]
            && received.iter().all(|request| request.host == SERVICE && request.authorization == expected);
        let got = received.first().map(|r| r.authorization.trim_start_matches("Bearer ").to_owned());
        screen.check(all, "the service received", &got.unwrap_or_else(|| "nothing".to_owned()))?;
        let echoed = seen.bodies.last().and_then(|body| serde_json::from_str::<Value>(body).ok()).unwrap_or_default();
        let echoed = echoed["headers"]["authorization"].as_str().unwrap_or("nothing").trim_start_matches("Bearer ");
        let clean = echoed == placeholder && !seen.bodies.iter().any(|body| body.contains(&self.key));
        screen.check(clean, "the echo told the step", echoed)?;
        let name = value["answer"]["name"].as_str().unwrap_or("none");
        screen.check(name == "Alice at Acme", "the step's answer", &format!("{name}, in {}", took(&ran)))?;
        let log = ran.outcome.log.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("; ");
        screen.check(log.contains("‹acme.api_key›"), "the log, recorded", &log)
    }

    async fn share_it(&mut self, screen: &mut Screen, account: &ConnectedView) -> Result {
        screen.act("bob runs the same step")?;
        let (right, came) = self.bobs_run(account, false).await?;
        screen.check(right, "bob runs it", &came)?;
        let (alice, bob) = (Some(&self.alice), &self.bob.0);
        let grants = ["accounts", account.id.as_str(), "grants"];
        let open: AccessView =
            self.client.send(Method::POST, alice, &grants, &Grant { member: bob.to_string() }).await?;
        screen.check(open.access.includes(bob), "alice grants bob access", &format!("access: {}", open.access))?;
        let (right, came) = self.bobs_run(account, true).await?;
        screen.check(right, "bob runs it again", &came)?;
        let (alice, bob) = (Some(&self.alice), &self.bob.0);
        let grant = ["accounts", account.id.as_str(), "grants", bob.as_str()];
        let closed: AccessView = self.client.ask(Method::DELETE, alice, &grant).await?;
        screen.check(closed.access == Access::Private, "alice revokes it", &format!("access: {}", closed.access))?;
        let (right, came) = self.bobs_run(account, false).await?;
        screen.check(right, "bob's next run", &came)
    }

    /// Whether bob's run went as it should, and what came of it. One that is refused must not reach the service.
    async fn bobs_run(&mut self, account: &ConnectedView, may: bool) -> Result<(bool, String)> {
        let (ran, seen) = self.run(&self.echo, &self.bob, account, "", Limits::default()).await?;
        self.placeholders.extend(seen.secrets);
        let reached = !self.service.take_received().is_empty();
        Ok(match &ran.outcome.result {
            Ok(value) => (may && reached, format!("works: {}", value.to_value()["answer"]["name"])),
            Err(StepFailure::Failed { message, kind: FailureKind::Access, .. }) => {
                (!may && !reached, format!("refused: {}", short(message)))
            }
            Err(failure) => (false, short(&failure.to_string())),
        })
    }

    async fn attack(&mut self, screen: &mut Screen, account: &ConnectedView) -> Result {
        screen.act("a hostile step with alice's account tries")?;
        let limits = Limits { deadline: Duration::from_secs(1), memory: 64 << 20, ..Limits::default() };

        let (ran, seen) = self.attempt("print-key", account, &limits).await?;
        let outcome = &ran.outcome;
        let recorded = serde_json::to_string(outcome)?;
        let leaked = recorded.contains(&self.key) || seen.secrets.iter().any(|secret| recorded.contains(secret));
        let shown = outcome.log.len() == 3
            && outcome.log.iter().all(|line| line.text.contains("‹acme.api_key›"))
            && outcome.exports.get("key").is_some_and(|value| value.as_str() == "\"‹acme.api_key›\"");
        screen.check(!leaked && shown, "to print the key", "output, log, export and value show ‹acme.api_key›")?;

        // Each by the very rule that is there for it: another one may stop it here, and nothing elsewhere.
        let sends = [
            ("send-elsewhere", "to send it to another host", format!("acme credentials don't go to {ELSEWHERE}")),
            ("send-in-body", "to send it in a body", "the body holds a credential of acme".to_owned()),
            ("ask-metadata", "to ask cloud metadata", "is a cloud's metadata service".to_owned()),
        ];
        for (attempt, what, why) in sends {
            let (ran, _) = self.attempt(attempt, account, &limits).await?;
            let reached = !self.service.take_received().is_empty();
            screen.check(refused(&ran, &why) && !reached, what, &reason(&ran))?;
        }

        let began = Instant::now();
        let (ran, _) = self.attempt("loop", account, &limits).await?;
        let ended = began.elapsed() < limits.deadline + Duration::from_millis(100);
        let right = ended && limit(&ran) == Some(Limit::Deadline);
        screen.check(right, "to loop for ever", &format!("after {} s {}", seconds(&ran), reason(&ran)))?;

        let (ran, _) = self.attempt("allocate", account, &limits).await?;
        let bounded = ran.outcome.peak_memory <= limits.memory && limit(&ran) == Some(Limit::Memory);
        let peak = output::size(ran.outcome.peak_memory as u64);
        screen.check(bounded, "to allocate without end", &format!("at {peak} {}", reason(&ran)))?;

        let (ran, seen) = self.run(&self.echo, &self.alice, account, "", Limits::default()).await?;
        self.placeholders.extend(seen.secrets);
        screen.check(ran.outcome.result.is_ok(), "meanwhile, alice's step", "works as before")
    }

    async fn attempt(&mut self, name: &str, account: &ConnectedView, limits: &Limits) -> Result<(Ran, Seen)> {
        let (ran, seen) = self.run(&self.hostile, &self.alice, account, name, limits.clone()).await?;
        self.placeholders.extend(seen.secrets.clone());
        Ok((ran, seen))
    }

    async fn audit(&self, screen: &mut Screen, account: &ConnectedView) -> Result {
        screen.act("the audit of all that")?;
        let query = AuditQuery { since: Some(self.began), limit: MOST_LISTED, ..AuditQuery::default() };
        let told: Vec<Audited> = self.client.query(None, &["audit"], &query).await?;
        let mut table = output::table(&["when", "member", "step", "outcome", "what, and why not"]);
        let (mut acts, mut allowed, mut refused, mut without_access) = (Vec::new(), 0, 0, 0);
        for one in &told {
            let line = audit::Line::of(one);
            let what = match one {
                Audited::Act(act) => {
                    let by_alice = act.member.as_deref() == Some(ALICE) && act.decision == Decision::Allowed;
                    acts.push((act.act.as_str(), by_alice && act.account.as_deref() == Some(account.id.as_str())));
                    audit::deed(act)
                }
                Audited::Request(used) => {
                    match used.decision {
                        Decision::Allowed => allowed += 1,
                        Decision::Refused => refused += 1,
                    }
                    // An account that is refused before there is a request.
                    without_access += usize::from(used.method.is_empty());
                    audit::request(used)
                }
            };
            let why = short(line.reason.trim_start_matches("refused: "));
            table.add_row([
                comfy_table::Cell::new(output::local(line.at).split(' ').next_back().unwrap_or_default()),
                comfy_table::Cell::new(line.member),
                comfy_table::Cell::new(line.step),
                comfy_table::Cell::new(line.outcome).fg(line.color),
                comfy_table::Cell::new(output::visible(format!("{what}\n{why}").trim_end())),
            ]);
        }
        screen.table(&mut table)?;
        let done = ["accounts_connect", "accounts_grant", "accounts_revoke"].map(|act| (act, true));
        let right = acts == done && (allowed, refused, without_access) == (6, 5, 2);
        let told = format!(
            "{} acts of alice's; {allowed} requests sent; {refused} refused, {without_access} for want of access",
            acts.len()
        );
        screen.check(right, "complete", &told)?;
        let mut secrets: Vec<&str> = self.placeholders.iter().map(String::as_str).collect();
        secrets.push(&self.key);
        let (files, hits) = search(&self.data_dir, &secrets)?;
        let told = format!("neither the key nor one of {} placeholders is in {files} files", secrets.len() - 1);
        screen.check(hits == 0, "the data directory", &told)
    }

    async fn run(
        &self,
        step: &Step,
        by: &Acting,
        account: &ConnectedView,
        attempt: &str,
        limits: Limits,
    ) -> Result<(Ran, Seen)> {
        let mut props = Map::new();
        if !attempt.is_empty() {
            props.insert("attempt".to_owned(), attempt.into());
        }
        // Opened on purpose: what the hostile step tries is refused all the same.
        let open = [ELSEWHERE, "http://169.254.169.254"].map(str::parse::<AllowedHost>);
        let attempt = Attempt {
            member: by.0.clone(),
            links: BTreeMap::from([("acme".to_owned(), account.id.clone())]),
            props,
            event: "{}".to_owned(),
            allow_hosts: open.into_iter().collect::<std::result::Result<_, _>>()?,
            limits,
            retries: 0,
        };
        let mut watched = None;
        let ran = attempt
            .run(&self.engine, step, &self.broker, |session| watched.insert(Watched::new(session)).clone())
            .await?;
        Ok((ran, watched.map(|watched| watched.seen()).unwrap_or_default()))
    }
}

/// Members, as the demo needs them, and no account that an earlier demo on this data directory connected: two of one
/// nickname could not be told apart.
async fn make_room(client: &Client, alice: &Acting, out: Output) -> Result {
    let members: Vec<MemberView> = client.get(None, &["members"]).await?;
    for name in [ALICE, BOB] {
        if !members.iter().any(|member| member.name.as_str() == name) {
            let new = NewMember { name: name.to_owned(), role: None, invite: false };
            client.send::<AddedMember>(Method::POST, None, &["members"], &new).await?;
        }
    }
    let of_acme = AccountsQuery { app: Some("acme".to_owned()) };
    let accounts: Vec<AccountView> = client.query(Some(alice), &["accounts"], &of_acme).await?;
    for account in accounts.iter().filter(|account| account.owner == alice.0 && account.nickname == NICKNAME) {
        let path = ["accounts", account.id.as_str()];
        let deleted: Deleted = client.ask(Method::DELETE, Some(alice), &path).await?;
        out.note(format!("deleted {} ({}), which an earlier demo connected", deleted.nickname, deleted.deleted));
    }
    Ok(())
}

/// The commands that show what is kept.
fn look_around(data_dir: &Path) -> String {
    let quoted = |path: &Path| {
        let path = path.display().to_string();
        match path.contains(|letter: char| !letter.is_ascii_alphanumeric() && !"/._-".contains(letter)) {
            true => format!("'{}'", path.replace('\'', r"'\''")),
            false => path,
        }
    };
    let keyhole = format!("keyhole --data-dir {} --apps {}", quoted(data_dir), quoted(&data_dir.join("apps")));
    format!("Look around:\n  {keyhole} accounts list --as {ALICE}\n  {keyhole} audit")
}

/// Whether the attempt ended with the refusal of a request, and for this reason.
fn refused(ran: &Ran, why: &str) -> bool {
    let for_that = |reason: &Option<String>| reason.as_deref().is_some_and(|reason| reason.contains(why));
    ran.outcome.result.is_err()
        && ran.requests.last().is_some_and(|request| {
            request.decision == Decision::Refused && request.status.is_none() && for_that(&request.reason)
        })
}

fn limit(ran: &Ran) -> Option<Limit> {
    match &ran.outcome.result {
        Err(StepFailure::Limit { limit, .. }) => Some(*limit),
        _ => None,
    }
}

/// Why the attempt ended as it did: the last refusal, or the failure.
fn reason(ran: &Ran) -> String {
    if let Some(reason) = ran.requests.last().and_then(|request| request.reason.as_deref()) {
        return short(reason);
    }
    match &ran.outcome.result {
        Ok(value) => format!("returned {value}"),
        Err(failure) => short(&failure.to_string()),
    }
}

/// The part of a message before its advice.
fn short(message: &str) -> String {
    let advice = [";", ", which goes in: "].iter().filter_map(|begins| message.find(begins)).min();
    message[..advice.unwrap_or(message.len())].trim_start_matches("the step ").to_owned()
}

fn took(ran: &Ran) -> String {
    output::duration(ran.outcome.duration)
}

fn seconds(ran: &Ran) -> String {
    format!("{:.2}", ran.outcome.duration.as_secs_f64())
}

/// The root of the clone that this program was built from, or that the person stands in.
fn clone_root() -> Result<PathBuf> {
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    let roots = starts.iter().flatten().flat_map(|start| start.ancestors());
    for root in roots {
        if root.join("examples/echo-key/Cargo.toml").is_file() && root.join("wit/step.wit").is_file() {
            return Ok(root.to_owned());
        }
    }
    Err(Error::new("the example steps are not here")
        .help("run the demo in a clone of Keyhole's repository: cargo run --release -- demo"))
}

/// Builds both examples, or finds them up to date.
async fn build_examples(root: &Path, out: Output) -> Result<[PathBuf; 2]> {
    let spinner = out.may_animate().then(|| {
        let spinner = ProgressBar::new_spinner().with_message("building the example steps");
        spinner.set_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    });
    let options = cargo::Options { deadline: cargo::DEADLINE, talkative: false };
    let mut built = Vec::new();
    for name in ["echo-key", "hostile-step"] {
        let folder = root.join("examples").join(name);
        let built_one = cargo::build(&folder, &options, out).await;
        if built_one.is_err()
            && let Some(spinner) = &spinner
        {
            spinner.finish_and_clear();
        }
        built.push(built_one?.wasm);
    }
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    <[PathBuf; 2]>::try_from(built).map_err(|_| Error::new("two steps were to be built"))
}

/// How many files lie under `dir`, and how many of `texts` are in them.
fn search(dir: &Path, texts: &[&str]) -> Result<(usize, usize)> {
    let (mut files, mut hits) = (0, 0);
    for entry in std::fs::read_dir(dir).at(dir.display())? {
        let path = entry?.path();
        if path.is_dir() {
            let (more_files, more_hits) = search(&path, texts)?;
            files += more_files;
            hits += more_hits;
        } else {
            let bytes = std::fs::read(&path).at(path.display())?;
            files += 1;
            hits += texts.iter().filter(|text| contains(&bytes, text.as_bytes())).count();
        }
    }
    Ok((files, hits))
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
