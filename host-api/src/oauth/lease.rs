//! Who refreshes an account's tokens: a record beside the account's, taken by compare and
//! swap. One holder at a time, whatever number of processes there is on the store; one
//! that was killed loses it when it runs out.
//!
//! It also remembers what must outlive a process: that an endpoint is failing, and when a
//! token was last refreshed because the service refused it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::records::Record;

/// How long a lease holds. Its holder renews it as long as it waits for the server, so
/// that this is how long others wait for one that was killed.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How often its holder renews it.
pub(super) const BEAT: Duration = Duration::from_secs(3);
/// Longest time that a failing endpoint is left alone.
const LONGEST: Duration = Duration::from_secs(300);
/// A service that refuses fresh tokens, too, does not do so for want of a refresh.
pub(super) const BETWEEN_REFUSALS: Duration = Duration::from_secs(60);

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// Whose it is: a random name. None if it is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When the holder is taken for dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How often in a row the endpoint failed.
    #[serde(default)]
    pub failures: u32,
    /// When it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Timestamp>,
    /// How it failed, scrubbed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the tokens were last refreshed because the service refused them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Timestamp>,
}

impl Record for Lease {
    const FOLDER: &'static str = "oauth-refreshes";
    const VERSION: u32 = 1;
}

impl Lease {
    /// How long someone else still holds it, if someone does.
    pub(super) fn held(&self, now: Timestamp) -> Option<Duration> {
        self.holder.as_ref()?;
        left(self.until?, now)
    }

    /// How long the endpoint is still left alone.
    pub(super) fn backing_off(&self, now: Timestamp) -> Option<Duration> {
        left(self.again?, now)
    }

    /// Whether a refusal led to a refresh just now.
    pub(super) fn refused_lately(&self, now: Timestamp) -> bool {
        self.refused.is_some_and(|last| left(last + BETWEEN_REFUSALS, now).is_some())
    }

    /// This, taken by `holder`.
    pub(super) fn taken(&self, holder: &str, now: Timestamp) -> Self {
        Self { holder: Some(holder.to_owned()), until: Some(now + LEASE), ..self.clone() }
    }

    /// This, given back after a refresh.
    pub(super) fn done(&self, refused: bool, now: Timestamp) -> Self {
        Self { refused: if refused { Some(now) } else { self.refused }, ..Self::default() }
    }

    /// This, given back after the endpoint failed: it is left alone for one second, two,
    /// four and so on, give or take a quarter, or for as long as it asked.
    pub(super) fn failed(&self, reason: String, asked: Option<Duration>, chance: f64, now: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let own = Duration::from_secs(1 << (failures - 1).min(9)).mul_f64(0.75 + chance / 2.0);
        let wait = asked.map_or(own, |asked| asked.max(own)).min(LONGEST);
        Self { failures, again: Some(now + wait), reason: Some(reason), refused: self.refused, ..Self::default() }
    }
}

fn left(until: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(until.duration_since(now)).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_endpoint_is_left_alone_longer_each_time_up_to_a_limit() {
        let now = Timestamp::UNIX_EPOCH;
        let mut lease = Lease::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            lease = lease.failed("503".into(), None, 0.5, now);
            waits.push(lease.backing_off(now).unwrap().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        let lease = Lease::default().failed("503".into(), Some(Duration::from_secs(30)), 0.0, now);
        assert_eq!(lease.backing_off(now), Some(Duration::from_secs(30)));
        assert_eq!(lease.backing_off(now + Duration::from_secs(30)), None);
        assert_eq!(lease.done(false, now), Lease::default());
    }

    #[test]
    fn a_lease_ends_by_itself() {
        let now = Timestamp::UNIX_EPOCH;
        let lease = Lease::default().taken("a", now);
        assert_eq!(lease.held(now), Some(LEASE));
        assert_eq!(lease.held(now + LEASE), None);
        assert!(BEAT * 3 < LEASE, "a renewal may be late once");
    }
}
