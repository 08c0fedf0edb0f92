//! Who may use an account, and the check of it that every injection and every request
//! makes. It must read the store each time: a revoke works on the next request.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Account, AccountId, Accounts, Entry, Health};
use crate::members::{MemberId, MemberIdError, Members};
use crate::store::StoreError;
use crate::store::records::Records;

/// Who may use an account besides its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Nobody.
    Private,
    /// Every member.
    Workspace,
    /// These members. Each entry is a grant.
    Members(BTreeSet<MemberId>),
}

impl Access {
    /// Whether `member` is among them.
    pub fn includes(&self, member: &MemberId) -> bool {
        match self {
            Self::Private => false,
            Self::Workspace => true,
            Self::Members(members) => members.contains(member),
        }
    }

    /// Takes back the grant of `member`, if it is there.
    pub(super) fn remove(&mut self, member: &MemberId) {
        if let Self::Members(members) = self {
            members.remove(member);
            if members.is_empty() {
                *self = Self::Private;
            }
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Workspace => f.write_str("workspace"),
            Self::Members(members) => {
                let names: Vec<&str> = members.iter().map(MemberId::as_str).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// What is not an access setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access is private, workspace, or members' names with commas between them: {0}")]
pub struct AccessParseError(#[from] MemberIdError);

impl FromStr for Access {
    type Err = AccessParseError;

    /// Reads what [`Access`] is displayed as. No members at all is private.
    fn from_str(text: &str) -> Result<Self, AccessParseError> {
        match text.trim() {
            "private" | "" => Ok(Self::Private),
            "workspace" => Ok(Self::Workspace),
            names => Ok(Self::Members(names.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>()?)),
        }
    }
}

/// Why an account can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UseError {
    /// There never was such an account.
    #[error("there is no account {0}; link the step to another one")]
    NotThere(AccountId),
    /// It was deleted.
    #[error("the account {0} was deleted; link the step to another one")]
    Deleted(AccountId),
    /// The member was given no access.
    #[error("{member} may not use the account {account}; ask its owner for access")]
    NoAccess {
        /// The account.
        account: AccountId,
        /// Who asked.
        member: MemberId,
    },
    /// Its credentials no longer work.
    #[error("the account {account} must be reconnected by its owner: {reason}")]
    ReconnectNeeded {
        /// The account.
        account: AccountId,
        /// Why.
        reason: String,
    },
    /// The member is not, or no longer, of the workspace.
    #[error("there is no member {0}; let the workflow be owned by another one")]
    MemberRemoved(MemberId),
    /// The check could not be made, so the answer is no.
    #[error("whether the account may be used could not be checked: {0}")]
    Store(#[from] StoreError),
}

impl Accounts {
    /// The grant check: the account, if `member` may use it now. Two reads of the store,
    /// whatever its size.
    ///
    /// # Errors
    /// Why not. What can't be checked is refused.
    pub async fn usable(&self, id: &AccountId, member: &MemberId) -> Result<Arc<Account>, UseError> {
        let keys = [Members::key(member), Records::<Entry>::key(id.as_str())];
        let mut found = self.records.store().get_each(&[&keys[0], &keys[1]]).await?.into_iter();
        if self.members.of(member, found.next().flatten())?.is_none() {
            return Err(UseError::MemberRemoved(member.clone()));
        }
        let live = |entry: Entry| entry.account.map(Arc::new);
        let entry = Records::kept(id.as_str(), found.next().flatten(), &self.kept, live)?;
        let account = entry.ok_or_else(|| UseError::NotThere(id.clone()))?;
        let account = account.ok_or_else(|| UseError::Deleted(id.clone()))?;
        // A record copied onto another's key is not the account that was linked.
        if account.id != *id {
            return Err(UseError::NotThere(id.clone()));
        }
        if account.owner != *member && !account.access.includes(member) {
            return Err(UseError::NoAccess { account: id.clone(), member: member.clone() });
        }
        match &account.health {
            Health::Ok => Ok(account),
            Health::ReconnectNeeded { reason } => {
                Err(UseError::ReconnectNeeded { account: id.clone(), reason: reason.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_reads_as_it_is_written() {
        for text in ["private", "workspace", "bob", "bob,carol"] {
            assert_eq!(text.parse::<Access>().unwrap().to_string(), text);
        }
        assert_eq!("carol, bob".parse::<Access>().unwrap().to_string(), "bob,carol");
        for bad in ["Bob", "bob,", "bob,private", "bob;carol", "workspace,bob"] {
            assert!(bad.parse::<Access>().is_err(), "{bad}");
        }
    }
}
