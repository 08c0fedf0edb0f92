//! One run, from where it is to its end or its next wait.
//!
//! A step's result is on disk before the next step begins. Whatever is kept for the step that is next goes when
//! that step is done.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::broker::Session;
use keyhole_host_api::store::{Expect, StoreError};
use serde_json::value::RawValue;

use super::lead::Called;
use super::observe::Watch;
use super::place::Driving;
use super::{AT_ONCE, Runner, Stage, Told, callback, lock};
use crate::engine::{Pause, Tokens};
use crate::workflow::attempt::{Attempted, Failed, Turn, Who};
use crate::workflow::file::{Retry, RetryOn};
use crate::workflow::record::tried;
use crate::workflow::record::{
    Again, Cause, Details, Live, Pending, Run, RunError, RunStatus, StepRecord, StepStatus, Tried, Version, Waits,
    WorkflowId,
};
use crate::workflow::{attempt, trace};

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
            // The others were of a step that is done.
            pending.cuts = pending.cuts.min(1);
        }
        // A step was done, and the process went away before it was noted that the run waits after it.
        let pause = done.last().and_then(|step| step.pause.clone()).filter(|_| noted < done.len());
        if let Some(pause) = pause.filter(|_| !pending.cancelled) {
            pending.cuts = 0;
            return self.wait(run, id, pending, done, pause).await;
        }
        // Its process went away while it told others of the failure.
        if let Some(failed) = done.last().filter(|step| step.status == StepStatus::Failed) {
            let error = failed.error.clone();
            return self.end(run, &pending, done, ended(RunStatus::Failed, error, None)).await;
        }
        if pending.cancelled {
            return self.end(run, &pending, done, ended(RunStatus::Cancelled, None, None)).await;
        }
        let Some(version) = self.0.workflows.version(id, pending.version).await? else {
            let error = gone("what was deployed is not there any more; deploy the workflow again, and retry the run");
            return self.end(run, &pending, done, ended(RunStatus::Failed, error, None)).await;
        };
        let Some(member) = self.0.workflows.owner(id, &version).await? else {
            let error = gone("its owner is no member any more; another one has to deploy the workflow");
            return self.end(run, &pending, done, ended(RunStatus::Failed, error, None)).await;
        };
        let spent = done.iter().fold(pending.spent, |spent, step| spent.and(&step.requests));
        let books = self.0.workflows.work().broker.books(spent);
        let watch = Watch::new(self, run);
        let who = Who { run, workflow: id, member: &member, books, observer: Some(watch.clone()) };
        let mut looked = tokio::time::Instant::now();
        while let Some(step) = version.steps.get(done.len()) {
            let started = Timestamp::now();
            let turn = Turn {
                attempts: pending.attempts + pending.cuts,
                again: pending.again.as_ref(),
                resumed: pending.resumed.as_ref().map(|resumed| &*resumed.request),
            };
            let live = Live { step: step.name.clone(), attempt: turn.attempts + 1, started, log: Vec::new() };
            let mut attempted = tokio::select! {
                biased;
                attempted = self.0.workflows.work().attempt(&who, step, &pending.event, &done, turn) => attempted,
                cut = self.beside(run, live, begun, &watch) => {
                    done.push(cut.record(std::mem::take(&mut pending.tried)).await);
                    return self.end(run, &pending, done, ended(RunStatus::Cancelled, None, None)).await;
                }
            };
            attempted.record.started = started;
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

    /// Keeps what the step has logged where others see it, and ends when somebody has cancelled the run, with what the
    /// step did until then. `begun` is when its run began, if that is not on disk.
    async fn beside(&self, run: &str, mut live: Live, begun: Option<Timestamp>, watch: &Watch) -> Cut {
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
                live.log.extend(watch.lines(live.log.len()));
                return Cut { live, session: watch.session() };
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
        record.earlier = std::mem::take(&mut pending.tried);
        if let Some(failed) = failed {
            let error = record.error.clone();
            pending.spent = pending.spent.and(&record.requests);
            if let Some(account) = failed.reconnect {
                pending.tried = tried::and(record);
                return Ok(After::Wait(Waits::Reconnect(account), error));
            }
            let attempts = pending.attempts + 1;
            if let Some(retry) = retry.filter(|retry| attempts < retry.attempts && wanted(retry, &failed)) {
                // The next attempt calls anew, if this one called a workflow.
                (pending.attempts, pending.child) = (attempts, None);
                pending.tried = tried::and(record);
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
            pending.tried = tried::and(record);
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

    pub(super) async fn end(
        &self,
        run: &str,
        pending: &Pending,
        mut done: Vec<StepRecord>,
        after: After,
    ) -> Result<(), StoreError> {
        let After::End(status, error, exit) = after else { return Ok(()) };
        // While it waited to be tried again.
        if let (RunStatus::Cancelled, Some(last)) = (status, pending.tried.last()) {
            let earlier = pending.tried.clone();
            let record = StepRecord::begun(&last.step, last.attempt, last.started);
            done.push(StepRecord { status: StepStatus::Cancelled, earlier, ..record });
        }
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
            let ControlFlow::Continue(told) = self.tell_of_failure(pending, &ended, &done).await? else {
                return Ok(());
            };
            done.extend(told);
        }
        let details = Details { event: pending.event.clone(), steps: done, tried: Vec::new(), exit };
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
        self.tell_caller(run, Told::Ended(status, returned.filter(|_| status == RunStatus::Ok)));
        Ok(())
    }

    /// Tells whoever waits for the run how it ended, or what a step of it wants them told if it ended well.
    pub(super) fn tell_caller(&self, run: &str, ended: Told) {
        let response = lock(&self.0.responses).remove(run);
        if let Some(tell) = lock(&self.0.told).remove(run) {
            let _ = tell.send(match (response, ended) {
                (Some(response), Told::Ended(RunStatus::Ok, _)) => Told::Response(response),
                (_, ended) => ended,
            });
        }
    }
}

/// A step of a run that somebody ended while it was under way.
struct Cut {
    live: Live,
    session: Option<Arc<Session>>,
}

impl Cut {
    /// What is kept of it, with the attempts before it. Its requests end with it.
    async fn record(self, earlier: Vec<Tried>) -> StepRecord {
        let Live { step, attempt, started, log } = self.live;
        let requests = match &self.session {
            Some(session) => attempt::requests(session).await,
            None => Vec::new(),
        };
        let took = Timestamp::now().duration_since(started).as_millis();
        StepRecord {
            status: StepStatus::Cancelled,
            log,
            requests,
            duration_ms: u64::try_from(took).unwrap_or_default(),
            earlier,
            ..StepRecord::begun(&step, attempt, started)
        }
    }
}

pub(super) fn null() -> Box<RawValue> {
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

/// How long to wait after `attempts` that failed: twice as long each time, plus or minus a quarter, and never longer
/// than the longest.
fn wait(retry: &Retry, attempts: u32) -> SignedDuration {
    let doubled = retry.wait.saturating_mul(1 << (attempts - 1).min(20)).min(retry.max_wait);
    let mut chance = [0; 4];
    // Without random numbers there is no spread, and nothing else changes.
    let _ = getrandom::fill(&mut chance);
    let spread = 0.75 + 0.5 * f64::from(u32::from_le_bytes(chance)) / f64::from(u32::MAX);
    SignedDuration::try_from(doubled.mul_f64(spread).min(retry.max_wait)).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: Option<RetryOn>, may_pass: bool) -> Failed {
        Failed { kind, may_pass, reconnect: None }
    }

    #[test]
    fn what_is_tried_again_is_what_the_workflow_names_and_without_that_what_may_pass() {
        let all = [RetryOn::Step, RetryOn::Upstream, RetryOn::Access, RetryOn::Host];
        let any = Retry::default();
        for kind in all {
            assert!(wanted(&any, &failed(Some(kind), true)) && !wanted(&any, &failed(Some(kind), false)), "{kind:?}");
            for named in all {
                let retry = Retry { on: Some(vec![named]), ..Retry::default() };
                assert_eq!(wanted(&retry, &failed(Some(kind), false)), named == kind, "{named:?} for {kind:?}");
            }
        }
        // The host's own trouble passes, whatever is named.
        let retry = Retry { on: Some(vec![RetryOn::Step]), ..Retry::default() };
        assert!(wanted(&retry, &failed(Some(RetryOn::Host), true)));
        // A limit, whatever is named.
        for on in [None, Some(all.to_vec())] {
            assert!(!wanted(&Retry { on, ..Retry::default() }, &failed(None, true)));
        }
    }

    #[test]
    fn each_wait_is_twice_the_one_before_give_or_take_a_quarter_and_never_longer_than_the_longest() {
        let retry = Retry { wait: Duration::from_secs(8), max_wait: Duration::from_secs(100), ..Retry::default() };
        for (attempts, least, most) in [(1, 6, 10), (2, 12, 20), (3, 24, 40), (4, 48, 80), (5, 75, 100), (50, 75, 100)]
        {
            let waits: Vec<_> = (0..500).map(|_| wait(&retry, attempts)).collect();
            let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(*shortest >= SignedDuration::from_secs(least), "{attempts}: {shortest}");
            assert!(*longest <= SignedDuration::from_secs(most), "{attempts}: {longest}");
            // By chance, and not all alike, where the longest wait does not cut it off.
            assert!(shortest < longest, "{attempts}: all {longest}");
        }
    }
}
