//! Listing and finding accounts: what a member may see of them. Never a secret, and
//! nothing at all of an account that the member may not know of.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::usage::Used;
use super::{Access, AccountId, Accounts, Health, Row, Tokens};
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
        self.summaries(member, &self.rows(member).await?).await
    }

    /// What `member`, for whom `rows` were listed, may see of them.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn summaries(&self, member: &MemberId, rows: &[Row]) -> Result<Vec<Summary>, StoreError> {
        let Some(member) = self.member(member).await? else { return Ok(Vec::new()) };
        let used = self.usage.of_each(rows.iter().map(Row::id)).await?;
        Ok(rows.iter().zip(used).map(|(row, used)| summary(row, &member, used)).collect())
    }

    /// The account `id`, as `member` may see it; `None` if there is none that they may.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn get(&self, member: &MemberId, id: &AccountId) -> Result<Option<Summary>, StoreError> {
        let Some(member) = self.member(member).await? else { return Ok(None) };
        let Some(account) = self.live(id).await? else { return Ok(None) };
        let Some(row) = Row::of(&Arc::new(account.into()), &member) else { return Ok(None) };
        let used = self.usage.of(id).await?;
        Ok(Some(summary(&row, &member, used)))
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
        let mut found = self.rows(member).await?;
        found.retain(|account| account.nickname() == name);
        match found.len() {
            0 => Err(FindError::NotThere(name.to_owned())),
            1 => {
                let found = self.summaries(member, &found).await?.pop();
                found.ok_or_else(|| FindError::NotThere(name.to_owned()))
            }
            _ => Err(FindError::Ambiguous {
                name: name.to_owned(),
                ids: found.iter().map(|account| account.id().clone()).collect(),
            }),
        }
    }
}

fn summary(row: &Row, member: &Member, used: Option<Used>) -> Summary {
    let (account, usable) = (&*row.listed, row.usable);
    // Who else may use an account is its owner's and the admins' business.
    let all_of_access = account.owner == member.id || member.role == Role::Admin;
    Summary {
        id: account.id.clone(),
        app: account.app.clone(),
        nickname: account.nickname.clone(),
        owner: account.owner.clone(),
        access: match &account.access {
            Access::Members(_) if !all_of_access => Access::Members([member.id.clone()].into()),
            access => access.clone(),
        },
        health: account.health.clone(),
        created: account.created,
        updated: account.updated,
        uses: used.as_ref().map_or(0, |used| used.times),
        last_used: used.map(|used| used.last),
        usable,
        plain: if usable { account.plain.clone() } else { BTreeMap::new() },
        secrets: account.shapes.keys().cloned().collect(),
        uid: account.uid.clone().filter(|_| usable),
        oauth: account.oauth.clone().filter(|_| usable),
    }
}
