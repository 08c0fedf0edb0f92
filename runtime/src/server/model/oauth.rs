//! Connecting by OAuth.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::ConnectedView;
use super::{Fields, Hidden, yes};

/// An account to connect by OAuth, or to connect anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartOAuth {
    /// The app. May be left out for an account that is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// What to call it; else what the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// The fields that the service does not give.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub fields: Fields,
    /// The scopes to ask for instead of the definition's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The id of the account to connect anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Whether it may come to belong to another identity at the service.
    #[serde(default)]
    pub other_identity: bool,
    /// Whether to ask the service whose it is before it is stored.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub test: bool,
    /// Where the browser is to come back to: a loopback address that the caller listens on.
    /// Needed for the browser's way alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// A connection that goes on in the browser.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct BegunView {
    /// Where to send the member.
    pub url: String,
    /// What the answer carries.
    pub state: String,
    /// Until when they have time.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

/// Where the browser came back.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishOAuth {
    /// The whole address, with its query.
    #[schema(value_type = String)]
    pub callback: Hidden,
}

/// A code to enter on another device.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    /// What to ask with whether it was entered.
    pub ticket: String,
    /// The code.
    pub user_code: String,
    /// Where to enter it.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// Until when there is time.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// How many milliseconds to wait before asking.
    pub interval: u64,
}

/// Asks whether the code was entered.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PollDevice {
    /// The ticket.
    #[schema(value_type = String)]
    pub ticket: Hidden,
}

/// Whether the code was entered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// Not yet. Ask again after so many milliseconds.
    Pending(u64),
    /// The account is connected.
    Connected(ConnectedView),
}
