//! Who looks: a member, by their browser's session. Every page but the way in is behind [`sign_in_first`], and every form
//! comes with a key that other sites' pages don't know; one that comes without is refused.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Multipart, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::members::{Member, Role};
use keyhole_host_api::tokens::{Opened, SESSION};
use keyhole_host_api::vault::Secret;
use maud::{Markup, html};
use subtle::ConstantTimeEq as _;
use url::Url;
use zeroize::Zeroizing;

use super::frame::{self, Wrong};
use crate::server::Api;
use crate::server::caller::{Caller, Peer, Proof};
use crate::server::problem::Problem;
use crate::server::{extract, guard};

/// The hidden field of every form.
const KEY: &str = "form_key";

/// What is typed at length, and is no secret.
const TYPED: [(&str, &str); 4] = [
    ("file", "The workflow’s file"),
    ("event", "The event"),
    ("document", "The OpenAPI document"),
    ("definition", "The definition"),
];

/// Somebody who is signed in.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) member: Member,
    pub(super) caller: Caller,
    form_key: String,
}

impl Visitor {
    fn new(opened: Opened, peer: Peer) -> Self {
        let caller = Caller::Member(opened.member.clone(), Proof::Session(opened.id), peer);
        Self { member: opened.member, caller, form_key: opened.form_key }
    }

    /// What every form that changes something holds.
    pub(super) fn key(&self) -> Markup {
        html! { input type="hidden" name=(KEY) value=(self.form_key); }
    }

    pub(super) fn is_admin(&self) -> bool {
        self.member.role == Role::Admin
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Wrong;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Wrong> {
        // Not there only if a route was left out of `sign_in_first`: refused all the same.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::not_allowed("nobody is signed in").into())
    }
}

/// What a form of one of our pages sent.
pub(super) struct Posted {
    pub(super) visitor: Visitor,
    fields: Form,
}

/// The fields of a form, which may be credentials: wiped like those.
pub(super) type Form = Vec<(String, Zeroizing<String>)>;

impl Posted {
    /// The value of the field `name`, without what stands around it; `None` if it is empty.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The value of the field `name` as it was sent.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The same, unless there is nothing in it.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.trim().is_empty())
    }

    /// Each value of the field `name`.
    pub(super) fn all<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

impl FromRequest<Arc<Api>> for Posted {
    type Rejection = Wrong;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Wrong> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, api).await?;
        let fields = form(Request::from_parts(parts, body), api).await?;
        let posted = Self { visitor, fields };
        let given = posted.raw(KEY).unwrap_or("").as_bytes();
        if !bool::from(given.ct_eq(posted.visitor.form_key.as_bytes())) {
            return Err(stranger().into());
        }
        Ok(posted)
    }
}

/// Longest file of a form, in bytes.
pub(super) const MAX_FILE: usize = 16 << 20;
/// Most fields of a form with files.
const MAX_FIELDS: usize = 64;

/// What a form sent, whoever sent it. One that does not come is not waited for.
pub(super) async fn form(request: Request, api: &Arc<Api>) -> Result<Form, Problem> {
    tokio::time::timeout(guard::LIMIT, read(request, api)).await.unwrap_or_else(|_| Err(extract::not_whole()))
}

async fn read(request: Request, api: &Arc<Api>) -> Result<Form, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.starts_with("multipart/form-data") {
        return with_files(request, api).await;
    }
    let form = axum::extract::Form::<Vec<(String, String)>>::from_request(request, api).await;
    let wiped = |(name, value)| (name, Zeroizing::new(value));
    form.map(|axum::extract::Form(fields)| fields.into_iter().map(wiped).collect())
        .map_err(|rejection| no_form(rejection.into_response().status()))
}

/// The same of a form that may have files, which are texts (RFC 7578). Of one that is too long nothing is kept.
async fn with_files(request: Request, api: &Arc<Api>) -> Result<Form, Problem> {
    let form = Multipart::from_request(request, api).await;
    let mut form = form.map_err(|rejection| no_form(rejection.status()))?;
    let (mut fields, mut too_long) = (Form::new(), false);
    while let Some(mut field) = form.next_field().await.map_err(|error| no_form(error.status()))? {
        if fields.len() >= MAX_FIELDS {
            return Err(no_form(StatusCode::BAD_REQUEST));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let mut value = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|error| no_form(error.status()))? {
            too_long |= value.len() + chunk.len() > MAX_FILE;
            if !too_long {
                value.extend_from_slice(&chunk);
            }
        }
        if !too_long {
            let value = String::from_utf8(value).map_err(|_| Problem::wrong("what was sent is no text in UTF-8"))?;
            fields.push((name, Zeroizing::new(value)));
        }
    }
    if too_long { Err(no_form(StatusCode::PAYLOAD_TOO_LARGE)) } else { Ok(fields) }
}

/// What is said of it elsewhere may hold a part of the body.
fn no_form(status: StatusCode) -> Problem {
    Problem::new(status, "malformed", "The form can't be read", "what was sent is no form")
}

fn stranger() -> Problem {
    Problem::not_allowed("this form is not of a page that you opened while signed in as you are now")
        .help("nothing was changed; open the page again, and send it from there")
}

/// Whether a browser says that another site's page made this request. Over plain HTTP, and of old, browsers tell only the
/// origin of what sends a form. One that says nothing is known by its form's key.
pub(super) fn is_foreign(api: &Api, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().unwrap_or_default();
    // A proxy may ask for another host than the browser did.
    let public = api.public_url.as_ref().is_some_and(|url| url.origin().ascii_serialization() == origin);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    !public && host.is_none_or(|host| origin.split_once("://").is_none_or(|(_, from)| from != host))
}

/// Lets past who is signed in; others are led to sign in, and back.
pub(super) async fn sign_in_first(
    State(api): State<Arc<Api>>,
    peer: Peer,
    mut request: Request,
    next: Next,
) -> Response {
    let changes = request.method() != Method::GET;
    if changes && is_foreign(&api, request.headers()) {
        return Wrong::from(stranger()).into_response();
    }
    let opened = match key_of(&api, request.headers()) {
        Some(key) => match api.sessions.open(key.expose(), true).await {
            Ok(opened) => opened,
            Err(error) => return Wrong::from(error).into_response(),
        },
        None => None,
    };
    let Some(mut opened) = opened else {
        let here = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let to = with_next("/sign-in", Some(here));
        return match changes {
            true => signed_out(&to, form(request, &api).await.unwrap_or_default()),
            false => Redirect::to(&to).into_response(),
        };
    };
    let renewed = opened.renewed.take();
    let visitor = Visitor::new(opened, peer);
    request.extensions_mut().insert(visitor.clone());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = frame::wrong(&visitor, problem, response);
    }
    // A page that ended the session has a cookie of its own.
    if let Some(key) = renewed
        && !sets_cookie(&api, &response)
    {
        set_cookie(&api, &mut response, &key);
    }
    response
}

/// Says that a form came too late, gives back what was typed into it, and leads on to its page.
fn signed_out(sign_in: &str, fields: Form) -> Response {
    let typed = |name: &str| fields.iter().find(|(field, value)| field == name && !value.is_empty());
    let typed: Vec<_> = TYPED.iter().filter_map(|&(name, label)| Some((name, label, &typed(name)?.1))).collect();
    let content = html! {
        h1 { "You are signed out" }
        p { "Your session has ended, and nothing was changed. Sign in again to come back to the page." }
        @if !typed.is_empty() { p { "Copy what you typed first: it is not kept." } }
        @for (name, label, text) in &typed {
            label for=(name) { (label) }
            textarea id=(name) rows="12" readonly spellcheck="false" { (text.as_str()) }
        }
        div .buttons { a .button .act href=(sign_in) { "Sign in again" } }
    };
    frame::bare(StatusCode::UNAUTHORIZED, "You are signed out", content)
}

/// `path`, with where to go on from there.
pub(super) fn with_next(path: &str, next: Option<&str>) -> String {
    let Some(next) = next else { return path.to_owned() };
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    format!("{path}?{query}")
}

/// Who the browser is signed in as, if it is.
pub(super) async fn signed_in(api: &Api, headers: &HeaderMap) -> Result<Option<Member>, Problem> {
    Ok(opened(api, headers).await?.map(|opened| opened.member))
}

/// The same, for a page that is for others, too.
pub(super) async fn visitor(api: &Api, headers: &HeaderMap, peer: Peer) -> Result<Option<Visitor>, Problem> {
    Ok(opened(api, headers).await?.map(|opened| Visitor::new(opened, peer)))
}

async fn opened(api: &Api, headers: &HeaderMap) -> Result<Option<Opened>, Problem> {
    match key_of(api, headers) {
        Some(key) => Ok(api.sessions.open(key.expose(), false).await?),
        None => Ok(None),
    }
}

/// Ends the session that the browser brings, if there is one.
pub(super) async fn end(api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(opened) = opened(api, headers).await? {
        api.sessions.end(&opened.id).await?;
    }
    Ok(())
}

/// Its name binds the cookie to this host and to TLS, where there is TLS. It has the port, which cookies don't know: two
/// Keyholes on one machine are to leave each other alone.
fn name(api: &Api) -> (String, &'static str) {
    named(api, "keyhole")
}

/// The same for another cookie.
pub(super) fn named(api: &Api, base: &str) -> (String, &'static str) {
    let port = api.public_url.as_ref().and_then(Url::port).map(|port| format!("-{port}")).unwrap_or_default();
    match api.public_url.as_ref().is_some_and(|url| url.scheme() == "https") {
        true => (format!("__Host-{base}{port}"), "; Secure"),
        false => (format!("{base}{port}"), ""),
    }
}

fn sets_cookie(api: &Api, response: &Response) -> bool {
    let (name, _) = name(api);
    let all = response.headers().get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.filter_map(|value| value.split_once('=')).any(|(cookie, _)| cookie == name)
}

fn key_of(api: &Api, headers: &HeaderMap) -> Option<Secret> {
    cookie(headers, &name(api).0)
}

/// What the browser brings in the cookie `name`.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(cookie, _)| *cookie == name).map(|(_, key)| Secret::new(key.to_owned()))
}

/// Gives the browser its key. Lax, so that a service that sends a browser back finds it signed in.
pub(super) fn set_cookie(api: &Api, response: &mut Response, key: &Secret) {
    let ((name, secure), age) = (name(api), SESSION.as_secs());
    let cookie = format!("{name}={}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}", key.expose());
    if let Ok(mut value) = HeaderValue::from_str(&cookie) {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Takes it back.
pub(super) fn forget_cookie(api: &Api, response: &mut Response) {
    let (name, secure) = name(api);
    let cookie = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
