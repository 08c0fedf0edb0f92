//! The people of the workspace. A member who was removed must leave nothing behind that
//! anyone could still use, a later member of the same name least of all.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::accounts::{Departed, Sweep};
use crate::oauth;
use crate::oidc::Bindings;
use crate::passkeys::Passkeys;
use crate::store::records::{Kept, Listing, Record, Records};
use crate::store::{Expect, Store, StoreError, Versioned};
use crate::tokens::{ConnectAccount, Links, Sessions, SignIn, Tokens};

/// A member's name: `[a-z0-9][a-z0-9._-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberId(String);

/// What a name must look like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' cannot be a member's name; use up to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
)]
pub struct MemberIdError(String);

impl MemberId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MemberId {
    type Error = MemberIdError;

    fn try_from(name: String) -> Result<Self, MemberIdError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        // These are words of an account's access.
        let reserved = ["private", "workspace"].contains(&name.as_str());
        match begins && name.len() <= 63 && name.bytes().all(allowed) && !reserved {
            true => Ok(Self(name)),
            false => Err(MemberIdError(name)),
        }
    }
}

impl FromStr for MemberId {
    type Err = MemberIdError;

    fn from_str(name: &str) -> Result<Self, MemberIdError> {
        Self::try_from(name.to_owned())
    }
}

impl From<MemberId> for String {
    fn from(id: MemberId) -> Self {
        id.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a member may do besides using accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Adds and removes members, sees that an account exists, deletes it. Does not use it.
    Admin,
    /// Connects and uses accounts.
    Member,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Member => "member",
        })
    }
}

/// A person of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name.
    pub id: MemberId,
    /// What they may do.
    pub role: Role,
    /// Since when.
    pub added: Timestamp,
    /// When they were removed. The record stays, so that a removal that was cut short is
    /// finished before the name is used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed: Option<Timestamp>,
    /// Whether what was theirs is gone, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    swept: bool,
}

impl Record for Member {
    const FOLDER: &'static str = "members";
    const VERSION: u32 = 1;
}

/// Why the members could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The name is taken.
    #[error("there is a member {0} already; choose another name")]
    Exists(MemberId),
    /// There is no such member.
    #[error("there is no member {0}; see `keyhole members list`")]
    NotThere(MemberId),
    /// Nobody would be left to manage the others.
    #[error("{0} is the only admin; make another member one first, with `keyhole members role NAME admin`")]
    LastAdmin(MemberId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The members of the workspace. Whether the caller may change them is for it to check.
#[derive(Clone)]
pub struct Members {
    store: Arc<dyn Store>,
    records: Records<Member>,
    kept: Arc<Kept<Member>>,
    listing: Arc<Listing<Arc<Member>>>,
    sweep: Sweep,
}

impl Members {
    /// The members that `store` holds.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let (records, sweep) = (Records::new(store.clone()), Sweep::new(store.clone()));
        Self { store, records, kept: Arc::default(), listing: Arc::default(), sweep }
    }

    /// Adds a member. Without a role, the first one becomes an admin and the others do not.
    ///
    /// # Errors
    /// [`MemberError::Exists`], or whatever the store says.
    pub async fn add(&self, id: MemberId, role: Option<Role>) -> Result<Member, MemberError> {
        let role = match role {
            Some(role) => role,
            None if self.list().await?.is_empty() => Role::Admin,
            None => Role::Member,
        };
        let expect = match self.records.get(id.as_str()).await? {
            None => Expect::Absent,
            Some((Member { removed: None, .. }, _)) => return Err(MemberError::Exists(id)),
            Some((_, revision)) => {
                // Again, in case a grant to the old bearer of the name was under way when
                // they were removed, or the removal was cut short.
                self.sweep.member(&id).await?;
                Expect::Revision(revision)
            }
        };
        self.put(id, role, Timestamp::now(), expect).await
    }

    /// Adds a member under a name that nobody bore before, who is one since `added`: for who wrote that down before. What
    /// is kept under a name, such as workflows, runs and the audit, must not come to somebody whom no admin named.
    pub(crate) async fn add_new(&self, id: MemberId, role: Role, added: Timestamp) -> Result<Member, MemberError> {
        self.put(id, role, added, Expect::Absent).await
    }

    async fn put(&self, id: MemberId, role: Role, added: Timestamp, expect: Expect) -> Result<Member, MemberError> {
        let member = Member { id, role, added, removed: None, swept: false };
        match self.records.put(member.id.as_str(), expect, &member).await {
            Ok(_) => Ok(member),
            Err(StoreError::Conflict { .. }) => Err(MemberError::Exists(member.id)),
            Err(error) => Err(error.into()),
        }
    }

    /// The member `id`; `None` too if they were removed.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn get(&self, id: &MemberId) -> Result<Option<Member>, StoreError> {
        self.of(id, self.records.store().get(&Self::key(id)).await?)
    }

    /// Whether somebody of this name was removed, and nobody added since.
    pub(crate) async fn was_removed(&self, id: &MemberId) -> Result<bool, StoreError> {
        Ok(self.records.get(id.as_str()).await?.is_some_and(|(member, _)| member.removed.is_some()))
    }

    /// The key of the record of `id`, for [`Members::of`].
    pub(crate) fn key(id: &MemberId) -> String {
        Records::<Member>::key(id.as_str())
    }

    /// The member `id`, `found` being what the store has at their key now.
    pub(crate) fn of(&self, id: &MemberId, found: Option<Versioned>) -> Result<Option<Member>, StoreError> {
        let found = Records::<Member>::kept(id.as_str(), found, &self.kept, |member| member)?;
        Ok(found.filter(|member| member.removed.is_none()))
    }

    /// All members, by name.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self) -> Result<Vec<Arc<Member>>, StoreError> {
        let all = self.records.listed(&self.listing, Arc::<Member>::new).await?;
        let all = all.iter().map(|(.., member)| member);
        Ok(all.filter(|member| member.removed.is_none()).cloned().collect())
    }

    /// The member `id`, or one whose removal was cut short, if they may be removed now: nothing is changed yet.
    ///
    /// # Errors
    /// [`MemberError::NotThere`], [`MemberError::LastAdmin`], or whatever the store says.
    pub async fn removable(&self, id: &MemberId) -> Result<Member, MemberError> {
        let (member, _) = self.records.get(id.as_str()).await?.ok_or_else(|| MemberError::NotThere(id.clone()))?;
        if member.removed.is_none() && member.role == Role::Admin {
            let mut others = self.list().await?;
            others.retain(|other| other.id != *id);
            if !others.is_empty() && !has_admin(&others) {
                return Err(MemberError::LastAdmin(id.clone()));
            }
        }
        Ok(member)
    }

    /// Removes a member: from now on nothing works for them; when this returns, their
    /// accounts are deleted and no account's access names them. Repeat it if it was cut short.
    ///
    /// # Errors
    /// [`MemberError::NotThere`], [`MemberError::LastAdmin`], or whatever the store says.
    pub async fn remove(&self, id: &MemberId) -> Result<Departed, MemberError> {
        let not_there = || MemberError::NotThere(id.clone());
        let member = self.removable(id).await?;
        let now = Timestamp::now();
        if member.removed.is_none() {
            self.change(&member, |stored| stored.removed = Some(now)).await?;
            // Another admin may have gone at the same moment. Nothing of theirs is gone yet.
            let left = self.list().await?;
            if member.role == Role::Admin && !left.is_empty() && !has_admin(&left) {
                let back = |stored: &mut Member| match stored.removed == Some(now) && !stored.swept {
                    true => {
                        stored.removed = None;
                        Ok(())
                    }
                    false => Err(not_there()),
                };
                self.records.try_update(id.as_str(), back).await?;
                return Err(MemberError::LastAdmin(id.clone()));
            }
        }
        let departed = self.finish(&member).await?;
        match member.removed.is_some() && departed.is_empty() {
            true => Err(not_there()),
            false => Ok(departed),
        }
    }

    /// Gives `member` another role, unless somebody else bears the name by now.
    ///
    /// # Errors
    /// [`MemberError::NotThere`], [`MemberError::LastAdmin`] if nobody else would be one, or whatever the store says.
    pub async fn set_role(&self, member: &Member, role: Role) -> Result<Member, MemberError> {
        if role != Role::Admin {
            let others = self.list().await?.into_iter().filter(|other| other.id != member.id);
            if !others.into_iter().any(|other| other.role == Role::Admin) {
                return Err(MemberError::LastAdmin(member.id.clone()));
            }
        }
        let mut was = role;
        let changed = self.change(member, |stored| was = std::mem::replace(&mut stored.role, role)).await?;
        // The other one may have ceased to be one at the same moment. Then both find nobody, and both stay.
        if was == Role::Admin && role != Role::Admin && !has_admin(&self.list().await?) {
            self.change(member, |stored| stored.role = Role::Admin).await?;
            return Err(MemberError::LastAdmin(member.id.clone()));
        }
        Ok(changed)
    }

    /// Changes the record of `member`, unless they are gone, or somebody else bears the name by now.
    async fn change(&self, member: &Member, mut change: impl FnMut(&mut Member) + Send) -> Result<Member, MemberError> {
        let not_there = || MemberError::NotThere(member.id.clone());
        let change = |stored: &mut Member| match stored.removed.is_none() && stored.added == member.added {
            true => {
                change(stored);
                Ok(())
            }
            false => Err(not_there()),
        };
        let changed = self.records.try_update(member.id.as_str(), change).await?;
        changed.map(|(member, _)| member).ok_or_else(not_there)
    }

    /// Finishes removals that were cut short, by a kill for instance. To be called once at
    /// the start of a program.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn finish_removals(&self) -> Result<(), StoreError> {
        for (_, member, _) in self.records.all().await? {
            if member.removed.is_some() && !member.swept {
                self.finish(&member).await?;
            }
        }
        Ok(())
    }

    /// Takes away what was `gone`'s. A later bearer of the name may be there already.
    async fn finish(&self, gone: &Member) -> Result<Departed, StoreError> {
        let id = &gone.id;
        let departed = self.sweep.member(id).await?;
        Tokens::sweep(&self.store, id).await?;
        Links::<ConnectAccount>::sweep(&self.store, id).await?;
        Links::<SignIn>::sweep(&self.store, id).await?;
        Sessions::sweep(&self.store, id).await?;
        Bindings::sweep(&self.store, id, gone.added).await?;
        Passkeys::sweep(&self.store, id, gone.added).await?;
        oauth::sweep(&self.store, id, gone.added).await?;
        let swept = |member: &mut Member| {
            if member.added == gone.added {
                member.swept = member.removed.is_some();
            }
        };
        self.records.update(id.as_str(), swept).await?;
        Ok(departed)
    }
}

fn has_admin(members: &[Arc<Member>]) -> bool {
    members.iter().any(|member| member.role == Role::Admin)
}
