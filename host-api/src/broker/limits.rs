//! What may be asked of the broker: by one run, and by all runs together, of one account and of the workspace.

use std::num::NonZeroU32;
use std::time::Duration;

/// Limits on one run's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in all.
    pub requests: u64,
    /// Requests at once; further ones wait for one to end.
    pub at_once: usize,
    /// Requests in a time; further ones wait for their turn.
    pub rate: Option<Rate>,
    /// Bytes of all requests' bodies together.
    pub bytes_out: u64,
    /// Bytes of all answers' bodies together, after their content-encoding is undone.
    pub bytes_in: u64,
    /// Bytes of one request's body.
    pub request_bytes: u64,
    /// Bytes of one answer's body, after its content-encoding is undone.
    pub response_bytes: u64,
    /// Longest wait for an answer's headers.
    pub first_byte: Duration,
    /// Longest wait between two parts of an answer's body.
    pub between_bytes: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 1_000,
            at_once: 64,
            rate: None,
            bytes_out: 4 << 30,
            bytes_in: 4 << 30,
            request_bytes: 100 << 20,
            response_bytes: 100 << 20,
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
        }
    }
}

/// So many in a time: a bucket that holds `amount` and fills up evenly over `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    amount: NonZeroU32,
    per: Duration,
}

impl Rate {
    /// `amount` in every `per`. None if that is more than one in a nanosecond.
    pub fn new(amount: NonZeroU32, per: Duration) -> Option<Self> {
        (u128::from(amount.get()) <= per.as_nanos()).then_some(Self { amount, per })
    }

    /// How many may come at once, and how many in every [`Rate::per`].
    pub fn amount(&self) -> NonZeroU32 {
        self.amount
    }

    /// The time in which an empty bucket is full again.
    pub fn per(&self) -> Duration {
        self.per
    }
}

impl Rate {
    /// As in "50 requests a second".
    pub(super) fn of(&self, what: &str) -> String {
        let each = match self.per.as_secs() {
            1 => "a second",
            60 => "a minute",
            3_600 => "an hour",
            86_400 => "a day",
            _ => return format!("{} {what} in {:?}", self.amount, self.per),
        };
        format!("{} {what} {each}", self.amount)
    }
}

/// Limits on what all runs do together. Each process counts for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Requests at once; further ones wait for one to end.
    pub at_once: Option<usize>,
    /// Requests in a time, each of which holds.
    pub requests: Vec<Rate>,
    /// KiB of requests in a time. A request counts for its body, and 1 KiB.
    pub kib_out: Option<Rate>,
    /// KiB of answers in a time. An answer counts for its body, and 1 KiB.
    pub kib_in: Option<Rate>,
}

/// The operator's limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// On each run.
    pub run: Limits,
    /// On each account, whoever uses it.
    pub account: Share,
    /// On all requests of the workspace's steps.
    pub workspace: Share,
}

/// A body no longer than this is read whole and checked before its request leaves. A
/// longer one, or one of unknown length, is checked while it streams.
pub const BUFFERED_BODY: u64 = 64 * 1024;

/// Most bytes of a body in which the app's definition has a place for a credential: it must be
/// seen whole.
pub const BODY_WITH_PLACE: u64 = 8 << 20;

/// Time limits that the step asked for on one request. They shorten [`Limits`], never lengthen them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For the answer's headers.
    pub first_byte: Option<Duration>,
    /// Between two parts of the answer's body.
    pub between_bytes: Option<Duration>,
}
