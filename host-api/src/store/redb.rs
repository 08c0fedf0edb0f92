//! The embedded store: one redb file in the data directory, shared by any number of
//! processes on one machine.
//!
//! A read costs one `pread` and a walk down a tree in memory (`file.rs` says why it is
//! never stale). Writes go to one thread, which commits whatever is queued together
//! (`writer.rs`). It must never acknowledge what is not on disk, and never repair a file
//! that was cut short: what is lost then would look as if it had never been.

mod file;
mod queue;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use ::redb::StorageError;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::{Durable, Expect, Revision, Store, StoreError, Versioned};
use file::{Records, Shared};
use queue::Queue;
use writer::Job;

pub use file::FILE_NAME;

/// Keys are paths of at most this many bytes.
const MAX_KEY: usize = 512;
/// Values are records, not blobs.
const MAX_VALUE: usize = 64 << 20;
/// More than this handed to [`Store::write_soon`] and not yet on disk means that the disk can't keep up.
pub(super) const MAX_SOON: usize = 64 << 20;
/// A scan gives way to other tasks after so many records.
const SCAN_STRIDE: usize = 256;

/// The store of one data directory. Dropping it writes what is still queued.
pub struct RedbStore {
    shared: Arc<Shared>,
    jobs: Arc<Queue>,
    /// Bytes handed to [`Store::write_soon`] and not yet on disk.
    soon: Arc<AtomicUsize>,
    writer: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Opens the store in `dir`, making it if there is none. `dir` itself must exist.
    ///
    /// # Errors
    /// One variant for each thing that an operator can do something about; see [`StoreError`].
    /// A damaged file is left as it is.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::open(dir)?);
        let soon = Arc::new(AtomicUsize::new(0));
        let jobs = Arc::new(Queue::default());
        let writer = writer::start(Arc::clone(&shared), Arc::clone(&jobs), Arc::clone(&soon))?;
        Ok(Self { shared, jobs, soon, writer: Some(writer) })
    }

    /// The store file.
    pub fn path(&self) -> PathBuf {
        self.shared.path().to_owned()
    }

    /// Fails with [`StoreError::Corrupt`] unless every page of the store file in `dir` is as it
    /// was written. Reads the whole file; no other process may write meanwhile.
    pub fn check(dir: &Path) -> Result<(), StoreError> {
        Shared::check(dir)
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.push(job).map_err(|_| writer_gone())
    }

    /// Hands over writes that nobody waits for, and deletions for `None`.
    fn soon(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        for (key, value) in &records {
            check(key, value.as_deref().unwrap_or_default())?;
        }
        if let Some(failed) = self.shared.soon_failed() {
            return Err(failed);
        }
        if self.soon.load(Ordering::Relaxed) > MAX_SOON {
            return Err(StoreError::Failed("the disk is too slow for what is to be written; try again".to_owned()));
        }
        let job = Job::Soon { records };
        self.soon.fetch_add(job.bytes(), Ordering::Relaxed);
        self.send(job)
    }

    /// What `look` makes of up to `limit` records whose key starts with `prefix`, in key order, after `after`.
    async fn walk<T: Send>(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        look: impl Fn(Revision, &[u8]) -> T + Send + Sync,
    ) -> Result<Vec<(String, T)>, StoreError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let mut found: Vec<(String, T)> = Vec::new();
        loop {
            let stride = SCAN_STRIDE.min(limit - found.len());
            let after = found.last().map(|(key, _)| key.as_str()).or(after);
            let start = match after {
                Some(after) if after >= prefix => Excluded(after),
                _ => Included(prefix),
            };
            let page = self.shared.read(|records| {
                let mut page = Vec::with_capacity(stride);
                for entry in records.range::<&str>((start, Unbounded))?.take(stride) {
                    let (key, value) = entry?;
                    if !key.value().starts_with(prefix) {
                        break;
                    }
                    let (revision, value) = value.value();
                    page.push((key.value().to_owned(), look(revision, value)));
                }
                Ok(page)
            })?;
            let ended = page.len() < stride;
            found.extend(page);
            if ended || found.len() >= limit {
                return Ok(found);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The same in falling key order, before `before`.
    async fn walk_back<T: Send>(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
        look: impl Fn(Revision, &[u8]) -> T + Send + Sync,
    ) -> Result<Vec<(String, T)>, StoreError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let past = past(prefix);
        let mut found: Vec<(String, T)> = Vec::new();
        loop {
            let stride = SCAN_STRIDE.min(limit - found.len());
            let before = found.last().map(|(key, _)| key.as_str()).or(before);
            let end = match (before, past.as_deref()) {
                (Some(before), Some(past)) => Excluded(before.min(past)),
                (Some(end), None) | (None, Some(end)) => Excluded(end),
                (None, None) => Unbounded,
            };
            if matches!(end, Excluded(end) if end <= prefix) {
                return Ok(found);
            }
            let page = self.shared.read(|records| {
                let mut page = Vec::with_capacity(stride);
                for entry in records.range::<&str>((Included(prefix), end))?.rev().take(stride) {
                    let (key, value) = entry?;
                    let (revision, value) = value.value();
                    page.push((key.value().to_owned(), look(revision, value)));
                }
                Ok(page)
            })?;
            let ended = page.len() < stride;
            found.extend(page);
            if ended || found.len() >= limit {
                return Ok(found);
            }
            tokio::task::yield_now().await;
        }
    }
}

fn get(records: &Records, key: &str) -> Result<Option<Versioned>, StorageError> {
    let Some(found) = records.get(key)? else { return Ok(None) };
    let (revision, value) = found.value();
    Ok(Some(Versioned { revision, value: value.to_vec() }))
}

/// The first text after all that start with `prefix`, if there is one. Text sorts by its characters as
/// by its bytes.
fn past(prefix: &str) -> Option<String> {
    let mut past = prefix.to_owned();
    while let Some(last) = past.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            past.push(next);
            return Some(past);
        }
    }
    None
}

fn writer_gone() -> StoreError {
    StoreError::Failed("its writer has ended; restart Keyhole".to_owned())
}

/// Refuses a key or value that no store takes.
pub(super) fn check(key: &str, value: &[u8]) -> Result<(), StoreError> {
    let reason = match key {
        "" => "it is empty",
        _ if key.len() > MAX_KEY => "it is longer than 512 bytes",
        _ if key.chars().any(char::is_control) => "it has a control character",
        _ if value.len() > MAX_VALUE => {
            return Err(StoreError::Failed(format!("the value of `{key}` is over {} MiB", MAX_VALUE >> 20)));
        }
        _ => return Ok(()),
    };
    Err(StoreError::BadKey { key: key.chars().take(64).flat_map(char::escape_debug).collect(), reason })
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.shared.read(|records| get(records, key))
    }

    async fn get_each(&self, keys: &[&str]) -> Result<Vec<Option<Versioned>>, StoreError> {
        self.shared.read(|records| keys.iter().map(|key| get(records, key)).collect())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.walk(prefix, after, limit, |revision, value| Versioned { revision, value: value.to_vec() }).await
    }

    async fn revisions(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Revision)>, StoreError> {
        self.walk(prefix, after, limit, |revision, _| revision).await
    }

    async fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.walk_back(prefix, before, limit, |revision, value| Versioned { revision, value: value.to_vec() }).await
    }

    async fn revisions_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Revision)>, StoreError> {
        self.walk_back(prefix, before, limit, |revision, _| revision).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.shared.revision()
    }

    async fn write(&self, key: &str, expect: Expect, value: Option<Vec<u8>>) -> Result<Revision, StoreError> {
        check(key, value.as_deref().unwrap_or_default())?;
        let (answer, answered) = oneshot::channel();
        self.send(Job::Write { key: key.to_owned(), expect, value, answer })?;
        answered.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    fn write_soon(&self, key: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.soon(vec![(key.to_owned(), Some(value))])
    }

    fn write_all_soon(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        self.soon(records)
    }

    fn append(&self, key: &str, value: Vec<u8>) -> Result<Durable, StoreError> {
        check(key, &value)?;
        if let Some(failed) = self.shared.soon_failed() {
            return Err(failed);
        }
        let (answer, answered) = oneshot::channel();
        self.send(Job::Append { key: key.to_owned(), value, answer })?;
        Ok(async move { answered.await.unwrap_or_else(|_| Err(writer_gone())) }.boxed())
    }

    async fn replace(&self, records: Vec<(String, Vec<u8>)>, kept: &'static [&'static str]) -> Result<(), StoreError> {
        for (key, value) in &records {
            check(key, value)?;
        }
        let (answer, answered) = oneshot::channel();
        self.send(Job::Replace { records, kept, answer })?;
        answered.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Flush { answer })?;
        answered.await.unwrap_or_else(|_| Err(writer_gone()))
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // A failed push or join means that the writer is gone already, with nothing queued.
        let _ = self.jobs.push(Job::Stop);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
