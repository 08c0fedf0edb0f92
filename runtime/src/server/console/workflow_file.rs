//! The file of a workflow: to be edited, to be kept, and deployed again as it was changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use toml_edit::{DocumentMut, Item};

use super::frame::{self, Part, Wrong, alert};
use super::room::weight;
use super::session::{Posted, Visitor};
use super::workflows::{EDITED, TOO_LONG, address, owned, shown};
use crate::server::Api;
use crate::server::extract::{Body, Path};
use crate::server::model::{NewWorkflow, WorkflowView};
use crate::server::problem::Problem;
use crate::server::routes;
use crate::workflow::DIGEST;
use crate::workflow::record::{PlannedStep, Version};

/// The file of `version`, or `draft`, what was typed in its place and not taken.
pub(super) fn form(visitor: &Visitor, one: &WorkflowView, version: &Version, draft: Option<&str>) -> Markup {
    let to = address(one);
    let text = draft.unwrap_or(&version.file);
    html! {
        @if weight(text) <= EDITED {
            details open[draft.is_some()] {
                summary { "workflow.toml" }
                form method="post" action=(format!("{to}/file")) {
                    (visitor.key())
                    input type="hidden" name="version" value=(one.version);
                    label for="text" { "The file" }
                    textarea #text name="file" rows="24" spellcheck="false" { (text) }
                    p .soft { "A component that it names must have been deployed before; a new one is deployed from a terminal." }
                    div .buttons { button .act { "Deploy" } }
                }
            }
        } @else if draft.is_some() { p .soft { (TOO_LONG) } } @else {
            p .soft {
                "It is too long to be edited here. Edit it where it lies, and deploy it from a terminal: "
                code { "keyhole workflows deploy workflow.toml" }
            }
        }
        p { a href=(format!("{to}/workflow.toml")) { "Download the file" } }
    }
}

/// The file of the version that runs.
pub(super) async fn whole(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(at): Path<(String, String)>,
) -> Result<Response, Wrong> {
    let (one, version) = owned(&api, &visitor, &at).await?;
    Ok(frame::file("application/toml", &format!("{}.toml", one.name), version.file.clone()))
}

pub(super) fn parsed(file: &str) -> Result<DocumentMut, Problem> {
    file.parse().map_err(|error: toml_edit::TomlError| Problem::wrong(error.to_string()))
}

/// Deploys the file as it was edited.
pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Path(at): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let (one, version) = owned(&api, &posted.visitor, &at).await?;
    // Browsers send lines' ends as CR LF.
    let file = posted.raw("file").unwrap_or("").replace("\r\n", "\n");
    if let Err(problem) = must_be_of(&posted, &one) {
        let content = shown(&api, &posted.visitor, &at, Some(&file), alert(&problem)).await?;
        return Ok(frame::again(&posted.visitor, Part::Workflows, &problem, &at.1, content));
    }
    deploy(&api, &posted, &at, &version, file).await
}

/// Refuses what was chosen or written on a page of another version: it may have had other steps.
pub(super) fn must_be_of(posted: &Posted, one: &WorkflowView) -> Result<(), Problem> {
    if posted.one("version") == Some(one.version.to_string().as_str()) {
        return Ok(());
    }
    Err(Problem::conflict("another version was deployed in the meantime, perhaps by you in another window")
        .help("this is how it is now; nothing of yours was deployed"))
}

/// Deploys `file` in the place of `version`, with its components.
pub(super) async fn deploy(
    api: &Arc<Api>,
    posted: &Posted,
    at: &(String, String),
    version: &Version,
    file: String,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let problem = match named(&file, &at.1) {
        Err(problem) => problem,
        Ok(()) => {
            let (components, files) = (components(version)?, files(api, version).await?);
            let new = NewWorkflow { file: file.clone(), components, files, check: false };
            match routes::workflows::deploy(State(api.clone()), visitor.caller.clone(), Body(new)).await {
                Ok(deployed) => {
                    let to = format!("{}?done=deployed", address(&deployed.0.workflow));
                    return Ok(Redirect::to(&to).into_response());
                }
                Err(problem) => problem,
            }
        }
    };
    let place = html! { (alert(&problem)) @if let Some(place) = &problem.place { p .soft { "At " (place) } } };
    let content = shown(api, visitor, at, Some(&file), place).await?;
    Ok(frame::again(visitor, Part::Workflows, &problem, &at.1, content))
}

/// Refuses a file that is another workflow's: it would be put in that one's place.
fn named(file: &str, name: &str) -> Result<(), Problem> {
    let parsed = parsed(file)?;
    match parsed.get("name").and_then(Item::as_str) {
        Some(other) if other != name => {
            Err(Problem::wrong(format!("the file is named '{other}', and this workflow '{name}'"))
                .help("a workflow keeps its name; deploy another one from a terminal"))
        }
        _ => Ok(()),
    }
}

/// The files that were deployed with `version`.
async fn files(api: &Api, version: &Version) -> Result<BTreeMap<String, String>, Problem> {
    let mut files = BTreeMap::new();
    for file in version.steps.iter().filter_map(|step| step.file.as_ref()) {
        let bytes = api.workflows.work().files.get(file).await?;
        files.insert(file.path.clone(), STANDARD.encode(bytes));
    }
    Ok(files)
}

/// The component that each path in the file of `version` led to.
fn components(version: &Version) -> Result<BTreeMap<String, String>, Problem> {
    let file = parsed(&version.file)?;
    let uses = |step: usize| file.get("steps")?.get(step)?.get("uses")?.as_str();
    let paths = version.steps.iter().enumerate().filter_map(|(number, step): (usize, &PlannedStep)| {
        let path = uses(number).filter(|path| *path != step.uses && !path.starts_with(DIGEST))?;
        Some((path.to_owned(), step.uses.trim_start_matches(DIGEST).to_owned()))
    });
    Ok(paths.collect())
}
