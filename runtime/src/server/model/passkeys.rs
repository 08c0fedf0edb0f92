//! Members' passkeys.

use jiff::Timestamp;
use keyhole_host_api::passkeys::Passkey;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A passkey, by which its member signs in to the console.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PasskeyView {
    /// The passkey's id.
    pub id: String,
    /// What its member calls it.
    pub name: String,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it last signed its member in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub last_used: Option<Timestamp>,
}

impl From<Passkey> for PasskeyView {
    fn from(passkey: Passkey) -> Self {
        let Passkey { id, name, created, last_used, .. } = passkey;
        Self { id: id.to_string(), name, created, last_used }
    }
}
