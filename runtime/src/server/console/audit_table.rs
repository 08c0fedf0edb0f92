//! What the audit tells, as a table. It links what the visitor can open.

use std::collections::{BTreeSet, HashMap, HashSet};

use keyhole_host_api::broker::Use;
use keyhole_host_api::broker::audit::{Act, Decision, Told};
use maud::{Markup, html};

use super::parts::{size, title_of, when};
use super::room::brief;
use super::session::Visitor;
use crate::server::Api;
use crate::server::problem::Problem;
use crate::server::routes;

/// Characters of where a request went or what was done, and of why it was refused.
const ADDRESS: usize = 200;
const REASON: usize = 160;
/// Characters of what an account is called.
const NICKNAME: usize = 60;

/// Accounts that the visitor can look at, by their ids, and what they are called.
pub(super) struct Nicknames(HashMap<String, String>);

impl Nicknames {
    /// Of those of the accounts `ids` that the visitor can look at.
    pub(super) async fn of<'i>(
        api: &Api,
        visitor: &Visitor,
        ids: impl Iterator<Item = &'i str>,
    ) -> Result<Self, Problem> {
        let named: BTreeSet<&str> = ids.collect();
        if named.is_empty() {
            return Ok(Self(HashMap::new()));
        }
        let rows = api.accounts.rows(&visitor.member.id).await?;
        let rows = rows.iter().filter(|row| named.contains(row.id().as_str()));
        Ok(Self(rows.map(|row| (row.id().to_string(), row.nickname().to_owned())).collect()))
    }

    /// What the account is called, if the visitor can look at it.
    pub(super) fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

fn account_of(told: &Told) -> Option<&str> {
    match told {
        Told::Use(used) => used.account.as_deref(),
        Told::Act(act) => act.account.as_deref(),
    }
}

/// What the rows name and link.
struct Known<'a> {
    api: &'a Api,
    nicknames: Nicknames,
    /// Runs are their owner's alone, and some are gone.
    runs: HashSet<&'a str>,
}

/// A table of what was `told`.
pub(super) async fn table(api: &Api, visitor: &Visitor, told: &[Told]) -> Result<Markup, Problem> {
    let nicknames = Nicknames::of(api, visitor, told.iter().filter_map(account_of)).await?;
    let mut runs = HashSet::new();
    let used = told.iter().filter_map(|one| if let Told::Use(used) = one { Some(used) } else { None });
    for one in used.filter(|one| one.member == visitor.member.id.as_str()) {
        if !runs.contains(one.run.as_str()) && routes::runs::is_open(api, &visitor.caller, &one.run).await? {
            runs.insert(one.run.as_str());
        }
    }
    Ok(rows(&Known { api, nicknames, runs }, told))
}

fn rows(known: &Known<'_>, told: &[Told]) -> Markup {
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
                            Told::Use(used) => { (request(known, used)) }
                            Told::Act(done) => { (act(known, done)) }
                        }
                    }
                }
            }
        }
    }
}

fn request(known: &Known<'_>, used: &Use) -> Markup {
    html! {
        tr {
            td { (when(used.at)) }
            td { (used.member) }
            td {
                "run "
                @if known.runs.contains(used.run.as_str()) { a href=(format!("/runs/{}", used.run)) { (tail(&used.run)) } }
                @else { (tail(&used.run)) }
                br; small { (used.step) }
            }
            td {
                @if used.method.is_empty() { span .soft { "before a request" } }
                @else { (used.method) " " (brief(&format!("{}{}", used.host, used.path), ADDRESS)) }
            }
            td { (account(known, used.account.as_deref(), used.app.as_deref())) }
            td {
                @match (used.decision, used.status) {
                    (Decision::Refused, _) => { span .mark .bad { "refused" } }
                    (_, Some(status)) if status < 400 => { span .mark .good { (status) } }
                    (_, Some(status)) => { span .mark .bad { (status) } }
                    (_, None) => { span .mark .wait { "no answer" } }
                }
                @if let Some(reason) = &used.reason { br; small { (brief(reason, REASON)) } }
            }
            td .num { (size(used.bytes_out)) }
            td .num { (size(used.bytes_in)) }
        }
    }
}

fn act(known: &Known<'_>, act: &Act) -> Markup {
    html! {
        tr {
            td { (when(act.at)) }
            td { @if let Some(member) = &act.member { (member) } @else { span .soft { "nobody known" } } }
            td {
                (act.by.as_deref().unwrap_or(""))
                @if let Some(from) = act.from { br; small { "from " (from) } }
            }
            td {
                code { (act.act) }
                @if let Some(about) = act.about.as_ref().filter(|about| Some(*about) != act.member.as_ref()) { " " (about) }
                @if let Some(detail) = &act.detail { br; small { (brief(detail, ADDRESS)) } }
            }
            td { (account(known, act.account.as_deref(), act.app.as_deref())) }
            td {
                @match act.decision {
                    Decision::Allowed => { span .mark .good { "done" } }
                    Decision::Refused => { span .mark .bad { "refused" } }
                }
                @if let Some(reason) = &act.reason { br; small { (brief(reason, REASON)) } }
            }
            td {} td {}
        }
    }
}

/// An account by its nickname; one that the visitor can't look at, or that is gone, by its app and its id.
fn account(known: &Known<'_>, id: Option<&str>, app: Option<&str>) -> Markup {
    let title = app.map(|app| title_of(known.api, app));
    html! {
        @match (id, id.and_then(|id| known.nicknames.get(id))) {
            (Some(id), Some(nickname)) => {
                bdi { a href=(format!("/accounts/{id}")) { (brief(nickname, NICKNAME)) } }
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
