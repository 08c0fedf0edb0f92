//! Looking at the audit, and looking after it.

use jiff::Timestamp;
use keyhole_host_api::broker::Use;
use keyhole_host_api::broker::audit::{Act, Decision, Filter, Head, Kind, Status, Told};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::server::schema;

/// A query with every filter of the audit, and more.
macro_rules! filtered {
    ($(#[$about:meta])* $name:ident { $($more:tt)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
        #[serde(deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub struct $name {
            /// Only requests, or only acts.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[param(inline, value_type = Option<schema::Kind>)]
            pub kind: Option<Kind>,
            /// Only this account, by its id.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub account: Option<String>,
            /// Only what this member did, and runs on their behalf.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub member: Option<String>,
            /// Only this run.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub run: Option<String>,
            /// Only accounts for this app, and the app itself.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub app: Option<String>,
            /// Only requests to this host, with the port where it is not the scheme's own.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub host: Option<String>,
            /// Only those with this answer: one status, such as `404`, or a class, such as `4xx`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[param(value_type = Option<String>, pattern = "^([1-9][0-9]{2}|[1-9]xx)$")]
            pub status: Option<Status>,
            /// Only what was allowed, or refused.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[param(value_type = Option<schema::Decision>)]
            pub decision: Option<Decision>,
            /// Only from then on.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[param(value_type = Option<String>, format = DateTime)]
            pub since: Option<Timestamp>,
            /// Only before then.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[param(value_type = Option<String>, format = DateTime)]
            pub until: Option<Timestamp>,
            $($more)*
        }

        impl $name {
            /// The filter that it asks for.
            pub fn filter(&self) -> Filter {
                Filter {
                    kind: self.kind,
                    account: self.account.clone(),
                    member: self.member.clone(),
                    run: self.run.clone(),
                    app: self.app.clone(),
                    host: self.host.clone(),
                    status: self.status,
                    decision: self.decision,
                    since: self.since,
                    until: self.until,
                    concerning: None,
                }
            }
        }
    };
}

filtered! {
    /// What to tell of.
    AuditFilter {}
}

filtered! {
    /// What to list.
    AuditQuery {
        /// At most so many, the newest.
        #[serde(default = "some_records")]
        #[param(default = 100, minimum = 0, maximum = 10000)]
        pub limit: u32,
        /// Those before the page whose `Link` has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[param(pattern = "^[0-9a-f]+-[0-9A-Z]{26}-[0-9a-f]+$")]
        pub before: Option<String>,
    }
}

/// What one page lists at most.
pub const MOST_LISTED: u32 = 10_000;

const fn some_records() -> u32 {
    100
}

/// Something that the audit tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Audited {
    /// A step's request, or an account that was refused to it.
    Request(Use),
    /// What was done to the workspace.
    Act(Act),
}

impl From<Told> for Audited {
    fn from(told: Told) -> Self {
        match told {
            Told::Use(used) => Self::Request(used),
            Told::Act(act) => Self::Act(act),
        }
    }
}

/// What must be there still.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyAudit {
    /// The heads that an earlier call gave.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Head>, required = false)]
    pub heads: Vec<Head>,
}

/// What to remove.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneAudit {
    /// What was recorded before then.
    #[schema(value_type = String, format = DateTime)]
    pub before: Timestamp,
}
