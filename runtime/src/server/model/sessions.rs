//! Where members are signed in to the console, and the links that sign them in.

use jiff::Timestamp;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::tokens::{NewLink, Session, SignIn};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hidden;

/// A browser that is signed in to the console.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// The session's id.
    pub id: String,
    /// What the browser calls itself.
    pub browser: String,
    /// When it was signed in.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Until when it stays so at most. One that nobody uses ends a day after its last use.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    pub last_used: Timestamp,
    /// Whether the call was made with it.
    pub current: bool,
}

impl SessionView {
    /// What its member sees of `session`.
    pub fn new(session: Session, current: bool) -> Self {
        let Session { id, browser, created, expires, last_used, .. } = session;
        Self { id: id.to_string(), browser, created, expires, last_used, current }
    }
}

/// That a member is signed in nowhere any more.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignedOut {
    /// The member.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// Sessions that were ended.
    pub ended: usize,
}

/// A link to make, which signs the caller in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSignInLink {
    /// For how many seconds it is valid; a quarter of an hour if nothing is said, 7 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u32>,
}

/// A sign-in link that was just made. Its address is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedSignInLink {
    /// Its id.
    pub id: String,
    /// Whom it signs in.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Until when it is valid.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// Its address, for a browser. Only the path where the server was not told its public URL.
    #[schema(value_type = String)]
    pub url: Hidden,
}

impl CreatedSignInLink {
    /// `made`, which is at `url`.
    pub fn new(made: NewLink<SignIn>, url: Hidden) -> Self {
        let link = made.link;
        Self { id: link.id.to_string(), member: link.member, created: link.created, expires: link.expires, url }
    }
}
