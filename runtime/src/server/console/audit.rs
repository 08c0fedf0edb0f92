//! The audit: which requests steps made with whose accounts, the newest first, and whether the record of them is whole.
//! Who sees what of it is decided where it is read; a filter only narrows that.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use keyhole_host_api::broker::audit::{Decision, Finding, Status, Verified};
use maud::{Markup, html};
use serde::Deserialize;

use super::audit_table;
use super::frame::{self, Part, Wrong, alert};
use super::parts::ago;
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{AuditQuery, VerifyAudit};
use crate::server::problem::Problem;
use crate::server::routes;

/// Requests on one page.
const ROWS: u32 = 50;
/// Records that one page looks at, to find those that fit.
pub(super) const LOOKS: usize = 4000;

/// What the form sends: what is empty was not asked for.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    account: String,
    member: String,
    run: String,
    app: String,
    host: String,
    status: String,
    decision: String,
    since: String,
    until: String,
    before: String,
}

impl Asked {
    async fn query(&self, api: &Arc<Api>, visitor: &Visitor) -> Result<AuditQuery, Problem> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let account = match given(&self.account) {
            Some(named) => Some(account(api, visitor, named).await?),
            None => None,
        };
        let status = given(&self.status).map(|status| status.parse::<Status>().map_err(Problem::wrong)).transpose()?;
        let decision = match self.decision.as_str() {
            "" => None,
            "allowed" => Some(Decision::Allowed),
            "refused" => Some(Decision::Refused),
            _ => return Err(Problem::wrong("there is no such decision").help("choose allowed or refused")),
        };
        Ok(AuditQuery {
            account,
            member: given(&self.member),
            run: given(&self.run),
            app: given(&self.app),
            host: given(&self.host),
            status,
            decision,
            since: time(&self.since)?,
            until: time(&self.until)?,
            limit: ROWS,
            before: given(&self.before),
        })
    }

    fn filters(&self) -> [(&'static str, &str); 9] {
        [
            ("account", self.account.as_str()),
            ("member", self.member.as_str()),
            ("run", self.run.as_str()),
            ("app", self.app.as_str()),
            ("host", self.host.as_str()),
            ("status", self.status.as_str()),
            ("decision", self.decision.as_str()),
            ("since", self.since.as_str()),
            ("until", self.until.as_str()),
        ]
    }

    /// The address of a page with the same filters.
    fn address(&self, before: Option<&str>) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(self.filters().into_iter().filter(|(_, value)| !value.is_empty()));
        pairs.extend_pairs(before.map(|before| ("before", before)));
        format!("/audit?{}", pairs.finish())
    }
}

/// The id of the account that is meant: also one that is deleted has its requests in the audit.
async fn account(api: &Arc<Api>, visitor: &Visitor, named: String) -> Result<String, Problem> {
    let found = routes::accounts::show(State(api.clone()), visitor.caller.clone(), Path(named.clone())).await;
    match found {
        Ok(account) => Ok(account.0.id.to_string()),
        Err(problem) if problem.is("not-there") => Ok(named),
        Err(problem) => Err(problem),
    }
}

/// A time as the form's inputs write it, which know no zones, or a whole timestamp.
pub(super) fn time(text: &str) -> Result<Option<Timestamp>, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let civil = || text.parse::<DateTime>().ok().and_then(|time| TimeZone::UTC.to_timestamp(time).ok());
    match text.parse::<Timestamp>().ok().or_else(civil) {
        Some(time) => Ok(Some(time)),
        None => Err(Problem::wrong(format!("'{text}' is no time")).help("write one such as 2026-03-01T08:00, in UTC")),
    }
}

/// The same time, as an input for times takes it.
pub(super) fn input_value(text: &str) -> String {
    time(text).ok().flatten().map(|time| time.strftime("%Y-%m-%dT%H:%M:%S").to_string()).unwrap_or_default()
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response, Wrong> {
    let page = match asked.query(&api, &visitor).await {
        Ok(query) => routes::audit::page(&api, &visitor.caller, &query, LOOKS).await,
        Err(problem) => Err(problem),
    };
    let mut page = match page {
        Ok(page) => page,
        Err(problem) if problem.code().is_server_error() => return Err(problem.into()),
        Err(problem) => {
            let content = html! { (head(&visitor)) (alert(&problem)) (form(&visitor, &asked)) };
            return Ok(frame::again(&visitor, Part::Audit, &problem, "Audit", content));
        }
    };
    page.uses.reverse();
    let table = audit_table::table(&api, &visitor, &page.uses).await?;
    let content = html! {
        (head(&visitor))
        (form(&visitor, &asked))
        @if page.uses.is_empty() && page.before.is_some() {
            p .soft role="status" { "None of the " (LOOKS) " records that were looked at fits. There are older ones." }
        } @else if page.uses.is_empty() { p .soft role="status" { "No request is recorded that fits." } }
        @else { (table) }
        nav .pages aria-label="Pages" {
            span { @if !asked.before.is_empty() { a href=(asked.address(None)) { "Newest" } } }
            span {
                @if let Some(before) = &page.before {
                    a href=(asked.address(Some(before))) rel="next" { "Older" }
                }
            }
        }
    };
    Ok(frame::page(&visitor, Part::Audit, "Audit", content))
}

fn head(visitor: &Visitor) -> Markup {
    html! {
        div .head {
            h1 { "Audit" }
            @if visitor.is_admin() {
                form method="post" action="/audit/verify" { (visitor.key()) button { "Verify" } }
            }
        }
        @if !visitor.is_admin() { p .soft { "Requests on your behalf, and with your accounts. An admin sees all." } }
    }
}

fn form(visitor: &Visitor, asked: &Asked) -> Markup {
    let texts = [
        ("account", "Account", "nickname or id", &asked.account),
        ("app", "App", "slack", &asked.app),
        ("host", "Host", "api.example.com", &asked.host),
        ("run", "Run", "its id", &asked.run),
        ("status", "Answer", "404 or 4xx", &asked.status),
    ];
    let times = [("since", "Since (UTC)", &asked.since), ("until", "Before (UTC)", &asked.until)];
    let any = asked.filters().iter().any(|(_, value)| !value.is_empty());
    html! {
        details .card open[any] {
            summary { "Filters" }
            form .line role="search" action="/audit" {
                @for (name, label, example, value) in texts {
                    div {
                        label for=(name) { (label) }
                        input id=(name) name=(name) value=(value) placeholder=(example) autocomplete="off" spellcheck="false";
                    }
                }
                div {
                    label for="member" { "On behalf of" }
                    input #member name="member" value=(asked.member) placeholder=(visitor.member.id) autocomplete="off"
                        autocapitalize="none" spellcheck="false";
                }
                div {
                    label for="decision" { "Decision" }
                    select #decision name="decision" {
                        option value="" { "any" }
                        @for decision in ["allowed", "refused"] {
                            option value=(decision) selected[asked.decision == decision] { (decision) }
                        }
                    }
                }
                @for (name, label, value) in times {
                    div {
                        label for=(name) { (label) }
                        input id=(name) name=(name) type="datetime-local" step="1" value=(input_value(value));
                    }
                }
                button { "Filter" }
                @if any { a href="/audit" { "Show all" } }
            }
        }
    }
}

pub(super) async fn verify(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = posted.visitor;
    let asked = Body(VerifyAudit::default());
    let verified = routes::audit::verify(State(api.clone()), visitor.caller.clone(), asked).await?.0;
    let content = html! {
        p .crumb { a href="/audit" { "Audit" } }
        div .head { h1 { @if verified.wrong == 0 { "The audit is whole" } @else { "The audit is not whole" } } }
        (report(&verified))
    };
    Ok(frame::page(&visitor, Part::Audit, "The audit is verified", content))
}

fn report(verified: &Verified) -> Markup {
    html! {
        @if verified.wrong == 0 {
            div .notice .good role="status" {
                p { (verified.records) " records of " (verified.writers) " writers: all are as they were written, and none is missing." }
            }
        } @else {
            div .notice .bad role="alert" {
                p {
                    strong { (verified.wrong) @if verified.wrong == 1 { " thing is wrong" } @else { " things are wrong" } }
                    " in " (verified.records) " records of " (verified.writers) " writers."
                }
            }
        }
        @if verified.unkeyed > 0 {
            div .notice .wait {
                p { (verified.unkeyed) " of them are of an older version and have no key: whoever could write the store could have \
                     made them." }
            }
        }
        @if !verified.findings.is_empty() { (findings(&verified.findings)) }
        p .soft {
            "Records that were cut off the end show by what others saw of them, and by their hashes kept elsewhere: "
            code { "keyhole audit verify --save-heads FILE" }
        }
    }
}

fn findings(all: &[Finding]) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="What is wrong" {
            table {
                thead {
                    tr {
                        th scope="col" { "When" } th scope="col" { "Writer" } th scope="col" .num { "Record" }
                        th scope="col" { "What is wrong" }
                    }
                }
                tbody {
                    @for one in all {
                        tr {
                            td { @if let Some(at) = one.at { (ago(at)) } }
                            td { (one.writer.as_deref().or(one.place.as_deref()).unwrap_or("")) }
                            td .num { @if let Some(seq) = one.seq { (seq) } }
                            td { (one) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_form_are_utc_and_what_is_none_is_said_so() {
        let utc = |text: &str| time(text).unwrap().unwrap().to_string();
        assert_eq!(utc("2026-03-01T08:00"), "2026-03-01T08:00:00Z");
        assert_eq!(utc(" 2026-03-01T08:00:05 "), "2026-03-01T08:00:05Z");
        assert_eq!(utc("2026-03-01T08:00:00+02:00"), "2026-03-01T06:00:00Z");
        assert_eq!(time(" ").unwrap(), None);
        assert!(time("soon").is_err());
        assert_eq!(input_value("2026-03-01T08:00Z"), "2026-03-01T08:00:00");
        assert_eq!(input_value("soon"), "");
    }

    #[test]
    fn the_next_page_keeps_the_filters_that_are_given() {
        let asked = Asked { host: "a.example".into(), before: "x".into(), ..Asked::default() };
        assert_eq!(asked.address(None), "/audit?host=a.example");
        assert_eq!(asked.address(Some("1-A-2")), "/audit?host=a.example&before=1-A-2");
    }
}
