//! What steps should not ask a service for, guessed from the paths of its document: what
//! gives out, shows or ends tokens and keys.

use std::collections::BTreeSet;

use serde_json::Value;

use super::draft::Denied;
use super::text::words;
use crate::apps::PathPattern;

/// Most rules of a draft.
const MOST: usize = 60;

/// Rules for the paths of `document`, which begin at `base_url`; and how many there were no room for.
pub(super) fn deny(document: &Value, base_url: &str) -> (Vec<Denied>, usize) {
    let base = base_url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let paths = document["paths"].as_object().into_iter().flat_map(|paths| paths.keys());
    let mut rules: BTreeSet<Denied> = BTreeSet::new();
    for path in paths {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        // At the first part that says so, with all that is below it: one rule for many paths.
        let Some((index, reason)) = segments.iter().enumerate().find_map(|(index, s)| Some((index, reason(s)?))) else {
            continue;
        };
        let all: Vec<String> =
            base.split('/').filter(|s| !s.is_empty()).chain(segments[..=index].iter().copied()).map(any).collect();
        let below = if segments.len() > index + 1 { "/**" } else { "" };
        let pattern = format!("/{}{below}", all.join("/"));
        if PathPattern::parse(&pattern).is_ok() {
            rules.insert(Denied { path: pattern, reason });
        }
    }
    // `/**` stands for no segment, too.
    let with_below: BTreeSet<String> =
        rules.iter().filter_map(|rule| rule.path.strip_suffix("/**")).map(str::to_owned).collect();
    rules.retain(|rule| !with_below.contains(&rule.path));
    let more = rules.len().saturating_sub(MOST);
    (rules.into_iter().take(MOST).collect(), more)
}

/// A segment with `*` for each of its variables.
fn any(segment: &str) -> String {
    let mut text = String::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        if !text.ends_with('*') {
            text.push('*');
        }
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    text + rest
}

/// What asking for a path with this segment would do.
fn reason(segment: &str) -> Option<&'static str> {
    // OData has arguments in parentheses.
    let words = words(any(segment).split('(').next().unwrap_or_default());
    let has = |options: &[&str]| words.iter().any(|word| options.contains(&word.as_str()));
    let key = has(&["key", "keys"]) && has(&["api", "access", "secret", "auth", "signing", "ssh", "deploy"]);
    if has(&["introspect", "introspection", "tokeninfo"]) {
        Some("inspects tokens")
    } else if has(&["revoke", "revocation"]) {
        Some("revokes what has been granted")
    } else if has(&["oauth", "oauth2"]) || has(&["token", "tokens", "jwt"]) && !has(&["count", "device", "push"]) {
        Some("gives out tokens")
    } else if key || has(&["apikey", "apikeys", "accesskey", "accesskeys"]) {
        Some("gives out keys")
    } else if has(&["secret", "secrets", "credential", "credentials"]) {
        Some("gives out secrets")
    } else if has(&["password", "passwords"]) {
        Some("sets passwords")
    } else {
        None
    }
}
