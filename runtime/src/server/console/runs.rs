//! The list of runs, and what other pages show of several of them. Runs are their workflow's owner's alone.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::audit::{input_value, time};
use super::audit_table::tail;
use super::frame::{self, Part, Wrong, alert};
use super::parts::{lasted, when};
use super::room::{Room, brief};
use super::session::Visitor;
use crate::server::Api;
use crate::server::extract::Query;
use crate::server::model::{RunView, RunsQuery, status_of};
use crate::server::problem::Problem;
use crate::server::routes;
use crate::workflow::record::Run;

/// Runs on one page.
const ROWS: u32 = 50;
/// Runs that one page looks at, to find those that fit.
const LOOKS: usize = 2000;
/// Bytes of the names of workflows that are suggested while one types.
const SUGGESTED: usize = 4_000;

pub(super) const STATUSES: [&str; 6] = ["queued", "running", "waiting", "ok", "failed", "cancelled"];

/// What the form sends: what is empty was not asked for.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    workflow: String,
    status: String,
    since: String,
    until: String,
    before: String,
}

impl Asked {
    /// The query, and what the workflow's name has in it, unless it is the whole name of one of these.
    fn query(&self, workflows: &HashSet<String>) -> Result<(RunsQuery, String), Problem> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let named = given(&self.workflow).map(|name| name.to_lowercase());
        let whole = named.clone().filter(|name| workflows.contains(name));
        let part = if whole.is_some() { None } else { named };
        let query = RunsQuery {
            workflow: whole,
            status: given(&self.status).filter(|status| status_of(status).is_some()),
            since: time(&self.since)?,
            until: time(&self.until)?,
            before: given(&self.before),
            limit: ROWS,
        };
        Ok((query, part.unwrap_or_default()))
    }

    /// The address of a page with the same filters.
    fn address(&self, before: Option<&str>) -> String {
        let filters =
            [("workflow", &self.workflow), ("status", &self.status), ("since", &self.since), ("until", &self.until)];
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(filters.into_iter().filter(|(_, value)| !value.is_empty()));
        pairs.extend_pairs(before.map(|before| ("before", before)));
        format!("/runs?{}", pairs.finish())
    }
}

/// The names of the member's workflows.
pub(super) async fn workflows(api: &Api, visitor: &Visitor) -> Result<HashSet<String>, Problem> {
    let all = api.workflows.list(Some(&visitor.member.id)).await?;
    Ok(all.iter().map(|one| one.name.clone()).collect())
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response, Wrong> {
    let workflows = workflows(&api, &visitor).await?;
    let listed = match asked.query(&workflows) {
        Ok((query, part)) => {
            let has = |run: &Run| run.workflow.parts().1.contains(&part);
            routes::runs::page(&api, &visitor.caller, &query, LOOKS, has).await
        }
        Err(problem) => Err(problem),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(problem) if problem.code().is_server_error() => return Err(problem.into()),
        Err(problem) => {
            let content = html! { div .head { h1 { "Runs" } } (alert(&problem)) (form(&asked, &workflows)) };
            return Ok(frame::again(&visitor, Part::Runs, &problem, "Runs", content));
        }
    };
    let older = listed.more.map(|last| asked.address(Some(&last)));
    let runs: Vec<RunView> = listed.runs.into_iter().map(RunView::from).collect();
    let content = html! {
        div .head { h1 { "Runs" } }
        (form(&asked, &workflows))
        p #found .soft role="status" {
            @if runs.is_empty() && older.is_some() {
                "None of the " (LOOKS) " runs that were looked at is such a run. There are older ones."
            } @else if runs.is_empty() { "There are no such runs." }
            @else { (runs.len()) @if runs.len() == 1 { " run" } @else { " runs" } @if older.is_some() { ", and there may be older ones" } }
        }
        div #list {
            @if !runs.is_empty() { (rows(&runs, &workflows)) }
            @if older.is_some() || !asked.before.is_empty() {
                nav .pages aria-label="Pages" {
                    span { @if !asked.before.is_empty() { a href=(asked.address(None)) { "Newest" } } }
                    span { @if let Some(older) = older { a href=(older) rel="next" { "Older" } } }
                }
            }
        }
    };
    Ok(frame::page(&visitor, Part::Runs, "Runs", content))
}

fn form(asked: &Asked, workflows: &HashSet<String>) -> Markup {
    let mut names: Vec<&String> = workflows.iter().collect();
    names.sort_unstable();
    let suggested = Room::new(SUGGESTED).rows(SUGGESTED, names, |name| html! { option value=(name); });
    let times = [("since", "Since (UTC)", &asked.since), ("until", "Before (UTC)", &asked.until)];
    html! {
        form .line role="search" action="/runs" data-list="list" {
            div {
                label for="workflow" { "Workflow" }
                input #workflow name="workflow" value=(asked.workflow) list="workflows" placeholder="its name, or a part" autocomplete="off"
                    autocapitalize="none" spellcheck="false";
                datalist #workflows { @for one in &suggested { (one) } }
            }
            div {
                label for="status" { "Status" }
                select #status name="status" {
                    option value="" { "any" }
                    @for status in STATUSES { option selected[asked.status == status] { (status) } }
                }
            }
            @for (name, label, value) in times {
                div {
                    label for=(name) { (label) }
                    input id=(name) name=(name) type="datetime-local" step="1" value=(input_value(value));
                }
            }
            button { "Show" }
        }
    }
}

/// Runs of one owner's, as a table. `workflows` are those of the owner that there are still.
pub(super) fn rows(runs: &[RunView], workflows: &HashSet<String>) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label="Runs" {
            table {
                thead {
                    tr {
                        th scope="col" { "Run" } th scope="col" { "Workflow" } th scope="col" { "Status" }
                        th scope="col" { "Started by" } th scope="col" { "Accepted" } th scope="col" .num { "Took" }
                    }
                }
                tbody {
                    @for run in runs {
                        tr {
                            td { a href=(format!("/runs/{}", run.id)) { (tail(&run.id)) } }
                            td {
                                @if workflows.contains(&run.workflow) {
                                    a href=(format!("/workflows/{}/{}", run.owner, run.workflow)) { (run.workflow) }
                                } @else { (run.workflow) }
                            }
                            td {
                                (mark(&run.status))
                                @if let Some(error) = &run.error { br; small { (brief(&error.message, 160)) } }
                            }
                            td { (run.cause) }
                            td { (when(run.accepted)) }
                            td .num { @if let Some(took) = took(run) { (lasted(took)) } }
                        }
                    }
                }
            }
        }
    }
}

/// The last runs as small marks, the oldest first, as a person reads them.
pub(super) fn dots(runs: &[RunView]) -> Markup {
    let said = |word: &str| runs.iter().filter(|run| run.status == word).count();
    let told: Vec<String> = STATUSES
        .iter()
        .map(|word| (said(word), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    html! {
        @if !runs.is_empty() {
            span .dots role="img" aria-label=(format!("last runs: {}", told.join(", "))) {
                @for run in runs.iter().rev() { i class=(run.status) {} }
            }
        }
    }
}

pub(super) fn mark(status: &str) -> Markup {
    let class = match status {
        "ok" => "mark good",
        "failed" => "mark bad",
        "queued" | "waiting" => "mark wait",
        "running" => "mark wait moving",
        _ => "mark",
    };
    html! { span class=(class) { (status) } }
}

pub(super) fn took(run: &RunView) -> Option<u64> {
    let passed = run.ended?.duration_since(run.started?);
    u64::try_from(passed.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_and_the_older_ones_are_asked_for_with_the_same_filters() {
        let asked =
            Asked { status: "failed".into(), since: "2026-03-01T08:00".into(), before: "x".into(), ..Asked::default() };
        assert_eq!(asked.address(None), "/runs?status=failed&since=2026-03-01T08%3A00");
        assert_eq!(asked.address(Some("01A")), "/runs?status=failed&since=2026-03-01T08%3A00&before=01A");
    }

    #[test]
    fn a_workflow_is_meant_by_its_whole_name_or_looked_for_by_a_part() {
        let workflows = HashSet::from(["orders".to_owned(), "orders-of-tea".to_owned()]);
        let meant = |name: &str| {
            let (query, part) = Asked { workflow: name.into(), ..Asked::default() }.query(&workflows).unwrap();
            (query.workflow, part)
        };
        assert_eq!(meant(" orders "), (Some("orders".to_owned()), String::new()));
        assert_eq!(meant("Tea"), (None, "tea".to_owned()));
        assert_eq!(meant(""), (None, String::new()));
    }
}
