//! Retention: taking whole beginnings of the audit away, when the operator says so.
//!
//! It leaves marks, hashed like records, so that what it removed is told from what somebody else did: the
//! *horizon*, before which records may be gone, and for each writer that may have records on both sides
//! of it, how far its chain was removed. They are on disk before the first record goes. It must never take an
//! intent whose outcome may be still to come, nor a record that can't be read: that is for somebody to look at.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::entry::{Entry, FOLDER, Phase, Place, Told, UNKEYED, began, hash_of};
use super::keys::Found;
use super::{Audit, AuditError, WRITER_LIVES};
use crate::store::{Expect, Store, StoreError, Versioned};

/// Where the marks are.
pub(crate) const MARKS: &str = "audit-marks/";
/// The horizon's own name.
const HORIZON: &str = "horizon";
/// Records that are removed in one commit.
const BATCH: usize = 500;
/// Records that are read at a time where none is removed.
const PAGE: usize = 256;
/// By how much clocks of processes on one store may differ, in milliseconds.
const SLACK: i64 = 60 * 60 * 1000;
const VERSION: u32 = 1;

/// What retention tells of what it removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    v: u32,
    key: String,
    /// The writer, or `horizon`.
    of: String,
    /// Everything up to here was removed of the writer's chain.
    pub(super) seq: u64,
    /// The hash of the last record that was.
    pub(super) last: String,
    /// Everything before was removed, whose-ever it was.
    pub(super) before: Timestamp,
    /// Whether the writer's records may lie more than a day apart.
    open_ended: bool,
    /// When.
    at: Timestamp,
    /// On whose word.
    by: String,
    hash: String,
}

impl Mark {
    fn key_of(of: &str) -> String {
        format!("{MARKS}{of}")
    }

    fn unhashed(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Self { hash: String::new(), ..self.clone() })
    }

    /// Whether it goes farther than the other.
    fn is_past(&self, other: &Self) -> bool {
        (self.seq, self.before) > (other.seq, other.before)
    }

    /// The mark at `key`, if it is genuine.
    async fn read(key: &str, value: &[u8], keys: &mut Found) -> Result<Option<Self>, AuditError> {
        let Ok(mark) = serde_json::from_slice::<Self>(value) else { return Ok(None) };
        let Some(hash_key) = keys.get(&mark.key).await? else { return Ok(None) };
        let genuine = mark.v == VERSION
            && Self::key_of(&mark.of) == key
            && serde_json::to_vec(&mark)? == value
            && hash_of(&mark.unhashed()?, Some(hash_key)) == mark.hash;
        Ok(genuine.then_some(mark))
    }
}

/// All marks of a store.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) writers: HashMap<Ulid, Mark>,
    horizon: Option<Timestamp>,
    /// The keys of those that are not genuine.
    pub(super) forged: Vec<String>,
}

impl Marks {
    pub(super) async fn read(store: &dyn Store, keys: &mut Found) -> Result<Self, AuditError> {
        let mut marks = Self::default();
        let mut after = None;
        loop {
            let page = store.scan(MARKS, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(marks) };
            after = Some(last.clone());
            for (key, found) in page {
                match Mark::read(&key, &found.value, keys).await? {
                    Some(mark) if mark.of == HORIZON => marks.horizon = Some(mark.before),
                    Some(mark) => match mark.of.parse() {
                        Ok(writer) => drop(marks.writers.insert(writer, mark)),
                        Err(_) => marks.forged.push(key),
                    },
                    None => marks.forged.push(key),
                }
            }
        }
    }

    /// Whether what was there at that time may have been removed.
    pub(super) fn removed_at(&self, at: Timestamp) -> bool {
        self.horizon.is_some_and(|horizon| at < horizon)
    }
}

/// Takes the marks that the store has farther ones in place of out of `records`, which are to be put back.
pub(crate) async fn outdated_marks(
    store: &Arc<dyn Store>,
    records: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), StoreError> {
    let mut outdated = Vec::new();
    for (key, value) in records.iter().filter(|(key, _)| key.starts_with(MARKS)) {
        let Some(there) = store.get(key).await? else { continue };
        let past = match (serde_json::from_slice::<Mark>(&there.value), serde_json::from_slice::<Mark>(value)) {
            (Ok(there), Ok(mark)) => there.is_past(&mark),
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        };
        if past {
            outdated.push(key.clone());
        }
    }
    records.retain(|(key, _)| !outdated.contains(key));
    Ok(())
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// So many records.
    pub removed: u64,
    /// So many are older and were kept: an outcome may be still to come, or they can't be read.
    pub kept: u64,
    /// Whether there are more to remove.
    pub more: bool,
}

impl Audit {
    /// When the record was written after which there are `count`, if there are more.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn newest(&self, count: u64) -> Result<Option<Timestamp>, AuditError> {
        let mut left = count;
        let mut last: Option<String> = None;
        loop {
            let page = self.store.scan_back(FOLDER, last.as_deref(), PAGE).await?;
            if let Ok(at) = usize::try_from(left)
                && let Some((key, _)) = page.get(at)
            {
                return Ok(Place::parse(key).map(|place| super::at(place.millis + 1)));
            }
            left = left.saturating_sub(page.len() as u64);
            match page.into_iter().next_back() {
                Some((key, _)) => last = Some(key),
                None => return Ok(None),
            }
        }
    }

    /// Removes what was written before then, the oldest first, at most `most` records. `by` is on whose word.
    ///
    /// # Errors
    /// [`AuditError::Future`]; whatever the store says. What was removed by then stays removed.
    pub async fn prune(&self, before: Timestamp, by: &str, most: usize) -> Result<Pruned, AuditError> {
        let now = Timestamp::now();
        if before > now {
            return Err(AuditError::Future);
        }
        let cut = before.as_millisecond();
        let mut pruned = Pruned::default();
        let oldest = self.store.scan(FOLDER, None, 1).await?;
        if oldest.first().is_none_or(|(key, _)| Place::parse(key).is_some_and(|place| place.millis >= cut)) {
            return Ok(pruned);
        }
        let mut keys = Found::new(self.keys.clone());
        self.mark((HORIZON, 0, String::new()), before, false, by, &mut keys).await?;
        let held = self.held(cut, now.as_millisecond()).await?;
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(FOLDER, after.as_deref(), BATCH).await?;
            let mut ended = page.len() < BATCH;
            let mut going: Vec<String> = Vec::new();
            let mut reached: HashMap<String, (u64, String, bool)> = HashMap::new();
            for (key, found) in page {
                after = Some(key.clone());
                let (Some(place), Ok(entry)) = (Place::parse(&key), serde_json::from_slice::<Entry>(&found.value))
                else {
                    pruned.kept += 1;
                    continue;
                };
                if place.millis >= cut {
                    ended = true;
                    break;
                }
                if held.get(&place.writer).is_some_and(|from| place.seq >= *from) {
                    pruned.kept += 1;
                    continue;
                }
                let open_ended = entry.v == UNKEYED;
                if open_ended || began(place.writer) + WRITER_LIVES + SLACK >= cut {
                    reached.insert(place.writer.to_string(), (place.seq, entry.hash, open_ended));
                }
                going.push(key);
            }
            for (writer, (seq, last, open_ended)) in reached {
                self.mark((&writer, seq, last), before, open_ended, by, &mut keys).await?;
            }
            pruned.removed += going.len() as u64;
            // Queued together, so they are in one commit; then others have their turn.
            try_join_all(going.iter().map(|key| self.store.write(key, Expect::Any, None))).await?;
            if ended {
                self.tidy_marks(cut, &mut keys).await?;
                return Ok(pruned);
            }
            if pruned.removed >= most as u64 {
                pruned.more = true;
                return Ok(pruned);
            }
        }
    }

    /// Of each writer with an intent that may still have its outcome to come, the first such record.
    async fn held(&self, cut: i64, now: i64) -> Result<HashMap<Ulid, u64>, AuditError> {
        let mut held: HashMap<Ulid, u64> = HashMap::new();
        if cut <= now - WRITER_LIVES {
            return Ok(held);
        }
        let mut open: HashMap<String, Place> = HashMap::new();
        let mut after = Some(Place::from_time(now - WRITER_LIVES));
        loop {
            let page = self.store.scan(FOLDER, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, found) in page {
                let (Some(place), Ok(entry)) = (Place::parse(&key), serde_json::from_slice::<Entry>(&found.value))
                else {
                    continue;
                };
                let Told::Use(used) = entry.told else { continue };
                match entry.phase {
                    Phase::Intent => drop(open.insert(used.id, place)),
                    Phase::Outcome => drop(open.remove(&used.id)),
                    Phase::Refusal | Phase::Act => {}
                }
            }
        }
        for place in open.into_values() {
            let from = held.entry(place.writer).or_insert(place.seq);
            *from = place.seq.min(*from);
        }
        Ok(held)
    }

    /// Puts the mark, unless one that goes as far is there.
    async fn mark(
        &self,
        (of, seq, last): (&str, u64, String),
        before: Timestamp,
        open_ended: bool,
        by: &str,
        keys: &mut Found,
    ) -> Result<(), AuditError> {
        let (key, hash_key) = self.keys.current(None)?;
        let (of, by, at) = (of.to_owned(), by.to_owned(), Timestamp::now());
        let mut mark = Mark { v: VERSION, key, of, seq, last, before, open_ended, at, by, hash: String::new() };
        mark.hash = hash_of(&mark.unhashed()?, Some(&hash_key));
        let (place, value) = (Mark::key_of(&mark.of), serde_json::to_vec(&mark)?);
        loop {
            let there = self.store.get(&place).await?;
            let expect = match &there {
                Some(Versioned { revision, value }) => {
                    match Mark::read(&place, value, keys).await? {
                        Some(there) if !mark.is_past(&there) => return Ok(()),
                        Some(_) => {}
                        None => tracing::warn!(key = place, "a mark of the audit's retention was not genuine"),
                    }
                    Expect::Revision(*revision)
                }
                None => Expect::Absent,
            };
            match self.store.write(&place, expect, Some(value.clone())).await {
                Err(StoreError::Conflict { .. }) => {}
                written => return Ok(written.map(drop)?),
            }
        }
    }

    /// Removes marks of writers that have nothing on this side of the horizon.
    async fn tidy_marks(&self, cut: i64, keys: &mut Found) -> Result<(), AuditError> {
        let marks = Marks::read(&*self.store, keys).await?;
        for (writer, mark) in marks.writers {
            if !mark.open_ended && began(writer) + WRITER_LIVES + SLACK < cut {
                self.store.write(&Mark::key_of(&mark.of), Expect::Any, None).await?;
            }
        }
        Ok(())
    }
}
