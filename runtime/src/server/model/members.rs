//! Who shares the workspace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyhole_host_api::accounts::{AccountId, Departed};
use keyhole_host_api::members::{Member, MemberId, Role};
use keyhole_host_api::oauth::Upstream;
use keyhole_host_api::oidc::Binding;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hidden;
use super::accounts::told;
use crate::server::schema;

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// Their name.
    #[schema(value_type = String)]
    pub name: MemberId,
    /// What they may do.
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub added: Timestamp,
}

impl From<&Member> for MemberView {
    fn from(member: &Member) -> Self {
        Self { name: member.id.clone(), role: member.role, added: member.added }
    }
}

/// A member to add.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// The name: up to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9][a-z0-9._-]*$")]
    pub name: String,
    /// What they may do. Without it the first member is an admin, and the others are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Role>)]
    pub role: Option<Role>,
    /// Whether to make a link, too, by which they sign in to the console once, within 7 days.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invite: bool,
}

/// Another role.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// What the member may do from now on.
    #[schema(value_type = schema::Role)]
    pub role: Role,
}

/// A member who was just added, or invited again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct AddedMember {
    /// The member.
    #[serde(flatten)]
    pub member: MemberView,
    /// The address of the link, if one was asked for: it is shown this once. Only the path where the server was not told
    /// its public URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub invite: Option<Hidden>,
}

/// Who a member was at the OpenID provider.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Unbound {
    /// The member.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// The provider.
    pub issuer: String,
    /// The person, as the provider counts them.
    pub subject: String,
    /// What it called them.
    pub called: String,
}

impl From<Binding> for Unbound {
    fn from(binding: Binding) -> Self {
        let Binding { member, issuer, subject, called, .. } = binding;
        Self { member, issuer, subject, called }
    }
}

/// An account by its id and nickname.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
}

/// An account that was deleted with the member who had connected it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedWithMember {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// What became of its tokens at the service: `revoked`, `not_possible` or `failed`.
    pub upstream: String,
    /// Why they could not be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_error: Option<String>,
}

/// What stopped working when a member was removed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// The member.
    #[schema(value_type = String)]
    pub removed: MemberId,
    /// Their accounts, which were deleted.
    pub deleted: Vec<DeletedWithMember>,
    /// Others' accounts that they could use.
    pub revoked: Vec<Named>,
    /// The workflows that stop working, `OWNER/NAME`: theirs, and others' that used their accounts.
    pub workflows: Vec<String>,
}

impl Removed {
    /// What `departed` tells of `member`, and `upstream` of each account at its service.
    pub fn new(
        member: MemberId,
        departed: Departed,
        mut upstream: BTreeMap<AccountId, Upstream>,
        workflows: Vec<String>,
    ) -> Self {
        let deleted = departed.deleted.into_iter().map(|(id, nickname)| {
            let (upstream, upstream_error) = told(upstream.remove(&id).unwrap_or(Upstream::NotPossible));
            DeletedWithMember { id, nickname, upstream, upstream_error }
        });
        let revoked = departed.revoked.into_iter().map(|(id, nickname)| Named { id, nickname });
        Self { removed: member, deleted: deleted.collect(), revoked: revoked.collect(), workflows }
    }
}
