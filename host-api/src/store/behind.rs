//! A store that answers before the disk has, for records of which the last few may go with the process.
//!
//! What is written is read back at once in this process, and is on disk, where others see it, within 50 ms. What is
//! written and deleted meanwhile never gets there, which is most of what it saves. All that was written by some instant
//! gets there in one commit, so that a kill leaves nothing that stands on what it took. It must never put a record in
//! the place of one that another process wrote, and never take more while the disk takes nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::redb::{MAX_SOON, check};
use super::{Durable, Expect, Revision, Store, StoreError, Versioned};

/// How long writes gather.
const GATHER: Duration = Duration::from_millis(20);
/// After a failure the disk is tried again this much later.
const AGAIN: Duration = Duration::from_millis(500);
/// Revisions of what is not on disk yet are above all others, so that no two states of a key have the same one.
const FRESH: Revision = 1 << 62;

/// A [`Store`] over another one, from which this process reads what it wrote before it is on disk.
///
/// Compares and swaps what other processes may have seen in that store, and waits for it. A record has one revision
/// until it is on disk and another one afterwards: whoever compares and swaps in between meets a conflict, and reads
/// again. That a key is absent is compared with what is on disk and here; of two processes that find so within 50 ms,
/// the later one's record stays, so keys are to be of one process's making.
pub struct WriteBehind {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    fresh: Mutex<Fresh>,
    /// There is something to hand over.
    wake: Notify,
    /// One at a time: what was handed over is on disk after the flush that follows, and not after an earlier one.
    flushing: tokio::sync::Mutex<()>,
}

/// What is not on disk yet.
#[derive(Default)]
struct Fresh {
    records: BTreeMap<String, Record>,
    /// Writes so far.
    writes: u64,
    /// How often records left this for the store.
    settled: u64,
    bytes: usize,
    /// Why the last ones are not on disk.
    failed: Option<StoreError>,
}

struct Record {
    /// None if it was deleted.
    value: Option<Vec<u8>>,
    revision: Revision,
    /// Whether the store is known to have nothing at its key.
    is_new: bool,
    /// Whether the store was given it, and may have it.
    is_handed: bool,
}

/// What came of a write.
enum Tried {
    Taken(Revision),
    /// What was taken before is to be on disk first.
    Settle,
    Again,
    /// The store has what it is compared with.
    Ask,
}

impl Fresh {
    fn get(&self, key: &str) -> Option<Option<Versioned>> {
        self.records.get(key).map(Record::versioned)
    }

    /// `is_new`: whether the store is known to have nothing at this key, if it is not among the records.
    fn put(&mut self, key: &str, value: Option<Vec<u8>>, is_new: bool) {
        self.writes += 1;
        let revision = FRESH + self.writes;
        let last = self.records.remove(key);
        self.bytes -= last.as_ref().map_or(0, Record::bytes);
        let is_new = last.map_or(is_new, |last| last.is_new && !last.is_handed);
        if value.is_some() || !is_new {
            let record = Record { value, revision, is_new, is_handed: false };
            self.bytes += record.bytes();
            self.records.insert(key.to_owned(), record);
        }
    }

    /// Takes a write, if `expect` holds. The last two say whether the store had the key,
    /// and how much had settled before.
    fn write(
        &mut self,
        key: &str,
        expect: Expect,
        value: &mut Option<Vec<u8>>,
        (is_there, settled): (bool, u64),
    ) -> Result<Tried, StoreError> {
        if self.bytes > MAX_SOON {
            return Ok(Tried::Settle);
        }
        let holds = match (expect, self.records.get(key)) {
            (Expect::Any, _) => true,
            // Others may have seen it by now, and changed it: the store knows.
            (_, Some(record)) if record.is_handed => return Ok(Tried::Settle),
            (Expect::Absent, Some(record)) => record.value.is_none(),
            (Expect::Revision(wanted), Some(record)) => record.value.is_some() && record.revision == wanted,
            // It may have gone to the store after that was asked.
            (Expect::Absent, None) if self.settled != settled => return Ok(Tried::Again),
            (Expect::Absent, None) => !is_there,
            (Expect::Revision(_), None) => return Ok(Tried::Ask),
        };
        if !holds {
            return Err(StoreError::Conflict { key: key.to_owned() });
        }
        self.take([(key.to_owned(), value.take())], expect == Expect::Absent).map(Tried::Taken)
    }

    /// Takes these over, unless what was taken before can't be written. Gives the last one's revision.
    fn take(
        &mut self,
        records: impl IntoIterator<Item = (String, Option<Vec<u8>>)>,
        is_new: bool,
    ) -> Result<Revision, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        for (key, value) in records {
            self.put(&key, value, is_new);
        }
        Ok(FRESH + self.writes)
    }

    /// The records of a folder, after `after` and before `before`.
    fn within(&self, prefix: &str, after: Option<&str>, before: Option<&str>) -> Vec<(String, Option<Versioned>)> {
        let all = self.records.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let theirs = all.map(|(key, record)| (key.as_str(), record)).take_while(|(key, _)| key.starts_with(prefix));
        let asked = theirs.filter(|(key, _)| after.is_none_or(|after| *key > after));
        let asked = asked.take_while(|(key, _)| before.is_none_or(|before| *key < before));
        asked.map(|(key, record)| (key.to_owned(), record.versioned())).collect()
    }
}

impl Record {
    fn versioned(&self) -> Option<Versioned> {
        self.value.clone().map(|value| Versioned { revision: self.revision, value })
    }

    fn bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::len)
    }
}

impl WriteBehind {
    /// Over `store`. Call it within tokio.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let shared = Arc::new(Shared {
            store,
            fresh: Mutex::default(),
            wake: Notify::new(),
            flushing: tokio::sync::Mutex::default(),
        });
        let writer = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(shared) = writer.upgrade() {
                let woken = tokio::time::timeout(AGAIN, shared.wake.notified()).await.is_ok();
                if woken {
                    tokio::time::sleep(GATHER).await;
                }
                if let Err(error) = shared.flush().await {
                    tracing::error!(%error, "what was to be written soon is not on disk; nothing more is taken until it is");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        });
        Self { shared }
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        // What this store has not, nobody is left to write.
        let _ = self.shared.hand_over();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a write, if `expect` holds.
    async fn write(&self, key: &str, expect: Expect, mut value: Option<Vec<u8>>) -> Result<Revision, StoreError> {
        check(key, value.as_deref().unwrap_or_default())?;
        loop {
            let settled = self.lock().settled;
            let is_there = match expect {
                Expect::Absent => self.store.get(key).await?.is_some(),
                Expect::Any | Expect::Revision(_) => false,
            };
            let tried = self.lock().write(key, expect, &mut value, (is_there, settled))?;
            match tried {
                Tried::Taken(revision) => {
                    self.wake.notify_one();
                    return Ok(revision);
                }
                Tried::Settle => self.flush().await?,
                Tried::Again => {}
                Tried::Ask => return self.store.write(key, expect, value).await,
            }
        }
    }

    fn soon(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        for (key, value) in &records {
            check(key, value.as_deref().unwrap_or_default())?;
        }
        let mut fresh = self.lock();
        // Nobody can be made to wait here, so there is more room than for those who can.
        if fresh.bytes > 2 * MAX_SOON {
            return Err(StoreError::Failed("the disk is too slow for what is to be written; try again".to_owned()));
        }
        fresh.take(records, false)?;
        drop(fresh);
        self.wake.notify_one();
        Ok(())
    }

    /// Gives the store what it has not: all of it at once.
    fn hand_over(&self) -> Result<(), StoreError> {
        let mut fresh = self.lock();
        let mut news: Vec<_> = fresh.records.iter_mut().filter(|(_, record)| !record.is_handed).collect();
        if news.is_empty() {
            return Ok(());
        }
        let records = news.iter().map(|(key, record)| ((*key).clone(), record.value.clone())).collect();
        self.store.write_all_soon(records)?;
        news.iter_mut().for_each(|(_, record)| record.is_handed = true);
        Ok(())
    }

    /// Returns once all that was written before is on disk.
    async fn flush(&self) -> Result<(), StoreError> {
        let _one = self.flushing.lock().await;
        let handed = self.hand_over();
        // Also if nothing was taken: that is so until the store has written what it kept of an earlier failure.
        let done = self.store.flush().await.and(handed);
        let mut fresh = self.lock();
        fresh.failed = done.as_ref().err().cloned();
        done?;
        let Fresh { records, bytes, settled, .. } = &mut *fresh;
        let before = records.len();
        records.retain(|_, record| !record.is_handed);
        *bytes = records.values().map(Record::bytes).sum();
        *settled += u64::from(records.len() != before);
        Ok(())
    }
}

#[async_trait]
impl Store for WriteBehind {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let fresh = self.shared.lock().get(key);
        match fresh {
            Some(found) => Ok(found),
            None => self.shared.store.get(key).await,
        }
    }

    async fn get_each(&self, keys: &[&str]) -> Result<Vec<Option<Versioned>>, StoreError> {
        let mut found: Vec<_> = {
            let fresh = self.shared.lock();
            keys.iter().map(|key| fresh.get(key)).collect()
        };
        let older: Vec<&str> =
            keys.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(key, _)| *key).collect();
        let mut older = self.shared.store.get_each(&older).await?.into_iter();
        Ok(found.iter_mut().map(|found| found.take().unwrap_or_else(|| older.next().flatten())).collect())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let fresh = self.shared.lock().within(prefix, after, None);
        let found = self.shared.store.scan(prefix, after, limit.saturating_add(gone(&fresh))).await?;
        Ok(merged(fresh, found).into_iter().take(limit).collect())
    }

    async fn revisions(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Revision)>, StoreError> {
        let fresh = self.shared.lock().within(prefix, after, None);
        let found = self.shared.store.revisions(prefix, after, limit.saturating_add(gone(&fresh))).await?;
        Ok(merged(revisions(fresh), found).into_iter().take(limit).collect())
    }

    async fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let fresh = self.shared.lock().within(prefix, None, before);
        let found = self.shared.store.scan_back(prefix, before, limit.saturating_add(gone(&fresh))).await?;
        Ok(merged(fresh, found).into_iter().rev().take(limit).collect())
    }

    async fn revisions_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Revision)>, StoreError> {
        let fresh = self.shared.lock().within(prefix, None, before);
        let found = self.shared.store.revisions_back(prefix, before, limit.saturating_add(gone(&fresh))).await?;
        Ok(merged(revisions(fresh), found).into_iter().rev().take(limit).collect())
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.shared.flush().await?;
        self.shared.store.revision().await
    }

    async fn write(&self, key: &str, expect: Expect, value: Option<Vec<u8>>) -> Result<Revision, StoreError> {
        self.shared.write(key, expect, value).await
    }

    fn write_soon(&self, key: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.shared.soon(vec![(key.to_owned(), Some(value))])
    }

    fn write_all_soon(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        self.shared.soon(records)
    }

    fn append(&self, key: &str, value: Vec<u8>) -> Result<Durable, StoreError> {
        self.shared.soon(vec![(key.to_owned(), Some(value))])?;
        let shared = Arc::clone(&self.shared);
        Ok(async move { shared.flush().await }.boxed())
    }

    async fn replace(&self, records: Vec<(String, Vec<u8>)>, kept: &'static [&'static str]) -> Result<(), StoreError> {
        self.shared.flush().await?;
        self.shared.store.replace(records, kept).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush().await
    }
}

/// Places that deleted records may take in a page of the store's.
fn gone<T>(fresh: &[(String, Option<T>)]) -> usize {
    fresh.iter().filter(|(_, value)| value.is_none()).count()
}

fn revisions(fresh: Vec<(String, Option<Versioned>)>) -> Vec<(String, Option<Revision>)> {
    fresh.into_iter().map(|(key, found)| (key, found.map(|found| found.revision))).collect()
}

/// What the store has, with what it has not yet in its place.
fn merged<T>(fresh: Vec<(String, Option<T>)>, found: Vec<(String, T)>) -> BTreeMap<String, T> {
    let mut all: BTreeMap<String, T> = found.into_iter().collect();
    for (key, value) in fresh {
        match value {
            Some(value) => drop(all.insert(key, value)),
            None => drop(all.remove(&key)),
        }
    }
    all
}
