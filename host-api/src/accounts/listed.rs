//! Accounts as lists are made of them: all but what is sealed, kept between lists and held against the store each
//! time. It must never decide whether an account may be used: [`Accounts::usable`] does.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Access, Account, AccountId, Accounts, Entry, Health, Tokens};
use crate::members::{Member, MemberId, Role};
use crate::store::StoreError;
use crate::store::records::{self, Records};

/// What is seen of an [`Account`].
#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) id: AccountId,
    pub(super) app: String,
    pub(super) nickname: String,
    pub(super) owner: MemberId,
    pub(super) access: Access,
    pub(super) health: Health,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) plain: BTreeMap<String, String>,
    pub(super) shapes: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    pub(super) uid: Option<String>,
    #[serde(default)]
    pub(super) oauth: Option<Tokens>,
}

impl From<Account> for Listed {
    fn from(account: Account) -> Self {
        let Account { id, app, nickname, owner, access, health, created, updated, plain, shapes, uid, oauth, .. } =
            account;
        let shapes = shapes.into_keys().map(|field| (field, IgnoredAny)).collect();
        Self { id, app, nickname, owner, access, health, created, updated, plain, shapes, uid, oauth }
    }
}

/// What is read of an [`Entry`].
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    account: Option<Listed>,
}

/// What lists are made of; `None` stands for a deleted account.
pub(super) type Listing = records::Listing<Option<Arc<Listed>>>;

/// An account among those that a member may see.
#[derive(Clone)]
pub struct Row {
    pub(super) listed: Arc<Listed>,
    /// Whether that member may use it. An admin sees accounts that they may not.
    pub usable: bool,
}

impl Row {
    pub(super) fn of(listed: &Arc<Listed>, member: &Member) -> Option<Self> {
        let usable = listed.owner == member.id || listed.access.includes(&member.id);
        let seen = usable || member.role == Role::Admin;
        seen.then(|| Self { listed: Arc::clone(listed), usable })
    }

    /// Its id.
    pub fn id(&self) -> &AccountId {
        &self.listed.id
    }

    /// Its app's name.
    pub fn app(&self) -> &str {
        &self.listed.app
    }

    /// What its owner calls it.
    pub fn nickname(&self) -> &str {
        &self.listed.nickname
    }

    /// Who connected it.
    pub fn owner(&self) -> &MemberId {
        &self.listed.owner
    }

    /// Who else may use it.
    pub fn access(&self) -> &Access {
        &self.listed.access
    }

    /// The scopes that the service granted, if it was connected by OAuth.
    pub fn scopes(&self) -> Option<&[String]> {
        self.listed.oauth.as_ref().map(|tokens| tokens.scopes.as_slice())
    }

    /// Whether it works.
    pub fn health(&self) -> &Health {
        &self.listed.health
    }
}

/// Every account that is there, in the order in which they were connected.
pub(super) async fn all(records: &Records<Entry>, listing: &Listing) -> Result<Vec<Arc<Listed>>, StoreError> {
    let listed = records.listed(listing, |part: Part| part.account.map(Arc::new)).await?;
    Ok(listed.iter().filter_map(|(.., account)| account.clone()).collect())
}

impl Accounts {
    /// Every account that `member` may see, as [`Accounts::list`] but without what each page shows of a few only.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn rows(&self, member: &MemberId) -> Result<Vec<Row>, StoreError> {
        let Some(member) = self.member(member).await? else { return Ok(Vec::new()) };
        Ok(self.listed().await?.iter().filter_map(|account| Row::of(account, &member)).collect())
    }

    /// Whether anybody has an account of `app`, which need not be defined.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn any_of(&self, app: &str) -> Result<bool, StoreError> {
        Ok(self.listed().await?.iter().any(|account| account.app == app))
    }

    /// Every account. No check is made of who asks.
    pub(super) async fn listed(&self) -> Result<Vec<Arc<Listed>>, StoreError> {
        all(&self.records, &self.listing).await
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::apps::Catalog;
    use crate::store::Store;
    use crate::store::redb::RedbStore;
    use crate::vault::{MasterKeySource, Secret, Vault};

    async fn open(dir: &Path) -> Accounts {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir).unwrap());
        let source = MasterKeySource::File(dir.join("master.key"));
        let vault = Arc::new(Vault::open(source, &store).await.unwrap());
        Accounts::new(store, vault, Arc::new(Catalog::embedded()), "w1")
    }

    fn who(name: &str) -> MemberId {
        name.parse().unwrap()
    }

    async fn connect(accounts: &Accounts, owner: &MemberId, count: usize) -> Vec<AccountId> {
        let one = async |number: usize| {
            let token = Secret::new(format!("xoxb-1234567890-hunter2hunter2-{number}"));
            let given = super::super::Connect {
                app: "slack".to_owned(),
                nickname: Some(format!("number {number}")),
                fields: [("oauth_access_token".to_owned(), token)].into(),
                custom: None,
            };
            accounts.connect(owner, given).await.unwrap().account.id
        };
        let mut ids = futures_util::future::join_all((0..count).map(one)).await;
        ids.sort();
        ids
    }

    #[tokio::test]
    async fn checked_twice_lists_show_at_once_what_another_process_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (open(dir.path()).await, open(dir.path()).await);
        for name in ["ann", "alice", "bob"] {
            ours.members().add(who(name), None).await.unwrap();
        }
        let ids = connect(&ours, &who("alice"), 3).await;
        let seen = async |name: &str| {
            let rows = ours.rows(&who(name)).await.unwrap();
            rows.iter().map(|row| (row.nickname().to_owned(), row.usable)).collect::<Vec<_>>()
        };
        let number = |number: usize, usable: bool| (format!("number {number}"), usable);
        let by_id = async |id: &AccountId| ours.get(&who("alice"), id).await.unwrap().unwrap().nickname;
        assert_eq!(seen("alice").await.len(), 3);
        assert_eq!(seen("bob").await, []);
        theirs.set_access(&who("alice"), &ids[1], Access::Workspace).await.unwrap();
        assert_eq!(seen("bob").await, [(by_id(&ids[1]).await, true)]);
        assert_eq!(seen("ann").await.iter().filter(|(_, usable)| *usable).count(), 1, "an admin sees that they exist");
        theirs.set_access(&who("alice"), &ids[1], Access::Private).await.unwrap();
        assert_eq!(seen("bob").await, []);
        theirs.rename(&who("alice"), &ids[0], "number 7").await.unwrap();
        assert!(seen("alice").await.contains(&number(7, true)));
        theirs.set_health(&ids[2], 1, Health::ReconnectNeeded { reason: "gone".into() }).await.unwrap();
        let rows = ours.rows(&who("alice")).await.unwrap();
        assert_eq!(rows.iter().filter(|row| *row.health() != Health::Ok).map(Row::id).collect::<Vec<_>>(), [&ids[2]]);
        theirs.delete(&who("alice"), &ids[0]).await.unwrap();
        assert_eq!(seen("alice").await.len(), 2);
        theirs.members().remove(&who("alice")).await.unwrap();
        assert_eq!(seen("ann").await, []);
        assert_eq!(seen("alice").await, []);
    }

    /// 1,000 accounts, and 10,000 with KEYHOLE_LONG=1.
    #[tokio::test]
    async fn what_a_list_costs_grows_by_far_less_than_reading_its_accounts_would() {
        let count = if std::env::var_os("KEYHOLE_LONG").is_some() { 10_000 } else { 1_000 };
        let dir = tempfile::tempdir().unwrap();
        let accounts = open(dir.path()).await;
        for name in ["ann", "alice", "bob"] {
            accounts.members().add(who(name), None).await.unwrap();
        }
        let ids = connect(&accounts, &who("alice"), count).await;
        accounts.set_access(&who("alice"), &ids[0], Access::Workspace).await.unwrap();
        let begun = Instant::now();
        assert_eq!(accounts.rows(&who("alice")).await.unwrap().len(), count);
        let first = begun.elapsed();
        let begun = Instant::now();
        for (_, entry, _) in accounts.records.all().await.unwrap() {
            assert!(entry.account.is_some());
        }
        let whole = begun.elapsed();
        let mut times = Vec::new();
        for (name, seen) in [("ann", count), ("alice", count), ("bob", 1)] {
            for _ in 0..5 {
                // As busy as a workspace is: something is written all the time.
                accounts.rename(&who("alice"), &ids[0], "another").await.unwrap();
                let begun = Instant::now();
                let rows = accounts.rows(&who(name)).await.unwrap();
                assert_eq!(rows.len(), seen);
                let page = accounts.summaries(&who(name), &rows[..rows.len().min(50)]).await.unwrap();
                assert_eq!(page[0].nickname, "another");
                times.push((begun.elapsed(), name));
            }
        }
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "{count} accounts: a page {:.1} ms, the first {:.1} ms; reading every record {:.1} ms",
            ms(times[times.len() / 2].0),
            ms(first),
            ms(whole)
        );
        assert!(times[times.len() / 2].0 * 2 < whole, "{times:?} of {whole:?}");
    }
}
