//! One security scheme of a document: the fields that a member gives for it and where they
//! go in a request.

use std::collections::BTreeSet;

use http::HeaderName;
use serde_json::Value;
use url::Url;

use super::draft::{ACCESS_TOKEN, Field, OAuth, Place};
use super::text::{field_name, label, line, words};
use crate::apps::CustomPlace;
use crate::apps::build::BROKERS;

/// Most scopes that a draft asks for: beyond, nobody has looked at what each of them opens.
const MOST_SCOPES: usize = 20;

/// What a scheme comes to.
#[derive(Clone)]
pub(super) struct Credential {
    pub fields: Vec<Field>,
    pub place: Place,
    pub oauth: Option<OAuth>,
}

impl Credential {
    /// What two credentials of one request cannot share.
    pub fn slot(&self) -> (bool, String) {
        match &self.place.kind {
            CustomPlace::Header { name, .. } => (false, name.to_lowercase()),
            CustomPlace::Basic { .. } => (false, "authorization".to_owned()),
            CustomPlace::Query { name, .. } => (true, name.clone()),
            CustomPlace::Segment { index, .. } => (false, format!("/{index}")),
            CustomPlace::Json { pointer: name, .. } | CustomPlace::Form { name, .. } => (false, format!("={name}")),
        }
    }
}

/// Makes sense of a scheme. `base` is what relative addresses are relative to; names of
/// fields are unlike those in `taken`.
///
/// # Errors
///
/// If no place of a request can hold what it wants, and why.
pub(super) fn credential(scheme: &Value, base: Option<&Url>, taken: &BTreeSet<String>) -> Result<Credential, String> {
    let about = scheme["description"].as_str().unwrap_or_default();
    let kind = scheme["type"].as_str().unwrap_or_default();
    match kind.to_lowercase().as_str() {
        "apikey" => api_key(scheme, about, taken),
        "basic" => Ok(basic(about, taken)),
        "http" => match scheme["scheme"].as_str().unwrap_or_default().to_lowercase().as_str() {
            "bearer" => Ok(bearer("access_token", about, Vec::new(), taken)),
            "basic" => Ok(basic(about, taken)),
            other => Err(format!("the HTTP scheme '{}' is computed for each request", line(other, 40))),
        },
        "oauth2" => Ok(oauth(scheme, about, base, taken)),
        "openidconnect" => {
            let url = line(scheme["openIdConnectUrl"].as_str().unwrap_or_default(), 300);
            let issuer = url.strip_suffix("/.well-known/openid-configuration").unwrap_or(&url);
            let remark = match issuer {
                "" => "the token is from an OpenID provider that the document does not name.".to_owned(),
                _ => format!(
                    "'keyhole apps import discovery {issuer}' drafts the [oauth] table by which members connect."
                ),
            };
            Ok(bearer(ACCESS_TOKEN, about, vec![remark], taken))
        }
        "mutualtls" => Err("a client certificate is no part of a request".to_owned()),
        _ => Err(format!("'{}' is no kind of security scheme", line(kind, 40))),
    }
}

fn api_key(scheme: &Value, about: &str, taken: &BTreeSet<String>) -> Result<Credential, String> {
    let signed =
        scheme["x-amazon-apigateway-authtype"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("awsSigv4"))
            || about.contains("Amazon Signature")
            || about.to_lowercase().contains("hmac");
    if signed {
        return Err("requests are signed with a key, which is no part of them".to_owned());
    }
    let name = scheme["name"].as_str().unwrap_or_default().trim();
    if name.is_empty() {
        return Err("the key has no name".to_owned());
    }
    let shown = line(name, 60);
    match scheme["in"].as_str().unwrap_or_default() {
        "header" if name.eq_ignore_ascii_case("cookie") => {
            Err("the key is a cookie, which only a browser gets".to_owned())
        }
        "header" if HeaderName::try_from(name).map_or(true, |name| BROKERS.contains(&name.as_str())) => {
            Err(format!("'{shown}' is no header that a request can be given"))
        }
        "header" => Ok(key_in(CustomPlace::Header { name: name.to_owned(), template: String::new() }, about, taken)),
        "query" => Ok(key_in(CustomPlace::Query { name: name.to_owned(), template: String::new() }, about, taken)),
        "cookie" => Err(format!("the key is the cookie '{shown}', which only a browser gets")),
        other => Err(format!("the key '{shown}' is in '{}'", line(other, 40))),
    }
}

/// A key that is the whole value of a header or parameter, or follows a word that says what it is.
pub(super) fn key_in(mut kind: CustomPlace, about: &str, taken: &BTreeSet<String>) -> Credential {
    let mut remarks = Vec::new();
    let (CustomPlace::Header { name, .. } | CustomPlace::Query { name, .. }) = &kind else {
        return basic(about, taken);
    };
    let authorization = matches!(kind, CustomPlace::Header { .. }) && name.eq_ignore_ascii_case("authorization");
    let short = name.strip_prefix("X-").or_else(|| name.strip_prefix("x-")).unwrap_or(name);
    let field = match authorization {
        true => field_name("api_key", "api_key", taken),
        false => field_name(short, "api_key", taken),
    };
    let word = match authorization {
        true => scheme_word(about),
        false => "",
    };
    if authorization {
        remarks.push(match word {
            "" => "the document does not say whether a word such as Bearer stands before the key.".to_owned(),
            word => format!("that '{}' stands before the key is a guess from the document's words.", word.trim()),
        });
    }
    if let CustomPlace::Header { template, .. } | CustomPlace::Query { template, .. } = &mut kind {
        *template = format!("{word}{{{field}}}");
    }
    Credential { fields: vec![secret(field, about)], place: Place { kind, remarks }, oauth: None }
}

/// What stands before the credential, if a description of `Authorization` says so.
fn scheme_word(about: &str) -> &'static str {
    let lower = about.to_lowercase();
    for (word, scheme) in
        [("bearer", "Bearer "), ("token token=", "Token token="), ("basic ", "Basic "), ("apikey ", "ApiKey ")]
    {
        if lower.contains(word) {
            return scheme;
        }
    }
    ""
}

fn bearer(name: &str, about: &str, remarks: Vec<String>, taken: &BTreeSet<String>) -> Credential {
    let name = field_name(name, ACCESS_TOKEN, taken);
    let mut field = secret(name.clone(), about);
    field.label = "Access token".to_owned();
    field.remarks.extend(remarks);
    let kind = CustomPlace::Header { name: "Authorization".to_owned(), template: format!("Bearer {{{name}}}") };
    Credential { fields: vec![field], place: Place { kind, remarks: Vec::new() }, oauth: None }
}

fn basic(about: &str, taken: &BTreeSet<String>) -> Credential {
    let said = words(about);
    let has = |word: &str| said.iter().any(|said| said == word);
    let key_alone = (has("key") || has("token")) && (has("username") || has("user")) && (has("blank") || has("empty"));
    if key_alone {
        let name = field_name("api_key", "api_key", taken);
        let remark = "that the key is the user name, without a password, is a guess from the document's words.";
        let kind = CustomPlace::Basic { username: format!("{{{name}}}"), password: String::new() };
        return Credential {
            fields: vec![secret(name, about)],
            place: Place { kind, remarks: vec![remark.to_owned()] },
            oauth: None,
        };
    }
    let username = field_name("username", "username", taken);
    let password = field_name("password", "password", taken);
    let kind = CustomPlace::Basic { username: format!("{{{username}}}"), password: format!("{{{password}}}") };
    let user = Field { label: label(&username), name: username, ..Field::default() };
    let mut word = secret(password, about);
    word.remarks
        .push("many services take an API key as one of the two; say so in label and help, with secret = true.".into());
    Credential { fields: vec![user, word], place: Place { kind, remarks: Vec::new() }, oauth: None }
}

fn secret(name: String, about: &str) -> Field {
    let help = Some(line(about, 200)).filter(|help| !help.is_empty());
    Field { label: label(&name), name, secret: true, help, ..Field::default() }
}

fn oauth(scheme: &Value, about: &str, base: Option<&Url>, taken: &BTreeSet<String>) -> Credential {
    let mut credential = bearer(ACCESS_TOKEN, about, Vec::new(), taken);
    // A second one would have to be connected by itself.
    let first = credential.fields[0].name == ACCESS_TOKEN;
    match table(scheme, base) {
        Ok(table) if first => credential.oauth = Some(table),
        Ok(_) => {
            credential.fields[0].remarks.push("an account has one [oauth] table; this token is pasted.".to_owned())
        }
        Err(remark) => credential.fields[0].remarks.push(remark),
    }
    credential
}

/// The `[oauth]` table, or why there is none.
fn table(scheme: &Value, base: Option<&Url>) -> Result<OAuth, String> {
    let paste = "Members paste an access token; or find the service's token endpoint and write an [oauth] table";
    // Swagger 2 has one flow a scheme, with names of its own.
    let flow = |name: &str, old: &str| match scheme["flow"].as_str() {
        Some(flow) => (flow == old).then_some(scheme),
        None => scheme["flows"].get(name).filter(|flow| flow.is_object()),
    };
    let address = |flow: &Value, key: &str| -> Result<String, String> {
        let text = flow[key].as_str().map(str::trim).filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| format!("the document has no {key} for OAuth. {paste}."))?;
        let url = match (Url::parse(text), base) {
            (Err(url::ParseError::RelativeUrlWithoutBase), Some(base)) => base.join(text),
            (parsed, _) => parsed,
        };
        let wrong = || format!("the document's {key} is '{}', no HTTPS address. {paste}.", line(text, 200));
        let mut url = url.map_err(|_| wrong())?;
        url.set_fragment(None);
        match url.scheme() == "https" && !text.contains(['{', '}']) && url.username().is_empty() {
            true => Ok(url.to_string()),
            false => Err(wrong()),
        }
    };
    let code = flow("authorizationCode", "accessCode");
    let device = scheme["flows"].get("deviceAuthorization").filter(|flow| flow.is_object());
    let client = flow("clientCredentials", "application");
    let mut table = OAuth::default();
    let chosen = if let Some(flow) = code {
        table.authorization_url = Some(address(flow, "authorizationUrl")?);
        table.token_url = address(flow, "tokenUrl")?;
        flow
    } else if let Some(flow) = device {
        table.device_url = Some(address(flow, "deviceAuthorizationUrl")?);
        table.token_url = address(flow, "tokenUrl")?;
        flow
    } else if let Some(flow) = client {
        table.for_client = true;
        table.token_url = address(flow, "tokenUrl")?;
        flow
    } else {
        let implicit = flow("implicit", "implicit").and_then(|flow| flow["authorizationUrl"].as_str());
        return Err(match implicit {
            Some(url) => {
                format!(
                    "the document has only OAuth's implicit flow (at {}), which leaves no token to refresh. {paste}.",
                    line(url, 200)
                )
            }
            None => format!("the document has no flow of OAuth that can be done without a member's password. {paste}."),
        });
    };
    if code.is_some() && client.is_some() {
        table.remark("", "the service knows the client-credentials flow, too: flow = \"client_credentials\".");
    }
    if let Some(url) = chosen["refreshUrl"].as_str()
        && !url.is_empty()
        && address(chosen, "refreshUrl").is_ok_and(|refresh| refresh != table.token_url)
    {
        let text =
            format!("the document says that tokens are refreshed at {}; Keyhole asks token_url.", line(url, 200));
        table.remark("token_url", text);
    }
    table.remark(
        "token_url",
        "whether the client proves itself by client_auth = \"basic\" or \"body\" is not in the document.",
    );
    scopes(&mut table, &chosen["scopes"]);
    Ok(table)
}

fn scopes(table: &mut OAuth, scopes: &Value) {
    let names = scopes.as_object().into_iter().flat_map(|scopes| scopes.keys());
    let fits = |scope: &&str| !scope.contains([',', '"', '\\']) && !scope.chars().any(char::is_control);
    let (mut known, mut all) = (BTreeSet::new(), Vec::new());
    for scope in names.flat_map(|name| name.split_whitespace()).filter(fits) {
        if known.insert(scope) {
            all.push(scope.to_owned());
        }
    }
    match all.len() {
        0 => {}
        1..=MOST_SCOPES => {
            table.remark("scopes", "these are all that the document has; leave out what steps have no use for.");
            table.scopes = all;
        }
        _ => {
            let text =
                format!("ask for what steps need; the document has {}: {}", all.len(), line(&all.join(" "), 3000));
            table.remark("scopes", text);
        }
    }
}
