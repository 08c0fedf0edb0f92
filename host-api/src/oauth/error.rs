//! Why OAuth did not come to an account. Each message says what to do next; none holds a
//! byte of a token, a code or a client secret.

use std::time::Duration;

use super::answer::AnswerError;
use crate::accounts::{ChangeError, ConnectError};
use crate::apps::BaseUrlError;
use crate::broker::CallError;
use crate::sign::JwtError;
use crate::store::StoreError;
use crate::tokens::LinkError;
use crate::vault::VaultError;

/// Why an account was not connected, reconnected or configured by OAuth.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OAuthError {
    /// The app's definition has no `[oauth]`.
    #[error("{0} is not connected by OAuth; connect it with its key: keyhole accounts connect {0}")]
    NotByOAuth(String),
    /// The definition lacks what this way of connecting needs.
    #[error("{app} cannot be connected that way: its definition has no {what}")]
    NoEndpoint {
        /// The app.
        app: String,
        /// The key of the definition.
        what: &'static str,
    },
    /// There is no server to ask.
    #[error("this app's access tokens are made here: its definition has no token_url to ask")]
    NoTokenEndpoint,
    /// The account's key makes no JWT.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// No operator has registered a client.
    #[error("no OAuth client is configured for {0}; an operator does that with: keyhole apps configure {0}")]
    NotConfigured(String),
    /// A client that cannot be one.
    #[error("{0}")]
    Client(&'static str),
    /// A redirect URI that no answer could safely come to.
    #[error("'{0}' cannot be a redirect URI; use https, or http on 127.0.0.1, [::1] or localhost, without a fragment")]
    RedirectUri(String),
    /// The answer belongs to nothing that is under way.
    #[error(
        "this answer belongs to no connection that is under way: it was finished, or begun by someone else, or more than \
         10 minutes ago; begin again"
    )]
    NotUnderWay,
    /// A member who begins without end.
    #[error("{0} connections of yours are under way; finish one, or wait 10 minutes")]
    TooMany(usize),
    /// Whoever has a connect link begins by it without end.
    #[error("{0} connections were begun by this link, which is as many as may be; ask whoever sent it for another one")]
    TooManyByLink(u32),
    /// The answer came to another place than it was asked to.
    #[error("the answer came to another redirect URI than the one that was asked for; begin again")]
    OtherRedirect,
    /// The answer is from another server (RFC 9207).
    #[error("the answer is from {}, not from {expected}; nothing was sent to it, begin again", .got.as_deref().unwrap_or("nobody who says so"))]
    Issuer {
        /// The definition's issuer.
        expected: String,
        /// What the answer said.
        got: Option<String>,
    },
    /// The answer is not one.
    #[error("the server's answer has {0}; begin again")]
    Answer(&'static str),
    /// The member or the server said no.
    #[error("the server did not allow it: {0}")]
    Refused(String),
    /// A device code that nobody used in time.
    #[error("nobody entered the code in time; begin again")]
    Expired,
    /// The token endpoint gave no token.
    #[error("{endpoint}: {error}")]
    Token {
        /// Its URL, without a query.
        endpoint: String,
        /// What happened.
        error: TokenError,
    },
    /// Whose the token is could not be found out.
    #[error("the tokens were given out, but whose they are could not be found out, so nothing was stored: {0}")]
    Identity(String),
    /// The URL of an endpoint cannot be made from the account's fields.
    #[error(transparent)]
    Endpoint(#[from] BaseUrlError),
    /// The fields are wrong, or the account could not be stored.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The account could not be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The connect link by which it was begun opens nothing any more.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Sealing failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an endpoint gave no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// It said so (RFC 6749, section 5.2). The text is scrubbed.
    #[error("{}", told(.code, .text))]
    Server {
        /// The error code.
        code: String,
        /// The error's text.
        text: Option<String>,
    },
    /// Its answer is none.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// No answer came.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The request could not be made.
    #[error("the request could not be made: {0}")]
    Request(String),
}

fn told(code: &str, text: &Option<String>) -> String {
    match text {
        Some(text) => format!("{code}: {text}"),
        None => code.to_owned(),
    }
}

impl TokenError {
    /// Whether the refresh token (or code) is no good any more. Nothing else says so:
    /// not a wrong client, not a server in trouble.
    pub fn is_invalid_grant(&self) -> bool {
        matches!(self, Self::Server { code, .. } if code == "invalid_grant")
    }

    /// When the server said that one should ask again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer(AnswerError::Status { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}

/// Why an access token that has expired could not be refreshed. The account is not lost.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The token endpoint did not give one, and is left alone for a while.
    #[error("the access token has expired and can't be refreshed now ({reason}); it is tried again in {} s", .again.as_secs().max(1))]
    Failing {
        /// What the endpoint did, scrubbed.
        reason: String,
        /// When it is asked again.
        again: Duration,
    },
    /// Someone else is refreshing it, and does not get done.
    #[error("the access token has expired, and the process that refreshes it takes too long; try again")]
    TooLong,
    /// The definition, the client's configuration or the vault does not let it.
    #[error("the access token has expired and can't be refreshed: {0}")]
    Unable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
