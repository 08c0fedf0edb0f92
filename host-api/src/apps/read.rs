//! A definition's TOML as a [`Draft`]: the right keys with the right types, each with its
//! place in the text. What the values mean is `build`'s to judge.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Problems, Span};
use super::oauth::{self, DraftOAuth};
use super::oauth1::{self, DraftOAuth1};
use super::sigv4::{self, DraftSigV4};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> At<T> {
    /// A value that stands in no text.
    pub fn nowhere(value: T) -> Self {
        Self { value, span: 0..0 }
    }
}

pub(super) type Text = At<String>;

/// A definition with nothing judged.
#[derive(Default)]
pub(super) struct Draft {
    pub name: Option<Text>,
    pub title: Option<Text>,
    pub docs: Option<Text>,
    pub base_url: Option<Text>,
    pub hosts: Vec<Text>,
    pub insecure_http: bool,
    pub allow_ip: bool,
    pub fields: Vec<DraftField>,
    pub places: Vec<DraftPlace>,
    pub headers: Vec<(Text, Text)>,
    pub deny: Vec<DraftDeny>,
    pub test: Option<DraftTest>,
    pub signing: Vec<DraftSigning>,
    pub oauth: Option<DraftOAuth>,
    pub sigv4: Option<DraftSigV4>,
    pub oauth1: Option<DraftOAuth1>,
}

#[derive(Default)]
pub(super) struct DraftField {
    pub span: Span,
    pub name: Option<Text>,
    pub aliases: Vec<Text>,
    pub label: Option<Text>,
    pub secret: bool,
    pub host_only: bool,
    pub lines: bool,
    pub optional: bool,
    pub pattern: Option<Text>,
    pub choices: Vec<Text>,
    pub default: Option<Text>,
    pub prefixes: Vec<Text>,
    pub keep_length: bool,
    pub help: Option<Text>,
    pub find: Option<Text>,
}

#[derive(Default)]
pub(super) struct DraftPlace {
    pub span: Span,
    pub header: Option<Text>,
    pub query: Option<Text>,
    pub segment: Option<At<i64>>,
    pub json: Option<Text>,
    pub form: Option<Text>,
    pub multipart: Option<Text>,
    pub template: Option<Text>,
    pub basic: Option<(Text, Text)>,
    pub alternative: bool,
}

#[derive(Default)]
pub(super) struct DraftDeny {
    pub span: Span,
    pub method: Option<Text>,
    pub path: Option<Text>,
    pub reason: Option<Text>,
}

#[derive(Default)]
pub(super) struct DraftTest {
    pub span: Span,
    pub method: Option<Text>,
    pub path: Option<Text>,
    pub status: Vec<At<i64>>,
    pub ok: Option<(Text, Option<serde_json::Value>)>,
    pub error: Option<Text>,
    pub uid: Option<Text>,
    pub nickname: Option<Text>,
}

#[derive(Default)]
pub(super) struct DraftSigning {
    pub span: Span,
    pub purpose: Option<Text>,
    pub key: Option<Text>,
    pub hash: Option<Text>,
    pub encoding: Option<Text>,
}

/// Reads `text`. `None` if it is no TOML or of a format that this version does not know.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Draft> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        problems.add(
            &span,
            format_args!("this is not TOML: {}", error.message()),
            "see https://toml.io for the syntax",
        );
    }
    if !errors.is_empty() {
        return None;
    }
    let mut top = Reader::new(document.get_ref(), document.span(), problems);
    match top.integer("keyhole") {
        Some(At { value: super::FORMAT, .. }) => {}
        Some(At { value, span }) => {
            let message = format!("this definition has format {value}; this version of keyhole reads format 1");
            top.problems.add(&span, message, "write keyhole = 1, or use a newer keyhole");
            return None;
        }
        None => top.problems.add(&(0..0), "the format of the definition is missing", "begin with keyhole = 1"),
    }
    let mut draft = Draft {
        name: top.text("name"),
        title: top.text("title"),
        docs: top.text("docs"),
        base_url: top.text("base_url"),
        hosts: top.texts("hosts"),
        insecure_http: top.flag("insecure_http"),
        allow_ip: top.flag("allow_ip"),
        ..Draft::default()
    };
    top.each("field", |t| draft.fields.push(field(t)));
    top.each("place", |t| draft.places.push(place(t)));
    top.each("deny", |t| draft.deny.push(deny(t)));
    top.one("test", |t| draft.test = Some(test(t)));
    top.one("oauth", |t| draft.oauth = Some(oauth::read(t)));
    top.one("sigv4", |t| draft.sigv4 = Some(sigv4::read(t)));
    top.one("oauth1", |t| draft.oauth1 = Some(oauth1::read(t)));
    top.any("headers", |t| draft.headers = t.all_texts());
    top.any("signing", |t| draft.signing = t.all(signing));
    top.end();
    Some(draft)
}

fn field(t: &mut Reader) -> DraftField {
    DraftField {
        span: t.span.clone(),
        name: t.text("name"),
        aliases: t.texts("aliases"),
        label: t.text("label"),
        secret: t.flag("secret"),
        host_only: t.flag("host_only"),
        lines: t.flag("lines"),
        optional: t.flag("optional"),
        pattern: t.text("pattern"),
        choices: t.texts("choices"),
        default: t.text("default"),
        prefixes: t.texts("prefixes"),
        keep_length: t.flag("keep_length"),
        help: t.text("help"),
        find: t.text("find"),
    }
}

fn place(t: &mut Reader) -> DraftPlace {
    let mut basic = None;
    t.one("basic", |b| {
        let empty = || At { value: String::new(), span: b.span.clone() };
        let (no_user, no_password) = (empty(), empty());
        basic = Some((b.text("username").unwrap_or(no_user), b.text("password").unwrap_or(no_password)));
    });
    DraftPlace {
        span: t.span.clone(),
        header: t.text("header"),
        query: t.text("query"),
        segment: t.integer("segment"),
        json: t.text("json"),
        form: t.text("form"),
        multipart: t.text("multipart"),
        template: t.text("template"),
        basic,
        alternative: t.flag("alternative"),
    }
}

fn deny(t: &mut Reader) -> DraftDeny {
    DraftDeny { span: t.span.clone(), method: t.text("method"), path: t.text("path"), reason: t.text("reason") }
}

fn test(t: &mut Reader) -> DraftTest {
    DraftTest {
        span: t.span.clone(),
        method: t.text("method"),
        path: t.text("path"),
        status: t.integers("status"),
        ok: t.ok("ok"),
        error: t.text("error"),
        uid: t.text("uid"),
        nickname: t.text("nickname"),
    }
}

fn signing(name: &Text, t: &mut Reader) -> DraftSigning {
    DraftSigning {
        span: t.span.clone(),
        purpose: Some(name.clone()),
        key: t.text("key"),
        hash: t.text("hash"),
        encoding: t.text("encoding"),
    }
}

/// Takes known keys out of a table and complains of the rest.
pub(super) struct Reader<'a> {
    table: &'a DeTable<'a>,
    pub span: Span,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    fn new(table: &'a DeTable<'a>, span: Span, problems: &'a mut Problems) -> Self {
        Self { table, span, known: Vec::new(), problems }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn wrong(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str, help: &str) {
        let message = format!("{key} is {}, not {wanted}", a(value.get_ref().type_str()));
        self.problems.add(&value.span(), message, help);
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Text> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At { value: text.to_string(), span: value.span() }),
            _ => {
                self.wrong(key, value, "a string", &format!("write {key} = \"…\""));
                None
            }
        }
    }

    pub(super) fn needed(&mut self, key: &'static str) -> Option<Text> {
        if !self.table.contains_key(key) {
            let span = self.span.clone();
            self.problems.add(&span, format_args!("{key} is missing"), format!("add {key} = \"…\""));
        }
        self.text(key)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.flag_or(key, false)
    }

    pub(super) fn flag_or(&mut self, key: &'static str, absent: bool) -> bool {
        match self.value(key) {
            None => absent,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(flag) => *flag,
                _ => {
                    self.wrong(key, value, "true or false", &format!("write {key} = {}, or leave it out", !absent));
                    absent
                }
            },
        }
    }

    /// A string, or a list of them.
    pub(super) fn text_or_texts(&mut self, key: &'static str) -> Vec<Text> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(_)) => self.texts(key),
            _ => self.text(key).into_iter().collect(),
        }
    }

    /// What an answer must hold: `{ pointer = "/ok", equals = true }`.
    pub(super) fn ok(&mut self, key: &'static str) -> Option<(Text, Option<serde_json::Value>)> {
        let mut ok = None;
        self.one(key, |o| {
            let pointer = o.needed("pointer");
            let equals = o.json("equals");
            ok = pointer.map(|pointer| (pointer, equals));
        });
        ok
    }

    pub(super) fn integer(&mut self, key: &'static str) -> Option<At<i64>> {
        let value = self.value(key)?;
        let number = as_integer(value);
        if number.is_none() {
            self.wrong(key, value, "an integer", &format!("write {key} = 1"));
        }
        number
    }

    fn list(&mut self, key: &'static str, of: &str) -> Option<&'a DeArray<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Array(items) => Some(items),
            _ => {
                self.wrong(key, value, &format!("a list of {of}"), &format!("write {key} = [ … ]"));
                None
            }
        }
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<Text> {
        let mut texts = Vec::new();
        for item in self.list(key, "strings").into_iter().flat_map(|items| items.iter()) {
            match item.get_ref() {
                DeValue::String(text) => texts.push(At { value: text.to_string(), span: item.span() }),
                _ => self.wrong(key, item, "a string", "put it in quotes"),
            }
        }
        texts
    }

    fn integers(&mut self, key: &'static str) -> Vec<At<i64>> {
        let mut integers = Vec::new();
        for item in self.list(key, "integers").into_iter().flat_map(|items| items.iter()) {
            match as_integer(item) {
                Some(number) => integers.push(number),
                None => self.wrong(key, item, "an integer", "write it without quotes"),
            }
        }
        integers
    }

    fn json(&mut self, key: &'static str) -> Option<serde_json::Value> {
        let value = self.value(key);
        let json = value.and_then(|value| match value.get_ref() {
            DeValue::String(text) => Some(text.to_string().into()),
            DeValue::Boolean(flag) => Some((*flag).into()),
            DeValue::Integer(_) => as_integer(value).map(|number| number.value.into()),
            _ => None,
        });
        if let (Some(value), None) = (value, &json) {
            let span = value.span();
            self.problems.add(
                &span,
                format_args!("{key} must be a string, a boolean or an integer"),
                format!("such as {key} = true"),
            );
        }
        json
    }

    /// Reads the tables of `[[key]]`.
    fn each(&mut self, key: &'static str, mut read: impl FnMut(&mut Reader<'_>)) {
        let Some(value) = self.value(key) else { return };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "a list of tables", &format!("head each one with [[{key}]]"));
            return;
        };
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => self.within(table, item.span(), &mut read),
                _ => self.wrong(key, item, "a table", &format!("head each one with [[{key}]]")),
            }
        }
    }

    /// Reads the table `[key]`.
    pub(super) fn one(&mut self, key: &'static str, mut read: impl FnMut(&mut Reader<'_>)) {
        let Some(value) = self.value(key) else { return };
        match value.get_ref() {
            DeValue::Table(table) => self.within(table, value.span(), &mut read),
            _ => self.wrong(key, value, "a table", &format!("write {key} = {{ … }} or head it with [{key}]")),
        }
    }

    fn within(&mut self, table: &DeTable<'_>, span: Span, read: &mut impl FnMut(&mut Reader<'_>)) {
        let mut inner = Reader::new(table, span, self.problems);
        read(&mut inner);
        inner.end();
    }

    /// Reads the table `[key]`, whose keys are free.
    pub(super) fn any(&mut self, key: &'static str, mut read: impl FnMut(&mut Reader<'_>)) {
        let Some(value) = self.value(key) else { return };
        match value.get_ref() {
            DeValue::Table(table) => read(&mut Reader::new(table, value.span(), self.problems)),
            _ => self.wrong(key, value, "a table", &format!("head it with [{key}]")),
        }
    }

    pub(super) fn all_texts(&mut self) -> Vec<(Text, Text)> {
        let mut texts = Vec::new();
        for (key, value) in self.table {
            let name = At { value: key.get_ref().to_string(), span: key.span() };
            match value.get_ref() {
                DeValue::String(text) => texts.push((name, At { value: text.to_string(), span: value.span() })),
                _ => self.wrong(&name.value, value, "a string", "put it in quotes"),
            }
        }
        texts
    }

    /// A table whose keys are free, and whose values are strings or tables such as `like`.
    pub(super) fn all_texts_or<T>(
        &mut self,
        text: impl Fn(Text, Text) -> T,
        table: impl Fn(Text, &mut Reader<'_>) -> T,
        like: &str,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for (key, value) in self.table {
            let name = At { value: key.get_ref().to_string(), span: key.span() };
            match value.get_ref() {
                DeValue::String(found) => all.push(text(name, At { value: found.to_string(), span: value.span() })),
                DeValue::Table(found) => {
                    self.within(found, value.span(), &mut |t| all.push(table(name.clone(), t)));
                }
                _ => self.wrong(&name.value, value, "a string or a table", &format!("write it as \"/…\" or {like}")),
            }
        }
        all
    }

    /// A table whose keys are free, and whose values are lists of strings.
    pub(super) fn all_lists(&mut self) -> Vec<(Text, Vec<Text>)> {
        let mut all = Vec::new();
        for (key, value) in self.table {
            let name = At { value: key.get_ref().to_string(), span: key.span() };
            let DeValue::Array(items) = value.get_ref() else {
                self.wrong(&name.value, value, "a list of strings", "write it as [ \"…\" ]");
                continue;
            };
            let mut texts = Vec::new();
            for item in items.iter() {
                match item.get_ref() {
                    DeValue::String(text) => texts.push(At { value: text.to_string(), span: item.span() }),
                    _ => self.wrong(&name.value, item, "a string", "put it in quotes"),
                }
            }
            all.push((name, texts));
        }
        all
    }

    fn all<T>(&mut self, read: impl Fn(&Text, &mut Reader<'_>) -> T) -> Vec<T> {
        let mut all = Vec::new();
        for (key, value) in self.table {
            let name = At { value: key.get_ref().to_string(), span: key.span() };
            match value.get_ref() {
                DeValue::Table(table) => {
                    self.within(table, value.span(), &mut |t| all.push(read(&name, t)));
                }
                _ => self.wrong(
                    &name.value,
                    value,
                    "a table",
                    "write it as { key = \"…\", hash = \"sha256\", encoding = \"hex\" }",
                ),
            }
        }
        all
    }

    /// Complains of every key that was not asked for.
    fn end(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name), *known))
                .min()
                .filter(|(distance, known)| *distance <= 1 + known.len().min(name.len()) / 3);
            let help = match nearest {
                Some((_, known)) => format!("did you mean {known}?"),
                None => format!("the keys here are {}", self.known.join(", ")),
            };
            self.problems.add(&key.span(), format_args!("there is no key {name} here"), help);
        }
    }
}

fn as_integer(value: &Spanned<DeValue<'_>>) -> Option<At<i64>> {
    let integer = value.get_ref().as_integer()?;
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    Some(At { value: number, span: value.span() })
}

fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}
