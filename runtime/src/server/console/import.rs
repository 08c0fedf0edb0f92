//! A draft of an app's definition from an OpenAPI document, for admins to look through, correct and add. It never becomes
//! an app by itself, and nothing here fetches anything.

use std::sync::Arc;

use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::apps::import::Draft;
use maud::{Markup, html};
use tokio::sync::Semaphore;
use url::Url;

use super::frame::{self, Part, Wrong, alert};
use super::session::{MAX_FILE, Posted, Visitor};
use crate::server::Api;
use crate::server::caller::Act;
use crate::server::drafting::Asked;
use crate::server::extract::Body;
use crate::server::guard::MAX_BODY;
use crate::server::model::NewApp;
use crate::server::problem::Problem;
use crate::server::routes;

/// Longest form with a document, in bytes. A document that is too long is taken all the same, and not kept: a browser that
/// is still sending does not hear why it is refused.
pub(super) const MAX_FORM: usize = 4 * MAX_FILE;
/// So many forms are taken at a time.
static TAKING: Semaphore = Semaphore::const_new(2);

pub(super) async fn ask(visitor: Visitor) -> Result<Response, Wrong> {
    visitor.caller.must(Act::ChangeApps)?;
    Ok(frame::page(&visitor, Part::Apps, "Draft an app", form(&visitor, None)))
}

fn form(visitor: &Visitor, again: Option<(Option<&Posted>, &Problem)>) -> Markup {
    // What is longer was not typed.
    let value = |name: &str| again.and_then(|(posted, _)| posted?.raw(name)).filter(|text| text.len() <= MAX_BODY);
    html! {
        p .crumb { a href="/apps" { "Apps" } }
        div .head { h1 { "Draft an app" } }
        @if let Some((_, problem)) = again { (alert(problem)) }
        p { "What a service publishes of itself gives a draft of its definition: hosts, fields, where the credential goes, \
             OAuth. Look through it on the next page, and add the app there." }
        form .card method="post" enctype="multipart/form-data" autocomplete="off" {
            (visitor.key())
            label for="upload" { "OpenAPI 3 or Swagger 2 document, as a JSON or YAML file" }
            input #upload name="upload" type="file" accept=".json,.yaml,.yml" aria-describedby="upload-help";
            small #upload-help {
                "At most " (MAX_FILE >> 20) " MiB. A longer document, or one at an address, is drafted from a terminal: "
                code { "keyhole apps import openapi FILE|URL" }
            }
            label for="document" { "Or its text" }
            textarea #document name="document" rows="14" spellcheck="false" { (value("document").unwrap_or("")) }
            label for="name" { "Name (optional)" }
            input #name name="name" maxlength="64" value=[value("name")] spellcheck="false" aria-describedby="name-help";
            small #name-help { "What steps call the app: a-z, 0-9, '_' and '-'. Made from the document if it is empty." }
            label for="base_url" { "Where requests start (optional)" }
            input #base_url name="base_url" type="url" value=[value("base_url")] placeholder="https://api.example.com/v1/"
                aria-describedby="base-url-help";
            small #base-url-help { "Instead of the servers that the document names." }
            div .buttons { button .act { "Draft it" } a href="/apps" { "Cancel" } }
        }
    }
}

/// Who may not do this sends nothing that is long.
pub(super) async fn draft(State(api): State<Arc<Api>>, visitor: Visitor, request: Request) -> Result<Response, Wrong> {
    visitor.caller.must(Act::ChangeApps)?;
    let _taking = TAKING.acquire().await.map_err(|closed| Problem::internal(&closed))?;
    let posted = Posted::from_request(request, &api).await.map_err(|wrong| match wrong.into_problem() {
        problem if problem.code() == StatusCode::PAYLOAD_TOO_LARGE => too_long(),
        problem => problem,
    });
    let drafted = match &posted {
        Ok(posted) => drafted(&api, posted).await,
        Err(problem) if problem.code() == StatusCode::UNPROCESSABLE_ENTITY => Err(problem.clone()),
        Err(problem) => return Err(problem.clone().into()),
    };
    match drafted {
        Ok(draft) => Ok(frame::page(&visitor, Part::Apps, "A draft", shown(&api, &visitor, &draft))),
        Err(problem) if problem.code().is_server_error() => Err(problem.into()),
        Err(problem) => {
            let content = form(&visitor, Some((posted.as_ref().ok(), &problem)));
            Ok(frame::again(&visitor, Part::Apps, &problem, "Draft an app", content))
        }
    }
}

fn too_long() -> Problem {
    Problem::wrong(format!("the document has more than {} MiB", MAX_FILE >> 20))
        .help("draft it from a terminal, as is said below")
}

async fn drafted(api: &Api, posted: &Posted) -> Result<Draft, Problem> {
    let base_url = posted.one("base_url").map(Url::parse).transpose();
    let base_url = base_url.map_err(|error| {
        Problem::wrong(format!("where requests start is no URL: {error}"))
            .help("give one such as https://api.example.com/v1/")
    })?;
    let text = match posted.given("upload").or_else(|| posted.given("document")) {
        Some(text) => text.to_owned(),
        None => return Err(Problem::wrong("there is no document").help("choose a file, or paste its text")),
    };
    let name = posted.one("name").map(str::to_owned);
    api.drafts.draft(&Asked { name, base_url, text }).await
}

fn shown(api: &Api, visitor: &Visitor, draft: &Draft) -> Markup {
    html! {
        p .crumb { a href="/apps/import" { "Draft an app" } }
        div .head { h1 { "A draft of " (draft.name) } }
        @if !draft.usable {
            div .notice .wait role="alert" { p { "It does not say yet where a credential goes, so no account could be used." } }
        }
        @if !draft.notes.is_empty() {
            h2 { "To check" }
            ul { @for note in &draft.notes { li { (note) } } }
        }
        @if api.catalog().folder().is_some() { (to_add(visitor, &draft.definition)) }
        @else {
            h2 { "The definition" }
            div .copy {
                pre tabindex="0" role="region" aria-label="The definition" { code { (draft.definition) } }
            }
            p { "This Keyhole has no folder for apps, so it can’t be added here. Whoever runs it names one with "
                code { "--apps DIR" } ", and puts this into it as " code { (draft.name) ".toml" } "." }
        }
        @if draft.oauth { p .soft { "Members connect it by OAuth: set its client on its page afterwards." } }
    }
}

/// What is looked through, and added.
fn to_add(visitor: &Visitor, definition: &str) -> Markup {
    html! {
        form .card method="post" action="/apps" autocomplete="off" {
            (visitor.key())
            label for="definition" { "The definition" }
            textarea #definition name="definition" rows="24" required spellcheck="false" aria-describedby="definition-help" {
                (definition)
            }
            small #definition-help { "Look at what is marked with “Check:” first. It says where the credentials of all accounts of \
                the app may go, and can’t be changed here once it is added." }
            div .buttons { button .act { "Add this app" } a href="/apps" { "Cancel" } }
        }
    }
}

pub(super) async fn add(State(api): State<Arc<Api>>, posted: Posted) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    // A form has a file's line ends its own way.
    let definition = posted.raw("definition").unwrap_or("").replace("\r\n", "\n");
    let new = Body(NewApp { definition: definition.clone() });
    match routes::apps::add(State(api), visitor.caller.clone(), new).await {
        Ok((_, added)) => Ok(Redirect::to(&format!("/apps/{}?done=added", added.name)).into_response()),
        Err(problem) if problem.code().is_server_error() || !visitor.is_admin() => Err(problem.into()),
        Err(problem) => {
            let content = html! {
                p .crumb { a href="/apps" { "Apps" } }
                div .head { h1 { "Add an app" } }
                (alert(&problem))
                (to_add(visitor, &definition))
            };
            Ok(frame::again(visitor, Part::Apps, &problem, "Add an app", content))
        }
    }
}
