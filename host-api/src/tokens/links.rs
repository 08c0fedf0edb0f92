//! Links that can be used once, for the one member who each was made for: one that connects an account of one app, and
//! one that signs in to the console. Each opens that and nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::basis::Basis;
use super::text::{Digest, Key, KeyId, Kind};
use crate::members::{MemberId, Members};
use crate::store::records::{Record, Records};
use crate::store::{Expect, Revision, Store, StoreError};
use crate::vault::Secret;

/// What a link opens.
pub trait Purpose: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where links of this kind lie in the store.
    const FOLDER: &'static str;
    /// The version of their records' format.
    const VERSION: u32;
    /// How long one is valid where its maker does not say.
    const LIFETIME: Duration;
    /// The longest that one may be valid.
    const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
    /// What its text is.
    const KIND: Kind;
}

/// An account of an app can be connected with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectAccount {
    /// The app.
    pub app: String,
}

impl Purpose for ConnectAccount {
    const FOLDER: &'static str = "connect-links";
    const VERSION: u32 = 1;
    const LIFETIME: Duration = Duration::from_secs(24 * 3600);
    const KIND: Kind = Kind::Link;
}

/// Its bearer is signed in to the console as the member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignIn {
    /// What made it, without which nobody is signed in by it.
    #[serde(flatten)]
    pub basis: Basis,
    /// Whether an admin made it, for a member who had not come in yet: for nobody else may they.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invite: bool,
}

impl Purpose for SignIn {
    const FOLDER: &'static str = "sign-in-links";
    // Since 2 what made one may be more than a token, since 3 it may be an invite, which a program that knows less would
    // overlook.
    const VERSION: u32 = 3;
    const LIFETIME: Duration = Duration::from_secs(15 * 60);
    const KIND: Kind = Kind::SignIn;
}

/// The most that one member has at a time.
const MOST: usize = 100;

/// What may be seen of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link<P> {
    /// Its id.
    pub id: KeyId,
    /// Who it was made for.
    pub member: MemberId,
    /// What it opens.
    pub opens: P,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is valid.
    pub expires: Timestamp,
}

/// A link that was just made.
pub struct NewLink<P> {
    /// What may be seen of it from now on.
    pub link: Link<P>,
    /// The secret part of its address, for this once.
    pub text: Secret,
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "P: Purpose")]
struct Stored<P> {
    member: MemberId,
    member_since: Timestamp,
    #[serde(flatten)]
    opens: P,
    created: Timestamp,
    expires: Timestamp,
    digest: Digest,
}

impl<P: Purpose> Record for Stored<P> {
    const FOLDER: &'static str = P::FOLDER;
    const VERSION: u32 = P::VERSION;
}

/// Why there is no new link, or why one does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no such member.
    #[error("there is no member {0}; see `keyhole members list`")]
    NotMember(MemberId),
    /// There is no such link, or none that the member may know of: the two look alike.
    #[error("there is no link {0}; see `keyhole accounts links list`")]
    NotThere(String),
    /// It was never there, was used, revoked or has expired: nobody is told which.
    #[error("this link is not valid, or no longer: each can be used once; ask whoever sent it for another one")]
    NotValid,
    /// Too long, or no time at all.
    #[error("a link is valid for at least a second and at most {} days", .0.as_secs() / 86_400)]
    Lifetime(Duration),
    /// The member has as many as there may be.
    #[error("{0} has {MOST} links of this kind that nobody used; revoke some, or wait until they expire")]
    TooMany(MemberId),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The links of one kind. Whether the caller may make one is for it to check.
#[derive(Clone)]
pub struct Links<P> {
    records: Records<Stored<P>>,
    members: Members,
}

impl<P: Purpose> Links<P> {
    /// The links that `store` holds.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { records: Records::new(store.clone()), members: Members::new(store) }
    }

    /// Makes a link for `member`.
    ///
    /// # Errors
    /// What is wrong with the lifetime, or whatever the store says.
    pub async fn create(&self, member: &MemberId, opens: P, lifetime: Duration) -> Result<NewLink<P>, LinkError> {
        if lifetime < Duration::from_secs(1) || lifetime > P::LONGEST {
            return Err(LinkError::Lifetime(P::LONGEST));
        }
        let of = self.members.get(member).await?.ok_or_else(|| LinkError::NotMember(member.clone()))?;
        if self.list(member).await?.len() >= MOST {
            return Err(LinkError::TooMany(member.clone()));
        }
        let now = Timestamp::now();
        let key = Key::generate(P::KIND).map_err(LinkError::Random)?;
        let stored = Stored {
            member: member.clone(),
            member_since: of.added,
            opens,
            created: now,
            expires: now.checked_add(lifetime).map_err(|_| LinkError::Lifetime(P::LONGEST))?,
            digest: key.digest(),
        };
        self.records.put(key.id().as_str(), Expect::Absent, &stored).await?;
        Ok(NewLink { link: shown(key.id().clone(), stored), text: key.text() })
    }

    /// The links for `member` that still open. Those that have expired are removed.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self, member: &MemberId) -> Result<Vec<Link<P>>, StoreError> {
        let now = Timestamp::now();
        let mut links = Vec::new();
        for (id, stored, _) in self.records.all().await? {
            if stored.expires <= now {
                self.records.delete(&id, Expect::Any).await?;
            } else if stored.member == *member {
                links.extend(id.parse().ok().map(|id| shown(id, stored)));
            }
        }
        Ok(links)
    }

    /// Takes back the link `id` for `of`.
    ///
    /// # Errors
    /// [`LinkError::NotThere`], or whatever the store says.
    pub async fn revoke(&self, of: &MemberId, id: &str) -> Result<Link<P>, LinkError> {
        let not_there = || LinkError::NotThere(id.to_owned());
        let key: KeyId = id.parse().map_err(|_| not_there())?;
        let (stored, _) = self.records.get(key.as_str()).await?.ok_or_else(not_there)?;
        if stored.member != *of {
            return Err(not_there());
        }
        self.records.delete(key.as_str(), Expect::Any).await?;
        Ok(shown(key, stored))
    }

    /// What the link `text` is for. It stays as it is.
    ///
    /// # Errors
    /// [`LinkError::NotValid`], or whatever the store says.
    pub async fn look(&self, text: &str) -> Result<Link<P>, LinkError> {
        Ok(self.open(text).await?.0)
    }

    /// Uses the link `text` up. Of several who try at once, one succeeds.
    ///
    /// # Errors
    /// [`LinkError::NotValid`], or whatever the store says.
    pub async fn redeem(&self, text: &str) -> Result<Link<P>, LinkError> {
        let (link, revision) = self.open(text).await?;
        self.take(link, revision).await
    }

    /// Whether the link `id`, whose text was looked at before, opens still.
    ///
    /// # Errors
    /// [`LinkError::NotValid`], or whatever the store says.
    pub(crate) async fn look_by_id(&self, id: &KeyId) -> Result<(), LinkError> {
        self.valid(id, self.records.get(id.as_str()).await?).await.map(drop)
    }

    /// Uses the link `id` up, whose text was looked at when what it opens was begun. Of several who try at once, one
    /// succeeds.
    ///
    /// # Errors
    /// [`LinkError::NotValid`], or whatever the store says.
    pub(crate) async fn redeem_by_id(&self, id: &KeyId) -> Result<Link<P>, LinkError> {
        let (link, revision) = self.valid(id, self.records.get(id.as_str()).await?).await?;
        self.take(link, revision).await
    }

    async fn take(&self, link: Link<P>, seen: Revision) -> Result<Link<P>, LinkError> {
        match self.records.delete(link.id.as_str(), Expect::Revision(seen)).await {
            Ok(()) => Ok(link),
            Err(StoreError::Conflict { .. }) => Err(LinkError::NotValid),
            Err(error) => Err(error.into()),
        }
    }

    async fn open(&self, text: &str) -> Result<(Link<P>, Revision), LinkError> {
        let key = Key::parse(P::KIND, text).ok_or(LinkError::NotValid)?;
        let found = self.records.get(key.id().as_str()).await?;
        let fits = key.fits(found.as_ref().map(|(stored, _)| &stored.digest));
        self.valid(key.id(), found.filter(|_| fits)).await
    }

    async fn valid(&self, id: &KeyId, found: Option<(Stored<P>, Revision)>) -> Result<(Link<P>, Revision), LinkError> {
        let (stored, revision) = found.ok_or(LinkError::NotValid)?;
        let member = self.members.get(&stored.member).await?.ok_or(LinkError::NotValid)?;
        if stored.expires <= Timestamp::now() || member.added != stored.member_since {
            return Err(LinkError::NotValid);
        }
        Ok((shown(id.clone(), stored), revision))
    }

    /// Takes back every link for `member`.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn revoke_all(&self, member: &MemberId) -> Result<(), StoreError> {
        Self::sweep(self.records.store(), member).await
    }

    /// Takes back every link for `member`, who may be being removed.
    pub(crate) async fn sweep(store: &Arc<dyn Store>, member: &MemberId) -> Result<(), StoreError> {
        let records = Records::<Stored<P>>::new(store.clone());
        for (id, stored, _) in records.all().await? {
            if stored.member == *member {
                records.delete(&id, Expect::Any).await?;
            }
        }
        Ok(())
    }
}

impl Links<SignIn> {
    /// Takes back every invite for `member`, who has come in.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn revoke_invites(&self, member: &MemberId) -> Result<(), StoreError> {
        for link in self.list(member).await?.into_iter().filter(|link| link.opens.invite) {
            self.records.delete(link.id.as_str(), Expect::Any).await?;
        }
        Ok(())
    }
}

fn shown<P>(id: KeyId, stored: Stored<P>) -> Link<P> {
    let Stored { member, opens, created, expires, .. } = stored;
    Link { id, member, opens, created, expires }
}

#[cfg(test)]
never_shown!(NewLink<SignIn>);
