//! Calls from outside that have a run go on, or end: `suspend` and `rerun` of wit/step.wit.
//!
//! Whoever knows a run's token may do either, once, while the run waits for it. The store has its hash alone.

use keyhole_host_api::store::{Expect, StoreError};
use serde_json::value::RawValue;

use super::{Runner, to_the_end};
use crate::workflow::record::{Pending, Resumed, Waits};

/// What the store keeps of a token.
pub(super) fn hash(token: &str) -> String {
    blake3::hash(token.as_bytes()).to_hex().to_string()
}

/// What a caller wants.
#[derive(Clone, Debug)]
pub enum Call {
    /// The run goes on. Its steps see the request.
    Resume(Box<RawValue>),
    /// The run ends.
    Cancel,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// What was wanted. It is on disk.
    Done,
    /// Nothing waits for this token. While the step that has handed it out runs, nobody knows it yet: so a run that is
    /// under way is told from none at all by nobody.
    Unknown,
}

/// What a call with this token would do to a run.
fn fits(pending: &Pending, token: &str, cancels: bool) -> Called {
    match &pending.waits {
        Some(Waits::Callback { resume, cancel, .. })
            if !pending.cancelled && *(if cancels { cancel } else { resume }) == hash(token) =>
        {
            Called::Done
        }
        _ => Called::Unknown,
    }
}

impl Runner {
    /// Whether a run waits for this token, to go on or to be cancelled.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn waits_for(&self, run: &str, token: &str, cancels: bool) -> Result<Called, StoreError> {
        let pending = self.0.history.pending.get(run).await?;
        Ok(pending.map_or(Called::Unknown, |(pending, _)| fits(&pending, token, cancels)))
    }

    /// Has a run go on, or end, that waits for this token.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn call_back(&self, run: &str, token: &str, call: Call) -> Result<Called, StoreError> {
        let (runner, run, token) = (self.clone(), run.to_owned(), token.to_owned());
        to_the_end(async move { runner.call_back_now(&run, &token, &call).await }).await
    }

    async fn call_back_now(&self, run: &str, token: &str, call: &Call) -> Result<Called, StoreError> {
        let history = &self.0.history;
        loop {
            let Some((pending, revision)) = history.pending.get(run).await? else { return Ok(Called::Unknown) };
            let called = fits(&pending, token, matches!(call, Call::Cancel));
            let (Called::Done, Some(Waits::Callback { step, .. })) = (called, &pending.waits) else {
                return Ok(called);
            };
            let step = *step;
            // It is this process's to run from now on. Another one that has it on its list finds that out.
            let mut changed = Pending { instance: self.0.instances.id.clone(), waits: None, ..pending };
            match call {
                Call::Resume(request) => changed.resumed = Some(Resumed { step, request: request.clone() }),
                Call::Cancel => changed.cancelled = true,
            }
            match history.pending.put(run, Expect::Revision(revision), &changed).await {
                Ok(_) => {}
                // It went on by itself, or somebody else called.
                Err(StoreError::Conflict { .. }) => continue,
                Err(error) => {
                    self.look_at_it_soon(&changed.workflow, run);
                    return Err(error);
                }
            }
            self.forget_wait(run);
            match call {
                Call::Resume(_) => self.go_on(&changed.workflow, run.to_owned()).await,
                Call::Cancel => self.drive(&changed.workflow, run).await,
            }
            return Ok(Called::Done);
        }
    }
}
