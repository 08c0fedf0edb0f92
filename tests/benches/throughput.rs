//! Workflows a second, beside `wasmtime serve` with a component that does the same and nothing else: no account, no
//! check, no record on disk, no queue. It trusts the web's authorities and no other, which are a crate of their own; so
//! for this it is built with the one in `roots` in that crate's place, which trusts the authority of the test:
//!
//! ```text
//! cargo install wasmtime-cli --version 48.0.8 --root target/wasmtime \
//!     --config 'patch.crates-io.webpki-roots.path = "tests/benches/roots"'
//! ```

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Authority, Server};
use keyhole_tests::workspace::{component, root};
use serde_json::{Value, json};

use crate::common::{Row, median};
use crate::server::{self, Plain};

/// Callers at once.
const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const HOST: &str = "api.acme.example";
const ANSWER: &[u8] = b"{\"ok\":true}";
/// How `wasmtime serve` is tuned, in bytes.
const KEEP_RESIDENT: usize = 2 << 20;

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let events = if quick { 500 } else { 4_000 };
    let folder = tempfile::tempdir()?;
    let authority = Authority::default();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, &authority.pem)?;
    let Some(bare) = Wasmtime::serve(&file).await? else {
        println!("`wasmtime` 48 is not there; tests/benches/throughput.rs says how it is installed");
        return Ok(Vec::new());
    };
    let plain = Plain::new(Bytes::from_static(ANSWER))?;
    let over_tls = server::tls(&authority, Bytes::from_static(ANSWER));
    let strict = House::new("strict").await?;
    let soon = House::new("relaxed").await?;
    let http = reqwest::Client::builder().pool_max_idle_per_host(CALLERS).build()?;
    let with_account = json!({ "url": format!("https://{HOST}/"), "account": true });
    let to_plain = json!({ "url": format!("http://{}/", plain.address) });
    let to_tls = json!({ "url": format!("https://127.0.0.1:{}/", over_tls.port) });
    let (accept, call) = (format!("{}/accept", bare.url), format!("{}/call", bare.url));
    let mut times: [Vec<Duration>; 7] = Default::default();
    // The first round warms all of them up.
    for round in 0..=ROUNDS {
        let each = [
            strict.accepted(&http, events).await?,
            soon.accepted(&http, events).await?,
            send(&http, &accept, &json!({ "id": 7 }), events).await?,
            send(&http, &strict.call, &with_account, events).await?,
            send(&http, &soon.call, &with_account, events).await?,
            send(&http, &call, &to_tls, events).await?,
            send(&http, &call, &to_plain, events).await?,
        ];
        if round > 0 {
            for (times, time) in times.iter_mut().zip(each) {
                times.push(time);
            }
        }
    }
    let [accept, accept_relaxed, accept_bare, call, call_relaxed, call_bare, call_plain] = times.map(median);
    let rate = |time: Duration| format!("{:.0}/s", events as f64 / time.as_secs_f64());
    let row = |what: &str, one: Duration, other: Duration, who: &str, at_most: Option<f64>| Row {
        what: what.to_owned(),
        measured: rate(one),
        beside: format!("{} {who}", rate(other)),
        ratio: Some(one.as_secs_f64() / other.as_secs_f64()),
        at_most,
    };
    let (itself, over_plain) = ("wasmtime serve", "wasmtime serve, over plain HTTP");
    let by_half = Some(1.0 / 1.5);
    let answered = "webhook, a step with one call for an account over TLS, its answer";
    let accepted = "webhook, a Rust step, 202; each on disk before it is answered, and run";
    let relaxed = "the same with `durability = \"relaxed\"`";
    Ok(vec![
        row(accepted, accept, accept_bare, itself, Some(2.0)),
        row(relaxed, accept_relaxed, accept_bare, itself, Some(1.0)),
        row(answered, call, call_bare, itself, by_half),
        row(relaxed, call_relaxed, call_bare, itself, by_half),
        // Not the same call: but for an app with `insecure_http`, credentials go over TLS.
        row("the call over TLS, beside one over plain HTTP", call, call_plain, over_plain, None),
        row(relaxed, call_relaxed, call_plain, over_plain, None),
    ])
}

/// How long these requests take, all of them answered well.
async fn send(http: &reqwest::Client, url: &str, body: &Value, count: usize) -> Result<Duration> {
    let begun = Instant::now();
    stream::iter(0..count)
        .map(|_| async move {
            let answer = http.post(url).json(body).send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success() && !text.contains("failed"), "{status}: {text}");
            Ok(())
        })
        .buffer_unordered(CALLERS)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

/// A `keyhole serve` with two workflows.
struct House {
    child: Child,
    _keyhole: Keyhole,
    accept: String,
    call: String,
    metrics: String,
    /// The service, over TLS: an account's credential goes nowhere else.
    _service: Server,
}

impl House {
    /// The audit is relaxed in all of them: `request` measures it.
    async fn new(durability: &str) -> Result<Self> {
        let mut keyhole = Keyhole::default();
        let service = server::tls(&keyhole.authority, Bytes::from_static(ANSWER));
        keyhole.lead(HOST, &service);
        keyhole.call(&["members", "add", "alice"]).ok();
        let connect = ["--json", "accounts", "connect", "acme", "--stdin", "--no-test", "--as", "alice"];
        let account = keyhole.call_with(&connect, KEY).ok().json();
        let account = account["id"].as_str().context("an account")?.to_owned();
        let limits = format!("[limits]\nconcurrency = {CALLERS}\nqueue = 1000000\n");
        let mut hooks = Vec::new();
        for (name, respond, step) in [("accept", "accepted", "small"), ("call", "workflow", "fetch")] {
            let step = component(step).display().to_string();
            let text = format!(
                "keyhole = 1\nname = {name:?}\n{limits}[trigger.http]\nrespond = {respond:?}\n[[steps]]\nname = \"a\"\n\
                 uses = {step:?}\nlinks = {{ acme = {account:?} }}\n"
            );
            let file = keyhole.data.path().join("workflow.toml");
            std::fs::write(&file, text)?;
            let deploy = ["--json", "workflows", "deploy", file.to_str().context("a path")?, "--as", "alice"];
            let deployed = keyhole.call(&deploy).ok().json();
            hooks.push(deployed["workflow"]["hook"].as_str().context("a hook")?.to_owned());
        }
        let serve = ["--json", "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--audit", "relaxed"];
        let config = keyhole.data.path().join("config.toml");
        std::fs::write(&config, format!("[runs]\ndurability = {durability:?}\n"))?;
        let config = ["--config", config.to_str().context("a path")?];
        let flags: Vec<&str> =
            config.into_iter().chain(serve).chain(keyhole.flags().iter().map(String::as_str)).collect();
        let mut child = keyhole.command(&flags).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().context("its output")?;
        let said = serde_json::Deserializer::from_reader(said).into_iter::<Value>().next().context("a line")??;
        let url = said["url"].as_str().context("a URL")?.trim_end_matches('/').to_owned();
        Ok(Self {
            child,
            _keyhole: keyhole,
            accept: format!("{url}{}", hooks[0]),
            call: format!("{url}{}", hooks[1]),
            metrics: said["metrics"].as_str().context("metrics")?.to_owned(),
            _service: service,
        })
    }

    /// How long it takes until so many events are accepted and their runs have ended.
    async fn accepted(&self, http: &reqwest::Client, count: usize) -> Result<Duration> {
        let before = self.ended(http).await?;
        let begun = Instant::now();
        send(http, &self.accept, &json!({ "id": 7 }), count).await?;
        while self.ended(http).await? < before + count as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(begun.elapsed())
    }

    /// Runs that have ended.
    async fn ended(&self, http: &reqwest::Client) -> Result<f64> {
        let text = http.get(&self.metrics).send().await?.text().await?;
        let lines = text.lines().filter(|line| line.starts_with("keyhole_runs_ended_total"));
        if lines.clone().any(|line| line.contains("failed")) {
            bail!("a run failed: {text}");
        }
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `wasmtime serve`, tuned.
struct Wasmtime {
    child: Child,
    url: String,
}

impl Wasmtime {
    async fn serve(authority: &Path) -> Result<Option<Self>> {
        let program =
            std::env::var_os("WASMTIME").map_or_else(|| root().join("target/wasmtime/bin/wasmtime"), PathBuf::from);
        let version = Command::new(&program).arg("--version").output();
        if !version.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(" 48.")) {
            return Ok(None);
        }
        // Free a moment ago.
        let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let resident = KEEP_RESIDENT;
        let child = Command::new(&program)
            .args(["serve", "--addr", &address.to_string(), "-Scli"])
            .arg(format!("-Opooling-memory-keep-resident={resident}"))
            .arg(format!("-Opooling-table-keep-resident={resident}"))
            .arg(format!("-Opooling-async-stack-keep-resident={resident}"))
            .arg("-Opooling-pagemap-scan=auto")
            .arg(component("bare-server"))
            .env("SSL_CERT_FILE", authority)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let serving = Self { child, url: format!("http://{address}") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < deadline, "wasmtime serve does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Some(serving))
    }
}

impl Drop for Wasmtime {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
