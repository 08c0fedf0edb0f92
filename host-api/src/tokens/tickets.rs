//! What waits for one answer from outside: a sign-in that is under way elsewhere, a challenge to a device. It lies in the
//! store under a hash of its ticket, so that any process can take the answer, and is gone with the first one.
//!
//! Anybody can have one made, so there must never be more of them than there may be, nor may it cost much to have one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::store::records::{Record, Records};
use crate::store::{Expect, Revision, Store, StoreError};
use crate::vault::Secret;

/// Those that are left by a look at all of them. More push out the oldest.
const AT_ONCE: usize = 10_000;
/// How often a process looks at all of them.
const TIDY: Duration = Duration::from_secs(10);
/// How many are removed at a time.
const CHUNK: usize = 512;

/// What waits.
pub(crate) trait Waiting: Record {
    /// Until when.
    fn expires(&self) -> Timestamp;
}

/// Those of one kind.
pub(crate) struct Tickets<T> {
    records: Records<T>,
    tidied: Arc<Mutex<Option<Instant>>>,
}

impl<T> Clone for Tickets<T> {
    fn clone(&self) -> Self {
        Self { records: self.records.clone(), tidied: self.tidied.clone() }
    }
}

impl<T: Waiting> Tickets<T> {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { records: Records::new(store), tidied: Arc::default() }
    }

    /// Keeps `waiting` under `ticket`.
    pub(crate) async fn keep(&self, ticket: &str, waiting: &T) -> Result<(), StoreError> {
        if self.is_time() {
            // Whoever has one made does not wait for it, nor fails by it.
            let tickets = self.clone();
            tokio::spawn(async move {
                if let Err(error) = tickets.tidy(AT_ONCE).await {
                    tracing::warn!(%error, folder = T::FOLDER, "what waits for an answer could not be tidied");
                }
            });
        }
        self.records.put(&hash(ticket), Expect::Absent, waiting).await.map(drop)
    }

    /// What waits under `ticket`, if anything still does. It goes on waiting.
    pub(crate) async fn look(&self, ticket: &str) -> Result<Option<(T, Revision)>, StoreError> {
        let found = self.records.get(&hash(ticket)).await?;
        Ok(found.filter(|(waiting, _)| waiting.expires() > Timestamp::now()))
    }

    /// Ends the waiting of what was looked at. Of several who try at once, one is told that it did.
    pub(crate) async fn take(&self, ticket: &str, seen: Revision) -> Result<bool, StoreError> {
        match self.records.delete(&hash(ticket), Expect::Revision(seen)).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_time(&self) -> bool {
        let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        let due = tidied.is_none_or(|at| at.elapsed() >= TIDY);
        if due {
            *tidied = Some(Instant::now());
        }
        due
    }

    /// Removes what nobody can answer any more, and the oldest of what is more than `most`.
    async fn tidy(&self, most: usize) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let (mut waiting, mut gone) = (Vec::new(), Vec::new());
        for (id, one) in self.records.each().await? {
            match one {
                Ok(one) if one.expires() > now => waiting.push((one.expires(), id)),
                // A newer program's are its own to remove.
                Err(StoreError::NewerVersion { .. }) => {}
                Ok(_) | Err(_) => gone.push(id),
            }
        }
        let excess = waiting.len().saturating_sub(most);
        waiting.sort();
        gone.extend(waiting.into_iter().take(excess).map(|(_, id)| id));
        for some in gone.chunks(CHUNK) {
            try_join_all(some.iter().map(|id| self.records.delete(id, Expect::Any))).await?;
        }
        Ok(())
    }
}

/// 256 random bits, as text.
pub(crate) fn random() -> Result<Secret, getrandom::Error> {
    let mut bits = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bits)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bits)))
}

/// The store's name for what the outside calls `text`.
pub(crate) fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::store::redb::RedbStore;

    #[derive(Serialize, Deserialize)]
    struct One {
        expires: Timestamp,
    }

    impl Record for One {
        const FOLDER: &'static str = "tickets-of-tests";
        const VERSION: u32 = 1;
    }

    impl Waiting for One {
        fn expires(&self) -> Timestamp {
            self.expires
        }
    }

    #[tokio::test]
    async fn what_is_over_goes_and_the_newest_stay() {
        let dir = tempfile::tempdir().unwrap();
        let tickets = Tickets::<One>::new(Arc::new(RedbStore::open(dir.path()).unwrap()));
        let now = Timestamp::now();
        for (name, seconds) in [("over", -1), ("older", 60), ("newer", 61), ("newest", 62)] {
            tickets.keep(name, &One { expires: now + Duration::from_secs(100) }).await.unwrap();
            let expires = now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
            tickets.records.update(&hash(name), |one| one.expires = expires).await.unwrap();
        }
        assert!(tickets.look("over").await.unwrap().is_none());
        // One that can't be read stands in nobody's way.
        let damaged = Records::<One>::key("damaged");
        tickets.records.store().write(&damaged, Expect::Any, Some(b"{".to_vec())).await.unwrap();
        tickets.tidy(2).await.unwrap();
        let left: Vec<_> = tickets.records.all().await.unwrap().into_iter().map(|(id, _, _)| id).collect();
        assert_eq!(left.len(), 2);
        for (name, there) in [("older", false), ("newer", true), ("newest", true)] {
            assert_eq!(left.contains(&hash(name)), there, "{name}");
        }
        let (_, seen) = tickets.look("newest").await.unwrap().unwrap();
        let tries = futures_util::future::join_all((0..8).map(|_| tickets.take("newest", seen))).await;
        assert_eq!(tries.into_iter().filter(|tried| *tried == Ok(true)).count(), 1);
    }
}
