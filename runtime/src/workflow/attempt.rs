//! One attempt at one step: what it is given, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keyhole_host_api::accounts::{AccountId, Accounts, UseError};
use keyhole_host_api::broker::{AccessError, Broker, Brokered, Link, RunBooks, Scope, Session};
use keyhole_host_api::data::DataStores;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::store::StoreError;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use url::Url;

use super::added::AddedProps;
use super::components::{ComponentError, Components};
use super::file::{HTTP_REQUEST, RetryOn, WORKFLOW};
use super::files::Files;
use super::record::{Again, PlannedStep, RunError, StepRecord, StepStatus, WorkflowId};
use super::render::Renderers;
use super::{call, http_request};
use crate::engine::{
    Attempt, Definition, FailureKind, Flow, Input, Json, Limits, Observer, RunOutcome, StepFailure, StepHost,
};

/// Below this path others have runs go on.
pub const CALLBACKS: &str = "/callbacks";

/// How long a request that the step left open may take to be noted.
const NOTED_WITHIN: Duration = Duration::from_secs(1);

/// What steps are run with.
pub struct Work {
    /// The components.
    pub components: Components,
    /// The one way out.
    pub broker: Arc<Broker>,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The data stores.
    pub data: Arc<DataStores>,
    /// The files that were deployed with workflows.
    pub files: Files,
    /// What works out templates.
    pub renderers: Renderers,
    /// The props that steps added.
    pub added: AddedProps,
    /// Where others reach the server, if it was told.
    pub public_url: Option<Url>,
}

/// Whose run it is.
pub struct Who<'r> {
    /// The run's id.
    pub run: &'r str,
    /// The workflow.
    pub workflow: &'r WorkflowId,
    /// On whose behalf it runs.
    pub member: &'r MemberId,
    /// What it has used of its limits on requests.
    pub books: Arc<RunBooks>,
    /// Who looks on at its steps.
    pub observer: Option<Arc<dyn Observer>>,
}

/// The how manieth time it is for a step.
#[derive(Clone, Copy, Default)]
pub struct Turn<'r> {
    /// Attempts before this one that failed or were cut off.
    pub attempts: u32,
    /// How the step asked to be run again, if it did.
    pub again: Option<&'r Again>,
    /// The request that ended the wait before.
    pub resumed: Option<&'r RawValue>,
}

/// What came of an attempt.
pub struct Attempted {
    /// Its record.
    pub record: StepRecord,
    /// What the step told the workflow.
    pub flow: Flow,
    /// If it failed: what may be done about it.
    pub failed: Option<Failed>,
    /// The workflow that it wants to have started.
    pub calls: Option<call::Asked>,
}

/// What may be done about a failure.
pub struct Failed {
    /// Its kind, for the setting of a workflow. None for what is never tried again.
    pub kind: Option<RetryOn>,
    /// Whether the step or the host says that it may pass by itself.
    pub may_pass: bool,
    /// The account that must be reconnected first.
    pub reconnect: Option<AccountId>,
}

impl Failed {
    /// A failure of this kind, which another attempt may not meet.
    pub fn of(kind: Option<RetryOn>) -> Self {
        Self { kind, may_pass: kind.is_some(), reconnect: None }
    }
}

/// What earlier steps left, as later ones and templates see it.
#[derive(Serialize)]
struct Context<'c> {
    event: &'c RawValue,
    steps: &'c BTreeMap<&'c str, BTreeMap<&'c str, &'c RawValue>>,
    workflow: Value,
    run: Value,
}

impl Work {
    /// Runs `step` after the steps `before`.
    pub async fn attempt(
        &self,
        who: &Who<'_>,
        step: &PlannedStep,
        event: &RawValue,
        before: &[StepRecord],
        turn: Turn<'_>,
    ) -> Attempted {
        let started = Timestamp::now();
        let begun = std::time::Instant::now();
        let mut record = StepRecord::begun(&step.name, turn.attempts + 1, started);
        let steps = seen(before);
        let (owner, name) = who.workflow.parts();
        let context = Context {
            event,
            steps: &steps,
            workflow: json!({ "name": name, "owner": owner }),
            run: json!({ "id": who.run }),
        };
        let (mut flow, mut calls) = (Flow::default(), None);
        let failed = match self.renderers.render(&context, step).await {
            Ok(None) => {
                record.status = StepStatus::Skipped;
                None
            }
            Err(error) if error.is_host() => {
                record.error = Some(self.error(step, "host", error.to_string()));
                Some(Failed { kind: Some(RetryOn::Host), may_pass: true, reconnect: None })
            }
            Err(error) => {
                record.error = Some(self.error(step, "template", error.to_string()));
                Some(Failed { kind: None, may_pass: false, reconnect: None })
            }
            Ok(Some(props)) => {
                record.props = props.clone();
                if step.uses == WORKFLOW {
                    match call::Asked::of(props) {
                        Ok(asked) => {
                            calls = Some(asked);
                            None
                        }
                        Err(error) => {
                            record.error = Some(self.error(step, "input", error.to_string()));
                            Some(Failed { kind: None, may_pass: false, reconnect: None })
                        }
                    }
                } else {
                    let (ran, failed) = self.call(who, step, props, &context, turn, &mut record).await;
                    flow = ran;
                    failed
                }
            }
        };
        if failed.is_some() {
            record.status = StepStatus::Failed;
        }
        let status = record.status.word();
        metrics::histogram!("keyhole_step_seconds", "status" => status).record(begun.elapsed().as_secs_f64());
        record.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Attempted { record, flow, failed, calls }
    }

    /// Runs `step` as often as its setting says, waiting in between: for what is no step of a workflow's file. The run that it
    /// belongs to is pending meanwhile, so that a process that goes away does not end it. None if it was to leave while
    /// it waited.
    pub async fn insist(
        &self,
        who: &Who<'_>,
        step: &PlannedStep,
        event: &RawValue,
        leave: impl Future<Output = ()>,
    ) -> Option<Attempted> {
        let mut leave = std::pin::pin!(leave);
        let mut turn = Turn::default();
        loop {
            let attempted = self.attempt(who, step, event, &[], turn).await;
            turn.attempts += 1;
            let may_pass = attempted.failed.as_ref().is_some_and(|failed| failed.may_pass);
            let retry = step.retry.as_ref().filter(|retry| may_pass && turn.attempts < retry.attempts);
            let Some(retry) = retry else { return Some(attempted) };
            let wait = retry.wait.saturating_mul(1 << (turn.attempts - 1).min(16)).min(retry.max_wait);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = &mut leave => return None,
            }
        }
    }

    async fn call(
        &self,
        who: &Who<'_>,
        step: &PlannedStep,
        props: Map<String, Value>,
        context: &Context<'_>,
        turn: Turn<'_>,
        record: &mut StepRecord,
    ) -> (Flow, Option<Failed>) {
        let host_failed = |error: &dyn std::fmt::Display| self.error(step, "host", error.to_string());
        let passing = Failed { kind: Some(RetryOn::Host), may_pass: true, reconnect: None };
        if let Some(account) = self.to_reconnect(who.member, step).await {
            record.error = Some(self.error(step, "access", account.to_string()));
            let reconnect = match account {
                UseError::ReconnectNeeded { account, .. } => Some(account),
                _ => None,
            };
            return (Flow::default(), Some(Failed { kind: Some(RetryOn::Access), may_pass: false, reconnect }));
        }
        let session = self.session(who, step);
        if let Some(observer) = &who.observer {
            observer.sends_by(&session);
        }
        let limits = self.limits(step);
        let outcome = if step.uses == HTTP_REQUEST {
            let attached = match &step.file {
                None => None,
                Some(file) => match self.files.get(file).await {
                    Ok(bytes) => Some((file.clone(), bytes)),
                    Err(error) => {
                        let may_pass = !matches!(error, StoreError::Corrupt { .. });
                        record.error = Some(host_failed(&error));
                        return (Flow::default(), Some(Failed { may_pass, ..passing }));
                    }
                },
            };
            http_request::run(&session, &props, attached, &limits).await
        } else {
            let loaded = match self.components.step(&step.uses).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    let may_pass = matches!(error, ComponentError::Store(_) | ComponentError::Engine(_));
                    record.error = Some(host_failed(&error));
                    return (Flow::default(), Some(Failed { may_pass, ..passing }));
                }
            };
            let engine = match self.components.engine() {
                Ok(engine) => engine,
                Err(error) => {
                    record.error = Some(host_failed(&error));
                    return (Flow::default(), Some(passing));
                }
            };
            let data = |definition: &Definition, props: &Map<String, Value>| {
                let (owner, workflow) = who.workflow.parts();
                let named = definition.data_stores(props, [owner, workflow, &step.name]);
                named.into_iter().map(|(prop, name)| (prop, self.data.open(name))).collect()
            };
            let host = || -> Arc<dyn StepHost> {
                let data = data(&loaded.definition, &props);
                Arc::new(Attempt { session: session.clone(), data, callbacks: None, observer: None })
            };
            let definition = match self.added.definition(engine, &loaded, host, (who, step), &props, &limits).await {
                Ok(definition) => definition,
                Err((prop, failure)) => {
                    record.requests = requests(&session).await;
                    let failed = self.failed(who, step, &failure).await;
                    let (kind, trace) = described(&failure);
                    let message = format!("prop {prop}: {failure}");
                    record.error = Some(RunError { trace, ..self.error(step, &kind, message) });
                    return (Flow::default(), Some(failed));
                }
            };
            let props = match definition.props(&props) {
                Ok(props) => props,
                Err(error) => {
                    record.error = Some(self.error(step, "input", error.to_string()));
                    return (Flow::default(), Some(Failed { kind: None, may_pass: false, reconnect: None }));
                }
            };
            let input = match input(who, step, context, &props, turn, &limits) {
                Ok(input) => input,
                Err(error) => {
                    record.error = Some(host_failed(&error));
                    return (Flow::default(), Some(passing));
                }
            };
            let host = Attempt {
                session: session.clone(),
                data: data(&definition, &props),
                callbacks: Some(self.callbacks(who.run)),
                observer: who.observer.clone(),
            };
            engine.run(&loaded, Arc::new(host), &input, &limits).await
        };
        record.requests = requests(&session).await;
        let RunOutcome { result, exports, log, log_cut, flow, peak_memory, .. } = outcome;
        record.exports = exports.into_iter().map(|(name, value)| (name, raw(value))).collect();
        (record.log, record.log_cut, record.peak_memory) = (log, log_cut, peak_memory as u64);
        match result {
            Ok(value) => {
                record.return_value = Some(raw(value));
                (flow, None)
            }
            Err(failure) => {
                let failed = self.failed(who, step, &failure).await;
                let (kind, trace) = described(&failure);
                record.error = Some(RunError { trace, ..self.error(step, &kind, failure.to_string()) });
                (flow, Some(failed))
            }
        }
    }

    /// Why one of the step's accounts can't be used until it is reconnected.
    async fn to_reconnect(&self, member: &MemberId, step: &PlannedStep) -> Option<UseError> {
        for account in step.links.values().filter_map(|link| link.account.as_ref()) {
            if let Err(error @ UseError::ReconnectNeeded { .. }) = self.accounts.usable(account, member).await {
                return Some(error);
            }
        }
        None
    }

    async fn failed(&self, who: &Who<'_>, step: &PlannedStep, failure: &StepFailure) -> Failed {
        let kind = match failure {
            StepFailure::Failed { kind: FailureKind::Upstream, .. } => Some(RetryOn::Upstream),
            StepFailure::Failed { kind: FailureKind::Access, .. } => Some(RetryOn::Access),
            StepFailure::Failed { kind: FailureKind::Step, .. } => Some(RetryOn::Step),
            StepFailure::Host { .. } => Some(RetryOn::Host),
            // It would fail again: an input, a refusal, a limit, a fault in the code.
            _ => None,
        };
        // An account may have died in the middle, and the step may have told it in its own words.
        let reconnect = match (kind, self.to_reconnect(who.member, step).await) {
            (Some(_), Some(UseError::ReconnectNeeded { account, .. })) => Some(account),
            _ => None,
        };
        Failed { kind, may_pass: failure.retry(), reconnect }
    }

    /// Where others have the run go on.
    fn callbacks(&self, run: &str) -> String {
        let path = format!("{CALLBACKS}/{run}");
        self.public_url.as_ref().and_then(|url| url.join(&path).ok()).map_or(path, String::from)
    }

    fn session(&self, who: &Who<'_>, step: &PlannedStep) -> Arc<Session> {
        self.broker.session(Scope {
            run: who.run.to_owned(),
            step: step.name.clone(),
            member: who.member.clone(),
            props: step
                .links
                .iter()
                .map(|(prop, link)| (prop.clone(), Link { app: link.app.clone(), account: link.account.clone() }))
                .collect(),
            // Checked at deploy; what can't be read any more opens nothing.
            allow_hosts: step.allow_hosts.iter().filter_map(|host| host.parse().ok()).collect(),
            books: who.books.clone(),
            retries: step.retry_requests,
        })
    }

    fn limits(&self, step: &PlannedStep) -> Limits {
        Limits {
            deadline: Duration::from_millis(step.timeout_ms),
            memory: usize::try_from(step.memory.min(self.components.most_memory())).unwrap_or(usize::MAX),
            ..Limits::default()
        }
    }

    fn error(&self, step: &PlannedStep, kind: &str, message: String) -> RunError {
        RunError { step: Some(step.name.clone()), kind: kind.to_owned(), message, trace: None }
    }
}

/// What an attempt that is over has asked of the world.
pub(super) async fn requests(session: &Session) -> Vec<Brokered> {
    // What the step left open ends with it; its outcomes belong to the run.
    let _ = tokio::time::timeout(NOTED_WITHIN, session.ended()).await;
    session.requests()
}

/// How an account that was not handed out failed the step, for what runs without a component.
pub(super) fn no_account(error: &AccessError) -> StepFailure {
    StepFailure::Failed {
        message: error.to_string(),
        kind: FailureKind::Access,
        retry: matches!(error, AccessError::Unavailable(_)),
        trace: None,
    }
}

/// `steps` as templates and steps see it: by name, the exports and the return value.
fn seen(before: &[StepRecord]) -> BTreeMap<&str, BTreeMap<&str, &RawValue>> {
    before
        .iter()
        .map(|step| {
            let mut left: BTreeMap<&str, &RawValue> =
                step.exports.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
            left.insert("$return_value", step.return_value.as_deref().unwrap_or(RawValue::NULL));
            (step.name.as_str(), left)
        })
        .collect()
}

fn input(
    who: &Who<'_>,
    step: &PlannedStep,
    context: &Context<'_>,
    props: &Map<String, Value>,
    turn: Turn<'_>,
    limits: &Limits,
) -> Result<Input, serde_json::Error> {
    let (_, name) = who.workflow.parts();
    let mut told = json!({
        "run": who.run,
        "workflow": name,
        "step": step.name,
        "attempt": turn.attempts + 1,
        "runs": turn.again.map_or(0, |again| again.times) + 1,
        "member": who.member,
        "deadline_ms": step.timeout_ms,
        "memory_bytes": limits.memory,
    });
    if let Some(again) = turn.again {
        told["rerun"] = serde_json::from_str(again.value.get())?;
        told["resumed"] = turn.resumed.map_or(Ok(Value::Null), |request| serde_json::from_str(request.get()))?;
    }
    Ok(Input {
        event: context.event.get().to_owned(),
        steps: serde_json::to_string(context.steps)?,
        props: serde_json::to_string(props)?,
        context: told.to_string(),
    })
}

fn raw(json: Json) -> Box<RawValue> {
    // It was checked when the step gave it.
    RawValue::from_string(json.into_string()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn described(failure: &StepFailure) -> (String, Option<String>) {
    match failure {
        StepFailure::Failed { kind, trace, .. } => {
            let kind = serde_json::to_value(kind).ok();
            (kind.as_ref().and_then(Value::as_str).unwrap_or("step").to_owned(), trace.clone())
        }
        StepFailure::Trapped { trace, .. } => ("trapped".to_owned(), (!trace.is_empty()).then(|| trace.join("\n"))),
        StepFailure::Limit { .. } => ("limit".to_owned(), None),
        StepFailure::BadResult { .. } | StepFailure::Exited { .. } => ("step".to_owned(), None),
        StepFailure::Host { .. } => ("host".to_owned(), None),
    }
}
