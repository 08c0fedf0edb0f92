//! Where credentials lie encrypted. Nothing in here hands out plaintext except as a [`Secret`].
//!
//! Each version of an account has a data key of its own, wrapped by the master key. Rotating the
//! master key wraps the data keys anew and leaves the fields alone; so a vault may hold several
//! master keys, and each [`Sealed`] says which one it needs.

mod check;
mod error;
mod master_key;
mod report;
mod ring;
mod seal;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chacha20poly1305::XChaCha20Poly1305;
use zeroize::Zeroizing;

use crate::store::{Expect, Revision, Store};
use check::Check;
use master_key::MasterKey;
use ring::Ring;
use seal::{Ciphertext, KeyBytes, associated, cipher, random_key};

pub use error::VaultError;
pub use master_key::MasterKeySource;
pub use report::{Damage, Report};
pub use ring::Rotation;
pub use seal::Sealed;
pub use secret::Secret;

/// Where sealed records are.
const ACCOUNTS: &str = "accounts/";

/// What a ciphertext belongs to. It opens with no other.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The workspace of the data directory.
    pub workspace: &'a str,
    /// The account's id.
    pub account: &'a str,
    /// The version of the account's credentials.
    pub version: u64,
    /// What decides whose the credentials are and where they may go: whoever could change that in the
    /// store, but has no key, must not have them sent elsewhere.
    pub terms: &'a [u8],
}

impl Binding<'_> {
    fn data_key(&self, master: &str) -> Vec<u8> {
        let version = self.version.to_le_bytes();
        let parts = [self.workspace.as_bytes(), self.account.as_bytes(), &version, master.as_bytes(), self.terms];
        associated("data key", &parts)
    }

    fn field(&self, field: &str) -> Vec<u8> {
        let version = self.version.to_le_bytes();
        associated("field", &[self.workspace.as_bytes(), self.account.as_bytes(), field.as_bytes(), &version])
    }
}

/// Seals credentials and opens them. It has no `Debug`.
pub struct Vault {
    source: MasterKeySource,
    store: Arc<dyn Store>,
    ring: RwLock<Ring>,
    /// Data keys that were unwrapped, by all that went into it. They are no better protected by being
    /// thrown away: the master key is in the same memory.
    unwrapped: RwLock<HashMap<Vec<u8>, Arc<XChaCha20Poly1305>>>,
}

/// When so many data keys are kept (some 300 bytes each), all are dropped.
const MAX_UNWRAPPED: usize = 4096;

/// Seals with the master key that the store named when it was made. To be used at once.
pub struct Sealer<'v> {
    vault: &'v Vault,
    master: Arc<MasterKey>,
}

impl Vault {
    /// Gets the master keys from `source` and makes sure that the one `store` needs is among them. In an
    /// empty store the first becomes that; a key file is made if there is none.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`] or [`VaultError::KeyFileMissing`] if the store needs another one.
    pub async fn open(source: MasterKeySource, store: &Arc<dyn Store>) -> Result<Self, VaultError> {
        let check = Check::read(&**store).await?;
        if check.is_none() && !store.scan(ACCOUNTS, None, 1).await?.is_empty() {
            return Err(VaultError::Damaged { reason: "there are accounts, but it is not there" });
        }
        let keys = source.load(check.as_ref().map(|(check, _)| check.key.as_str())).await?;
        let check = match check {
            Some((check, _)) => check,
            None => {
                let first = keys.first().ok_or(VaultError::NoNewKey)?;
                Check::write(first, Expect::Absent, store).await?
            }
        };
        let ring = RwLock::new(Ring::new(keys, &check)?);
        Ok(Self { source, store: Arc::clone(store), ring, unwrapped: RwLock::default() })
    }

    /// Makes sure that the keys of `source` can open what was sealed with the key `id`: before a store is
    /// made that needs it.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`] or [`VaultError::KeyFileMissing`].
    pub async fn has_key(source: &MasterKeySource, id: &str) -> Result<(), VaultError> {
        let keys = source.load(Some(id)).await?;
        match keys.iter().any(|key| key.id() == id) {
            true => Ok(()),
            false => {
                let got = keys.first().map(|key| key.id().to_owned()).unwrap_or_default();
                Err(VaultError::WrongMasterKey { expected: id.to_owned(), got })
            }
        }
    }

    /// What the master keys come from, in a word. Which file or command it is, it does not say.
    pub fn key_source(&self) -> &'static str {
        match self.source {
            MasterKeySource::File(_) => "file",
            MasterKeySource::Env(_) => "environment variable",
            MasterKeySource::Command(_) => "command",
        }
    }

    /// Id of the master key that sealed when the store was last asked.
    pub fn key_id(&self) -> String {
        self.ring().current().id().to_owned()
    }

    /// Ids of the master keys at hand.
    pub fn key_ids(&self) -> Vec<String> {
        self.ring().ids().map(str::to_owned).collect()
    }

    /// What seals with the master key that the store names now.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`] if that key is not at hand: someone else rotated it.
    pub async fn sealer(&self) -> Result<Sealer<'_>, VaultError> {
        Ok(Sealer { vault: self, master: self.follow().await? })
    }

    /// Opens one field.
    ///
    /// # Errors
    /// [`VaultError::NotGenuine`] if a bit was changed or `sealed` belongs to another binding;
    /// [`VaultError::UnknownKey`], [`VaultError::NoField`].
    pub fn open_field(&self, binding: &Binding<'_>, sealed: &Sealed, field: &str) -> Result<Secret, VaultError> {
        let ciphertext = sealed.field(field).ok_or_else(|| VaultError::NoField { field: field.to_owned() })?;
        let not_genuine =
            || VaultError::NotGenuine { what: format!("the field `{field}` of the account {}", binding.account) };
        let data_key = self.data_key(binding, sealed)?;
        let plain = seal::open(&data_key, &binding.field(field), ciphertext).ok_or_else(not_genuine)?;
        let text = std::str::from_utf8(&plain).map_err(|_| not_genuine())?;
        Ok(Secret::new(text.to_owned()))
    }

    /// As [`Vault::derive_key`], of the master key `id`.
    ///
    /// # Errors
    /// [`VaultError::UnknownKey`].
    pub fn derive_key_of(&self, id: &str, purpose: &str) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        Ok(self.key(id)?.derive(purpose))
    }

    /// A key for another purpose, such as authenticating the code cache. The same for each vault with
    /// this master key, and telling nothing of it.
    pub fn derive_key(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        self.ring().current().derive(purpose)
    }

    fn data_key(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Arc<XChaCha20Poly1305>, VaultError> {
        let mut needs = binding.data_key(sealed.key_id());
        needs.extend_from_slice(sealed.wrapped().as_bytes());
        if let Some(kept) = self.unwrapped.read().unwrap_or_else(PoisonError::into_inner).get(&needs) {
            return Ok(Arc::clone(kept));
        }
        let data_key = Arc::new(cipher(&self.unwrap(binding, sealed)?));
        let mut kept = self.unwrapped.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_UNWRAPPED {
            kept.clear();
        }
        kept.insert(needs, Arc::clone(&data_key));
        Ok(data_key)
    }

    fn unwrap(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<KeyBytes, VaultError> {
        let id = sealed.key_id();
        let master = self.key(id)?;
        let opened = seal::open(master.wrapping(), &binding.data_key(id), sealed.wrapped());
        let mut data_key = KeyBytes::default();
        match opened {
            Some(opened) if opened.len() == data_key.len() => data_key.copy_from_slice(&opened),
            _ => return Err(VaultError::NotGenuine { what: format!("the account {}", binding.account) }),
        }
        Ok(data_key)
    }

    /// The store whose credentials it seals.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn check(&self) -> Result<(Check, Revision), VaultError> {
        Check::read(&*self.store).await?.ok_or(VaultError::Damaged { reason: "it is gone" })
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sealer<'_> {
    /// Seals `fields` under a fresh data key.
    ///
    /// # Errors
    /// [`VaultError::Random`] if the system has no random bytes.
    pub fn seal(&self, binding: &Binding<'_>, fields: &BTreeMap<String, Secret>) -> Result<Sealed, VaultError> {
        let data_key = random_key()?;
        let (key, wrapped) = self.wrap(binding, &data_key)?;
        let cipher = cipher(&data_key);
        let fields = fields
            .iter()
            .map(|(name, secret)| {
                Ok((name.clone(), seal::seal(&cipher, &binding.field(name), secret.expose().as_bytes())?))
            })
            .collect::<Result<_, VaultError>>()?;
        Ok(Sealed::new(key, wrapped, fields))
    }

    /// The same credentials, openable with this master key. What was sealed with it is left as it is.
    ///
    /// # Errors
    /// As [`Vault::open_field`].
    pub fn rewrap(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Sealed, VaultError> {
        if sealed.key_id() == self.master.id() {
            return Ok(sealed.clone());
        }
        let (key, wrapped) = self.wrap(binding, &self.vault.unwrap(binding, sealed)?)?;
        Ok(sealed.rewrapped(key, wrapped))
    }

    /// Id of the master key.
    pub fn key_id(&self) -> &str {
        self.master.id()
    }

    fn wrap(&self, binding: &Binding<'_>, data_key: &KeyBytes) -> Result<(String, Ciphertext), VaultError> {
        let id = self.master.id();
        let wrapped = seal::seal(self.master.wrapping(), &binding.data_key(id), data_key.as_slice())?;
        Ok((id.to_owned(), wrapped))
    }
}
