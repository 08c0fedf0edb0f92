//! Spans: which traces are kept, the queue that they go into, and what sends them.
//!
//! A span is told of when it has ended, with its times: a run may last for months and over several processes, so
//! nothing is held open for it. The ids of a run's own spans are made of the run's id, or kept with it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    Config, IdGenerator, SamplingDecision, ShouldSample, SpanData, SpanEvents, SpanExporter as _, SpanLinks,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use url::Url;

use super::collector::Collector;
use super::{Complaints, TelemetryError};

/// Spans that may wait to be sent.
const QUEUE: usize = 8192;
/// Spans that are sent at a time.
const BATCH: usize = 512;
/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// Where the spans of one run belong. Kept with the run, so that whichever process goes on with it adds to the
/// same trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The trace.
    #[serde(with = "hex")]
    trace: TraceId,
    /// The run's own span, whose parts the steps' are.
    #[serde(with = "hex")]
    pub run: SpanId,
    /// The span of what started it, whose part the run's is.
    #[serde(with = "hex")]
    pub trigger: SpanId,
    /// Whether it is kept at all.
    sampled: bool,
}

/// The span, of this or another process, that a trigger is a part of.
#[derive(Clone, Debug)]
pub struct Parent(SpanContext);

impl Parent {
    /// Its id.
    pub fn id(&self) -> SpanId {
        self.0.span_id()
    }
}

impl Trace {
    /// Whether its spans are kept.
    pub fn is_kept(&self) -> bool {
        self.sampled
    }

    /// A span of this trace, as the parent of another run's trigger.
    pub fn parent(&self, span: SpanId) -> Parent {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        Parent(SpanContext::new(self.trace, span, flags, false, TraceState::default()))
    }
}

/// A span that has ended.
pub struct Span {
    /// Its id. None: one of its own.
    pub id: Option<SpanId>,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What it is, in few words of which there are few.
    pub name: Cow<'static, str>,
    /// Its side of a conversation.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is known of it.
    pub attributes: Vec<KeyValue>,
    /// Whether what it tells of failed, and by which kind of error.
    pub failed: Option<String>,
}

/// Takes spans. Clones share everything.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    sampler: Box<dyn ShouldSample>,
    ids: Box<dyn IdGenerator>,
    scope: InstrumentationScope,
    trust_traceparent: bool,
    queue: mpsc::Sender<SpanData>,
    /// Spans that found no room and of which nothing was said yet.
    lost: Arc<AtomicU64>,
}

/// An id made of a text.
pub(crate) fn id_of(text: &str) -> SpanId {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    // No span has the id 0.
    SpanId::from(u64::from_be_bytes(bytes).max(1))
}

impl Tracer {
    /// The trace of a run that begins, or of one of which nothing was noted: the same each time, as long as the
    /// settings are.
    pub fn begin(&self, run: &str, parent: Option<&Parent>) -> Trace {
        // A run's id has 80 random bits, and is what one has at hand.
        let own = || {
            let number = run.parse::<ulid::Ulid>().map(u128::from).unwrap_or_default();
            TraceId::from(number.max(1))
        };
        let trace = parent.map_or_else(own, |parent| parent.0.trace_id());
        let context = parent.map(|parent| Context::new().with_remote_span_context(parent.0.clone()));
        let judged = self.0.sampler.should_sample(context.as_ref(), trace, "trigger", &SpanKind::Server, &[], &[]);
        Trace {
            trace,
            run: id_of(&format!("run {run}")),
            trigger: id_of(&format!("trigger {run}")),
            sampled: judged.decision == SamplingDecision::RecordAndSample,
        }
    }

    /// The span that a webhook's caller names (W3C Trace Context, `traceparent`), if the operator believes callers.
    pub fn named_by_caller(&self, headers: &http::HeaderMap) -> Option<Parent> {
        if !self.0.trust_traceparent {
            return None;
        }
        let named = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let context = named.span().span_context().clone();
        // Without its `tracestate`, which is free text.
        let bare = || {
            SpanContext::new(context.trace_id(), context.span_id(), context.trace_flags(), true, TraceState::default())
        };
        context.is_valid().then(|| Parent(bare()))
    }

    /// An id for a span.
    pub fn id(&self) -> SpanId {
        self.0.ids.new_span_id()
    }

    /// Takes a span that has ended. Never waits: what finds no room is counted and dropped.
    pub fn take(&self, trace: &Trace, span: Span) {
        if !trace.sampled {
            return;
        }
        let id = span.id.unwrap_or_else(|| self.id());
        let flags = TraceFlags::SAMPLED;
        let taken = self.0.queue.try_send(SpanData {
            span_context: SpanContext::new(trace.trace, id, flags, false, TraceState::default()),
            parent_span_id: span.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: false,
            span_kind: span.kind,
            name: span.name,
            start_time: span.start,
            end_time: span.end.max(span.start),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.failed.map_or(Status::Unset, |kind| Status::Error { description: kind.into() }),
            instrumentation_scope: self.0.scope.clone(),
        });
        if taken.is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            dropped("queue", 1);
        }
    }
}

fn dropped(reason: &'static str, spans: usize) {
    metrics::counter!("keyhole_spans_dropped_total", "reason" => reason).increment(spans as u64);
}

/// What takes spans, and what sends them to `url` until it is told to stop.
pub(super) fn begin(
    url: &Url,
    collector: Arc<Collector>,
    resource: &Resource,
    scope: InstrumentationScope,
    trust_traceparent: bool,
    stop: watch::Receiver<bool>,
) -> Result<(Tracer, impl Future<Output = ()> + Send + use<>), TelemetryError> {
    let mut exporter =
        SpanExporter::builder().with_http().with_shared_http_client(collector).with_endpoint(url.as_str()).build()?;
    exporter.set_resource(resource);
    let (queue, waiting) = mpsc::channel(QUEUE);
    // What the variables say of samplers is the SDK's to read.
    let Config { sampler, id_generator: ids, .. } = Config::default();
    let lost = Arc::new(AtomicU64::new(0));
    let tracer = Tracer(Arc::new(Inner { sampler, ids, scope, trust_traceparent, queue, lost: lost.clone() }));
    Ok((tracer, send(exporter, waiting, lost, stop)))
}

/// Sends spans, several at a time. Told to stop, it takes no more and ends with the last.
async fn send(
    exporter: SpanExporter,
    mut waiting: mpsc::Receiver<SpanData>,
    lost: Arc<AtomicU64>,
    mut stop: watch::Receiver<bool>,
) {
    let complaints = Complaints::default();
    let mut stopping = false;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            more = waiting.recv_many(&mut batch, BATCH) => if more == 0 { return },
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                waiting.close();
                continue;
            }
        }
        let gather = async {
            while let room @ 1.. = BATCH - batch.len()
                && waiting.recv_many(&mut batch, room).await > 0
            {}
        };
        tokio::select! {
            () = gather => {}
            () = tokio::time::sleep(GATHER) => {}
            _ = stop.wait_for(|stop| *stop), if !stopping => {}
        }
        let spans = batch.len();
        // It tries again by itself, up to its own limit on time.
        match exporter.export(batch).await {
            Ok(()) => metrics::counter!("keyhole_spans_sent_total").increment(spans as u64),
            Err(error) => {
                dropped("collector", spans);
                complaints.failed("spans", &error);
            }
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => complaints.failed("spans", &format_args!("{lost} found no room among {QUEUE} that wait")),
        }
    }
}

mod hex {
    //! Ids as W3C Trace Context writes them.

    use std::fmt::Display;

    use opentelemetry::trace::{SpanId, TraceId};
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub trait Id: Sized {
        fn read(hex: &str) -> Result<Self, std::num::ParseIntError>;
    }

    impl Id for TraceId {
        fn read(hex: &str) -> Result<Self, std::num::ParseIntError> {
            Self::from_hex(hex)
        }
    }

    impl Id for SpanId {
        fn read(hex: &str) -> Result<Self, std::num::ParseIntError> {
            Self::from_hex(hex)
        }
    }

    pub fn serialize<S: Serializer>(id: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, I: Id>(deserializer: D) -> Result<I, D::Error> {
        I::read(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(room: usize, trust_traceparent: bool) -> (Tracer, mpsc::Receiver<SpanData>) {
        let (queue, waiting) = mpsc::channel(room);
        let Config { sampler, id_generator: ids, .. } = Config::default();
        let scope = InstrumentationScope::builder("test").build();
        (Tracer(Arc::new(Inner { sampler, ids, scope, trust_traceparent, queue, lost: Arc::default() })), waiting)
    }

    const RUN: &str = "01JD0000000000000000000001";

    #[test]
    fn a_trace_is_kept_as_it_is_and_found_again() {
        let (tracer, _waiting) = tracer(1, false);
        let trace = tracer.begin(RUN, None);
        assert_eq!(trace, tracer.begin(RUN, None), "whoever goes on with the run finds the same");
        let kept = serde_json::to_string(&trace).unwrap();
        assert_eq!(serde_json::from_str::<Trace>(&kept).unwrap(), trace, "{kept}");
        let child = tracer.begin("01JD0000000000000000000002", Some(&trace.parent(trace.run)));
        assert_eq!((child.trace, child.run == trace.run), (trace.trace, false));
    }

    #[test]
    fn a_callers_trace_is_believed_only_if_the_operator_says_so() {
        let headers =
            |value: &str| http::HeaderMap::from_iter([("traceparent".parse().unwrap(), value.parse().unwrap())]);
        let sent = headers("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(tracer(1, false).0.named_by_caller(&sent).is_none());
        let (trusting, _waiting) = tracer(1, true);
        let parent = trusting.named_by_caller(&sent).unwrap();
        assert_eq!(trusting.begin(RUN, Some(&parent)).trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for wrong in ["", "00-0-0-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "x"] {
            assert!(trusting.named_by_caller(&headers(wrong)).is_none(), "{wrong}");
        }
        // Not sampled there, not sampled here.
        let unsampled = headers("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
        let parent = trusting.named_by_caller(&unsampled).unwrap();
        assert!(!trusting.begin(RUN, Some(&parent)).is_kept());
    }

    #[test]
    fn a_full_queue_keeps_nobody_waiting() {
        let (tracer, mut waiting) = tracer(1, false);
        let trace = tracer.begin(RUN, None);
        for _ in 0..3 {
            let now = SystemTime::now();
            let span = Span {
                id: None,
                parent: Some(trace.run),
                name: "step".into(),
                kind: SpanKind::Internal,
                start: now,
                end: now,
                attributes: Vec::new(),
                failed: None,
            };
            tracer.take(&trace, span);
        }
        assert_eq!(waiting.try_recv().unwrap().parent_span_id, trace.run);
        assert!(waiting.try_recv().is_err());
    }
}
