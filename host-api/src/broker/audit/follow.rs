//! New uses and acts as they come, from whichever process on the store.
//!
//! Records are not committed in the order of their keys: each process hands its own over in time. What is
//! new is told by the chains instead: a writer's records are committed in the order of their count. So none
//! is missed, however late the disk took it, and none is told twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use ulid::Ulid;

use super::entry::{Entry, FOLDER, Phase, Place, Told, Use, began};
use super::list::{read, without_outcome};
use super::{Audit, AuditError, OUTCOME_WITHIN};
use crate::store::Store;

/// Records that are read at a time.
const PAGE: usize = 256;
/// How far behind the present new records are looked for each time, in milliseconds. Those of a disk
/// that was slower are found at the next look that goes farther, or with the next of their writer.
const LATE: i64 = 10_000;
/// How far one look in so many goes.
const LATER: i64 = 10 * 60_000;
/// How often it does.
const FAR: Duration = Duration::from_secs(30);

/// Where a writer's chain is.
#[derive(Clone, Copy)]
struct Reached {
    seq: u64,
    millis: i64,
}

/// Tells what is new.
pub struct Follower {
    store: Arc<dyn Store>,
    started: i64,
    writers: HashMap<Ulid, Reached>,
    /// When the round began that looks for new records now.
    round: i64,
    /// The last key of the round so far.
    last: Option<String>,
    /// Where the next round begins.
    next: i64,
    far: Instant,
    /// Intents whose outcomes are to come, oldest first.
    open: VecDeque<(Instant, Use)>,
}

impl Audit {
    /// What comes from now on.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn follow(&self) -> Result<Follower, AuditError> {
        let now = Timestamp::now().as_millisecond();
        let mut writers = HashMap::new();
        // A little farther than is ever looked back for what is new.
        let mut after = Some(Place::from_time(now - 2 * LATER));
        loop {
            let page = self.store.scan(FOLDER, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for place in page.iter().filter_map(|(key, _)| Place::parse(key)) {
                writers.insert(place.writer, Reached { seq: place.seq, millis: place.millis });
            }
        }
        Ok(Follower {
            store: self.store.clone(),
            started: now,
            writers,
            round: now,
            last: None,
            next: now - LATE,
            far: Instant::now(),
            open: VecDeque::new(),
        })
    }
}

impl Follower {
    /// Acts, and uses that have ended, since: some of them at a time, none if there are none. Uses without
    /// an outcome are told once there will be none any more.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn poll(&mut self) -> Result<Vec<Told>, AuditError> {
        let mut new = Vec::new();
        while new.is_empty() {
            if self.last.is_none() {
                self.begin_round();
            }
            let page = self.store.scan(FOLDER, self.last.as_deref(), PAGE).await?;
            let ended = page.len() < PAGE;
            for (key, found) in &page {
                let Some(place) = Place::parse(key) else { continue };
                let reached = self.writers.get(&place.writer).copied();
                if reached.is_some_and(|reached| place.seq <= reached.seq) {
                    continue;
                }
                if place.seq > reached.map_or(1, |reached| reached.seq + 1) {
                    self.catch_up(place, reached, &mut new).await?;
                }
                self.take(place, read(key, &found.value), &mut new);
            }
            self.last = match page.into_iter().next_back() {
                Some((key, _)) if !ended => Some(key),
                _ => None,
            };
            if ended {
                break;
            }
        }
        self.give_up(&mut new);
        Ok(new)
    }

    fn begin_round(&mut self) {
        let now = Timestamp::now().as_millisecond();
        let mut from = self.next.min(now - LATE);
        if self.far.elapsed() >= FAR {
            self.far = Instant::now();
            from = from.min(now - LATER);
            // What is older is never met again, so it can't be taken for new.
            self.writers.retain(|_, reached| reached.millis > now - 2 * LATER);
        }
        self.last = Some(Place::from_time(from));
        self.round = now;
        self.next = now - LATE;
    }

    /// What the writer wrote between what was told of it and `place`, and the disk took late.
    async fn catch_up(
        &mut self,
        place: Place,
        reached: Option<Reached>,
        new: &mut Vec<Told>,
    ) -> Result<(), AuditError> {
        // Of one that is not known, what is older was there before.
        let unknown = || self.started.max(began(place.writer)).max(place.millis - LATER);
        let from = reached.map_or_else(unknown, |reached| reached.millis);
        let mut after = Some(Place::from_time(from));
        loop {
            let page = self.store.scan(FOLDER, after.as_deref(), PAGE).await?;
            let ended = page.len() < PAGE;
            for (key, found) in &page {
                if *key >= place.key() {
                    return Ok(());
                }
                let Some(other) = Place::parse(key).filter(|other| other.writer == place.writer) else { continue };
                if self.writers.get(&other.writer).is_none_or(|reached| other.seq > reached.seq) {
                    self.take(other, read(key, &found.value), new);
                }
            }
            match page.into_iter().next_back() {
                Some((key, _)) if !ended => after = Some(key),
                _ => return Ok(()),
            }
        }
    }

    fn take(&mut self, place: Place, entry: Option<Entry>, new: &mut Vec<Told>) {
        self.writers.insert(place.writer, Reached { seq: place.seq, millis: place.millis });
        let Some(Entry { phase, told, .. }) = entry else { return };
        match (phase, told) {
            (Phase::Intent, Told::Use(used)) => self.open.push_back((Instant::now(), used)),
            (Phase::Outcome, Told::Use(used)) => {
                self.open.retain(|(_, intended)| intended.id != used.id);
                new.push(Told::Use(used));
            }
            (_, told) => new.push(told),
        }
    }

    fn give_up(&mut self, new: &mut Vec<Told>) {
        let within = Duration::from_millis(OUTCOME_WITHIN.unsigned_abs());
        while self.open.front().is_some_and(|(since, _)| since.elapsed() > within) {
            new.extend(self.open.pop_front().map(|(_, used)| Told::Use(without_outcome(used))));
        }
    }
}

#[cfg(test)]
impl Follower {
    /// As if all before were looked at often enough.
    pub(super) fn skip_to_now(&mut self) {
        self.last = Some(Place::from_time(Timestamp::now().as_millisecond() + 30_000));
        self.far = Instant::now();
    }
}
