//! The app `custom`: a member names hosts, fields and placement with the account, so that
//! no one waits for a definition. It is held to the rules of every definition, and may
//! not name IP addresses or plain HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::build::build;
use super::error::Problems;
use super::read::{At, Draft, DraftField, DraftPlace};
use super::{App, CUSTOM, Source};

/// A member's own definition, kept in the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomApp {
    /// What people call the service; "Custom" if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The only hosts that its secrets may go to.
    pub hosts: Vec<String>,
    /// Where requests start. Ends with '/'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// What the account consists of.
    pub fields: Vec<CustomField>,
    /// Where the secrets go.
    pub places: Vec<CustomPlace>,
    /// Headers without a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A field of a [`CustomApp`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomField {
    /// The name that `$auth` has it under.
    pub name: String,
    /// Whether it is a credential.
    #[serde(default)]
    pub secret: bool,
}

/// Where secrets of a [`CustomApp`] go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CustomPlace {
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// Its value, such as `Bearer {token}`.
        template: String,
    },
    /// `Authorization: Basic`.
    Basic {
        /// The template before the colon.
        username: String,
        /// The template after it.
        #[serde(default)]
        password: String,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// Its value, such as `{key}`.
        template: String,
    },
}

/// All that is wrong with a [`CustomApp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this custom app cannot be used: {}", .0.join(". "))]
pub struct CustomError(pub Vec<String>);

impl CustomApp {
    /// The app that this defines.
    pub fn app(&self) -> Result<App, CustomError> {
        let text = |value: &String| At::nowhere(value.clone());
        let place = |place: &CustomPlace| match place {
            CustomPlace::Header { name, template } => {
                DraftPlace { header: Some(text(name)), template: Some(text(template)), ..DraftPlace::default() }
            }
            CustomPlace::Basic { username, password } => {
                DraftPlace { basic: Some((text(username), text(password))), ..DraftPlace::default() }
            }
            CustomPlace::Query { name, template } => {
                DraftPlace { query: Some(text(name)), template: Some(text(template)), ..DraftPlace::default() }
            }
        };
        let field = |field: &CustomField| DraftField {
            name: Some(text(&field.name)),
            secret: field.secret,
            ..DraftField::default()
        };
        let title = if self.title.is_empty() { "Custom".to_owned() } else { self.title.clone() };
        let draft = Draft {
            name: Some(At::nowhere(CUSTOM.to_owned())),
            title: Some(At::nowhere(title)),
            base_url: self.base_url.as_ref().map(text),
            hosts: self.hosts.iter().map(text).collect(),
            fields: self.fields.iter().map(field).collect(),
            places: self.places.iter().map(place).collect(),
            headers: self.headers.iter().map(|(name, value)| (text(name), text(value))).collect(),
            ..Draft::default()
        };
        let mut problems = Problems::default();
        match build(draft, &mut problems) {
            Some(app) if problems.is_empty() => Ok(App { source: Source::Account, ..app }),
            _ => Err(CustomError(problems.into_lines())),
        }
    }
}
