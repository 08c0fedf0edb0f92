//! What the audit tells, as a table.

use std::collections::{BTreeSet, HashMap};

use keyhole_host_api::broker::Use;
use keyhole_host_api::broker::audit::{Act, Decision, Told};
use maud::{Markup, html};

use super::parts::{ago, size, title_of};
use super::session::Visitor;
use crate::server::Api;
use crate::server::model::AccountView;
use crate::server::problem::Problem;

/// What accounts are called, of those that there are and that the reader may see.
pub(super) struct Nicknames(HashMap<String, String>);

impl Nicknames {
    /// Of the accounts in `told`.
    pub(super) async fn of(api: &Api, visitor: &Visitor, told: &[Told]) -> Result<Self, Problem> {
        let named: BTreeSet<&str> = told.iter().filter_map(account_of).collect();
        if named.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let rows = api.accounts.rows(&visitor.member.id).await?;
        let rows = rows.iter().map(|row| (row.id().to_string(), row.nickname()));
        let named = rows.filter(|(id, _)| named.contains(id.as_str()));
        Ok(Self(named.map(|(id, nickname)| (id, nickname.to_owned())).collect()))
    }

    /// Of this account alone.
    pub(super) fn of_one(account: &AccountView) -> Self {
        Self([(account.id.to_string(), account.nickname.clone())].into())
    }
}

fn account_of(told: &Told) -> Option<&str> {
    match told {
        Told::Use(used) => used.account.as_deref(),
        Told::Act(act) => act.account.as_deref(),
    }
}

pub(super) fn table(api: &Api, told: &[Told], nicknames: &Nicknames) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="The audit" {
            table {
                thead {
                    tr {
                        th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "By" }
                        th scope="col" { "What" } th scope="col" { "Account" } th scope="col" { "Outcome" }
                        th scope="col" .num { "Sent" } th scope="col" .num { "Got" }
                    }
                }
                tbody {
                    @for one in told {
                        @match one {
                            Told::Use(used) => { (request(api, used, nicknames)) }
                            Told::Act(done) => { (act(api, done, nicknames)) }
                        }
                    }
                }
            }
        }
    }
}

fn request(api: &Api, used: &Use, nicknames: &Nicknames) -> Markup {
    html! {
        tr {
            td { (ago(used.at)) }
            td { (used.member) }
            td { "run " a href=(format!("/runs/{}", used.run)) { (tail(&used.run)) } br; small { (used.step) } }
            td {
                @if used.method.is_empty() { span .soft { "before a request" } }
                @else { (used.method) " " (used.host) (used.path) }
            }
            td { (account(api, used.account.as_deref(), used.app.as_deref(), nicknames)) }
            td {
                @match (used.decision, used.status) {
                    (Decision::Refused, _) => { span .mark .bad { "refused" } }
                    (_, Some(status)) if status < 400 => { span .mark .good { (status) } }
                    (_, Some(status)) => { span .mark .bad { (status) } }
                    (_, None) => { span .mark .wait { "no answer" } }
                }
                @if let Some(reason) = &used.reason { br; small { (reason) } }
            }
            td .num { (size(used.bytes_out)) }
            td .num { (size(used.bytes_in)) }
        }
    }
}

fn act(api: &Api, act: &Act, nicknames: &Nicknames) -> Markup {
    html! {
        tr {
            td { (ago(act.at)) }
            td { @if let Some(member) = &act.member { (member) } @else { span .soft { "nobody known" } } }
            td {
                (act.by.as_deref().unwrap_or(""))
                @if let Some(from) = act.from { br; small { "from " (from) } }
            }
            td {
                code { (act.act) }
                @if let Some(about) = act.about.as_ref().filter(|about| Some(*about) != act.member.as_ref()) { " " (about) }
                @if let Some(detail) = &act.detail { br; small { (detail) } }
            }
            td { (account(api, act.account.as_deref(), act.app.as_deref(), nicknames)) }
            td {
                @match act.decision {
                    Decision::Allowed => { span .mark .good { "done" } }
                    Decision::Refused => { span .mark .bad { "refused" } }
                }
                @if let Some(reason) = &act.reason { br; small { (reason) } }
            }
            td {} td {}
        }
    }
}

/// An account by its nickname; one that is not there any more by its app and its id.
fn account(api: &Api, id: Option<&str>, app: Option<&str>, nicknames: &Nicknames) -> Markup {
    let title = app.map(|app| title_of(api, app));
    html! {
        @match (id, id.and_then(|id| nicknames.0.get(id))) {
            (Some(id), Some(nickname)) => {
                bdi { a href=(format!("/accounts/{id}")) { (nickname) } }
                @if let Some(title) = title { br; small { (title) } }
            }
            (Some(id), None) => {
                @if let Some(title) = title { (title) " " }
                span .soft title=(id) { "…" (tail(id)) }
            }
            (None, _) => { (title.as_deref().unwrap_or("")) }
        }
    }
}

/// The end of an id, which tells it from its neighbours.
pub(super) fn tail(id: &str) -> &str {
    id.get(id.len().saturating_sub(6)..).unwrap_or(id)
}
