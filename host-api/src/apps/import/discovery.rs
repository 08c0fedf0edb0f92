//! A draft from what an authorization server says of itself: RFC 8414, and OpenID Connect
//! Discovery 1.0, which it grew from.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use super::draft::{ACCESS_TOKEN, Denied, Field, OAuth, Place, Sketch};
use super::openapi::given_name;
use super::text::{app_name, line};
use super::{Draft, Given, ImportError};
use crate::apps::{CustomPlace, PathPattern};

/// Scopes that have a meaning everywhere (OpenID Connect Core 1.0, 5.4 and 11), and that
/// tell whose an account is or keep it connected.
const USUAL: [&str; 3] = ["openid", "email", "offline_access"];

/// Where an issuer's metadata is, in the order to try: RFC 8414 (section 3.1) puts its
/// well-known part between host and path, OpenID Connect Discovery (section 4) at the end.
///
/// # Errors
///
/// If `issuer` is none (RFC 8414, section 2).
pub fn discovery_urls(issuer: &str) -> Result<Vec<Url>, ImportError> {
    let url = issuer_url(issuer)?;
    let path = url.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = url.clone();
        url.set_path(&path);
        url
    };
    Ok(vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ])
}

fn issuer_url(issuer: &str) -> Result<Url, ImportError> {
    let wrong = || ImportError::Issuer(line(issuer, 200));
    let url = Url::parse(issuer).map_err(|_| wrong())?;
    let fits = url.scheme() == "https"
        && url.host_str().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if fits { Ok(url) } else { Err(wrong()) }
}

/// Drafts a definition from the metadata of the authorization server `issuer`.
///
/// # Errors
///
/// If the metadata is another issuer's, lacks an endpoint, or asks of a client what Keyhole
/// does not do.
pub fn discovery(metadata: &Value, issuer: &str, given: &Given) -> Result<Draft, ImportError> {
    let issuer_url = issuer_url(issuer)?;
    match metadata["issuer"].as_str() {
        None => return Err(ImportError::Metadata("issuer")),
        Some(found) if found != issuer => {
            return Err(ImportError::OtherIssuer { asked: line(issuer, 200), found: line(found, 200) });
        }
        Some(_) => {}
    }
    let host = issuer_url.host_str().unwrap_or_default();
    let mut oauth = table(metadata, issuer)?;
    let mut sketch = Sketch {
        name: given_name(given)?.or_else(|| app_name(host)).unwrap_or_else(|| "imported".to_owned()),
        title: host.to_owned(),
        docs: address(metadata, "service_documentation").map(String::from),
        ..Sketch::default()
    };
    sketch.remark("title", "what people call the service.");
    let api = given.base_url.clone().or_else(|| address(metadata, "userinfo_endpoint"));
    let api = api.unwrap_or_else(|| issuer_url.clone());
    let of = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    };
    sketch.hosts = vec![of(&api)];
    match &given.base_url {
        Some(url) if url.scheme() == "https" && url.query().is_none() && url.fragment().is_none() => {
            let slash = if url.path().ends_with('/') { "" } else { "/" };
            sketch.base_url = Some(format!("{url}{slash}"));
        }
        Some(url) => {
            let reason = "it is not https, or has a query or a fragment".to_owned();
            return Err(ImportError::BaseUrl { url: url.to_string(), reason });
        }
        None => sketch.remark(
            "hosts",
            "the metadata says where tokens come from, not which API takes them: name its hosts here, and write \
             base_url = \"https://…/\".",
        ),
    }
    sketch.deny = denied(metadata, &api);
    let help = Some("Connect by OAuth, and it is refreshed.".to_owned());
    sketch.fields.push(Field {
        name: ACCESS_TOKEN.to_owned(),
        label: "Access token".to_owned(),
        secret: true,
        help,
        ..Field::default()
    });
    if let Some(url) = address(metadata, "userinfo_endpoint") {
        oauth.userinfo_url = Some(url.into());
        sketch.fields.push(Field {
            name: "oauth_uid".to_owned(),
            label: "Id at the service".to_owned(),
            optional: true,
            help: Some("Filled in when the account is connected by OAuth.".to_owned()),
            ..Field::default()
        });
    }
    let kind = CustomPlace::Header { name: "Authorization".to_owned(), template: format!("Bearer {{{ACCESS_TOKEN}}}") };
    sketch.places.push(Place { kind, remarks: Vec::new() });
    sketch.oauth = Some(oauth);
    // Without its [oauth] table, nothing of the metadata would be left.
    sketch.whole()
}

fn table(metadata: &Value, issuer: &str) -> Result<OAuth, ImportError> {
    let texts = |key: &str| -> Option<Vec<&str>> {
        Some(metadata.get(key)?.as_array()?.iter().filter_map(Value::as_str).collect())
    };
    let needed = |key: &'static str| address(metadata, key).map(String::from).ok_or(ImportError::Metadata(key));
    let mut oauth = OAuth {
        token_url: needed("token_endpoint")?,
        revocation_url: address(metadata, "revocation_endpoint").map(String::from),
        issuer: Some(issuer.to_owned()),
        ..OAuth::default()
    };
    // What RFC 8414 (section 2) says of one that is left out.
    let grants = texts("grant_types_supported").unwrap_or_else(|| vec!["authorization_code", "implicit"]);
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    if grants.contains(&device) || metadata.get("device_authorization_endpoint").is_some() {
        oauth.device_url = address(metadata, "device_authorization_endpoint").map(String::from);
    }
    if grants.contains(&"authorization_code") {
        oauth.authorization_url = Some(needed("authorization_endpoint")?);
        if grants.contains(&"client_credentials") {
            oauth.remark("", "the server knows the client-credentials flow, too: flow = \"client_credentials\".");
        }
    } else if oauth.device_url.is_none() {
        if !grants.contains(&"client_credentials") {
            let wanted = format!("one of the grants {}", line(&grants.join(", "), 200));
            return Err(ImportError::NotDone { wanted, instead: "authorization_code" });
        }
        oauth.for_client = true;
    }
    client_auth(&mut oauth, texts("token_endpoint_auth_methods_supported"))?;
    if oauth.authorization_url.is_some() {
        match texts("code_challenge_methods_supported") {
            Some(methods) if methods.contains(&"S256") => {}
            Some(_) => {
                oauth.without_pkce = true;
                oauth.remark(
                    "pkce",
                    "the server does not take PKCE's S256 (RFC 7636), so codes are not bound to who asked.",
                );
            }
            // A server passes over parameters that it does not know (RFC 6749, section 3.1).
            None => oauth.remark(
                "authorization_url",
                "the server does not say whether it takes PKCE; if it refuses, add pkce = false.",
            ),
        }
        oauth.require_iss = metadata["authorization_response_iss_parameter_supported"] == true;
    }
    scopes(&mut oauth, texts("scopes_supported"));
    Ok(oauth)
}

fn client_auth(oauth: &mut OAuth, methods: Option<Vec<&str>>) -> Result<(), ImportError> {
    let methods = methods.unwrap_or_else(|| vec!["client_secret_basic"]);
    if methods.contains(&"client_secret_basic") {
        return Ok(());
    }
    if methods.contains(&"client_secret_post") {
        oauth.body_auth = true;
        return Ok(());
    }
    if methods.contains(&"none") {
        oauth.remark("token_url", "the server wants clients without a secret: keyhole apps configure … --public.");
        return Ok(());
    }
    let wanted = format!("clients to prove themselves by {}", line(&methods.join(", "), 200));
    Err(ImportError::NotDone { wanted, instead: "client_secret_basic or client_secret_post" })
}

fn scopes(oauth: &mut OAuth, supported: Option<Vec<&str>>) {
    if oauth.for_client {
        return;
    }
    let supported: BTreeSet<&str> = supported.unwrap_or_default().into_iter().collect();
    oauth.scopes = USUAL.iter().filter(|scope| supported.contains(**scope)).map(|scope| (*scope).to_owned()).collect();
    let rest: Vec<&str> = supported.into_iter().filter(|scope| !USUAL.contains(scope)).collect();
    let text = match rest.is_empty() {
        true => "add the scopes that steps need; the server names no others.".to_owned(),
        false => format!("add the scopes that steps need; the server has: {}", line(&rest.join(" "), 3000)),
    };
    oauth.remark("scopes", text);
}

/// An endpoint over HTTPS.
fn address(metadata: &Value, key: &str) -> Option<Url> {
    let url = Url::parse(metadata[key].as_str()?).ok()?;
    (url.scheme() == "https" && url.host_str().is_some() && !url.as_str().contains(['{', '}'])).then_some(url)
}

/// Endpoints that the `[oauth]` table has no key for, where they are on the API's host.
fn denied(metadata: &Value, api: &Url) -> Vec<Denied> {
    [("introspection_endpoint", "inspects tokens"), ("registration_endpoint", "registers clients")]
        .into_iter()
        .filter_map(|(key, reason)| {
            let url = address(metadata, key).filter(|url| url.host_str() == api.host_str())?;
            let path = url.path().trim_end_matches('/').to_owned();
            PathPattern::parse(&path).ok().map(|_| Denied { path, reason })
        })
        .collect()
}
