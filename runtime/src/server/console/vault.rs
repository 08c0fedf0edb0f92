//! Where credentials lie encrypted, for admins: whether all of it opens, and another master key. No key and no credential
//! is ever on a page; what is shown are ids that tell nothing of either.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::frame::{self, Part, Wrong, alert};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::caller::Act;
use crate::server::model::VaultReport;
use crate::server::problem::Problem;
use crate::server::routes;

/// Records that a page names at most.
const NAMED: usize = 100;

/// What the settings have of it.
pub(super) fn part(api: &Api, visitor: &Visitor) -> Markup {
    let (vault, _) = api.accounts.vault();
    html! {
        h2 #vault { "Vault" }
        div .card {
            dl .facts {
                dt { "Master key" } dd { code { (vault.key_id()) } " seals" }
                dt { "Comes from" } dd { (vault.key_source()) " of the server’s" }
                dt { "Keys at hand" } dd { (vault.key_ids().len()) }
            }
        }
        p { "Every account has a data key of its own, and the master key wraps those. A check opens all of them, and shows none." }
        div .buttons {
            form method="post" action="/settings/vault/check" .inline { (visitor.key()) button { "Check the vault" } }
            a .button href="/settings/vault/rotate" { "Rotate the master key" }
        }
    }
}

pub(super) async fn check(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = posted.visitor;
    let found = routes::upkeep::check(State(api.clone()), visitor.caller.clone()).await?.0;
    let content = html! {
        p .crumb { a href="/settings" { "Settings" } }
        div .head { h1 { "The vault" } }
        (report(&found))
    };
    Ok(frame::page(&visitor, Part::Settings, "The vault", content))
}

fn report(found: &VaultReport) -> Markup {
    let all = found.opened + found.damaged.len() as u64;
    html! {
        @if found.damaged.is_empty() {
            div .notice .good role="status" { p { "All " (all) " records open." } }
        } @else {
            div .notice .bad role="alert" {
                p { strong { (found.damaged.len()) " of " (all) " records do not open." } }
                p { "Put a backup back, or have the accounts' owners reconnect them." }
            }
            h2 { "What does not open" }
            div .scroll tabindex="0" role="region" aria-label="What does not open" {
                table {
                    thead { tr { th scope="col" { "Record" } th scope="col" { "Why" } } }
                    tbody {
                        @for one in found.damaged.iter().take(NAMED) {
                            tr { td { code { (one.record) } } td { (one.reason) } }
                        }
                    }
                }
            }
            @if found.damaged.len() > NAMED {
                p .soft { "These are the first " (NAMED) "; all of them: " code { "keyhole vault check" } }
            }
        }
        h2 { "Master keys" }
        div .scroll tabindex="0" role="region" aria-label="Master keys" {
            table {
                thead { tr { th scope="col" { "Key" } th scope="col" .num { "Records" } th scope="col" { "State" } } }
                tbody {
                    @for one in &found.keys {
                        tr {
                            td { code { (one.key) } }
                            td .num { (one.records) }
                            td { @if one.key == found.seals { span .mark .good { "seals" } } @else { span .mark { "opens" } } }
                        }
                    }
                    @if found.keys.iter().all(|one| one.key != found.seals) {
                        tr { td { code { (found.seals) } } td .num { "0" } td { span .mark .good { "seals" } } }
                    }
                }
            }
        }
    }
}

pub(super) async fn ask_rotate(visitor: Visitor) -> Result<Response, Wrong> {
    visitor.caller.must(Act::KeepStore)?;
    Ok(frame::page(&visitor, Part::Settings, "Rotate the master key", confirm(&visitor, None)))
}

fn confirm(visitor: &Visitor, problem: Option<&Problem>) -> Markup {
    html! {
        p .crumb { a href="/settings" { "Settings" } }
        div .head { h1 { "Rotate the master key?" } }
        @if let Some(problem) = problem { (alert(problem)) }
        form .card method="post" {
            (visitor.key())
            p { "Another master key seals from then on, and every account's data key is wrapped by it anew. Runs go on meanwhile, \
                 and no account is reconnected." }
            ul {
                li { "Where the key is in a file, a fresh one is put into it, before the old one. " strong { "Back the file up afterwards, \
                     apart from the store: without it nobody opens the credentials." } }
                li { "Where keys come from a variable or a command, put a new one before the old one there first." }
                li { "The old key stays, since backups that were made with it need it. Once nothing does, it is forgotten from a \
                     terminal: " code { "keyhole vault forget KEY" } }
            }
            div .buttons { button .act { "Rotate the master key" } a href="/settings" { "Cancel" } }
        }
    }
}

pub(super) async fn rotate(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = posted.visitor;
    let rotated = match routes::upkeep::rotate(State(api.clone()), visitor.caller.clone()).await {
        Ok(rotated) => rotated.0,
        Err(problem) if problem.is("conflict") => {
            let content = confirm(&visitor, Some(&problem));
            return Ok(frame::again(&visitor, Part::Settings, &problem, "Rotate the master key", content));
        }
        Err(problem) => return Err(problem.into()),
    };
    let content = html! {
        p .crumb { a href="/settings" { "Settings" } }
        div .head { h1 { "The master key is rotated" } }
        p { code { (rotated.to) } " seals from now on. " code { (rotated.from) } " stays, for backups that were made with it." }
        (report(&rotated.report))
    };
    Ok(frame::page(&visitor, Part::Settings, "The master key is rotated", content))
}
