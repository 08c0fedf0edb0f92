//! Connecting an account, and connecting it anew. What a member gave is checked against
//! the app's definition before anything is sealed; errors must never quote it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::change::ChangeError;
use super::{Access, Account, AccountId, Accounts, Entry, Health, Shape, Tokens, What, terms};
use crate::apps::{App, BaseUrlError, CUSTOM, CustomApp, CustomError, FieldDef, FieldError, HostError, REFRESH_TOKEN};
use crate::members::MemberId;
use crate::sign;
use crate::store::{Expect, StoreError};
use crate::vault::{Secret, VaultError};

/// Secrets shorter than this may stand in an answer by chance, so taking them out of it
/// would tell the guest what they are.
const SHORT: usize = 8;
/// Longest nickname, in characters.
const NICKNAME: usize = 100;

/// What a member gives to connect an account.
#[derive(Clone)]
pub struct Connect {
    /// The app's name.
    pub app: String,
    /// What to call the account; a name is made up if there is none.
    pub nickname: Option<String>,
    /// Values by field, plain ones too: which is which, the definition says.
    pub fields: BTreeMap<String, Secret>,
    /// The definition, for the app `custom` and no other.
    pub custom: Option<CustomApp>,
}

/// Fields that passed every check that needs no network. Its test request can be sent
/// with them before they are stored.
pub struct Prepared {
    /// The app.
    pub app: Arc<App>,
    /// The plain fields.
    pub plain: BTreeMap<String, String>,
    /// The secret fields.
    pub secrets: BTreeMap<String, Secret>,
    /// What the member should know, such as that a credential is too short to be scrubbed safely.
    pub warnings: Vec<String>,
    nickname: Option<String>,
    custom: Option<CustomApp>,
    oauth: Option<Tokens>,
    /// Whether they may belong to someone else at the service than those they replace.
    other_identity: bool,
}

/// An account that was stored.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The account.
    pub account: Account,
    /// What the member should know.
    pub warnings: Vec<String>,
}

/// Why an account could not be connected. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No definition has that name.
    #[error("there is no app {name}{}; see `keyhole apps list`, or connect the app custom", nearest.as_ref().map(|n| format!(" (did you mean {n}?)")).unwrap_or_default())]
    UnknownApp {
        /// The name that was given.
        name: String,
        /// The nearest one that there is.
        nearest: Option<String>,
    },
    /// Only a member owns accounts.
    #[error("there is no member {0}; add them with `keyhole members add`")]
    NotMember(MemberId),
    /// A definition was given for an app that has one, or `custom` was given none.
    #[error("the app custom needs a definition of hosts, fields and places, and no other app takes one")]
    Definition,
    /// The member's definition is wrong.
    #[error(transparent)]
    Custom(#[from] CustomError),
    /// Fields that are missing, unknown or wrong: all of them.
    #[error("{}", .0.join("\n"))]
    Fields(Vec<String>),
    /// The hosts can't be made from the fields.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The base URL can't be made from the fields.
    #[error(transparent)]
    BaseUrl(#[from] BaseUrlError),
    /// The nickname is not one line.
    #[error("a nickname is one line of at most {NICKNAME} characters")]
    Nickname,
    /// Sealing failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A nickname without the blanks around it, if it is one.
pub(super) fn nickname(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.chars().count() <= NICKNAME && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

impl Accounts {
    /// Checks what a member gave against the app's definition.
    ///
    /// # Errors
    /// All that is wrong with the fields, or what is wrong besides them.
    pub fn prepare(&self, given: Connect) -> Result<Prepared, ConnectError> {
        let prepared = self.prepare_all_but(given, &|_| false)?;
        prepared.is_complete().map_err(ConnectError::Fields)?;
        prepared.app.hosts_for(&prepared.plain)?;
        prepared.app.base_url(&prepared.plain)?;
        Ok(prepared)
    }

    /// Checks what a member gave before a service has given the rest: the fields of which
    /// `later` says so, none of which a member may give.
    pub(crate) fn prepare_all_but(
        &self,
        given: Connect,
        later: &dyn Fn(&str) -> bool,
    ) -> Result<Prepared, ConnectError> {
        let app = match (&given.custom, given.app.as_str()) {
            (Some(custom), CUSTOM) => Arc::new(custom.app()?),
            (None, name) if name != CUSTOM => self.catalog.get(name).cloned().ok_or_else(|| {
                let nearest = self.catalog.nearest(name).map(str::to_owned);
                ConnectError::UnknownApp { name: name.to_owned(), nearest }
            })?,
            _ => return Err(ConnectError::Definition),
        };
        let nickname = match given.nickname {
            Some(text) => Some(nickname(&text).ok_or(ConnectError::Nickname)?),
            None => None,
        };
        let mut prepared = Prepared {
            app,
            plain: BTreeMap::new(),
            secrets: BTreeMap::new(),
            warnings: Vec::new(),
            nickname,
            custom: given.custom,
            oauth: None,
            other_identity: false,
        };
        prepared.take(given.fields, later).map_err(ConnectError::Fields)?;
        Ok(prepared)
    }

    /// Stores what was prepared as a new account of `owner`'s, private to them. `uid` is
    /// what identifies it at the service, where that is known.
    ///
    /// # Errors
    /// [`ConnectError::NotMember`], or whatever the vault or the store says.
    pub async fn store(
        &self,
        owner: &MemberId,
        prepared: Prepared,
        uid: Option<String>,
    ) -> Result<Connected, ConnectError> {
        if self.member(owner).await?.is_none() {
            return Err(ConnectError::NotMember(owner.clone()));
        }
        let Prepared { app, plain, secrets, warnings, nickname, custom, oauth, .. } = prepared;
        let nickname = match nickname {
            Some(nickname) => nickname,
            None => self.free_nickname(owner, &app).await?,
        };
        let (id, version, now) = (AccountId::generate(), 1, Timestamp::now());
        let terms = terms(&app.name, owner, &plain, custom.as_ref());
        let mut account = Account {
            sealed: self.vault.sealer().await?.seal(&self.binding(&id, version, &terms), &secrets)?,
            app: app.name.clone(),
            nickname,
            owner: owner.clone(),
            access: Access::Private,
            health: Health::Ok,
            version,
            created: now,
            updated: now,
            proved: Some(now),
            plain,
            shapes: shapes(&app, &secrets),
            uid,
            custom,
            oauth,
            history: Vec::new(),
            id,
        };
        account.note(Some(owner), What::Connected);
        let entry = Entry::live(account.clone());
        self.records.put(account.id.as_str(), Expect::Absent, &entry).await?;
        Ok(Connected { account, warnings })
    }

    /// [`Accounts::prepare`] and [`Accounts::store`], without a test in between.
    ///
    /// # Errors
    /// As those.
    pub async fn connect(&self, owner: &MemberId, given: Connect) -> Result<Connected, ConnectError> {
        let prepared = self.prepare(given)?;
        self.store(owner, prepared, None).await
    }

    /// Checks new credentials for the account `id`, for [`Accounts::replace`].
    ///
    /// # Errors
    /// Who may not, or what is wrong with the fields.
    pub async fn prepare_again(
        &self,
        by: &MemberId,
        id: &AccountId,
        fields: BTreeMap<String, Secret>,
    ) -> Result<Prepared, ChangeError> {
        let account = self.owned(by, id).await?;
        let given = Connect { app: account.app, nickname: None, fields, custom: account.custom };
        Ok(self.prepare(given)?)
    }

    /// Replaces the credentials of the account `id` with what was prepared. Its id, links,
    /// nickname and access stay.
    ///
    /// # Errors
    /// Who may not, or whatever the vault or the store says.
    pub async fn replace(
        &self,
        by: &MemberId,
        id: &AccountId,
        prepared: Prepared,
        uid: Option<String>,
    ) -> Result<Connected, ChangeError> {
        let Prepared { app, plain, secrets, warnings, oauth, other_identity, .. } = prepared;
        let sealer = self.vault.sealer().await.map_err(ConnectError::from)?;
        let account = self
            .change(by, id, |account| {
                if account.app != app.name {
                    return Err(ChangeError::OtherApp { id: id.clone(), app: account.app.clone() });
                }
                if let (Some(before), Some(now), false) = (&account.uid, &uid, other_identity)
                    && before != now
                {
                    return Err(ChangeError::OtherIdentity { id: id.clone() });
                }
                let version = account.version + 1;
                account.plain.clone_from(&plain);
                let terms = account.terms();
                let binding = self.binding(id, version, &terms);
                account.sealed = sealer.seal(&binding, &secrets).map_err(ConnectError::from)?;
                account.version = version;
                account.shapes = shapes(&app, &secrets);
                account.health = Health::Ok;
                account.proved = Some(Timestamp::now());
                account.uid.clone_from(&uid);
                account.oauth.clone_from(&oauth);
                account.note(Some(by), What::Reconnected);
                Ok(())
            })
            .await?;
        Ok(Connected { account, warnings })
    }

    /// [`Accounts::prepare_again`] and [`Accounts::replace`], without a test in between.
    ///
    /// # Errors
    /// As those.
    pub async fn reconnect(
        &self,
        by: &MemberId,
        id: &AccountId,
        fields: BTreeMap<String, Secret>,
    ) -> Result<Connected, ChangeError> {
        let prepared = self.prepare_again(by, id, fields).await?;
        self.replace(by, id, prepared, None).await
    }

    /// "alice's Slack", or "alice's Slack 2".
    async fn free_nickname(&self, owner: &MemberId, app: &App) -> Result<String, StoreError> {
        let title: String = app.title.chars().take(30).collect();
        let first = format!("{owner}'s {title}");
        let all = self.listed().await?;
        let taken = |name: &String| all.iter().any(|account| account.owner == *owner && account.nickname == *name);
        let numbered = (2..).map(|number| format!("{first} {number}"));
        let free = std::iter::once(first.clone()).chain(numbered).find(|name| !taken(name));
        Ok(free.unwrap_or(first))
    }
}

impl Prepared {
    /// Sorts values into plain and secret, or tells all that is wrong with them.
    fn take(&mut self, mut given: BTreeMap<String, Secret>, later: &dyn Fn(&str) -> bool) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        let app = Arc::clone(&self.app);
        for field in app.fields.iter().filter(|field| !later(&field.name)) {
            let value = given.remove(&field.name).filter(|value| !(field.optional && value.expose().is_empty()));
            match value {
                Some(value) => match field.check(value.expose()) {
                    Ok(()) => self.put(field, value),
                    Err(error) => wrong.push(told(error)),
                },
                None => match &field.default {
                    Some(default) => drop(self.plain.insert(field.name.clone(), default.clone())),
                    None if field.optional => {}
                    None => wrong.push(missing(field)),
                },
            }
        }
        for name in given.keys() {
            let mine = app.fields.iter().map(|field| field.name.as_str()).filter(|name| !later(name));
            let known: Vec<&str> = mine.collect();
            wrong.push(format!("{name}: {} has no such field; its fields are {}", app.title, known.join(", ")));
        }
        if let Some(jwt) = app.jwt()
            && let Some(key) = self.secrets.get(&jwt.key)
            && let Err(error) = sign::jwt::check(jwt.algorithm, key)
        {
            let find = app.field(&jwt.key).and_then(|field| field.find.as_ref());
            let find = find.map(|find| format!("; you find it here: {find}")).unwrap_or_default();
            wrong.push(format!("{}: {error}{find}", jwt.key));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Whether there is enough for a request.
    fn is_complete(&self) -> Result<(), Vec<String>> {
        let has = |name: &str| self.plain.contains_key(name) || self.secrets.contains_key(name);
        let app = &self.app;
        if app.all_places().next().is_none() || app.all_places().any(|place| place.fields().all(has)) {
            return Ok(());
        }
        let ways: Vec<String> = app.places.iter().map(|p| p.fields().collect::<Vec<_>>().join(" and ")).collect();
        Err(vec![format!("{} needs {}", app.title, ways.join(", or "))])
    }

    /// Adds what only OAuth brings. `hint` becomes the nickname if the member chose none.
    pub(crate) fn with_tokens(mut self, tokens: Tokens, refresh: Option<Secret>, hint: Option<&str>) -> Self {
        self.oauth = Some(tokens);
        if let Some(refresh) = refresh {
            self.secrets.insert(REFRESH_TOKEN.to_owned(), refresh);
        }
        self.nickname = self.nickname.or_else(|| hint.and_then(nickname));
        self
    }

    /// Lets the credentials be someone else's at the service than those that they replace.
    #[must_use]
    pub fn of_another_identity(mut self, allowed: bool) -> Self {
        self.other_identity = allowed;
        self
    }

    fn put(&mut self, field: &FieldDef, value: Secret) {
        if !field.secret {
            self.plain.insert(field.name.clone(), value.expose().to_owned());
            return;
        }
        if value.expose().chars().count() < SHORT {
            self.warnings.push(format!(
                "{}: has fewer than {SHORT} characters; what answers hold by chance looks like it, so it can't be kept \
                 from steps as well as a longer one",
                field.name
            ));
        }
        self.secrets.insert(field.name.clone(), value);
    }
}

fn told(error: FieldError) -> String {
    error.to_string()
}

fn missing(field: &FieldDef) -> String {
    let find = field.find.as_ref().map(|find| format!("; you find it here: {find}")).unwrap_or_default();
    format!("{}: is missing ({}){find}", field.name, field.label)
}

pub(super) fn shapes(app: &App, secrets: &BTreeMap<String, Secret>) -> BTreeMap<String, Shape> {
    let shape = |(name, secret): (&String, &Secret)| {
        let shape = match app.field(name) {
            Some(field) => Shape {
                prefix: field.prefix_of(secret.expose()).to_owned(),
                length: field.keep_length.then_some(secret.expose().len()),
            },
            None => Shape::default(),
        };
        (name.clone(), shape)
    };
    secrets.iter().map(shape).collect()
}

#[cfg(test)]
never_shown!(Connect, Prepared);
