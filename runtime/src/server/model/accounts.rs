//! Accounts, and what may be done with them.

use keyhole_host_api::accounts::{Access, AccountId, Event, Summary};
use keyhole_host_api::apps::CustomApp;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::oauth::Upstream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Fields, yes};
use crate::server::schema;

/// An account to connect with what the app's definition asks for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// The app, or `custom`.
    pub app: String,
    /// What to call it. Made up if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// The value of each field.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub fields: Fields,
    /// The definition, for the app `custom` and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::CustomApp>)]
    pub custom: Option<CustomApp>,
    /// Whether to ask the service first if it takes them. Only if it does, they are stored.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub test: bool,
}

/// New values for an account that is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredentials {
    /// The value of each field.
    #[schema(value_type = BTreeMap<String, String>)]
    pub fields: Fields,
    /// Whether to ask the service first if it takes them.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub test: bool,
    /// Whether they may belong to another identity at the service than those they replace.
    #[serde(default)]
    pub other_identity: bool,
}

/// An account that was connected.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectedView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its app.
    pub app: String,
    /// Its nickname.
    pub nickname: String,
    /// Who owns it.
    #[schema(value_type = String)]
    pub owner: MemberId,
    /// Who else may use it.
    #[schema(value_type = schema::Access)]
    pub access: Access,
    /// What its owner should know.
    pub warnings: Vec<String>,
}

impl From<keyhole_host_api::accounts::Connected> for ConnectedView {
    fn from(connected: keyhole_host_api::accounts::Connected) -> Self {
        let (account, warnings) = (connected.account, connected.warnings);
        Self {
            id: account.id,
            app: account.app,
            nickname: account.nickname,
            owner: account.owner,
            access: account.access,
            warnings,
        }
    }
}

/// Another nickname.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The nickname: one line of at most 100 characters.
    pub nickname: String,
}

/// Who may use an account from now on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAccess {
    /// Who, besides its owner.
    #[schema(value_type = schema::Access)]
    pub access: Access,
    /// What it was when the console's form was made. A program that wants one grant more or less says just that.
    #[serde(skip)]
    pub was: Option<Access>,
}

/// One member more who may use an account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The member.
    #[schema(min_length = 1)]
    pub member: String,
}

/// An account's access after a change of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessView {
    /// The account's id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// Who may use it besides its owner.
    #[schema(value_type = schema::Access)]
    pub access: Access,
}

impl From<keyhole_host_api::accounts::Account> for AccessView {
    fn from(account: keyhole_host_api::accounts::Account) -> Self {
        Self { id: account.id, nickname: account.nickname, access: account.access }
    }
}

/// An account that was deleted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// Its id.
    #[schema(value_type = String)]
    pub deleted: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// What became of its tokens at the service: `revoked`, `not_possible` or `failed`.
    pub upstream: String,
    /// Why they could not be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_error: Option<String>,
    /// The workflows that used it, `OWNER/NAME`, and stop working.
    pub workflows: Vec<String>,
}

impl Deleted {
    /// What became of it here and at the service.
    pub fn new(deleted: AccountId, nickname: String, upstream: Upstream, workflows: Vec<String>) -> Self {
        let (upstream, upstream_error) = told(upstream);
        Self { deleted, nickname, upstream, upstream_error, workflows }
    }
}

/// An account, and the workflows that use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountView {
    /// What may be seen of it.
    #[serde(flatten)]
    pub account: Summary,
    /// The workflows that use it, `OWNER/NAME`: all to its owner and to an admin, their own to others.
    pub workflows: Vec<String>,
    /// The scopes that those say they need, where the account is shown by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// What happened to it, oldest first, where it is shown by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Event>,
}

/// A scope that workflows need of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Need {
    /// The scope.
    pub scope: String,
    /// The workflows, `OWNER/NAME`.
    pub workflows: Vec<String>,
    /// Whether the service granted it. Null where it did not say, and for accounts without OAuth.
    pub granted: Option<bool>,
}

impl std::ops::Deref for AccountView {
    type Target = Summary;

    fn deref(&self) -> &Summary {
        &self.account
    }
}

/// What became of tokens at the service, and why they could not be revoked.
pub(super) fn told(upstream: Upstream) -> (String, Option<String>) {
    match upstream {
        Upstream::Revoked => ("revoked".to_owned(), None),
        Upstream::NotPossible => ("not_possible".to_owned(), None),
        Upstream::Failed(why) => ("failed".to_owned(), Some(why)),
    }
}

/// Which accounts to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccountsQuery {
    /// Only those of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}

/// What came of a test of an account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tested {
    /// The account's id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// Whether the service takes its credentials. Null if its app has no way to tell.
    pub works: Option<bool>,
    /// What the service said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
