//! What an import found out, and how it is written: TOML with a comment wherever the
//! operator has to look.

use std::collections::BTreeMap;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use super::text::line;
use super::{Draft, ImportError};
use crate::apps::{self, CustomPlace};

/// Width of comments, in characters.
const WIDTH: usize = 116;

/// A definition in the making.
#[derive(Default)]
pub(super) struct Sketch {
    pub name: String,
    pub title: String,
    pub docs: Option<String>,
    pub base_url: Option<String>,
    pub hosts: Vec<String>,
    pub deny: Vec<Denied>,
    pub fields: Vec<Field>,
    pub places: Vec<Place>,
    /// Headers without a secret.
    pub headers: BTreeMap<String, String>,
    pub oauth: Option<OAuth>,
    /// Whether a person said all of it, so that nothing is a guess.
    pub said: bool,
    /// What to check, by the key that it is written above; those of no key stand at the end.
    pub remarks: Vec<(&'static str, String)>,
}

/// A rule against what steps should not ask for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Denied {
    pub path: String,
    pub reason: &'static str,
}

#[derive(Clone, Default)]
pub(super) struct Field {
    pub name: String,
    pub label: String,
    pub secret: bool,
    pub optional: bool,
    pub pattern: Option<&'static str>,
    pub choices: Vec<String>,
    pub default: Option<String>,
    pub help: Option<String>,
    pub remarks: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Place {
    pub kind: CustomPlace,
    pub remarks: Vec<String>,
}

#[derive(Clone, Default)]
pub(super) struct OAuth {
    pub for_client: bool,
    pub authorization_url: Option<String>,
    pub token_url: String,
    pub device_url: Option<String>,
    pub revocation_url: Option<String>,
    pub userinfo_url: Option<String>,
    pub issuer: Option<String>,
    pub require_iss: bool,
    pub scopes: Vec<String>,
    pub without_pkce: bool,
    pub body_auth: bool,
    /// What to check, by key; those of no key stand above the table.
    pub remarks: Vec<(&'static str, String)>,
}

/// The field that access tokens go into.
pub(super) const ACCESS_TOKEN: &str = "oauth_access_token";

impl Sketch {
    pub(super) fn remark(&mut self, key: &'static str, text: impl Into<String>) {
        self.remarks.push((key, text.into()));
    }

    /// Writes it and has the loader check it. An `[oauth]` table that the loader refuses is
    /// left out, and why is said: the token can still be pasted.
    pub(super) fn finish(mut self) -> Result<Draft, ImportError> {
        let refused = match self.checked() {
            Ok(draft) => return Ok(draft),
            Err(errors) => errors,
        };
        if self.oauth.take().is_none() {
            return Err(ImportError::Refused(refused));
        }
        let reason = refused.first().map_or_else(String::new, |error| line(&error.message, 300));
        let text =
            format!("OAuth is left out, since {reason}. Members paste an access token; or write an [oauth] table.");
        self.remark("field", text);
        self.whole()
    }

    /// The same, but with all of it or not at all.
    pub(super) fn whole(&self) -> Result<Draft, ImportError> {
        self.checked().map_err(ImportError::Refused)
    }

    pub(super) fn checked(&self) -> Result<Draft, Vec<apps::AppError>> {
        let definition = self.to_toml();
        let app = apps::check(&definition, "the draft")?;
        Ok(Draft {
            usable: !app.places.is_empty(),
            oauth: app.oauth.is_some(),
            name: app.name,
            definition,
            notes: self.notes(),
        })
    }

    /// Every remark, in the order of the definition.
    fn notes(&self) -> Vec<String> {
        let of = |keys: &'static [&str]| {
            self.remarks.iter().filter(|(key, _)| keys.contains(key)).map(|(_, text)| text.clone())
        };
        let fields = self.fields.iter().flat_map(|field| field.remarks.iter().cloned());
        let places = self.places.iter().flat_map(|place| place.remarks.iter().cloned());
        let oauth = self.oauth.iter().flat_map(|oauth| oauth.remarks.iter().map(|(_, text)| text.clone()));
        of(&["name", "title", "docs", "base_url", "hosts", "deny"])
            .chain(of(&["field"]))
            .chain(fields)
            .chain(places)
            .chain(oauth)
            .chain(of(&[""]))
            .collect()
    }

    fn about(&self, wanted: &str) -> Vec<&str> {
        self.remarks.iter().filter(|(key, _)| *key == wanted).map(|(_, text)| text.as_str()).collect()
    }

    fn to_toml(&self) -> String {
        let mut document = DocumentMut::new();
        let top = document.as_table_mut();
        put(top, "keyhole", apps::FORMAT, &[]);
        let by = match self.said {
            true => "# Drafted by 'keyhole apps new'.\n",
            false => "# A draft that 'keyhole apps import' made. Look at what is marked with 'Check:'.\n",
        };
        prefix(top, "keyhole", by);
        put(top, "name", self.name.as_str(), &self.about("name"));
        put(top, "title", self.title.as_str(), &self.about("title"));
        if let Some(docs) = &self.docs {
            put(top, "docs", docs.as_str(), &self.about("docs"));
        }
        if let Some(url) = &self.base_url {
            put(top, "base_url", url.as_str(), &self.about("base_url"));
        }
        put(top, "hosts", list(&self.hosts), &self.about("hosts"));
        if !self.deny.is_empty() {
            put(top, "deny", rules(&self.deny), &self.about("deny"));
        }
        let mut fields = ArrayOfTables::new();
        for (index, field) in self.fields.iter().enumerate() {
            let mut remarks: Vec<&str> = if index == 0 { self.about("field") } else { Vec::new() };
            remarks.extend(field.remarks.iter().map(String::as_str));
            fields.push(field.to_table(&remarks));
        }
        let mut places = ArrayOfTables::new();
        for place in &self.places {
            places.push(place.to_table());
        }
        for (key, tables) in [("field", fields), ("place", places)] {
            if !tables.is_empty() {
                top.insert(key, Item::ArrayOfTables(tables));
            }
        }
        if !self.headers.is_empty() {
            let mut headers = headed(&[]);
            for (name, text) in &self.headers {
                put(&mut headers, name, text.as_str(), &[]);
            }
            top.insert("headers", Item::Table(headers));
        }
        if let Some(oauth) = &self.oauth {
            top.insert("oauth", Item::Table(oauth.to_table()));
        }
        let end = self.about("");
        if !end.is_empty() {
            document.set_trailing(format!("\n{}", comment(&end)));
        }
        document.to_string()
    }
}

impl Field {
    fn to_table(&self, remarks: &[&str]) -> Table {
        let mut table = headed(remarks);
        put(&mut table, "name", self.name.as_str(), &[]);
        put(&mut table, "label", self.label.as_str(), &[]);
        for (key, flag) in [("secret", self.secret), ("optional", self.optional)] {
            if flag {
                put(&mut table, key, true, &[]);
            }
        }
        if let Some(pattern) = self.pattern {
            put(&mut table, "pattern", pattern, &[]);
        }
        if !self.choices.is_empty() {
            put(&mut table, "choices", list(&self.choices), &[]);
        }
        for (key, text) in [("default", &self.default), ("help", &self.help)] {
            if let Some(text) = text {
                put(&mut table, key, text.as_str(), &[]);
            }
        }
        table
    }
}

impl Place {
    fn to_table(&self) -> Table {
        let remarks: Vec<&str> = self.remarks.iter().map(String::as_str).collect();
        let mut table = headed(&remarks);
        let (key, at, template) = match &self.kind {
            CustomPlace::Header { name, template } => ("header", Value::from(name), template),
            CustomPlace::Query { name, template } => ("query", Value::from(name), template),
            CustomPlace::Segment { index, template } => ("segment", Value::from(i64::from(*index)), template),
            CustomPlace::Json { pointer, template } => ("json", Value::from(pointer), template),
            CustomPlace::Form { name, template } => ("form", Value::from(name), template),
            CustomPlace::Basic { username, password } => {
                let mut basic = InlineTable::new();
                basic.insert("username", username.as_str().into());
                basic.insert("password", password.as_str().into());
                put(&mut table, "basic", basic, &[]);
                return table;
            }
        };
        put(&mut table, key, at, &[]);
        put(&mut table, "template", template.as_str(), &[]);
        table
    }
}

impl OAuth {
    pub(super) fn remark(&mut self, key: &'static str, text: impl Into<String>) {
        self.remarks.push((key, text.into()));
    }

    fn to_table(&self) -> Table {
        let about = |wanted: &str| -> Vec<&str> {
            self.remarks.iter().filter(|(key, _)| *key == wanted).map(|(_, text)| text.as_str()).collect()
        };
        let mut table = headed(&about(""));
        if self.for_client {
            put(&mut table, "flow", "client_credentials", &about("flow"));
        }
        let urls = [
            ("authorization_url", self.authorization_url.as_ref()),
            ("token_url", Some(&self.token_url)),
            ("device_url", self.device_url.as_ref()),
            ("revocation_url", self.revocation_url.as_ref()),
            ("issuer", self.issuer.as_ref()),
        ];
        for (key, url) in urls {
            if let Some(url) = url {
                put(&mut table, key, url.as_str(), &about(key));
            }
        }
        if self.require_iss {
            put(&mut table, "require_iss", true, &[]);
        }
        if self.without_pkce {
            put(&mut table, "pkce", false, &about("pkce"));
        }
        if self.body_auth {
            put(&mut table, "client_auth", "body", &about("client_auth"));
        }
        if !self.scopes.is_empty() || !about("scopes").is_empty() {
            put(&mut table, "scopes", list(&self.scopes), &about("scopes"));
        }
        if let Some(url) = &self.userinfo_url {
            let mut userinfo = headed(&[]);
            put(&mut userinfo, "url", url.as_str(), &[]);
            put(&mut userinfo, "uid", "/sub", &[]);
            put(&mut userinfo, "nickname", list(&["/email".to_owned(), "/name".to_owned()]), &[]);
            table.insert("userinfo", Item::Table(userinfo));
        }
        table
    }
}

fn put(table: &mut Table, key: &str, item: impl Into<Value>, remarks: &[&str]) {
    table.insert(key, value(item));
    if !remarks.is_empty() {
        prefix(table, key, &comment(remarks));
    }
}

fn prefix(table: &mut Table, key: &str, text: &str) {
    if let Some(mut key) = table.key_mut(key) {
        key.leaf_decor_mut().set_prefix(text);
    }
}

/// A table after an empty line and its remarks.
fn headed(remarks: &[&str]) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix(format!("\n{}", comment(remarks)));
    table
}

/// A list on one line, or one item a line.
fn list(items: &[String]) -> Array {
    let mut array: Array = items.iter().map(String::as_str).collect();
    if items.iter().map(|item| item.len() + 4).sum::<usize>() > 80 {
        one_a_line(&mut array);
    }
    array
}

fn rules(rules: &[Denied]) -> Array {
    let mut array = Array::new();
    for rule in rules {
        let mut table = InlineTable::new();
        table.insert("path", rule.path.as_str().into());
        table.insert("reason", rule.reason.into());
        array.push(table);
    }
    one_a_line(&mut array);
    array
}

fn one_a_line(array: &mut Array) {
    for item in array.iter_mut() {
        item.decor_mut().set_prefix("\n  ");
    }
    array.set_trailing_comma(true);
    array.set_trailing("\n");
}

/// Each remark as a comment, broken between words.
fn comment(remarks: &[&str]) -> String {
    let mut text = String::new();
    for remark in remarks {
        let remark = line(&format!("Check: {remark}"), 4000);
        let mut column = WIDTH;
        for word in remark.split(' ') {
            let length = word.chars().count() + 1;
            if column + length > WIDTH {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push('#');
                column = 1;
            }
            text.push(' ');
            text.push_str(word);
            column += length;
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}
