//! Records as they lie in the store: what they hold, where they are, and the hash that makes a chain of
//! them.
//!
//! They never hold a query, a header, a body, a placeholder or a credential.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use zeroize::Zeroizing;

use super::act::Act;

/// Where they are.
pub(crate) const FOLDER: &str = "audit/";
/// The format of what tells of an act, which a program that knows 2 can't read.
pub(super) const OF_ACT: u32 = 3;
/// The format of what tells of a request.
pub(super) const KEYED: u32 = 2;
/// The format of versions that had no key.
pub(super) const UNKEYED: u32 = 1;

/// Most records have no more bytes.
const USUAL_BYTES: usize = 1024;

/// What the hashes are keyed with.
pub(super) type HashKey = Zeroizing<[u8; 32]>;

/// What a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The request passed every check and is about to leave.
    Intent,
    /// The request ended: with a status, or with a reason.
    Outcome,
    /// The request was refused; nothing left.
    Refusal,
    /// No request, but what was done to the workspace.
    Act,
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

/// A record that stood in the store when another one was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its writer.
    pub writer: String,
    /// Its place in that writer's chain.
    pub seq: u64,
    /// When it was written, to the millisecond.
    pub at: Timestamp,
    /// Its hash.
    pub hash: String,
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// An account was used, or its use refused.
    Use(Use),
    /// Something was done to the workspace.
    Act(Act),
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Requests of steps, and accounts that were refused to them.
    Request,
    /// What was done to the workspace.
    Act,
}

impl Told {
    /// Which kind it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Use(_) => Kind::Request,
            Self::Act(_) => Kind::Act,
        }
    }

    /// When it began.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Use(used) => used.at,
            Self::Act(act) => act.at,
        }
    }

    /// The request, if it tells of one.
    pub fn used(self) -> Option<Use> {
        match self {
            Self::Use(used) => Some(used),
            Self::Act(_) => None,
        }
    }

    pub(super) fn format(&self) -> u32 {
        match self {
            Self::Use(_) => KEYED,
            Self::Act(_) => OF_ACT,
        }
    }
}

/// A record as it lies in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The record format: 1, whose hash has no key, 2, or 3 for an act.
    pub v: u32,
    /// Id of the master key that the hash's key is derived from. Not in format 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// When the record was written, to the millisecond: its key in the store begins with it. Not in format 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
    /// The writer: one for each time that a store was opened, and a new one each day.
    pub writer: String,
    /// The writer's count, from 1 and without a gap.
    pub seq: u64,
    /// Hash of the writer's record before this one; empty for its first.
    pub prev: String,
    /// The newest records of other writers, where this writer looked around before it wrote: none of them
    /// can be taken away without this record telling.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub seen: Vec<Head>,
    /// Which side of a request this tells of, or that it tells of none.
    pub phase: Phase,
    /// What it tells: `use` or `act`.
    #[serde(flatten)]
    pub told: Told,
    /// BLAKE3 over this entry's JSON with `hash` empty; keyed, but in format 1.
    pub hash: String,
}

impl Entry {
    /// Sets the hash, and gives the record's JSON.
    pub(super) fn seal(&mut self, key: Option<&HashKey>) -> Result<Vec<u8>, serde_json::Error> {
        self.hash.clear();
        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, self)?;
        self.hash = hash_of(&json, key);
        // It is the last field, and was empty.
        json.truncate(json.len() - r#""}"#.len());
        json.extend_from_slice(self.hash.as_bytes());
        json.extend_from_slice(br#""}"#);
        Ok(json)
    }

    /// The hash that it should have.
    pub(super) fn hashed(&mut self, key: Option<&HashKey>) -> Result<String, serde_json::Error> {
        let stated = std::mem::take(&mut self.hash);
        let hash = hash_of(&serde_json::to_vec(self)?, key);
        self.hash = stated;
        Ok(hash)
    }
}

/// The hash of `json` as text.
pub(super) fn hash_of(json: &[u8], key: Option<&HashKey>) -> String {
    match key {
        Some(key) => blake3::keyed_hash(key, json),
        None => blake3::hash(json),
    }
    .to_hex()
    .to_string()
}

/// Where a record is. Places sort by time, then by writer and count, so that a scan reads as a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Milliseconds since 1970.
    pub(super) millis: i64,
    pub(super) writer: Ulid,
    pub(super) seq: u64,
}

impl Place {
    pub(super) fn key(&self) -> String {
        let Self { millis, writer, seq } = self;
        format!("{FOLDER}{millis:012x}-{writer}-{seq:08x}")
    }

    /// The place that a key names, if it is one that [`Place::key`] gives.
    pub(super) fn parse(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(FOLDER)?.splitn(3, '-');
        let millis = i64::from_str_radix(parts.next()?, 16).ok()?;
        let writer = parts.next()?.parse().ok()?;
        let seq = u64::from_str_radix(parts.next()?, 16).ok()?;
        let place = Self { millis, writer, seq };
        (place.key() == key).then_some(place)
    }

    pub(super) fn at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.millis).unwrap_or_default()
    }

    /// What all places from `millis` on are behind.
    pub(super) fn from_time(millis: i64) -> String {
        format!("{FOLDER}{:012x}", millis.max(0))
    }
}

/// When the writer began, in milliseconds since 1970.
pub(super) fn began(writer: Ulid) -> i64 {
    i64::try_from(writer.timestamp_ms()).unwrap_or(i64::MAX)
}
