//! What 10,000 members, accounts and workflows, 1,000,000 runs and 100,000 records of the audit cost: a start of
//! `keyhole serve`, a look at the runs, the console's pages, and memory.
//!
//! The workflows are deployed and the program is measured as people meet it; the runs are written as the runner
//! writes them, since running them would take hours, and so is the audit.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use keyhole::workflow::history::History;
use keyhole::workflow::record::{Cause, Details, Pending, Run, RunStatus, StepRecord, StepStatus, WorkflowId};
use keyhole_host_api::broker::{Audit, AuditMode, Decision, Use};
use keyhole_host_api::store::Store;
use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::vault::{MasterKeySource, Vault};
use keyhole_tests::program::{KEY, Keyhole, many_member};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::common::{Row, median, time};

/// Writes at once, which share commits.
const AT_ONCE: usize = 8_000;
/// Calls at once, as long as the server takes them.
const CALLS: usize = 64;
/// The longest that a page may take, and the most bytes that it may have with its stylesheet and script.
const PAGE: (Duration, usize) = (Duration::from_millis(50), 100_000);

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (many, runs, records) = if quick { (1_000, 50_000, 10_000) } else { (10_000, 1_000_000, 100_000) };
    let workflows = many;
    let keyhole = Keyhole::default();
    for member in ["alice", "bob"] {
        keyhole.call(&["members", "add", member]).ok();
        keyhole.has_long_been(member).await;
    }
    let token = keyhole.call(&["--json", "tokens", "create", "--as", "alice"]).ok().json();
    let token = token["token"].as_str().context("a token")?.to_owned();
    let empty = look(&keyhole, &token, "w0").await?;

    let begun = Instant::now();
    deploy(&keyhole, &token, workflows).await?;
    let deployed = begun.elapsed();
    let begun = Instant::now();
    fill(&keyhole, workflows, runs).await?;
    let filled = begun.elapsed();
    keyhole.many_members(many).await;
    connect(&keyhole, &token, many).await?;
    audit(&keyhole, records).await?;
    println!(
        "deploying {workflows} workflows took {:.1} s, writing {runs} runs {:.1} s; the store has {:.1} GB",
        deployed.as_secs_f64(),
        filled.as_secs_f64(),
        keyhole.data_dir().join("keyhole.redb").metadata()?.len() as f64 / 1e9
    );
    let full = look(&keyhole, &token, &format!("w{}", workflows - 1)).await?;
    println!(
        "memory after a start: {} MiB, and {} MiB with nothing in the store; a second deploy of one takes {}",
        full.memory >> 10,
        empty.memory >> 10,
        time(full.deploy)
    );
    println!("{many} members and accounts, and {records} records of the audit");
    let with = format!("with {workflows} workflows and {runs} runs");
    let beside = "with none";
    let mut rows = vec![
        Row::times(format!("`keyhole serve` until it is ready {with}"), full.start, beside, empty.start),
        Row::times("`keyhole runs list`, the whole command", full.list, beside, empty.list),
        Row::times("`keyhole runs list --workflow`", full.list_of_one, beside, empty.list_of_one),
        Row::times(
            "`keyhole runs list --status waiting`, of which there is none",
            full.list_waiting,
            beside,
            empty.list_waiting,
        ),
        Row::times("`keyhole runs list --status failed --since 1h`", full.list_since, beside, empty.list_since),
        Row::times("GET /api/runs", full.get, beside, empty.get),
    ];
    let (longest, most) = PAGE;
    for (full, empty) in full.pages.into_iter().zip(empty.pages) {
        rows.push(Row {
            beside: format!("{}; {} {beside}", time(longest), time(empty.took)),
            ..Row::times(format!("console: {}", full.path), full.took, "", longest).at_most(1.0)
        });
        rows.push(Row {
            what: "         its size".to_owned(),
            measured: format!("{:.1} KB", full.bytes as f64 / 1e3),
            beside: format!("{:.0} KB; {:.1} KB {beside}", most as f64 / 1e3, empty.bytes as f64 / 1e3),
            ratio: Some(full.bytes as f64 / most as f64),
            at_most: Some(1.0),
        });
    }
    Ok(rows)
}

/// Pages of the console that list things, or look through them. `ONE` is the id of the oldest account, which is open to
/// many members, and `RUN` that of the newest run.
const PAGES: [&str; 22] = [
    "/accounts",
    "/accounts?page=7",
    "/accounts?q=number-0042",
    "/accounts/ONE",
    "/accounts/ONE/access",
    "/accounts/ONE/delete",
    "/accounts/new",
    "/accounts/new/slack",
    "/workflows",
    "/workflows?q=w42",
    "/workflows/alice/w0",
    "/runs",
    "/runs?status=failed",
    "/runs/RUN",
    "/members",
    "/members?page=7",
    "/members?q=m0042",
    "/members/bob",
    "/members/bob/remove",
    "/audit",
    "/audit?status=500",
    "/settings",
];

/// What a page of the console takes.
struct Page {
    path: String,
    took: Duration,
    /// With its stylesheet and script.
    bytes: usize,
}

/// A look at each of them.
async fn pages(serving: &Serving, token: &str) -> Result<Vec<Page>> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let signed_in = client
        .post(format!("{}/sign-in", serving.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={token}"))
        .send()
        .await?;
    let cookie = signed_in.headers().get("set-cookie").context("a session")?.to_str()?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let get = |path: &str| client.get(format!("{}{path}", serving.url)).header("cookie", &cookie).send();
    let first = async |list: &str| {
        let list: Value = client.get(format!("{}{list}", serving.url)).bearer_auth(token).send().await?.json().await?;
        anyhow::Ok(list[0]["id"].as_str().map(str::to_owned))
    };
    let (one, run) = (first("/api/accounts").await?, first("/api/runs").await?);
    let mut assets = 0;
    let page = get("/accounts").await?.text().await?;
    for name in ["console.css", "console.js"] {
        let (before, _) = page.split_once(&format!("/{name}\"")).context("the page names it")?;
        let (_, at) = before.rsplit_once('"').context("an address")?;
        assets += get(&format!("{at}/{name}")).await?.text().await?.len();
    }
    let mut pages = Vec::new();
    for page in PAGES {
        let mut path = page.to_owned();
        for (name, id) in [("ONE", &one), ("RUN", &run)] {
            path = path.replace(name, id.as_deref().unwrap_or("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
        }
        // Their pages are not there while there is none of them.
        let there = path == page || !path.contains("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        let (mut took, mut bytes) = (Vec::new(), 0);
        for _ in 0..7 {
            let begun = Instant::now();
            let answer = get(&path).await?;
            let status = answer.status();
            let text = answer.text().await?;
            took.push(begun.elapsed());
            ensure!(status == if there { 200 } else { 404 }, "{path}: {status}: {text}");
            bytes = assets + text.len();
        }
        pages.push(Page { path: page.to_owned(), took: median(took), bytes });
    }
    Ok(pages)
}

/// Requests of long ago in the audit, each with its outcome.
async fn audit(keyhole: &Keyhole, records: usize) -> Result<()> {
    let dir = keyhole.data_dir();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&dir)?);
    let vault = Arc::new(Vault::open(MasterKeySource::File(dir.join("master.key")), &store).await?);
    let workspace = keyhole_host_api::workspace::id(&store).await?;
    let audit = Audit::new(store, &vault, &workspace, AuditMode::Relaxed);
    for number in 0..records / 2 {
        let at = Timestamp::now();
        let used = Use {
            id: ulid::Ulid::from_parts(u64::try_from(at.as_millisecond())?, number as u128).to_string(),
            at,
            run: format!("run-{number}"),
            step: "get".to_owned(),
            member: "alice".to_owned(),
            account: None,
            app: None,
            method: "GET".to_owned(),
            host: "api.acme.example".to_owned(),
            path: format!("/{number}"),
            status: Some(200),
            bytes_out: 100,
            bytes_in: 1_000,
            decision: Decision::Allowed,
            reason: None,
        };
        audit.intent(&used).await?;
        audit.outcome(&used)?;
        if number % 1_000 == 0 {
            audit.flush().await?;
        }
    }
    Ok(audit.flush().await?)
}

/// Accounts of alice's, by the API, the oldest of them open to as many members.
async fn connect(keyhole: &Keyhole, token: &str, count: usize) -> Result<()> {
    let serving = Serving::on(keyhole).await?;
    let http = reqwest::Client::new();
    let (http, url) = (&http, &format!("{}/api/accounts", serving.url));
    stream::iter(0..count)
        .map(|number| async move {
            let nickname = format!("number-{number:05}");
            let new = json!({ "app": "acme", "nickname": nickname, "fields": { "api_key": KEY }, "test": false });
            let answer = http.post(url).bearer_auth(token).json(&new).send().await?;
            ensure!(answer.status() == 201, "{}", answer.text().await?);
            Ok(())
        })
        .buffer_unordered(CALLS)
        .try_collect::<()>()
        .await?;
    let accounts: Value = http.get(url).bearer_auth(token).send().await?.json().await?;
    let one = accounts[0]["id"].as_str().context("an account")?;
    // As many as there are, whom `many_members` made.
    let all: Vec<String> = (0..count).map(many_member).collect();
    let access = json!({ "access": { "members": all } });
    let answer = http.put(format!("{url}/{one}/access")).bearer_auth(token).json(&access).send().await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    Ok(())
}

/// What a look at a data directory takes.
struct Look {
    start: Duration,
    list: Duration,
    list_of_one: Duration,
    list_waiting: Duration,
    list_since: Duration,
    get: Duration,
    deploy: Duration,
    pages: Vec<Page>,
    /// KiB.
    memory: u64,
}

async fn look(keyhole: &Keyhole, token: &str, one: &str) -> Result<Look> {
    let mut starts = Vec::new();
    for _ in 0..3 {
        starts.push(Serving::on(keyhole).await?.took);
    }
    let serving = Serving::on(keyhole).await?;
    let http = reqwest::Client::new();
    let command = |more: &[&str]| {
        let begun = Instant::now();
        keyhole.call(&[&["--json", "runs", "list", "--as", "alice"], more].concat()).ok();
        begun.elapsed()
    };
    let list = median((0..9).map(|_| command(&[])).collect());
    let list_of_one = median((0..9).map(|_| command(&["--workflow", one])).collect());
    let list_waiting = median((0..9).map(|_| command(&["--status", "waiting"])).collect());
    // Fewer than a page: it has to see that there are no more.
    let list_since = median((0..9).map(|_| command(&["--since", "1h", "--status", "failed", "-n", "1000"])).collect());
    let mut gets = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = http.get(format!("{}/api/runs", serving.url)).bearer_auth(token).send().await?;
        ensure!(answer.status() == 200, "{}", answer.text().await?);
        let _ = answer.bytes().await?;
        gets.push(begun.elapsed());
    }
    let begun = Instant::now();
    put(&http, &serving.url, token, one).await?;
    let deploy = begun.elapsed();
    let memory = serving.memory()?;
    let pages = pages(&serving, token).await?;
    let (start, get) = (median(starts), median(gets));
    Ok(Look { start, list, list_of_one, list_waiting, list_since, get, deploy, pages, memory })
}

/// A server, and how long it took until it was ready.
struct Serving {
    child: Child,
    url: String,
    took: Duration,
}

impl Serving {
    async fn on(keyhole: &Keyhole) -> Result<Self> {
        let begun = Instant::now();
        let args = ["--json", "serve", "--listen", "127.0.0.1:0"];
        let mut child = keyhole.command(&args).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().context("its output")?;
        let mut said = serde_json::Deserializer::from_reader(said).into_iter::<Value>();
        let said = said.next().context("it says where it listens")??;
        let url = said["url"].as_str().context("a URL")?.trim_end_matches('/').to_owned();
        let mut serving = Self { child, url, took: Duration::ZERO };
        while reqwest::get(format!("{}/readyz", serving.url)).await?.status() != 200 {}
        serving.took = begun.elapsed();
        Ok(serving)
    }

    /// KiB of memory that are its own.
    fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("RssAnon")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn deploy(keyhole: &Keyhole, token: &str, count: usize) -> Result<()> {
    let serving = Serving::on(keyhole).await?;
    let http = reqwest::Client::new();
    let (http, serving) = (&http, &serving);
    stream::iter(0..count)
        .map(|number| async move { put(http, &serving.url, token, &format!("w{number}")).await })
        .buffer_unordered(CALLS)
        .try_collect()
        .await
}

async fn put(http: &reqwest::Client, url: &str, token: &str, name: &str) -> Result<()> {
    let file = format!(
        "keyhole = 1\nname = {name:?}\n[trigger.http]\n[[steps]]\nname = \"get\"\nuses = \"http-request\"\n\
         props = {{ url = \"https://api.acme.example/{{{{ event.body.id }}}}\" }}\n"
    );
    let body = json!({ "file": file, "components": {} });
    let answer = http.post(format!("{url}/api/workflows")).bearer_auth(token).json(&body).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}

/// Runs of a second each over the last days, spread over the workflows.
async fn fill(keyhole: &Keyhole, workflows: usize, runs: usize) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&keyhole.data_dir())?);
    let history = History::new(store.clone());
    let now = Timestamp::now();
    let history = &history;
    stream::iter(0..runs)
        .map(|number| async move {
            let at = now - SignedDuration::from_millis(400 * (runs - number) as i64);
            let (run, details) = run(number, workflows, at)?;
            let pending = json!({
                "workflow": run.workflow, "version": 1, "cause": "http", "accepted": at, "instance": "bench",
                "event": serde_json::from_str::<Value>(details.event.get())?,
            });
            history.accept(&run.id, &serde_json::from_str::<Pending>(&pending.to_string())?).await?;
            history.end(&run, &details).await?;
            Ok::<_, anyhow::Error>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(store.flush().await?)
}

fn run(number: usize, workflows: usize, at: Timestamp) -> Result<(Run, Details)> {
    let id = ulid::Ulid::from_parts(u64::try_from(at.as_millisecond())?, number as u128).to_string();
    let failed = number.is_multiple_of(50);
    let raw = |text: &str| RawValue::from_string(text.to_owned());
    let step = StepRecord {
        name: "get".to_owned(),
        status: if failed { StepStatus::Failed } else { StepStatus::Ok },
        props: serde_json::from_value(json!({ "url": format!("https://api.acme.example/{number}") }))?,
        return_value: Some(raw(r#"{"status":200,"headers":{"content-type":"application/json"},"body":{"ok":true}}"#)?),
        exports: Default::default(),
        log: Vec::new(),
        log_cut: false,
        requests: Vec::new(),
        started: at,
        duration_ms: 120,
        attempts: 1,
        earlier: Vec::new(),
        pause: None,
        peak_memory: 0,
        error: None,
    };
    let run = Run {
        id,
        workflow: WorkflowId(format!("alice/w{}", number % workflows)),
        version: 1,
        cause: Cause::Http,
        status: if failed { RunStatus::Failed } else { RunStatus::Ok },
        accepted: at,
        started: Some(at),
        ended: Some(at + SignedDuration::from_secs(1)),
        steps: 1,
        bytes: 0,
        error: None,
        waits: None,
    };
    let event = format!(
        r#"{{"method":"POST","path":"/","query":{{}},"headers":{{"content-type":"application/json"}},"body":{{"id":{number}}}}}"#
    );
    Ok((run, Details { event: raw(&event)?, steps: vec![step], tried: Vec::new(), exit: None }))
}
