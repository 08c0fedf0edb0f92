//! What is kept of a passkey: its public key, and what its member sees of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::members::MemberId;
use crate::store::records::Record;

/// The id of a passkey: half a hash of what authenticators know it by, in hexadecimal digits. So each is there once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasskeyId(String);

/// What a passkey's id must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no passkey's id")]
pub struct PasskeyIdError;

impl PasskeyId {
    pub(super) fn of(credential: &[u8]) -> Self {
        Self(blake3::hash(credential).to_hex()[..32].to_owned())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PasskeyId {
    type Error = PasskeyIdError;

    fn try_from(text: String) -> Result<Self, PasskeyIdError> {
        let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if digits && text.len() == 32 { Ok(Self(text)) } else { Err(PasskeyIdError) }
    }
}

impl FromStr for PasskeyId {
    type Err = PasskeyIdError;

    fn from_str(text: &str) -> Result<Self, PasskeyIdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<PasskeyId> for String {
    fn from(id: PasskeyId) -> Self {
        id.0
    }
}

impl fmt::Display for PasskeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be seen of a passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    /// Its id.
    pub id: PasskeyId,
    /// Whom it signs in.
    pub member: MemberId,
    /// What the member calls it.
    pub name: String,
    /// When it was added.
    pub created: Timestamp,
    /// When it last signed somebody in.
    pub last_used: Option<Timestamp>,
}

/// A passkey. How often it was used is in here, since whoever signs in must find it as they read it: what was removed
/// meanwhile signs nobody in, and of two answers with one count one is refused.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    pub member: MemberId,
    /// Since when the member is one: a later bearer of the name is somebody else.
    pub member_since: Timestamp,
    pub name: String,
    pub created: Timestamp,
    pub last_used: Option<Timestamp>,
    /// The public key, and its count.
    pub credential: webauthn_rs::prelude::Passkey,
}

impl Record for Stored {
    const FOLDER: &'static str = "passkeys";
    const VERSION: u32 = 1;
}

impl Stored {
    pub fn shown(self, id: PasskeyId) -> Passkey {
        let Self { member, name, created, last_used, .. } = self;
        Passkey { id, member, name, created, last_used }
    }
}
