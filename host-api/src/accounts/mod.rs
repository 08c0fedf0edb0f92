//! Members' connections to apps: connect, reconnect, rename, access, delete, and the
//! check whether one may be used. A credential is in here only while it is on its way
//! into the vault or out of it; nothing here shows one, and no check that can't be made
//! is taken as passed.

mod access;
mod change;
mod connect;
mod history;
mod listed;
mod proof;
mod see;
mod sweep;
#[cfg(test)]
mod tests;
mod tokens;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use access::{Access, AccessParseError, UseError};
pub use change::ChangeError;
pub use connect::{Connect, ConnectError, Connected, Prepared};
pub use history::{Event, KEPT, What};
pub use listed::Row;
pub use proof::PROOF_LIFETIME;
pub use see::{FindError, Summary};
pub use sweep::Departed;
pub(crate) use sweep::Sweep;
pub(crate) use tokens::Renewed;
pub use tokens::Tokens;
pub use usage::Usage;

use crate::apps::{App, CUSTOM, Catalog, CustomApp, HostError, HostPattern};
use crate::members::{Member, MemberId, Members};
use crate::store::records::{Kept, Record, Records};
use crate::store::{Store, StoreError};
use crate::vault::{Binding, Report, Sealed, Secret, Vault, VaultError};

/// An account's id, a ULID: it sorts by when the account was connected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

/// What is not an account's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an account's id; see `keyhole accounts list`")]
pub struct AccountIdError(String);

impl AccountId {
    fn generate() -> Self {
        Self(ulid::Ulid::generate().to_string())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountId {
    type Error = AccountIdError;

    fn try_from(text: String) -> Result<Self, AccountIdError> {
        match ulid::Ulid::from_string(&text) {
            // In the one way of writing it that is a key of the store.
            Ok(ulid) => Ok(Self(ulid.to_string())),
            Err(_) => Err(AccountIdError(text)),
        }
    }
}

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(text: &str) -> Result<Self, AccountIdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<AccountId> for String {
    fn from(id: AccountId) -> Self {
        id.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an account's credentials work, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// They do.
    Ok,
    /// They do not. The owner must reconnect the account.
    ReconnectNeeded {
        /// What the service said, scrubbed.
        reason: String,
    },
}

/// What may be known of a secret without opening it: what its placeholder keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Its public beginning, such as `xoxb-`; empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Its length in bytes, where the definition says that a placeholder keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
}

/// One member's connection to an app. One record, so that no change needs two writes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
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
    /// Counts the credentials: every reconnect and every refresh raises it. What was sealed
    /// for another version does not open.
    pub version: u64,
    /// When it was connected.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
    /// When its owner last proved to have its credentials: by connecting or reconnecting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<Timestamp>,
    /// The plain fields.
    pub plain: BTreeMap<String, String>,
    /// What may be known of each secret field.
    pub shapes: BTreeMap<String, Shape>,
    /// What identifies it at the service, as its test request told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The member's own definition, for the app `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomApp>,
    /// What is known of its tokens, if it was connected by OAuth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<Tokens>,
    /// What happened to it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Event>,
    /// The secret fields.
    pub sealed: Sealed,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} {} of {}, {})", self.id, self.app, self.owner, self.access)
    }
}

impl Account {
    /// The definition of its app; `None` if the catalog no longer has it.
    pub fn app(&self, catalog: &Catalog) -> Option<Arc<App>> {
        match (&self.custom, self.app.as_str()) {
            (Some(custom), CUSTOM) => custom.app().ok().map(Arc::new),
            _ => catalog.get(&self.app).cloned(),
        }
    }

    /// The hosts that its secrets may go to, made from its own fields.
    ///
    /// # Errors
    /// If a field is not what a host may be made from. It was when the account was stored.
    pub fn hosts(&self, app: &App) -> Result<Vec<HostPattern>, HostError> {
        app.hosts_for(&self.plain)
    }

    /// The names of its secret fields.
    pub fn secret_fields(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }

    /// Whether it has the field, secret or plain.
    pub fn has(&self, field: &str) -> bool {
        self.plain.contains_key(field) || self.shapes.contains_key(field)
    }

    fn terms(&self) -> [u8; 32] {
        terms(&self.app, &self.owner, &self.plain, self.custom.as_ref())
    }

    /// What a placeholder for `field` keeps of the secret.
    pub fn shape(&self, field: &str) -> Option<&Shape> {
        self.shapes.get(field)
    }
}

/// What decides whose an account's credentials are and where they may go, in short: they are sealed for it.
fn terms(app: &str, owner: &MemberId, plain: &BTreeMap<String, String>, custom: Option<&CustomApp>) -> [u8; 32] {
    // Maps are in order, so that what is equal gives the same bytes. Nothing in it can fail to be JSON.
    *blake3::hash(&serde_json::to_vec(&(app, owner, plain, custom)).unwrap_or_default()).as_bytes()
}

/// Accounts that are read at a time.
const PAGE: usize = 1000;

/// What lies under an account's id: the account, or that it was deleted.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted: Option<Tombstone>,
}

/// What is left of a deleted account, so that a run can be told so. No ciphertext.
#[derive(Clone, Serialize, Deserialize)]
struct Tombstone {
    app: String,
    owner: MemberId,
    by: MemberId,
    at: Timestamp,
}

impl Record for Entry {
    const FOLDER: &'static str = "accounts";
    const VERSION: u32 = 1;
}

impl Entry {
    fn live(account: Account) -> Self {
        Self { account: Some(account), deleted: None }
    }

    /// Puts a tombstone in the account's place.
    fn delete(&mut self, by: &MemberId) {
        if let Some(Account { app, owner, .. }) = self.account.take() {
            self.deleted = Some(Tombstone { app, owner, by: by.clone(), at: Timestamp::now() });
        }
    }
}

/// The accounts of the workspace.
pub struct Accounts {
    records: Records<Entry>,
    /// For the grant check; `None` stands for a deleted account.
    kept: Kept<Option<Arc<Account>>>,
    /// For lists.
    listing: listed::Listing,
    members: Members,
    usage: Arc<Usage>,
    vault: Arc<Vault>,
    catalog: Arc<Catalog>,
    workspace: String,
}

impl Accounts {
    /// The accounts that `store` holds, of the workspace whose id is in every sealed record.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, catalog: Arc<Catalog>, workspace: impl Into<String>) -> Self {
        let members = Members::new(store.clone());
        Self {
            usage: Arc::new(Usage::new(store.clone())),
            records: Records::new(store),
            kept: Kept::default(),
            listing: listed::Listing::default(),
            members,
            vault,
            catalog,
            workspace: workspace.into(),
        }
    }

    /// The catalog that accounts are connected by.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The members who own them.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// How often they are used.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Opens a secret field. Ask [`Accounts::usable`] first.
    ///
    /// # Errors
    /// If the field is not there, or was sealed for another account, version or workspace.
    pub fn secret(&self, account: &Account, field: &str) -> Result<Secret, VaultError> {
        self.vault.open_field(&self.binding(&account.id, account.version, &account.terms()), &account.sealed, field)
    }

    /// Id of the master key that seals now.
    ///
    /// # Errors
    /// As [`Vault::sealer`].
    pub async fn master_key(&self) -> Result<String, VaultError> {
        Ok(self.vault.sealer().await?.key_id().to_owned())
    }

    /// Wraps the data key of every account anew, under the master key that seals now.
    pub(crate) async fn rewrap(&self, report: &mut Report) -> Result<(), VaultError> {
        let mut last = None;
        loop {
            let page = self.records.list(last.as_deref(), PAGE).await?;
            let Some((id, ..)) = page.last() else { return Ok(()) };
            last = Some(id.clone());
            for (id, ..) in page.iter().filter(|(_, entry, _)| entry.account.is_some()) {
                let sealer = self.vault.sealer().await?;
                let change = |entry: &mut Entry| {
                    let Some(account) = &mut entry.account else { return Ok(()) };
                    let terms = account.terms();
                    let binding = self.binding(&account.id, account.version, &terms);
                    account.sealed = sealer.rewrap(&binding, &account.sealed)?;
                    Ok(())
                };
                let rewrapped = self.records.try_update(id, change).await;
                report.rewrapped(&sealer, &Records::<Entry>::key(id), rewrapped)?;
            }
        }
    }

    /// Opens everything that accounts have sealed.
    pub(crate) async fn check(&self, report: &mut Report) -> Result<(), StoreError> {
        let mut last = None;
        loop {
            let page = self.records.list(last.as_deref(), PAGE).await?;
            let Some((id, ..)) = page.last() else { return Ok(()) };
            last = Some(id.clone());
            for (id, entry, _) in page {
                let Some(account) = entry.account else { continue };
                let terms = account.terms();
                let binding = self.binding(&account.id, account.version, &terms);
                report.look(&self.vault, &Records::<Entry>::key(&id), &binding, &account.sealed);
            }
        }
    }

    /// Where credentials are sealed, and the workspace that they are sealed for.
    pub fn vault(&self) -> (&Arc<Vault>, &str) {
        (&self.vault, &self.workspace)
    }

    fn binding<'a>(&'a self, id: &'a AccountId, version: u64, terms: &'a [u8; 32]) -> Binding<'a> {
        Binding { workspace: &self.workspace, account: id.as_str(), version, terms }
    }

    /// The account, if it is there and not deleted. No check is made of who asks.
    pub(crate) async fn live(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        Ok(self.records.get(id.as_str()).await?.and_then(|(entry, _)| entry.account))
    }

    /// The accounts that `owner` connected. No check is made of who asks.
    pub(crate) async fn of(&self, owner: &MemberId) -> Result<Vec<Account>, StoreError> {
        let mut theirs = Vec::new();
        for listed in self.listed().await?.iter().filter(|account| account.owner == *owner) {
            theirs.extend(self.live(&listed.id).await?.filter(|account| account.owner == *owner));
        }
        Ok(theirs)
    }

    async fn member(&self, id: &MemberId) -> Result<Option<Member>, StoreError> {
        self.members.get(id).await
    }
}
