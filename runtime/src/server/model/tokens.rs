//! Members' tokens, and connect links.

use jiff::Timestamp;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::tokens::{ConnectAccount, Link, Token};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Hidden;

/// A token, without its text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// What they call it.
    pub name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Until when it is valid.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        let Token { id, member, name, created, expires, last_used } = token;
        Self { id: id.to_string(), member, name, created, expires, last_used }
    }
}

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What to call it.
    pub name: String,
    /// For how many seconds it is valid; 90 days if nothing is said, 366 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u32>,
}

/// A token that was just made. Its text is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// What may be seen of it from now on.
    #[serde(flatten)]
    pub token: TokenView,
    /// Its text.
    #[serde(rename = "token")]
    #[schema(value_type = String)]
    pub text: Hidden,
}

/// Whose tokens to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TokensQuery {
    /// Those of every member, which admins may see.
    #[serde(default)]
    #[param(default = false)]
    pub all: bool,
}

/// A connect link, without its address.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// Its id.
    pub id: String,
    /// Who will own the account.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// The app.
    pub app: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Until when it is valid.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

impl From<Link<ConnectAccount>> for LinkView {
    fn from(link: Link<ConnectAccount>) -> Self {
        let Link { id, member, opens, created, expires } = link;
        Self { id: id.to_string(), member, app: opens.app, created, expires }
    }
}

/// A connect link to make, for an account of the caller's.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// The app.
    pub app: String,
    /// For how many seconds it is valid; a day if nothing is said, 7 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u32>,
}

/// A connect link that was just made. Its address is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedLink {
    /// What may be seen of it from now on.
    #[serde(flatten)]
    pub link: LinkView,
    /// Its address, for a browser. Only the path where the server was not told its public URL.
    #[schema(value_type = String)]
    pub url: Hidden,
}
