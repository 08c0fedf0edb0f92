//! The parts of a definition that say what a request looks like: places, denied
//! requests, the test request and what is signed.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::build::Judge;
use super::read::{At, DraftDeny, DraftPlace, DraftSigning, DraftTest, Text};
use super::{Deny, Encoded, Encoding, FieldDef, Hash, OkCheck, PathPattern, Place, Signing, TestRequest};

impl Judge<'_> {
    /// The places and the alternatives. The fields in `signed_with` need none.
    pub(super) fn places(
        &mut self,
        drafts: Vec<DraftPlace>,
        signed_with: &[&str],
        fields: &[FieldDef],
    ) -> (Vec<Place>, Vec<Place>) {
        let (mut places, mut alternatives) = (Vec::new(), Vec::new());
        let mut placed: BTreeSet<String> = signed_with.iter().map(|name| (*name).to_owned()).collect();
        for draft in drafts {
            let (span, alternative) = (draft.span.clone(), draft.alternative);
            let Some(place) = self.place(draft) else { continue };
            let mut secret = false;
            for name in place.fields() {
                let Some(field) = self.known(name, &span, fields) else { continue };
                placed.insert(name.to_owned());
                secret |= field.secret;
                if signed_with.contains(&name) {
                    let help = "leave the place out: an SDK signs with it";
                    self.add(&span, format_args!("{name} makes signatures, so it has no place in a request"), help);
                }
                if field.host_only {
                    let help = "leave host_only out, or the place";
                    self.add(&span, format_args!("{name} is host_only, so it has no place in a request"), help);
                }
            }
            if !secret {
                let help = "a place is where a secret goes; plain values belong in [headers]";
                self.add(&span, "no secret stands in this place", help);
            }
            let list = if alternative { &mut alternatives } else { &mut places };
            list.push(place);
        }
        for field in fields.iter().filter(|field| field.has_placeholder() && !placed.contains(&field.name)) {
            let help = "add a [[place]] for it, or host_only = true if steps never send it";
            let span = self.field_spans.get(&field.name).cloned().unwrap_or_default();
            self.add(&span, format_args!("the secret {} has no place", field.name), help);
        }
        (places, alternatives)
    }

    fn place(&mut self, draft: DraftPlace) -> Option<Place> {
        let span = draft.span;
        let kinds = [
            draft.header.is_some(),
            draft.query.is_some(),
            draft.basic.is_some(),
            draft.segment.is_some(),
            draft.json.is_some(),
            draft.form.is_some(),
            draft.multipart.is_some(),
        ];
        if kinds.iter().filter(|given| **given).count() != 1 {
            let help = "give header = \"…\", query = \"…\", segment = 1, json = \"/…\", form = \"…\", multipart = \"…\" \
                        or basic = { username = \"…\", password = \"…\" }";
            self.add(&span, "a place is one of header, query, basic, segment, json, form and multipart", help);
            return None;
        }
        if let Some((username, password)) = draft.basic {
            if let Some(template) = &draft.template {
                self.add(&template.span, "basic has its own templates", "leave template out");
            }
            let (name, word) = (self.header_value(&username), self.header_value(&password));
            if username.value.contains(':') {
                self.add(&username.span, "a Basic username cannot hold a ':' (RFC 7617)", "put it in the password");
            }
            return Some(Place::Basic { username: name?, password: word? });
        }
        let Some(template) = draft.template else {
            self.missing("template", &span);
            return None;
        };
        if let Some(header) = draft.header {
            if let Some(encoded) = Encoded::parse(&template.value) {
                self.header_text(&template);
                let name = self.header_name(&header);
                return match encoded {
                    Ok(value) => Some(Place::Encoded { name: name?, value }),
                    Err(error) => {
                        self.add(&template.span, error, "");
                        None
                    }
                };
            }
            let (name, template) = (self.header_name(&header), self.header_value(&template));
            return Some(Place::Header { name: name?, template: template? });
        }
        if let Some(segment) = draft.segment {
            let index = usize::try_from(segment.value).ok().filter(|index| (1..=32).contains(index));
            if index.is_none() {
                self.add(&segment.span, "a segment is a number from 1, the part after the first '/'", "");
            }
            return Some(Place::Segment { index: index?, template: self.template(&template)? });
        }
        if let Some(json) = draft.json {
            let (pointer, template) = (self.pointer(Some(json)), self.template(&template));
            return Some(Place::Json { pointer: pointer?, template: template? });
        }
        if let Some(form) = draft.form {
            let name = self.parameter(form);
            return Some(Place::Form { name, template: self.template(&template)? });
        }
        if let Some(part) = draft.multipart {
            let name = self.parameter(part);
            return Some(Place::Part { name, template: self.template(&template)? });
        }
        let name = self.parameter(draft.query?);
        Some(Place::Query { name, template: self.template(&template)? })
    }

    fn parameter(&mut self, name: Text) -> String {
        if name.value.is_empty() || name.value.chars().any(char::is_control) {
            self.add(&name.span, "this cannot be a parameter's name", "");
        }
        name.value
    }

    pub(super) fn deny(&mut self, draft: DraftDeny) -> Option<Deny> {
        let Some(path) = draft.path else {
            self.missing("path", &draft.span);
            return None;
        };
        let Some(reason) = draft.reason else {
            self.missing("reason", &draft.span);
            return None;
        };
        let method = draft.method.and_then(|method| self.method(&method, true));
        match PathPattern::parse(&path.value) {
            Ok(path) => Some(Deny { method, path, reason: reason.value }),
            Err(error) => {
                self.add(&path.span, error, "");
                None
            }
        }
    }

    /// `None` for `*`, where that is allowed.
    pub(super) fn method(&mut self, method: &Text, any: bool) -> Option<Method> {
        if any && method.value == "*" {
            return None;
        }
        match method.value.as_str() {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method.value.parse().ok(),
            other => {
                let help =
                    if any { "use GET, POST, PUT, PATCH, DELETE, or leave it out for all" } else { "use GET or POST" };
                self.add(&method.span, format_args!("'{other}' is not a method"), help);
                None
            }
        }
    }

    pub(super) fn pointer(&mut self, pointer: Option<Text>) -> Option<String> {
        let At { value, span } = pointer?;
        let escapes = value.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        if !value.is_empty() && (!value.starts_with('/') || !escapes) {
            self.add(&span, format_args!("'{value}' is not a JSON pointer"), "write it as /user/id (RFC 6901)");
        }
        Some(value)
    }

    pub(super) fn test(&mut self, draft: DraftTest, fields: &[FieldDef]) -> Option<TestRequest> {
        let method = draft.method.map_or(Some(Method::GET), |method| self.method(&method, false));
        let Some(path) = draft.path else {
            self.missing("path", &draft.span);
            return None;
        };
        let template = self.template(&path)?;
        self.plain_only("path", &path.span, &template, fields);
        let mut status = Vec::new();
        for At { value, span } in draft.status {
            match u16::try_from(value) {
                Ok(code) if (200..600).contains(&code) => status.push(code),
                _ => self.add(&span, format_args!("{value} is not a status"), "use 200 to 599"),
            }
        }
        if status.is_empty() {
            status.push(200);
        }
        let ok = draft.ok.and_then(|(pointer, equals)| Some(OkCheck { pointer: self.pointer(Some(pointer))?, equals }));
        Some(TestRequest {
            method: method?,
            path: template,
            status,
            ok,
            error: self.pointer(draft.error),
            uid: self.pointer(draft.uid),
            nickname: self.pointer(draft.nickname),
        })
    }

    pub(super) fn signing(&mut self, drafts: Vec<DraftSigning>, fields: &[FieldDef]) -> BTreeMap<String, Signing> {
        let mut purposes = BTreeMap::new();
        for draft in drafts {
            let (Some(purpose), Some(key)) = (draft.purpose, draft.key) else {
                self.missing("key", &draft.span);
                continue;
            };
            if let Some(field) = self.known(&key.value, &key.span, fields)
                && !field.host_only
            {
                let help = format!("give {} secret = true and host_only = true", field.name);
                self.add(&key.span, "a signing key must never be handed to a step", help);
            }
            let hash = match draft.hash.as_ref().map(|hash| hash.value.as_str()) {
                Some("sha1") => Hash::Sha1,
                Some("sha512") => Hash::Sha512,
                Some("sha256") | None => Hash::Sha256,
                Some(other) => {
                    let span = draft.hash.as_ref().map_or(draft.span.clone(), |hash| hash.span.clone());
                    self.add(&span, format_args!("'{other}' is not a hash"), "use sha1, sha256 or sha512");
                    continue;
                }
            };
            let encoding = match draft.encoding.as_ref().map(|encoding| encoding.value.as_str()) {
                Some("base64") => Encoding::Base64,
                Some("hex") | None => Encoding::Hex,
                Some(other) => {
                    let span = draft.encoding.as_ref().map_or(draft.span.clone(), |e| e.span.clone());
                    self.add(&span, format_args!("'{other}' is not an encoding"), "use hex or base64");
                    continue;
                }
            };
            purposes.insert(purpose.value, Signing { key: key.value, hash, encoding });
        }
        purposes
    }
}
