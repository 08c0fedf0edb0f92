//! The workspace: the group that shares one data directory. All that is kept of it is an
//! id, which is in every sealed record, so that a record moved to another data directory
//! does not open there. It must never be replaced once accounts are sealed with it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::records::{Record, Records};
use crate::store::{Expect, Store, StoreError};

/// The one record's id.
const OWN: &str = "own";
/// Where accounts lie.
const ACCOUNTS: &str = "accounts/";
/// Where members lie.
const MEMBERS: &str = "members/";

#[derive(Serialize, Deserialize)]
struct Workspace {
    id: String,
}

impl Record for Workspace {
    const FOLDER: &'static str = "workspace";
    const VERSION: u32 = 1;
}

/// The id of the workspace that `store` holds. An empty store is given one.
///
/// # Errors
/// [`StoreError::Corrupt`] if there are accounts and no id; else whatever the store says.
pub async fn id(store: &Arc<dyn Store>) -> Result<String, StoreError> {
    let records: Records<Workspace> = Records::new(store.clone());
    if let Some((workspace, _)) = records.get(OWN).await? {
        return Ok(workspace.id);
    }
    if !store.scan(ACCOUNTS, None, 1).await?.is_empty() {
        return Err(StoreError::Corrupt {
            place: Records::<Workspace>::key(OWN),
            reason: "there are accounts, and it is gone".to_owned(),
        });
    }
    let made = Workspace { id: ulid::Ulid::generate().to_string() };
    match records.put(OWN, Expect::Absent, &made).await {
        Ok(_) => Ok(made.id),
        // Another process was faster.
        Err(StoreError::Conflict { .. }) => match records.get(OWN).await? {
            Some((workspace, _)) => Ok(workspace.id),
            None => Err(StoreError::Failed("the workspace's id comes and goes".to_owned())),
        },
        Err(error) => Err(error),
    }
}

/// The id of the workspace that `store` holds, if it could not be given another one: if there are members
/// or accounts.
///
/// # Errors
/// Whatever the store says.
pub async fn settled(store: &Arc<dyn Store>) -> Result<Option<String>, StoreError> {
    let mut empty = true;
    for folder in [ACCOUNTS, MEMBERS] {
        empty &= store.scan(folder, None, 1).await?.is_empty();
    }
    if empty {
        return Ok(None);
    }
    id(store).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redb::RedbStore;

    #[tokio::test]
    async fn a_data_directory_keeps_the_id_that_it_was_given_first() {
        let dir = tempfile::tempdir().unwrap();
        let open = || -> Arc<dyn Store> { Arc::new(RedbStore::open(dir.path()).unwrap()) };
        let (first, second) = (open(), open());
        let (one, other) = tokio::join!(id(&first), id(&second));
        assert_eq!(one.unwrap(), other.unwrap());
        let before = id(&first).await.unwrap();
        drop((first, second));
        assert_eq!(id(&open()).await.unwrap(), before);
    }

    #[tokio::test]
    async fn no_new_id_is_made_beside_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
        store.write("accounts/01", Expect::Any, Some(b"{}".to_vec())).await.unwrap();
        assert!(matches!(id(&store).await, Err(StoreError::Corrupt { .. })));
    }
}
