//! When a request is sent again by itself. Only where the workflow asks for it, only what changes nothing when it is
//! sent twice, and only within the time that the step waits for its answer.

use std::time::Duration;

use http::header::{HeaderMap, RETRY_AFTER};
use http::{Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use tokio::time::Instant;
use tower::retry::backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _};
use tower::util::rng::HasherRng;

use super::limits::Timeouts;
use super::{Body, SendError, TransportError};

/// The first wait where the service names none; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest of those waits.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// By how much a wait is made longer or shorter by chance.
const JITTER: f64 = 0.5;

/// The attempts that are left for one request.
pub(super) struct Attempts {
    left: u32,
    until: Instant,
    backoff: ExponentialBackoff,
}

impl Attempts {
    /// So many beyond the first, all of them within `limit`.
    pub(super) fn new(retries: u32, limit: Duration) -> Self {
        let maker = ExponentialBackoffMaker::new(FIRST_WAIT, LONGEST_WAIT, JITTER, HasherRng::default());
        // Its settings are constants that it takes.
        let backoff =
            maker.map_or_else(|_| ExponentialBackoffMaker::default().make_backoff(), |mut m| m.make_backoff());
        Self { left: retries, until: Instant::now() + limit, backoff }
    }

    /// What is left of the time that the step waits.
    pub(super) fn within(&self, timeouts: Timeouts) -> Timeouts {
        Timeouts { first_byte: Some(self.until.saturating_duration_since(Instant::now())), ..timeouts }
    }

    /// When to try again after this outcome, or `None` to leave it at that.
    pub(super) fn next(&mut self, outcome: &Result<Response<Body>, SendError>) -> Option<Instant> {
        let asked = match outcome {
            Ok(answer) if may_pass(answer.status()) => retry_after(answer.headers(), Timestamp::now()),
            Err(SendError::Transport(TransportError::Connect(_) | TransportError::Protocol(_))) => None,
            _ => return None,
        };
        self.left = self.left.checked_sub(1)?;
        let by_itself = self.backoff.next_backoff().deadline();
        let at = asked.map_or(by_itself, |wait| Instant::now() + wait);
        (at < self.until).then_some(at)
    }
}

/// Statuses of a service that has too much to do, or is away (RFC 6585, section 4; RFC 9110, section 15.6).
fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How long the service asks to wait: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<Response<Body>, SendError> {
        let mut answer = Response::builder().status(status);
        if let Some(value) = retry_after {
            answer = answer.header(RETRY_AFTER, value);
        }
        Ok(answer.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap())
    }

    #[test]
    fn retry_after_is_read_in_both_its_forms() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Fri, 02 Jan 2026 03:05:05 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Fri, 02 Jan 2026 03:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["soon", "-3", "1.5", ""] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_as_often_as_was_asked_for_and_within_the_time() {
        let mut attempts = Attempts::new(2, Duration::from_secs(60));
        assert!(attempts.next(&answer(503, None)).is_some());
        assert!(attempts.next(&answer(429, Some("1"))).is_some());
        assert!(attempts.next(&answer(503, None)).is_none(), "the third");
        let mut attempts = Attempts::new(2, Duration::from_secs(60));
        for (status, wait) in [(200, None), (404, None), (500, None), (503, Some("61"))] {
            assert!(attempts.next(&answer(status, wait)).is_none(), "{status}");
        }
        assert!(attempts.next(&Err(SendError::Refused(String::new()))).is_none());
        assert!(attempts.next(&Err(SendError::Transport(TransportError::Timeout))).is_none());
    }

    #[tokio::test]
    async fn waits_grow_and_differ() {
        let mut attempts = Attempts::new(5, Duration::from_secs(600));
        let now = Instant::now();
        let waits: Vec<Duration> = (0..5).map(|_| attempts.next(&answer(503, None)).unwrap() - now).collect();
        for (n, wait) in waits.iter().enumerate() {
            let plain = FIRST_WAIT * (1 << n);
            assert!(*wait >= plain / 2 && *wait <= plain * 2, "{n}: {wait:?}");
        }
    }
}
