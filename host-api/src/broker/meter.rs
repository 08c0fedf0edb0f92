//! The books kept on requests: what a run, an account and the workspace have used of their limits.
//!
//! Who is over a limit waits for their turn if it comes soon enough, and is told when it would come if not. Nothing
//! of a request is sent, nor is an answer asked for, on credit.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::{Limits, Rate, Share, Shares};
use super::{Brokered, SendError};
use crate::accounts::AccountId;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

/// A bucket of tokens, and what fills it.
struct Bucket {
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        // A rate is at most one in a nanosecond, so the period is one at least.
        let period = (rate.per() / rate.amount().get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(rate.amount()));
        Self { rate, limiter: RateLimiter::direct(quota.allow_burst(rate.amount())) }
    }

    /// Takes `count`, or says how long it would be until they are there. None if they never are.
    fn take(&self, count: NonZeroU32) -> Result<(), Option<Duration>> {
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Some(until.wait_time_from(self.limiter.clock().now()))),
            Err(_) => Err(None),
        }
    }
}

/// Bytes, counted in whole KiB.
struct Bytes {
    bucket: Bucket,
    seen: AtomicU64,
}

impl Bytes {
    fn take(&self, bytes: u64) -> Result<(), String> {
        let before = self.seen.fetch_add(bytes, Ordering::Relaxed);
        let kib = (before + bytes) / 1024 - before / 1024;
        let Some(kib) = NonZeroU32::new(u32::try_from(kib).unwrap_or(u32::MAX)) else { return Ok(()) };
        self.bucket.take(kib).map_err(again_in)
    }
}

/// When to try again, for a person.
fn again_in(wait: Option<Duration>) -> String {
    match wait {
        Some(wait) => format!("try again in {} s", wait.as_secs() + 1),
        None => "send less at a time".to_owned(),
    }
}

/// The books on one account, or on the workspace.
pub(super) struct Meter {
    whose: &'static str,
    at_once: Option<(usize, Arc<Semaphore>)>,
    requests: Vec<Bucket>,
    out: Option<Bytes>,
    back: Option<Bytes>,
}

impl Meter {
    fn new(whose: &'static str, share: &Share) -> Self {
        let bytes = |rate: Option<Rate>| rate.map(|rate| Bytes { bucket: Bucket::new(rate), seen: AtomicU64::new(0) });
        Self {
            whose,
            at_once: share.at_once.map(|most| (most, Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))),
            requests: share.requests.iter().copied().map(Bucket::new).collect(),
            out: bytes(share.kib_out),
            back: bytes(share.kib_in),
        }
    }

    /// Lets one request in, which may wait for its turn for so long.
    pub(super) async fn enter(&self, patience: Duration) -> Result<Option<OwnedSemaphorePermit>, SendError> {
        let until = Instant::now() + patience;
        let whose = self.whose;
        for bucket in &self.requests {
            turn(bucket, until, |again| format!("{whose} may send {}; {again}", bucket.rate.of("requests"))).await?;
        }
        for (bytes, way) in [(&self.out, Way::Out), (&self.back, Way::In)] {
            let Some(bytes) = bytes else { continue };
            let what = said(way);
            // At once or not at all: one that had to wait would be cut soon after.
            turn(&bytes.bucket, Instant::now(), |again| {
                format!("{whose} may {what} {}; {again}", bytes.bucket.rate.of("KiB"))
            })
            .await?;
        }
        let Some((most, places)) = &self.at_once else { return Ok(None) };
        let place = tokio::time::timeout_at(until.into(), places.clone().acquire_owned()).await;
        match place {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(SendError::Limit(format!("{most} requests of {whose} are open; try again when some have ended"))),
        }
    }

    fn bytes(&self, way: Way, count: u64) -> Result<(), String> {
        let Some(bytes) = (match way {
            Way::Out => &self.out,
            Way::In => &self.back,
        }) else {
            return Ok(());
        };
        bytes
            .take(count)
            .map_err(|again| format!("{} may {} {}; {again}", self.whose, said(way), bytes.bucket.rate.of("KiB")))
    }
}

fn said(way: Way) -> &'static str {
    match way {
        Way::Out => "send",
        Way::In => "receive",
    }
}

/// Waits for one token, if it comes in time.
async fn turn(bucket: &Bucket, until: Instant, said: impl Fn(String) -> String) -> Result<(), SendError> {
    while let Err(wait) = bucket.take(NonZeroU32::MIN) {
        match wait {
            Some(wait) if Instant::now() + wait < until => tokio::time::sleep(wait).await,
            _ => return Err(SendError::Limit(said(again_in(wait)))),
        }
    }
    Ok(())
}

/// What a run has used of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes_out: u64,
    /// Bytes of their answers' bodies.
    pub bytes_in: u64,
}

impl Spent {
    /// With these requests, too.
    #[must_use]
    pub fn and(self, requests: &[Brokered]) -> Self {
        requests.iter().fold(self, |sum, request| Self {
            requests: sum.requests.saturating_add(1),
            bytes_out: sum.bytes_out.saturating_add(request.bytes_out),
            bytes_in: sum.bytes_in.saturating_add(request.bytes_in),
        })
    }
}

/// The books on one run. Every attempt at every step of it is handed the same.
pub struct RunBooks {
    limits: Limits,
    requests: AtomicU64,
    out: AtomicU64,
    back: AtomicU64,
    rate: Option<Bucket>,
    places: Arc<Semaphore>,
}

impl RunBooks {
    /// Of a run that begins.
    pub fn new(limits: Limits) -> Arc<Self> {
        Self::resumed(limits, Spent::default())
    }

    /// Of a run that goes on after it has spent this.
    pub fn resumed(limits: Limits, spent: Spent) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicU64::new(spent.requests),
            out: AtomicU64::new(spent.bytes_out),
            back: AtomicU64::new(spent.bytes_in),
            rate: limits.rate.map(Bucket::new),
            places: Arc::new(Semaphore::new(limits.at_once.min(Semaphore::MAX_PERMITS))),
            limits,
        })
    }

    /// What the run is held to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts one request more.
    pub(super) fn count(&self) -> Result<(), SendError> {
        let most = self.limits.requests;
        match self.requests.fetch_add(1, Ordering::Relaxed) < most {
            true => Ok(()),
            false => Err(SendError::Limit(format!("a run may send {most} requests"))),
        }
    }

    /// Lets one request of the run in, which may wait for its turn for so long. Gives its place among those at once.
    pub(super) async fn enter(&self, patience: Duration) -> Result<OwnedSemaphorePermit, SendError> {
        let until = Instant::now() + patience;
        if let Some(bucket) = &self.rate {
            turn(bucket, until, |again| format!("a run may send {}; {again}", bucket.rate.of("requests"))).await?;
        }
        match tokio::time::timeout_at(until.into(), self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => {
                let open = self.limits.at_once;
                Err(SendError::Limit(format!("{open} requests of this run are open; end some first")))
            }
        }
    }

    fn bytes(&self, way: Way, count: u64) -> Result<(), String> {
        let (so_far, most) = match way {
            Way::Out => (&self.out, self.limits.bytes_out),
            Way::In => (&self.back, self.limits.bytes_in),
        };
        match so_far.fetch_add(count, Ordering::Relaxed).saturating_add(count) > most {
            true => Err(format!("a run may {} {most} bytes in all", said(way))),
            false => Ok(()),
        }
    }
}

/// Everybody in whose books a request's bytes are.
#[derive(Clone)]
pub(super) struct Tally {
    run: Arc<RunBooks>,
    others: Vec<Arc<Meter>>,
}

impl Tally {
    pub(super) fn new(run: Arc<RunBooks>) -> Self {
        Self { run, others: Vec::new() }
    }

    /// From now on `meter` counts them, too.
    pub(super) fn add(&mut self, meter: Arc<Meter>) {
        self.others.push(meter);
    }

    /// Counts bytes that are about to go out, or came in.
    ///
    /// # Errors
    /// They must not be passed on; the text says whose limit it is.
    pub(super) fn bytes(&self, way: Way, count: usize) -> Result<(), String> {
        let count = count as u64;
        self.run.bytes(way, count)?;
        self.others.iter().try_for_each(|meter| meter.bytes(way, count))
    }
}

/// The books on everything that runs share.
pub(super) struct Meters {
    shares: Shares,
    workspace: Option<Arc<Meter>>,
    accounts: Arc<Mutex<Accounts>>,
}

/// How many accounts are kept before those that nobody uses are looked for.
const ACCOUNTS: usize = 1024;

struct Accounts {
    meters: HashMap<AccountId, (Instant, Arc<Meter>)>,
    /// So many, and those with nothing in their books are taken out.
    sweep_at: usize,
}

impl Meters {
    pub(super) fn new(shares: Shares) -> Self {
        let workspace = kept(&shares.workspace).then(|| Arc::new(Meter::new("the workspace", &shares.workspace)));
        let accounts = Arc::new(Mutex::new(Accounts { meters: HashMap::new(), sweep_at: ACCOUNTS }));
        Self { shares, workspace, accounts }
    }

    /// The same with other limits. Those that stay as they are keep their books.
    pub(super) fn changed(&self, shares: Shares) -> Self {
        let mut fresh = Self::new(shares);
        if fresh.shares.workspace == self.shares.workspace {
            fresh.workspace = self.workspace.clone();
        }
        if fresh.shares.account == self.shares.account {
            fresh.accounts = self.accounts.clone();
        }
        fresh
    }

    /// Whether there is anything that requests are held to.
    pub(super) fn any(&self) -> bool {
        self.workspace.is_some() || kept(&self.shares.account)
    }

    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    pub(super) fn workspace(&self) -> Option<&Arc<Meter>> {
        self.workspace.as_ref()
    }

    pub(super) fn account(&self, id: &AccountId) -> Option<Arc<Meter>> {
        let share = &self.shares.account;
        if !kept(share) {
            return None;
        }
        let now = Instant::now();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((used, meter)) = accounts.meters.get_mut(id) {
            *used = now;
            return Some(meter.clone());
        }
        if accounts.meters.len() >= accounts.sweep_at {
            // Who used nothing for that long has full buckets, as a new one has.
            let rates = share.requests.iter().chain(&share.kib_out).chain(&share.kib_in);
            let full_after = rates.map(Rate::per).max().unwrap_or_default();
            accounts.meters.retain(|_, (used, meter)| now - *used < full_after || Arc::strong_count(meter) > 1);
            accounts.sweep_at = ACCOUNTS.max(accounts.meters.len() * 2);
        }
        let meter = Arc::new(Meter::new("the account", share));
        accounts.meters.insert(id.clone(), (now, meter.clone()));
        Some(meter)
    }
}

/// Whether the share limits anything.
fn kept(share: &Share) -> bool {
    *share != Share::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(amount: u32, per: Duration) -> Rate {
        Rate::new(NonZeroU32::new(amount).unwrap(), per).unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn bounded_a_full_bucket_lets_so_many_in_and_says_when_the_next_may_come() {
        let meter = Meter::new("the account", &Share { requests: vec![rate(3, HOUR)], ..Share::default() });
        for _ in 0..3 {
            meter.enter(Duration::ZERO).await.unwrap();
        }
        let error = meter.enter(Duration::from_secs(60)).await.unwrap_err().to_string();
        assert!(error.contains("the account may send 3 requests an hour; try again in 1200 s"), "{error}");
    }

    #[tokio::test]
    async fn bounded_who_can_wait_gets_a_turn() {
        let meter =
            Meter::new("the account", &Share { requests: vec![rate(50, Duration::from_secs(1))], ..Share::default() });
        let began = Instant::now();
        for _ in 0..60 {
            meter.enter(Duration::from_secs(10)).await.unwrap();
        }
        // Ten more than the bucket holds, at 20 ms each.
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn bounded_a_place_is_free_again_when_its_request_has_ended() {
        let meter = Meter::new("the account", &Share { at_once: Some(1), ..Share::default() });
        let first = meter.enter(Duration::ZERO).await.unwrap();
        assert!(meter.enter(Duration::from_millis(5)).await.is_err());
        drop(first);
        assert!(meter.enter(Duration::from_millis(5)).await.unwrap().is_some());
    }

    #[test]
    fn bounded_bytes_are_counted_however_they_are_cut() {
        let share = Share { kib_out: Some(rate(4, HOUR)), ..Share::default() };
        let meter = Meter::new("the workspace", &share);
        for _ in 0..4 * 1024 + 1023 {
            meter.bytes(Way::Out, 1).unwrap();
        }
        assert!(meter.bytes(Way::Out, 1).is_err());
        meter.bytes(Way::In, u64::MAX >> 1).unwrap();
        // More than the bucket ever holds.
        assert!(Meter::new("the workspace", &share).bytes(Way::Out, 1 << 20).unwrap_err().contains("send less"));
    }

    #[test]
    fn accounts_that_nobody_uses_are_forgotten_and_others_are_not() {
        let share = Share { requests: vec![rate(1000, Duration::from_millis(1))], ..Share::default() };
        let meters = Meters::new(Shares { account: share, ..Shares::default() });
        let account = |n: usize| AccountId::try_from(format!("{n:026}")).unwrap();
        let busy = meters.account(&account(0)).unwrap();
        for n in 1..10 * ACCOUNTS {
            meters.account(&account(n)).unwrap();
            std::thread::yield_now();
        }
        let accounts = meters.accounts.lock().unwrap();
        assert!(accounts.meters.len() < 10 * ACCOUNTS, "{}", accounts.meters.len());
        assert!(accounts.meters.values().any(|(_, meter)| Arc::ptr_eq(meter, &busy)));
    }
}
