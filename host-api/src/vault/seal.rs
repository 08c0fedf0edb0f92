//! Authenticated encryption: XChaCha20-Poly1305 with random nonces, and what a ciphertext belongs
//! to as associated data, so that one that is moved elsewhere does not open.
//!
//! It must never use a nonce twice with one key, and never return a part of what did not verify.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::VaultError;

/// 192 bits: random ones don't repeat (draft-irtf-cfrg-xchacha, section 3.1).
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
pub(super) const KEY_BYTES: usize = 32;

/// 32 bytes that are wiped when dropped.
pub(super) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// The sealed credentials of one account version: the fields under a data key of their own, and that
/// key under the master key. It is as public as the store file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Id of the master key.
    key: String,
    /// The data key.
    wrapped: Ciphertext,
    fields: BTreeMap<String, Ciphertext>,
}

impl Sealed {
    pub(super) fn new(key: String, wrapped: Ciphertext, fields: BTreeMap<String, Ciphertext>) -> Self {
        Self { key, wrapped, fields }
    }

    /// Id of the master key that it was sealed with.
    pub fn key_id(&self) -> &str {
        &self.key
    }

    /// The names of the sealed fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    pub(super) fn wrapped(&self) -> &Ciphertext {
        &self.wrapped
    }

    pub(super) fn field(&self, name: &str) -> Option<&Ciphertext> {
        self.fields.get(name)
    }

    /// The same fields, their data key wrapped anew.
    pub(super) fn rewrapped(&self, key: String, wrapped: Ciphertext) -> Self {
        Self { key, wrapped, fields: self.fields.clone() }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("key", &self.key).field("fields", &self.fields.keys()).finish_non_exhaustive()
    }
}

/// Nonce, ciphertext and tag; in JSON as base64.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ciphertext(Vec<u8>);

impl Ciphertext {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Ciphertext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Ciphertext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Ciphertext;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ciphertext, E> {
                STANDARD.decode(text).map(Ciphertext).map_err(|_| E::custom("not base64"))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Associated data: a label for what it is, and the parts with their lengths, so that no two lists
/// of parts give the same bytes.
pub(super) fn associated(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 * (parts.len() + 4));
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

pub(super) fn random_key() -> Result<KeyBytes, VaultError> {
    let mut key = KeyBytes::default();
    getrandom::fill(key.as_mut_slice())?;
    Ok(key)
}

pub(super) fn cipher(key: &KeyBytes) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&**key).into())
}

pub(super) fn seal(cipher: &XChaCha20Poly1305, associated: &[u8], plain: &[u8]) -> Result<Ciphertext, VaultError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    // Of its full size from the start: growing would leave plaintext behind.
    let mut sealed = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(nonce), associated, (&mut sealed[NONCE_BYTES..]).into())
        .expect("a credential is shorter than the cipher's limit of 256 GiB");
    sealed.extend_from_slice(&tag);
    Ok(Ciphertext(sealed))
}

/// The plaintext, or `None` if `sealed` is not what [`seal`] made with this key and associated data.
pub(super) fn open(cipher: &XChaCha20Poly1305, associated: &[u8], sealed: &Ciphertext) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.0.split_first_chunk::<NONCE_BYTES>()?;
    let (text, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
    let mut plain = Zeroizing::new(text.to_vec());
    cipher
        .decrypt_inout_detached(&XNonce::from(*nonce), associated, plain.as_mut_slice().into(), &Tag::from(*tag))
        .ok()?;
    Some(plain)
}

#[cfg(test)]
impl Sealed {
    /// Flips one bit of the data key or of a field.
    pub(super) fn flip(&mut self, field: Option<&str>, bit: usize) -> bool {
        let ciphertext = match field {
            None => &mut self.wrapped,
            Some(field) => self.fields.get_mut(field).unwrap(),
        };
        let Some(byte) = ciphertext.0.get_mut(bit / 8) else { return false };
        *byte ^= 1 << (bit % 8);
        true
    }

    pub(super) fn swap_fields(&mut self, one: &str, other: &str) {
        let first = self.fields[one].clone();
        let second = self.fields.insert(other.to_owned(), first).unwrap();
        self.fields.insert(one.to_owned(), second);
    }

    pub(super) fn set_key_id(&mut self, key: &str) {
        self.key = key.to_owned();
    }
}
