//! Looking around: at the clock's workflows, at accounts that were reconnected, at runs that others wait for, and at
//! processes that are gone, whose runs this one takes over.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::accounts::{AccountId, UseError};
use keyhole_host_api::members::MemberId;
use keyhole_host_api::store::{Expect, StoreError};
use serde_json::json;
use serde_json::value::to_raw_value;

use super::{EventError, LOOK, Origin, Runner, Stage, lock};
use crate::workflow::instance::BEAT;
use crate::workflow::record::{Cause, Pending, Waits, WorkflowId};
use crate::workflow::schedule::Schedule;

/// Runs of one workflow that are asked for, each time, whether they still wait for their account.
const ENDED_ELSEWHERE: usize = 16;

impl Runner {
    /// Looks around: at the clock's workflows, at accounts that were reconnected, at processes that are gone.
    /// While the process is being stopped it only says that it is there, so that nobody takes over what still runs.
    pub(super) async fn look(self, with_clock: bool) {
        let mut schedule = Schedule::default();
        let mut beat = tokio::time::Instant::now();
        while *self.0.stage.borrow() < Stage::Stopped {
            let takes_more = !self.is_stopping();
            if takes_more
                && with_clock
                && let Err(error) = self.clock_look(&mut schedule).await
            {
                tracing::warn!(%error, "the clock's workflows could not be looked at");
            }
            if takes_more {
                self.held_look().await;
            }
            let due = beat.elapsed() >= BEAT;
            if due {
                beat = tokio::time::Instant::now();
            }
            if let Err(error) = self.process_look(due).await {
                tracing::warn!(%error, "other processes could not be looked at");
            }
            let next = self.0.clock.now().saturating_add(SignedDuration::try_from(LOOK).unwrap_or_default());
            self.0.clock.until(next.unwrap_or(Timestamp::MAX)).await;
        }
    }

    async fn clock_look(&self, schedule: &mut Schedule) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        schedule.refresh(&self.0.workflows, &self.0.store, now).await?;
        for (workflow, at) in schedule.due(now) {
            let event = to_raw_value(&json!({ "scheduled": at, "workflow": workflow.name }));
            let Ok(event) = event else { continue };
            // The same for whichever process: one event of one time is one run.
            let run = Schedule::run_id(&workflow.id(), at);
            let known = self.0.history.ended(&run).await?.is_some();
            match if known {
                Ok(None)
            } else {
                self.take(run, &workflow, Cause::Cron(at), event, Origin::default()).await.map(Some)
            } {
                Ok(_) | Err(EventError::Store(StoreError::Conflict { .. })) => {}
                Err(EventError::Store(error)) => return Err(error),
                // Whoever comes next finds it due.
                Err(EventError::Stopping) => return Ok(()),
                Err(error) => tracing::warn!(workflow = %workflow.id(), %error, "the clock's event was not accepted"),
            }
            schedule.fired(&self.0.store, &workflow, at, now)?;
        }
        Ok(())
    }

    /// Lets what waits for an account go on when it was reconnected, in the order of the events: first what had begun,
    /// then what was queued behind it.
    async fn held_look(&self) {
        let mut held: Vec<_> = lock(&self.0.held).iter().map(|(run, of)| (run.clone(), of.clone())).collect();
        held.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let mut asked = HashMap::new();
        // Of each workflow, the first ones that stay held: others may have been ended by somebody in another process.
        let mut first: HashMap<WorkflowId, usize> = HashMap::new();
        for (run, (workflow, account)) in held {
            let is_over = if self.is_dead(&account, &workflow, &mut asked).await {
                let looks = first.entry(workflow.clone()).or_default();
                *looks += 1;
                *looks <= ENDED_ELSEWHERE && matches!(self.0.history.pending.get(&run).await, Ok(None))
            } else {
                true
            };
            if is_over && lock(&self.0.held).remove(&run).is_some() {
                self.go_on(&workflow, run).await;
            }
        }
        // Also when the last one that was held has been cancelled; what is next finds out for itself.
        let mut queue = lock(&self.0.queue);
        for id in queue.held() {
            if !lock(&self.0.held).values().any(|(held, _)| *held == id) {
                queue.hold(&id, false);
                self.0.wake.notify_one();
            }
        }
    }

    /// Whether the owner of the workflow can't use the account before it is reconnected.
    async fn is_dead(
        &self,
        account: &AccountId,
        workflow: &WorkflowId,
        asked: &mut HashMap<(AccountId, String), bool>,
    ) -> bool {
        let key = (account.clone(), workflow.parts().0.to_owned());
        if let Some(dead) = asked.get(&key) {
            return *dead;
        }
        let dead = match key.1.parse::<MemberId>() {
            Ok(member) => {
                let usable = self.0.workflows.work().accounts.usable(account, &member).await;
                // Any other answer is the step's to get.
                matches!(usable, Err(UseError::ReconnectNeeded { .. } | UseError::Store(_)))
            }
            Err(_) => true,
        };
        asked.insert(key, dead);
        dead
    }

    /// Lets what waits for a run go on that ended in another process, or before this one looked.
    pub(super) async fn callers_look(&self) -> Result<(), StoreError> {
        let callers: Vec<_> = lock(&self.0.callers).iter().map(|(run, of)| (run.clone(), of.clone())).collect();
        let mut failed = None;
        for (run, (workflow, child)) in callers {
            match self.is_over(&Waits::Run(child)).await {
                Ok(true) if lock(&self.0.callers).remove(&run).is_some() => self.go_on(&workflow, run).await,
                Ok(_) => {}
                // The others may be readable.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Forgets those who waited for an answer and went away.
    pub(super) fn forget_callers(&self) {
        let mut told = lock(&self.0.told);
        told.retain(|_, tell| !tell.is_closed());
        lock(&self.0.responses).retain(|run, _| told.contains_key(run));
    }

    async fn process_look(&self, beat: bool) -> Result<(), StoreError> {
        if beat {
            self.0.instances.beat().await?;
        }
        if self.is_stopping() {
            return Ok(());
        }
        let (_, gone) = self.0.instances.all().await?;
        if !gone.is_empty() {
            self.adopt().await?;
        }
        Ok(())
    }

    /// Takes over the runs of processes that are gone.
    pub(super) async fn adopt(&self) -> Result<(), StoreError> {
        let (_, gone) = self.0.instances.all().await?;
        let mut after: Option<String> = None;
        let mut failed = None;
        loop {
            let page = self.0.history.pending_after(after.as_deref()).await?;
            let Some((last, ..)) = page.last() else { break };
            after = Some(last.clone());
            // After the page: whoever has a run in it said before that it is there.
            let (there, cut) = self.0.instances.all().await?;
            let orphans = page.into_iter().filter(|(_, pending, _)| !there.contains(&pending.instance));
            let adopted = orphans.map(|(run, pending, revision)| {
                let cut = cut.get(&pending.instance).and_then(Option::as_ref).map(|cut| cut.contains(&run));
                self.adopt_one(run, pending, revision, cut)
            });
            // To the end, whatever one of them says: the others are this process's by then.
            failed = futures_util::future::join_all(adopted).await.into_iter().find_map(Result::err).or(failed);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        for instance in gone.keys() {
            self.0.instances.forget(instance).await?;
        }
        Ok(())
    }

    /// Takes over one run. `cut` says whether a step of it was broken off, if the process before could say so. Of one
    /// that was killed nobody knows: a step that began a moment before is on no disk, so that any may have been.
    async fn adopt_one(
        &self,
        run: String,
        mut pending: Pending,
        mut revision: u64,
        cut: Option<bool>,
    ) -> Result<(), StoreError> {
        if let Some(ended) = self.0.history.ended(&run).await? {
            return self.0.history.forget_pending(&run, ended.steps as usize);
        }
        let begun = pending.started.is_some() || cut == Some(true) || self.0.history.has_progress(&run).await?;
        let gone = std::mem::replace(&mut pending.instance, self.0.instances.id.clone());
        loop {
            pending.cuts += u32::from(pending.waits.is_none() && !pending.left && cut != Some(false));
            pending.left = false;
            match self.0.history.pending.put(&run, Expect::Revision(revision), &pending).await {
                Ok(_) => break,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => {
                    self.look_at_it_soon(&pending.workflow, &run);
                    return Err(error);
                }
            }
            // Another process was first, or somebody has cancelled it meanwhile.
            match self.0.history.pending.get(&run).await? {
                Some((there, now)) if there.instance == gone => {
                    (pending, revision) = (Pending { instance: self.0.instances.id.clone(), ..there }, now);
                }
                _ => return Ok(()),
            }
        }
        match pending.waits {
            Some(waits) => self.wait_for(&run, &pending.workflow, waits),
            None => self.line_up(&pending.workflow, run, begun).await,
        }
        Ok(())
    }
}
