//! Bearer tokens of members (RFC 6750), one-time links, and browsers' sessions, which are built alike:
//! an id by which the record is found, and 256 random bits of which only a hash is kept.
//!
//! The text is shown once, when it is made. It must never be stored, logged or shown again,
//! and whether a text fits must never be told by how long the comparison takes.

mod basis;
mod links;
mod sessions;
mod text;
pub(crate) mod tickets;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use basis::Basis;
pub use links::{ConnectAccount, Link, LinkError, Links, NewLink, Purpose, SignIn};
pub use sessions::{Opened, SESSION, Session, SessionError, Sessions};
pub use text::{Key, KeyId, Kind};

use crate::members::{Member, MemberId, Members};
use crate::store::records::{Record, Records};
use crate::store::{Expect, Store, StoreError};
use crate::vault::Secret;
use text::Digest;

/// How long a token is valid where its member does not say.
pub const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest that one may be valid.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// The most that one member has at a time.
pub const MOST: usize = 100;
/// Longest name of a token, in characters.
const NAME: usize = 100;
/// A use is noted when the last one that was noted is older than this: else each request
/// would be a write.
const NOTED: SignedDuration = SignedDuration::from_secs(60);

/// What may be seen of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id. It is the first part of its text, too, and no secret.
    pub id: KeyId,
    /// On whose behalf it speaks.
    pub member: MemberId,
    /// What the member calls it.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
}

/// A token that was just made.
pub struct NewToken {
    /// What may be seen of it from now on.
    pub token: Token,
    /// Its text, for this once.
    pub text: Secret,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    member: MemberId,
    /// Since when the member is one: a later bearer of the name is somebody else.
    member_since: Timestamp,
    name: String,
    created: Timestamp,
    expires: Timestamp,
    digest: Digest,
}

impl Record for Stored {
    const FOLDER: &'static str = "tokens";
    const VERSION: u32 = 1;
}

/// Kept apart from the token: a use must not get in the way of a revoke.
#[derive(Serialize, Deserialize)]
struct LastUse {
    at: Timestamp,
}

impl Record for LastUse {
    const FOLDER: &'static str = "token-uses";
    const VERSION: u32 = 1;
}

/// Why there is no new token, or why none was revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no such member.
    #[error("there is no member {0}; see `keyhole members list`")]
    NotMember(MemberId),
    /// There is no such token, or none that the member may know of: the two look alike.
    #[error("there is no token {0}; see `keyhole tokens list`")]
    NotThere(String),
    /// The name is not one line.
    #[error("a token's name is one line of at most {NAME} characters")]
    Name,
    /// Too long, or no time at all.
    #[error("a token is valid for at least a second and at most {} days; make another one when it expires", LONGEST.as_secs() / 86_400)]
    Lifetime,
    /// The member has as many as there may be.
    #[error("{0} has {MOST} tokens; revoke one with `keyhole tokens revoke ID` first")]
    TooMany(MemberId),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tokens of the workspace. Whether the caller may make or revoke one is for it to check.
#[derive(Clone)]
pub struct Tokens {
    records: Records<Stored>,
    uses: Records<LastUse>,
    members: Members,
    /// What this process noted last, so that most uses cost no read. Nothing is decided by it.
    noted: Arc<Mutex<HashMap<KeyId, Timestamp>>>,
}

impl Tokens {
    /// The tokens that `store` holds.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (records, uses) = (Records::new(store.clone()), Records::new(store.clone()));
        Self { records, uses, members: Members::new(store), noted: Arc::default() }
    }

    /// Makes a token for `member`, which is on disk when this returns.
    ///
    /// # Errors
    /// What is wrong with the name or the lifetime, or whatever the store says.
    pub async fn create(&self, member: &MemberId, name: &str, lifetime: Duration) -> Result<NewToken, TokenError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
            return Err(TokenError::Name);
        }
        if lifetime < Duration::from_secs(1) || lifetime > LONGEST {
            return Err(TokenError::Lifetime);
        }
        let of = self.members.get(member).await?.ok_or_else(|| TokenError::NotMember(member.clone()))?;
        let now = Timestamp::now();
        let expires = now.checked_add(lifetime).map_err(|_| TokenError::Lifetime)?;
        if self.list(Some(member)).await?.iter().filter(|token| token.expires > now).count() >= MOST {
            return Err(TokenError::TooMany(member.clone()));
        }
        let key = Key::generate(Kind::Token).map_err(TokenError::Random)?;
        let stored = Stored {
            member: member.clone(),
            member_since: of.added,
            name: name.to_owned(),
            created: now,
            expires,
            digest: key.digest(),
        };
        self.records.put(key.id().as_str(), Expect::Absent, &stored).await?;
        Ok(NewToken { token: shown(key.id().clone(), stored, None), text: key.text() })
    }

    /// The tokens of `member`, or of everyone, in the order in which they were made. Expired
    /// ones are among them.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self, member: Option<&MemberId>) -> Result<Vec<Token>, StoreError> {
        let mut tokens = Vec::new();
        for (id, stored, _) in self.records.all().await? {
            if member.is_none_or(|member| stored.member == *member) {
                let last_used = self.uses.get(&id).await?.map(|(last, _)| last.at);
                tokens.extend(id.parse().ok().map(|id| shown(id, stored, last_used)));
            }
        }
        Ok(tokens)
    }

    /// Revokes the token `id`, if it is `of`'s, or whose-ever it is. From when this returns
    /// on, no request is let in by it.
    ///
    /// # Errors
    /// [`TokenError::NotThere`], or whatever the store says.
    pub async fn revoke(&self, of: Option<&MemberId>, id: &str) -> Result<Token, TokenError> {
        let not_there = || TokenError::NotThere(id.to_owned());
        let id: KeyId = id.parse().map_err(|_| not_there())?;
        let (stored, _) = self.records.get(id.as_str()).await?.ok_or_else(not_there)?;
        if of.is_some_and(|of| stored.member != *of) {
            return Err(not_there());
        }
        let last_used = self.uses.get(id.as_str()).await?.map(|(last, _)| last.at);
        self.records.delete(id.as_str(), Expect::Any).await?;
        self.uses.delete(id.as_str(), Expect::Any).await?;
        Ok(shown(id, stored, last_used))
    }

    /// Whose token `text` is, and which; `None` if it is none, or no longer. The store is
    /// read each time, so a revoke holds from the next request on, in every process.
    ///
    /// # Errors
    /// Whatever the store says: whether it fits is not known then, so the answer is no.
    pub async fn verify(&self, text: &str) -> Result<Option<(Member, KeyId)>, StoreError> {
        let Some(key) = Key::parse(Kind::Token, text) else { return Ok(None) };
        let found = self.records.get(key.id().as_str()).await?.map(|(stored, _)| stored);
        // Compared also where there is nothing to compare with, so that both take as long.
        let fits = key.fits(found.as_ref().map(|stored| &stored.digest));
        let Some(stored) = found.filter(|_| fits) else { return Ok(None) };
        let Some(member) = self.speaks_for(&stored).await? else { return Ok(None) };
        self.note(key.id()).await;
        Ok(Some((member, key.id().clone())))
    }

    /// Whose the token `id` is, which was verified before; `None` if it is valid no longer.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn bearer(&self, id: &KeyId) -> Result<Option<Member>, StoreError> {
        match self.records.get(id.as_str()).await? {
            Some((stored, _)) => self.speaks_for(&stored).await,
            None => Ok(None),
        }
    }

    async fn speaks_for(&self, stored: &Stored) -> Result<Option<Member>, StoreError> {
        if stored.expires <= Timestamp::now() {
            return Ok(None);
        }
        let member = self.members.get(&stored.member).await?;
        Ok(member.filter(|member| member.added == stored.member_since))
    }

    /// Revokes every token of `member`.
    pub(crate) async fn sweep(store: &Arc<dyn Store>, member: &MemberId) -> Result<(), StoreError> {
        let (records, uses) = (Records::<Stored>::new(store.clone()), Records::<LastUse>::new(store.clone()));
        for (id, stored, _) in records.all().await? {
            if stored.member == *member {
                records.delete(&id, Expect::Any).await?;
                uses.delete(&id, Expect::Any).await?;
            }
        }
        Ok(())
    }

    /// Notes a use. That it can't be noted keeps nobody from working.
    async fn note(&self, id: &KeyId) {
        let now = Timestamp::now();
        {
            let mut noted = self.noted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            noted.retain(|_, at| now.duration_since(*at) < NOTED);
            if noted.contains_key(id) {
                return;
            }
            noted.insert(id.clone(), now);
        }
        if let Err(error) = self.uses.put(id.as_str(), Expect::Any, &LastUse { at: now }).await {
            tracing::warn!(%error, "a token's use could not be noted");
        }
    }
}

fn shown(id: KeyId, stored: Stored, last_used: Option<Timestamp>) -> Token {
    let Stored { member, name, created, expires, .. } = stored;
    Token { id, member, name, created, expires, last_used }
}

#[cfg(test)]
never_shown!(NewToken);

#[cfg(test)]
mod tests;
