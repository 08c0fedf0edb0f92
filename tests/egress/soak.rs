//! Mixed traffic from 200 steps at once, with a service that fails at random: memory stays flat, no descriptor is
//! left, and every request is in the audit. 20 s; 15 minutes with KEYHOLE_LONG=1.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Authority, Server};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

const HOST: &str = "api.acme.example";
/// Steps at once.
const AT_ONCE: usize = 200;

/// A good mix of the bits of `n` (splitmix64).
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn full(bytes: impl Into<Bytes>) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// The parts of a body, one after the other, and then a break if there is to be one.
fn parts(parts: Vec<Bytes>, cut: bool) -> BoxBody<Bytes, io::Error> {
    let end = cut.then(|| Err(io::Error::other("cut")));
    let frames = parts.into_iter().map(|part| Ok(Frame::data(part))).chain(end);
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

/// A service that has a bad day: `None` is a connection that is closed instead of an answer.
async fn answer(request: Request<Incoming>, count: u64) -> Option<Response<BoxBody<Bytes, io::Error>>> {
    let key = request.headers().get("authorization").map_or_else(String::new, |key| key.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let chance = mixed(count) % 20;
    let mut answer = Response::new(match chance {
        0 => return None,
        1 => full("it broke"),
        2 | 3 => full("busy"),
        4 => parts(vec![Bytes::from(vec![b'y'; 10_000])], true),
        5 => full("this is no gzip"),
        6 => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            full("at last")
        }
        7 => full([vec![b'z'; 250_000], key.clone().into_bytes()].concat()),
        8 => parts(key.bytes().cycle().take(400).map(|byte| Bytes::from(vec![byte])).collect(), false),
        _ => full(json!({ "key": key, "bytes": body.len() }).to_string()),
    });
    *answer.status_mut() = match chance {
        1 => http::StatusCode::INTERNAL_SERVER_ERROR,
        2 => http::StatusCode::SERVICE_UNAVAILABLE,
        3 => http::StatusCode::TOO_MANY_REQUESTS,
        9 => http::StatusCode::NOT_FOUND,
        _ => http::StatusCode::OK,
    };
    if chance == 5 {
        answer.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    }
    if chance == 2 || chance == 3 {
        answer.headers_mut().insert("retry-after", "0".parse().unwrap());
    }
    Some(answer)
}

/// The service, and the paths that reached it.
fn service(authority: &Authority) -> (Server, Arc<Mutex<BTreeMap<String, u32>>>) {
    let (count, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeMap::new())));
    let reached = seen.clone();
    let server = Server::raw(authority, &[HOST], move |stream| {
        let (count, reached) = (count.clone(), reached.clone());
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (count, reached) = (count.fetch_add(1, Ordering::Relaxed), reached.clone());
                async move {
                    *reached.lock().unwrap().entry(request.uri().path().to_owned()).or_insert(0) += 1;
                    answer(request, count).await.ok_or_else(|| io::Error::other("hung up"))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    (server, seen)
}

/// A `keyhole serve`, and what the kernel says of it.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn on(keyhole: &Keyhole) -> Self {
        let mut args = vec!["--json", "serve", "--listen", "127.0.0.1:0"];
        args.extend(keyhole.flags().iter().map(String::as_str));
        let log = std::fs::File::create(log(keyhole)).unwrap();
        let mut child = keyhole.command(&args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut said = serde_json::Deserializer::from_reader(child.stdout.take().unwrap()).into_iter::<Value>();
        let url = said.next().unwrap().unwrap()["url"].as_str().unwrap().trim_end_matches('/').to_owned();
        Self { child, url }
    }

    /// KiB of memory that are its own: not the files that it has mapped.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says while it serves.
fn log(keyhole: &Keyhole) -> PathBuf {
    keyhole.data.path().join("serve.log")
}

/// What a step does: five requests of five kinds, each with a path of its own.
fn event(number: usize) -> Value {
    let url = |kind: &str| format!("https://{HOST}/v1/{number}-{kind}");
    json!({"attack": "sequence", "tail": 200, "requests": [
        {"url": url("get"), "account": true},
        {"url": url("post"), "account": true, "method": "POST", "body": "x".repeat(number % 5_000)},
        {"url": url("stream"), "account": true, "method": "PUT", "body": "y".repeat(9_000), "sized": false},
        {"url": url("elsewhere").replace(HOST, "elsewhere.example")},
        {"url": format!("{}?note={{api_key}}", url("wrong-place"))},
    ]})
}

/// The requests of the runs so far, by path: how often, and how many of them are said to have left.
#[derive(Default)]
struct Told {
    runs: usize,
    requests: BTreeMap<String, (u32, u32)>,
    odd: Vec<Value>,
}

async fn one_run(http: &reqwest::Client, url: &str, token: &str, number: usize, told: &Mutex<Told>) {
    let start = http.post(format!("{url}/api/workflows/alice/w/runs")).bearer_auth(token);
    let started = start.json(&json!({"event": event(number), "wait": true})).send().await.unwrap();
    let started: Value = started.json().await.unwrap();
    let Some(id) = started["run"].as_str() else {
        told.lock().unwrap().odd.push(started);
        return;
    };
    let run: Value =
        http.get(format!("{url}/api/runs/{id}")).bearer_auth(token).send().await.unwrap().json().await.unwrap();
    let text = run.to_string();
    assert!(!text.contains(KEY), "{text}");
    let mut told = told.lock().unwrap();
    told.runs += 1;
    if run["run"]["status"] != "ok" {
        told.odd.push(run.clone());
    }
    for request in run["steps"][0]["requests"].as_array().into_iter().flatten() {
        let entry = told.requests.entry(request["path"].as_str().unwrap().to_owned()).or_default();
        entry.0 += 1;
        entry.1 += u32::from(request["decision"] == "allowed");
    }
}

#[test]
fn bounded_a_long_day_leaves_nothing_behind_and_loses_no_record() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let long = std::env::var_os("KEYHOLE_LONG").is_some();
    let time = Duration::from_secs(if long { 15 * 60 } else { 20 });
    let mut keyhole = Keyhole::default();
    let (server, reached) = service(&keyhole.authority);
    keyhole.lead(HOST, &server);
    keyhole.member("alice");
    let account = keyhole.connect("alice", KEY);
    let workflow = keyhole.data.path().join("workflow.toml");
    let step = component("hostile").display().to_string();
    let text = format!(
        "keyhole = 1\nname = \"w\"\n[limits]\nconcurrency = {AT_ONCE}\n[[steps]]\nname = \"a\"\nuses = {step:?}\n\
         links = {{ acme = {account:?} }}\ntimeout = \"60s\"\n"
    );
    std::fs::write(&workflow, text).unwrap();
    keyhole.call(&["workflows", "deploy", workflow.to_str().unwrap(), "--as", "alice"]).ok();
    let token = keyhole.call(&["--json", "tokens", "create", "--as", "alice"]).ok().json();
    let token = token["token"].as_str().unwrap();
    let serving = Serving::on(&keyhole);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let told: Mutex<Told> = Mutex::default();
    let number = AtomicUsize::new(0);
    // One run, so that everything is there that is made when it is first needed.
    runtime.block_on(one_run(
        &reqwest::Client::new(),
        &serving.url,
        token,
        number.fetch_add(1, Ordering::SeqCst),
        &told,
    ));
    let (descriptors, began) = (serving.descriptors(), Instant::now());
    let mut memory: Vec<(Duration, u64)> = Vec::new();
    runtime.block_on(async {
        let http = reqwest::Client::new();
        let worker = || async {
            while began.elapsed() < time {
                one_run(&http, &serving.url, token, number.fetch_add(1, Ordering::SeqCst), &told).await;
            }
        };
        let workers = futures_util::stream::iter((0..AT_ONCE).map(|_| worker())).for_each_concurrent(None, |run| run);
        let watch = async {
            while began.elapsed() < time {
                memory.push((began.elapsed(), serving.memory()));
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::join!(workers, watch);
    });
    let told = told.into_inner().unwrap();
    let took = began.elapsed();
    let said = std::fs::read_to_string(log(&keyhole)).unwrap();
    assert!(told.odd.is_empty(), "{} runs did not end well, such as {:#}; it says {said}", told.odd.len(), told.odd[0]);
    assert!(told.runs > 100, "{} runs", told.runs);

    // Memory: what it has at the end is what it had when it was warm.
    let over = |from: f64, to: f64| {
        let within = |at: &Duration| (from..to).contains(&(at.as_secs_f64() / time.as_secs_f64()));
        let samples: Vec<u64> = memory.iter().filter(|(at, _)| within(at)).map(|(_, kib)| *kib).collect();
        samples.iter().sum::<u64>() / samples.len().max(1) as u64
    };
    let (warm, last) = (over(0.25, 0.5), over(0.75, 1.0));
    let most = memory.iter().map(|(_, kib)| *kib).max().unwrap();
    eprintln!(
        "{} runs in {:.0} s, {} requests; memory {} MiB warm, {} MiB at the end, {} MiB at most",
        told.runs,
        took.as_secs_f64(),
        told.requests.values().map(|(count, _)| count).sum::<u32>(),
        warm >> 10,
        last >> 10,
        most >> 10,
    );
    // The store fills its cache of 64 MiB first, which a short soak on a busy machine does not see the end of.
    let cache = if long { 0 } else { 64 << 10 };
    assert!(last < warm + warm / 10 + (32 << 10) + cache, "it grew from {warm} to {last} KiB: {memory:?}");

    // Descriptors: idle connections are closed after 30 s, and those of the callers with them.
    let deadline = Instant::now() + Duration::from_secs(60);
    while serving.descriptors() > descriptors + 2 {
        let now = serving.descriptors();
        assert!(Instant::now() < deadline, "{descriptors} descriptors before, {now} after");
        std::thread::sleep(Duration::from_millis(200));
    }

    // The audit: each request that a run tells of is in it, once, and with it each that reached the service.
    let exported = keyhole.command(&["audit", "export"]).output().unwrap();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let mut audited: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for line in exported.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line).unwrap();
        let used = &record["use"];
        // What was done in Keyhole is no request.
        if used.is_null() {
            continue;
        }
        let ids = audited.entry(used["path"].as_str().unwrap().to_owned()).or_default();
        ids.insert(used["id"].as_str().unwrap().to_owned(), used["decision"] == "allowed");
    }
    for (path, (count, left)) in &told.requests {
        let ids = audited.get(path).unwrap_or_else(|| panic!("{path} is in a run and not in the audit"));
        let allowed = ids.values().filter(|allowed| **allowed).count();
        assert_eq!((ids.len(), allowed), (*count as usize, *left as usize), "{path}");
    }
    assert_eq!(audited.len(), told.requests.len());
    for path in reached.lock().unwrap().keys() {
        assert!(audited[path].values().any(|allowed| *allowed), "{path} reached the service");
        assert!(!path.ends_with("elsewhere") && !path.ends_with("wrong-place"), "{path} left");
    }
    let verified = keyhole.call(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
}
