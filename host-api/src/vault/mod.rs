//! Where credentials lie encrypted. Nothing in here hands out plaintext except as a [`Secret`].
//!
//! Each version of an account has a data key of its own, wrapped by the master key. Rotating the
//! master key wraps the data keys anew and leaves the fields alone; so a vault may hold several
//! master keys, and each [`Sealed`] says which one it needs.

mod error;
mod master_key;
mod seal;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use chacha20poly1305::XChaCha20Poly1305;
use serde::{Deserialize, Serialize};

use crate::store::{Expect, Store, StoreError};
use master_key::MasterKey;
use seal::{Ciphertext, KeyBytes, associated, cipher, random_key};

pub use error::VaultError;
pub use master_key::MasterKeySource;
pub use seal::Sealed;
pub use secret::Secret;

/// Says which master key the store's credentials need.
const CHECK_KEY: &str = "vault/check";
const CHECK_TEXT: &[u8] = b"keyhole";
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
}

impl Binding<'_> {
    fn data_key(&self, master: &str) -> Vec<u8> {
        let version = self.version.to_le_bytes();
        associated("data key", &[self.workspace.as_bytes(), self.account.as_bytes(), &version, master.as_bytes()])
    }

    fn field(&self, field: &str) -> Vec<u8> {
        let version = self.version.to_le_bytes();
        associated("field", &[self.workspace.as_bytes(), self.account.as_bytes(), field.as_bytes(), &version])
    }
}

/// Seals credentials and opens them. It has no `Debug`.
pub struct Vault {
    current: Arc<MasterKey>,
    /// All keys that may open, the current one among them, by id.
    keys: RwLock<BTreeMap<String, Arc<MasterKey>>>,
    /// Data keys that were unwrapped, by all that went into it. They are no better protected by being
    /// thrown away: the master key is in the same memory.
    unwrapped: RwLock<HashMap<Vec<u8>, Arc<XChaCha20Poly1305>>>,
}

/// When so many data keys are kept (some 300 bytes each), all are dropped.
const MAX_UNWRAPPED: usize = 4096;

impl Vault {
    /// Gets the master key from `source` and makes sure that it is the one `store` needs. In an empty
    /// store it becomes that; a key file is made if there is none.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`] or [`VaultError::KeyFileMissing`] if the store needs another one.
    pub async fn open(source: MasterKeySource, store: &dyn Store) -> Result<Self, VaultError> {
        let check = match store.get(CHECK_KEY).await? {
            Some(found) => Some(Check::parse(&found.value)?),
            None if !store.scan(ACCOUNTS, None, 1).await?.is_empty() => {
                return Err(VaultError::Damaged { reason: "there are accounts, but it is not there" });
            }
            None => None,
        };
        let master = source.load(check.as_ref().map(|check| check.key.as_str())).await?;
        let check = match check {
            Some(check) => check,
            None => Check::establish(&master, store).await?,
        };
        check.verify(&master)?;
        let current = Arc::new(master);
        let keys = RwLock::new(BTreeMap::from([(current.id().to_owned(), Arc::clone(&current))]));
        Ok(Self { current, keys, unwrapped: RwLock::default() })
    }

    /// Adds a key that may open what was sealed with it; new things are sealed with the current one.
    /// Returns its id.
    ///
    /// # Errors
    /// If `source` gives none.
    pub async fn add_key(&self, source: MasterKeySource) -> Result<String, VaultError> {
        // A file that is not there would be made anew, and open nothing.
        let key = source.load(Some("of before")).await?;
        let id = key.id().to_owned();
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), Arc::new(key));
        Ok(id)
    }

    /// Id of the master key that seals.
    pub fn key_id(&self) -> &str {
        self.current.id()
    }

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

    /// The same credentials, openable with the current master key.
    ///
    /// # Errors
    /// As [`Vault::open_field`].
    pub fn rewrap(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Sealed, VaultError> {
        let (key, wrapped) = self.wrap(binding, &self.unwrap(binding, sealed)?)?;
        Ok(sealed.rewrapped(key, wrapped))
    }

    /// A key for another purpose, such as authenticating the code cache. The same for each vault with
    /// this master key, and telling nothing of it.
    pub fn derive_key(&self, purpose: &str) -> [u8; 32] {
        *self.current.derive(purpose)
    }

    fn wrap(&self, binding: &Binding<'_>, data_key: &KeyBytes) -> Result<(String, Ciphertext), VaultError> {
        let id = self.current.id();
        let wrapped = seal::seal(self.current.wrapping(), &binding.data_key(id), data_key.as_slice())?;
        Ok((id.to_owned(), wrapped))
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
        let unknown = || VaultError::UnknownKey { key: id.to_owned() };
        let master = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned().ok_or_else(unknown)?;
        let opened = seal::open(master.wrapping(), &binding.data_key(id), sealed.wrapped());
        let mut data_key = KeyBytes::default();
        match opened {
            Some(opened) if opened.len() == data_key.len() => data_key.copy_from_slice(&opened),
            _ => return Err(VaultError::NotGenuine { what: format!("the account {}", binding.account) }),
        }
        Ok(data_key)
    }
}

/// A text sealed with the master key, to tell a wrong one when it is given, not when it is used.
#[derive(Serialize, Deserialize)]
struct Check {
    v: u32,
    key: String,
    sealed: Ciphertext,
}

impl Check {
    fn parse(value: &[u8]) -> Result<Self, VaultError> {
        let damaged = |_| VaultError::Damaged { reason: "it can't be read" };
        let check: Self = serde_json::from_slice(value).map_err(damaged)?;
        if check.v > 1 {
            let place = CHECK_KEY.to_owned();
            return Err(StoreError::NewerVersion { place, found: check.v.into(), known: 1 }.into());
        }
        Ok(check)
    }

    /// Writes the check of `master`, unless another process was faster: then that one's holds.
    async fn establish(master: &MasterKey, store: &dyn Store) -> Result<Self, VaultError> {
        let sealed = seal::seal(master.wrapping(), &Self::associated(master.id()), CHECK_TEXT)?;
        let check = Self { v: 1, key: master.id().to_owned(), sealed };
        let json = serde_json::to_vec(&check).map_err(|_| VaultError::Damaged { reason: "it can't be written" })?;
        match store.write(CHECK_KEY, Expect::Absent, Some(json)).await {
            Ok(_) => Ok(check),
            Err(StoreError::Conflict { .. }) => match store.get(CHECK_KEY).await? {
                Some(found) => Self::parse(&found.value),
                None => Err(VaultError::Damaged { reason: "it comes and goes" }),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn verify(&self, master: &MasterKey) -> Result<(), VaultError> {
        if self.key != master.id() {
            return Err(VaultError::WrongMasterKey { expected: self.key.clone(), got: master.id().to_owned() });
        }
        match seal::open(master.wrapping(), &Self::associated(master.id()), &self.sealed) {
            Some(text) if *text == CHECK_TEXT => Ok(()),
            _ => Err(VaultError::Damaged { reason: "it does not open" }),
        }
    }

    fn associated(master: &str) -> Vec<u8> {
        associated("check", &[master.as_bytes()])
    }
}
