//! The audit: one intent on disk before a request with a credential leaves, one
//! outcome after it, one record for each refusal; and one for each act that changes who may do what, on disk before
//! it is answered.
//!
//! Each writer chains its records by hash, keyed with what only the vault can derive, so that a record that
//! was taken out or changed shows (`verify`). A chain has no gap: a record that the disk did not take is
//! tried again before those that follow it. `keep` takes whole beginnings away, and leaves marks.

mod act;
mod entry;
mod follow;
mod keep;
mod keys;
mod list;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::store::{Durable, Store, StoreError};
use crate::vault::{Vault, VaultError};
use entry::{HashKey, Place, began};

pub use act::Act;
pub(crate) use entry::FOLDER;
pub use entry::{Decision, Entry, Head, Kind, Phase, Told, Use};
pub use follow::Follower;
pub use keep::Pruned;
pub(crate) use keep::{MARKS, outdated_marks};
pub(crate) use keys::{Keys, SAVED as SAVED_KEYS};
pub use list::{Concerning, Filter, Page, Status};
pub use verify::{Finding, Verified, Verifier, What};

/// A writer's records lie within so many milliseconds: after a day another one takes over. So what lies
/// far behind a cut is known to have no part before it.
const WRITER_LIVES: i64 = 24 * 60 * 60 * 1000;
/// How long after its intent a request has its outcome, or has none: the longest run takes 750 s.
const OUTCOME_WITHIN: i64 = 15 * 60 * 1000;
/// How often a writer looks at what others wrote.
const LOOK: Duration = Duration::from_secs(5 * 60);
/// How many of the newest records it looks at then.
const LOOKED_AT: usize = 32;

/// Whether a request waits for its intent to be on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditMode {
    /// The intent is on disk before the request leaves.
    #[default]
    Strict,
    /// Records are on disk within 50 ms. Once writing has failed, nothing more is sent.
    Relaxed,
}

/// Why the audit could not take or give a record. Nothing with a credential is sent then.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store failed.
    #[error("the audit could not be written, so nothing is sent: {0}")]
    Store(#[from] StoreError),
    /// A record could not be encoded or decoded.
    #[error("an audit record is damaged: {0}")]
    Format(#[from] serde_json::Error),
    /// There is no key for the hashes.
    #[error("the audit's records can't be hashed, so nothing is sent: {0}")]
    Key(#[from] VaultError),
    /// The disk did not take the record when it should have. It is tried again, so an outcome is owed.
    #[error("the audit could not be written, so nothing is sent: {0}")]
    Late(StoreError),
    /// An act was done, and the disk did not take its record.
    #[error("it was done, but the audit could not be written, and does not tell of it: {0}")]
    Act(StoreError),
    /// What was to be removed is still to come.
    #[error("records of the time to come can't be removed; name a time that is past")]
    Future,
}

struct Chain {
    writer: Ulid,
    seq: u64,
    prev: String,
    /// When its latest record was written, in milliseconds since 1970: the clock may be set back, and the
    /// order of keys is the chain's.
    millis: i64,
    /// What the next intent or act tells of others' records.
    seen: Vec<Head>,
    /// When others' records were last looked at.
    looked: Option<Instant>,
    /// Outcomes that the store did not take over. There are no more than requests were under way when it
    /// began to fail: it takes no intent then.
    owed: Vec<Use>,
    /// What hashes are keyed with, and the id of its master key.
    key: Option<(String, HashKey)>,
}

impl Chain {
    fn begin(at: Timestamp) -> Self {
        let writer = Ulid::generate();
        let millis = at.as_millisecond();
        let (seen, owed) = (Vec::new(), Vec::new());
        Self { writer, seq: 0, prev: String::new(), millis, seen, looked: None, owed, key: None }
    }
}

/// Writes and reads the audit of one store.
pub struct Audit {
    store: Arc<dyn Store>,
    keys: Keys,
    relaxed: AtomicBool,
    chain: Mutex<Chain>,
}

impl Audit {
    /// An audit with a writer of its own. Whoever has the master keys of `vault` can verify what it writes.
    pub fn new(store: Arc<dyn Store>, vault: &Arc<Vault>, workspace: &str, mode: AuditMode) -> Self {
        let audit = Self {
            store,
            keys: Keys::new(vault, workspace),
            relaxed: AtomicBool::default(),
            chain: Mutex::new(Chain::begin(Timestamp::now())),
        };
        audit.set_mode(mode);
        audit
    }

    /// How strictly it is kept from the next record on.
    pub(super) fn set_mode(&self, mode: AuditMode) {
        self.relaxed.store(mode == AuditMode::Relaxed, Ordering::Relaxed);
    }

    /// Records that a request is about to leave. Returns when it may.
    ///
    /// # Errors
    /// It must not leave. After [`AuditError::Late`] the record will be there all the same, and wants an outcome.
    pub async fn intent(&self, used: &Use) -> Result<(), AuditError> {
        self.look_around().await?;
        let Some(durable) = self.append(Phase::Intent, Told::Use(used.clone()))? else { return Ok(()) };
        let mut waiting = Waiting { audit: self, used: Some(used) };
        let written = durable.await;
        waiting.used = None;
        written.map_err(AuditError::Late)
    }

    /// Records how a request ended. Does not wait for the disk: the intent is there.
    ///
    /// # Errors
    /// It could not be recorded yet. It will be as soon as anything is.
    pub fn outcome(&self, used: &Use) -> Result<(), AuditError> {
        let recorded = self.append_soon(Phase::Outcome, used);
        if recorded.is_err() {
            self.chain().owed.push(used.clone());
        }
        recorded
    }

    /// Records a refusal. Nothing left the host, so nothing waits for the disk.
    ///
    /// # Errors
    /// It could not be recorded.
    pub fn refusal(&self, used: &Use) -> Result<(), AuditError> {
        self.append_soon(Phase::Refusal, used)
    }

    /// Returns once every record so far is on disk.
    ///
    /// # Errors
    /// Some are not.
    pub async fn flush(&self) -> Result<(), AuditError> {
        self.settle_debts(&mut self.chain());
        Ok(self.store.flush().await?)
    }

    fn append_soon(&self, phase: Phase, used: &Use) -> Result<(), AuditError> {
        self.chained(phase, Told::Use(used.clone()), |key, value| self.store.write_soon(key, value))
    }

    /// Gives what to wait for, if what the record tells of must wait for the disk.
    fn append(&self, phase: Phase, told: Told) -> Result<Option<Durable>, AuditError> {
        self.chained(phase, told, |key, value| match self.relaxed.load(Ordering::Relaxed) {
            false => self.store.append(key, value).map(Some),
            true => self.store.write_soon(key, value).map(|()| None),
        })
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands records to the store in the order of their chain: the lock is held while
    /// a record is handed over, never while it is waited for.
    fn chained<T>(
        &self,
        phase: Phase,
        told: Told,
        hand_over: impl FnOnce(&str, Vec<u8>) -> Result<T, StoreError>,
    ) -> Result<T, AuditError> {
        let mut chain = self.chain();
        self.settle_debts(&mut chain);
        self.put(&mut chain, phase, told, hand_over)
    }

    /// The chain goes on only if the store took the record over: then it will stand before all that follow.
    fn put<T>(
        &self,
        chain: &mut Chain,
        phase: Phase,
        told: Told,
        hand_over: impl FnOnce(&str, Vec<u8>) -> Result<T, StoreError>,
    ) -> Result<T, AuditError> {
        let now = Timestamp::now();
        if now.as_millisecond() - began(chain.writer) >= WRITER_LIVES {
            let (owed, key) = (std::mem::take(&mut chain.owed), chain.key.take());
            let seen = match chain.seq {
                0 => Vec::new(),
                _ => vec![Head {
                    writer: chain.writer.to_string(),
                    seq: chain.seq,
                    at: at(chain.millis),
                    hash: chain.prev.clone(),
                }],
            };
            *chain = Chain { owed, key, seen, ..Chain::begin(now) };
        }
        let (id, key) = self.keys.current(chain.key.take())?;
        let millis = chain.millis.max(now.as_millisecond());
        let place = Place { millis, writer: chain.writer, seq: chain.seq + 1 };
        let waited_for = matches!(phase, Phase::Intent | Phase::Act);
        let mut entry = Entry {
            v: told.format(),
            key: Some(id.clone()),
            at: Some(place.at()),
            writer: place.writer.to_string(),
            seq: place.seq,
            prev: chain.prev.clone(),
            seen: if waited_for { chain.seen.clone() } else { Vec::new() },
            phase,
            told,
            hash: String::new(),
        };
        let value = entry.seal(Some(&key))?;
        chain.key = Some((id, key));
        let handed = hand_over(&place.key(), value)?;
        chain.seq = place.seq;
        chain.prev = entry.hash;
        chain.millis = millis;
        if waited_for {
            chain.seen.clear();
        }
        Ok(handed)
    }

    /// Records outcomes that could not be recorded before. What still can't be stays owed.
    fn settle_debts(&self, chain: &mut Chain) {
        while let Some(used) = chain.owed.pop() {
            let told = Told::Use(used.clone());
            if self.put(chain, Phase::Outcome, told, |key, value| self.store.write_soon(key, value)).is_err() {
                chain.owed.push(used);
                return;
            }
        }
    }

    /// Every so often, has the next intent or act tell what others wrote last. Their records can't be taken away
    /// then without that being seen.
    async fn look_around(&self) -> Result<(), AuditError> {
        let own = {
            let mut chain = self.chain();
            if chain.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                return Ok(());
            }
            chain.looked = Some(Instant::now());
            chain.writer.to_string()
        };
        let newest = self.store.scan_back(FOLDER, None, LOOKED_AT).await.inspect_err(|_| self.chain().looked = None)?;
        let mut seen: Vec<Head> = Vec::new();
        for (_, found) in newest {
            // What is damaged is found by whoever verifies.
            let Ok(entry) = serde_json::from_slice::<Entry>(&found.value) else { continue };
            if entry.writer != own
                && let Some(at) = entry.at
                && seen.iter().all(|head| head.writer != entry.writer)
            {
                seen.push(Head { writer: entry.writer, seq: entry.seq, at, hash: entry.hash });
            }
        }
        self.chain().seen.extend(seen);
        Ok(())
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// A request that waits for its intent to be on disk. If the wait is broken off, it is not sent.
struct Waiting<'a> {
    audit: &'a Audit,
    used: Option<&'a Use>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(used) = self.used else { return };
        let reason = "it was given up before it was sent".to_owned();
        let used = Use { decision: Decision::Refused, reason: Some(reason), ..used.clone() };
        self.audit.chain().owed.push(used);
    }
}
