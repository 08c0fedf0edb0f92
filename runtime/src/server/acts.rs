//! Telling the audit what was done, and by whom, before it is answered: a call that can't be recorded fails.

use keyhole_host_api::accounts::{Connected, What};
use keyhole_host_api::broker::audit::Act;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::oauth::Origin;

use super::Api;
use super::caller::{Caller, LocalOperator, Peer};
use super::guard::ToldFailures;
use super::problem::Problem;

impl Api {
    /// Records what `caller` did.
    pub(super) async fn did(&self, caller: &Caller, act: Act) -> Result<(), Problem> {
        self.record(match caller {
            Caller::Member(member, proof, peer) => act.member(&member.id).by(proof).from(peer.address()),
            Caller::Operator(LocalOperator { acting_as: Some(member) }) => act.member(member).by("operator"),
            Caller::Operator(LocalOperator { acting_as: None }) => act.by("operator"),
        })
        .await
    }

    /// Records what was done by somebody who is no caller of the API.
    pub(super) async fn record(&self, act: Act) -> Result<(), Problem> {
        Ok(self.broker.audit().act(act).await?)
    }

    /// Counts what somebody failed to prove, and records it, unless there was too much of that.
    pub(super) async fn failed_to(
        &self,
        act: &str,
        peer: Peer,
        by: &str,
        reason: impl ToString,
    ) -> Result<(), Problem> {
        self.failed.note(peer.0)?;
        self.tell(&self.told, Act::refused(act, reason).by(by).from(peer.address())).await
    }

    /// Records that a connection came to nothing, unless there was too much of that. It is no limit of the others: whoever
    /// has a link must not keep a failed sign-in from being told of.
    pub(super) async fn came_to_nothing(&self, act: Act) -> Result<(), Problem> {
        self.tell(&self.told_connecting, act).await
    }

    async fn tell(&self, within: &ToldFailures, act: Act) -> Result<(), Problem> {
        let Some(untold) = within.count() else { return Ok(()) };
        self.record(match untold {
            0 => act,
            more => act.detail(format!("{more} more before it are not recorded")),
        })
        .await
    }
}

/// That an account was connected, or connected anew.
pub(super) fn connected(connected: &Connected) -> Act {
    let account = &connected.account;
    let again = account.history.iter().any(|event| event.what == What::Reconnected);
    Act::done(connecting(again)).account(&account.id, &account.app).about(&account.owner)
}

/// That what set out from `origin`, for `owner`, came to nothing.
pub(super) fn not_connected(origin: &Origin, owner: &MemberId, problem: &Problem) -> Act {
    let act = Act::refused(connecting(origin.account.is_some()), &problem.detail).about(owner);
    match &origin.account {
        Some(account) => act.account(account, &origin.app),
        None => act.app(&origin.app),
    }
}

fn connecting(again: bool) -> &'static str {
    if again { "accounts_reconnect" } else { "accounts_connect" }
}
