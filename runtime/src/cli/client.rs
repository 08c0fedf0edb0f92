//! How commands reach the API, three ways and one router: within this process on the data
//! directory, beside a running `keyhole serve` on the same one (the store takes several
//! writers, so there is no difference to the first), or over HTTP with `KEYHOLE_URL`.
//!
//! Commands must not look around it: what works one way works all three.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use keyhole::server::caller::LocalOperator;
use keyhole::server::model::{AccountView, AppView, Me};
use keyhole::server::problem::{Inner, MEDIA_TYPE, Problem};
use keyhole::server::{Api, router};
use keyhole::workflow::Workflows;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::vault::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt as _;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::error::{Context as _, Error, Result};
use super::home::Home;
use super::settings::{AsMember, EgressFlags, Settings, read_text};

/// How long an answer may take: a little more than the server gives itself.
const LIMIT: Duration = Duration::from_secs(120);

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// The variable that holds the token for a server.
const TOKEN_VARIABLE: &str = "KEYHOLE_TOKEN";

/// What is encoded in an address: all but what RFC 3986 calls unreserved (section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A server, and where the token for it is.
#[derive(Clone)]
pub struct Remote {
    /// Where it is.
    pub url: Url,
    /// The file with the token; else it is in a variable. It is no argument: those are in the
    /// shell's history and in every process list.
    pub token_file: Option<PathBuf>,
    /// A PEM file with a certificate authority of its own.
    pub ca_cert: Option<PathBuf>,
}

impl Remote {
    fn token(&self) -> Result<Secret> {
        let text = Zeroizing::new(match &self.token_file {
            Some(path) => read_text(path)?,
            None => std::env::var(TOKEN_VARIABLE).unwrap_or_default(),
        });
        let token = text.trim();
        if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Error::usage("there is no token for the server").at(&self.url).help(
                "put it into KEYHOLE_TOKEN, or into a file and give --token-file; keyhole tokens create makes one",
            ));
        }
        Ok(Secret::new(token.to_owned()))
    }
}

/// The API, wherever it is.
pub struct Client {
    reach: Reach,
}

enum Reach {
    Here { home: Box<Home>, api: Arc<Api>, router: Router },
    There { http: reqwest::Client, url: Url, token: Secret },
}

/// The workflows of a data directory, for what can't be done by the API.
pub struct LocalWorkflows {
    /// On whose behalf.
    pub member: MemberId,
    /// The workflows.
    pub workflows: Arc<Workflows>,
}

impl LocalWorkflows {
    /// Those of the data directory that the settings lead to.
    pub async fn open(settings: &Settings, egress: &EgressFlags, as_member: &AsMember) -> Result<Self> {
        let home = Home::open(settings).await?;
        let member = home.member(as_member, settings).await?;
        let api = home.api(settings, settings.egress(egress)?, None).await?;
        Ok(Self { member, workflows: api.workflows.clone() })
    }
}

/// A member on whose behalf calls are made.
#[derive(Clone)]
pub struct Acting(pub MemberId);

impl Client {
    /// The API that the settings lead to.
    pub async fn open(settings: &Settings, egress: &EgressFlags) -> Result<Self> {
        if let Some(remote) = &settings.remote {
            return Self::there(remote);
        }
        let home = Home::open(settings).await?;
        let api = home.api(settings, settings.egress(egress)?, None).await?;
        Ok(Self::here(home, api))
    }

    /// An API in this process.
    pub fn here(home: Home, api: Arc<Api>) -> Self {
        Self { reach: Reach::Here { home: Box::new(home), router: router(api.clone()), api } }
    }

    fn there(remote: &Remote) -> Result<Self> {
        let loopback = match remote.url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match remote.url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => {
                return Err(Error::usage(
                    "the server's URL is not https, so everybody on the way could read the token",
                )
                .at(&remote.url)
                .help("give an https URL; http is for 127.0.0.1, [::1] and localhost"));
            }
        }
        // The program's one provider of TLS; the client takes it as the process's default.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(LIMIT);
        if let Some(path) = &remote.ca_cert {
            let pem = read_text(path)?;
            let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).doing("--url-ca-cert")?;
            builder = builder.tls_certs_merge([certificate]);
        }
        let http = builder.build().doing("the HTTP client can't be made")?;
        Ok(Self { reach: Reach::There { http, url: remote.url.clone(), token: remote.token()? } })
    }

    /// On whose behalf calls are: whom flag, variable or file name, or the only member. A
    /// token speaks for its own member alone.
    pub async fn acting(&self, named: &AsMember, settings: &Settings) -> Result<Acting> {
        match &self.reach {
            Reach::Here { home, .. } => Ok(Acting(home.member(named, settings).await?)),
            Reach::There { url, .. } => {
                let me: Me = self.get(None, &["me"]).await?;
                match named.member.as_ref().or(settings.member.as_ref()) {
                    Some(name) if name != me.name.as_str() => {
                        Err(Error::usage(format!("the token is {}'s, and can't speak for {name}", me.name))
                            .at(url)
                            .help(format!("leave --as and KEYHOLE_MEMBER out, or use a token of {name}'s")))
                    }
                    _ => Ok(Acting(me.name)),
                }
            }
        }
    }

    /// The account that `named` means, by its id or nickname.
    pub async fn account(&self, by: &Acting, named: &str) -> Result<AccountView> {
        // These would be another path.
        if matches!(named, "" | "." | "..") {
            return Err(Error::new(format!("there is no account '{named}'; see `keyhole accounts list`")));
        }
        self.get(Some(by), &["accounts", named]).await
    }

    /// The app, or an error that says which was perhaps meant.
    pub async fn app(&self, name: &str) -> Result<AppView> {
        let path = if matches!(name, "" | "." | "..") { "-" } else { name };
        match self.call::<AppView>(Method::GET, None, &["apps", path], &[], None).await? {
            Ok(app) => Ok(app),
            Err(refused) if refused.problem.is("not-there") => Err(refused.into_error().into_usage()),
            Err(refused) => Err(refused.into_error()),
        }
    }

    /// `GET`.
    pub async fn get<T: DeserializeOwned>(&self, by: Option<&Acting>, path: &[&str]) -> Result<T> {
        self.call(Method::GET, by, path, &[], None).await?.map_err(Refused::into_error)
    }

    /// `GET` with a query.
    pub async fn query<T: DeserializeOwned>(
        &self,
        by: Option<&Acting>,
        path: &[&str],
        query: &impl Serialize,
    ) -> Result<T> {
        self.call(Method::GET, by, path, &pairs(query)?, None).await?.map_err(Refused::into_error)
    }

    /// A page of a list, and what `before` is for the next one, if there may be one.
    pub async fn page<T: DeserializeOwned>(
        &self,
        by: Option<&Acting>,
        path: &[&str],
        query: &impl Serialize,
    ) -> Result<(T, Option<String>)> {
        let answer = self.answer(Method::GET, by, path, &pairs(query)?, None).await?;
        let next = answer.next.clone();
        Ok((answer.read()?.map_err(Refused::into_error)?, next))
    }

    /// `GET` of what is too long to be held in memory.
    pub async fn download(&self, path: &[&str], query: &impl Serialize) -> Result<BoxStream<'static, Result<Bytes>>> {
        let address = address(path, &pairs(query)?);
        let (answer, pieces) = match &self.reach {
            Reach::Here { router, .. } => open_here(router, Method::GET, None, &address, Body::empty(), None).await?,
            Reach::There { http, url, token } => {
                open_there(http, url, token, Method::GET, &address, Payload::None).await?
            }
        };
        match answer.status.is_success() {
            true => Ok(pieces),
            false => Err(answer.whole(pieces).await?.refused()?.into_error()),
        }
    }

    /// `POST` of what is too long to be held in memory.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
        pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<T> {
        let address = address(path, &pairs(query)?);
        let (answer, pieces) = match &self.reach {
            Reach::Here { router, .. } => {
                let body = Body::from_stream(pieces);
                open_here(router, Method::POST, None, &address, body, Some(OCTETS)).await?
            }
            Reach::There { http, url, token } => {
                let body = Payload::Pieces(reqwest::Body::wrap_stream(pieces));
                open_there(http, url, token, Method::POST, &address, body).await?
            }
        };
        answer.whole(pieces).await?.read()?.map_err(Refused::into_error)
    }

    /// A call with a body.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        by: Option<&Acting>,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T> {
        // It may hold a secret: wiped once it is sent.
        let body = Bytes::from_owner(Zeroizing::new(serde_json::to_vec(body)?));
        self.call(method, by, path, &[], Some(body)).await?.map_err(Refused::into_error)
    }

    /// A call without a body.
    pub async fn ask<T: DeserializeOwned>(&self, method: Method, by: Option<&Acting>, path: &[&str]) -> Result<T> {
        self.call(method, by, path, &[], None).await?.map_err(Refused::into_error)
    }

    /// The same with a query.
    pub async fn ask_with<T: DeserializeOwned>(
        &self,
        method: Method,
        by: Option<&Acting>,
        path: &[&str],
        query: &impl Serialize,
    ) -> Result<T> {
        self.call(method, by, path, &pairs(query)?, None).await?.map_err(Refused::into_error)
    }

    /// Ends what this process runs of workflows, so that another one goes on with it.
    pub async fn leave(&self) {
        if let Reach::Here { api, .. } = &self.reach {
            api.runner.stop(Duration::ZERO).await;
            if let Err(error) = api.broker.settle().await {
                tracing::warn!(%error, "how often accounts were used could not be written");
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        by: Option<&Acting>,
        path: &[&str],
        query: &[(String, String)],
        body: Option<Bytes>,
    ) -> Result<std::result::Result<T, Refused>> {
        self.answer(method, by, path, query, body).await?.read()
    }

    async fn answer(
        &self,
        method: Method,
        by: Option<&Acting>,
        path: &[&str],
        query: &[(String, String)],
        body: Option<Bytes>,
    ) -> Result<Answer> {
        let address = address(path, query);
        Ok(match &self.reach {
            Reach::Here { router, api, .. } => {
                let answer = here(router, method, by, &address, body).await?;
                // The process may end now, and what was counted in memory with it.
                let settled = api.broker.settle().await;
                if answer.status.is_success() {
                    settled?;
                }
                answer
            }
            Reach::There { http, url, token } => there(http, url, token, method, &address, body).await?,
        })
    }
}

/// What is asked for in the query.
fn pairs(query: &impl Serialize) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    if let Value::Object(members) = serde_json::to_value(query)? {
        for (name, value) in members {
            match value {
                Value::Null => {}
                Value::String(text) => pairs.push((name, text)),
                other => pairs.push((name, other.to_string())),
            }
        }
    }
    Ok(pairs)
}

fn address(path: &[&str], query: &[(String, String)]) -> String {
    let mut address = "/api".to_owned();
    for segment in path {
        address.push('/');
        address.extend(utf8_percent_encode(segment, ENCODED));
    }
    for (index, (name, value)) in query.iter().enumerate() {
        address.push(if index == 0 { '?' } else { '&' });
        address.push_str(name);
        address.push('=');
        address.extend(utf8_percent_encode(value, ENCODED));
    }
    address
}

/// An answer, of whose body nothing was read yet.
struct Head {
    status: StatusCode,
    is_problem: bool,
    next: Option<String>,
    inner: Option<Inner>,
    from: Option<Url>,
}

impl Head {
    async fn whole(self, mut pieces: BoxStream<'static, Result<Bytes>>) -> Result<Answer> {
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece?);
        }
        let Self { status, is_problem, next, inner, from } = self;
        Ok(Answer { status, is_problem, next, body: body.into(), inner, from })
    }
}

struct Answer {
    status: StatusCode,
    is_problem: bool,
    next: Option<String>,
    body: Bytes,
    inner: Option<Inner>,
    from: Option<Url>,
}

impl Answer {
    fn read<T: DeserializeOwned>(self) -> Result<std::result::Result<T, Refused>> {
        if self.status.is_success() {
            return Ok(Ok(serde_json::from_slice(&self.body)
                .map_err(|_| self.strange("something that this version of the program does not know"))?));
        }
        self.refused().map(Err)
    }

    fn refused(self) -> Result<Refused> {
        if !self.is_problem {
            return Err(self.strange(self.status.as_str()));
        }
        let problem: Problem = serde_json::from_slice(&self.body)
            .map_err(|_| self.strange("a problem that this version of the program does not know"))?;
        Ok(Refused { problem, inner: self.inner, from: self.from })
    }

    fn strange(&self, what: &str) -> Error {
        let error = Error::new(format!("the server answered {what}"))
            .help("see that KEYHOLE_URL leads to a Keyhole of this program's version");
        match &self.from {
            Some(url) => error.at(url),
            None => error,
        }
    }
}

/// What the API did not do.
struct Refused {
    problem: Problem,
    inner: Option<Inner>,
    from: Option<Url>,
}

impl Refused {
    fn into_error(self) -> Error {
        let Self { mut problem, inner, from } = self;
        // Within this process the operator is told what happened, not to look into a log.
        if let Some(Inner(text)) = inner {
            problem.detail = text;
        }
        let status = problem.status;
        let error = Error::of(problem);
        match from {
            Some(url) if matches!(status, 401 | 429 | 500..) => error.at(url),
            _ => error,
        }
    }
}

async fn here(
    router: &Router,
    method: Method,
    by: Option<&Acting>,
    address: &str,
    body: Option<Bytes>,
) -> Result<Answer> {
    let kind = body.as_ref().map(|_| JSON);
    let body = body.map_or_else(Body::empty, Body::from);
    let (head, pieces) = open_here(router, method, by, address, body, kind).await?;
    head.whole(pieces).await
}

async fn open_here(
    router: &Router,
    method: Method,
    by: Option<&Acting>,
    address: &str,
    body: Body,
    kind: Option<&str>,
) -> Result<(Head, BoxStream<'static, Result<Bytes>>)> {
    let mut request = Request::builder().method(method).uri(address);
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    let mut request = request.body(body)?;
    request.extensions_mut().insert(LocalOperator { acting_as: by.map(|Acting(member)| member.clone()) });
    let Ok(mut response) = router.clone().oneshot(request).await;
    let inner = response.extensions_mut().remove::<Inner>();
    let (status, is_problem, next) = (response.status(), is_problem(response.headers()), next(response.headers()));
    let pieces = response.into_body().into_data_stream();
    let pieces = pieces.map(|piece| piece.map_err(|error| Error::new(innermost(&error))));
    Ok((Head { status, is_problem, next, inner, from: None }, pieces.boxed()))
}

async fn there(
    http: &reqwest::Client,
    url: &Url,
    token: &Secret,
    method: Method,
    address: &str,
    body: Option<Bytes>,
) -> Result<Answer> {
    let body = body.map_or(Payload::None, Payload::Json);
    let (head, pieces) = open_there(http, url, token, method, address, body).await?;
    head.whole(pieces).await
}

/// What goes with a request.
enum Payload {
    None,
    Json(Bytes),
    /// As long as it takes.
    Pieces(reqwest::Body),
}

async fn open_there(
    http: &reqwest::Client,
    url: &Url,
    token: &Secret,
    method: Method,
    address: &str,
    body: Payload,
) -> Result<(Head, BoxStream<'static, Result<Bytes>>)> {
    // Appended, so that a Keyhole behind a path of another server can be reached.
    let whole: Url = format!("{}{address}", url.as_str().trim_end_matches('/')).parse()?;
    let mut request = http.request(method, whole).bearer_auth(token.expose());
    request = match body {
        Payload::None => request,
        Payload::Json(body) => request.header(header::CONTENT_TYPE, JSON).body(body).timeout(LIMIT),
        Payload::Pieces(body) => request.header(header::CONTENT_TYPE, OCTETS).body(body),
    };
    let failed = {
        let url = url.clone();
        move |error: &reqwest::Error| {
            Error::new(innermost(error))
                .doing("the server can't be reached")
                .at(&url)
                .help("see that keyhole serve runs there, and that KEYHOLE_URL is its address")
        }
    };
    let response = request.send().await.map_err(|error| failed(&error))?;
    let (status, is_problem, next) = (response.status(), is_problem(response.headers()), next(response.headers()));
    let pieces = response.bytes_stream().map(move |piece| piece.map_err(|error| failed(&error)));
    Ok((Head { status, is_problem, next, inner: None, from: Some(url.clone()) }, pieces.boxed()))
}

/// What went wrong at the bottom: "Connection refused", not all that came of it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
}

fn is_problem(headers: &axum::http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE)
}

/// What `before` is in the address of the next page.
fn next(headers: &axum::http::HeaderMap) -> Option<String> {
    let target = headers.get(header::LINK)?.to_str().ok()?.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
    let (_, query) = target.split_once('?')?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(name, value)| (name == "before").then(|| value.into_owned()))
}
