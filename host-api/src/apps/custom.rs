//! The app `custom`: a member names hosts, fields and placement with the account, so that
//! no one waits for a definition. It is held to the rules of every definition, and may
//! not name IP addresses or plain HTTP.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::build::build;
use super::error::{Problems, Span};
use super::read::{At, Draft, DraftField, DraftPlace};
use super::{App, CUSTOM, Encoded, Source, Template};

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
    /// A part of the path.
    Segment {
        /// Which, from 1: the part after the first `/`.
        index: u32,
        /// Its value, such as `bot{token}`.
        template: String,
    },
    /// A value in a JSON body.
    Json {
        /// Where, as a JSON pointer (RFC 6901).
        pointer: String,
        /// Its value.
        template: String,
    },
    /// A field of a form body.
    Form {
        /// Its name.
        name: String,
        /// Its value.
        template: String,
    },
}

impl CustomPlace {
    /// What it holds that fields are put into. One that is none is found by whoever checks the whole.
    fn templates(&self) -> impl Iterator<Item = Template> {
        let (one, other) = match self {
            Self::Basic { username, password } => (username, Some(password)),
            Self::Header { template, .. }
            | Self::Query { template, .. }
            | Self::Segment { template, .. }
            | Self::Json { template, .. }
            | Self::Form { template, .. } => (template, None),
        };
        let parse = |text: &String| match Encoded::parse(text) {
            Some(encoded) => encoded.map(|encoded| encoded.template().clone()),
            None => Template::parse(text),
        };
        std::iter::once(one).chain(other).filter_map(move |text| parse(text).ok())
    }
}

/// All that is wrong with a [`CustomApp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this custom app cannot be used: {}", .0.join(". "))]
pub struct CustomError(pub Vec<String>);

/// The part of a [`CustomApp`] that something is wrong with; the numbers count from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomPart {
    /// What people call it.
    Title,
    /// One of its hosts.
    Host(usize),
    /// Where requests start.
    BaseUrl,
    /// One of its fields.
    Field(usize),
    /// One of its places.
    Place(usize),
    /// The header of this name.
    Header(String),
}

impl CustomApp {
    /// Most hosts, fields, places and headers, of each.
    pub const MOST: usize = 32;

    /// One with these places: each `{name}` in them is a field, secret unless it is among `plain`, and a header without
    /// a secret is no place.
    pub fn gather(title: String, hosts: Vec<String>, places: Vec<CustomPlace>, plain: &[String]) -> Self {
        let known: BTreeSet<&String> = plain.iter().collect();
        let mut names: Vec<String> = Vec::new();
        let mut headers = BTreeMap::new();
        let mut kept = Vec::new();
        for place in places {
            let fields: Vec<String> =
                place.templates().flat_map(|one| one.fields().map(str::to_owned).collect::<Vec<_>>()).collect();
            match place {
                CustomPlace::Header { name, template }
                    if Template::parse(&template).is_ok() && fields.iter().all(|field| known.contains(field)) =>
                {
                    headers.insert(name, template);
                }
                place => kept.push(place),
            }
            names.extend(fields);
        }
        names.extend(plain.iter().cloned());
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        let field = |name: String| CustomField { secret: !known.contains(&name), name };
        let fields = names.into_iter().map(field).collect();
        Self { title, hosts, base_url: None, fields, places: kept, headers }
    }

    /// The app that this defines.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn app(&self) -> Result<App, CustomError> {
        self.checked().map_err(|problems| CustomError(problems.into_iter().map(|(_, line)| line).collect()))
    }

    /// The app that this defines, or all that is wrong with it and of which part.
    ///
    /// # Errors
    /// As [`CustomApp::app`].
    pub fn checked(&self) -> Result<App, Vec<(Option<CustomPart>, String)>> {
        let counts = [
            (self.hosts.len(), "hosts"),
            (self.fields.len(), "fields"),
            (self.places.len(), "places"),
            (self.headers.len(), "headers without a secret"),
        ];
        // First, and alone: the rest takes time that grows with them.
        let many = counts.into_iter().filter(|(count, _)| *count > Self::MOST);
        let many =
            many.map(|(_, what)| (None, format!("a custom app has at most {} {what}; take some away", Self::MOST)));
        let many: Vec<_> = many.collect();
        if !many.is_empty() {
            return Err(many);
        }
        let mut problems = Problems::default();
        let (draft, parts) = self.draft();
        match build(draft, &mut problems) {
            Some(app) if problems.is_empty() => Ok(App { source: Source::Account, ..app }),
            _ => Err(problems
                .into_lines()
                .map(|(span, line)| (parts.get(span.start).cloned().flatten(), line))
                .collect()),
        }
    }

    /// The draft of it, whose spans are places in the list of its parts.
    fn draft(&self) -> (Draft, Vec<Option<CustomPart>>) {
        let mut parts = vec![None];
        let mut of = |part: CustomPart| {
            parts.push(Some(part));
            parts.len() - 1..parts.len()
        };
        let at = |value: &String, span: &Span| At { value: value.clone(), span: span.clone() };
        let title = if self.title.is_empty() { "Custom".to_owned() } else { self.title.clone() };
        let draft = Draft {
            name: Some(At::nowhere(CUSTOM.to_owned())),
            title: Some(at(&title, &of(CustomPart::Title))),
            base_url: self.base_url.as_ref().map(|url| at(url, &of(CustomPart::BaseUrl))),
            hosts: self
                .hosts
                .iter()
                .enumerate()
                .map(|(number, host)| at(host, &of(CustomPart::Host(number))))
                .collect(),
            fields: (self.fields.iter().enumerate())
                .map(|(number, field)| {
                    let span = of(CustomPart::Field(number));
                    let name = Some(at(&field.name, &span));
                    DraftField { span, name, secret: field.secret, ..DraftField::default() }
                })
                .collect(),
            places: (self.places.iter().enumerate())
                .map(|(number, place)| draft_of(place, of(CustomPart::Place(number))))
                .collect(),
            headers: (self.headers.iter())
                .map(|(name, value)| {
                    let span = of(CustomPart::Header(name.clone()));
                    (at(name, &span), at(value, &span))
                })
                .collect(),
            ..Draft::default()
        };
        (draft, parts)
    }
}

fn draft_of(place: &CustomPlace, span: Span) -> DraftPlace {
    let at = |value: &String| At { value: value.clone(), span: span.clone() };
    let draft = match place {
        CustomPlace::Header { name, template } => {
            DraftPlace { header: Some(at(name)), template: Some(at(template)), ..DraftPlace::default() }
        }
        CustomPlace::Basic { username, password } => {
            DraftPlace { basic: Some((at(username), at(password))), ..DraftPlace::default() }
        }
        CustomPlace::Query { name, template } => {
            DraftPlace { query: Some(at(name)), template: Some(at(template)), ..DraftPlace::default() }
        }
        CustomPlace::Segment { index, template } => {
            let segment = At { value: i64::from(*index), span: span.clone() };
            DraftPlace { segment: Some(segment), template: Some(at(template)), ..DraftPlace::default() }
        }
        CustomPlace::Json { pointer, template } => {
            DraftPlace { json: Some(at(pointer)), template: Some(at(template)), ..DraftPlace::default() }
        }
        CustomPlace::Form { name, template } => {
            DraftPlace { form: Some(at(name)), template: Some(at(template)), ..DraftPlace::default() }
        }
    };
    DraftPlace { span: span.clone(), ..draft }
}
