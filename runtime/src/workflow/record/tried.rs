//! Attempts at a step that were not its last: what is kept of those that failed and were made again, were held by an
//! account, or asked to be made again. Bounded, since they are in the run's record while it waits.

use jiff::Timestamp;
use keyhole_host_api::broker::Brokered;
use serde::{Deserialize, Serialize};

use super::{RunError, StepRecord};
use crate::engine::{LINE_BYTES, LogLine};

/// The last so many are kept.
const MOST: usize = 10;
/// Of the log of each, so many bytes.
const LOG: usize = 16 << 10;
/// Of its requests, so many.
const REQUESTS: usize = 50;

/// An attempt at a step that was not its last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tried {
    /// The step's name.
    pub step: String,
    /// Its number, from 1 on.
    pub attempt: u32,
    /// When it began.
    pub started: Timestamp,
    /// Milliseconds that it took.
    pub duration_ms: u64,
    /// Its log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    /// Whether lines are missing from the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_cut: bool,
    /// What it asked of the world, at first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Brokered>,
    /// Why it failed. None if it asked to be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
}

impl Tried {
    /// About how long it is in the run's record.
    pub(in crate::workflow) fn bytes(&self) -> usize {
        let log: usize = self.log.iter().map(|line| LINE_BYTES + line.text.len()).sum();
        log + self.requests.len() * size_of::<Brokered>()
    }

    fn did_nothing(&self) -> bool {
        self.log.is_empty() && self.requests.is_empty()
    }
}

/// The attempts before `record`, and that one.
pub(in crate::workflow) fn and(record: StepRecord) -> Vec<Tried> {
    let StepRecord { name, earlier: mut tried, attempts, started, duration_ms, mut log, mut log_cut, .. } = record;
    let mut room = LOG;
    let fits = log.iter().position(|line| match room.checked_sub(LINE_BYTES + line.text.len()) {
        Some(rest) => {
            room = rest;
            false
        }
        None => true,
    });
    if let Some(fits) = fits {
        log.truncate(fits);
        log_cut = true;
    }
    let mut requests = record.requests;
    requests.truncate(REQUESTS);
    let (attempt, error) = (attempts, record.error);
    let last = Tried { step: name, attempt, started, duration_ms, log, log_cut, requests, error };
    // A run that is held by an account is looked at with each start of the process.
    if last.did_nothing() && tried.last().is_some_and(|before| before.attempt == attempt && before.did_nothing()) {
        tried.pop();
    }
    tried.push(last);
    tried.drain(..tried.len().saturating_sub(MOST));
    tried
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Level;

    fn record(attempts: u32, lines: usize) -> StepRecord {
        logged(attempts, lines, &"x".repeat(1000))
    }

    fn logged(attempts: u32, lines: usize, text: &str) -> StepRecord {
        let line = LogLine { time: Timestamp::UNIX_EPOCH, level: Level::Info, text: text.to_owned() };
        StepRecord { log: vec![line; lines], ..StepRecord::begun("a", attempts, Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn the_last_attempts_are_kept_and_of_each_the_beginning_of_its_log() {
        let mut tried = Vec::new();
        for attempt in 1..=12 {
            tried = and(StepRecord { earlier: tried, ..record(attempt, if attempt == 12 { 20 } else { 1 }) });
        }
        assert_eq!(tried.iter().map(|one| one.attempt).collect::<Vec<_>>(), (3..=12).collect::<Vec<_>>());
        assert_eq!((tried[0].log.len(), tried[0].log_cut), (1, false));
        assert_eq!((tried[9].log.len(), tried[9].log_cut), (15, true));
        let empty = and(logged(1, 8000, ""));
        assert_eq!((empty[0].log.len(), empty[0].log_cut), (512, true), "an empty line takes room, too");
    }

    #[test]
    fn what_is_held_over_and_over_is_kept_once() {
        let once = and(record(1, 0));
        assert_eq!(and(StepRecord { earlier: once.clone(), ..record(1, 0) }).len(), 1);
        assert_eq!(and(StepRecord { earlier: once, ..record(1, 1) }).len(), 2);
    }
}
