//! The master keys at hand, and the exchange of the one that seals for another.
//!
//! Which key seals is the store's word ([`Check`](super::check::Check)), so that all processes on
//! it agree; a key's source only says which keys there are. So a rotation is two steps, each
//! of which may be the last before a crash: the new key is put before the old ones where they come from,
//! then the check names it. Wrapping the data keys anew follows, and can be done again at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Check;
use super::master_key::{MasterKey, MasterKeySource};
use super::{Vault, VaultError};
use crate::store::Expect;

/// Master keys by their ids, and which of them seals.
pub(super) struct Ring {
    current: Arc<MasterKey>,
    all: BTreeMap<String, Arc<MasterKey>>,
}

impl Ring {
    /// `keys`, of which the one that the check names seals.
    pub(super) fn new(keys: Vec<MasterKey>, check: &Check) -> Result<Self, VaultError> {
        let got = keys.first().map(|key| key.id().to_owned()).unwrap_or_default();
        let all: BTreeMap<_, _> = keys.into_iter().map(|key| (key.id().to_owned(), Arc::new(key))).collect();
        let current = all
            .get(&check.key)
            .cloned()
            .ok_or_else(|| VaultError::WrongMasterKey { expected: check.key.clone(), got })?;
        check.verify(&current)?;
        Ok(Self { current, all })
    }

    pub(super) fn current(&self) -> &Arc<MasterKey> {
        &self.current
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<MasterKey>> {
        self.all.get(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }
}

/// What a rotation did to the master key. What was sealed before still needs the old one, until it is
/// wrapped anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Id of the key that sealed before.
    pub from: String,
    /// Id of the key that seals now.
    pub to: String,
}

impl Vault {
    /// Makes another master key the one that seals: a fresh one, put before the others of the key
    /// file; or the first that the variable or the command gives, which must have the old ones after it.
    ///
    /// # Errors
    /// [`VaultError::NoNewKey`] if there is no other; what the source or the store says.
    pub async fn rotate(&self) -> Result<Rotation, VaultError> {
        let (before, revision) = self.check().await?;
        // What an earlier rotation put there and did not get to use is as good as a fresh one.
        let mut keys = self.source.load(Some(&before.key)).await?;
        if keys.first().is_some_and(|first| first.id() == before.key) {
            self.source.add_key(&before.key)?;
            keys = self.source.load(Some(&before.key)).await?;
        }
        let first = keys.first().filter(|first| first.id() != before.key);
        let to = first.ok_or(VaultError::NoNewKey)?.id().to_owned();
        // Whoever can't open what is there must not take over.
        let kept = keys.iter().any(|key| key.id() == before.key);
        if !kept {
            return Err(VaultError::WrongMasterKey { expected: before.key, got: to });
        }
        let new = keys.iter().find(|key| key.id() == to).ok_or(VaultError::NoNewKey)?;
        let check = Check::write(new, Expect::Revision(revision), &self.store).await?;
        self.take(Ring::new(keys, &check)?);
        Ok(Rotation { from: before.key, to: check.key })
    }

    /// Takes the key `id` out of the key file. Whether nothing needs it any more is for the caller to check.
    ///
    /// # Errors
    /// [`VaultError::InUse`] if it is the one that seals; [`VaultError::UnknownKey`];
    /// [`VaultError::NotOurs`] if the keys come from elsewhere.
    pub async fn forget_key(&self, id: &str) -> Result<(), VaultError> {
        let (check, _) = self.check().await?;
        if check.key == id {
            return Err(VaultError::InUse { key: id.to_owned(), uses: 1 });
        }
        let keys = self.source.load(Some(&check.key)).await?;
        if !keys.iter().any(|key| key.id() == id) {
            return Err(VaultError::UnknownKey { key: id.to_owned() });
        }
        self.source.remove_key(id)?;
        self.take(Ring::new(self.source.load(Some(&check.key)).await?, &check)?);
        Ok(())
    }

    /// Sees to it that what is sealed from now on is sealed with the key that the store names.
    pub(super) async fn follow(&self) -> Result<Arc<MasterKey>, VaultError> {
        let (check, _) = self.check().await?;
        {
            let ring = self.ring();
            if ring.current().id() == check.key {
                return Ok(Arc::clone(ring.current()));
            }
        }
        let ring = Ring::new(self.source.load(Some(&check.key)).await?, &check)?;
        let current = Arc::clone(ring.current());
        self.take(ring);
        Ok(current)
    }

    /// The key `id`. One that another process put into the key file meanwhile is found there.
    pub(super) fn key(&self, id: &str) -> Result<Arc<MasterKey>, VaultError> {
        if let Some(key) = self.ring().get(id) {
            return Ok(Arc::clone(key));
        }
        let unknown = || VaultError::UnknownKey { key: id.to_owned() };
        let MasterKeySource::File(path) = &self.source else { return Err(unknown()) };
        let keys = super::master_key::read(path)?;
        let key = keys.into_iter().find(|key| key.id() == id).map(Arc::new).ok_or_else(unknown)?;
        self.ring_mut().all.insert(id.to_owned(), Arc::clone(&key));
        Ok(key)
    }

    fn take(&self, ring: Ring) {
        *self.ring_mut() = ring;
    }
}
