//! What a browser without a token may do: use a connect link, and come back from the
//! service that it led to. Plain pages without scripts, each of which says for whom and to
//! what an account is about to be connected.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{Router, get};
use keyhole_host_api::accounts::{Connect, Connected};
use keyhole_host_api::apps::{App, Flow};
use keyhole_host_api::broker::audit::Act;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::oauth::{Begun, Origin, Start};
use keyhole_host_api::tokens::{ConnectAccount, KeyId, Link};
use keyhole_host_api::vault::Secret;
use maud::html;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::connect::{again, came_back, came_to_nothing, leaves};
use super::frame::{Wrong, alert, bare};
use super::parts::{added, field};
use super::session::{self, Form, with_next};
use super::sign_in::ours;
use crate::server::caller::Peer;
use crate::server::extract::Path;
use crate::server::model::{AppView, ConnectedView, FieldView};
use crate::server::problem::Problem;
use crate::server::routes::apps::is_ready;
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
    Ok(page(&api, &link, &app, &Form::default(), None).await?)
}

/// The link's page; once more if `problem` kept from what was `given`. Of that, no secret is filled in again.
async fn page(
    api: &Api,
    link: &Link<ConnectAccount>,
    app: &App,
    given: &Form,
    problem: Option<&Problem>,
) -> Result<Response, Problem> {
    let title = format!("Connect {}", app.title);
    let status = problem.map_or(StatusCode::OK, Problem::code);
    if !is_ready(api, app).await? {
        let content = html! {
            h1 { (title) }
            div .notice .wait {
                p { (app.title) " is not set up in this Keyhole, so it can’t be connected yet." }
                p { "Ask " b { (link.member) } ", whom the account is for. This link can be used afterwards." }
            }
        };
        return Ok(bare(status, &title, content));
    }
    let value = |name: &str| given.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let goes_on = leaves(app);
    let content = html! {
        h1 { (title) }
        @if let Some(problem) = problem { (alert(problem)) }
        p { "The account will belong to " b { (link.member) } " in Keyhole. Steps can use it; none can see its keys. \
             Go on only if you expected this." }
        (added(app))
        form method="post" autocomplete="off" {
            @for one in asked(app) { (field(&one, value(&one.name))) }
            div .buttons { button .act { @if goes_on { "Go to " (app.title) } @else { "Connect" } } }
        }
        p { small { "This link can be used once. It is used up when the account is connected, and not before. If it does not \
             work, ask " (link.member) "." } }
    };
    Ok(bare(status, &title, content))
}

/// Connects with what was given, or goes on at the service.
async fn connect(
    State(api): State<Arc<Api>>,
    Path(text): Path<String>,
    peer: Peer,
    request: Request,
) -> Result<Response, Wrong> {
    let (link, app) = open(&api, &text, peer).await?;
    let given = ours(request, &api).await?;
    match connect_by(&api, &text, &link, &app, &given, peer).await {
        Ok(response) => Ok(response),
        // There is no use in giving anything again.
        Err(problem) if problem.is("not-there") || problem.is("too-many") || problem.code().is_server_error() => {
            Err(problem.into())
        }
        Err(problem) => Ok(page(&api, &link, &app, &given, Some(&problem)).await?),
    }
}

async fn connect_by(
    api: &Api,
    text: &str,
    link: &Link<ConnectAccount>,
    app: &App,
    given: &Form,
    peer: Peer,
) -> Result<Response, Problem> {
    let known: Vec<String> = asked(app).into_iter().map(|field| field.name).collect();
    let fields = given.iter().filter(|(name, value)| known.contains(name) && !value.is_empty());
    let fields: BTreeMap<String, Secret> =
        fields.map(|(name, value)| (name.clone(), Secret::new(value.to_string()))).collect();
    // What fails is no way to try keys without end.
    let failed = |problem: Problem| api.failed.note(peer.0).err().unwrap_or(problem);

    // Each way uses the link up just before it stores the account: no slip of the hand costs it, and of several who
    // come so far one stores theirs.
    match app.oauth.as_ref().map(|def| def.flow) {
        None => {
            let given = Connect { app: app.name.clone(), nickname: None, fields, custom: None };
            let prepared = api.accounts.prepare(given)?;
            let uid = tested(api, &prepared).await.map_err(failed)?;
            api.links.redeem(text).await?;
            finished(api, peer, link, api.accounts.store(&link.member, prepared, uid).await?).await
        }
        Some(Flow::ClientCredentials | Flow::Jwt) => {
            let start = Start { fields, link: Some(link.id.clone()), ..Start::of(app.name.clone()) };
            let connected = api.oauth().connect_client(&link.member, start).await;
            finished(api, peer, link, connected.map_err(|error| failed(error.into()))?).await
        }
        Some(Flow::Member) => {
            let next = Some(Secret::new(format!("/connect/{text}")));
            let start = Start { fields, link: Some(link.id.clone()), next, ..Start::of(app.name.clone()) };
            let begun = api.oauth().begin(&link.member, start, callback(api)?.as_str()).await?;
            to_service(api, &begun, &link.member, app)
        }
    }
}

/// Tells the audit of what was connected with `link`, and the browser.
async fn finished(
    api: &Api,
    peer: Peer,
    link: &Link<ConnectAccount>,
    connected: Connected,
) -> Result<Response, Problem> {
    api.record(acts::connected(&connected).by(by_link(&link.id)).from(peer.address())).await?;
    Ok(done(&connected.into()))
}

/// What the audit says of who has a link.
fn by_link(link: &KeyId) -> String {
    format!("link {link}")
}

/// Sends the browser to the service, with what ties the one that comes back to it. Not by a redirect: browsers hold those
/// that follow a form against the policy of its page, to the last one, and how many there are the service alone knows.
pub(super) fn to_service(api: &Api, begun: &Begun, member: &MemberId, app: &App) -> Result<Response, Problem> {
    let title = format!("On to {}", app.title);
    let content = html! {
        h1 { (title) }
        p { "You go on at " (app.title) ", and come back here afterwards." }
        div .buttons { a .button .act href=(begun.url) { "Go to " (app.title) } }
    };
    let mut response = bare(StatusCode::OK, &title, content);
    let secure = api.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    // Lax: the service sends the browser here from another site, by a link.
    let cookie = format!(
        "{COOKIE}={}.{member}; Path={CALLBACK}; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax{}",
        begun.state,
        if secure { "; Secure" } else { "" }
    );
    for (name, value) in [(header::SET_COOKIE, cookie), (header::REFRESH, format!("0; url={}", begun.url))] {
        let value = HeaderValue::from_str(&value).map_err(|error| Problem::internal(&error))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Finishes what the browser began, and no other one did.
async fn come_back(State(api): State<Arc<Api>>, peer: Peer, uri: Uri, headers: HeaderMap) -> Result<Response, Wrong> {
    let visitor = session::visitor(&api, &headers, peer).await?;
    let Some((state, member, address)) = answered(&api, &uri, &headers)? else {
        let problem = Problem::wrong("this browser began no connection, or more than 10 minutes ago")
            .help("begin again, and in one browser");
        return Ok(match visitor {
            Some(visitor) => came_to_nothing(&visitor, &problem, None),
            None => Wrong::from(problem).into_response(),
        });
    };
    let origin = api.oauth().origin(&member, &state).await?;
    let has_link = origin.as_ref().is_some_and(Origin::is_by_link);
    let ended = match &visitor {
        // Whoever is at the browser now may not be who began it.
        Some(visitor) if origin.is_some() && !has_link && visitor.member.id != member => Err(others(&member)),
        _ => api.oauth().finish(&member, &address).await.map_err(Problem::from),
    };
    // Who is signed in may be another, or nobody: it is the browser that began it, or whoever has the link.
    let told = |act: Act| match origin.as_ref().and_then(|origin| origin.link.as_ref()) {
        Some(link) => act.by(by_link(link)).from(peer.address()),
        None => act.member(&member).by("browser").from(peer.address()),
    };
    match (&ended, &origin) {
        (Ok(connected), _) => api.record(told(acts::connected(connected))).await?,
        // What Keyhole could not do is nobody's act.
        (Err(problem), Some(origin)) if !problem.code().is_server_error() => {
            // What fails is no way to try without end.
            if has_link {
                api.failed.note(peer.0)?;
            }
            api.came_to_nothing(told(acts::not_connected(origin, &member, problem))).await?;
        }
        (Err(_), _) => {}
    }
    let ended = ended.map(ConnectedView::from);
    let visitor = visitor.filter(|visitor| visitor.member.id == member);
    let mut response = match (ended, visitor, &origin) {
        (Ok(connected), Some(visitor), Some(origin)) if !has_link => came_back(&visitor, &connected, origin),
        (Ok(connected), ..) => done(&connected),
        // A link that somebody else was faster with leads nowhere any more.
        (Err(problem), ..) if problem.code().is_server_error() || (has_link && problem.is("not-there")) => {
            Wrong::from(problem).into_response()
        }
        (Err(problem), Some(visitor), origin) if !has_link => came_to_nothing(&visitor, &problem, origin.as_ref()),
        (Err(problem), _, Some(origin)) => not_connected(&problem, origin, &member),
        (Err(problem), _, None) => Wrong::from(problem).into_response(),
    };
    let gone = HeaderValue::from_static("keyhole-connect=; Path=/oauth/callback; Max-Age=0; HttpOnly; SameSite=Lax");
    response.headers_mut().append(header::SET_COOKIE, gone);
    Ok(response)
}

/// Why nothing comes of what `member` began in this browser.
fn others(member: &MemberId) -> Problem {
    Problem::not_allowed(format!(
        "{member} began this connection, and somebody else is signed in with this browser now"
    ))
    .help("begin again, for yourself; nothing was connected")
}

/// The state and the member of what this browser began, and the address at which it came back with an answer to that.
fn answered(api: &Api, uri: &Uri, headers: &HeaderMap) -> Result<Option<(String, MemberId, Url)>, Problem> {
    let Some((state, member)) = cookie(headers) else { return Ok(None) };
    let mut address = callback(api)?;
    address.set_query(uri.query());
    let given = address.query_pairs().find(|(name, _)| name == "state").map(|(_, given)| given.into_owned());
    let fits = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(state.as_bytes())));
    Ok(fits.then_some((state, member, address)))
}

/// Says to who has a link, or is signed in no more, that it came to nothing.
fn not_connected(problem: &Problem, origin: &Origin, member: &MemberId) -> Response {
    let again = match &origin.next {
        Some(link) if origin.is_by_link() => link.expose().to_owned(),
        _ => with_next("/sign-in", Some(&again(origin))),
    };
    let content = html! {
        h1 { "Nothing was connected" }
        (alert(problem))
        @if origin.is_by_link() { p { "Your link is not used up. If you did not expect this, ask " b { (member) } ", whom the account is for." } }
        div .buttons { a .button .act href=(again) { "Try again" } }
    };
    bare(problem.code(), "Nothing was connected", content)
}

/// What the cookie holds: the attempt's state and its member.
fn cookie(headers: &HeaderMap) -> Option<(String, MemberId)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (state, member) = pairs.find(|(name, _)| *name == COOKIE)?.1.split_once('.')?;
    Some((state.to_owned(), member.parse().ok()?))
}

pub(super) fn callback(api: &Api) -> Result<Url, Problem> {
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
