//! What an attempt was handed: accounts, and a placeholder for each of their secrets.
//!
//! It knows which versions of which accounts an answer could show, and keeps what the vault opened of them for as long
//! as the attempt goes on. A placeholder is all that it hands out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::placeholder::{Origin, Shape, Table};
use super::redact::Redactor;
use super::survey::Party;
use super::{AccessError, Field, Injected};
use crate::accounts::{Account, AccountId};
use crate::apps::{App, BaseUrlError, Place};
use crate::vault::Secret;

/// The secrets of an account by their fields.
pub(super) type Opened = Arc<BTreeMap<String, Secret>>;

/// What the session has handed out.
#[derive(Default)]
pub(super) struct Handed {
    pub(super) table: Table,
    pub(super) redactor: Redactor,
    pub(super) injected: BTreeMap<String, (AccountId, Injected)>,
    /// The accounts whose placeholders the table holds.
    pub(super) parties: BTreeMap<AccountId, Arc<Party>>,
    /// Every version of every account whose secrets this attempt could see echoed.
    pub(super) held: Vec<Arc<Account>>,
    /// What the vault opened of each account as it was read last.
    opened: BTreeMap<AccountId, (Arc<Account>, Opened)>,
    /// Props whose account was refused.
    pub(super) refused: BTreeSet<String>,
    /// Whether `held` is what the latest scrubber was made of.
    pub(super) known: bool,
    /// Whether every linked account's secrets are in `held`: a service may show them before the step
    /// has asked for the account.
    pub(super) all_held: bool,
}

impl Handed {
    /// Remembers that this version's secrets may come back in an answer.
    pub(super) fn hold(&mut self, account: &Arc<Account>) {
        if !self.held.iter().any(|held| held.id == account.id && held.version == account.version) {
            self.held.push(account.clone());
            self.known = false;
        }
    }

    /// What was opened of this very record. One that differs in anything, be it the terms that its secrets are sealed
    /// with, is for the vault to judge.
    pub(super) fn opened(&self, account: &Arc<Account>) -> Option<Opened> {
        let (read, opened) = self.opened.get(&account.id)?;
        Arc::ptr_eq(read, account).then(|| opened.clone())
    }

    /// Keeps what was opened of a record, in place of what was of an earlier one.
    pub(super) fn keep(&mut self, account: &Arc<Account>, opened: &Opened) {
        self.opened.insert(account.id.clone(), (account.clone(), opened.clone()));
    }

    /// The placeholder of one secret of one account, the same for every prop.
    fn placeholder(&mut self, prop: &str, account: &Account, field: &str) -> Result<String, AccessError> {
        if let Some(known) = self.table.placeholder_of(&account.id, field) {
            return Ok(known.to_owned());
        }
        let kept = account.shape(field);
        let shape = Shape {
            prefix: kept.map_or("", |shape| shape.prefix.as_str()),
            length: kept.and_then(|shape| shape.length),
        };
        let origin = Origin {
            account: account.id.clone(),
            app: account.app.clone(),
            field: field.to_owned(),
            prop: prop.to_owned(),
        };
        self.table.mint(origin, shape).map_err(|error| AccessError::Unavailable(error.to_string()))
    }

    /// Mints a placeholder for each secret, and fills the app's request template with them.
    pub(super) fn inject(
        &mut self,
        prop: &str,
        account: &Arc<Account>,
        app: &Arc<App>,
    ) -> Result<Injected, AccessError> {
        self.parties.insert(account.id.clone(), Arc::new(Party { account: account.clone(), app: app.clone() }));
        let mut auth = Vec::with_capacity(app.fields.len());
        for field in &app.fields {
            let (value, secret) = if let Some(value) = account.plain.get(&field.name) {
                (value.clone(), false)
            } else if field.has_placeholder() && account.secret_fields().any(|name| name == field.name) {
                (self.placeholder(prop, account, &field.name)?, true)
            } else {
                continue;
            };
            let names = std::iter::once(&field.name).chain(&field.aliases);
            auth.extend(names.map(|name| Field { name: name.clone(), value: value.clone(), secret }));
        }
        let value = |name: &str| auth.iter().find(|field| field.name == name).map(|field| field.value.as_str());
        let mut headers = Vec::new();
        let mut query = Vec::new();
        for (name, template) in &app.headers {
            headers.extend(template.render(value).map(|value| (name.to_string(), value)));
        }
        for place in app.request_places(|name| value(name).is_some()) {
            match place {
                Place::Header { name, template } => {
                    headers.extend(template.render(value).map(|value| (name.to_string(), value)));
                }
                Place::Encoded { name, value: encoded } => {
                    let rendered = encoded.template().render(value);
                    headers.extend(rendered.map(|text| (name.to_string(), encoded.write(&text).to_string())));
                }
                Place::Query { name, template } => {
                    query.extend(template.render(value).map(|value| (name.clone(), value)));
                }
                Place::Basic { username, password } => {
                    if let (Some(username), Some(password)) = (username.render(value), password.render(value)) {
                        headers.push(("authorization".to_owned(), basic(&username, &password)));
                    }
                }
                // A step fills these itself: they are no part of a template.
                Place::Segment { .. } | Place::Json { .. } | Place::Form { .. } | Place::Part { .. } => {}
            }
        }
        let base_url = app.base_url(&account.plain).map_err(|error| AccessError::Unavailable(error.to_string()))?;
        Ok(Injected {
            app: app.name.clone(),
            nickname: account.nickname.clone(),
            auth,
            base_url: base_url.map(String::from),
            headers,
            query,
        })
    }
}

impl Injected {
    /// What a step gets of an app that takes no account.
    pub(super) fn without_account(app: &App) -> Result<Self, BaseUrlError> {
        let headers = app.headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.render(|_| None)?)));
        Ok(Self {
            app: app.name.clone(),
            nickname: String::new(),
            auth: Vec::new(),
            base_url: app.base_url(&BTreeMap::new())?.map(String::from),
            headers: headers.collect(),
            query: Vec::new(),
        })
    }
}

/// `Authorization: Basic` as RFC 7617 writes it.
fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}
