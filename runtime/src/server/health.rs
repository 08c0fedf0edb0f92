//! What an operator's machines ask: whether Keyhole lives, whether it can work, and how much it does.
//!
//! Nobody proves who they are here, so it must tell of no member, no account and no error's text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;

use super::Api;

/// How long what was found out is told again, so that asking often writes nothing.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Longest time that a write may take.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// How often samples are put into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);
/// Upper bounds of the buckets of lengths of time, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// Whether it can work, as it was found out last.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Result<(), &'static str>)>>);

/// For whatever balances load or starts it again: `/healthz` and `/readyz`.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

/// For an address of the operator's own: the same, and `/metrics`.
pub fn operators(api: Arc<Api>, metrics: &Metrics) -> Router {
    let told = (metrics.clone(), api.clone());
    let metrics = Router::new().route("/metrics", get(tell)).with_state(told);
    routes().with_state(api).merge(metrics)
}

async fn tell(State((metrics, api)): State<(Metrics, Arc<Api>)>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.text(&api)).into_response()
}

async fn alive() -> &'static str {
    "ok\n"
}

/// Whether an event could be accepted now: it takes work, and the store takes writes.
async fn ready(State(api): State<Arc<Api>>) -> Response {
    match api.readiness.look(&api).await {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

impl Readiness {
    async fn look(&self, api: &Api) -> Result<(), &'static str> {
        if *api.stopping.borrow() {
            return Err("stopping");
        }
        let mut known = self.0.lock().await;
        if let Some((at, found)) = *known
            && at.elapsed() < KNOWN_FOR
        {
            return found;
        }
        let found = match tokio::time::timeout(WRITTEN_WITHIN, api.runner.announce()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, "the store takes no writes");
                Err("the store takes no writes")
            }
            Err(_) => Err("the store takes long to write"),
        };
        *known = Some((Instant::now(), found));
        found
    }
}

/// What is counted in this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Begins to count. What was counted before is lost.
    ///
    /// # Errors
    /// If it is counted elsewhere in this process already.
    pub fn begin() -> Result<Self, BuildError> {
        let handle = recorder()?;
        tokio::spawn(drain(handle.clone()));
        Ok(Self(handle))
    }

    /// All of it as Prometheus reads it, with what there is in `api` now.
    pub fn text(&self, api: &Api) -> String {
        let (ready, running) = api.runner.load();
        let (waiting, held) = api.runner.asleep();
        for (state, count) in [("queued", ready), ("running", running), ("waiting", waiting), ("held", held)] {
            gauge!("keyhole_runs", "state" => state).set(count as f64);
        }
        if let Some(pool) = api.workflows.work().components.instances() {
            gauge!("keyhole_instances").set(pool.in_use as f64);
            gauge!("keyhole_instances_limit").set(pool.most as f64);
        }
        self.0.render()
    }
}

/// Puts samples into their buckets, also while nobody asks for them.
async fn drain(handle: PrometheusHandle) {
    let mut upkeep = tokio::time::interval(UPKEEP);
    loop {
        upkeep.tick().await;
        handle.run_upkeep();
    }
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    describe_counter!("keyhole_runs_ended_total", "Runs that have ended, by status");
    describe_histogram!("keyhole_run_seconds", Unit::Seconds, "From a run's event to its end");
    describe_histogram!("keyhole_step_seconds", Unit::Seconds, "One attempt at a step, by status");
    describe_gauge!("keyhole_runs", "Runs that this process has, by state");
    describe_gauge!("keyhole_instances", "Core instances of steps in use");
    describe_gauge!("keyhole_instances_limit", "How many there can be");
    describe_counter!("keyhole_requests_total", "Requests of steps, by app, decision and the answer's status");
    describe_histogram!("keyhole_request_seconds", Unit::Seconds, "From a step's request to the end of the answer");
    describe_counter!("keyhole_requests_refused_total", "Requests that did not leave, by reason");
    describe_counter!("keyhole_refreshes_total", "Refreshes of tokens, by app and outcome");
    describe_counter!("keyhole_audit_failures_total", "Records of the audit that could not be written");
    describe_counter!("keyhole_spans_sent_total", "Spans that the collector took");
    describe_counter!("keyhole_spans_dropped_total", "Spans that it did not get, by reason");
    Ok(handle)
}
