//! Changing an account that is there: its nickname, access and health, and deleting it.
//! Each change is one compare-and-swap of one record, and is on disk when it returns.

use std::sync::Arc;

use jiff::Timestamp;

use super::connect::{ConnectError, nickname};
use super::history::Before;
use super::{Access, Account, AccountId, Accounts, Entry, Health, What};
use crate::apps::App;
use crate::members::{MemberId, Role};
use crate::store::StoreError;

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such account, or none that the member may know of: the two look alike.
    #[error("there is no account {0}; see `keyhole accounts list`")]
    NotThere(AccountId),
    /// The member may see the account, but it is not theirs.
    #[error("only {owner}, who connected the account {id}, can do that")]
    NotOwner {
        /// The account.
        id: AccountId,
        /// Whose it is.
        owner: MemberId,
    },
    /// A grant for someone who is not there.
    #[error("there is no member {0}; see `keyhole members list`")]
    NoMember(MemberId),
    /// Opening an account asks for more than a token or a terminal that was left open.
    #[error(
        "opening the account {0} to others asks for proof that its credentials are yours, no older than 15 minutes; \
         reconnect it and try again: keyhole accounts reconnect {0}"
    )]
    ProofNeeded(AccountId),
    /// Credentials of another app.
    #[error("the account {id} is for the app {app}; connect a new account for another app")]
    OtherApp {
        /// The account.
        id: AccountId,
        /// Its app.
        app: String,
    },
    /// Credentials of someone else at the service.
    #[error(
        "these credentials belong to another identity at the service than the account {id}; connect a new account, or \
         say that another identity is meant"
    )]
    OtherIdentity {
        /// The account.
        id: AccountId,
    },
    /// Its access is another than what was to be changed.
    #[error("its access was changed in the meantime, perhaps by you in another window")]
    AccessChanged,
    /// The new fields or nickname are wrong.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Gives the account `id` another nickname. Its owner alone can.
    ///
    /// # Errors
    /// Who may not, or what is wrong with the nickname.
    pub async fn rename(&self, by: &MemberId, id: &AccountId, to: &str) -> Result<Account, ChangeError> {
        let to = nickname(to).ok_or(ConnectError::Nickname)?;
        self.change(by, id, |account| {
            account.nickname.clone_from(&to);
            Ok(())
        })
        .await
    }

    /// Sets who may use the account `id`. Its owner alone can. When this returns, the
    /// next request of a run already under way goes by it.
    ///
    /// # Errors
    /// Who may not, or which member is not there.
    pub async fn set_access(&self, by: &MemberId, id: &AccountId, access: Access) -> Result<Account, ChangeError> {
        self.change_access(by, id, None, access).await
    }

    /// The same, if it still is what it `was`, where that is given.
    ///
    /// # Errors
    /// [`ChangeError::AccessChanged`], or as [`Accounts::set_access`].
    pub async fn change_access(
        &self,
        by: &MemberId,
        id: &AccountId,
        was: Option<&Access>,
        access: Access,
    ) -> Result<Account, ChangeError> {
        self.owned(by, id).await?;
        if let Access::Members(members) = &access {
            for member in members {
                if self.member(member).await?.is_none() {
                    return Err(ChangeError::NoMember(member.clone()));
                }
            }
        }
        let access = match access {
            Access::Members(members) if members.is_empty() => Access::Private,
            access => access,
        };
        self.change(by, id, |account| {
            if was.is_some_and(|was| account.access != *was) {
                return Err(ChangeError::AccessChanged);
            }
            account.open_to(&access)?;
            account.access.clone_from(&access);
            Ok(())
        })
        .await
    }

    /// Adds one grant, and leaves the others as they are.
    ///
    /// # Errors
    /// As [`Accounts::set_access`].
    pub async fn grant(&self, by: &MemberId, id: &AccountId, to: &MemberId) -> Result<Account, ChangeError> {
        self.owned(by, id).await?;
        if self.member(to).await?.is_none() {
            return Err(ChangeError::NoMember(to.clone()));
        }
        self.change(by, id, |account| {
            account.open_to(&Access::Members([to.clone()].into()))?;
            match &mut account.access {
                Access::Workspace => {}
                Access::Members(members) => drop(members.insert(to.clone())),
                Access::Private => account.access = Access::Members([to.clone()].into()),
            }
            Ok(())
        })
        .await
    }

    /// Takes one grant back, and leaves the others as they are. An account that is open
    /// to the workspace stays so: set its access instead.
    ///
    /// # Errors
    /// Who may not.
    pub async fn revoke(&self, by: &MemberId, id: &AccountId, from: &MemberId) -> Result<Account, ChangeError> {
        self.change(by, id, |account| {
            account.access.remove(from);
            Ok(())
        })
        .await
    }

    /// The account `id`, if `by` may delete it.
    pub(crate) async fn deletable(&self, by: &MemberId, id: &AccountId) -> Result<Account, ChangeError> {
        let not_there = || ChangeError::NotThere(id.clone());
        let member = self.member(by).await?.ok_or_else(not_there)?;
        let account = self.live(id).await?.ok_or_else(not_there)?;
        match account.owner == *by || member.role == Role::Admin {
            true => Ok(account),
            false => Err(refusal(&account, by, id)),
        }
    }

    /// Deletes the account `id`: its owner can, and an admin. Its credentials are gone
    /// from the record when this returns; that it was there stays known to runs.
    ///
    /// # Errors
    /// Who may not.
    pub async fn delete(&self, by: &MemberId, id: &AccountId) -> Result<(), ChangeError> {
        let not_there = || ChangeError::NotThere(id.clone());
        let member = self.member(by).await?.ok_or_else(not_there)?;
        let deleted = self
            .records
            .try_update(id.as_str(), |entry| {
                let account = entry.account.as_ref().ok_or_else(not_there)?;
                if account.owner != *by && member.role != Role::Admin {
                    return Err(refusal(account, by, id));
                }
                entry.delete(by);
                Ok(())
            })
            .await?;
        deleted.map(|_| ()).ok_or_else(not_there)?;
        Ok(self.usage.forget(id).await?)
    }

    /// Notes whether the credentials of `version` work. Nothing happens if the account has
    /// others by now, or is gone.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn set_health(&self, id: &AccountId, version: u64, health: Health) -> Result<(), StoreError> {
        // Read first: most reports tell nothing new, and need no write.
        match self.live(id).await? {
            Some(account) if account.version == version && account.health != health => {}
            _ => return Ok(()),
        }
        self.records
            .update(id.as_str(), |entry| {
                if let Some(account) = entry.account.as_mut().filter(|account| account.version == version) {
                    account.health.clone_from(&health);
                    account.updated = Timestamp::now();
                    if let Health::ReconnectNeeded { reason } = &health {
                        account.note(None, What::ReconnectNeeded { reason: reason.clone() });
                    }
                }
            })
            .await?;
        Ok(())
    }

    /// The account, if it is `by`'s own.
    pub(crate) async fn owned(&self, by: &MemberId, id: &AccountId) -> Result<Account, ChangeError> {
        let not_there = || ChangeError::NotThere(id.clone());
        self.member(by).await?.ok_or_else(not_there)?;
        let account = self.live(id).await?.ok_or_else(not_there)?;
        if account.owner == *by { Ok(account) } else { Err(self.refuse(&account, by, id).await?) }
    }

    /// The definition of the app of `by`'s own account `id`; `None` if the catalog no longer has it.
    ///
    /// # Errors
    /// Who may not, or whatever the store says.
    pub async fn definition(&self, by: &MemberId, id: &AccountId) -> Result<Option<Arc<App>>, ChangeError> {
        Ok(self.owned(by, id).await?.app(&self.catalog))
    }

    /// Changes an account of `by`'s own, over again if someone else changed it meanwhile.
    pub(super) async fn change(
        &self,
        by: &MemberId,
        id: &AccountId,
        mut change: impl FnMut(&mut Account) -> Result<(), ChangeError> + Send,
    ) -> Result<Account, ChangeError> {
        self.owned(by, id).await?;
        let not_there = || ChangeError::NotThere(id.clone());
        let changed = self
            .records
            .try_update(id.as_str(), |entry: &mut Entry| {
                let account = entry.account.as_mut().ok_or_else(not_there)?;
                if account.owner != *by {
                    return Err(refusal(account, by, id));
                }
                let before = Before::of(account);
                change(account)?;
                account.note_changes(Some(by), &before);
                account.updated = Timestamp::now();
                Ok(())
            })
            .await?;
        changed.and_then(|(entry, _)| entry.account).ok_or_else(not_there)
    }

    async fn refuse(&self, account: &Account, by: &MemberId, id: &AccountId) -> Result<ChangeError, StoreError> {
        let admin = self.member(by).await?.is_some_and(|member| member.role == Role::Admin);
        Ok(match admin {
            true => ChangeError::NotOwner { id: id.clone(), owner: account.owner.clone() },
            false => refusal(account, by, id),
        })
    }
}

/// Whoever may use an account may know whose it is; to anyone else it is not there.
fn refusal(account: &Account, by: &MemberId, id: &AccountId) -> ChangeError {
    match account.access.includes(by) {
        true => ChangeError::NotOwner { id: id.clone(), owner: account.owner.clone() },
        false => ChangeError::NotThere(id.clone()),
    }
}
