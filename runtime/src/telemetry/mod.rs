//! What an operator's collector is told, by OTLP over HTTP: spans of runs, and the metrics that `/metrics` has.
//!
//! Nothing in here may keep a run waiting, or fail one: spans go into a queue that is bounded, what finds no room
//! is counted and dropped, and a collector that is not there costs nobody but its own task. What a span may say is
//! `workflow::trace`'s to decide; no third party is ever sent a trace's id.

mod collector;
mod metrics;
mod spans;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use collector::Collector;
pub(crate) use spans::id_of;
pub use spans::{Parent, Span, Trace, Tracer};

/// Least time between two complaints about the collector.
const COMPLAIN: Duration = Duration::from_secs(600);

/// Where it goes, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where spans go. None: nowhere.
    pub traces: Option<Url>,
    /// Where metrics go.
    pub metrics: Option<Url>,
    /// Headers of each request, marked sensitive: they often hold a credential.
    pub headers: HeaderMap,
    /// A certificate authority that is trusted beside the system's, PEM.
    pub ca_cert: Option<String>,
    /// The service's name, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has one.
    pub service_name: Option<String>,
    /// How often metrics are sent.
    pub every: Duration,
    /// Whether a webhook's `traceparent` is believed.
    pub trust_traceparent: bool,
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The settings of the exporter make no sense.
    #[error("the exporter of traces can't be made: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The HTTP client can't be made.
    #[error("the client for the collector can't be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// What sends, until it is stopped.
pub struct Telemetry {
    /// What takes spans, if there is a place for them.
    pub tracer: Option<Tracer>,
    collector: Arc<Collector>,
    resource: Resource,
    scope: InstrumentationScope,
    metrics: Option<(Url, Duration)>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Telemetry {
    /// Begins to send spans. Needs a runtime.
    ///
    /// # Errors
    /// Why it can't.
    pub fn begin(options: &Options) -> Result<Self, TelemetryError> {
        let collector = Arc::new(Collector::new(options)?);
        let resource = resource(options.service_name.as_deref());
        let scope = InstrumentationScope::builder("keyhole").with_version(env!("CARGO_PKG_VERSION")).build();
        let stop = watch::Sender::new(false);
        let mut tasks = Vec::new();
        let tracer = match &options.traces {
            Some(url) => {
                let (tracer, sending) = spans::begin(
                    url,
                    collector.clone(),
                    &resource,
                    scope.clone(),
                    options.trust_traceparent,
                    stop.subscribe(),
                )?;
                tasks.push(tokio::spawn(sending));
                Some(tracer)
            }
            None => None,
        };
        let metrics = options.metrics.clone().map(|url| (url, options.every));
        Ok(Self { tracer, collector, resource, scope, metrics, stop, tasks })
    }

    /// Whether metrics are wanted.
    pub fn wants_metrics(&self) -> bool {
        self.metrics.is_some()
    }

    /// Begins to send what `read` gives: the metrics as Prometheus has them.
    pub fn send_metrics(&mut self, read: impl Fn() -> String + Send + Sync + 'static) {
        let Some((url, every)) = self.metrics.take() else { return };
        let series =
            metrics::Series { resource: self.resource.clone(), scope: self.scope.clone(), since: SystemTime::now() };
        let sending = metrics::send(url, every, self.collector.clone(), series, read, self.stop.subscribe());
        self.tasks.push(tokio::spawn(sending));
    }

    /// Sends what is left, for as long as `within`. What then is left is given up.
    pub async fn stop(self, within: Duration) {
        self.stop.send_replace(true);
        let by = tokio::time::Instant::now() + within;
        for mut task in self.tasks {
            if tokio::time::timeout_at(by, &mut task).await.is_err() {
                task.abort();
                tracing::warn!("the collector did not take everything in time; what was left is given up");
            }
        }
    }
}

/// Who says it all: the SDK's word, the variables', and a name.
fn resource(named: Option<&str>) -> Resource {
    let builder = Resource::builder();
    let has_name = |variable: &str, part: &str| {
        std::env::var(variable).is_ok_and(|value| !value.is_empty() && value.contains(part))
    };
    if has_name("OTEL_SERVICE_NAME", "") || has_name("OTEL_RESOURCE_ATTRIBUTES", "service.name=") {
        return builder.build();
    }
    builder.with_service_name(named.unwrap_or("keyhole").to_owned()).build()
}

/// Says that the collector fails, and not over and over.
#[derive(Default)]
struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    fn failed(&self, what: &str, error: &dyn std::fmt::Display) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < COMPLAIN) {
            tracing::debug!(%error, "{what} could not be sent to the collector");
            return;
        }
        *last = Some(Instant::now());
        tracing::warn!(%error, "{what} could not be sent to the collector; it is said again in 10 minutes at the earliest");
    }
}
