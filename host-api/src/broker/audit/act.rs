//! What was done to the workspace itself: who signed in, or failed to; who was added, removed or given access; what
//! lets somebody in. Requests of steps are [`super::Use`]s.
//!
//! Never a secret: what lets somebody in is named by its id.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::{Decision, Phase, Told};
use super::{Audit, AuditError};

/// Something that was done, or that somebody failed to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// What, by the name that the API's document has for it: `members_add`. Text, so that a later version's can be read.
    pub act: String,
    /// Who did it, where that is a member.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub member: Option<String>,
    /// What they proved who they are with: `session ID`, `token ID`, `link`, `passkey`, `oidc`; `operator` is whoever has
    /// the data directory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// Whom it was done to: the member, or the one whose account, token or link it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
    /// The account that it was done to, by its id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub account: Option<String>,
    /// That account's app, or the app that it was done to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub app: Option<String>,
    /// More of it: the role, who has access now, which token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// From which address, where it came over the network.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<IpAddr>,
    /// Whether it was done.
    pub decision: Decision,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl Act {
    /// It was done, now.
    pub fn done(act: &str) -> Self {
        Self {
            at: Timestamp::now(),
            act: act.to_owned(),
            member: None,
            by: None,
            about: None,
            account: None,
            app: None,
            detail: None,
            from: None,
            decision: Decision::Allowed,
            reason: None,
        }
    }

    /// Somebody was kept from it, now.
    pub fn refused(act: &str, reason: impl ToString) -> Self {
        Self { decision: Decision::Refused, reason: Some(reason.to_string()), ..Self::done(act) }
    }

    /// By this member.
    #[must_use]
    pub fn member(self, member: impl ToString) -> Self {
        Self { member: Some(member.to_string()), ..self }
    }

    /// Who proved who they are with this.
    #[must_use]
    pub fn by(self, by: impl ToString) -> Self {
        Self { by: Some(by.to_string()), ..self }
    }

    /// To this member.
    #[must_use]
    pub fn about(self, about: impl ToString) -> Self {
        Self { about: Some(about.to_string()), ..self }
    }

    /// To this account.
    #[must_use]
    pub fn account(self, id: impl ToString, app: &str) -> Self {
        Self { account: Some(id.to_string()), ..self }.app(app)
    }

    /// To this app.
    #[must_use]
    pub fn app(self, app: &str) -> Self {
        Self { app: Some(app.to_owned()), ..self }
    }

    /// More of it.
    #[must_use]
    pub fn detail(self, detail: impl ToString) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }

    /// From there.
    #[must_use]
    pub fn from(self, from: Option<IpAddr>) -> Self {
        Self { from, ..self }
    }
}

impl Audit {
    /// Records what was done. Once this returns it may be answered.
    ///
    /// # Errors
    /// It is not recorded. What was done stays done.
    pub async fn act(&self, act: Act) -> Result<(), AuditError> {
        self.written(act).await.map_err(|error| match error {
            AuditError::Store(error) => AuditError::Act(error),
            other => other,
        })
    }

    async fn written(&self, act: Act) -> Result<(), AuditError> {
        self.look_around().await?;
        match self.append(Phase::Act, Told::Act(act))? {
            Some(durable) => Ok(durable.await?),
            None => Ok(()),
        }
    }
}
