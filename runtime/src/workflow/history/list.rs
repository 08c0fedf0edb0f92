//! Going back through runs, the newest first. What a page costs must depend on what it shows and on how many workflows
//! its owner has, never on how many runs others have.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::store::records::Records;
use keyhole_host_api::store::{Store, StoreError};

use super::{BY_WORKFLOW, History, PAGE};
use crate::workflow::blobs::is_older;
use crate::workflow::record::{Pending, Run, WorkflowId};

/// Whose runs are listed.
#[derive(Clone, Debug)]
pub enum Of {
    /// Those of one workflow.
    Workflow(WorkflowId),
    /// Those of one owner's workflows.
    Owner(String),
}

impl Of {
    fn takes(&self, run: &Run) -> bool {
        match self {
            Self::Workflow(workflow) => run.workflow == *workflow,
            Self::Owner(owner) => run.workflow.parts().0 == owner,
        }
    }
}

/// Which of them.
#[derive(Clone, Debug)]
pub struct Page<'q> {
    /// Those before this run.
    pub before: Option<&'q str>,
    /// At most so many.
    pub limit: usize,
    /// At most so many are looked at, whether or not they are wanted.
    pub looks: usize,
}

/// Which of them need no look at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Within {
    /// Not those that [`came`] before.
    pub since: Option<Timestamp>,
    /// Not those that have ended.
    pub open: bool,
}

/// How long before it was accepted a run may have got its id, which tells of the time, too, and still be said to have
/// come when it was accepted.
const NAMED_BEFORE: SignedDuration = SignedDuration::from_mins(1);

/// When a run's event came. For one that was accepted long after it was due, as the clock's are that came due while no
/// process was there: when it was due. So runs that came at a time lie together.
pub fn came(run: &Run) -> Timestamp {
    let named = run.id.parse::<ulid::Ulid>().ok().and_then(|id| i64::try_from(id.timestamp_ms()).ok());
    let named = named.and_then(|named| Timestamp::from_millisecond(named).ok());
    named.filter(|named| run.accepted.duration_since(*named) > NAMED_BEFORE).unwrap_or(run.accepted)
}

/// Runs, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The runs.
    pub runs: Vec<Run>,
    /// The last one that was looked at, if there may be more before it.
    pub more: Option<String>,
}

/// Runs of a workflow that are read at a time when those of several are put in order.
const FEW: usize = 16;

impl History {
    /// The newest runs of the workflows that `of` takes, of those that `wanted` takes.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self, of: &Of, page: Page<'_>, wanted: impl Fn(&Run) -> bool) -> Result<Listed, StoreError> {
        self.list_within(of, page, Within::default(), wanted).await
    }

    /// The same, and looks only at those that are `within`.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list_within(
        &self,
        of: &Of,
        page: Page<'_>,
        within: Within,
        wanted: impl Fn(&Run) -> bool,
    ) -> Result<Listed, StoreError> {
        let since = within.since.and_then(|since| since.checked_sub(NAMED_BEFORE).ok());
        let mut back = Back::new(self, of, page.before, within.open);
        let mut listed = Listed::default();
        for look in 1..=page.looks {
            if look.is_multiple_of(PAGE) {
                tokio::task::yield_now().await;
            }
            if listed.runs.len() == page.limit {
                return Ok(listed);
            }
            // They come in the order of their ids.
            let next = back.next().await?.filter(|id| since.is_none_or(|since| !is_older(id, since)));
            let Some(id) = next else {
                listed.more = None;
                return Ok(listed);
            };
            // What is listed and not there was never acknowledged, or is being deleted.
            listed.runs.extend(self.run(&id).await?.filter(|run| of.takes(run) && wanted(run)));
            listed.more = Some(id);
        }
        Ok(listed)
    }
}

/// The ids of runs, the newest first.
enum Back<'h> {
    /// In one folder.
    One { store: &'h Arc<dyn Store>, folder: Folder },
    /// Of all runs, or all that are `open`, as long as most of the newest are theirs: then nothing else need be read.
    All { history: &'h History, of: Of, open: bool, before: Option<String>, page: VecDeque<String> },
    /// In the folder of each workflow of an owner.
    Merged { store: &'h Arc<dyn Store>, folders: Vec<Folder>, next: BinaryHeap<(String, usize)> },
}

impl<'h> Back<'h> {
    /// If those that are `open` will do, which may be a thousandth of all, others may be left out.
    fn new(history: &'h History, of: &Of, before: Option<&str>, open: bool) -> Self {
        match of {
            Of::Workflow(workflow) if !open => Self::of_one(history, workflow, before),
            _ => {
                let before = before.map(str::to_owned);
                Self::All { history, of: of.clone(), open, before, page: VecDeque::new() }
            }
        }
    }

    fn of_one(history: &'h History, workflow: &WorkflowId, before: Option<&str>) -> Self {
        let folder = Folder::new(format!("{BY_WORKFLOW}{workflow}/"), before, PAGE);
        Self::One { store: &history.store, folder }
    }

    async fn next(&mut self) -> Result<Option<String>, StoreError> {
        if let Self::All { history, of, open, before, page } = self {
            if let Some(id) = page.pop_front() {
                *before = Some(id.clone());
                return Ok(Some(id));
            }
            let newest = history.newest(before.as_deref(), *open).await?;
            let mut theirs = VecDeque::new();
            for id in &newest {
                if history.run(id).await?.is_some_and(|run| of.takes(&run)) {
                    theirs.push_back(id.clone());
                }
            }
            // Or if these are the last.
            if theirs.len() * 2 >= newest.len() || newest.len() < PAGE {
                let Some(first) = theirs.pop_front() else { return Ok(None) };
                *page = theirs;
                *before = Some(first.clone());
                return Ok(Some(first));
            }
            *self = match of {
                Of::Workflow(workflow) => Self::of_one(history, workflow, before.as_deref()),
                Of::Owner(owner) => Self::merged(&history.store, owner, before.as_deref()).await?,
            };
        }
        match self {
            Self::One { store, folder } => folder.next(store).await,
            Self::All { .. } => Ok(None),
            Self::Merged { store, folders, next } => {
                let Some((id, at)) = next.pop() else { return Ok(None) };
                if let Some(id) = folders[at].next(store).await? {
                    next.push((id, at));
                }
                Ok(Some(id))
            }
        }
    }

    async fn merged(store: &'h Arc<dyn Store>, owner: &str, before: Option<&str>) -> Result<Self, StoreError> {
        let all = format!("{BY_WORKFLOW}{owner}/");
        let (mut folders, mut next) = (Vec::new(), BinaryHeap::new());
        let mut after: Option<String> = None;
        while let Some((key, _)) = store.revisions(&all, after.as_deref(), 1).await?.pop() {
            let end = key.rfind('/').map_or(key.len(), |slash| slash + 1);
            // Of each the newest alone, since there may be many; more of those that turn out to have the newest of all.
            let mut folder = Folder::new(key[..end].to_owned(), before, 1);
            if let Some(id) = folder.next(store).await? {
                next.push((id, folders.len()));
                folders.push(Folder { many: FEW, ..folder });
            }
            // No id of a run has such a letter.
            after = Some(format!("{}~", &key[..end]));
        }
        Ok(Self::Merged { store, folders, next })
    }
}

/// The ids of the runs of one workflow, the newest first.
struct Folder {
    path: String,
    /// What the next one lies before.
    before: Option<String>,
    page: VecDeque<String>,
    many: usize,
}

impl Folder {
    fn new(path: String, before: Option<&str>, many: usize) -> Self {
        let before = before.map(|run| format!("{path}{run}"));
        Self { path, before, page: VecDeque::new(), many }
    }

    async fn next(&mut self, store: &Arc<dyn Store>) -> Result<Option<String>, StoreError> {
        if self.page.is_empty() {
            // Without what they hold: it may be long.
            let page = store.revisions_back(&self.path, self.before.as_deref(), self.many).await?;
            self.page.extend(page.into_iter().map(|(key, _)| key));
        }
        let Some(key) = self.page.pop_front() else { return Ok(None) };
        let id = key[self.path.len()..].to_owned();
        self.before = Some(key);
        Ok(Some(id))
    }
}

impl History {
    /// The ids of the newest runs of all workflows, under way or, unless they are to be `open`, ended, merged by their
    /// ids, which sort by time.
    async fn newest(&self, before: Option<&str>, open: bool) -> Result<Vec<String>, StoreError> {
        let key = |folder: &str| before.map(|run| format!("{folder}{run}"));
        // Without what they hold: events may be long, and most may be others'.
        let (pending, runs) = (Records::<Pending>::key(""), Records::<Run>::key(""));
        let waiting = self.store.revisions_back(&pending, key(&pending).as_deref(), PAGE).await?;
        let ended = match open {
            true => Vec::new(),
            false => self.store.revisions_back(&runs, key(&runs).as_deref(), PAGE).await?,
        };
        let mut ids: Vec<String> = waiting.iter().map(|(key, _)| key[pending.len()..].to_owned()).collect();
        ids.extend(ended.iter().map(|(key, _)| key[runs.len()..].to_owned()));
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids.dedup();
        ids.truncate(PAGE);
        Ok(ids)
    }
}
