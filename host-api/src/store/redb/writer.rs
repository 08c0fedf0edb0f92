//! The one thread that writes. Everything that is queued goes into one transaction, so that
//! many writers pay for one wait for the disk; each gets its own answer, after that wait.
//!
//! It must never answer before the commit has ended: also a conflict may rest on a write of
//! the same transaction.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::vec;

use ::redb::{ReadableTable as _, StorageError, Table, WriteTransaction};
use tokio::sync::oneshot;

use super::file::{Failure, META, Opened, RECORDS, REVISION_KEY, Shared, disk_fails, guarded, holder};
use super::queue::Queue;
use crate::store::{Expect, Revision, StoreError};

/// How long writes that nobody waits for gather.
const GATHER: Duration = Duration::from_millis(15);
/// How often the thread looks around when there is nothing to do.
const IDLE: Duration = Duration::from_secs(1);
/// A batch this large is committed before the rest of the queue is looked at.
const MAX_BATCH_JOBS: usize = 8192;
const MAX_BATCH_BYTES: usize = 32 << 20;
/// A process that keeps others from writing for longer than this is stuck.
const HELD_TOO_LONG: Duration = Duration::from_secs(10);
/// After it met another writer, a process leaves that one a gap before each transaction.
/// Without it, whoever has the lock gets it again, and the other waits for ever.
const MANNERS: Duration = Duration::from_secs(1);
const GAP: Duration = Duration::from_micros(150);

pub(super) enum Job {
    Write {
        key: String,
        expect: Expect,
        value: Option<Vec<u8>>,
        answer: oneshot::Sender<Result<Revision, StoreError>>,
    },
    Soon {
        /// None deletes.
        records: Vec<(String, Option<Vec<u8>>)>,
    },
    Append {
        key: String,
        value: Vec<u8>,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    Replace {
        records: Vec<(String, Vec<u8>)>,
        kept: &'static [&'static str],
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    Flush {
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    Stop,
}

impl Job {
    /// Whether somebody waits for it.
    pub fn is_awaited(&self) -> bool {
        !matches!(self, Self::Soon { .. })
    }

    /// Bytes that it writes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Write { value, .. } => value.as_ref().map_or(0, Vec::len),
            Self::Soon { records } => records.iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).sum(),
            Self::Append { value, .. } => value.len(),
            Self::Replace { records, .. } => records.iter().map(|(key, value)| key.len() + value.len()).sum(),
            Self::Flush { .. } | Self::Stop => 0,
        }
    }
}

pub(super) fn start(
    shared: Arc<Shared>,
    jobs: Arc<Queue>,
    soon_bytes: Arc<AtomicUsize>,
) -> Result<JoinHandle<()>, StoreError> {
    let writer = Writer { shared, jobs, soon_bytes, kept: Vec::new(), met_another: None };
    std::thread::Builder::new()
        .name("keyhole-store".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| StoreError::Failed(format!("its writer could not be started: {error}")))
}

struct Writer {
    shared: Arc<Shared>,
    jobs: Arc<Queue>,
    soon_bytes: Arc<AtomicUsize>,
    /// Writes that failed and that something stands on, or that nobody waited for: tried again before
    /// anything else.
    kept: Vec<(String, Option<Vec<u8>>)>,
    /// When another process was last found writing.
    met_another: Option<Instant>,
}

/// What a job's waiter is told once the commit has ended.
enum Outcome {
    Written(Revision),
    Conflict,
}

impl Writer {
    fn run(mut self) {
        loop {
            let mut jobs = self.jobs.take(IDLE, GATHER).into_iter().peekable();
            let mut stop = false;
            loop {
                let batch = next_batch(&mut jobs);
                stop |= batch.iter().any(|job| matches!(job, Job::Stop));
                self.commit(batch);
                if jobs.peek().is_none() {
                    break;
                }
            }
            self.shared.drop_stale_snapshot();
            if stop {
                return;
            }
        }
    }

    /// Commits the batch and tells everyone who waits how it went.
    fn commit(&mut self, batch: Vec<Job>) {
        match self.try_commit(&batch) {
            Ok(outcomes) => {
                self.kept.clear();
                self.shared.set_soon_failed(None);
                self.answer(batch, outcomes);
            }
            Err(error) => self.refuse(batch, &error),
        }
    }

    fn try_commit(&mut self, batch: &[Job]) -> Result<Vec<Outcome>, StoreError> {
        let writes = |job: &Job| !matches!(job, Job::Flush { .. } | Job::Stop);
        if self.kept.is_empty() && !batch.iter().any(writes) {
            return Ok(Vec::new());
        }
        let shared = Arc::clone(&self.shared);
        let mut opened = shared.opened()?;
        for _ in 0..3 {
            let error = match guarded(shared.path(), || Ok(self.transact(&opened, batch))) {
                Ok(Ok(outcomes)) => return Ok(outcomes),
                Ok(Err(Failure::Latched)) => {
                    opened = shared.reopen(Some(opened))?;
                    continue;
                }
                Ok(Err(Failure::Unsure(before))) => {
                    opened = shared.reopen(Some(opened))?;
                    // A second time, it could meet what it wrote itself, and take that for a conflict.
                    if shared.revision()? == before {
                        continue;
                    }
                    return Err(StoreError::Failed(
                        "the disk failed during a write, which may be kept or not".to_owned(),
                    ));
                }
                Ok(Err(Failure::Store(error @ StoreError::Held { .. }))) => return Err(error),
                Ok(Err(Failure::Store(error))) | Err(error) => error,
            };
            // redb's handle is of no use after a failure. Whether the file can be opened again
            // concerns whoever comes next.
            let _ = shared.reopen(Some(opened));
            return Err(error);
        }
        Err(disk_fails())
    }

    /// Writes the batch in one transaction. One outcome for each job that writes and is waited for.
    fn transact(&mut self, opened: &Opened, batch: &[Job]) -> Result<Vec<Outcome>, Failure> {
        let fail = |error: StorageError| opened.failure(error);
        let writing = self.begin(opened)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        let (before, changed) = {
            let mut meta = writing.open_table(META).map_err(|error| opened.failure(error))?;
            let mut records = writing.open_table(RECORDS).map_err(|error| opened.failure(error))?;
            let before = meta.get(REVISION_KEY).map_err(fail)?.map_or(0, |found| found.value());
            let mut revision = before;
            for (key, value) in &self.kept {
                revision += 1;
                put(&mut records, key, revision, value.as_deref()).map_err(fail)?;
            }
            for job in batch {
                match job {
                    Job::Soon { records: all } => {
                        for (key, value) in all {
                            revision += 1;
                            put(&mut records, key, revision, value.as_deref()).map_err(fail)?;
                        }
                    }
                    Job::Append { key, value, .. } => {
                        revision += 1;
                        records.insert(key.as_str(), (revision, value.as_slice())).map_err(fail)?;
                        outcomes.push(Outcome::Written(revision));
                    }
                    Job::Write { key, expect, value, .. } => {
                        if holds(*expect, &records, key).map_err(fail)? {
                            revision += 1;
                            put(&mut records, key, revision, value.as_deref()).map_err(fail)?;
                            outcomes.push(Outcome::Written(revision));
                        } else {
                            outcomes.push(Outcome::Conflict);
                        }
                    }
                    Job::Replace { records: all, kept, .. } => {
                        let stays = |key: &str, _: (u64, &[u8])| kept.iter().any(|prefix| key.starts_with(prefix));
                        records.retain(stays).map_err(fail)?;
                        // Higher than any key had: what was read before is no longer what is there.
                        revision += 1;
                        for (key, value) in all {
                            records.insert(key.as_str(), (revision, value.as_slice())).map_err(fail)?;
                        }
                    }
                    Job::Flush { .. } | Job::Stop => {}
                }
            }
            if revision != before {
                meta.insert(REVISION_KEY, revision).map_err(fail)?;
            }
            (before, revision != before)
        };
        if changed {
            writing.commit().map_err(|error| match opened.failure(error) {
                Failure::Latched => Failure::Unsure(before),
                failure => failure,
            })?;
        } else {
            writing.abort().map_err(fail)?;
        }
        Ok(outcomes)
    }

    /// Begins a transaction, waiting for other processes to end theirs. Asks again and again
    /// instead of blocking, so that a stopped process can't take this one along.
    fn begin(&mut self, opened: &Opened) -> Result<WriteTransaction, Failure> {
        if self.met_another.is_some_and(|met| met.elapsed() < MANNERS) {
            std::thread::sleep(GAP);
        }
        let started = Instant::now();
        loop {
            if let Some(writing) = opened.try_begin_write()? {
                return Ok(writing);
            }
            self.met_another = Some(Instant::now());
            let waited = started.elapsed();
            if waited > HELD_TOO_LONG {
                let path = self.shared.path();
                return Err(Failure::Store(StoreError::Held {
                    place: path.display().to_string(),
                    holder: holder(path),
                }));
            }
            std::thread::sleep((waited / 16).clamp(Duration::from_micros(50), Duration::from_millis(5)));
        }
    }

    fn answer(&self, batch: Vec<Job>, outcomes: Vec<Outcome>) {
        let mut outcomes = outcomes.into_iter();
        // There is one outcome for each of these; whoever stopped waiting does not hear it.
        let mut next = || outcomes.next().unwrap_or(Outcome::Conflict);
        for job in batch {
            match job {
                Job::Write { key, answer, .. } => {
                    let _ = answer.send(match next() {
                        Outcome::Written(revision) => Ok(revision),
                        Outcome::Conflict => Err(StoreError::Conflict { key }),
                    });
                }
                Job::Append { answer, .. } => {
                    next();
                    let _ = answer.send(Ok(()));
                }
                Job::Replace { answer, .. } | Job::Flush { answer } => {
                    let _ = answer.send(Ok(()));
                }
                job @ Job::Soon { .. } => {
                    self.soon_bytes.fetch_sub(job.bytes(), Ordering::Relaxed);
                }
                Job::Stop => {}
            }
        }
    }

    fn refuse(&mut self, batch: Vec<Job>, error: &StoreError) {
        let (mut writers, mut waiters) = (Vec::new(), Vec::new());
        for job in batch {
            match job {
                Job::Write { answer, .. } => writers.push(answer),
                Job::Replace { answer, .. } | Job::Flush { answer } => waiters.push(answer),
                Job::Append { key, value, answer } => {
                    // What was handed over after it may be in the store by the time it is tried again.
                    self.kept.push((key, Some(value)));
                    waiters.push(answer);
                }
                ref job @ Job::Soon { ref records } => {
                    self.soon_bytes.fetch_sub(job.bytes(), Ordering::Relaxed);
                    self.kept.extend(records.iter().cloned());
                }
                Job::Stop => {}
            }
        }
        // Before anyone hears of it: their next record must not be taken over as if nothing had failed.
        self.shared.set_soon_failed((!self.kept.is_empty()).then(|| error.clone()));
        for answer in writers {
            drop(answer.send(Err(error.clone())));
        }
        for answer in waiters {
            drop(answer.send(Err(error.clone())));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs.close();
    }
}

fn next_batch(jobs: &mut Peekable<vec::IntoIter<Job>>) -> Vec<Job> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    while batch.len() < MAX_BATCH_JOBS && bytes < MAX_BATCH_BYTES {
        let Some(job) = jobs.next() else { break };
        bytes += job.bytes();
        batch.push(job);
    }
    batch
}

/// Writes the record, or deletes it for `None`.
fn put(
    records: &mut Table<'_, &'static str, (u64, &'static [u8])>,
    key: &str,
    revision: Revision,
    value: Option<&[u8]>,
) -> Result<(), StorageError> {
    match value {
        Some(value) => records.insert(key, (revision, value)).map(drop),
        None => records.remove(key).map(drop),
    }
}

fn holds(
    expect: Expect,
    records: &Table<'_, &'static str, (u64, &'static [u8])>,
    key: &str,
) -> Result<bool, StorageError> {
    let present = match expect {
        Expect::Any => return Ok(true),
        Expect::Absent => None,
        Expect::Revision(revision) => Some(revision),
    };
    Ok(records.get(key)?.map(|found| found.value().0) == present)
}
