//! Which of a document's security schemes a definition is made of: those that most
//! operations ask for, of those that can be put in a request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use url::Url;

use super::ImportError;
use super::credential::{Credential, credential, key_in};
use super::draft::{Field, OAuth, Place};
use super::openapi::{operations, resolve};
use super::text::line;
use crate::apps::CustomPlace;

/// What an account consists of.
#[derive(Default)]
pub(super) struct Security {
    pub fields: Vec<Field>,
    pub places: Vec<Place>,
    pub oauth: Option<OAuth>,
    /// What to check, by the key that it is about.
    pub remarks: Vec<(&'static str, String)>,
}

/// Most schemes that one request is asked for.
const AT_ONCE: usize = 8;

/// Finds them. `base` is what relative addresses are relative to; names of fields are unlike
/// those in `taken`.
pub(super) fn security(
    document: &Value,
    base: Option<&Url>,
    taken: &BTreeSet<String>,
) -> Result<Security, ImportError> {
    let empty = Map::new();
    let schemes = document["components"]["securitySchemes"].as_object();
    let schemes = schemes.or(document["securityDefinitions"].as_object()).unwrap_or(&empty);
    if schemes.is_empty() {
        return Ok(undeclared(document, taken));
    }
    let mut reasons: BTreeMap<&str, String> = BTreeMap::new();
    for (name, scheme) in schemes {
        if let Err(reason) = credential(resolve(document, scheme), base, taken) {
            reasons.insert(name, reason);
        }
    }
    let sets = sets(document, schemes);
    let worth = |set: &BTreeSet<&str>| -> usize {
        let any = |key: &str, value: &str| {
            let of = |name: &&str| resolve(document, &schemes[*name])[key].as_str().unwrap_or_default();
            set.iter().any(|name| of(name).eq_ignore_ascii_case(value))
        };
        let asks_member = set.iter().any(|name| {
            let scheme = resolve(document, &schemes[*name]);
            scheme["flow"] == "accessCode" || scheme["flows"].get("authorizationCode").is_some()
        });
        // Of equals, those that a member connects and that can be refreshed, those whose user name is no
        // riddle, and those that are not in addresses, which get logged.
        16 * usize::from(asks_member)
            + 8 * usize::from(any("type", "oauth2"))
            + 4 * usize::from(any("scheme", "bearer"))
            + 2 * usize::from(any("in", "header"))
            + usize::from(!any("in", "query"))
    };
    let mut possible: Vec<(&BTreeSet<&str>, usize)> = sets
        .iter()
        .filter(|(set, _)| set.iter().all(|name| !reasons.contains_key(name)))
        .map(|(s, n)| (s, *n))
        .collect();
    possible.sort_by_cached_key(|(set, count)| std::cmp::Reverse((*count, worth(set))));
    let Some((chosen, _)) = possible.first() else {
        let mut reasons: Vec<String> = reasons.into_values().collect();
        reasons.sort();
        reasons.dedup();
        reasons.truncate(5);
        return Err(ImportError::Credentials(reasons));
    };
    let mut security = Security::default();
    let mut credentials: Vec<Credential> = Vec::new();
    let mut names = taken.clone();
    for scheme in chosen.iter().map(|name| resolve(document, &schemes[*name])) {
        // Two descriptions of one token, such as the two flows of one server, are one field.
        let Ok(alone) = credential(scheme, base, taken) else { continue };
        if let Some(same) = credentials.iter_mut().find(|other| other.slot() == alone.slot()) {
            if same.oauth.is_none() && alone.oauth.is_some() {
                *same = alone;
            }
            continue;
        }
        let Ok(credential) = credential(scheme, base, &names) else { continue };
        names.extend(credential.fields.iter().map(|field| field.name.clone()));
        credentials.push(credential);
    }
    for credential in credentials {
        security.fields.extend(credential.fields);
        security.places.push(credential.place);
        security.oauth = security.oauth.take().or(credential.oauth);
    }
    let others: BTreeSet<String> = sets
        .keys()
        .filter(|set| *set != *chosen && !set.is_subset(chosen))
        .map(|set| {
            set.iter()
                .map(|name| described(name, resolve(document, &schemes[*name])))
                .collect::<Vec<_>>()
                .join(" with ")
        })
        .collect();
    if !others.is_empty() {
        let mut named: Vec<String> = others.into_iter().collect();
        let more = named.len().saturating_sub(8);
        named.truncate(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("the service knows other credentials, too: {}{more}.", named.join(", "));
        security.remarks.push(("field", text));
    }
    Ok(security)
}

/// The sets of schemes that operations ask for together, with how many do. Schemes that none
/// asks for are there by themselves.
fn sets<'d>(document: &'d Value, schemes: &'d Map<String, Value>) -> BTreeMap<BTreeSet<&'d str>, usize> {
    let mut sets: BTreeMap<BTreeSet<&str>, usize> = BTreeMap::new();
    let mut add = |requirements: Option<&'d Value>| {
        for requirement in requirements.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
            let set: BTreeSet<&str> = requirement.keys().map(String::as_str).collect();
            // An empty one says that nothing is needed.
            if (1..=AT_ONCE).contains(&set.len()) && set.iter().all(|name| schemes.contains_key(*name)) {
                *sets.entry(set).or_default() += 1;
            }
        }
    };
    let whole = document.get("security");
    add(whole);
    for path in document["paths"].as_object().into_iter().flat_map(|paths| paths.values()) {
        for (_, operation) in operations(path) {
            add(operation.get("security").or(whole));
        }
    }
    let named: BTreeSet<&str> = sets.keys().flatten().copied().collect();
    for name in schemes.keys().map(String::as_str).filter(|name| !named.contains(name)) {
        sets.insert(BTreeSet::from([name]), 0);
    }
    sets
}

fn described(name: &str, scheme: &Value) -> String {
    let text = |key: &str| line(scheme[key].as_str().unwrap_or_default(), 60);
    let what = match text("type").as_str() {
        "apiKey" => format!("the {} {}", text("in"), text("name")),
        "http" => format!("HTTP {}", text("scheme")),
        "" => "a reference".to_owned(),
        other => other.to_owned(),
    };
    format!("{} ({what})", line(name, 60))
}

/// Many documents declare no scheme and have the key among the parameters.
fn undeclared(document: &Value, taken: &BTreeSet<String>) -> Security {
    let mut counts: BTreeMap<(bool, String), (usize, String)> = BTreeMap::new();
    let mut total = 0;
    for path in document["paths"].as_object().into_iter().flat_map(|paths| paths.values()) {
        for (_, operation) in operations(path) {
            total += 1;
            let parameters = [&path["parameters"], &operation["parameters"]].into_iter();
            let parameters = parameters.filter_map(Value::as_array).flatten();
            for parameter in parameters.map(|parameter| resolve(document, parameter)) {
                let name = parameter["name"].as_str().unwrap_or_default().trim();
                let in_query = match parameter["in"].as_str() {
                    Some("header") => false,
                    Some("query") => true,
                    _ => continue,
                };
                if holds_a_key(name, in_query) {
                    let about = parameter["description"].as_str().unwrap_or_default();
                    let known = counts.entry((in_query, name.to_owned())).or_insert_with(|| (0, about.to_owned()));
                    known.0 += 1;
                }
            }
        }
    }
    let most = counts.into_iter().max_by_key(|((in_query, _), (count, _))| (*count, !in_query));
    let Some(((in_query, name), (_, about))) = most.filter(|(_, (count, _))| 2 * count >= total) else {
        let text = "the document names no credential, so accounts have none. If the service wants one, add it: a [[field]] with \
                    secret = true, and a [[place]] with header = \"Authorization\" and template = \"Bearer {…}\".";
        return Security { remarks: vec![("", text.to_owned())], ..Security::default() };
    };
    let kind = match in_query {
        true => CustomPlace::Query { name, template: String::new() },
        false => CustomPlace::Header { name, template: String::new() },
    };
    let credential = key_in(kind, &about, taken);
    let text = "the document declares no credential; that this parameter of its operations is one is a guess.";
    Security {
        fields: credential.fields,
        places: vec![credential.place],
        remarks: vec![("field", text.to_owned())],
        oauth: None,
    }
}

fn holds_a_key(name: &str, in_query: bool) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let name = name.strip_prefix('x').unwrap_or(&name);
    let anywhere = ["apikey", "apitoken", "accesstoken", "authtoken", "appkey", "subscriptionkey"];
    let header = ["authorization", "token", "auth", "authkey", "accesskey"];
    let query = ["appid", "token", "key"];
    anywhere.contains(&name) || if in_query { query.contains(&name) } else { header.contains(&name) }
}
