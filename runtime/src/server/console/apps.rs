//! The services that one can connect to, and for admins the OAuth client by which all members connect one. A client's
//! secret goes in and is never shown again, nor filled into a form.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::apps::{App, CUSTOM};
use keyhole_host_api::oauth::ClientSummary;
use keyhole_host_api::vault::Secret;
use maud::{Markup, html};

use super::accounts::Search;
use super::connect_link::callback;
use super::frame::{self, Part, Wrong, alert};
use super::parts::{added_in_short, ago, icon, matches, of_page, pages};
use super::session::{Posted, Visitor};
use crate::server::Api;
use crate::server::caller::Act;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{AppView, FieldView, Hidden, NewClient};
use crate::server::problem::Problem;
use crate::server::routes;
use crate::server::routes::apps::needs_client;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let clients = clients(&api, &visitor).await?;
    let apps = api.catalog().iter().filter(|app| app.name != CUSTOM && matches(&search.q, &[&app.name, &app.title]));
    let mut apps: Vec<&Arc<App>> = apps.collect();
    apps.sort_by_key(|app| app.title.to_lowercase());
    let page = search.page.max(1);
    let content = html! {
        div .head {
            h1 { "Apps" }
            @if visitor.is_admin() { a .button href="/apps/import" { "Draft an app" } }
        }
        form .line role="search" action="/apps" data-list="list" {
            div .search {
                label for="q" { "Search" }
                input #q name="q" type="search" value=(search.q) placeholder="Slack, GitHub, …" autocomplete="off";
            }
            button { "Search" }
        }
        p #found .soft role="status" { (apps.len()) @if apps.len() == 1 { " app" } @else { " apps" } }
        div #list {
            @if !apps.is_empty() {
                ul .rows {
                    @for app in of_page(&apps, page) {
                        li {
                            (icon(&app.title))
                            div .what {
                                a href=(format!("/apps/{}", app.name)) { (app.title) }
                                small { @if app.oauth.is_some() { "with OAuth" } @else { "with a key" } (added_in_short(app)) }
                            }
                            div .facts {
                                @if visitor.is_admin() && needs_client(app) {
                                    @if clients.iter().any(|client| client.app == app.name) {
                                        span .mark .good { "client set" }
                                    } @else { span .mark { "needs a client" } }
                                }
                            }
                        }
                    }
                }
            }
            (pages("/apps", &search.q, page, apps.len()))
        }
        p .soft {
            "A service that is not here is connected, too: " a href="/accounts/new/custom" { "describe it" } "."
        }
    };
    Ok(frame::page(&visitor, Part::Apps, "Apps", content))
}

/// The clients that are set: for admins, since nobody else may know.
async fn clients(api: &Arc<Api>, visitor: &Visitor) -> Result<Vec<ClientSummary>, Problem> {
    match visitor.is_admin() {
        true => Ok(routes::apps::clients(State(api.clone()), visitor.caller.clone()).await?.0),
        false => Ok(Vec::new()),
    }
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(name): Path<String>,
    Query(search): Query<Search>,
) -> Result<Response, Wrong> {
    let said = match search.done.as_str() {
        "added" => Some("The app is added: an account of it can be connected."),
        "configured" => Some("The OAuth client is set: members can connect it now."),
        "forgotten" => Some("The OAuth client is forgotten."),
        _ => None,
    };
    let one = One::find(&api, &visitor, &name).await?;
    let notice = html! { @if let Some(said) = said { div .notice .good role="status" { p { (said) } } } };
    Ok(frame::page(&visitor, Part::Apps, &one.app.title, one.content(&api, &visitor, &notice, None)))
}

/// One app, and what there is of a client for it.
struct One {
    app: AppView,
    needs_client: bool,
    client: Option<ClientSummary>,
}

impl One {
    async fn find(api: &Arc<Api>, visitor: &Visitor, name: &str) -> Result<Self, Problem> {
        let (state, caller) = (State(api.clone()), visitor.caller.clone());
        let app = routes::apps::show(state, caller, Path(name.to_owned())).await?.0;
        let needs_client = api.catalog().get(name).is_some_and(|app| needs_client(app));
        let client = clients(api, visitor).await?.into_iter().find(|client| client.app == app.name);
        Ok(Self { app, needs_client, client })
    }

    fn content(&self, api: &Api, visitor: &Visitor, notice: &Markup, given: Option<&Posted>) -> Markup {
        let app = &self.app;
        html! {
            p .crumb { a href="/apps" { "Apps" } }
            div .head {
                div { (icon(&app.title)) h1 { (app.title) } }
                a .button .act href=(format!("/accounts/new/{}", app.name)) { "Connect an account" }
            }
            (notice)
            div .card { (facts(app)) }
            h2 { "Fields" }
            (fields(app))
            @if self.needs_client {
                h2 #client { "OAuth client" }
                @if visitor.is_admin() { (self.client_form(api, visitor, given)) }
                @else { p { "Accounts are connected by an OAuth client, which an admin sets once for all members." } }
            }
        }
    }

    fn client_form(&self, api: &Api, visitor: &Visitor, given: Option<&Posted>) -> Markup {
        let at = format!("/apps/{}/client", self.app.name);
        let id = match given {
            Some(posted) => posted.one("client_id"),
            None => self.client.as_ref().map(|client| client.client_id.as_str()),
        };
        let public = match given {
            Some(posted) => posted.one("public").is_some(),
            None => self.client.as_ref().is_some_and(|client| !client.has_secret),
        };
        // A client that asks for itself sends nobody anywhere.
        let asks_member = self.app.oauth.as_ref().is_some_and(|oauth| oauth.asks_member);
        let redirect = callback(api).ok().filter(|_| asks_member);
        html! {
            @match &self.client {
                Some(client) => {
                    p { "Set " (ago(client.configured)) ": " code { (client.client_id) } ", "
                        @if client.has_secret { "with a secret." } @else { "without a secret." } }
                }
                None => { p { "None is set, so nobody can connect it yet. Register one at " (self.app.title) ", once for all members." } }
            }
            @if let Some(redirect) = redirect {
                p { (self.app.title) " asks for this redirect URL:" }
                p .copy { code { (redirect) } }
            }
            form .card method="post" action=(at) autocomplete="off" {
                (visitor.key())
                label for="client_id" { "Client id" }
                input #client_id name="client_id" value=[id] required autocomplete="off" spellcheck="false";
                label for="client_secret" { "Client secret" }
                input #client_secret name="client_secret" type="password" autocomplete="off" aria-describedby="client-secret-help";
                small #client-secret-help { "It is sealed, and shown to nobody. Enter it again whenever you set the client." }
                label .choice {
                    input type="checkbox" name="public" value="yes" checked[public];
                    span { "The client has no secret: it is a public one" }
                }
                div .buttons {
                    button .act { "Set the client" }
                    @if self.client.is_some() { a href=(format!("{at}/forget")) { "Forget the client" } }
                }
            }
        }
    }
}

fn facts(app: &AppView) -> Markup {
    html! {
        dl .facts {
            dt { "Name" } dd { code { (app.name) } }
            dt { "Hosts" } dd { (lines(&app.hosts)) }
            @if let Some(url) = &app.base_url { dt { "Base URL" } dd { code { (url) } } }
            @if !app.places.is_empty() { dt { "Secrets stand in" } dd { (lines(&app.places)) } }
            @if !app.alternatives.is_empty() { dt { "They may stand in" } dd { (lines(&app.alternatives)) } }
            @if !app.headers.is_empty() { dt { "Headers" } dd { (lines(&app.headers)) } }
            dt { "Denied to steps" }
            dd { @if app.denied.is_empty() { span .soft { "nothing" } } @else { (lines(&app.denied)) } }
            @if let Some(test) = &app.test { dt { "Tested by" } dd { code { (test) } } }
            @if !app.signing.is_empty() { dt { "Signs" } dd { (lines(&app.signing)) } }
            @if let Some(oauth) = &app.oauth {
                dt { "Scopes asked for" }
                dd { @if oauth.scopes.is_empty() { span .soft { "none" } } @else { (lines(&oauth.scopes)) } }
            }
            @if let Some(docs) = &app.docs {
                dt { "Documentation" } dd { a href=(docs) rel="noreferrer" { (docs) } }
            }
            dt { "Defined by" } dd { (app.source) }
        }
    }
}

fn lines(all: &[String]) -> Markup {
    html! { @for (at, one) in all.iter().enumerate() { @if at > 0 { br; } code { (one) } } }
}

fn fields(app: &AppView) -> Markup {
    let kind = |field: &FieldView| match (field.secret, field.host_only) {
        (true, true) => "secret, and no step gets a placeholder",
        (true, false) => "secret",
        (false, _) => "plain",
    };
    html! {
        @if app.fields.is_empty() { p .soft { "It asks for nothing." } }
        @else {
            div .scroll tabindex="0" role="region" aria-label="Fields" {
                table {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "Kind" } th scope="col" { "What it is" } } }
                    tbody {
                        @for field in &app.fields {
                            tr {
                                td { code { (field.name) } }
                                td { (kind(field)) @if field.optional { ", optional" } @if field.by_oauth { ", by OAuth" } }
                                td {
                                    (field.label)
                                    @if let Some(help) = &field.help { br; small { (help) } }
                                    @if let Some(find) = &field.find { br; small { "You find it here: " (find) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) async fn configure(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let one = One::find(&api, visitor, &name).await?;
    let set = match asked(&posted) {
        Ok(new) => {
            routes::apps::configure(State(api.clone()), visitor.caller.clone(), Path(name), Body(new)).await.map(drop)
        }
        Err(problem) => Err(problem),
    };
    match set {
        Ok(()) => Ok(Redirect::to(&format!("/apps/{}?done=configured", one.app.name)).into_response()),
        Err(problem) if problem.code().is_server_error() => Err(problem.into()),
        Err(problem) => {
            let content = one.content(&api, visitor, &alert(&problem), Some(&posted));
            Ok(frame::again(visitor, Part::Apps, &problem, &one.app.title, content))
        }
    }
}

/// An empty secret is not taken for a public client: it may have been forgotten.
fn asked(posted: &Posted) -> Result<NewClient, Problem> {
    let secret = posted.raw("client_secret").filter(|secret| !secret.is_empty());
    match (secret, posted.one("public").is_some()) {
        (None, false) => {
            return Err(Problem::wrong("the client's secret is not given").help("enter it, or say that it has none"));
        }
        (Some(_), true) => return Err(Problem::wrong("a public client has no secret").help("leave one of the two out")),
        _ => {}
    }
    let client_id = posted.one("client_id").unwrap_or("").to_owned();
    Ok(NewClient { client_id, client_secret: secret.map(|secret| Hidden(Secret::new(secret.to_owned()))) })
}

pub(super) async fn ask_forget(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Wrong> {
    visitor.caller.must(Act::ChangeApps)?;
    let one = One::find(&api, &visitor, &name).await?;
    let at = format!("/apps/{}", one.app.name);
    let content = html! {
        p .crumb { a href=(at) { (one.app.title) } }
        div .head { h1 { "Forget the client of " bdi { (one.app.title) } "?" } }
        form .card method="post" {
            (visitor.key())
            @if let Some(client) = &one.client { p { "It is " code { (client.client_id) } ". Its secret is erased here." } }
            @else { p { "None is set." } }
            p { "Accounts that are connected by it work until their tokens expire, and can't be refreshed or reconnected then. \
                 Nobody can connect another one until a client is set again." }
            div .buttons { button .bad { "Forget the client" } a href=(at) { "Cancel" } }
        }
    };
    Ok(frame::page(&visitor, Part::Apps, "Forget the client", content))
}

pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let one = One::find(&api, visitor, &name).await?;
    let _ = routes::apps::unconfigure(State(api.clone()), visitor.caller.clone(), Path(name)).await?;
    Ok(Redirect::to(&format!("/apps/{}?done=forgotten", one.app.name)).into_response())
}
