//! Looking at the audit.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::server::schema;

/// Which records of the audit to list.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only this account, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only runs on behalf of this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Only this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Only since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only those that were allowed, or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Decision>)]
    pub decision: Option<keyhole_host_api::broker::Decision>,
    /// At most so many, the newest.
    #[serde(default = "some_records")]
    #[param(default = 100, minimum = 0)]
    pub limit: u32,
}

const fn some_records() -> u32 {
    100
}
