//! Connecting an account: choosing the app, giving its keys or going on at the service, and the same for an account that
//! is there. What was typed is kept where it can't be taken, but for secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::apps::{App, CUSTOM, Flow};
use keyhole_host_api::oauth::{Origin, Start};
use keyhole_host_api::vault::Secret;
use maud::{Markup, html};

use super::account::found;
use super::accounts::Search;
use super::connect_link::{asked, callback, to_service};
use super::frame::{self, Part, Wrong, alert};
use super::members::admins;
use super::parts::{added, added_in_short, field, icon, matches, of_page, pages_of};
use super::session::{Posted, Visitor, with_next};
use super::sign_in::Next;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{AccountView, ConnectedView, FieldView, NewAccount, NewCredentials, hidden};
use crate::server::problem::Problem;
use crate::server::routes::apps::is_ready;
use crate::server::{Api, acts, routes};

/// Asks for the app.
pub(super) async fn choose(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Query(search): Query<Search>,
    Query(next): Query<Next>,
) -> Result<Response, Wrong> {
    let next = next.local();
    let apps = api.catalog().iter().filter(|app| app.name != CUSTOM && matches(&search.q, &[&app.name, &app.title]));
    let mut apps: Vec<&Arc<App>> = apps.collect();
    apps.sort_by_key(|app| app.title.to_lowercase());
    let page = search.page.max(1);
    let custom = with_next("/accounts/new/custom", next);
    let content = html! {
        p .crumb { a href="/accounts" { "Accounts" } }
        div .head { h1 { "Connect an account" } }
        form .line role="search" action="/accounts/new" data-list="list" {
            @if let Some(next) = next { input type="hidden" name="next" value=(next); }
            div .search {
                label for="q" { "App" }
                input #q name="q" type="search" value=(search.q) placeholder="Slack, GitHub, …" autocomplete="off" autofocus;
            }
            button { "Search" }
        }
        p #found .soft role="status" { (apps.len()) @if apps.len() == 1 { " app" } @else { " apps" } }
        div #list {
            @if apps.is_empty() {
                div .card {
                    p { "The catalog has no such app." }
                    p { "Any service with a key can be connected: " a href=(custom) { "describe it" } "." }
                }
            } @else {
                ul .rows {
                    @for app in of_page(&apps, page) {
                        li {
                            (icon(&app.title))
                            div .what {
                                a href=(with_next(&format!("/accounts/new/{}", app.name), next)) { (app.title) }
                                small { @if leaves(app) { "you allow it at the service" } @else { "with a key" } (added_in_short(app)) }
                            }
                        }
                    }
                }
            }
            (pages_of("/accounts/new", &[("q", search.q.as_str()), ("next", next.unwrap_or(""))], page, apps.len()))
            @if !apps.is_empty() {
                p { "It is none of them? " a href=(custom) { "Connect a service of your own" } "." }
            }
        }
    };
    Ok(frame::page(&visitor, Part::Accounts, "Connect an account", content))
}

/// Whether one allows it at the service.
pub(super) fn leaves(app: &App) -> bool {
    app.oauth.as_ref().is_some_and(|def| def.flow == Flow::Member)
}

/// What is connected: an app anew, or an account that is there.
struct Connecting<'a> {
    app: &'a App,
    fields: Vec<FieldView>,
    account: Option<&'a AccountView>,
    /// What is missing before anybody can connect.
    unready: Option<Markup>,
    /// What is asked for, where that is more than the definition says.
    scopes: Option<Vec<String>>,
    /// Where to go on afterwards: the page that led here.
    next: Option<&'a str>,
}

impl<'a> Connecting<'a> {
    async fn new(
        api: &Api,
        visitor: &Visitor,
        app: &'a App,
        account: Option<&'a AccountView>,
        next: Option<&'a str>,
    ) -> Result<Self, Problem> {
        let scopes = match account {
            Some(account) => routes::oauth::scopes(api, &visitor.member.id, &account.id).await?,
            None => None,
        };
        Ok(Self { app, fields: asked(app), account, unready: unready(api, visitor, app).await?, scopes, next })
    }

    fn leaves(&self) -> bool {
        leaves(self.app)
    }

    fn title(&self) -> String {
        match self.account {
            Some(account) => format!("Reconnect {}", account.nickname),
            None => format!("Connect {}", self.app.title),
        }
    }

    fn form(&self, visitor: &Visitor, given: Option<&Posted>, problem: Option<&Problem>) -> Markup {
        let up = match self.account {
            Some(account) => format!("/accounts/{}", account.id),
            None => with_next("/accounts/new", self.next),
        };
        let back = self.next.unwrap_or(&up);
        let value = |name: &str| match given {
            Some(given) => given.raw(name),
            None => self.account.and_then(|account| account.plain.get(name)).map(String::as_str),
        };
        let untested =
            problem.is_some_and(|problem| problem.is("service") || problem.detail.starts_with("the service"));
        html! {
            p .crumb {
                @match self.account {
                    Some(account) => { a href=(up) { (account.nickname) } }
                    None => { a href=(up) { "Choose another app" } }
                }
            }
            div .head { div { (icon(&self.app.title)) h1 { (self.title()) } } }
            @if let Some(problem) = problem { (alert(problem)) }
            @if let Some(unready) = &self.unready { (unready) }
            @else {
                (added(self.app))
                form .card method="post" autocomplete="off" {
                    (visitor.key())
                    @if self.account.is_none() {
                        label for="nickname" { "Nickname (optional)" }
                        input #nickname name="nickname" maxlength="100" value=[value("nickname")] aria-describedby="nickname-help";
                        small #nickname-help { "What you call it, such as “" bdi { (self.app.title) } " of marketing”." }
                    }
                    @for one in &self.fields { (field(one, value(&one.name))) }
                    @if problem.is_some_and(|problem| problem.is("conflict")) && self.account.is_some() {
                        label .choice {
                            input type="checkbox" name="other_identity" value="yes";
                            span { "It is meant to belong to another identity at the service from now on" }
                        }
                    }
                    @if untested && !self.leaves() {
                        label .choice {
                            input type="checkbox" name="untested" value="yes";
                            span { "Store it all the same, without asking the service" }
                        }
                    }
                    @if self.leaves() {
                        p { "You go on at " (self.app.title) ", where you are asked to allow it, and come back here." }
                        @if let Some(scopes) = &self.scopes {
                            p { "For the workflows that use it you are asked for these scopes: " (scopes.join(", ")) }
                        }
                    }
                    p .soft { "It is yours, and private until you say who else may use it. No step ever sees its keys." }
                    div .buttons {
                        button .act { @if self.leaves() { "Go to " (self.app.title) } @else { "Connect" } }
                        a href=(back) { "Cancel" }
                    }
                }
                (docs_of(self.app))
            }
        }
    }

    fn refused(&self, posted: &Posted, problem: &Problem) -> Response {
        let content = self.form(&posted.visitor, Some(posted), Some(problem));
        frame::again(&posted.visitor, Part::Accounts, problem, &self.title(), content)
    }

    /// What was given of the fields that there are.
    fn given(&self, posted: &Posted) -> BTreeMap<String, Secret> {
        let value = |field: &FieldView| {
            let value = posted.raw(&field.name).filter(|value| !value.is_empty())?;
            Some((field.name.clone(), Secret::new(value.to_owned())))
        };
        self.fields.iter().filter_map(value).collect()
    }

    fn start(&self, posted: &Posted) -> Start {
        Start {
            app: self.app.name.clone(),
            nickname: posted.one("nickname").map(str::to_owned),
            fields: self.given(posted),
            account: self.account.map(|account| account.id.clone()),
            other_identity: posted.one("other_identity").is_some(),
            untested: posted.one("untested").is_some(),
            scopes: self.scopes.clone(),
            link: None,
            next: self.next.map(|next| Secret::new(next.to_owned())),
        }
    }
}

/// What an admin is to do, or whom a member is to ask, before the app can be connected by OAuth.
async fn unready(api: &Api, visitor: &Visitor, app: &App) -> Result<Option<Markup>, Problem> {
    if is_ready(api, app).await? {
        return Ok(None);
    }
    if visitor.is_admin() {
        let scopes = app.oauth.as_ref().map(|def| def.scopes.as_slice()).unwrap_or_default();
        let redirect = if leaves(app) { Some(callback(api)?) } else { None };
        return Ok(Some(html! {
            div .notice .wait {
                p { strong { bdi { (app.title) } " is not set up yet." } }
                p { "Register an OAuth client at " (app.title) ", once for all members, and enter it "
                    a href=(format!("/apps/{}", app.name)) { "here" } "." }
                @if let Some(redirect) = &redirect {
                    p { (app.title) " asks for this redirect URL:" }
                    p .copy { code { (redirect) } }
                }
                @if !scopes.is_empty() {
                    p { "Enable these scopes for it: " @for (at, scope) in scopes.iter().enumerate() { @if at > 0 { ", " } code { (scope) } } }
                }
                (docs_of(app))
            }
        }));
    }
    let members = api.members.list().await?;
    Ok(Some(html! {
        div .notice .wait {
            p { strong { bdi { (app.title) } " is not set up yet." } }
            p { "An admin does that, once for all members. Ask " (admins(&members)) "." }
        }
    }))
}

fn docs_of(app: &App) -> Markup {
    html! {
        @if let Some(docs) = &app.docs {
            p { a href=(docs) rel="noreferrer" { "How " bdi { (app.title) } " is authenticated to" } }
        }
    }
}

fn app_of(api: &Api, name: &str) -> Result<Arc<App>, Problem> {
    match api.catalog().get(name).filter(|app| app.name != CUSTOM) {
        Some(app) => Ok(app.clone()),
        None => {
            let none = || Problem::not_there(format!("there is no app {name}"));
            Err(routes::apps::find(api.catalog(), name).err().unwrap_or_else(none))
        }
    }
}

pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(name): Path<String>,
    Query(next): Query<Next>,
) -> Result<Response, Wrong> {
    let app = app_of(&api, &name)?;
    let connecting = Connecting::new(&api, &visitor, &app, None, next.local()).await?;
    let content = connecting.form(&visitor, None, None);
    Ok(frame::page(&visitor, Part::Accounts, &connecting.title(), content))
}

pub(super) async fn connect(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Query(next): Query<Next>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let app = app_of(&api, &name)?;
    let connecting = Connecting::new(&api, &posted.visitor, &app, None, next.local()).await?;
    let (state, caller) = (State(api.clone()), posted.visitor.caller.clone());
    let connected = match app.oauth.as_ref().map(|def| def.flow) {
        None => {
            let new = NewAccount {
                app: app.name.clone(),
                nickname: posted.one("nickname").map(str::to_owned),
                fields: hidden(connecting.given(&posted)),
                custom: None,
                test: posted.one("untested").is_none(),
            };
            routes::accounts::connect(state, caller, Body(new)).await.map(|(_, connected)| connected.0)
        }
        Some(_) => return by_oauth(&api, &connecting, &posted).await,
    };
    match connected {
        Ok(connected) => Ok(finished(&posted.visitor, &connected, "connected", connecting.next)),
        Err(problem) => Ok(connecting.refused(&posted, &problem)),
    }
}

/// Sends the browser to the service, or asks it without one.
async fn by_oauth(api: &Arc<Api>, connecting: &Connecting<'_>, posted: &Posted) -> Result<Response, Wrong> {
    let member = &posted.visitor.member.id;
    let done = if connecting.account.is_some() { "reconnected" } else { "connected" };
    if !connecting.leaves() {
        return match api.oauth().connect_client(member, connecting.start(posted)).await {
            Ok(connected) => {
                api.did(&posted.visitor.caller, acts::connected(&connected)).await?;
                Ok(finished(&posted.visitor, &connected.into(), done, connecting.next))
            }
            Err(error) => Ok(connecting.refused(posted, &error.into())),
        };
    }
    match api.oauth().begin(member, connecting.start(posted), callback(api)?.as_str()).await {
        Ok(begun) => Ok(to_service(api, &begun, member, connecting.app)?),
        Err(error) => Ok(connecting.refused(posted, &error.into())),
    }
}

/// Leads to where the visitor came from, or to the account; what its owner should know is said first.
pub(super) fn finished(visitor: &Visitor, connected: &ConnectedView, done: &str, next: Option<&str>) -> Response {
    let to = next.map_or_else(|| format!("/accounts/{}?done={done}", connected.id), str::to_owned);
    if connected.warnings.is_empty() {
        return Redirect::to(&to).into_response();
    }
    let content = html! {
        div .head { h1 { bdi { (connected.nickname) } " is " (done) } }
        div .notice .wait { @for warning in &connected.warnings { p { (warning) } } }
        p { a .button .act href=(to) { "Go on" } }
    };
    frame::page(visitor, Part::Accounts, "Connected", content)
}

pub(super) async fn ask_again(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(next): Query<Next>,
) -> Result<Response, Wrong> {
    let (account, app) = own(&api, &visitor, &id).await?;
    let connecting = Connecting::new(&api, &visitor, &app, Some(&account), next.local()).await?;
    let content = connecting.form(&visitor, None, None);
    Ok(frame::page(&visitor, Part::Accounts, &connecting.title(), content))
}

pub(super) async fn reconnect(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(next): Query<Next>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let (account, app) = own(&api, &posted.visitor, &id).await?;
    let connecting = Connecting::new(&api, &posted.visitor, &app, Some(&account), next.local()).await?;
    // An account of an app with OAuth may have been connected with a key before that had one.
    if app.oauth.is_some() {
        return by_oauth(&api, &connecting, &posted).await;
    }
    let new = NewCredentials {
        fields: hidden(connecting.given(&posted)),
        test: posted.one("untested").is_none(),
        other_identity: posted.one("other_identity").is_some(),
    };
    let caller = posted.visitor.caller.clone();
    match routes::accounts::reconnect(State(api.clone()), caller, Path(id), Body(new)).await {
        Ok(connected) => Ok(finished(&posted.visitor, &connected.0, "reconnected", connecting.next)),
        Err(problem) => Ok(connecting.refused(&posted, &problem)),
    }
}

/// The visitor's own account, and its app.
async fn own(api: &Arc<Api>, visitor: &Visitor, id: &str) -> Result<(AccountView, Arc<App>), Problem> {
    let account = found(api, visitor, id).await?;
    if account.owner != visitor.member.id {
        return Err(Problem::not_allowed(format!("only its owner, {}, can reconnect it", account.owner)));
    }
    let app = api.accounts.definition(&visitor.member.id, &account.id).await?.ok_or_else(|| {
        Problem::conflict(format!("the app {} of this account is no longer defined", account.app))
            .help("whoever runs Keyhole can give its definition back")
    })?;
    Ok((account, app))
}

/// Where the owner, who came back from the service, goes on.
pub(super) fn came_back(visitor: &Visitor, connected: &ConnectedView, origin: &Origin) -> Response {
    let done = if origin.account.is_some() { "reconnected" } else { "connected" };
    finished(visitor, connected, done, origin.next.as_ref().map(Secret::expose))
}

/// The same where it came to nothing.
pub(super) fn came_to_nothing(visitor: &Visitor, problem: &Problem, origin: Option<&Origin>) -> Response {
    let back = origin.and_then(|origin| origin.next.as_ref()).map_or("/accounts", Secret::expose);
    // What is under way no more may have come to an account before.
    let title = if origin.is_some() { "Nothing was connected" } else { problem.title.as_str() };
    let content = html! {
        div .head { h1 { (title) } }
        (alert(problem))
        div .buttons {
            @if let Some(origin) = origin { a .button .act href=(again(origin)) { "Try again" } }
            a .button href=(back) { "Back" }
        }
    };
    frame::again(visitor, Part::Accounts, problem, title, content)
}

/// The page that it set out from.
pub(super) fn again(origin: &Origin) -> String {
    let page = match &origin.account {
        Some(account) => format!("/accounts/{account}/reconnect"),
        None => format!("/accounts/new/{}", origin.app),
    };
    with_next(&page, origin.next.as_ref().map(Secret::expose))
}
