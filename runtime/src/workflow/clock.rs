//! The time, so that a test can say what it is.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// What the time is.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Ends when it is `at`, or a while before: whoever waits looks again.
    fn until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The machine's clock may be set anew while somebody waits.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(1);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let left = std::time::Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        Box::pin(tokio::time::sleep(left.min(LONGEST)))
    }
}
