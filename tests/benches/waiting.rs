//! Runs that all wait at once for a server that does not answer: what one of them holds in
//! memory, and that all complete once the server does answer. Over TLS, each with an account.
//!
//! The server is a process of its own: its half of the connections is not Keyhole's memory,
//! and a process may have only so many files open.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyhole::engine::{Engine, EngineConfig, Limits, MAX_DEADLINE, PoolReport};
use keyhole_host_api::broker::{self, AuditMode, Egress, Scope};
use keyhole_tests::server::{Authority, Server};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::common::{House, Row, component, input};

/// The first argument in the server's process; the file for its authority's certificate follows.
pub const SERVER: &str = "__slow-server";

const MOST: u32 = 10_000;
/// Runs that may be on their way to the server: handshakes of all at once would time out.
const RAMP: usize = 64;
/// Open files that are not for waiting runs.
const FILES: u64 = 500;

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    let house = House::new().await;
    let mut server = SlowServer::start(&house.host.dir.path().join("authority.pem"))?;
    let broker = house.broker(Egress {
        resolve: vec![format!("api.acme.example:443:127.0.0.1:{}", server.port).parse()?],
        ca_certs: vec![std::fs::read_to_string(&server.authority)?],
        allow_ranges: vec!["127.0.0.0/8".parse()?],
        audit: AuditMode::Relaxed,
        ..Egress::default()
    });
    let engine = Engine::new(EngineConfig { slots: quick.then_some(500), ..EngineConfig::default() })?;
    let step = engine.load(component("fetch")?).await?;
    let count = most(engine.pool());
    let input = Arc::new(input(&json!({"url": "https://api.acme.example/v1/slow", "account": true})));
    let limits = Arc::new(Limits { deadline: MAX_DEADLINE, ..Limits::default() });

    let before = resident()?;
    let begun = Instant::now();
    let arrived = server.arrivals()?;
    let mut runs = JoinSet::new();
    for _ in 0..count {
        // Given back by the server when the request arrives there.
        let Ok(turn) = tokio::time::timeout(Duration::from_secs(60), arrived.acquire()).await else {
            bail!("no request arrives any more; {} runs had started", runs.len());
        };
        turn?.forget();
        let longest = Duration::from_secs(600);
        let limits_of_requests = broker::Limits { first_byte: longest, ..broker::Limits::default() };
        let session = broker.session(Scope { books: broker::RunBooks::new(limits_of_requests), ..house.scope() });
        let (engine, step, input, limits) = (engine.clone(), step.clone(), input.clone(), limits.clone());
        runs.spawn(async move { engine.run(&step, session, &input, &limits).await });
    }
    let all_there = arrived.acquire_many(RAMP as u32);
    tokio::time::timeout(Duration::from_secs(60), all_there).await.context("some requests did not arrive")??.forget();
    let started = begun.elapsed();
    let held = resident()?.saturating_sub(before);

    let begun = Instant::now();
    server.answer()?;
    let mut completed = 0;
    while let Some(ended) = runs.join_next().await {
        let value = ended?.result.context("a run did not complete")?.to_value();
        ensure!(value["statuses"] == json!([200]), "a run got {value}");
        completed += 1;
    }
    println!(
        "{count} runs were waiting after {:.1} s with {:.0} MiB; once the server answered, all had ended after {:.1} s",
        started.as_secs_f64(),
        held as f64 / (1 << 20) as f64,
        begun.elapsed().as_secs_f64()
    );
    Ok(vec![Row {
        what: format!("{count} runs at once, waiting on a slow server"),
        measured: format!("{:.0} KiB a run", held as f64 / 1024.0 / f64::from(count)),
        beside: format!("{completed} of {count} completed"),
        ratio: None,
        at_most: None,
    }])
}

/// As many as the system's limits carry.
fn most(pool: &PoolReport) -> u32 {
    let files = pool.open_files.map_or(MOST, |files| u32::try_from(files.saturating_sub(FILES)).unwrap_or(MOST));
    let count = MOST.min(files).min(pool.slots.unwrap_or(MOST));
    if count < MOST {
        println!(
            "{count} runs: open files {:?}, vm.max_map_count {:?}, slots {:?}",
            pool.open_files, pool.max_map_count, pool.slots
        );
    }
    count
}

/// Bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the system tells no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// The server's process, from outside.
struct SlowServer {
    port: u16,
    authority: std::path::PathBuf,
    process: Child,
    stdin: ChildStdin,
    stdout: Option<BufReader<ChildStdout>>,
}

impl SlowServer {
    fn start(authority: &Path) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(SERVER)
            .arg(authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().context("a pipe")?;
        let mut stdout = BufReader::new(process.stdout.take().context("a pipe")?);
        let mut port = String::new();
        stdout.read_line(&mut port)?;
        Ok(Self { port: port.trim().parse()?, authority: authority.to_owned(), process, stdin, stdout: Some(stdout) })
    }

    /// A semaphore of `RAMP` permits, to which each request that arrives adds one.
    fn arrivals(&mut self) -> Result<Arc<Semaphore>> {
        let arrived = Arc::new(Semaphore::new(RAMP));
        let adds = arrived.clone();
        let mut stdout = self.stdout.take().context("arrivals are counted once")?;
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = stdout.read(&mut bytes) {
                adds.add_permits(read);
            }
        });
        Ok(arrived)
    }

    /// Has it answer.
    fn answer(&mut self) -> Result<()> {
        Ok(self.stdin.write_all(b"\n")?)
    }
}

impl Drop for SlowServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's process, from inside: prints its port, then one byte for each request that
/// arrived; answers none before a line comes in, and ends when its input does.
pub fn serve(authority_file: &Path) -> Result<()> {
    let authority = Authority::default();
    std::fs::write(authority_file, &authority.pem)?;
    let (answer, answers) = watch::channel(false);
    let server = Server::raw(&authority, &["api.acme.example"], move |stream| {
        let answers = answers.clone();
        async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let mut answers = answers.clone();
                async move {
                    // An error here and below means that the parent is gone.
                    let _ = std::io::stdout().lock().write_all(b".").and_then(|()| std::io::stdout().flush());
                    let _ = answers.wait_for(|answer| *answer).await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    println!("{}", server.port);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    answer.send(true)?;
    std::io::stdin().lock().read_to_string(&mut line)?;
    Ok(())
}
