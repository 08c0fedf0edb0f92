//! The text of a token: `kht_`, its id, `_` and 256 random bits. The id finds the record, so
//! that no secret is ever a key of the store; the rest is compared by its hash.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::vault::Secret;

const BYTES: usize = 32;

/// What a key opens. It is part of what is hashed, so that none passes for one of the other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A member's bearer token.
    Token,
    /// A connect link.
    Link,
    /// A link that signs in.
    SignIn,
    /// A browser that is signed in.
    Session,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Token => "kht_",
            Self::Link => "khl_",
            Self::SignIn => "khi_",
            Self::Session => "khs_",
        }
    }
}

/// The id of a token or a link, a ULID: it sorts by when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    /// A new one.
    pub(crate) fn generate() -> Self {
        Self(ulid::Ulid::generate().to_string())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = ulid::DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // In the one way of writing it that is a key of the store.
        Ok(Self(ulid::Ulid::from_string(text)?.to_string()))
    }
}

impl TryFrom<String> for KeyId {
    type Error = ulid::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept of a key: SHA-256. With 256 random bits there is nothing to guess, so a
/// slow hash would only slow each request down.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest([u8; 32]);

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "it is no digest")?;
        bytes.try_into().map(Self).map_err(|_| "it is no digest")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        URL_SAFE_NO_PAD.encode(digest.0)
    }
}

/// A token or link as its bearer has it.
pub struct Key {
    kind: Kind,
    id: KeyId,
    bits: Zeroizing<[u8; BYTES]>,
}

impl Key {
    pub(super) fn generate(kind: Kind) -> Result<Self, String> {
        let mut bits = Zeroizing::new([0; BYTES]);
        getrandom::fill(&mut *bits).map_err(|error| error.to_string())?;
        Ok(Self { kind, id: KeyId::generate(), bits })
    }

    /// Reads `text`, which may be anything. `None` if it can't be a key of that kind.
    pub(super) fn parse(kind: Kind, text: &str) -> Option<Self> {
        let (id, encoded) = text.strip_prefix(kind.prefix())?.split_once('_')?;
        let mut bits = Zeroizing::new([0; BYTES]);
        // One spelling for each key: the decoder refuses padding and stray last bits.
        let written = URL_SAFE_NO_PAD.decode_slice(encoded, &mut *bits).ok()?;
        let parsed: KeyId = id.parse().ok()?;
        (written == BYTES && parsed.as_str() == id).then_some(Self { kind, id: parsed, bits })
    }

    /// Another key of the same id.
    pub(super) fn renewed(&self) -> Result<Self, String> {
        Ok(Self { id: self.id.clone(), ..Self::generate(self.kind)? })
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn text(&self) -> Secret {
        Secret::new(format!("{}{}_{}", self.kind.prefix(), self.id, URL_SAFE_NO_PAD.encode(*self.bits)))
    }

    pub(super) fn digest(&self) -> Digest {
        use sha2::Digest as _;
        let hash = sha2::Sha256::new().chain_update(self.kind.prefix()).chain_update(self.id.as_str());
        Digest(hash.chain_update(*self.bits).finalize().into())
    }

    /// Whether it is the key that `kept` was made of. Takes as long whatever the answer.
    pub(super) fn fits(&self, kept: Option<&Digest>) -> bool {
        let nothing = [0; 32];
        let equal = self.digest().0.ct_eq(kept.map_or(&nothing, |kept| &kept.0));
        bool::from(equal) & kept.is_some()
    }
}

#[cfg(test)]
never_shown!(Key);
