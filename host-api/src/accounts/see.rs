//! Listing and finding accounts: what a member may see of them. Never a secret, and
//! nothing at all of an account that the member may not know of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::usage::Used;
use super::{Access, Account, AccountId, Accounts, Health, Tokens};
use crate::members::{Member, MemberId, Role};
use crate::store::StoreError;

/// What may be seen of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The id.
    pub id: AccountId,
    /// The app's name.
    pub app: String,
    /// What its owner calls it.
    pub nickname: String,
    /// Who connected it.
    pub owner: MemberId,
    /// Who else may use it.
    pub access: Access,
    /// Whether it works.
    pub health: Health,
    /// When it was connected.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// How many requests carried its credentials.
    pub uses: u64,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// Whether the member who asked may use it. An admin sees accounts that they may not.
    pub usable: bool,
    /// The plain fields. Empty for whoever may not use it.
    pub plain: BTreeMap<String, String>,
    /// The names of the secret fields.
    pub secrets: Vec<String>,
    /// What identifies it at the service. None for whoever may not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What is known of its tokens, if it was connected by OAuth: the scopes that were
    /// granted, and when they expire. None for whoever may not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<Tokens>,
}

/// Why no one account was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is none, or none that the member may know of: the two look alike.
    #[error("there is no account '{0}'; see `keyhole accounts list`")]
    NotThere(String),
    /// Several have this nickname.
    #[error("several accounts are called '{name}'; name one by its id: {}", .ids.iter().map(AccountId::as_str).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// The nickname.
        name: String,
        /// The accounts.
        ids: Vec<AccountId>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Every account that `member` may see: theirs, those that they may use, and for an
    /// admin that the others exist. In the order in which they were connected.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self, member: &MemberId) -> Result<Vec<Summary>, StoreError> {
        let Some(member) = self.member(member).await? else { return Ok(Vec::new()) };
        let mut used = self.usage.all().await?;
        let summary = |account: Account| {
            let used = used.remove(account.id.as_str());
            summary(account, &member, used)
        };
        Ok(self.all().await?.into_iter().filter_map(summary).collect())
    }

    /// The account `id`, as `member` may see it; `None` if there is none that they may.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn get(&self, member: &MemberId, id: &AccountId) -> Result<Option<Summary>, StoreError> {
        let Some(member) = self.member(member).await? else { return Ok(None) };
        let Some(account) = self.live(id).await? else { return Ok(None) };
        let used = self.usage.of(id).await?;
        Ok(summary(account, &member, used))
    }

    /// The account whose id or exact nickname `name` is, among those that `member` may see.
    ///
    /// # Errors
    /// [`FindError::Ambiguous`] with the ids, if several have the nickname.
    pub async fn find(&self, member: &MemberId, name: &str) -> Result<Summary, FindError> {
        if let Ok(id) = name.parse::<AccountId>()
            && let Some(found) = self.get(member, &id).await?
        {
            return Ok(found);
        }
        let mut found = self.list(member).await?;
        found.retain(|account| account.nickname == name);
        match found.len() {
            0 => Err(FindError::NotThere(name.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(FindError::Ambiguous {
                name: name.to_owned(),
                ids: found.into_iter().map(|account| account.id).collect(),
            }),
        }
    }
}

fn summary(account: Account, member: &Member, used: Option<Used>) -> Option<Summary> {
    let usable = account.owner == member.id || account.access.includes(&member.id);
    if !usable && member.role != Role::Admin {
        return None;
    }
    let secrets = account.secret_fields().map(str::to_owned).collect();
    // Who else may use an account is its owner's and the admins' business.
    let all_of_access = account.owner == member.id || member.role == Role::Admin;
    Some(Summary {
        id: account.id,
        app: account.app,
        nickname: account.nickname,
        owner: account.owner,
        access: match account.access {
            Access::Members(_) if !all_of_access => Access::Members([member.id.clone()].into()),
            access => access,
        },
        health: account.health,
        created: account.created,
        updated: account.updated,
        uses: used.as_ref().map_or(0, |used| used.times),
        last_used: used.map(|used| used.last),
        usable,
        plain: if usable { account.plain } else { BTreeMap::new() },
        secrets,
        uid: account.uid.filter(|_| usable),
        oauth: account.oauth.filter(|_| usable),
    })
}
