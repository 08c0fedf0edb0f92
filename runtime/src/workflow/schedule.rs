//! When the clock's workflows are due. What came due while no process was there is made up for once, not once
//! for each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keyhole_host_api::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::deploy::Workflows;
use super::record::{Workflow, WorkflowId};

/// Where it is kept when each was last due.
const FIRED: &str = "cron/";

#[derive(Serialize, Deserialize)]
struct Fired {
    v: u32,
    at: Timestamp,
}

#[derive(Default)]
pub(super) struct Schedule {
    /// What [`Workflows::changed`] said when this was read.
    read_at: Option<Option<u64>>,
    next: BTreeMap<WorkflowId, (Timestamp, Workflow)>,
}

impl Schedule {
    /// Reads the workflows anew if any was changed.
    pub async fn refresh(
        &mut self,
        workflows: &Workflows,
        store: &Arc<dyn Store>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let changed = workflows.changed().await?;
        if self.read_at == Some(changed) {
            return Ok(());
        }
        self.next.clear();
        for workflow in workflows.list(None).await? {
            let Some(cron) = workflow.trigger.cron.as_ref().filter(|_| workflow.enabled) else { continue };
            let id = workflow.id();
            // Again, and not as listed: who deployed it may have left.
            if workflows.get(&id).await?.is_none() {
                continue;
            }
            let fired = match store.get(&format!("{FIRED}{id}")).await? {
                Some(found) => serde_json::from_slice::<Fired>(&found.value).ok().map(|fired| fired.at),
                None => None,
            };
            // Not for times before it was deployed as it is, nor for those when it was off.
            let since = [fired, workflow.on_since].into_iter().flatten().fold(workflow.deployed, Timestamp::max);
            // Of several that were missed, the last.
            let missed = cron.last(now).ok().filter(|last| *last > since);
            let Some(at) = missed.or_else(|| cron.next(since).ok()) else { continue };
            self.next.insert(id, (at, Workflow::clone(&workflow)));
        }
        self.read_at = Some(changed);
        Ok(())
    }

    /// What is due.
    pub fn due(&self, now: Timestamp) -> Vec<(Workflow, Timestamp)> {
        self.next.values().filter(|(at, _)| *at <= now).map(|(at, workflow)| (workflow.clone(), *at)).collect()
    }

    /// Notes that it was started, and when it is due next.
    pub fn fired(
        &mut self,
        store: &Arc<dyn Store>,
        workflow: &Workflow,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = workflow.id();
        let record = serde_json::to_vec(&Fired { v: 1, at })
            .map_err(|error| StoreError::Failed(format!("`{FIRED}{id}` can't be written: {error}")))?;
        store.write_soon(&format!("{FIRED}{id}"), record)?;
        // From now on, so that a clock that was set ahead does not let each second in between come due.
        match workflow.trigger.cron.as_ref().map(|cron| cron.next(at.max(now))) {
            Some(Ok(next)) => drop(self.next.insert(id, (next, workflow.clone()))),
            _ => drop(self.next.remove(&id)),
        }
        Ok(())
    }

    /// The id of the run for one time of one workflow: the same in every process.
    pub fn run_id(workflow: &WorkflowId, at: Timestamp) -> String {
        let hash = blake3::hash(format!("{workflow} {at}").as_bytes());
        let mut random = [0; 16];
        random.copy_from_slice(&hash.as_bytes()[..16]);
        let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
        ulid::Ulid::from_parts(millis, u128::from_le_bytes(random)).to_string()
    }
}
