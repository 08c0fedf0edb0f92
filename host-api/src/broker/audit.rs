//! The audit: one intent on disk before a request with a credential leaves, one
//! outcome after it, one record for each refusal.
//!
//! Records never hold a query, a header, a body, a placeholder or a credential. Each
//! writer (one per open store) chains its records by hash, so that a record taken out
//! or changed shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

const FOLDER: &str = "audit/";

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

/// Which side of a request a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The request passed every check and is about to leave.
    Intent,
    /// The request ended: with a status, or with a reason.
    Outcome,
    /// The request was refused; nothing left.
    Refusal,
}

/// What the broker decided of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Sent, with a credential.
    Allowed,
    /// Refused; nothing left the host.
    Refused,
}

/// One use of an account, or the refusal of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Use {
    /// Ties an outcome to its intent.
    pub id: String,
    /// When the intent was written, or the refusal made.
    pub at: Timestamp,
    /// The run.
    pub run: String,
    /// The step within the run.
    pub step: String,
    /// On whose behalf the run was.
    pub member: String,
    /// The account whose placeholder the request carried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<String>,
    /// That account's app.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// The request's method. Empty, with host and path, if the account was refused to the step
    /// before there was a request.
    pub method: String,
    /// The request's host, with the port where it is not the scheme's own.
    pub host: String,
    /// The request's path. Never the query.
    pub path: String,
    /// The answer's status, once there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Bytes of the request's body that were sent.
    #[serde(default)]
    pub bytes_out: u64,
    /// Bytes of the answer's body that were passed on.
    #[serde(default)]
    pub bytes_in: u64,
    /// What was decided.
    pub decision: Decision,
    /// Why it was refused, or how it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// A [`Use`] as it lies in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The record format, 1.
    pub v: u32,
    /// The writer, one for each time that a store was opened.
    pub writer: String,
    /// The writer's count, from 1 and without a gap.
    pub seq: u64,
    /// Hash of the writer's record before this one; empty for its first.
    pub prev: String,
    /// Which side of the request this tells of.
    pub phase: Phase,
    /// What it tells.
    #[serde(rename = "use")]
    pub used: Use,
    /// BLAKE3 over this entry's JSON with `hash` empty.
    pub hash: String,
}

impl Entry {
    fn seal(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        self.hash.clear();
        let hash = blake3::hash(&serde_json::to_vec(self)?);
        self.hash = hash.to_hex().to_string();
        serde_json::to_vec(self)
    }
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
}

struct Chain {
    seq: u64,
    prev: String,
}

/// Writes and lists the audit of one store.
pub struct Audit {
    store: Arc<dyn Store>,
    mode: AuditMode,
    writer: String,
    chain: Mutex<Chain>,
}

impl Audit {
    /// An audit with a writer of its own.
    pub fn new(store: Arc<dyn Store>, mode: AuditMode) -> Self {
        let writer = ulid::Ulid::generate().to_string();
        Self { store, mode, writer, chain: Mutex::new(Chain { seq: 0, prev: String::new() }) }
    }

    /// The mode that it was opened with.
    pub fn mode(&self) -> AuditMode {
        self.mode
    }

    /// Records that a request is about to leave. Returns when it may.
    pub async fn intent(&self, used: &Use) -> Result<(), AuditError> {
        let durable = self.append(Phase::Intent, used)?;
        if let Some(durable) = durable {
            durable.await?;
        }
        Ok(())
    }

    /// Records how a request ended. Does not wait for the disk: the intent is there.
    pub fn outcome(&self, used: &Use) -> Result<(), AuditError> {
        self.append_soon(Phase::Outcome, used)
    }

    /// Records a refusal. Nothing left the host, so nothing waits for the disk.
    pub fn refusal(&self, used: &Use) -> Result<(), AuditError> {
        self.append_soon(Phase::Refusal, used)
    }

    /// Returns once every record so far is on disk.
    pub async fn flush(&self) -> Result<(), AuditError> {
        Ok(self.store.flush().await?)
    }

    fn append(&self, phase: Phase, used: &Use) -> Result<Option<Durable>, AuditError> {
        self.chained(phase, used, |key, value| match self.mode {
            AuditMode::Strict => Ok(Some(self.store.append(key, value))),
            AuditMode::Relaxed => self.store.write_soon(key, value).map(|()| None),
        })
    }

    fn append_soon(&self, phase: Phase, used: &Use) -> Result<(), AuditError> {
        self.chained(phase, used, |key, value| self.store.write_soon(key, value))
    }

    /// Hands records to the store in the order of their chain: the lock is held while
    /// a record is handed over, never while it is waited for.
    fn chained<T>(
        &self,
        phase: Phase,
        used: &Use,
        hand_over: impl FnOnce(&str, Vec<u8>) -> Result<T, StoreError>,
    ) -> Result<T, AuditError> {
        let mut chain = self.chain.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut entry = Entry {
            v: 1,
            writer: self.writer.clone(),
            seq: chain.seq + 1,
            prev: chain.prev.clone(),
            phase,
            used: used.clone(),
            hash: String::new(),
        };
        let value = entry.seal()?;
        // Keys sort by time, then by writer and count, so that a scan reads as a history.
        let millis = Timestamp::now().as_millisecond();
        let key = format!("{FOLDER}{millis:012x}-{}-{:08x}", self.writer, entry.seq);
        let handed = hand_over(&key, value)?;
        chain.seq = entry.seq;
        chain.prev = entry.hash;
        Ok(handed)
    }

    /// Every entry from `since` on, oldest first.
    pub async fn entries(&self, since: Option<Timestamp>) -> Result<Vec<Entry>, AuditError> {
        let mut after = since.map(|at| format!("{FOLDER}{:012x}", at.as_millisecond()));
        let mut entries = Vec::new();
        loop {
            let page = self.store.scan(FOLDER, after.as_deref(), 1000).await?;
            let Some((last, _)) = page.last() else { return Ok(entries) };
            after = Some(last.clone());
            for (_, record) in page {
                entries.push(serde_json::from_slice(&record.value)?);
            }
        }
    }

    /// One [`Use`] for each request, oldest first: an intent and its outcome are one.
    pub async fn uses(&self, since: Option<Timestamp>) -> Result<Vec<Use>, AuditError> {
        let mut order = Vec::new();
        let mut by_id: BTreeMap<String, Use> = BTreeMap::new();
        for entry in self.entries(since).await? {
            let mut used = entry.used;
            if entry.phase == Phase::Intent {
                used.reason = Some("no outcome was recorded".to_owned());
            }
            if by_id.insert(used.id.clone(), used.clone()).is_none() {
                order.push(used.id);
            }
        }
        Ok(order.iter().filter_map(|id| by_id.remove(id)).collect())
    }
}

type Durable = crate::store::Durable;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redb::RedbStore;

    fn used(id: &str) -> Use {
        Use {
            id: id.to_owned(),
            at: Timestamp::now(),
            run: "run".into(),
            step: "step".into(),
            member: "alice".into(),
            account: Some("acct".into()),
            app: Some("acme".into()),
            method: "GET".into(),
            host: "api.acme.example".into(),
            path: "/v1/me".into(),
            status: None,
            bytes_out: 0,
            bytes_in: 0,
            decision: Decision::Allowed,
            reason: None,
        }
    }

    #[tokio::test]
    async fn an_intent_and_its_outcome_are_one_use() {
        for mode in [AuditMode::Strict, AuditMode::Relaxed] {
            let dir = tempfile::tempdir().unwrap();
            let audit = Audit::new(Arc::new(RedbStore::open(dir.path()).unwrap()), mode);
            audit.intent(&used("a")).await.unwrap();
            audit.intent(&used("b")).await.unwrap();
            audit.outcome(&Use { status: Some(200), bytes_in: 7, ..used("a") }).unwrap();
            audit.flush().await.unwrap();
            let uses = audit.uses(None).await.unwrap();
            assert_eq!(uses.len(), 2);
            assert_eq!((uses[0].id.as_str(), uses[0].status, uses[0].bytes_in), ("a", Some(200), 7));
            assert_eq!(uses[1].reason.as_deref(), Some("no outcome was recorded"));
        }
    }

    #[tokio::test]
    async fn each_record_names_the_hash_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(Arc::new(RedbStore::open(dir.path()).unwrap()), AuditMode::Strict);
        for id in ["a", "b", "c"] {
            audit.intent(&used(id)).await.unwrap();
        }
        let entries = audit.entries(None).await.unwrap();
        assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
        for pair in entries.windows(2) {
            assert_eq!(pair[1].prev, pair[0].hash);
            let mut again = pair[0].clone();
            again.seal().unwrap();
            assert_eq!(again.hash, pair[0].hash);
        }
    }
}
