//! Passkeys of members (WebAuthn Level 3): keys that a person's device or password manager keeps, with which they sign in
//! without saying who they are. Keyhole has the public half alone.
//!
//! The relying party is the host of the public URL, and its origin exactly. The person is verified at each use, by the
//! device. A challenge lies in the store, under a hash of what the browser has of it, until one answer comes, or a few
//! minutes; the answer to it counts once. A passkey must never sign in anybody but the member whose record it is in, and
//! nobody at all once it is removed.
//!
//! `webauthn-rs` does the cryptography. From 0.6 on it is Rust throughout: no OpenSSL has to be there to build it.

mod ceremony;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;
use webauthn_rs::{Webauthn, WebauthnBuilder};

pub use ceremony::{Begun, LIFETIME};
pub use record::{Passkey, PasskeyId};

use crate::members::{Member, MemberId, Members};
use crate::store::records::Records;
use crate::store::{Expect, Store, StoreError};
use crate::tokens::tickets::Tickets;
use ceremony::Ceremony;
use record::Stored;

/// The most that one member has.
pub const MOST: usize = 20;
/// Longest name of a passkey, in characters.
const NAME: usize = 100;

/// Why a passkey was not kept, or signed nobody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasskeyError {
    /// Browsers know no passkeys there.
    #[error(
        "passkeys need a name and TLS; the operator gives keyhole serve a --public-url such as https://keyhole.example.com"
    )]
    NoPlace,
    /// There is no such passkey, or none that the member may know of: the two look alike.
    #[error("there is no passkey {0}; see `keyhole passkeys list`")]
    NotThere(String),
    /// The name is not one line.
    #[error("a passkey's name is one line of at most {NAME} characters")]
    Name,
    /// The member has as many as there may be.
    #[error("{0} has {MOST} passkeys; remove one first")]
    TooMany(MemberId),
    /// The answer belongs to no challenge.
    #[error("this took too long, or was done already, or begun with another browser; begin again")]
    NotUnderWay,
    /// The answer can't be read.
    #[error("the browser's answer can't be read; try another browser")]
    Malformed,
    /// The device did not keep the key where it finds it without a name.
    #[error("this device does not keep passkeys that sign in without a name; use another one")]
    NotKept,
    /// Another account has it.
    #[error("this passkey is registered already")]
    Known,
    /// It does not hold: nobody is told why.
    #[error("this passkey does not sign in: it was removed, or is not of this Keyhole; remove it from your device")]
    NotValid,
    /// A new key does not hold.
    #[error("the new passkey does not hold ({0}); nothing was kept, begin again")]
    Refused(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The passkeys of the workspace. Whether the caller may make or remove one is for it to check.
#[derive(Clone)]
pub struct Passkeys {
    records: Records<Stored>,
    ceremonies: Tickets<Ceremony>,
    members: Members,
    /// None where browsers have no passkeys.
    webauthn: Option<Arc<Webauthn>>,
}

impl Passkeys {
    /// The passkeys that `store` holds, used at `public_url`.
    pub fn new(store: Arc<dyn Store>, public_url: Option<&Url>) -> Self {
        Self {
            records: Records::new(store.clone()),
            ceremonies: Tickets::new(store.clone()),
            members: Members::new(store),
            webauthn: public_url.and_then(relying_party).map(Arc::new),
        }
    }

    /// Whether browsers have passkeys for this Keyhole.
    pub fn are_possible(&self) -> bool {
        self.webauthn.is_some()
    }

    fn webauthn(&self) -> Result<&Webauthn, PasskeyError> {
        self.webauthn.as_deref().ok_or(PasskeyError::NoPlace)
    }

    /// The passkeys of `member`, in the order in which they were added.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self, member: &MemberId) -> Result<Vec<Passkey>, StoreError> {
        let mut passkeys: Vec<Passkey> =
            self.of(member).await?.into_iter().map(|(id, stored)| stored.shown(id)).collect();
        passkeys.sort_by_key(|passkey| passkey.created);
        Ok(passkeys)
    }

    async fn of(&self, member: &MemberId) -> Result<Vec<(PasskeyId, Stored)>, StoreError> {
        let all = self.records.all().await?.into_iter();
        let theirs = all.filter(|(_, stored, _)| stored.member == *member);
        Ok(theirs.filter_map(|(id, stored, _)| Some((id.parse().ok()?, stored))).collect())
    }

    /// Removes the passkey `id` of `member`'s. From when this returns on it signs nobody in, and the sessions that rest on it
    /// are over.
    ///
    /// # Errors
    /// [`PasskeyError::NotThere`], or whatever the store says.
    pub async fn remove(&self, member: &MemberId, id: &str) -> Result<Passkey, PasskeyError> {
        let not_there = || PasskeyError::NotThere(id.to_owned());
        let id: PasskeyId = id.parse().map_err(|_| not_there())?;
        let (stored, _) = self.records.get(id.as_str()).await?.ok_or_else(not_there)?;
        if stored.member != *member {
            return Err(not_there());
        }
        self.records.delete(id.as_str(), Expect::Any).await?;
        Ok(stored.shown(id))
    }

    /// Whether the passkey `id` is there still, and `member`'s.
    pub(crate) async fn holds(&self, member: &MemberId, id: &PasskeyId) -> Result<bool, StoreError> {
        Ok(self.records.get(id.as_str()).await?.is_some_and(|(stored, _)| stored.member == *member))
    }

    /// Removes the passkeys of `member`, who was one since `since` and is being removed. A later bearer of the name keeps
    /// theirs.
    pub(crate) async fn sweep(store: &Arc<dyn Store>, member: &MemberId, since: Timestamp) -> Result<(), StoreError> {
        let records = Records::<Stored>::new(store.clone());
        let theirs = |stored: &Stored| stored.member == *member && stored.member_since <= since;
        for (id, stored, _) in records.all().await? {
            if theirs(&stored) {
                records.delete_if(&id, theirs).await?;
            }
        }
        Ok(())
    }

    /// Whose `stored` is, if they are a member still: a later bearer of the name is somebody else.
    async fn speaks_for(&self, stored: &Stored) -> Result<Option<Member>, StoreError> {
        let member = self.members.get(&stored.member).await?;
        Ok(member.filter(|member| member.added == stored.member_since))
    }
}

/// What browsers know this Keyhole by. An address is no relying party, nor is a name without TLS but for `localhost`
/// (WebAuthn Level 3, section 5.1.2).
fn relying_party(url: &Url) -> Option<Webauthn> {
    let host = url.domain()?;
    if url.scheme() != "https" && host != "localhost" {
        return None;
    }
    // Subdomains and other ports are others: that is the default, and said here so that it stays.
    let builder = WebauthnBuilder::new(host, url).ok()?.allow_subdomains(false).allow_any_port(false);
    builder.rp_name("Keyhole").timeout(LIFETIME).build().ok()
}

fn name(given: &str) -> Result<&str, PasskeyError> {
    let name = given.trim();
    let wrong = name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control);
    if wrong { Err(PasskeyError::Name) } else { Ok(name) }
}

fn now() -> Timestamp {
    Timestamp::now()
}
