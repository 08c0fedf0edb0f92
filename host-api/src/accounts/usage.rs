//! How often accounts are used, and when last. Beside their records: it changes at each use, and must
//! not get in the way of a refresh.
//!
//! It is counted in memory and written within a second. A process that is killed loses what it counted since:
//! the audit is what can be relied on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AccountId;
use crate::store::records::{Record, Records};
use crate::store::{Expect, Store, StoreError};

/// How long counts are gathered before they are written.
const DELAY: Duration = Duration::from_secs(1);

/// How often an account was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    /// Requests that carried its credentials.
    pub(super) times: u64,
    /// The last of them.
    pub(super) last: Timestamp,
}

impl Record for Used {
    const FOLDER: &'static str = "account-uses";
    const VERSION: u32 = 1;
}

/// Counts uses.
pub struct Usage {
    records: Records<Used>,
    pending: Mutex<HashMap<AccountId, Used>>,
}

impl Usage {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { records: Records::new(store), pending: Mutex::default() }
    }

    /// Notes that credentials of the account are about to be sent.
    pub(crate) fn note(self: &Arc<Self>, id: &AccountId) {
        let now = Timestamp::now();
        let first = {
            let mut pending = self.pending();
            let first = pending.is_empty();
            let used = pending.entry(id.clone()).or_insert(Used { times: 0, last: now });
            used.times += 1;
            used.last = used.last.max(now);
            first
        };
        if first {
            let usage = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(DELAY).await;
                if let Err(error) = usage.flush().await {
                    tracing::warn!(%error, "how often accounts were used could not be written");
                }
            });
        }
    }

    /// Writes what was counted. To be called at the end of a program.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let counted: Vec<_> = self.pending().drain().collect();
        for (id, more) in counted {
            self.add(&id, &more).await?;
        }
        Ok(())
    }

    async fn add(&self, id: &AccountId, more: &Used) -> Result<(), StoreError> {
        loop {
            let add = |used: &mut Used| {
                used.times += more.times;
                used.last = used.last.max(more.last);
            };
            if self.records.update(id.as_str(), add).await?.is_some() {
                return Ok(());
            }
            match self.records.put(id.as_str(), Expect::Absent, more).await {
                // Another process was faster.
                Err(StoreError::Conflict { .. }) => {}
                written => return written.map(drop),
            }
        }
    }

    pub(super) async fn of(&self, id: &AccountId) -> Result<Option<Used>, StoreError> {
        Ok(self.records.get(id.as_str()).await?.map(|(used, _)| used))
    }

    /// The same of each.
    pub(super) async fn of_each(&self, ids: impl Iterator<Item = &AccountId>) -> Result<Vec<Option<Used>>, StoreError> {
        let ids: Vec<&str> = ids.map(AccountId::as_str).collect();
        self.records.get_each(&ids).await
    }

    /// Forgets an account that is gone.
    pub(super) async fn forget(&self, id: &AccountId) -> Result<(), StoreError> {
        self.pending().remove(id);
        self.records.delete(id.as_str(), Expect::Any).await
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<AccountId, Used>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redb::RedbStore;

    #[tokio::test]
    async fn uses_of_several_processes_add_up_and_are_written_by_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
        let (one, other) = (Arc::new(Usage::new(store.clone())), Arc::new(Usage::new(store)));
        let id = AccountId::generate();
        for usage in [&one, &other, &one] {
            usage.note(&id);
        }
        assert!(one.of(&id).await.unwrap().is_none(), "nobody waits for it");
        let (first, second) = tokio::join!(one.flush(), other.flush());
        first.and(second).unwrap();
        assert_eq!(one.of(&id).await.unwrap().unwrap().times, 3);
        one.note(&id);
        while one.of(&id).await.unwrap().unwrap().times < 4 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        one.forget(&id).await.unwrap();
        assert!(other.of(&id).await.unwrap().is_none());
    }
}
