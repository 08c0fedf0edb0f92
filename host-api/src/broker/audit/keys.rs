//! What the hashes of the audit are keyed with: a key derived from the master key, so that whoever can write
//! the store and has no master key can't make a record that verifies.
//!
//! A record names the master key. When that is exchanged, what was derived of it is sealed under the new one:
//! old records are to be verified once the old master key is gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::entry::HashKey;
use crate::store::records::{Record, Records};
use crate::store::{Expect, StoreError};
use crate::vault::{Binding, Report, Sealed, Secret, Vault, VaultError};

/// What the key is derived for.
const PURPOSE: &str = "audit";
const FIELD: &str = "key";

/// Where the keys of master keys of old are.
pub(crate) const SAVED: &str = "audit-keys/";

#[derive(Serialize, Deserialize)]
struct Saved {
    sealed: Sealed,
}

impl Record for Saved {
    const FOLDER: &'static str = "audit-keys";
    const VERSION: u32 = 1;
}

/// The keys of one workspace's audit.
#[derive(Clone)]
pub(crate) struct Keys {
    vault: Arc<Vault>,
    workspace: String,
    saved: Records<Saved>,
}

impl Keys {
    pub(crate) fn new(vault: &Arc<Vault>, workspace: &str) -> Self {
        let saved = Records::new(vault.store().clone());
        Self { vault: vault.clone(), workspace: workspace.to_owned(), saved }
    }

    /// The key of the master key that seals now, and that one's id.
    /// `known` is what was answered before.
    pub(super) fn current(&self, known: Option<(String, HashKey)>) -> Result<(String, HashKey), VaultError> {
        let id = self.vault.key_id();
        if let Some(known) = known.filter(|(known, _)| *known == id) {
            return Ok(known);
        }
        let key = self.vault.derive_key_of(&id, PURPOSE)?;
        Ok((id, key))
    }

    /// The key of the master key `id`; `None` if it is neither at hand nor was it kept.
    async fn of(&self, id: &str) -> Result<Option<HashKey>, StoreError> {
        if let Ok(key) = self.vault.derive_key_of(id, PURPOSE) {
            return Ok(Some(key));
        }
        let Some((saved, _)) = self.saved.get(id).await? else { return Ok(None) };
        let account = account(id);
        let Ok(opened) = self.vault.open_field(&self.binding(&account), &saved.sealed, FIELD) else {
            return Ok(None);
        };
        Ok(blake3::Hash::from_hex(opened.expose()).ok().map(|key| Zeroizing::new(*key.as_bytes())))
    }

    fn binding<'a>(&'a self, account: &'a str) -> Binding<'a> {
        Binding { workspace: &self.workspace, account, version: 1, terms: b"" }
    }

    /// Sees to it that the key of each master key at hand, and each that was kept, opens with the master key
    /// that seals now.
    pub(crate) async fn keep(&self, report: &mut Report) -> Result<(), VaultError> {
        let sealer = self.vault.sealer().await?;
        for id in self.vault.key_ids() {
            if id == sealer.key_id() || self.saved.get(&id).await?.is_some() {
                continue;
            }
            let key = self.vault.derive_key_of(&id, PURPOSE)?;
            let text = Secret::new(blake3::Hash::from_bytes(*key).to_hex().to_string());
            let (account, fields) = (account(&id), BTreeMap::from([(FIELD.to_owned(), text)]));
            let sealed = sealer.seal(&self.binding(&account), &fields)?;
            match self.saved.put(&id, Expect::Absent, &Saved { sealed }).await {
                // Another process was faster, with the same key.
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (id, ..) in self.saved.all().await? {
            let account = account(&id);
            let change = |saved: &mut Saved| {
                saved.sealed = sealer.rewrap(&self.binding(&account), &saved.sealed)?;
                Ok(())
            };
            match self.saved.try_update(&id, change).await {
                Ok(_) => {}
                Err(error @ VaultError::Store(_)) => return Err(error),
                Err(error) => report.damaged(&Records::<Saved>::key(&id), &error),
            }
        }
        Ok(())
    }

    /// Opens every key that was kept. They are counted nowhere: whatever key they need is seen to before it
    /// is forgotten.
    pub(crate) async fn check(&self, report: &mut Report) -> Result<(), StoreError> {
        for (id, saved, _) in self.saved.all().await? {
            let account = account(&id);
            if let Err(error) = self.vault.open_field(&self.binding(&account), &saved.sealed, FIELD) {
                report.damaged(&Records::<Saved>::key(&id), &error);
            }
        }
        Ok(())
    }
}

/// What a key is sealed for: no account has an id with a slash.
fn account(id: &str) -> String {
    format!("audit-key/{id}")
}

/// Keys that were looked up.
pub(super) struct Found {
    keys: Keys,
    found: HashMap<String, Option<HashKey>>,
}

impl Found {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, found: HashMap::new() }
    }

    /// As [`Keys::of`].
    pub(super) async fn get(&mut self, id: &str) -> Result<Option<&HashKey>, StoreError> {
        if !self.found.contains_key(id) {
            let found = self.keys.of(id).await?;
            // Whoever can write the store must not fill the memory with names of keys.
            if self.found.len() >= 256 {
                self.found.clear();
            }
            self.found.insert(id.to_owned(), found);
        }
        Ok(self.found.get(id).and_then(Option::as_ref))
    }
}

#[cfg(test)]
never_shown!(Keys);
