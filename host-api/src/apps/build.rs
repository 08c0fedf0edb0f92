//! A [`Draft`] judged and made an [`App`]. The same rules hold for definitions that come
//! with Keyhole, for an operator's and for a member's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::error::{Problems, Span};
use super::field::{MAX_PLAIN, Pattern};
use super::oauth::Rules;
use super::read::{At, Draft, DraftField, Text};
use super::template::is_field_name;
use super::{
    Addresses, App, CUSTOM, Deny, FieldDef, HostError, HostTemplate, OAuth1Def, OAuthDef, SigV4Def, Source, Template,
};

/// What frames a message or belongs to the connection is the broker's alone.
pub(super) const BROKERS: [&str; 14] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "proxy-authorization",
    "proxy-connection",
    "cookie",
    "range",
    "accept-encoding",
];

/// Judges `draft`. `None` if it lacks what an app cannot be without; problems are noted in
/// either case.
pub(super) fn build(draft: Draft, problems: &mut Problems) -> Option<App> {
    let mut judge = Judge { problems, field_spans: BTreeMap::new() };
    let name = judge.name(draft.name);
    let title = judge.line("title", draft.title);
    let fields = judge.fields(draft.fields);
    let addresses = if draft.allow_ip { Addresses::Allowed } else { Addresses::Refused };
    let rules = Rules { addresses, http: draft.insecure_http };
    let sigv4 = draft.sigv4.and_then(|sigv4| judge.sigv4(sigv4, &fields, rules));
    // A secret that no step ever sends needs no host, and what is signed for AWS has its own.
    let kept = draft.oauth.is_none()
        && fields.iter().any(|field| field.secret)
        && !fields.iter().any(FieldDef::has_placeholder);
    // Nor does what has no secret at all.
    let none = fields.is_empty() && draft.places.is_empty() && name.as_deref() != Some(CUSTOM);
    let mut hosts = judge.hosts(&draft.hosts, sigv4.is_some() || kept || none, addresses, &fields);
    hosts.extend(sigv4.iter().flat_map(|sigv4| sigv4.services.values().flatten().cloned()));
    if let (Some(_), Some(test)) = (&sigv4, &draft.test) {
        let help = "ask with [sigv4.identity], which names the service that it is signed for";
        judge.add(&test.span, "a test request would not be signed", help);
    }
    let docs = draft.docs.and_then(|docs| judge.docs(&docs));
    let base_url = draft.base_url.and_then(|url| {
        let template = judge.template(&url)?;
        judge.plain_only("base_url", &url.span, &template, &fields);
        Some(At { value: template, span: url.span })
    });
    let oauth1 = draft.oauth1.and_then(|oauth1| judge.oauth1(oauth1, &fields, sigv4.is_some()));
    let signed_with: Vec<&str> =
        sigv4.iter().flat_map(SigV4Def::placed).chain(oauth1.iter().map(|oauth1| oauth1.token.as_str())).collect();
    let (mut places, alternatives) = judge.places(draft.places, &signed_with, &fields);
    places.extend(oauth1.as_ref().and_then(OAuth1Def::place));
    let headers = judge.headers(&draft.headers, &fields);
    let mut deny: Vec<Deny> = draft.deny.into_iter().filter_map(|deny| judge.deny(deny)).collect();
    let oauth = draft.oauth.and_then(|oauth| judge.oauth(oauth, &fields, addresses, draft.insecure_http));
    if let Some(jwt) = oauth.as_ref().and_then(|def| def.jwt.as_ref()) {
        judge.no_hmac_under(&jwt.key, &draft.signing);
    }
    let signing = judge.signing(draft.signing, &fields);
    deny.extend(oauth.iter().flat_map(OAuthDef::deny));
    let base_span = base_url.as_ref().map_or(0..0, |url| url.span.clone());
    let test_span = draft.test.as_ref().map(|test| test.path.as_ref().map_or(test.span.clone(), |p| p.span.clone()));
    let app = App {
        name: name?,
        title: title?,
        docs,
        base_url: base_url.map(|url| url.value),
        hosts,
        places,
        alternatives,
        headers,
        deny,
        test: draft.test.and_then(|test| judge.test(test, &fields)),
        signing,
        oauth,
        sigv4,
        oauth1,
        insecure_http: draft.insecure_http,
        allow_ip: draft.allow_ip,
        source: Source::Keyhole,
        fixed_base: OnceLock::new(),
        fields,
    };
    judge.reach(&app, &base_span, test_span.as_ref().unwrap_or(&base_span));
    Some(app)
}

pub(super) struct Judge<'a> {
    pub problems: &'a mut Problems,
    /// Where each field is defined.
    pub field_spans: BTreeMap<String, Span>,
}

impl Judge<'_> {
    pub(super) fn add(&mut self, span: &Span, message: impl fmt::Display, help: impl Into<String>) {
        self.problems.add(span, message, help);
    }

    pub(super) fn missing(&mut self, what: &str, span: &Span) {
        self.add(span, format_args!("{what} is missing"), format!("add {what} = \"…\""));
    }

    fn name(&mut self, name: Option<Text>) -> Option<String> {
        let Some(At { value, span }) = name else {
            self.missing("name", &(0..0));
            return None;
        };
        let fits = (1..=64).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if !fits {
            self.add(&span, format_args!("'{value}' cannot be an app's name"), "use a-z, 0-9, '_' and '-', at most 64");
        } else if value == CUSTOM && span != (0..0) {
            self.add(&span, "'custom' is the app that members define with their account", "choose another name");
        }
        Some(value)
    }

    fn line(&mut self, what: &str, text: Option<Text>) -> Option<String> {
        let Some(At { value, span }) = text else {
            self.missing(what, &(0..0));
            return None;
        };
        if value.trim().is_empty() || value.len() > MAX_PLAIN || value.chars().any(char::is_control) {
            self.add(&span, format_args!("{what} must be one line of text"), format!("write {what} = \"…\""));
        }
        Some(value)
    }

    fn docs(&mut self, docs: &Text) -> Option<Url> {
        match Url::parse(&docs.value) {
            Ok(url) if matches!(url.scheme(), "https" | "http") => Some(url),
            _ => {
                self.add(
                    &docs.span,
                    "docs is no web address",
                    "give the vendor's page on API authentication, https://…",
                );
                None
            }
        }
    }

    pub(super) fn template(&mut self, text: &Text) -> Option<Template> {
        match Template::parse(&text.value) {
            Ok(template) => Some(template),
            Err(error) => {
                self.add(&text.span, error, "");
                None
            }
        }
    }

    fn fields(&mut self, drafts: Vec<DraftField>) -> Vec<FieldDef> {
        let mut fields: Vec<FieldDef> = Vec::new();
        for draft in drafts {
            let Some(name) = draft.name else {
                self.missing("name", &draft.span);
                continue;
            };
            if !is_field_name(&name.value) {
                let help = "use letters, digits and '_', beginning with a letter";
                self.add(&name.span, format_args!("'{}' cannot be a field's name", name.value), help);
            }
            if fields.iter().any(|field| field.name == name.value) {
                self.add(&name.span, format_args!("there are two fields {}", name.value), "remove or rename one");
            }
            for alias in &draft.aliases {
                if !is_field_name(&alias.value) {
                    let help = "use letters, digits and '_', beginning with a letter";
                    self.add(&alias.span, format_args!("'{}' cannot be a field's name", alias.value), help);
                }
            }
            let pattern = draft.pattern.as_ref().and_then(|pattern| match Pattern::parse(&pattern.value) {
                Ok(pattern) => Some(pattern),
                Err(error) => {
                    let error = error.to_string();
                    let reason = error.lines().last().unwrap_or_default().trim().to_owned();
                    self.add(
                        &pattern.span,
                        format_args!("pattern: {reason}"),
                        "see https://docs.rs/regex for the syntax",
                    );
                    None
                }
            });
            if draft.host_only && !draft.secret {
                self.add(&draft.span, "host_only is for secret fields", "add secret = true, or leave host_only out");
            }
            for prefix in &draft.prefixes {
                let safe = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
                if !draft.secret
                    || prefix.value.is_empty()
                    || prefix.value.len() > 24
                    || !prefix.value.chars().all(safe)
                {
                    let help =
                        "a prefix is the public beginning of a secret: at most 24 letters, digits, '-', '.', '_', '~'";
                    self.add(&prefix.span, format_args!("'{}' cannot be a prefix", prefix.value), help);
                }
            }
            if draft.lines && !draft.host_only {
                let help = "no header takes a line break: add host_only = true, or leave lines out";
                self.add(&draft.span, "lines is for keys that steps never send", help);
            }
            if let (true, Some(default)) = (draft.secret, &draft.default) {
                self.add(&default.span, "a secret cannot have a default", "leave it out");
            }
            if let (true, Some(choice)) = (draft.secret, draft.choices.first()) {
                self.add(&choice.span, "a secret cannot have choices", "leave them out");
            }
            self.field_spans.insert(name.value.clone(), name.span.clone());
            let field = FieldDef {
                label: draft.label.map_or_else(|| name.value.clone(), |label| label.value),
                aliases: draft.aliases.into_iter().map(|alias| alias.value).collect(),
                name: name.value,
                secret: draft.secret,
                host_only: draft.host_only,
                lines: draft.lines,
                optional: draft.optional || draft.default.is_some(),
                pattern,
                choices: draft.choices.iter().map(|choice| choice.value.clone()).collect(),
                default: draft.default.as_ref().map(|default| default.value.clone()),
                prefixes: draft.prefixes.into_iter().map(|prefix| prefix.value).collect(),
                keep_length: draft.keep_length,
                help: draft.help.map(|help| help.value),
                find: draft.find.map(|find| find.value),
            };
            if let Some(default) = &draft.default
                && let Err(error) = field.check(&default.value)
            {
                self.add(&default.span, format_args!("default: {error}"), "");
            }
            fields.push(field);
        }
        let mut names: BTreeSet<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        for field in &fields {
            for alias in &field.aliases {
                if !names.insert(alias) {
                    let span = self.field_spans.get(&field.name).cloned().unwrap_or_default();
                    self.add(&span, format_args!("there are two fields {alias}"), "remove or rename one");
                }
            }
        }
        fields
    }

    /// The field `name`, or a complaint with the nearest name.
    pub(super) fn known<'f>(&mut self, name: &str, span: &Span, fields: &'f [FieldDef]) -> Option<&'f FieldDef> {
        let field = fields.iter().find(|field| field.name == name);
        if field.is_none() {
            let nearest = fields.iter().min_by_key(|field| strsim::damerau_levenshtein(&field.name, name));
            let help = match nearest {
                Some(field) if strsim::damerau_levenshtein(&field.name, name) <= 3 => {
                    format!("did you mean {}?", field.name)
                }
                _ => format!("add a [[field]] with name = \"{name}\""),
            };
            self.add(span, format_args!("there is no field {name}"), help);
        }
        field
    }

    /// Complains of secrets where plain fields alone may stand.
    pub(super) fn plain_only(&mut self, what: &str, span: &Span, template: &Template, fields: &[FieldDef]) {
        for name in template.fields() {
            let Some(field) = self.known(name, span, fields) else { continue };
            if field.secret {
                let help = "use plain fields alone; secrets belong in a [[place]]";
                self.add(span, format_args!("{what} would show the secret {name}"), help);
            } else if what == "headers" {
                // A header whose field is missing is left out, and the broker refuses
                // values that no header can have.
            } else if field.optional && field.default.is_none() {
                let help = format!("give {name} a default, or make it needed");
                self.add(span, format_args!("{what} needs {name}, which is optional"), help);
            } else if field.pattern.is_none() && field.choices.is_empty() {
                let help = format!("give {name} a pattern, such as \"[a-z0-9-]+\"");
                self.add(span, format_args!("{what} takes {name}, which may be anything"), help);
            }
        }
    }

    fn hosts(
        &mut self,
        texts: &[Text],
        hostless: bool,
        addresses: Addresses,
        fields: &[FieldDef],
    ) -> Vec<HostTemplate> {
        if texts.is_empty() && !hostless {
            let help = "add hosts = [\"api.example.com\"]: the only ones that credentials may go to";
            self.add(&(0..0), "hosts is missing or empty", help);
        }
        texts.iter().filter_map(|text| self.one_host(text, addresses, fields)).collect()
    }

    /// A host whose fields, if it has any, can make it no other's.
    pub(super) fn one_host(&mut self, text: &Text, addresses: Addresses, fields: &[FieldDef]) -> Option<HostTemplate> {
        self.host_of(text, HostTemplate::parse(&text.value, addresses), fields)
    }

    /// The same, of what `text` was parsed to.
    pub(super) fn host_of(
        &mut self,
        text: &Text,
        parsed: Result<HostTemplate, HostError>,
        fields: &[FieldDef],
    ) -> Option<HostTemplate> {
        let host = match parsed {
            Ok(host) => host,
            Err(error) => {
                self.add(&text.span, error, "");
                return None;
            }
        };
        let whole = host.whole().is_some();
        let allowed: fn(char) -> bool = match whole {
            true => |c| c.is_ascii_alphanumeric() || c == '-' || c == '.',
            false => |c| c.is_ascii_alphanumeric() || c == '-',
        };
        for name in host.fields() {
            let Some(field) = self.known(name, &text.span, fields) else { continue };
            let held = match &field.pattern {
                // Its host is cut out of it, and judged, for each account.
                _ if host.is_of_url() => true,
                Some(pattern) => pattern.admits_only(allowed),
                None => !field.choices.is_empty() && field.choices.iter().all(|choice| choice.chars().all(allowed)),
            };
            if field.secret {
                self.add(&text.span, format_args!("a host would show the secret {name}"), "use plain fields alone");
            } else if !held {
                let characters = if whole { "[A-Za-z0-9.-]" } else { "[A-Za-z0-9-]" };
                let message = format!("{name} is part of a host, so its pattern must admit {characters} alone");
                let help = format!(
                    "give {name} a pattern such as \"{}\"",
                    if whole { "[a-z0-9.-]+" } else { "[a-z0-9][a-z0-9-]*" }
                );
                self.add(&text.span, message, help);
            } else if field.optional && field.default.is_none() {
                let help = format!("give {name} a default, or make it needed");
                self.add(&text.span, format_args!("a host needs {name}, which is optional"), help);
            }
        }
        Some(host)
    }

    pub(super) fn header_name(&mut self, name: &Text) -> Option<HeaderName> {
        match HeaderName::try_from(name.value.as_str()) {
            Ok(header) if BROKERS.contains(&header.as_str()) => {
                self.add(&name.span, format_args!("the header {header} is the broker's to set"), "leave it out");
                None
            }
            Ok(header) => Some(header),
            Err(_) => {
                self.add(&name.span, format_args!("'{}' is not a header name", name.value), "");
                None
            }
        }
    }

    /// A template of a header's value: visible characters and blanks.
    pub(super) fn header_value(&mut self, value: &Text) -> Option<Template> {
        let template = self.template(value)?;
        self.header_text(value);
        Some(template)
    }

    pub(super) fn header_text(&mut self, value: &Text) {
        if HeaderValue::from_str(&value.value).is_err() || value.value.trim() != value.value {
            self.add(&value.span, "this cannot be a header's value", "leave out line breaks, and blanks at the ends");
        }
    }

    fn headers(&mut self, drafts: &[(Text, Text)], fields: &[FieldDef]) -> Vec<(HeaderName, Template)> {
        let mut headers = Vec::new();
        for (name, value) in drafts {
            let (header, template) = (self.header_name(name), self.header_value(value));
            if let Some(template) = &template {
                self.plain_only("headers", &value.span, template, fields);
            }
            headers.extend(header.zip(template));
        }
        headers
    }
}
