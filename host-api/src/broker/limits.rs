//! What one run may ask of the broker.

use std::time::Duration;

/// Limits on one run's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in all.
    pub requests: u64,
    /// Requests at once; further ones wait for one to end.
    pub at_once: usize,
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
            request_bytes: 100 << 20,
            response_bytes: 100 << 20,
            first_byte: Duration::from_secs(60),
            between_bytes: Duration::from_secs(60),
        }
    }
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
