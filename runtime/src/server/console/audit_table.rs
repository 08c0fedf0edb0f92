//! Requests of the audit, as a table.

use std::collections::HashSet;

use keyhole_host_api::broker::Use;
use keyhole_host_api::broker::audit::Decision;
use maud::{Markup, html};

use super::parts::{size, title_of, when};
use super::room::brief;
use super::session::Visitor;
use crate::server::Api;
use crate::server::problem::Problem;
use crate::server::routes;

/// Characters of where a request went, and of why it was refused.
const ADDRESS: usize = 200;
const REASON: usize = 160;

/// A table of `uses`. It links what the visitor can open: runs are their owner's alone, and some are gone.
pub(super) async fn table(api: &Api, visitor: &Visitor, uses: &[Use]) -> Result<Markup, Problem> {
    let accounts = seen_accounts(api, visitor, uses.iter().filter_map(|one| one.account.as_deref())).await?;
    let mut runs = HashSet::new();
    for one in uses.iter().filter(|one| one.member == visitor.member.id.as_str()) {
        if !runs.contains(one.run.as_str()) && routes::runs::is_open(api, &visitor.caller, &one.run).await? {
            runs.insert(one.run.as_str());
        }
    }
    Ok(rows(api, uses, &runs, &accounts))
}

/// Those of the accounts `ids` that the visitor can look at.
pub(super) async fn seen_accounts<'i>(
    api: &Api,
    visitor: &Visitor,
    ids: impl Iterator<Item = &'i str>,
) -> Result<HashSet<String>, Problem> {
    let mut seen: HashSet<String> = ids.map(str::to_owned).collect();
    if !seen.is_empty() {
        let rows = api.accounts.rows(&visitor.member.id).await?;
        let there: HashSet<&str> = rows.iter().map(|row| row.id().as_str()).collect();
        seen.retain(|id| there.contains(id.as_str()));
    }
    Ok(seen)
}

fn rows(api: &Api, uses: &[Use], runs: &HashSet<&str>, accounts: &HashSet<String>) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Requests" {
            table {
                thead {
                    tr {
                        th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "Run" }
                        th scope="col" { "Request" } th scope="col" { "Account" } th scope="col" { "Outcome" }
                        th scope="col" .num { "Sent" } th scope="col" .num { "Got" }
                    }
                }
                tbody {
                    @for one in uses {
                        tr {
                            td { (when(one.at)) }
                            td { (one.member) }
                            td {
                                @if runs.contains(one.run.as_str()) { a href=(format!("/runs/{}", one.run)) { (tail(&one.run)) } }
                                @else { (tail(&one.run)) }
                                br; small { (one.step) }
                            }
                            td {
                                @if one.method.is_empty() { span .soft { "before a request" } }
                                @else { (one.method) " " (brief(&format!("{}{}", one.host, one.path), ADDRESS)) }
                            }
                            td {
                                @if let Some(account) = &one.account {
                                    @let title = one.app.as_deref().map_or_else(|| account.clone(), |app| title_of(api, app));
                                    @if accounts.contains(account) { a href=(format!("/accounts/{account}")) { (title) } }
                                    @else { (title) }
                                }
                            }
                            td {
                                @match (one.decision, one.status) {
                                    (Decision::Refused, _) => { span .mark .bad { "refused" } }
                                    (_, Some(status)) if status < 400 => { span .mark .good { (status) } }
                                    (_, Some(status)) => { span .mark .bad { (status) } }
                                    (_, None) => { span .mark .wait { "no answer" } }
                                }
                                @if let Some(reason) = &one.reason { br; small { (brief(reason, REASON)) } }
                            }
                            td .num { (size(one.bytes_out)) }
                            td .num { (size(one.bytes_in)) }
                        }
                    }
                }
            }
        }
    }
}

/// The end of an id, which tells it from its neighbours.
pub(super) fn tail(id: &str) -> &str {
    id.get(id.len().saturating_sub(6)..).unwrap_or(id)
}
