//! What a collector is sent: the tree of a run's spans, over crashes and processes, and the metrics; never what
//! went through a run. And what a collector that is slow, or gone, costs a run: nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Server, json as answer};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};

use crate::rig::*;

/// One request to the collector: path, headers, body.
type Sent = (String, http::HeaderMap, Bytes);

/// A collector on loopback: decodes what it is sent as the protocol says.
struct Collector {
    url: String,
    sent: Arc<Mutex<Vec<Sent>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Collector {
    /// Takes everything.
    fn new() -> Self {
        Self::on("127.0.0.1:0", true)
    }

    /// Takes connections, and never answers.
    fn hanging() -> Self {
        Self::on("127.0.0.1:0", false)
    }

    fn on(address: &str, answers: bool) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let log = sent.clone();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let log = log.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let log = log.clone();
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                            log.lock().unwrap().push((parts.uri.path().to_owned(), parts.headers, body));
                            if !answers {
                                std::future::pending::<()>().await;
                            }
                            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
                        }
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, sent, runtime: Some(runtime) }
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    fn spans(&self) -> Vec<Span> {
        let sent = self.sent();
        let traces = sent.iter().filter(|(path, ..)| path == "/v1/traces");
        let requests = traces.map(|(.., body)| ExportTraceServiceRequest::decode(body.clone()).expect("protobuf"));
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }

    /// The metrics that were sent last.
    fn metrics(&self) -> Vec<Metric> {
        let sent = self.sent();
        let last = sent.iter().rfind(|(path, ..)| path == "/v1/metrics");
        let request = last.map(|(.., body)| ExportMetricsServiceRequest::decode(body.clone()).expect("protobuf"));
        let resources = request.into_iter().flat_map(|request| request.resource_metrics);
        resources.flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics).collect()
    }

    /// Waits for the span of a run's end, and gives it.
    #[track_caller]
    fn run_span(&self, run: &str) -> Span {
        let ended = || self.named("run").into_iter().find(|span| attributes(&span.attributes)["keyhole.run.id"] == run);
        until("the run's span", ended)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, Value> {
    let value = |any: &KeyValue| match any.value.clone().and_then(|any| any.value) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        other => panic!("{other:?}"),
    };
    list.iter().map(|any| (any.key.clone(), value(any))).collect()
}

/// Has the server send to the collector.
fn config(keyhole: &Keyhole, more: &str) -> String {
    let path = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&path, format!("[telemetry]\n{more}\n")).unwrap();
    path.display().to_string()
}

/// A workflow of a step that calls the service, and one that computes.
fn house() -> (Keyhole, Server) {
    let mut keyhole = keyhole();
    let server = Server::http(&keyhole.authority, &["api.acme.example"], |request| {
        // What a service echoes of the credential and of the event.
        answer(200, &json!({"auth": request.header("authorization"), "target": request.target}))
    });
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let call = format!(
        "[[steps]]\nname = \"call\"\nuses = \"http-request\"\nlinks = {{ account = {account:?} }}\nprops = {{ url = \"v1/items?q={{{{ event.body.word }}}}\", json = {{ word = \"{{{{ event.body.word }}}}\" }} }}\n"
    );
    let text = [HEAD, "trigger.http = {}\n", &call, &verb("compute", "return", "\"{{ event.body.word }}\"")].concat();
    deploy(&keyhole, &text).ok();
    (keyhole, server)
}

/// A word that is in the event, and nowhere else.
const WORD: &str = "xylophonist";

/// Posts to the workflow's address and gives the run.
async fn post(serving: &Serving, path: &str, traceparent: Option<&str>) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut request = reqwest::Client::new().post(format!("{}{path}", serving.url)).json(&json!({ "word": WORD }));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent).header("tracestate", format!("x={WORD}"));
    }
    let said: Value = request.send().await.unwrap().json().await.unwrap();
    said["run"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
}

const CALLERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn sealed_a_runs_trace_goes_from_its_trigger_to_each_request_and_holds_nothing_of_what_went_through() {
    let (keyhole, server) = house();
    let collector = Collector::new();
    let headers = keyhole.data.path().join("headers");
    std::fs::write(&headers, "x-collector-key: of-the-operator\n").unwrap();
    let config = config(
        &keyhole,
        &format!(
            "endpoint = {:?}\nheaders = \"headers\"\nservice_name = \"house\"\nmetrics_every = \"100ms\"",
            collector.url
        ),
    );
    let path = hook(&keyhole, "w");
    let serving = Serving::with(&keyhole, &["--config", &config]);
    // An untrusted caller chooses no trace.
    let run = post(&serving, &path, Some(CALLERS)).await;
    let ended = collector.run_span(&run);
    let shown = show(&keyhole, &run);
    assert_eq!(shown["run"]["status"], "ok", "{shown:#}");

    let trigger = collector.named("trigger http").pop().unwrap();
    assert!(trigger.parent_span_id.is_empty(), "{trigger:?}");
    assert_ne!(trigger.trace_id, hex("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(ended.parent_span_id, trigger.span_id);
    let of_run = attributes(&ended.attributes);
    for (name, value) in [
        ("keyhole.workflow.name", "w"),
        ("keyhole.workflow.owner", "alice"),
        ("keyhole.status", "ok"),
        ("keyhole.cause", "http"),
    ] {
        assert_eq!(of_run[name], value, "{of_run:?}");
    }
    let steps = collector.named("step");
    let names: Vec<_> = steps.iter().map(|step| attributes(&step.attributes)["keyhole.step.name"].clone()).collect();
    assert_eq!(names, ["call", "compute"]);
    for step in &steps {
        assert_eq!(step.parent_span_id, ended.span_id);
        let of_step = attributes(&step.attributes);
        assert_eq!((&of_step["keyhole.step.attempt"], &of_step["keyhole.status"]), (&json!(1), &json!("ok")));
        assert!(step.start_time_unix_nano <= step.end_time_unix_nano);
        assert!(ended.start_time_unix_nano <= step.start_time_unix_nano);
    }
    let requests = collector.named("request");
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].parent_span_id, steps[0].span_id);
    let of_request = attributes(&requests[0].attributes);
    for (name, value) in [
        ("http.request.method", json!("POST")),
        ("server.address", json!("api.acme.example")),
        ("url.path", json!("/v1/items")),
        ("http.response.status_code", json!(200)),
        ("keyhole.app", json!("acme")),
        ("keyhole.account", shown["steps"][0]["requests"][0]["account"].clone()),
        ("keyhole.decision", json!("allowed")),
        ("http.request.body.size", shown["steps"][0]["requests"][0]["bytes_out"].clone()),
    ] {
        assert_eq!(of_request[name], value, "{of_request:?}");
    }
    assert!(collector.spans().iter().all(|span| span.trace_id == ended.trace_id));

    // The service got the credential, the word, and no trace.
    let received = &server.received()[0];
    assert_eq!(received.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert!(received.target.contains(WORD));
    assert_eq!((received.header("traceparent"), received.header("tracestate")), (None, None));
    // The collector got the operator's header, and of the rest nothing.
    until("metrics", || (!collector.metrics().is_empty()).then_some(()));
    for (_, headers, body) in collector.sent() {
        assert_eq!(headers["x-collector-key"], "of-the-operator");
        for private in [KEY, "acme_live_", WORD] {
            assert!(memchr::memmem::find(&body, private.as_bytes()).is_none(), "{private}");
        }
        assert!(memchr::memmem::find(&body, b"house").is_some());
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_gone_on_with_if_the_operator_trusts_callers() {
    let (keyhole, _server) = house();
    let collector = Collector::new();
    let config = config(&keyhole, &format!("endpoint = {:?}\ntrust_traceparent = true", collector.url));
    let path = hook(&keyhole, "w");
    let serving = Serving::with(&keyhole, &["--config", &config]);
    let run = post(&serving, &path, Some(CALLERS)).await;
    let ended = collector.run_span(&run);
    assert_eq!(ended.trace_id, hex("4bf92f3577b34da6a3ce929d0e0e4736"));
    let trigger = collector.named("trigger http").pop().unwrap();
    assert_eq!(trigger.parent_span_id, hex("00f067aa0ba902b7"));
    // What is no traceparent begins a trace.
    let run = post(&serving, &path, Some("00-no-trace-01")).await;
    assert_ne!(collector.run_span(&run).trace_id, hex("4bf92f3577b34da6a3ce929d0e0e4736"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_another_process_goes_on_with_keeps_its_trace_and_a_called_one_joins_it() {
    let keyhole = keyhole();
    let collector = Collector::new();
    let inner = format!("keyhole = 1\nname = \"inner\"\n{}", verb("in", "return", "1"));
    deploy(&keyhole, &inner).ok();
    let call = "[[steps]]\nname = \"call\"\nuses = \"workflow\"\nprops = { name = \"inner\" }\n";
    let text = [HEAD, "trigger.http = {}\n", &verb("before", "delay", "2000"), call].concat();
    deploy(&keyhole, &text).ok();
    let path = hook(&keyhole, "w");
    let config = config(&keyhole, &format!("endpoint = {:?}\ntrust_traceparent = true", collector.url));
    let serving = Serving::with(&keyhole, &["--config", &config]);
    let run = post(&serving, &path, Some(CALLERS)).await;
    until_status(&keyhole, &run, "waiting");
    until("the first step's span", || collector.named("step").pop());
    serving.kill();

    let _again = Serving::with(&keyhole, &["--config", &config]);
    let ended = collector.run_span(&run);
    assert_eq!(ended.trace_id, hex("4bf92f3577b34da6a3ce929d0e0e4736"));
    let of_step = |name: &str| {
        let mut steps = collector.named("step");
        steps.retain(|step| attributes(&step.attributes)["keyhole.step.name"] == name);
        assert_eq!(steps.len(), 1, "{name}: {steps:?}");
        steps.remove(0)
    };
    let (before, call) = (of_step("before"), of_step("call"));
    assert_eq!((&before.parent_span_id, &call.parent_span_id), (&ended.span_id, &ended.span_id));
    let trigger = collector.named("trigger workflow").pop().unwrap();
    assert_eq!((&trigger.trace_id, &trigger.parent_span_id), (&ended.trace_id, &call.span_id));
    let inner = collector.named("run").into_iter().find(|span| span.parent_span_id == trigger.span_id).unwrap();
    assert_eq!(of_step("in").parent_span_id, inner.span_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_collector_that_hangs_or_is_not_there_delays_no_run() {
    let (keyhole, _server) = house();
    let path = hook(&keyhole, "w");
    let hanging = Collector::hanging();
    // An address where nobody listens any more.
    let gone = Collector::new().url.clone();
    for endpoint in [&hanging.url, &gone] {
        let config = config(&keyhole, &format!("endpoint = {endpoint:?}\nmetrics_every = \"100ms\""));
        let serving = Serving::with(&keyhole, &["--config", &config]);
        let began = Instant::now();
        let mut runs = Vec::new();
        for _ in 0..20 {
            runs.push(post(&serving, &path, None).await);
        }
        for run in &runs {
            until_status(&keyhole, run, "ok");
        }
        // The collector's own patience is 10 s a request.
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        let (code, took) = serving.stop();
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(9), "{took:?}");
    }
    assert!(!hanging.sent().is_empty(), "it was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_at_a_stop_and_the_metrics_are_those_that_prometheus_has() {
    let (keyhole, _server) = house();
    let collector = Collector::new();
    let path = hook(&keyhole, "w");
    // Not before the end.
    let config = config(&keyhole, &format!("endpoint = {:?}\nmetrics_every = \"1h\"", collector.url));
    let keyhole = keyhole_tests::served::Served::on(keyhole, &["--metrics", "127.0.0.1:0", "--config", &config]);
    let metrics = keyhole.metrics.clone().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    for _ in 0..3 {
        client.post(format!("{}{path}", keyhole.url)).json(&json!({ "word": WORD })).send().await.unwrap();
    }
    let ok = "keyhole_runs_ended_total{status=\"ok\"} 3";
    let mut text = String::new();
    let by = Instant::now() + Duration::from_secs(30);
    while !text.contains(ok) {
        assert!(Instant::now() < by, "{text}");
        text = client.get(&metrics).send().await.unwrap().text().await.unwrap();
    }
    let sample = |begins: &str| -> f64 {
        let line =
            text.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("no {begins} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (code, _) = keyhole.stop();
    assert_eq!(code, 0);
    assert_eq!(collector.named("run").len(), 3, "spans that had not been sent are sent now");
    let told = collector.metrics();
    let of =
        |name: &str| told.iter().find(|metric| metric.name == name).and_then(|metric| metric.data.clone()).unwrap();
    let Data::Sum(ended) = of("keyhole_runs_ended_total") else { panic!("{told:?}") };
    assert!(ended.is_monotonic);
    assert_eq!(ended.data_points[0].value, Some(Number::AsInt(3)));
    let Data::Histogram(runs) = of("keyhole_run_seconds") else { panic!("{told:?}") };
    let point = &runs.data_points[0];
    assert_eq!(point.count as f64, sample("keyhole_run_seconds_count"));
    assert_eq!(point.sum, Some(sample("keyhole_run_seconds_sum")));
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 3);
    let Data::Sum(requests) = of("keyhole_requests_total") else { panic!("{told:?}") };
    let point = &requests.data_points[0];
    assert_eq!(attributes(&point.attributes)["app"], "acme");
    assert_eq!(point.value, Some(Number::AsInt(sample("keyhole_requests_total{") as i64)));
}

#[test]
fn the_standard_variables_win_over_the_file_and_what_makes_no_sense_is_refused() {
    let keyhole = keyhole();
    let wrong = config(&keyhole, "endpoint = \"http://127.0.0.1:4318\"\nmetrics_evry = \"1s\"");
    let said = keyhole.call(&["config", "check", "--config", &wrong]).failed(2);
    assert!(said.contains("keyhole.toml:3:1"), "{said}");
    let right = config(&keyhole, "endpoint = \"http://127.0.0.1:4318\"");
    for (name, value, told) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317", "http://HOST:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp or none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no header", "NAME=VALUE"),
    ] {
        let output = keyhole.command(&["config", "check", "--config", &right]).env(name, value).output().unwrap();
        let said = keyhole_tests::program::Ended::from(output).failed(2);
        assert!(said.contains(told) && said.contains(name), "{said}");
    }
    // Here it is the variables alone that say where, and how much.
    let collector = Collector::new();
    deploy(&keyhole, &format!("{HEAD}{}", verb("a", "return", "1"))).ok();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ];
    let serving = Serving::set(&keyhole, &[], &variables);
    let started = keyhole.call(&["--json", "workflows", "run", "w", "--no-wait", "--as", "alice"]).ok().json();
    until_status(&keyhole, started["run"].as_str().unwrap(), "ok");
    until("metrics", || {
        let counted = |metric: &Metric| metric.name == "keyhole_runs_ended_total";
        collector.metrics().iter().any(counted).then_some(())
    });
    assert_eq!(serving.stop().0, Some(0));
    let sent = collector.sent();
    assert!(sent.iter().all(|(_, headers, _)| headers["x-key"] == "a b"));
    assert!(sent.iter().all(|(.., body)| memchr::memmem::find(body, b"deployment.environment.name").is_some()));
    assert_eq!(collector.spans().len(), 0, "none is sampled");
}
