//! What has to go when a member goes: their accounts, and grants to them. It must be safe
//! to run again, as it is when a removal was cut short.

use std::sync::Arc;

use super::history::Before;
use super::listed::{self, Listing};
use super::{Access, AccountId, Entry};
use crate::members::MemberId;
use crate::store::records::Records;
use crate::store::{Store, StoreError};

/// What stopped working when a member was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departed {
    /// Accounts of theirs that were deleted, with their nicknames.
    pub deleted: Vec<(AccountId, String)>,
    /// Accounts of others that they can no longer use, with their nicknames.
    pub revoked: Vec<(AccountId, String)>,
}

impl Departed {
    /// Whether nothing did.
    pub fn is_empty(&self) -> bool {
        self.deleted.is_empty() && self.revoked.is_empty()
    }
}

/// Goes through all accounts.
#[derive(Clone)]
pub(crate) struct Sweep {
    records: Records<Entry>,
}

impl Sweep {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { records: Records::new(store) }
    }

    /// Deletes `member`'s accounts and takes them out of the access of every other.
    pub(crate) async fn member(&self, member: &MemberId) -> Result<Departed, StoreError> {
        let mut departed = Departed::default();
        for account in listed::all(&self.records, &Listing::default()).await? {
            let named = (account.id.clone(), account.nickname.clone());
            let id = account.id.as_str();
            if account.owner == *member {
                self.records.update(id, |entry| entry.delete(member)).await?;
                departed.deleted.push(named);
            } else if matches!(&account.access, Access::Members(members) if members.contains(member)) {
                self.records
                    .update(id, |entry| {
                        if let Some(account) = &mut entry.account {
                            let before = Before::of(account);
                            account.access.remove(member);
                            account.note_changes(None, &before);
                        }
                    })
                    .await?;
                departed.revoked.push(named);
            }
        }
        Ok(departed)
    }
}
