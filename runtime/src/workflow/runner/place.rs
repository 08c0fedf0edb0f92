//! What somebody has for as long as they need it: a place among the runs under way, one in a line, a run to drive.

use std::collections::hash_map::Entry;

use tokio::sync::OwnedSemaphorePermit;

use super::{EventError, Runner, lock};
use crate::workflow::record::{Workflow, WorkflowId};

/// A run's place among its workflow's, and among all, until this is dropped.
pub(super) struct Place<'d> {
    pub runner: &'d Runner,
    pub workflow: &'d WorkflowId,
    pub _slot: OwnedSemaphorePermit,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.runner.0.queue).ended(self.workflow);
        self.runner.0.wake.notify_one();
    }
}

/// A place in its workflow's line for an event on its way to the disk, until this is dropped.
pub(super) struct Reserved<'d> {
    runner: &'d Runner,
    workflow: &'d Workflow,
    id: &'d WorkflowId,
}

impl<'d> Reserved<'d> {
    pub fn new(runner: &'d Runner, workflow: &'d Workflow, id: &'d WorkflowId) -> Result<Self, EventError> {
        let mut queue = lock(&runner.0.queue);
        let held = match queue.is_held(id) {
            true => lock(&runner.0.held).values().filter(|(held, _)| held == id).count(),
            false => 0,
        };
        let full = |waiting| EventError::Full { workflow: id.clone(), waiting };
        queue.reserve(id, &workflow.limits, held).map_err(full)?;
        Ok(Self { runner, workflow, id })
    }

    /// The event is on disk, and its run takes the place.
    pub fn taken_by(self, run: String) {
        let mut queue = lock(&self.runner.0.queue);
        queue.limits(self.id, &self.workflow.limits);
        queue.push(self.id, run, false);
        queue.give_back(self.id);
        drop(queue);
        self.runner.0.wake.notify_one();
        std::mem::forget(self);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        lock(&self.runner.0.queue).give_back(self.id);
    }
}

/// That a run is being driven, until this is dropped.
pub(super) struct Driving<'d> {
    runner: &'d Runner,
    workflow: &'d WorkflowId,
    run: &'d str,
}

impl<'d> Driving<'d> {
    /// None if somebody drives it already, who then looks at it once more.
    pub fn begin(runner: &'d Runner, workflow: &'d WorkflowId, run: &'d str) -> Option<Self> {
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
    pub fn once_more(&self) -> bool {
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
