//! How accounts of an app are connected by OAuth 2.0: the `[oauth]` table of a definition.
//!
//! What servers do differently is said in here, as data; `crate::oauth` has no service's
//! name in it. Nothing in here sees a credential.

mod build;
mod jwt;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use url::Url;

pub(super) use build::Rules;
pub use jwt::{Algorithm, JwtDef, SendJwt};
pub(super) use read::{DraftOAuth, DraftUserInfo, oauth as read, userinfo};

use super::host::HostTemplate;
use super::{BaseUrlError, Deny, IN_A_SEGMENT, OkCheck, PathPattern, Template};

/// The sealed field that holds an account's refresh token. No definition can have a field
/// of this name, so no step ever gets a placeholder for it.
pub const REFRESH_TOKEN: &str = "oauth_refresh_token";

/// How long before it expires an access token is refreshed, unless the definition says otherwise.
pub const REFRESH_MARGIN: Duration = Duration::from_secs(60);

/// How an app's accounts are connected by OAuth 2.0.
#[derive(Clone, Debug)]
pub struct OAuthDef {
    /// Who is asked for the access token.
    pub flow: Flow,
    /// Where the member is sent (RFC 6749, section 3.1).
    pub authorization: Option<Endpoint>,
    /// Where tokens are given out (RFC 6749, section 3.2). None where a JWT is the access token.
    pub token: Option<Endpoint>,
    /// Where a device begins (RFC 8628, section 3.1).
    pub device: Option<Endpoint>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation: Option<Endpoint>,
    /// A request that tells whose token it is.
    pub userinfo: Option<UserInfo>,
    /// What the server calls itself in an `iss` parameter (RFC 9207).
    pub issuer: Option<String>,
    /// Whether an answer without `iss` is refused: the server is known to send it.
    pub require_iss: bool,
    /// What is asked for if the member names no scopes.
    pub scopes: Vec<String>,
    /// What stands between scopes; a blank, but for servers that know better.
    pub scope_separator: String,
    /// The authorization request's parameter, or the JWT's claim, that takes the scopes, where it is not `scope`.
    pub scope_parameter: Option<String>,
    /// Whether a code is bound to who asked for it (RFC 7636). Off only where the server refuses it.
    pub pkce: bool,
    /// How the client proves itself at the token endpoint.
    pub client_auth: ClientAuth,
    /// The JWT that the account's key makes, for [`Flow::Jwt`] and no other.
    pub jwt: Option<JwtDef>,
    /// The fields that hold a client of the account's own, where it is not the operator's.
    pub own_client: Option<OwnClient>,
    /// The secret field that the access token fills.
    pub access_token: String,
    /// Further parameters of the authorization request.
    pub authorize_parameters: Vec<(String, Template)>,
    /// Further parameters of every request to the token endpoint.
    pub token_parameters: Vec<(String, Template)>,
    /// What stands where in the token endpoint's answers.
    pub answer: AnswerMap,
    /// How long before it expires an access token is refreshed.
    pub refresh_margin: Duration,
    /// How long an access token lives if the answer does not say. None: until it is refused.
    pub expires_in: Option<Duration>,
}

/// Who is asked for the access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The member, in a browser or from a device.
    Member,
    /// Nobody: the client asks for itself (RFC 6749, section 4.4).
    ClientCredentials,
    /// Nobody: a JWT that the account's key makes is the access token, or is exchanged for one (RFC 7523).
    Jwt,
}

impl Flow {
    /// What a definition calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::ClientCredentials => "client_credentials",
            Self::Jwt => "jwt",
        }
    }
}

/// How a client proves itself (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic`.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

/// The fields that hold an account's own client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnClient {
    /// A plain field.
    pub id: String,
    /// A host-only field. None for a public client.
    pub secret: Option<String>,
}

/// What stands where in a token endpoint's answer: JSON pointers (RFC 6901), of several
/// the first that leads to something.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerMap {
    /// The access token.
    pub access_token: Vec<String>,
    /// The refresh token.
    pub refresh_token: Vec<String>,
    /// Seconds until the access token expires.
    pub expires_in: Vec<String>,
    /// The scopes: a text or a list.
    pub scope: Vec<String>,
    /// What an answer that is no error must hold.
    pub ok: Option<OkCheck>,
    /// An error's code.
    pub error: Vec<String>,
    /// An error's text.
    pub error_description: Vec<String>,
    /// Codes that mean `invalid_grant`: the refresh token is no good any more.
    pub invalid_grant: Vec<String>,
    /// What identifies the account at the service.
    pub uid: Vec<String>,
    /// What a person would recognise it by.
    pub nickname: Vec<String>,
    /// Fields of the account that the answer fills.
    pub fields: BTreeMap<String, AnswerField>,
}

/// Where a field's value is in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerField {
    /// JSON pointer.
    pub pointer: String,
    /// What of it.
    pub part: Part,
}

/// What of a value a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// It is a URL: its host, for a tenant's own.
    Host,
}

/// A request that tells whose a token is.
#[derive(Clone, Debug)]
pub struct UserInfo {
    /// Its method.
    pub method: Method,
    /// Where it goes.
    pub url: Endpoint,
    /// What an answer that is no error must hold.
    pub ok: Option<OkCheck>,
    /// What identifies the account at the service.
    pub uid: Vec<String>,
    /// What a person would recognise it by.
    pub nickname: Vec<String>,
}

/// A URL of an authorization server, with an account's plain fields in it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    template: Template,
    host: HostTemplate,
    http: bool,
}

impl Endpoint {
    /// The URL for an account with these plain fields: at the host that the definition
    /// means, whatever the fields hold.
    ///
    /// # Errors
    /// If a field has no value, or none that can stand there.
    pub fn url(&self, plain: &BTreeMap<String, String>) -> Result<Url, BaseUrlError> {
        let named = || self.template.to_string();
        let host = self.host.resolve(plain)?;
        let encoded: BTreeMap<&str, String> = self
            .template
            .fields()
            .filter_map(|field| Some((field, utf8_percent_encode(plain.get(field)?, IN_A_SEGMENT).to_string())))
            .collect();
        let text = self
            .template
            .render(|field| encoded.get(field).map(String::as_str))
            .ok_or_else(|| BaseUrlError::MissingField(named()))?;
        let url = Url::parse(&text).map_err(|_| BaseUrlError::Syntax(named()))?;
        let scheme = url.scheme() == "https" || (self.http && url.scheme() == "http");
        if !scheme || !host.matches_url(&url) || !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError::Elsewhere(named()));
        }
        Ok(url)
    }

    /// What keeps steps from asking for it where it lies on a host of the app's API.
    fn deny(&self, reason: &str) -> Option<Deny> {
        let text = self.template.render(|_| Some("*"))?;
        let path = text.split_once("://")?.1.split_once('/')?.1.split(['?', '#']).next()?;
        // Requests are compared without empty segments, so this is the same path.
        let path = PathPattern::parse(&format!("/{}", path.trim_end_matches('/'))).ok()?;
        Some(Deny { method: None, path, reason: reason.to_owned() })
    }

    /// The names of the fields in it.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.template.fields()
    }

    /// Its host.
    pub(super) fn host(&self) -> &HostTemplate {
        &self.host
    }

    /// Whether an account's owner chooses the whole host.
    fn is_the_members(&self) -> bool {
        self.host.whole().is_some()
    }
}

impl OAuthDef {
    /// The fields that connecting fills, so that nobody is asked for them.
    pub fn supplied(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.access_token.as_str()).chain(self.answer.fields.keys().map(String::as_str))
    }

    /// Steps get no token, and end none, whether or not the definition's author thought of it.
    pub(super) fn deny(&self) -> impl Iterator<Item = Deny> {
        let token = self.token.as_ref().and_then(|endpoint| endpoint.deny("gives out tokens"));
        let device = self.device.as_ref().and_then(|endpoint| endpoint.deny("begins to give out a token"));
        let revocation = self.revocation.as_ref().and_then(|endpoint| endpoint.deny("revokes tokens"));
        token.into_iter().chain(device).chain(revocation)
    }

    /// Whether `field` is one of them.
    pub fn supplies(&self, field: &str) -> bool {
        self.supplied().any(|supplied| supplied == field)
    }
}

/// The value of the first pointer that leads to something.
pub(crate) fn first<'v>(pointers: &[String], answer: &'v Value) -> Option<&'v Value> {
    pointers.iter().find_map(|pointer| answer.pointer(pointer)).filter(|value| !value.is_null())
}

/// The same, as text: numbers and truth values too, since some services identify accounts by number.
pub(crate) fn first_text(pointers: &[String], answer: &Value) -> Option<String> {
    match first(pointers, answer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
