//! A draft from an OpenAPI 3 or Swagger 2 document.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use super::draft::Sketch;
use super::text::{app_name, line};
use super::{Draft, Given, ImportError, deny, security, servers};
use crate::apps::CUSTOM;

/// Most references that lead to references.
const HOPS: usize = 8;

/// Drafts a definition from an OpenAPI 3.x or a Swagger 2.0 document.
///
/// # Errors
///
/// If it is neither, or nothing that the loader takes can be made of it.
pub fn openapi(document: &Value, given: &Given) -> Result<Draft, ImportError> {
    version(document)?;
    let from = given.document.clone().or_else(|| own_origin(document));
    let servers = servers::servers(document, given.base_url.as_ref(), from.as_ref())?;
    let taken: BTreeSet<String> = servers.fields.iter().map(|field| field.name.clone()).collect();
    // Where a server has variables, nothing is relative to it.
    let base = Url::parse(&servers.base_url).ok().filter(|_| !servers.base_url.contains('{'));
    let security = security::security(document, base.as_ref(), &taken)?;
    let title = title(document, &servers.base_url);
    let mut sketch = Sketch {
        name: name(document, given, &title, &servers.base_url)?,
        title,
        docs: docs(document),
        base_url: Some(servers.base_url.clone()),
        hosts: servers.hosts,
        fields: servers.fields.into_iter().chain(security.fields).collect(),
        places: security.places,
        oauth: security.oauth,
        remarks: servers.remarks.into_iter().chain(security.remarks).collect(),
        ..Sketch::default()
    };
    let (rules, more) = deny::deny(document, &servers.base_url);
    if !rules.is_empty() {
        let more = if more > 0 { format!(" There are {more} more such paths.") } else { String::new() };
        let text = format!(
            "these are guesses from the names of the document's paths; the service's own pages know better.{more}"
        );
        sketch.remark("deny", text);
    } else {
        sketch.remark(
            "hosts",
            "add deny = [ … ] for what gives out or ends tokens and keys; the document names no such path.",
        );
    }
    sketch.deny = rules;
    sketch.remark("", "add a [test] with a path that answers whose the credential is, such as path = \"me\".");
    sketch.finish()
}

fn version(document: &Value) -> Result<(), ImportError> {
    let text = |value: &Value| match value {
        Value::String(text) => line(text, 20),
        // In YAML, `swagger: 2.0` is a number.
        other => line(&other.to_string(), 20),
    };
    if let Some(version) = document.get("openapi") {
        let version = text(version);
        return if version.starts_with("3.") || version == "3" { Ok(()) } else { Err(ImportError::Version(version)) };
    }
    let version = document.get("swagger").or(document.get("swaggerVersion")).ok_or(ImportError::NotOpenApi)?;
    let version = text(version);
    if version.starts_with("2.") || version == "2" { Ok(()) } else { Err(ImportError::Version(version)) }
}

fn title(document: &Value, base_url: &str) -> String {
    let title = line(document["info"]["title"].as_str().unwrap_or_default(), 120);
    if title.is_empty() { host(base_url).to_owned() } else { title }
}

fn host(base_url: &str) -> &str {
    base_url.split_once("://").map_or(base_url, |(_, rest)| rest.split('/').next().unwrap_or_default())
}

/// What is asked for; else the provider that a directory has it under, the title, or the host.
pub(super) fn given_name(given: &Given) -> Result<Option<String>, ImportError> {
    let Some(name) = &given.name else { return Ok(None) };
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        && name != CUSTOM;
    if fits { Ok(Some(name.clone())) } else { Err(ImportError::Name(line(name, 80))) }
}

fn name(document: &Value, given: &Given, title: &str, base_url: &str) -> Result<String, ImportError> {
    if let Some(name) = given_name(given)? {
        return Ok(name);
    }
    let info = &document["info"];
    let provider = info["x-providerName"].as_str().map(|provider| {
        let provider = provider.split(':').next().unwrap_or_default();
        let short = without_registry(provider);
        match info["x-serviceName"].as_str() {
            Some(service) if !service.contains(short) => format!("{short}_{service}"),
            _ => short.to_owned(),
        }
    });
    let title = title.trim_end_matches(" API").trim_end_matches(" api");
    let name = provider.as_deref().and_then(app_name).or_else(|| app_name(title)).or_else(|| app_name(host(base_url)));
    Ok(name.unwrap_or_else(|| "imported".to_owned()))
}

/// The `stripe` of `stripe.com`.
fn without_registry(domain: &str) -> &str {
    let registry = psl::suffix(domain.as_bytes())
        .filter(|suffix| suffix.typ() == Some(psl::Type::Icann))
        .and_then(|suffix| std::str::from_utf8(suffix.as_bytes()).ok());
    let short = match registry {
        Some(registry) => domain.strip_suffix(registry).and_then(|short| short.strip_suffix('.')),
        None => domain.rsplit_once('.').map(|(short, _)| short),
    };
    short.filter(|short| !short.is_empty() && *short != "api").unwrap_or(domain)
}

fn docs(document: &Value) -> Option<String> {
    let candidates =
        [document["externalDocs"]["url"].as_str(), document["info"]["contact"]["url"].as_str(), origin(document)];
    // An address of a document is no page.
    let page = |url: &Url| {
        let path = url.path();
        matches!(url.scheme(), "https" | "http") && ![".json", ".yaml", ".yml"].iter().any(|end| path.ends_with(end))
    };
    candidates.into_iter().flatten().filter_map(|text| Url::parse(text).ok()).find(page).map(String::from)
}

/// Where a directory had the document from.
fn origin(document: &Value) -> Option<&str> {
    document["info"]["x-origin"].as_array()?.last()?["url"].as_str()
}

/// The same, if it is the service's own host: what its servers are relative to.
fn own_origin(document: &Value) -> Option<Url> {
    let provider = document["info"]["x-providerName"].as_str()?.split(':').next()?;
    let url = Url::parse(origin(document)?).ok()?;
    let host = url.host_str()?;
    let own = host == provider || host.strip_suffix(provider).is_some_and(|labels| labels.ends_with('.'));
    (own && provider.contains('.')).then_some(url)
}

/// The operations of a path, by method.
pub(super) fn operations(path: &Value) -> impl Iterator<Item = (&str, &Value)> {
    const METHODS: [&str; 9] = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];
    METHODS.into_iter().filter_map(|method| Some((method, path.get(method)?)))
}

/// What a value is, if it refers to another part of the document. Other documents are not read.
pub(super) fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let mut value = value;
    for _ in 0..HOPS {
        let pointer = value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        match pointer.and_then(|pointer| document.pointer(pointer)) {
            Some(next) => value = next,
            None => break,
        }
    }
    value
}
