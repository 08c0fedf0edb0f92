//! What a run's spans say: trigger → run → each attempt at a step → each of its requests.
//!
//! They say what lists and the audit show of it, and never an event, a value, a message, a query, a header or a
//! body: a collector is read by more people than a run is.

use std::time::SystemTime;

use jiff::Timestamp;
use keyhole_host_api::broker::Brokered;
use keyhole_host_api::broker::audit::Decision;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, SpanKind};

use super::record::{Cause, Pending, Run, RunStatus, StepRecord, WorkflowId};
use crate::telemetry::{Parent, Span, Trace, Tracer, id_of};

/// The span of the step that started the run `child`: made of that run's id, since that run begins before the
/// step has ended.
pub(super) fn caller(child: &str) -> SpanId {
    id_of(&format!("caller {child}"))
}

/// An event was accepted.
pub(super) fn triggered(tracer: &Tracer, trace: &Trace, parent: Option<&Parent>, run: &str, pending: &Pending) {
    if !trace.is_kept() {
        return;
    }
    let (name, kind) = match pending.cause {
        Cause::Http => ("trigger http", SpanKind::Server),
        Cause::Cron(_) => ("trigger cron", SpanKind::Internal),
        Cause::Manual => ("trigger manual", SpanKind::Internal),
        Cause::Error { .. } => ("trigger error", SpanKind::Internal),
        Cause::Retry(_) => ("trigger retry", SpanKind::Internal),
        Cause::Workflow { .. } => ("trigger workflow", SpanKind::Internal),
    };
    let mut attributes = of_workflow(&pending.workflow, pending.version, run);
    attributes.push(KeyValue::new("keyhole.cause", pending.cause.word()));
    tracer.take(
        trace,
        Span {
            id: Some(trace.trigger),
            parent: parent.map(Parent::id),
            name: name.into(),
            kind,
            start: time(pending.accepted),
            end: SystemTime::now(),
            attributes,
            failed: None,
        },
    );
}

/// A run has ended.
pub(super) fn ended(tracer: &Tracer, trace: &Trace, run: &Run) {
    if !trace.is_kept() {
        return;
    }
    let mut attributes = of_workflow(&run.workflow, run.version, &run.id);
    attributes.push(KeyValue::new("keyhole.cause", run.cause.word()));
    attributes.push(KeyValue::new("keyhole.status", run.status.word()));
    let kind = run.error.as_ref().map(|error| error.kind.clone());
    attributes.extend(kind.clone().map(|kind| KeyValue::new("error.type", kind)));
    tracer.take(
        trace,
        Span {
            id: Some(trace.run),
            parent: Some(trace.trigger),
            name: "run".into(),
            kind: SpanKind::Internal,
            start: time(run.accepted),
            end: run.ended.map_or_else(SystemTime::now, time),
            attributes,
            failed: (run.status == RunStatus::Failed).then(|| kind.unwrap_or_default()),
        },
    );
}

/// An attempt at a step has ended. `child` is the run that it has started.
pub(super) fn attempted(tracer: &Tracer, trace: &Trace, run: &str, record: &StepRecord, child: Option<&str>) {
    if !trace.is_kept() {
        return;
    }
    let id = child.map_or_else(|| tracer.id(), caller);
    let began = time(record.started);
    // A step that waits for the run that it has started is asked again when that has ended.
    let started = child.and_then(|child| child.parse::<ulid::Ulid>().ok()).map(|child| child.datetime());
    let mut attributes = vec![
        KeyValue::new("keyhole.run.id", run.to_owned()),
        KeyValue::new("keyhole.step.name", record.name.clone()),
        KeyValue::new("keyhole.step.attempt", i64::from(record.attempts)),
        KeyValue::new("keyhole.status", record.status.word()),
    ];
    let failed = record.error.as_ref().map(|error| error.kind.clone());
    attributes.extend(failed.clone().map(|kind| KeyValue::new("error.type", kind)));
    tracer.take(
        trace,
        Span {
            id: Some(id),
            parent: Some(trace.run),
            name: "step".into(),
            kind: SpanKind::Internal,
            start: started.map_or(began, |started| started.min(began)),
            end: SystemTime::now(),
            attributes,
            failed,
        },
    );
    for request in &record.requests {
        tracer.take(trace, of_request(request, id));
    }
}

/// A request, as the audit has it.
fn of_request(request: &Brokered, step: SpanId) -> Span {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let refused = request.decision == Decision::Refused;
    let mut attributes = vec![
        KeyValue::new("http.request.method", request.method.clone()),
        KeyValue::new("server.address", request.host.clone()),
        KeyValue::new("url.path", request.path.clone()),
        KeyValue::new("http.request.body.size", number(request.bytes_out)),
        KeyValue::new("http.response.body.size", number(request.bytes_in)),
        KeyValue::new("keyhole.decision", if refused { "refused" } else { "allowed" }),
    ];
    attributes.extend(request.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    attributes.extend(request.app.clone().map(|app| KeyValue::new("keyhole.app", app)));
    attributes.extend(request.account.clone().map(|account| KeyValue::new("keyhole.account", account)));
    attributes.extend(request.reason.clone().map(|reason| KeyValue::new("keyhole.reason", reason)));
    let failed = match request.status {
        _ if refused => Some("refused".to_owned()),
        Some(status) => (status >= 400).then(|| status.to_string()),
        None => Some("transport".to_owned()),
    };
    attributes.extend(failed.clone().map(|kind| KeyValue::new("error.type", kind)));
    let start = time(request.at);
    Span {
        id: None,
        parent: Some(step),
        name: "request".into(),
        kind: SpanKind::Client,
        start,
        end: start + request.duration,
        attributes,
        failed,
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::try_from(at).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn of_workflow(workflow: &WorkflowId, version: u64, run: &str) -> Vec<KeyValue> {
    let (owner, name) = workflow.parts();
    vec![
        KeyValue::new("keyhole.workflow.name", name.to_owned()),
        KeyValue::new("keyhole.workflow.owner", owner.to_owned()),
        KeyValue::new("keyhole.workflow.version", i64::try_from(version).unwrap_or(i64::MAX)),
        KeyValue::new("keyhole.run.id", run.to_owned()),
    ]
}
