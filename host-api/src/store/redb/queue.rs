//! What waits for the writer, in the order in which it was handed over.
//!
//! It wakes the writer when something comes that somebody waits for, and for the first of what nobody waits
//! for; not for each of the rest: waking a thread costs more than handing a record over.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::writer::Job;

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// Whether somebody waits for one of them.
    awaited: bool,
    closed: bool,
}

/// The writer has ended: nothing is taken any more.
pub(super) struct Closed;

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, job: Job) -> Result<(), Closed> {
        let mut state = self.lock();
        if state.closed {
            return Err(Closed);
        }
        let wakes = state.jobs.is_empty() || (job.is_awaited() && !state.awaited);
        state.awaited |= job.is_awaited();
        state.jobs.push(job);
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// All that is queued: at once if somebody waits for it, else `gather` after the first of it came. Nothing
    /// if nothing comes within `idle`.
    pub fn take(&self, idle: Duration, gather: Duration) -> Vec<Job> {
        let wait = |state, at_most, condition: fn(&mut State) -> bool| {
            let (state, _) =
                self.wake.wait_timeout_while(state, at_most, condition).unwrap_or_else(PoisonError::into_inner);
            state
        };
        let mut state = wait(self.lock(), idle, |state| state.jobs.is_empty());
        if !state.jobs.is_empty() {
            state = wait(state, gather, |state| !state.awaited);
        }
        state.awaited = false;
        std::mem::take(&mut state.jobs)
    }

    /// Takes nothing more. What is queued is dropped, and whoever waits for it told so.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
    }
}
