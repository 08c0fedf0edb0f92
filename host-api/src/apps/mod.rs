//! Apps: what Keyhole knows of a service. Definitions are data; nothing in here is
//! special to one service, and nothing in here sees a credential.

mod added;
mod build;
mod catalog;
mod custom;
mod deny;
mod encoded;
mod error;
mod field;
mod host;
pub mod import;
mod oauth;
mod oauth1;
mod parts;
mod reach;
mod read;
mod sigv4;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use http::{HeaderName, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

pub use added::{AddError, NewApp};
pub use catalog::{Catalog, CatalogError};
pub use custom::{CustomApp, CustomError, CustomField, CustomPart, CustomPlace};
pub use deny::{Deny, PathPattern, PathPatternError};
pub use encoded::Encoded;
pub use error::AppError;
pub use field::{FieldDef, FieldError, MAX_PLAIN, MAX_SECRET, Pattern};
pub use host::{Addresses, HostError, HostPattern, HostTemplate};
pub use oauth::{
    Algorithm, AnswerField, AnswerMap, ClientAuth, Endpoint, Flow, JwtDef, OAuthDef, OwnClient, Part, REFRESH_MARGIN,
    REFRESH_TOKEN, SendJwt, UserInfo,
};
pub(crate) use oauth::{first, first_text};
pub use oauth1::{OAuth1Def, OAuth1Method};
pub use sigv4::SigV4Def;
pub use template::{Piece, Template, TemplateError};

/// The name of the app whose definition a member gives with the account.
pub const CUSTOM: &str = "custom";

/// The format of definitions that this version reads and writes: `keyhole = 1`.
pub const FORMAT: i64 = 1;

/// A service that one can connect to.
#[derive(Clone, Debug)]
pub struct App {
    /// What steps and the CLI call it: `[a-z0-9_-]+`.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// The vendor's page on its API's authentication.
    pub docs: Option<Url>,
    /// Where requests start, such as `https://slack.com/api/`. Ask [`App::base_url`] for an
    /// account's.
    pub base_url: Option<Template>,
    /// The hosts that placeholders may go to. Ask [`App::hosts_for`] for an account's.
    pub hosts: Vec<HostTemplate>,
    /// What an account consists of, in the order to ask for it.
    pub fields: Vec<FieldDef>,
    /// Where placeholders may stand. The first one of each header or query name whose
    /// fields an account has is what a request template sends.
    pub places: Vec<Place>,
    /// Where placeholders may stand, too; never part of a request template.
    pub alternatives: Vec<Place>,
    /// Headers without a secret that the service wants, such as `Notion-Version`. One
    /// whose field an account lacks is left out.
    pub headers: Vec<(HeaderName, Template)>,
    /// What steps may not ask for. Ask [`App::denied`].
    pub deny: Vec<Deny>,
    /// How to see whether an account works, and whose it is.
    pub test: Option<TestRequest>,
    /// What the signer signs, by purpose.
    pub signing: BTreeMap<String, Signing>,
    /// How accounts are connected by OAuth.
    pub oauth: Option<OAuthDef>,
    /// How requests are signed, where the keys themselves are never sent.
    pub sigv4: Option<SigV4Def>,
    /// How requests are signed by OAuth 1.0a.
    pub oauth1: Option<OAuth1Def>,
    /// Whether placeholders may go over plain HTTP.
    pub insecure_http: bool,
    /// Whether hosts may be IP addresses.
    pub allow_ip: bool,
    /// Where the definition is from.
    pub source: Source,
    /// What the base URL comes to for every account, if neither it nor a host has fields.
    fixed_base: OnceLock<Url>,
}

/// Where a definition is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It came with Keyhole.
    Keyhole,
    /// The operator's file.
    File(PathBuf),
    /// The member's, kept in the account.
    Account,
}

/// Where in a request a placeholder may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A header whose whole value is this.
    Header {
        /// The header.
        name: HeaderName,
        /// Its value.
        template: Template,
    },
    /// A header whose value is base64, after a scheme or alone.
    Encoded {
        /// The header.
        name: HeaderName,
        /// Its value.
        value: Encoded,
    },
    /// `Authorization: Basic`, the base64 of `username:password`.
    Basic {
        /// Before the colon.
        username: Template,
        /// After it.
        password: Template,
    },
    /// A query parameter whose whole value is this.
    Query {
        /// The parameter's name, decoded.
        name: String,
        /// Its value, decoded.
        template: Template,
    },
    /// A whole part of the path between two slashes.
    Segment {
        /// Which, from 1.
        index: usize,
        /// The part, decoded.
        template: Template,
    },
    /// A whole text in a JSON body.
    Json {
        /// JSON pointer (RFC 6901) to it.
        pointer: String,
        /// The text.
        template: Template,
    },
    /// The whole value of a field of an `application/x-www-form-urlencoded` body.
    Form {
        /// The field's name, decoded.
        name: String,
        /// Its value, decoded.
        template: Template,
    },
    /// The whole content of a `multipart/form-data` part that is no file (RFC 7578).
    Part {
        /// The part's name.
        name: String,
        /// Its content.
        template: Template,
    },
}

impl Place {
    /// The fields that stand in it.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Header { template, .. }
            | Self::Query { template, .. }
            | Self::Segment { template, .. }
            | Self::Json { template, .. }
            | Self::Form { template, .. }
            | Self::Part { template, .. } => (template, None),
            Self::Encoded { value, .. } => (value.template(), None),
            Self::Basic { username, password } => (username, Some(password)),
        };
        first.fields().chain(second.into_iter().flat_map(Template::fields))
    }

    /// What two places of one request template cannot share. None for a place that a step fills itself.
    fn slot(&self) -> Option<(bool, &str)> {
        match self {
            Self::Header { name, .. } | Self::Encoded { name, .. } => Some((false, name.as_str())),
            Self::Basic { .. } => Some((false, "authorization")),
            Self::Query { name, .. } => Some((true, name)),
            Self::Segment { .. } | Self::Json { .. } | Self::Form { .. } | Self::Part { .. } => None,
        }
    }
}

/// A request that shows whether an account works.
#[derive(Clone, Debug)]
pub struct TestRequest {
    /// Its method.
    pub method: Method,
    /// Its path, joined to the base URL. May have a query. Plain fields only.
    pub path: Template,
    /// The statuses of an account that works.
    pub status: Vec<u16>,
    /// What the answer's JSON must hold, for services that tell an error with status 200.
    pub ok: Option<OkCheck>,
    /// JSON pointer (RFC 6901) to the message of an error.
    pub error: Option<String>,
    /// JSON pointer to what identifies the account at the service.
    pub uid: Option<String>,
    /// JSON pointer to what a person would recognise it by.
    pub nickname: Option<String>,
}

/// What an answer must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct OkCheck {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// The value there; `None` for anything but null.
    pub equals: Option<serde_json::Value>,
}

impl OkCheck {
    /// Whether `answer` holds it.
    pub fn holds(&self, answer: &serde_json::Value) -> bool {
        match (answer.pointer(&self.pointer), &self.equals) {
            (None, _) => false,
            (Some(value), Some(equals)) => value == equals,
            (Some(value), None) => !value.is_null(),
        }
    }
}

/// A purpose that the signer serves: an HMAC (RFC 2104).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// The field that is the key. Host-only.
    pub key: String,
    /// The hash.
    pub hash: Hash,
    /// How the signature is written.
    pub encoding: Encoding,
}

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, for services that know no other.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 (RFC 4648, section 4) with padding.
    Base64,
}

/// What RFC 3986 (2.3) leaves unreserved stays as it is.
const IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why an account's base URL could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// A field without a value.
    #[error("the URL {0} needs a field that has no value; reconnect the account")]
    MissingField(String),
    /// No URL.
    #[error("the URL {0} with this account's fields is no URL; reconnect the account")]
    Syntax(String),
    /// A URL elsewhere.
    #[error("the URL {0} with this account's fields is not within the app's hosts; reconnect the account")]
    Elsewhere(String),
    /// The hosts could not be told.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl App {
    /// The JWT that the host makes with an account's key.
    pub fn jwt(&self) -> Option<&JwtDef> {
        self.oauth.as_ref().and_then(|def| def.jwt.as_ref())
    }

    /// Whether steps need an account of it. One without fields helps with texts, or needs no key.
    pub fn takes_account(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The field `name`.
    pub fn field(&self, name: &str) -> Option<&FieldDef> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Every host to which what an account consists of may go: those of the API, and those by which it is connected.
    pub fn destinations(&self) -> Vec<String> {
        let oauth = self.oauth.iter().flat_map(|def| {
            let endpoints = [&def.authorization, &def.token, &def.device, &def.revocation].into_iter().flatten();
            endpoints.chain(def.userinfo.iter().map(|userinfo| &userinfo.url)).map(Endpoint::host)
        });
        let mut known = BTreeSet::new();
        let all = self.hosts.iter().chain(oauth).map(ToString::to_string);
        all.filter(|host| known.insert(host.clone())).collect()
    }

    /// The hosts of an account with these plain fields.
    pub fn hosts_for(&self, plain: &BTreeMap<String, String>) -> Result<Vec<HostPattern>, HostError> {
        self.hosts.iter().map(|host| host.resolve(plain)).collect()
    }

    /// Where the requests of an account with these plain fields start. Within its hosts.
    pub fn base_url(&self, plain: &BTreeMap<String, String>) -> Result<Option<Url>, BaseUrlError> {
        let Some(template) = &self.base_url else { return Ok(None) };
        if let Some(url) = self.fixed_base.get() {
            return Ok(Some(url.clone()));
        }
        // Encoded, so that a value stays within its segment. A host's characters stay as they are.
        let encoded: BTreeMap<&str, String> = template
            .fields()
            .filter_map(|field| Some((field, utf8_percent_encode(plain.get(field)?, IN_A_SEGMENT).to_string())))
            .collect();
        let text = template
            .render(|field| encoded.get(field).map(String::as_str))
            .ok_or_else(|| BaseUrlError::MissingField(template.to_string()))?;
        let url = Url::parse(&text).map_err(|_| BaseUrlError::Syntax(template.to_string()))?;
        let within = self.hosts_for(plain)?.iter().any(|host| host.matches_url(&url));
        if !within || !self.allows_scheme(&url) || !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError::Elsewhere(template.to_string()));
        }
        if template.fields().chain(self.hosts.iter().flat_map(HostTemplate::fields)).next().is_none() {
            self.fixed_base.get_or_init(|| url.clone());
        }
        Ok(Some(url))
    }

    /// The URL of the test request of an account with these plain fields; `None` if the
    /// definition has no test. Within the hosts.
    pub fn test_url(&self, plain: &BTreeMap<String, String>) -> Option<Result<Url, BaseUrlError>> {
        let test = self.test.as_ref()?;
        let made = || {
            let base = self.base_url(plain)?.ok_or_else(|| BaseUrlError::Syntax(test.path.to_string()))?;
            let path = test
                .path
                .render(|field| plain.get(field).map(String::as_str))
                .ok_or_else(|| BaseUrlError::MissingField(test.path.to_string()))?;
            let url = base.join(&path).map_err(|_| BaseUrlError::Syntax(test.path.to_string()))?;
            let within = self.hosts_for(plain)?.iter().any(|host| host.matches_url(&url));
            match within && self.allows_scheme(&url) {
                true => Ok(url),
                false => Err(BaseUrlError::Elsewhere(test.path.to_string())),
            }
        };
        Some(made())
    }

    /// Whether a placeholder may go over `url`'s scheme.
    pub fn allows_scheme(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.insecure_http && url.scheme() == "http")
    }

    /// The rule that denies steps this request, if there is one.
    pub fn denied(&self, method: &Method, url: &Url) -> Option<&Deny> {
        if self.deny.is_empty() {
            return None;
        }
        let readings = deny::readings(url);
        self.deny.iter().find(|deny| deny.matches(method, &readings))
    }

    /// Every place where a placeholder may stand.
    pub fn all_places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().chain(&self.alternatives)
    }

    /// The places that a request template of an account fills, given whether it has a
    /// field: of each header or query name the first whose fields are all there.
    pub fn request_places(&self, has: impl Fn(&str) -> bool) -> Vec<&Place> {
        let mut filled: Vec<&Place> = Vec::new();
        for place in &self.places {
            let free = filled.iter().all(|other| other.slot() != place.slot());
            if place.slot().is_some() && free && place.fields().all(&has) {
                filled.push(place);
            }
        }
        filled
    }
}

/// Reads and checks one definition. `file` is what errors call it.
///
/// # Errors
///
/// All that is wrong with it, in the order of the text.
pub fn check(text: &str, file: &str) -> Result<App, Vec<AppError>> {
    let mut problems = error::Problems::default();
    let app = read::read(text, &mut problems).and_then(|draft| build::build(draft, &mut problems));
    match app {
        Some(app) if problems.is_empty() => Ok(app),
        _ => Err(problems.into_errors(text, file)),
    }
}
