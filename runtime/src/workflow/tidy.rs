//! Takes away what no workflow and no run needs any more: old versions, components and files.
//!
//! Each key goes by itself, and what refers to something goes before it, so a cut at any point leaves nothing that
//! points nowhere. Nothing goes that somebody may be about to use: a version only a while after another one took
//! its place, since an event may have been on its way to it; a component only a while after somebody deployed with
//! it, and only if its record is still the one that was read before the versions were.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::store::{Expect, StoreError};

use super::blobs;
use super::deploy::Workflows;
use super::file::{HTTP_REQUEST, WORKFLOW};
use super::history::History;
use super::record::{Version, WorkflowId};

/// How long something stays that was needed just now: longer than any request, and any deploy, takes.
pub const NEEDED_LATELY: SignedDuration = SignedDuration::from_hours(1);
/// Versions that are read at a time.
const PAGE: usize = 100;

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Versions of workflows.
    pub versions: usize,
    /// Components.
    pub components: usize,
    /// Files that were deployed with workflows.
    pub files: usize,
}

/// What the runs under way need.
#[derive(Default)]
struct UnderWay {
    /// The oldest version of each workflow.
    oldest: HashMap<WorkflowId, u64>,
    /// The runs that events began of which runs are under way.
    roots: HashSet<String>,
}

impl Workflows {
    /// Takes away what nothing needs, and nothing has needed for `grace`. Broken off, the next time does the rest.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn tidy(&self, history: &History, grace: SignedDuration) -> Result<Tidied, StoreError> {
        let before = blobs::long_ago(grace);
        // Before the versions: one that is deployed with after this is changed, and stays.
        let components = self.work().components.all().await?;
        let under_way = under_way(history).await?;
        let mut tidied = Tidied::default();
        let (mut digests, mut files) = (HashSet::new(), HashSet::new());
        let numbers = self.numbers().await?;
        // What has no versions any more can come again, and is not gone then.
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| numbers.contains_key(id));
        for (id, versions) in numbers {
            let first = self.first_needed(&id, &versions, history, &under_way, before).await?;
            for (number, _) in versions {
                let key = super::deploy::version_key(&id, number);
                if number < first {
                    self.versions.delete(&key, Expect::Any).await?;
                    tidied.versions += 1;
                } else if let Some((version, _)) = self.versions.get(&key).await? {
                    for step in version.steps {
                        files.extend(step.file.map(|file| file.blob));
                        if step.uses != HTTP_REQUEST && step.uses != WORKFLOW {
                            digests.insert(step.uses);
                        }
                    }
                }
            }
        }
        for (digest, head, revision) in components {
            let used = head.used.unwrap_or(head.deployed);
            if !digests.contains(&digest)
                && used < before
                && self.work().components.remove(&digest, &head, revision).await?
            {
                tidied.components += 1;
            }
        }
        self.work().components.sweep(before).await?;
        tidied.files = self.work().files.sweep(&files, before).await?;
        history.forget_started(&under_way.roots, before).await?;
        Ok(tidied)
    }

    /// The versions that there are, by workflow, and when each was deployed, as far as that is known.
    async fn numbers(&self) -> Result<BTreeMap<WorkflowId, BTreeMap<u64, Option<Timestamp>>>, StoreError> {
        let mut all: BTreeMap<WorkflowId, BTreeMap<u64, Option<Timestamp>>> = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let page: Vec<(String, Version, _)> = self.versions.list(after.as_deref(), PAGE).await?;
            let Some((last, ..)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            for (key, version, _) in page {
                if let Some((id, number)) = key.rsplit_once('/')
                    && let Ok(number) = number.parse()
                {
                    all.entry(WorkflowId(id.to_owned())).or_default().insert(number, version.deployed);
                }
            }
        }
    }

    /// The first version of a workflow that stays, and all after it.
    async fn first_needed(
        &self,
        id: &WorkflowId,
        versions: &BTreeMap<u64, Option<Timestamp>>,
        history: &History,
        under_way: &UnderWay,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let head = self.get(id).await?;
        let current = match &head {
            Some(workflow) => {
                self.gone.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
                // The first that another one replaced only lately, if there is one.
                let replaced = |number: u64| {
                    let next = versions.range(number + 1..).next();
                    next.and_then(|(_, deployed)| *deployed).unwrap_or(workflow.deployed)
                };
                let lately = versions.keys().copied().find(|number| replaced(*number) >= before);
                lately.unwrap_or(u64::MAX).min(workflow.version)
            }
            None => {
                let now = Timestamp::now();
                let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
                let since = *gone.entry(id.clone()).or_insert(now);
                // One that is about to be deployed has a version first.
                let newest = versions.values().flatten().max().copied().unwrap_or(Timestamp::MIN);
                if since.max(newest) < before { u64::MAX } else { 0 }
            }
        };
        let running = under_way.oldest.get(id).copied().unwrap_or(u64::MAX);
        let kept = history.oldest_version(id).await?.unwrap_or(u64::MAX);
        Ok(current.min(running).min(kept))
    }
}

async fn under_way(history: &History) -> Result<UnderWay, StoreError> {
    let mut found = UnderWay::default();
    let mut after: Option<String> = None;
    loop {
        let page = history.pending_ids(after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.clone());
        for run in page {
            // One at a time, since events may be long. What has ended meanwhile is in the history.
            let Some((pending, _)) = history.pending.get(&run).await? else { continue };
            let oldest = found.oldest.entry(pending.workflow).or_insert(u64::MAX);
            *oldest = pending.version.min(*oldest);
            found.roots.insert(pending.root.unwrap_or(run));
        }
    }
}
