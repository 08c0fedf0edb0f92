//! The runs that a run leads to: of the workflows that its steps call, and of what is told of its failure.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use keyhole_host_api::broker::Spent;
use keyhole_host_api::store::StoreError;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::drive::null;
use super::{EventError, Origin, Runner, Stage, Told, new_id};
use crate::telemetry::Parent;
use crate::workflow::attempt::Who;
use crate::workflow::file::RetryOn;
use crate::workflow::record::{Cause, Pending, Run, RunStatus, StepRecord, StepStatus, WorkflowId};
use crate::workflow::{call, deploy, trace};

/// How far the workflow is that a step called.
pub(super) enum Called {
    /// The step returns this.
    Returned(Box<RawValue>),
    /// It goes on when this run has ended.
    Waits(String),
    /// The process takes nothing more.
    Left,
    /// The step fails, for this reason and of this kind.
    Failed(String, Option<RetryOn>),
}

/// What a run that this one leads to has of it.
fn origin(run: &str, pending: &Pending, parent: Option<Parent>) -> Origin {
    Origin { parent, root: Some(pending.root.clone().unwrap_or_else(|| run.to_owned())) }
}

impl Runner {
    /// Starts the workflow that a step calls, unless it did already, and says how far it is.
    pub(super) async fn called(
        &self,
        run: &str,
        pending: &mut Pending,
        asked: &call::Asked,
    ) -> Result<Called, StoreError> {
        let (owner, _) = pending.workflow.parts();
        let id = WorkflowId(format!("{owner}/{}", asked.name));
        let child = match &pending.child {
            Some(child) => child.clone(),
            None => {
                if !self.may_start(run, pending).await? {
                    return Ok(Called::Failed(self.too_many(), None));
                }
                // On disk before it is started, so that whoever begins the step again finds it.
                let child = new_id();
                pending.child = Some(child.clone());
                let note = |there: &mut Pending| {
                    // Unless another process has it by now, and drives it.
                    if there.instance == pending.instance {
                        *there = Pending { cancelled: there.cancelled, ..pending.clone() };
                    }
                };
                self.0.history.pending.update(run, note).await?;
                child
            }
        };
        // In this order: it is the one until it is the other.
        let under_way = self.0.history.pending.get(&child).await?.is_some();
        let ended = self.0.history.ended(&child).await?;
        if ended.is_none() && !under_way {
            let depth = pending.cause.depth() + 1;
            if depth > call::DEEP {
                let message = format!("{} workflows have called one another already", call::DEEP);
                return Ok(Called::Failed(message, None));
            }
            let Some(workflow) = self.0.workflows.get(&id).await? else {
                return Ok(Called::Failed(format!("{owner} has no workflow '{}'", asked.name), None));
            };
            let event = match asked.event() {
                Ok(event) => event,
                Err(error) => return Ok(Called::Failed(format!("its event can't be kept: {error}"), None)),
            };
            let cause = Cause::Workflow { run: run.to_owned(), depth };
            let parent = pending.trace.as_ref().map(|trace| trace.parent(trace::caller(&child)));
            match self.take(child.clone(), &workflow, cause, event, origin(run, pending, parent)).await {
                // Another process was first.
                Ok(_) | Err(EventError::Store(StoreError::Conflict { .. })) => {}
                Err(EventError::Store(error)) => return Err(error),
                Err(EventError::Stopping) => return Ok(Called::Left),
                Err(error) => return Ok(Called::Failed(error.to_string(), Some(RetryOn::Host))),
            }
        }
        if !asked.wait {
            let started = to_raw_value(&json!({ "run": child })).unwrap_or_else(|_| null());
            return Ok(Called::Returned(started));
        }
        let Some(ended) = ended else { return Ok(Called::Waits(child)) };
        if ended.status != RunStatus::Ok {
            let why = ended.error.map_or_else(|| ended.status.word().to_owned(), |error| error.message);
            let message = format!("the run {child} of {} did not end well: {why}", asked.name);
            return Ok(Called::Failed(message, Some(RetryOn::Step)));
        }
        let details = self.0.history.details(&child).await?;
        let returned = details.and_then(|(_, details)| details.steps.into_iter().next_back()?.return_value);
        Ok(Called::Returned(returned.unwrap_or_else(null)))
    }

    /// Whether one more run may come of the event that this one came of. It is counted then.
    async fn may_start(&self, run: &str, pending: &Pending) -> Result<bool, StoreError> {
        let most = self.0.most_started.load(Ordering::Relaxed);
        self.0.history.count_started(pending.root.as_deref().unwrap_or(run), most).await
    }

    fn too_many(&self) -> String {
        let most = self.0.most_started.load(Ordering::Relaxed);
        format!("one event has led to {most} runs already, by calls and failures, and may to no more")
    }

    /// Cancels a run that this one waits for. Boxed, since that one may wait for another.
    pub(super) fn cancel_called<'r>(&'r self, child: &'r str) -> BoxFuture<'r, Result<bool, StoreError>> {
        Box::pin(self.cancel(child))
    }

    /// Starts the workflow that is for failures of this one, or tells the URL that is. Gives what came of that; a break
    /// if the process is on its way out before the URL was told.
    pub(super) async fn tell_of_failure(
        &self,
        pending: &Pending,
        run: &Run,
        done: &[StepRecord],
    ) -> Result<ControlFlow<(), Option<StepRecord>>, StoreError> {
        let nothing = Ok(ControlFlow::Continue(None));
        let version = self.0.workflows.version(&pending.workflow, pending.version).await?;
        let Some(version) = version else { return nothing };
        let Some(name) = version.on_error.clone() else { return nothing };
        // Whoever bears the name by now has nothing to do with it.
        let Some(member) = self.0.workflows.owner(&pending.workflow, &version).await? else { return nothing };
        let (owner, failed) = pending.workflow.parts();
        let event = json!({ "failed_run": run.id, "workflow": failed, "error": run.error, "event": pending.event });
        let Ok(event) = to_raw_value(&event) else { return nothing };
        if let Some(step) = deploy::told(&name) {
            // It may take minutes. Nobody waits for it, and no process that comes meanwhile runs the step again.
            if let Some(failed) = done.last().filter(|step| step.status == StepStatus::Failed) {
                self.0.history.step_done(&run.id, done.len() - 1, failed).await?;
            }
            self.tell_caller(&run.id, Told::Ended(run.status, None));
            let books = self.0.workflows.work().broker.books(Spent::default());
            let who = Who { run: &run.id, workflow: &pending.workflow, member: &member, books, observer: None };
            let mut stage = self.0.stage.subscribe();
            let leave = async move { drop(stage.wait_for(|stage| *stage >= Stage::Stopping).await) };
            // Whoever comes next tells it.
            let Some(told) = self.0.workflows.work().insist(&who, &step, &event, leave).await else {
                return Ok(ControlFlow::Break(()));
            };
            if let (Some(tracer), Some(trace)) = (self.tracer(), &pending.trace) {
                trace::attempted(tracer, trace, &run.id, &told.record, None);
            }
            return Ok(ControlFlow::Continue(Some(told.record)));
        }
        let depth = pending.cause.depth() + 1;
        if depth > call::DEEP {
            return nothing;
        }
        let id = WorkflowId(format!("{owner}/{name}"));
        let Some(workflow) = self.0.workflows.get(&id).await? else {
            tracing::warn!(workflow = %pending.workflow, on_error = name, "there is no such workflow to be told of the failure");
            return nothing;
        };
        // Also while the process is being stopped: whoever comes next runs it.
        let cause = Cause::Error { run: run.id.clone(), depth };
        if !self.may_start(&run.id, pending).await? {
            tracing::warn!(workflow = %id, error = self.too_many(), "it could not be told of a failure");
            return nothing;
        }
        let parent = pending.trace.as_ref().map(|trace| trace.parent(trace.run));
        let origin = origin(&run.id, pending, parent);
        match self.keep(new_id(), &workflow, cause, event, origin).await {
            Err(EventError::Store(error)) => return Err(error),
            Err(error) => tracing::warn!(workflow = %id, %error, "it could not be told of a failure"),
            Ok(_) => {}
        }
        nothing
    }
}
