//! The record that says which master key the store's credentials are sealed with: a text sealed
//! with it, to tell a wrong key when it is given, not when it is used.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::VaultError;
use super::master_key::MasterKey;
use super::seal::{self, Ciphertext, associated};
use crate::store::{Expect, Revision, Store, StoreError};

/// Where it is.
pub(super) const KEY: &str = "vault/check";
const TEXT: &[u8] = b"keyhole";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
pub(super) struct Check {
    v: u32,
    /// Id of the master key that seals.
    pub(super) key: String,
    sealed: Ciphertext,
}

impl Check {
    fn of(master: &MasterKey) -> Result<Self, VaultError> {
        let sealed = seal::seal(master.wrapping(), &bound(master.id()), TEXT)?;
        Ok(Self { v: VERSION, key: master.id().to_owned(), sealed })
    }

    /// The one in `store`, if it was set up.
    pub(super) async fn read(store: &dyn Store) -> Result<Option<(Self, Revision)>, VaultError> {
        let Some(found) = store.get(KEY).await? else { return Ok(None) };
        let damaged = |_| VaultError::Damaged { reason: "it can't be read" };
        let check: Self = serde_json::from_slice(&found.value).map_err(damaged)?;
        if check.v > VERSION {
            let place = KEY.to_owned();
            return Err(StoreError::NewerVersion { place, found: check.v.into(), known: VERSION.into() }.into());
        }
        Ok(Some((check, found.revision)))
    }

    /// Makes `master` the key that seals, unless another process was faster: then that one's holds.
    pub(super) async fn write(master: &MasterKey, expect: Expect, store: &Arc<dyn Store>) -> Result<Self, VaultError> {
        let check = Self::of(master)?;
        let json = serde_json::to_vec(&check).map_err(|_| VaultError::Damaged { reason: "it can't be written" })?;
        match store.write(KEY, expect, Some(json)).await {
            Ok(_) => Ok(check),
            Err(StoreError::Conflict { .. }) => match Self::read(&**store).await? {
                Some((check, _)) => Ok(check),
                None => Err(VaultError::Damaged { reason: "it comes and goes" }),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `master` is what it says.
    pub(super) fn verify(&self, master: &MasterKey) -> Result<(), VaultError> {
        if self.key != master.id() {
            return Err(VaultError::WrongMasterKey { expected: self.key.clone(), got: master.id().to_owned() });
        }
        match seal::open(master.wrapping(), &bound(master.id()), &self.sealed) {
            Some(text) if *text == TEXT => Ok(()),
            _ => Err(VaultError::Damaged { reason: "it does not open" }),
        }
    }
}

fn bound(master: &str) -> Vec<u8> {
    associated("check", &[master.as_bytes()])
}
