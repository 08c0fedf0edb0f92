//! Runs in the store: what is pending, how far it came, and what has ended.
//!
//! A run that ends leaves several records, written in an order in which a cut at any point can be mended: what
//! it leaves behind first, then that it has ended, and only then what made it pending is taken away.
//!
//! "On disk when this returns" is the store's word: one that writes behind says it up to 50 ms early, as its operator
//! asked it to.

mod list;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use keyhole_host_api::store::records::Records;
use keyhole_host_api::store::{Expect, Revision, Store, StoreError, WriteBehind};

use tokio::sync::watch;

pub use list::{Listed, Of, Page, Within, came};

use super::record::{Cause, Details, Live, Pending, Run, RunStatus, Started, StepRecord, Tried, Waits, WorkflowId};

/// The runs of each workflow: `<owner>/<name>/<run>`.
const BY_WORKFLOW: &str = "workflow-runs/";
/// What such a key holds; the key says it all.
const NOTHING: &[u8] = b"{\"v\":1}";

/// Runs in the store.
#[derive(Clone)]
pub struct History {
    store: Arc<dyn Store>,
    /// The pending runs on disk: where another process may accept the same event, one of them is to be told.
    shared: Records<Pending>,
    pub(super) pending: Records<Pending>,
    progress: Records<StepRecord>,
    runs: Records<Run>,
    details: Records<Details>,
    started: Records<Started>,
    /// Bytes that runs left behind since this was made, by this process.
    written: Arc<watch::Sender<u64>>,
}

impl History {
    /// Those in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            shared: Records::new(store.clone()),
            pending: Records::new(store.clone()),
            progress: Records::new(store.clone()),
            runs: Records::new(store.clone()),
            details: Records::new(store.clone()),
            started: Records::new(store.clone()),
            store,
            written: Arc::default(),
        }
    }

    /// Those in `store`, of which what is younger than 50 ms may not be on disk.
    pub fn behind(store: Arc<dyn Store>) -> Self {
        Self { shared: Records::new(store.clone()), ..Self::new(Arc::new(WriteBehind::new(store))) }
    }

    /// Returns once all that was kept is on disk.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }

    /// Takes an event over. It is on disk when this returns, and listed among its workflow's runs.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is a run of this id.
    pub async fn accept(&self, run: &str, pending: &Pending) -> Result<(), StoreError> {
        // Listed first, without which the rest never stands: what is listed and not there is passed over.
        drop(self.store.append(&by_workflow(&pending.workflow, run), NOTHING.to_vec())?);
        let records = match pending.cause {
            Cause::Cron(_) => &self.shared,
            _ => &self.pending,
        };
        records.put(run, Expect::Absent, pending).await.map(drop)
    }

    /// Keeps the result of the step that is `done`th. On disk when this returns.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn step_done(&self, run: &str, done: usize, step: &StepRecord) -> Result<(), StoreError> {
        self.progress.put(&step_key(run, done), Expect::Any, step).await.map(drop)
    }

    /// Keeps what the step that runs has logged so far, soon.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn live(&self, run: &str, live: &Live) -> Result<(), StoreError> {
        self.store.write_soon(&Records::<Live>::key(run), Records::encode(run, live)?)
    }

    /// What the step that runs has logged so far, if it runs for longer than a moment.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn live_of(&self, run: &str) -> Result<Option<Live>, StoreError> {
        Ok(Records::<Live>::new(self.store.clone()).get(run).await?.map(|(live, _)| live))
    }

    /// What changes when there is more to see of a run of which `steps` steps were done, found without reading what
    /// those did. Its first is none once the run has ended.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn mark(&self, run: &str, steps: usize) -> Result<[Option<Revision>; 3], StoreError> {
        let next = Records::<StepRecord>::key(&step_key(run, steps));
        let keys = [Records::<Pending>::key(run), Records::<Live>::key(run), next];
        let found = self.store.get_each(&[&keys[0], &keys[1], &keys[2]]).await?;
        let mut revisions = found.into_iter().map(|record| record.map(|record| record.revision));
        Ok(std::array::from_fn(|_| revisions.next().flatten()))
    }

    /// The results of the steps that are done, in order.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn progress(&self, run: &str) -> Result<Vec<StepRecord>, StoreError> {
        let mut done = Vec::new();
        while let Some((step, _)) = self.progress.get(&step_key(run, done.len())).await? {
            done.push(step);
        }
        Ok(done)
    }

    /// Whether the result of a step is on disk.
    pub(super) async fn has_progress(&self, run: &str) -> Result<bool, StoreError> {
        Ok(self.progress.get(&step_key(run, 0)).await?.is_some())
    }

    /// Ends a run. On disk when this returns.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn end(&self, run: &Run, details: &Details) -> Result<(), StoreError> {
        let details = Records::<Details>::encode(&run.id, details)?;
        let bytes = details.len() as u64;
        let head = Run { bytes, ..run.clone() };
        // In this order, and most often in one commit.
        let details = self.details.put_encoded(&run.id, Expect::Any, details);
        let head = self.runs.put(&run.id, Expect::Any, &head);
        let (details, head) = tokio::join!(biased; details, head);
        details.and(head)?;
        self.forget_pending(&run.id, run.steps as usize)?;
        // Whoever makes the history smaller now finds that nobody needs it any more.
        self.written.send_modify(|written| *written += bytes);
        Ok(())
    }

    /// Bytes that runs of this process have left behind.
    pub fn written(&self) -> u64 {
        *self.written.borrow()
    }

    /// Returns once those are so many.
    pub async fn grown_to(&self, bytes: u64) {
        // The sender lives as long as this.
        let _ = self.written.subscribe().wait_for(|written| *written >= bytes).await;
    }

    /// Takes away, soon, what made a run pending. That it has ended is on disk, and whoever finds both knows it.
    pub(super) fn forget_pending(&self, run: &str, steps: usize) -> Result<(), StoreError> {
        let steps = (0..steps).map(|step| Records::<StepRecord>::key(&step_key(run, step)));
        let gone = steps.chain([Records::<Live>::key(run), Records::<Pending>::key(run)]);
        self.store.write_all_soon(gone.map(|key| (key, None)).collect())
    }

    /// Whether a run has ended.
    pub(super) async fn ended(&self, run: &str) -> Result<Option<Run>, StoreError> {
        Ok(self.runs.get(run).await?.map(|(run, _)| run))
    }

    /// The run, wherever it is.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, StoreError> {
        // It may end between two looks, and what has ended is not pending.
        if let Some((pending, _)) = self.pending.get(id).await?
            && self.ended(id).await?.is_none()
        {
            return Ok(Some(self.under_way(id, &pending).await?));
        }
        self.ended(id).await
    }

    async fn under_way(&self, id: &str, pending: &Pending) -> Result<Run, StoreError> {
        let steps = self.progress(id).await?.len();
        let status = match &pending.waits {
            Some(_) => RunStatus::Waiting,
            None if pending.started.is_some() || steps > 0 => RunStatus::Running,
            None => RunStatus::Queued,
        };
        Ok(Run {
            id: id.to_owned(),
            workflow: pending.workflow.clone(),
            version: pending.version,
            cause: pending.cause.clone(),
            status,
            accepted: pending.accepted,
            started: pending.started,
            ended: None,
            steps: u32::try_from(steps).unwrap_or(u32::MAX),
            bytes: 0,
            error: pending.error.clone(),
            waits: pending.waits.clone(),
        })
    }

    /// The run with all that is known of it.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn details(&self, id: &str) -> Result<Option<(Run, Details)>, StoreError> {
        let pending = self.pending.get(id).await?;
        let Some(run) = self.run(id).await? else { return Ok(None) };
        if run.ended.is_some() {
            return Ok(self.details.get(id).await?.map(|(details, _)| (run, details)));
        }
        let Some((pending, _)) = pending else { return Ok(None) };
        let steps = self.progress(id).await?;
        // What was tried of a step that is done by now is among what that has.
        let tried = if pending.at as usize == steps.len() { pending.tried } else { Vec::new() };
        Ok(Some((run, Details { event: pending.event, steps, tried, exit: None })))
    }

    /// The ids of the runs that are pending, a page at a time.
    pub(super) async fn pending_ids(&self, after: Option<&str>) -> Result<Vec<String>, StoreError> {
        let folder = Records::<Pending>::key("");
        let found = self.store.revisions(&folder, after.map(Records::<Pending>::key).as_deref(), PAGE).await?;
        Ok(found.into_iter().map(|(key, _)| key[folder.len()..].to_owned()).collect())
    }

    /// Every run that is pending, a page at a time, which is shorter where events are long.
    pub(super) async fn pending_after(
        &self,
        after: Option<&str>,
    ) -> Result<Vec<(String, Pending, Revision)>, StoreError> {
        let mut after = after.map(str::to_owned);
        let (mut page, mut events) = (Vec::new(), 0);
        loop {
            let ids = self.pending_ids(after.as_deref()).await?;
            after = ids.last().cloned();
            for id in ids {
                // It may have ended meanwhile.
                let Some((pending, revision)) = self.pending.get(&id).await? else { continue };
                events += pending.event.get().len() + pending.tried.iter().map(Tried::bytes).sum::<usize>();
                page.push((id, pending, revision));
                if events >= EVENTS {
                    return Ok(page);
                }
            }
            if !page.is_empty() || after.is_none() {
                return Ok(page);
            }
        }
    }

    /// Counts one more run that was led to from the run `root`, in whichever process. False if there are `most` already.
    /// One that is counted and then not started stays counted.
    pub(super) async fn count_started(&self, root: &str, most: u32) -> Result<bool, StoreError> {
        loop {
            let (runs, expect) = match self.started.get(root).await? {
                Some((started, revision)) => (started.runs, Expect::Revision(revision)),
                None => (0, Expect::Absent),
            };
            if runs >= most {
                return Ok(false);
            }
            match self.started.put(root, expect, &Started { runs: runs + 1 }).await {
                Ok(_) => return Ok(true),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The version that the oldest run of the workflow ran which is kept.
    pub(super) async fn oldest_version(&self, workflow: &WorkflowId) -> Result<Option<u64>, StoreError> {
        let folder = format!("{BY_WORKFLOW}{workflow}/");
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(&folder, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(None) };
            after = Some(last.clone());
            for (key, _) in &page {
                // What is listed and not there is passed over.
                if let Some(run) = self.run(&key[folder.len()..]).await? {
                    return Ok(Some(run.version));
                }
            }
        }
    }

    /// Forgets how many runs came of events of which none is under way any more. `roots` are those of the runs that
    /// are.
    pub(super) async fn forget_started(&self, roots: &HashSet<String>, before: Timestamp) -> Result<(), StoreError> {
        for (root, ..) in self.started.all().await? {
            if !roots.contains(&root) && super::blobs::is_older(&root, before) {
                self.started.delete(&root, Expect::Any).await?;
            }
        }
        Ok(())
    }

    /// Notes what a run waits for.
    pub(super) async fn waits(&self, run: &str, pending: &Pending, waits: &Waits) -> Result<bool, StoreError> {
        let changed = self.pending.update(run, |there| {
            // Unless another process has it by now, and drives it.
            if !there.cancelled && there.instance == pending.instance {
                *there = Pending { waits: Some(waits.clone()), ..pending.clone() };
            }
        });
        Ok(changed.await?.is_some_and(|(there, _)| there.cancelled))
    }

    /// Deletes the runs that ended before `before`. Gives how many. Broken off, the next time does the rest.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn prune(&self, before: Timestamp) -> Result<usize, StoreError> {
        // In the order of their ids, none of which is of a time after its run was accepted: of those that follow, none can
        // have ended earlier.
        self.delete(|id, run| match run.ended {
            Some(ended) if ended < before => Prune::Delete,
            _ if !super::blobs::is_older(id, before) => Prune::Stop,
            _ => Prune::Keep,
        })
        .await
    }

    /// Deletes the oldest runs until what the others left behind is no more than `bytes`. Gives how many.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn shrink(&self, bytes: u64) -> Result<usize, StoreError> {
        let mut left = bytes;
        let mut before: Option<String> = None;
        let last = loop {
            let page = self.runs.list_back(before.as_deref(), PAGE).await?;
            let Some((oldest, ..)) = page.last() else { return Ok(0) };
            before = Some(oldest.clone());
            let over = page.into_iter().find(|(_, run, _)| match left.checked_sub(run.bytes) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            });
            if let Some((id, ..)) = over {
                break id;
            }
        };
        self.delete(|id, _| if id <= last.as_str() { Prune::Delete } else { Prune::Stop }).await
    }

    /// Whether somebody has still to read it: who ends it, or the run that it was started by.
    async fn is_needed(&self, id: &str, run: &Run) -> Result<bool, StoreError> {
        let caller = match &run.cause {
            Cause::Workflow { run, .. } => self.pending.get(run).await?.is_some(),
            _ => false,
        };
        Ok(caller || self.pending.get(id).await?.is_some())
    }

    /// Deletes runs that have ended, the oldest first.
    async fn delete(&self, what: impl Fn(&str, &Run) -> Prune) -> Result<usize, StoreError> {
        // What runs that have ended were pending by may still be on its way out.
        self.store.flush().await?;
        let (mut gone, mut after) = (0, None);
        loop {
            let page = self.runs.list(after.as_deref(), PAGE).await?;
            let Some((last, ..)) = page.last() else { return Ok(gone) };
            after = Some(last.clone());
            let mut keys = Vec::new();
            let mut is_end = false;
            for (id, run, _) in page {
                if self.is_needed(&id, &run).await? {
                    continue;
                }
                match what(&id, &run) {
                    Prune::Keep => continue,
                    Prune::Delete => gone += 1,
                    Prune::Stop => {
                        is_end = true;
                        break;
                    }
                }
                keys.extend([by_workflow(&run.workflow, &id), Records::<Details>::key(&id), Records::<Run>::key(&id)]);
            }
            try_join_all(keys.iter().map(|key| self.store.write(key, Expect::Any, None))).await?;
            if is_end {
                return Ok(gone);
            }
        }
    }
}

/// What becomes of a run when the history is made smaller.
enum Prune {
    Keep,
    Delete,
    /// It stays, and so do all that follow.
    Stop,
}

/// Records that are read at a time.
const PAGE: usize = 200;
/// Bytes of events, and of what was tried, from which on a page of runs has no more of them.
const EVENTS: usize = 4 << 20;

fn by_workflow(workflow: &WorkflowId, run: &str) -> String {
    format!("{BY_WORKFLOW}{workflow}/{run}")
}

fn step_key(run: &str, step: usize) -> String {
    format!("{run}/{step:04}")
}
