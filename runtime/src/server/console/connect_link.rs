//! What a browser without a token may do: use a connect link, and come back from the
//! service that it led to. Plain pages without scripts, each of which says for whom and to
//! what an account is about to be connected.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{Router, get};
use keyhole_host_api::accounts::{Connect, Connected};
use keyhole_host_api::apps::{App, Flow};
use keyhole_host_api::members::MemberId;
use keyhole_host_api::oauth::{Begun, Start};
use keyhole_host_api::tokens::{ConnectAccount, Link};
use keyhole_host_api::vault::Secret;
use maud::html;
use subtle::ConstantTimeEq as _;

use super::connect::came_back;
use super::frame::{Wrong, bare, bare_leaving};
use super::parts::field;
use crate::server::caller::Peer;
use crate::server::extract::Path;
use crate::server::model::{AppView, ConnectedView, FieldView};
use crate::server::problem::Problem;
use crate::server::routes::tested;
use crate::server::{Api, acts};

/// Where services send browsers back.
pub const CALLBACK: &str = "/oauth/callback";
/// The cookie that ties the browser that comes back to the one that left.
const COOKIE: &str = "keyhole-connect";
/// How long a browser has, in seconds: as long as the attempt that it belongs to.
const COOKIE_AGE: u32 = 600;

pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/connect/{link}", get(ask).post(connect)).route(CALLBACK, get(come_back))
}

/// Says what the link is for, and asks for what the app needs.
async fn ask(State(api): State<Arc<Api>>, peer: Peer, Path(text): Path<String>) -> Result<Response, Wrong> {
    let (link, app) = open(&api, &text, peer).await?;
    let fields = asked(&app);
    let goes_on = app.oauth.as_ref().is_some_and(|def| def.flow == Flow::Member);
    let content = html! {
        h1 { "Connect " (app.title) }
        p { "The account will belong to " b { (link.member) } " in Keyhole. Steps can use it; none can see its keys. \
             Go on only if you expected this." }
        form method="post" autocomplete="off" {
            @for one in &fields { (field(one, None)) }
            div .buttons { button .act { @if goes_on { "Go to " (app.title) } @else { "Connect" } } }
        }
        p { small { "This link can be used once." } }
    };
    Ok(bare_leaving(&format!("Connect {}", app.title), content))
}

/// Connects with what was given, or goes on at the service.
async fn connect(
    State(api): State<Arc<Api>>,
    Path(text): Path<String>,
    peer: Peer,
    Form(given): Form<BTreeMap<String, String>>,
) -> Result<Response, Wrong> {
    let (link, app) = open(&api, &text, peer).await?;
    let known: Vec<String> = asked(&app).into_iter().map(|field| field.name).collect();
    let fields = given.into_iter().filter(|(name, value)| known.contains(name) && !value.is_empty());
    let fields: BTreeMap<String, Secret> = fields.map(|(name, value)| (name, Secret::new(value))).collect();

    match app.oauth.as_ref().map(|def| def.flow) {
        None => {
            let given = Connect { app: app.name.clone(), nickname: None, fields, custom: None };
            // Tried before the link is used up: a slip of the hand should not cost it.
            let prepared = api.accounts.prepare(given)?;
            let uid = match tested(&api, &prepared).await {
                Ok(uid) => uid,
                Err(problem) => {
                    // Nor may it be a way to try keys without end.
                    api.failed.note(peer.0)?;
                    return Err(problem.into());
                }
            };
            api.links.redeem(&text).await?;
            finished(&api, peer, &link, api.accounts.store(&link.member, prepared, uid).await?).await
        }
        Some(Flow::ClientCredentials | Flow::Jwt) => {
            api.links.redeem(&text).await?;
            let start = Start { fields, ..Start::of(app.name.clone()) };
            finished(&api, peer, &link, api.oauth().connect_client(&link.member, start).await?).await
        }
        Some(Flow::Member) => {
            let start = Start { fields, ..Start::of(app.name.clone()) };
            let begun = api.oauth().begin(&link.member, start, callback(&api)?.as_str()).await?;
            api.links.redeem(&text).await?;
            Ok(to_service(&api, &begun, &link.member)?)
        }
    }
}

/// Tells the audit of what was connected with `link`, and the browser.
async fn finished(api: &Api, peer: Peer, link: &Link<ConnectAccount>, connected: Connected) -> Result<Response, Wrong> {
    api.record(acts::connected(&connected).by(format!("link {}", link.id)).from(peer.address())).await?;
    Ok(done(&connected.into()))
}

/// Sends the browser to the service, with what ties the one that comes back to it.
pub(super) fn to_service(api: &Api, begun: &Begun, member: &MemberId) -> Result<Response, Problem> {
    let mut response = Redirect::to(begun.url.as_str()).into_response();
    let secure = api.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    // Lax: the service sends the browser here from another site, by a link.
    let cookie = format!(
        "{COOKIE}={}.{member}; Path={CALLBACK}; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax{}",
        begun.state,
        if secure { "; Secure" } else { "" }
    );
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Finishes what the browser began, and no other one did.
async fn come_back(State(api): State<Arc<Api>>, peer: Peer, uri: Uri, headers: HeaderMap) -> Result<Response, Wrong> {
    let stranger = || {
        Problem::wrong("this browser began no connection, or more than 10 minutes ago")
            .help("begin again with another link, and in one browser")
    };
    let (state, member) = cookie(&headers).ok_or_else(stranger)?;
    let mut address = callback(&api)?;
    address.set_query(uri.query());
    let answered = address.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned());
    if !answered.is_some_and(|answered| bool::from(answered.as_bytes().ct_eq(state.as_bytes()))) {
        return Err(stranger().into());
    }
    let connected = api.oauth().finish(&member, &address).await?;
    // Whether they are signed in or had a link, it is the browser that began it.
    api.record(acts::connected(&connected).member(&member).by("browser").from(peer.address())).await?;
    let connected = connected.into();
    let mut response = match came_back(&api, &headers, &connected).await? {
        Some(response) => response,
        None => done(&connected),
    };
    let gone = HeaderValue::from_static("keyhole-connect=; Path=/oauth/callback; Max-Age=0; HttpOnly; SameSite=Lax");
    response.headers_mut().append(header::SET_COOKIE, gone);
    Ok(response)
}

/// What the cookie holds: the attempt's state and its member.
fn cookie(headers: &HeaderMap) -> Option<(String, MemberId)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (state, member) = pairs.find(|(name, _)| *name == COOKIE)?.1.split_once('.')?;
    Some((state.to_owned(), member.parse().ok()?))
}

pub(super) fn callback(api: &Api) -> Result<url::Url, Problem> {
    api.address_of(CALLBACK).ok_or_else(|| {
        Problem::conflict("this Keyhole has no address that a browser could come back to").help("start keyhole serve")
    })
}

/// The link and its app. Whoever tries links is slowed down like whoever tries tokens.
async fn open(api: &Api, text: &str, peer: Peer) -> Result<(Link<ConnectAccount>, Arc<App>), Wrong> {
    match api.links.look(text).await {
        Ok(link) => Ok((link.clone(), app_of(api, &link)?)),
        Err(error) => {
            api.failed.note(peer.0)?;
            Err(error.into())
        }
    }
}

fn app_of(api: &Api, link: &Link<ConnectAccount>) -> Result<Arc<App>, Problem> {
    api.catalog().get(&link.opens.app).cloned().ok_or_else(|| {
        Problem::conflict(format!("the app {} of this link is no longer defined", link.opens.app))
            .help("ask for another link")
    })
}

/// The fields that a person is asked for.
pub(super) fn asked(app: &App) -> Vec<FieldView> {
    AppView::from(app).fields.into_iter().filter(|field| !field.by_oauth).collect()
}

fn done(connected: &ConnectedView) -> Response {
    let content = html! {
        h1 { "Connected" }
        p { b { (connected.nickname) } " now belongs to " b { (connected.owner) } ", and nobody else can use it." }
        @for warning in &connected.warnings { p { (warning) } }
        p { "You can close this page." }
    };
    bare(StatusCode::OK, "Connected", content)
}
