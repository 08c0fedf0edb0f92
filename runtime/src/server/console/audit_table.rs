//! Requests of the audit, as a table.

use keyhole_host_api::broker::Use;
use keyhole_host_api::broker::audit::Decision;
use maud::{Markup, html};

use super::parts::{ago, size, title_of};
use crate::server::Api;

pub(super) fn table(api: &Api, uses: &[Use]) -> Markup {
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
                            td { (ago(one.at)) }
                            td { (one.member) }
                            td { a href=(format!("/runs/{}", one.run)) { (tail(&one.run)) } br; small { (one.step) } }
                            td {
                                @if one.method.is_empty() { span .soft { "before a request" } }
                                @else { (one.method) " " (one.host) (one.path) }
                            }
                            td {
                                @if let Some(account) = &one.account {
                                    a href=(format!("/accounts/{account}")) {
                                        (one.app.as_deref().map_or_else(|| account.clone(), |app| title_of(api, app)))
                                    }
                                }
                            }
                            td {
                                @match (one.decision, one.status) {
                                    (Decision::Refused, _) => { span .mark .bad { "refused" } }
                                    (_, Some(status)) if status < 400 => { span .mark .good { (status) } }
                                    (_, Some(status)) => { span .mark .bad { (status) } }
                                    (_, None) => { span .mark .wait { "no answer" } }
                                }
                                @if let Some(reason) = &one.reason { br; small { (reason) } }
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
