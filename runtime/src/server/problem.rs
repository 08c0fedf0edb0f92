//! What the API answers when it does not do what was asked: RFC 9457, with the words that
//! the CLI has for it. It must never hold what a request's body held.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use keyhole_host_api::accounts::{ChangeError, ConnectError, FindError};
use keyhole_host_api::apps::{AddError, AppError};
use keyhole_host_api::broker::AuditError;
use keyhole_host_api::members::MemberError;
use keyhole_host_api::oauth::OAuthError;
use keyhole_host_api::oidc::OidcError;
use keyhole_host_api::passkeys::PasskeyError;
use keyhole_host_api::store::StoreError;
use keyhole_host_api::tokens::{LinkError, SessionError, TokenError};
use keyhole_host_api::upkeep::backup::BackupError;
use keyhole_host_api::vault::VaultError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::workflow::{ComponentError, DeployError, EventError};

/// The media type of RFC 9457.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why something was not done (RFC 9457), with two members of our own: where, and what to
/// do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, such as `urn:keyhole:problem:not-there`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What problems of this kind have in common.
    pub title: String,
    /// The answer's status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// Where it is.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What really happened. For the log and the operator, not for a caller.
    #[serde(skip)]
    inner: Option<Inner>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

/// The part of an answer that stays in the process: the CLI that called within it shows this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner(pub String);

impl Problem {
    /// A problem of a kind of its own.
    pub fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:keyhole:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            place: None,
            help: None,
            inner: None,
            retry_after: None,
        }
    }

    /// What was asked for is not there, or not the caller's to know of.
    pub fn not_there(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-there", "There is no such thing", detail)
    }

    /// The caller may know of it, and may not do that.
    pub fn not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not-allowed", "You may not do that", detail)
    }

    /// What was given can't be taken.
    pub fn wrong(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong", "What was given can't be taken", detail)
    }

    /// It does not go with what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "It does not go with what is there", detail)
    }

    /// The service that the account is for did not do its part.
    pub fn upstream(detail: impl Into<String>) -> Self {
        // Not 502: it is no failure of this server, and what the caller can do is try again
        // or give something else.
        Self::new(StatusCode::FAILED_DEPENDENCY, "service", "The service did not do its part", detail)
    }

    /// The server failed. The caller is not told how: it may name files.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Keyhole failed",
            "the request failed in Keyhole; the operator finds the reason in the log of keyhole serve",
        );
        problem.inner = Some(Inner(error.to_string()));
        problem
    }

    /// Something was done, and the audit could not be told of it.
    pub fn not_recorded(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "not-recorded",
            "It was done, and not recorded",
            "it was done, but could not be recorded in the audit; the operator finds the reason in the log of keyhole serve",
        )
        .help("see how it is now before you try again");
        problem.inner = Some(Inner(error.to_string()));
        problem
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Where it is.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// When to try again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// The answer's status.
    pub fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Adds to an answer that tells of it what is not in the text: when to try again, for the caller, and what really
    /// happened, for the log. And itself, for who shows it in another form.
    pub fn mark(mut self, response: &mut Response) {
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(inner) = self.inner.take() {
            response.extensions_mut().insert(inner);
        }
        response.extensions_mut().insert(self);
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.strip_prefix("urn:keyhole:problem:") == Some(kind)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code();
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"keyhole\""));
        }
        self.mark(&mut response);
        response
    }
}

/// For a path that is none of the API's.
pub async fn no_such_route(uri: Uri) -> Problem {
    Problem::not_there("there is nothing at this address").at(uri.path()).help("GET /api/openapi.json lists every call")
}

/// For a method that a path does not have.
pub async fn no_such_method(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "There is no such call",
        "this address does not have that method",
    )
    .at(uri.path())
    .help("GET /api/openapi.json lists every call")
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::File(error) => {
                Self::wrong(error.message).at(format!("workflow.toml:{}:{}", error.line, error.column))
            }
            DeployError::Busy => Self::conflict(error.to_string()),
            DeployError::Store(error) => error.into(),
        }
    }
}

impl From<ComponentError> for Problem {
    fn from(error: ComponentError) -> Self {
        match error {
            ComponentError::NotThere(_) => Self::not_there(error.to_string()),
            ComponentError::Load(error) => Self::wrong(error.to_string()),
            ComponentError::Store(error) => error.into(),
            ComponentError::Engine(error) => Self::internal(&error),
        }
    }
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Full { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "queue", "Too many events wait", error.to_string())
                    .retry_after(5)
            }
            EventError::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "Keyhole is being stopped", error.to_string())
                    .retry_after(5)
            }
            EventError::Event(error) => Self::wrong(error.to_string()),
            EventError::Store(error) => error.into(),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::NoNewKey
            | VaultError::InUse { .. }
            | VaultError::NotOurs(_)
            | VaultError::TooManyKeys { .. }
            | VaultError::UnknownKey { .. } => Self::conflict(error.to_string()),
            error => Self::internal(&error),
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Vault(error) => error.into(),
            BackupError::Store(error) => error.into(),
            BackupError::OtherWorkspace { .. } | BackupError::NotEmpty | BackupError::Rotated => {
                Self::conflict(error.to_string())
            }
            error => Self::wrong(error.to_string()),
        }
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Future => Self::wrong(error.to_string()),
            error => Self::internal(&error),
        }
    }
}

impl From<FindError> for Problem {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NotThere(_) => Self::not_there(error.to_string()),
            FindError::Ambiguous { .. } => Self::conflict(error.to_string()),
            FindError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotThere(_) => Self::not_there(error.to_string()),
            ChangeError::NotOwner { .. } => Self::not_allowed(error.to_string()),
            ChangeError::ProofNeeded(_) => Self::new(
                StatusCode::FORBIDDEN,
                "proof-needed",
                "Fresh proof of ownership is needed",
                error.to_string(),
            ),
            ChangeError::NoMember(_) => Self::wrong(error.to_string()),
            ChangeError::AccessChanged => {
                Self::conflict(error.to_string()).help("this is how it is now; nothing of yours was saved")
            }
            ChangeError::OtherApp { .. } | ChangeError::OtherIdentity { .. } => Self::conflict(error.to_string()),
            ChangeError::Connect(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<AddError> for Problem {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Definition(errors) => {
                let line = |error: &AppError| match error.help.as_str() {
                    "" => format!("line {}: {}", error.line, error.message),
                    help => format!("line {}: {}; {help}", error.line, error.message),
                };
                Self::wrong(errors.iter().map(line).collect::<Vec<_>>().join("\n"))
            }
            AddError::Loose(..) => Self::not_allowed(error.to_string()),
            error => Self::conflict(error.to_string()),
        }
    }
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Vault(error) => error.into(),
            ConnectError::Store(error) => error.into(),
            error => Self::wrong(error.to_string()),
        }
    }
}

impl From<OAuthError> for Problem {
    fn from(error: OAuthError) -> Self {
        match error {
            OAuthError::Connect(error) => error.into(),
            OAuthError::Change(error) => error.into(),
            OAuthError::Link(error) => error.into(),
            OAuthError::Vault(error) => error.into(),
            OAuthError::Store(error) => error.into(),
            OAuthError::TooMany(_) | OAuthError::TooManyByLink(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many at a time", error.to_string())
            }
            OAuthError::NotConfigured(_) => {
                Self::new(StatusCode::CONFLICT, "not-set-up", "It is not set up yet", error.to_string())
            }
            OAuthError::Token { .. } | OAuthError::Identity(_) | OAuthError::Refused(_) => {
                Self::upstream(error.to_string())
            }
            error => Self::wrong(error.to_string()),
        }
    }
}

impl From<OidcError> for Problem {
    fn from(error: OidcError) -> Self {
        const TITLE: &str = "The sign-in did not go through";
        match error {
            OidcError::Member(error) => error.into(),
            OidcError::Store(error) => error.into(),
            OidcError::Random(_) => Self::internal(&error),
            OidcError::NotSetUp => Self::not_there(error.to_string()),
            OidcError::NotOverTls(_) => Self::conflict(error.to_string()),
            OidcError::Unreachable { .. } | OidcError::Metadata { .. } | OidcError::Token { .. } => {
                Self::new(StatusCode::FAILED_DEPENDENCY, "service", TITLE, error.to_string())
            }
            error => Self::new(StatusCode::FORBIDDEN, "sign-in", TITLE, error.to_string()),
        }
    }
}

impl From<PasskeyError> for Problem {
    fn from(error: PasskeyError) -> Self {
        match error {
            PasskeyError::NotThere(_) => Self::not_there(error.to_string()),
            PasskeyError::TooMany(_) | PasskeyError::Known | PasskeyError::NoPlace => Self::conflict(error.to_string()),
            PasskeyError::NotValid | PasskeyError::NotUnderWay => {
                Self::new(StatusCode::FORBIDDEN, "passkey", "The passkey was not taken", error.to_string())
            }
            PasskeyError::Store(error) => error.into(),
            PasskeyError::Random(_) => Self::internal(&error),
            error => Self::wrong(error.to_string()),
        }
    }
}

impl From<MemberError> for Problem {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotThere(_) => Self::not_there(error.to_string()),
            MemberError::Exists(_) | MemberError::LastAdmin(_) => Self::conflict(error.to_string()),
            MemberError::Store(error) => error.into(),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NotThere(_) => Self::not_there(error.to_string()),
            TokenError::Store(error) => error.into(),
            TokenError::Random(_) => Self::internal(&error),
            error => Self::wrong(error.to_string()),
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotThere(_) | LinkError::NotValid => Self::not_there(error.to_string()),
            LinkError::Store(error) => error.into(),
            LinkError::Random(_) => Self::internal(&error),
            error => Self::wrong(error.to_string()),
        }
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NotMember(_) => Self::not_there(error.to_string()),
            SessionError::Store(error) => error.into(),
            SessionError::Random(_) => Self::internal(&error),
        }
    }
}
