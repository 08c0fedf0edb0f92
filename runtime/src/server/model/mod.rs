//! What goes over the wire where it is not a type of `keyhole_host_api` itself: requests,
//! and answers made of several of those. The CLI reads and writes the same types.

mod accounts;
mod apps;
mod audit;
mod data;
mod members;
mod oauth;
mod passkeys;
mod sessions;
mod tokens;
mod vault;
mod workflows;

use std::collections::BTreeMap;
use std::fmt;

use keyhole_host_api::members::{MemberId, Role};
use keyhole_host_api::vault::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

pub use accounts::{
    AccessView, AccountView, AccountsQuery, ConnectedView, Deleted, Grant, Need, NewAccount, NewCredentials, Rename,
    SetAccess, Tested,
};
pub use apps::{AppSummary, AppView, FieldView, Forgotten, NewApp, NewClient, OAuthView};
pub use audit::{AuditFilter, AuditQuery, MOST_LISTED, PruneAudit, VerifyAudit};
pub use data::{Cleared, DataStoreView, EntriesQuery, EntryView, KeyQuery, NewEntry};
pub use members::{AddedMember, DeletedWithMember, MemberView, Named, NewMember, Removed, SetRole, Unbound};
pub use oauth::{BegunView, DeviceState, DeviceView, FinishOAuth, PollDevice, StartOAuth};
pub use passkeys::PasskeyView;
pub use sessions::{CreatedSignInLink, NewSignInLink, SessionView, SignedOut};
pub use tokens::{CreatedLink, CreatedToken, LinkView, NewLink, NewToken, TokenView, TokensQuery};
pub use vault::{DamageView, ForgottenKey, KeyUse, MasterKey, RestoreQuery, RestoredView, RotatedView, VaultReport};
pub use workflows::{
    ComponentView, DeployedView, ErrorView, LiveView, NewRun, NewWorkflow, RetryRun, RunDetail, RunView, RunsQuery,
    SetWorkflow, StartedRun, StepView, WorkflowName, WorkflowView, hook_path, status_of,
};

use super::schema;

/// A value of an account's field on its way in. It is never part of an answer.
#[derive(Clone)]
pub struct Hidden(pub Secret);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("‹hidden›")
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// For the CLI, which has to send it.
impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// The values of an account's fields, by their names.
pub type Fields = BTreeMap<String, Hidden>;

/// The fields as the accounts take them.
pub fn secrets(fields: Fields) -> BTreeMap<String, Secret> {
    fields.into_iter().map(|(name, Hidden(value))| (name, value)).collect()
}

/// The fields as they are sent.
pub fn hidden(fields: BTreeMap<String, Secret>) -> Fields {
    fields.into_iter().map(|(name, value)| (name, Hidden(value))).collect()
}

const fn yes() -> bool {
    true
}

/// That the server is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    /// Always true: a server that can't read its store answers with a problem.
    pub ok: bool,
    /// The program's version.
    pub version: String,
}

/// Who the caller is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The member.
    #[schema(value_type = String)]
    pub name: MemberId,
    /// What they may do.
    #[schema(value_type = schema::Role)]
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};

    use static_assertions::assert_not_impl_any;

    use super::*;

    // What is shown once, or proves who is connecting, is sent and never printed.
    assert_not_impl_any!(CreatedToken: Debug, Display);
    assert_not_impl_any!(CreatedLink: Debug, Display);
    assert_not_impl_any!(CreatedSignInLink: Debug, Display);
    assert_not_impl_any!(AddedMember: Debug, Display);
    assert_not_impl_any!(BegunView: Debug, Display);
    assert_not_impl_any!(DeviceView: Debug, Display);

    #[test]
    fn sealed_what_a_member_gives_is_not_printed() {
        let given = r#"{"app": "acme", "fields": {"token": "xoxb-correct-horse"}}"#;
        let account: NewAccount = serde_json::from_str(given).unwrap();
        let shown = format!("{account:?}");
        assert!(shown.contains("token") && shown.contains("‹hidden›") && !shown.contains("horse"), "{shown}");
        let given = r#"{"fields": {"token": "xoxb-correct-horse"}}"#;
        let credentials: NewCredentials = serde_json::from_str(given).unwrap();
        assert!(!format!("{credentials:?}").contains("horse"));
        assert_eq!(format!("{:?}", Hidden(Secret::new("correct-horse".to_owned()))), "‹hidden›");
    }
}
