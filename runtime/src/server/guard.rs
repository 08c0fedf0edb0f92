//! Limits that hold for every request, and headers that every answer has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use keyhole_host_api::members::MemberId;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;

use super::problem::Problem;
use crate::workflow::trigger::NESTED;

/// Longest body of a request, in bytes: an account's fields, each at its longest, fit.
pub const MAX_BODY: usize = 256 * 1024;
/// Longest time that a request takes, from its headers to the answer's. Asking a service
/// whether a key works is within it.
pub(super) const LIMIT: Duration = Duration::from_secs(90);

/// How many failed attempts an address has at once, and gets back in a minute.
const BURST: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// After how many failed attempts addresses that failed long ago are forgotten.
const TIDY: u32 = 1024;

/// How many failed attempts of one kind the audit tells of at once, and again in a minute, of all addresses together.
const TOLD: NonZeroU32 = NonZeroU32::new(60).expect("not zero");

/// How many sign-ins an address may begin at once, and gets back in a minute.
const BEGUN: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// The same of all addresses together. What is begun within 10 minutes is less than is kept, so that strangers push out
/// nobody's.
const ALL_BEGUN: NonZeroU32 = NonZeroU32::new(900).expect("not zero");

/// So much in a minute, by network.
struct ByNetwork {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    since_tidy: AtomicU32,
}

impl ByNetwork {
    fn new(burst: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(burst));
        Self { limiter, clock: DefaultClock::default(), since_tidy: AtomicU32::new(0) }
    }

    /// Counts one, or says how many seconds to wait.
    fn count(&self, from: IpAddr) -> Result<(), u64> {
        if self.since_tidy.fetch_add(1, Ordering::Relaxed) >= TIDY {
            self.since_tidy.store(0, Ordering::Relaxed);
            self.limiter.retain_recent();
        }
        let counted = self.limiter.check_key(&network(from));
        counted.map_err(|not_until| not_until.wait_time_from(self.clock.now()).as_secs() + 1)
    }
}

/// Failed attempts to authenticate, by address.
pub(super) struct FailedAttempts(ByNetwork);

impl Default for FailedAttempts {
    fn default() -> Self {
        Self(ByNetwork::new(BURST))
    }
}

impl FailedAttempts {
    /// Notes one, unless there were too many.
    pub(super) fn note(&self, from: IpAddr) -> Result<(), Problem> {
        self.0.count(from).map_err(|wait| {
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many",
                "Too many failed attempts",
                "too many requests from this address had no valid token",
            )
            .help("check the token, and try again later")
            .retry_after(wait)
        })
    }
}

/// Which failed attempts the audit tells of, so that strangers can't fill the disk.
pub(super) struct ToldFailures {
    limiter: DefaultDirectRateLimiter,
    untold: AtomicU64,
}

impl Default for ToldFailures {
    fn default() -> Self {
        Self { limiter: RateLimiter::direct(Quota::per_minute(TOLD)), untold: AtomicU64::new(0) }
    }
}

impl ToldFailures {
    /// Whether to tell of one more: then also of how many that were not told of.
    pub(super) fn count(&self) -> Option<u64> {
        if self.limiter.check().is_err() {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

/// Sign-ins that were begun by whoever came: each lies in the store until it is finished, or over.
pub(super) struct BegunSignIns {
    each: ByNetwork,
    all: DefaultDirectRateLimiter,
}

impl Default for BegunSignIns {
    fn default() -> Self {
        Self { each: ByNetwork::new(BEGUN), all: RateLimiter::direct(Quota::per_minute(ALL_BEGUN)) }
    }
}

impl BegunSignIns {
    /// Counts one that is to begin, unless there were too many.
    pub(super) fn count(&self, from: IpAddr) -> Result<(), Problem> {
        let counted = self.each.count(from).and_then(|()| {
            self.all.check().map_err(|not_until| not_until.wait_time_from(self.each.clock.now()).as_secs() + 1)
        });
        counted.map_err(|wait| {
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many",
                "Too many sign-ins at a time",
                "too many sign-ins were begun within a minute",
            )
            .help("try again later, or sign in with a link or a token")
            .retry_after(wait)
        })
    }
}

/// How many may watch runs at a time. One more sees what its page showed.
const WATCHERS: usize = 256;
/// How many of them one member may be.
const WATCHERS_EACH: usize = 8;

/// Places for those who watch a run in the console, by member.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<MemberId, usize>>);

impl Places {
    /// A place for `member`, if there is one.
    pub(super) fn take(self: &Arc<Self>, member: &MemberId) -> Option<Place> {
        let mut taken = self.taken();
        if taken.values().sum::<usize>() >= WATCHERS || taken.get(member).is_some_and(|theirs| *theirs >= WATCHERS_EACH)
        {
            return None;
        }
        *taken.entry(member.clone()).or_default() += 1;
        Some(Place { of: self.clone(), member: member.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<MemberId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken, until this is dropped.
pub(super) struct Place {
    of: Arc<Places>,
    member: MemberId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Entry::Occupied(mut theirs) = taken.entry(self.member.clone()) {
            *theirs.get_mut() -= 1;
            if *theirs.get() == 0 {
                theirs.remove();
            }
        }
    }
}

/// One customer has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from(u128::from(six) & !u128::from(u64::MAX))),
        four => four,
    }
}

/// Refuses bodies that are too long, whether they say so or not.
pub(super) fn body_limit() -> RequestBodyLimitLayer {
    RequestBodyLimitLayer::new(MAX_BODY)
}

/// Ends a request that takes too long: one whose body never comes, too.
pub(super) async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "time",
            "It took too long",
            format!("the request was not done within {} s", LIMIT.as_secs()),
        )
        .help("see whether it was done all the same, then try again")
        .into_response(),
    }
}

/// Answers are the caller's own, and no page's to interpret.
pub(super) async fn answer_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // The layer for the body's length answers by itself, in plain text.
    let kind = response.headers().get(header::CONTENT_TYPE);
    let by_itself = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE && by_itself {
        response = too_long().into_response();
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A body that is longer than it may be.
pub(super) fn too_long() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-long",
        "The request is too long",
        format!("the body has more than {} KiB", MAX_BODY / 1024),
    )
}

/// JSON that holds values in values in values, beyond what whoever reads it later can.
pub(super) fn too_deep() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed",
        "The request can't be read",
        format!("the body's values are more than {NESTED} levels deep"),
    )
}

/// A bug must end one request, not the server, and its text is nobody's business.
pub(super) fn catch_panic() -> CatchPanicLayer<fn(Box<dyn std::any::Any + Send>) -> Response> {
    fn answer(_: Box<dyn std::any::Any + Send>) -> Response {
        Problem::internal(&std::io::Error::other("a request's handler panicked")).into_response()
    }
    CatchPanicLayer::custom(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_attempts_of_one_address_are_limited_and_of_others_not() {
        let failed = FailedAttempts::default();
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        for _ in 0..BURST.get() {
            failed.note(one).unwrap();
        }
        assert_eq!(failed.note(neighbour).unwrap_err().status, 429);
        failed.note("2001:db8:0:1::1".parse().unwrap()).unwrap();
        failed.note("192.0.2.1".parse().unwrap()).unwrap();
    }

    #[test]
    fn of_failed_attempts_without_end_so_many_are_told_and_the_others_counted() {
        let told = ToldFailures::default();
        let attempts = 100 * u64::from(TOLD.get());
        let counted: Vec<u64> = (0..attempts).filter_map(|_| told.count()).collect();
        // Some come back while this goes on.
        assert!((TOLD.get() as usize..2 * TOLD.get() as usize).contains(&counted.len()), "{}", counted.len());
        let untold = told.untold.load(Ordering::Relaxed);
        assert_eq!(counted.iter().sum::<u64>() + untold + counted.len() as u64, attempts);
    }

    #[test]
    fn one_member_takes_few_of_the_places_and_those_given_back_are_free() {
        let places = Arc::<Places>::default();
        let member = |number: usize| MemberId::try_from(format!("m{number}")).unwrap();
        let mut taken: Vec<_> = std::iter::from_fn(|| places.take(&member(0))).take(WATCHERS).collect();
        assert_eq!(taken.len(), WATCHERS_EACH);
        taken.extend((1..).map_while(|number| places.take(&member(number))));
        assert_eq!(taken.len(), WATCHERS);
        drop(taken);
        assert!(places.taken().is_empty());
        assert!(places.take(&member(0)).is_some());
    }

    #[test]
    fn sign_ins_that_are_begun_are_limited_for_each_and_for_all_together() {
        let begun = BegunSignIns::default();
        let address = |customer: u32| IpAddr::from([10, 0, customer.to_be_bytes()[2], customer.to_be_bytes()[3]]);
        for _ in 0..BEGUN.get() {
            begun.count(address(0)).unwrap();
        }
        assert_eq!(begun.count(address(0)).unwrap_err().status, 429);
        // Some come back while this goes on, so the end of it all is looked for a little further on.
        let refused = (1..=2 * ALL_BEGUN.get()).find(|one| begun.count(address(*one)).is_err());
        assert!(refused.is_some_and(|one| one > ALL_BEGUN.get() - BEGUN.get()), "{refused:?}");
    }
}
