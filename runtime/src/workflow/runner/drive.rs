//! One run, from where it is to its end or its next wait.
//!
//! A step's result is on disk before the next step begins. Whatever is kept for the step that is next goes when
//! that step is done.

use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::broker::Spent;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::store::{Expect, StoreError};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::observe::Watch;
use super::{AT_ONCE, EventError, Origin, Runner, Stage, Told, callback, lock};
use crate::engine::{Pause, Tokens};
use crate::telemetry::Parent;
use crate::workflow::attempt::{Attempted, Failed, Turn, Who};
use crate::workflow::file::{Retry, RetryOn};
use crate::workflow::record::{
    Again, Cause, Details, Live, Pending, Run, RunError, RunStatus, StepRecord, StepStatus, Version, Waits, WorkflowId,
};
use crate::workflow::{call, deploy, trace};

/// How often it looks whether a run that is under way was cancelled, also by another process, and what it has logged.
const LOOK: Duration = Duration::from_millis(500);
/// So many runs at once show what they log while they run.
const SHOWN: usize = 50;
/// What a step that was suspended has among its exports: the request that had the run go on.
const RESUME_DATA: &str = "$resume_data";

/// Where a run goes on after a step.
pub(super) enum After {
    Next,
    /// Nowhere: the process is on its way out.
    Left,
    End(RunStatus, Option<RunError>, Option<String>),
    Wait(Waits, Option<RunError>),
}

impl Runner {
    /// Runs a run until it ends or waits. If the store fails it stays where it was, and is tried again.
    pub(super) async fn drive(&self, workflow: &WorkflowId, run: &str) {
        // Once at a time: who comes meanwhile has it looked at once more.
        let Some(driving) = Driving::begin(self, workflow, run) else { return };
        loop {
            if let Err(error) = self.try_drive(workflow, run).await {
                tracing::error!(%workflow, run, %error, "the run could not go on; it is tried again in 5 s");
                self.look_at_it_soon(workflow, run);
            }
            if *self.0.stage.borrow() == Stage::Stopped || !driving.once_more() {
                return;
            }
        }
    }

    /// Sees in 5 s what has become of a run, of which nobody knows for sure.
    pub(super) fn look_at_it_soon(&self, workflow: &WorkflowId, run: &str) {
        let soon = self.0.clock.now().saturating_add(SignedDuration::from_secs(5)).unwrap_or(Timestamp::MAX);
        lock(&self.0.timers).insert((soon, run.to_owned(), workflow.clone()));
    }

    /// Whether what a run waits for has come.
    pub(super) async fn is_over(&self, waits: &Waits) -> Result<bool, StoreError> {
        Ok(match waits {
            Waits::Until(at) | Waits::Callback { until: at, .. } => *at <= self.0.clock.now(),
            // The step finds out.
            Waits::Reconnect(_) => true,
            // In this order: it is the one until it is the other.
            Waits::Run(child) => {
                self.0.history.pending.get(child).await?.is_none() || self.0.history.ended(child).await?.is_some()
            }
        })
    }

    async fn try_drive(&self, id: &WorkflowId, run: &str) -> Result<(), StoreError> {
        let history = &self.0.history;
        let mut pending = loop {
            let Some((mut pending, revision)) = history.pending.get(run).await? else { return Ok(()) };
            if pending.instance != self.0.instances.id {
                return Ok(());
            }
            let Some(waits) = pending.waits.take() else { break pending };
            if !self.is_over(&waits).await? {
                self.wait_for(run, id, waits);
                return Ok(());
            }
            // On disk, so that from now on nobody ends a wait that is over.
            match history.pending.put(run, Expect::Revision(revision), &pending).await {
                Ok(_) => break pending,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        };
        if let Some(ended) = history.ended(run).await? {
            return history.forget_pending(run, ended.steps as usize);
        }
        // Of one that was accepted before spans were kept, the same that another process would make for it.
        if let (Some(tracer), None) = (self.tracer(), &pending.trace) {
            pending.trace = Some(tracer.begin(run, None));
        }
        let mut done = history.progress(run).await?;
        let ended = |status, error, exit| After::End(status, error, exit);
        let gone = |message: &str| {
            Some(RunError { step: None, kind: "host".to_owned(), message: message.to_owned(), trace: None })
        };
        let begun = pending.started.is_none().then(|| self.0.clock.now());
        pending.started = pending.started.or(begun);
        self.note_resumed(run, &mut pending, &mut done).await?;
        let noted = pending.at as usize;
        if noted != done.len() {
            pending.begin_step(done.len());
        }
        // A step was done, and the process went away before it was noted that the run waits after it.
        let pause = done.last().and_then(|step| step.pause.clone()).filter(|_| noted < done.len());
        if let Some(pause) = pause.filter(|_| !pending.cancelled) {
            pending.cuts = 0;
            return self.wait(run, id, pending, done, pause).await;
        }
        let (owner, _) = id.parts();
        let (Ok(member), Some(version)) =
            (owner.parse::<MemberId>(), self.0.workflows.version(id, pending.version).await?)
        else {
            let error = gone("what was deployed is not there any more; deploy the workflow again, and retry the run");
            return self.end(run, &pending, done, ended(RunStatus::Failed, error, None)).await;
        };
        if self.0.workflows.work().accounts.members().get(&member).await?.is_none() {
            let error = gone("its owner is no member any more; another one has to deploy the workflow");
            return self.end(run, &pending, done, ended(RunStatus::Failed, error, None)).await;
        }
        if pending.cancelled {
            return self.end(run, &pending, done, ended(RunStatus::Cancelled, None, None)).await;
        }
        let spent = done.iter().fold(pending.spent, |spent, step| spent.and(&step.requests));
        let books = self.0.workflows.work().broker.books(spent);
        let watch = Watch::new(self, run);
        let who = Who { run, workflow: id, member: &member, books, observer: Some(watch.clone()) };
        let mut looked = tokio::time::Instant::now();
        while let Some(step) = version.steps.get(done.len()) {
            let turn = Turn {
                attempts: pending.attempts + pending.cuts,
                again: pending.again.as_ref(),
                resumed: pending.resumed.as_ref().map(|resumed| &*resumed.request),
            };
            let attempted = tokio::select! {
                biased;
                attempted = self.0.workflows.work().attempt(&who, step, &pending.event, &done, turn) => attempted,
                () = self.beside(run, &step.name, begun, &watch) => {
                    return self.end(run, &pending, done, ended(RunStatus::Cancelled, None, None)).await;
                }
            };
            // Broken off with the process, and perhaps because of that.
            if *self.0.stage.borrow() == Stage::Stopped {
                return Ok(());
            }
            let retry = step.retry.as_ref();
            match self.after(run, &version, &mut pending, &mut done, attempted, retry).await? {
                After::Next if looked.elapsed() < LOOK => {}
                // Steps may be shorter than the time between two looks.
                After::Next => {
                    looked = tokio::time::Instant::now();
                    if let Some((Pending { cancelled: true, .. }, _)) = history.pending.get(run).await? {
                        return self.end(run, &pending, done, ended(RunStatus::Cancelled, None, None)).await;
                    }
                }
                // Of the step that was begun nothing is noted: whoever comes next begins it again.
                After::Left => return Ok(()),
                After::Wait(waits, error) => {
                    (pending.cuts, pending.error) = (0, error);
                    return self.wait(run, id, pending, done, waits).await;
                }
                end @ After::End(..) => return self.end(run, &pending, done, end).await,
            }
        }
        self.end(run, &pending, done, ended(RunStatus::Ok, None, None)).await
    }

    /// Notes what the run waits for, and has it go on when that has come.
    async fn wait(
        &self,
        run: &str,
        id: &WorkflowId,
        pending: Pending,
        done: Vec<StepRecord>,
        waits: Waits,
    ) -> Result<(), StoreError> {
        if self.0.history.waits(run, &pending, &waits).await? {
            return self.end(run, &pending, done, After::End(RunStatus::Cancelled, None, None)).await;
        }
        self.wait_for(run, id, waits.clone());
        // One that ended before it was waited for had nobody to tell.
        if let Waits::Run(_) = &waits
            && self.is_over(&waits).await?
            && lock(&self.0.callers).remove(run).is_some()
        {
            self.go_on(id, run.to_owned()).await;
        }
        Ok(())
    }

    /// Keeps what the step has logged where others see it, and ends when somebody has cancelled the run.
    /// `begun` is when its run began, if that is not on disk.
    async fn beside(&self, run: &str, step: &str, begun: Option<Timestamp>, watch: &Watch) {
        let mut live = Live { step: step.to_owned(), log: Vec::new() };
        tokio::time::sleep(LOOK).await;
        // Most runs are over by now, and nobody has seen that they were under way.
        if begun.is_some() {
            let begin = |pending: &mut Pending| pending.started = pending.started.or(begun);
            let _ = self.0.history.pending.update(run, begin).await;
        }
        loop {
            // With many under way, the store has more to do than to show what they say.
            let few = AT_ONCE - self.0.slots.available_permits() <= SHOWN;
            let more = if few { watch.lines(live.log.len()) } else { Vec::new() };
            if !more.is_empty() {
                live.log.extend(more);
                // Who looks on misses something; the run does not.
                let _ = self.0.history.live(run, &live);
            }
            if let Ok(Some((Pending { cancelled: true, .. }, _))) = self.0.history.pending.get(run).await {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What an attempt means for the run. A step that is done is on disk when this returns.
    async fn after(
        &self,
        run: &str,
        version: &Version,
        pending: &mut Pending,
        done: &mut Vec<StepRecord>,
        attempted: Attempted,
        retry: Option<&Retry>,
    ) -> Result<After, StoreError> {
        let Attempted { mut record, flow, mut failed, calls } = attempted;
        let is_call = calls.is_some();
        if let Some(asked) = calls {
            match self.called(run, pending, &asked).await? {
                Called::Returned(value) => record.return_value = Some(value),
                Called::Waits(child) => return Ok(After::Wait(Waits::Run(child), None)),
                Called::Left => return Ok(After::Left),
                Called::Failed(message, kind) => {
                    (record.status, failed) = (StepStatus::Failed, Some(Failed::of(kind)));
                    let step = Some(record.name.clone());
                    record.error = Some(RunError { step, kind: "step".to_owned(), message, trace: None });
                }
            }
        }
        if let (Some(tracer), Some(trace)) = (self.tracer(), &pending.trace) {
            let child = pending.child.as_deref().filter(|_| is_call);
            trace::attempted(tracer, trace, run, &record, child);
        }
        if let Some(failed) = failed {
            let error = record.error.clone();
            pending.spent = pending.spent.and(&record.requests);
            if let Some(account) = failed.reconnect {
                return Ok(After::Wait(Waits::Reconnect(account), error));
            }
            let attempts = pending.attempts + 1;
            if let Some(retry) = retry.filter(|retry| attempts < retry.attempts && wanted(retry, &failed)) {
                // The next attempt calls anew, if this one called a workflow.
                (pending.attempts, pending.child) = (attempts, None);
                let at = self.0.clock.now().saturating_add(wait(retry, attempts)).unwrap_or(Timestamp::MAX);
                return Ok(After::Wait(Waits::Until(at), error));
            }
            done.push(record);
            return Ok(After::End(RunStatus::Failed, error, None));
        }
        let step = u32::try_from(done.len()).unwrap_or(u32::MAX);
        let callback = |milliseconds, tokens: &Tokens| Waits::Callback {
            until: self.in_time(milliseconds),
            resume: callback::hash(&tokens.resume),
            cancel: callback::hash(&tokens.cancel),
            step,
        };
        if let (Some(Pause::Rerun(milliseconds, tokens, rerun)), None) = (&flow.pause, &flow.exit) {
            let times = pending.again.as_ref().map_or(0, |again| again.times) + 1;
            if times > rerun.most {
                let message = format!("it asked to be run again more often than the {} times that it set", rerun.most);
                let error = RunError { step: Some(record.name.clone()), kind: "limit".into(), message, trace: None };
                (record.status, record.error) = (StepStatus::Failed, Some(error.clone()));
                done.push(record);
                return Ok(After::End(RunStatus::Failed, Some(error), None));
            }
            pending.spent = pending.spent.and(&record.requests);
            pending.begin_step(done.len());
            let value = RawValue::from_string(rerun.value.as_str().to_owned()).unwrap_or_else(|_| null());
            pending.again = Some(Again { times, value });
            return Ok(After::Wait(callback(*milliseconds, tokens), None));
        }
        pending.begin_step(done.len() + 1);
        pending.cuts = 0;
        let last = done.len() + 1 == version.steps.len();
        if let (Some(Pause::Suspend(..)), false) = (&flow.pause, last) {
            // What later steps read if nobody calls.
            record.exports.insert(RESUME_DATA.to_owned(), null());
        }
        // One that does not wait was given when the step asked.
        if let Some(response) = flow.response
            && lock(&self.0.told).contains_key(run)
        {
            lock(&self.0.responses).entry(run.to_owned()).or_insert(response);
        }
        if let Some(exit) = flow.exit {
            done.push(record);
            return Ok(After::End(RunStatus::Ok, None, Some(exit)));
        }
        if last {
            done.push(record);
            return Ok(After::Next);
        }
        record.pause = match &flow.pause {
            Some(Pause::Delay(milliseconds)) if *milliseconds > 0 => Some(Waits::Until(self.in_time(*milliseconds))),
            Some(Pause::Suspend(milliseconds, tokens)) => Some(callback(*milliseconds, tokens)),
            _ => None,
        };
        let pause = record.pause.clone();
        done.push(record);
        self.0.history.step_done(run, done.len() - 1, &done[done.len() - 1]).await?;
        Ok(pause.map_or(After::Next, |pause| After::Wait(pause, None)))
    }

    /// Puts the request that ended a step's wait among what that step left.
    async fn note_resumed(&self, run: &str, pending: &mut Pending, done: &mut [StepRecord]) -> Result<(), StoreError> {
        let Some(resumed) = &pending.resumed else { return Ok(()) };
        // If it is of the step that is next, that one is run again, and finds it in its context.
        let index = resumed.step as usize;
        if resumed.step >= pending.at {
            return Ok(());
        }
        let Some(step) = done.get_mut(index) else { return Ok(()) };
        step.exports.insert(RESUME_DATA.to_owned(), resumed.request.clone());
        self.0.history.step_done(run, index, step).await?;
        pending.resumed = None;
        Ok(())
    }

    /// So many milliseconds from now.
    fn in_time(&self, milliseconds: u64) -> Timestamp {
        let wait = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
        self.0.clock.now().saturating_add(wait).unwrap_or(Timestamp::MAX)
    }

    /// Starts the workflow that a step calls, unless it did already, and says how far it is.
    async fn called(&self, run: &str, pending: &mut Pending, asked: &call::Asked) -> Result<Called, StoreError> {
        let (owner, _) = pending.workflow.parts();
        let id = WorkflowId(format!("{owner}/{}", asked.name));
        let child = match &pending.child {
            Some(child) => child.clone(),
            None => {
                if !self.may_start(run, pending).await? {
                    return Ok(Called::Failed(self.too_many(), None));
                }
                // On disk before it is started, so that whoever begins the step again finds it.
                let child = ulid::Ulid::generate().to_string();
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
    fn cancel_called<'r>(&'r self, child: &'r str) -> BoxFuture<'r, Result<bool, StoreError>> {
        Box::pin(self.cancel(child))
    }

    pub(super) async fn end(
        &self,
        run: &str,
        pending: &Pending,
        mut done: Vec<StepRecord>,
        after: After,
    ) -> Result<(), StoreError> {
        let After::End(status, error, exit) = after else { return Ok(()) };
        let ended = Run {
            id: run.to_owned(),
            workflow: pending.workflow.clone(),
            version: pending.version,
            cause: pending.cause.clone(),
            status,
            accepted: pending.accepted,
            started: pending.started,
            ended: Some(self.0.clock.now()),
            steps: u32::try_from(done.len()).unwrap_or(u32::MAX),
            bytes: 0,
            error: error.clone(),
            waits: None,
        };
        // Before this run has ended, so that a cut in between does not leave the other one going: nobody waits for it.
        if status == RunStatus::Cancelled
            && let Some(child) = &pending.child
        {
            self.cancel_called(child).await?;
        }
        // Before the run has ended: a cut in between starts it twice, and never not at all.
        let returned = done.last().and_then(|step| step.return_value.clone());
        if status == RunStatus::Failed {
            done.extend(self.tell_of_failure(pending, &ended).await?);
        }
        let details = Details { event: pending.event.clone(), steps: done, exit };
        self.0.history.end(&ended, &details).await?;
        if let (Some(tracer), Some(trace)) = (self.tracer(), &pending.trace) {
            trace::ended(tracer, trace, &ended);
        }
        metrics::counter!("keyhole_runs_ended_total", "status" => status.word()).increment(1);
        let took = ended.ended.unwrap_or(ended.accepted).duration_since(ended.accepted);
        metrics::histogram!("keyhole_run_seconds").record(took.as_secs_f64());
        // What waits for it in another process finds out by looking.
        if let Cause::Workflow { run: caller, .. } = &ended.cause {
            let waiting = lock(&self.0.callers).remove(caller);
            if let Some((workflow, _)) = waiting {
                self.go_on(&workflow, caller.clone()).await;
            }
        }
        let response = lock(&self.0.responses).remove(run);
        if let Some(tell) = lock(&self.0.told).remove(run) {
            let _ = tell.send(match response.filter(|_| status == RunStatus::Ok) {
                Some(response) => Told::Response(response),
                None => Told::Ended(status, returned.filter(|_| status == RunStatus::Ok)),
            });
        }
        Ok(())
    }

    /// Starts the workflow that is for failures of this one, or tells the URL that is. Gives what came of that.
    async fn tell_of_failure(&self, pending: &Pending, run: &Run) -> Result<Option<StepRecord>, StoreError> {
        let version = self.0.workflows.version(&pending.workflow, pending.version).await?;
        let Some(name) = version.and_then(|version| version.on_error.clone()) else { return Ok(None) };
        let (owner, failed) = pending.workflow.parts();
        let event = json!({ "failed_run": run.id, "workflow": failed, "error": run.error, "event": pending.event });
        let Ok(event) = to_raw_value(&event) else { return Ok(None) };
        if let (Some(step), Ok(member)) = (deploy::told(&name), owner.parse::<MemberId>()) {
            let books = self.0.workflows.work().broker.books(Spent::default());
            let who = Who { run: &run.id, workflow: &pending.workflow, member: &member, books, observer: None };
            let told = self.0.workflows.work().attempt(&who, &step, &event, &[], Turn::default()).await;
            if let (Some(tracer), Some(trace)) = (self.tracer(), &pending.trace) {
                trace::attempted(tracer, trace, &run.id, &told.record, None);
            }
            return Ok(Some(told.record));
        }
        let depth = pending.cause.depth() + 1;
        if depth > call::DEEP {
            return Ok(None);
        }
        let id = WorkflowId(format!("{owner}/{name}"));
        let Some(workflow) = self.0.workflows.get(&id).await? else {
            tracing::warn!(workflow = %pending.workflow, on_error = name, "there is no such workflow to be told of the failure");
            return Ok(None);
        };
        // Also while the process is being stopped: whoever comes next runs it.
        let cause = Cause::Error { run: run.id.clone(), depth };
        if !self.may_start(&run.id, pending).await? {
            tracing::warn!(workflow = %id, error = self.too_many(), "it could not be told of a failure");
            return Ok(None);
        }
        let parent = pending.trace.as_ref().map(|trace| trace.parent(trace.run));
        let origin = origin(&run.id, pending, parent);
        match self.keep(ulid::Ulid::generate().to_string(), &workflow, cause, event, origin).await {
            Err(EventError::Store(error)) => return Err(error),
            Err(error) => tracing::warn!(workflow = %id, %error, "it could not be told of a failure"),
            Ok(_) => {}
        }
        Ok(None)
    }
}

/// That a run is being driven, until this is dropped.
struct Driving<'d> {
    runner: &'d Runner,
    workflow: &'d WorkflowId,
    run: &'d str,
}

impl<'d> Driving<'d> {
    /// None if somebody drives it already, who then looks at it once more.
    fn begin(runner: &'d Runner, workflow: &'d WorkflowId, run: &'d str) -> Option<Self> {
        match lock(&runner.0.driven).entry(run.to_owned()) {
            Entry::Occupied(mut again) => {
                again.insert(true);
                None
            }
            Entry::Vacant(free) => {
                free.insert(false);
                Some(Self { runner, workflow, run })
            }
        }
    }

    /// Whether somebody came meanwhile. If nobody did, it is not driven any more.
    fn once_more(&self) -> bool {
        let mut driven = lock(&self.runner.0.driven);
        match driven.get_mut(self.run) {
            Some(again) if *again => {
                *again = false;
                true
            }
            _ => {
                driven.remove(self.run);
                false
            }
        }
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        // There only if it was broken off.
        if lock(&self.runner.0.driven).remove(self.run).is_some() {
            self.runner.look_at_it_soon(self.workflow, self.run);
        }
    }
}

/// How far the workflow is that a step called.
enum Called {
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

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// Whether the setting wants a failure tried again.
fn wanted(retry: &Retry, failed: &Failed) -> bool {
    match (&retry.on, failed.kind) {
        // A limit, an input, a fault in the code: it would fail again.
        (_, None) => false,
        (None, Some(_)) => failed.may_pass,
        (Some(on), Some(kind)) => on.contains(&kind) || (kind == RetryOn::Host && failed.may_pass),
    }
}

/// How long to wait after `attempts` that failed: twice as long each time, plus or minus a quarter.
fn wait(retry: &Retry, attempts: u32) -> SignedDuration {
    let doubled = retry.wait.saturating_mul(1 << (attempts - 1).min(20)).min(retry.max_wait);
    let mut chance = [0; 4];
    // Without random numbers there is no spread, and nothing else changes.
    let _ = getrandom::fill(&mut chance);
    let spread = 0.75 + 0.5 * f64::from(u32::from_le_bytes(chance)) / f64::from(u32::MAX);
    SignedDuration::try_from(doubled.mul_f64(spread)).unwrap_or(SignedDuration::MAX)
}
