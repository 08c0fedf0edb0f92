//! Connecting by OAuth, for a caller who has a token: the CLI, which listens on a loopback
//! address for the browser to come back, or shows a code.
//!
//! A browser that comes without a token uses a connect link instead (`console/connect_link.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::oauth::{DevicePoll, Start};
use url::{Host, Url};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::caller::Caller;
use crate::server::extract::Body;
use crate::server::model::{
    BegunView, ConnectedView, DeviceState, DeviceView, FinishOAuth, PollDevice, StartOAuth, secrets,
};
use crate::server::problem::Problem;
use crate::server::{Api, acts};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(finish))
        .routes(routes!(device))
        .routes(routes!(poll))
        .routes(routes!(client))
}

/// Begin to connect an account in your browser
#[utoipa::path(post, path = "/api/oauth/begin", tag = "accounts", operation_id = "oauth_begin",
    request_body = StartOAuth, responses((status = 200, body = BegunView)))]
pub(in crate::server) async fn begin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(mut start): Body<StartOAuth>,
) -> Answer<BegunView> {
    let member = caller.member()?;
    let redirect = start.redirect_uri.take().ok_or_else(|| {
        Problem::wrong("redirect_uri is missing").help("listen on a loopback address, and give http://127.0.0.1:PORT/…")
    })?;
    // The answer must come to the caller's own machine: any other place could be somebody else's.
    if !Url::parse(&redirect).is_ok_and(|url| is_loopback(&url)) {
        return Err(Problem::wrong("redirect_uri is not on a loopback address")
            .help("give http://127.0.0.1:PORT/…, or make a connect link for a browser elsewhere"));
    }
    let start = to_start(&api, member, start).await?;
    let begun = api.oauth().begin(member, start, &redirect).await?;
    Ok(Json(BegunView { url: begun.url.into(), state: begun.state, expires: begun.expires }))
}

/// Finish it with the address at which your browser came back
#[utoipa::path(post, path = "/api/oauth/finish", tag = "accounts", operation_id = "oauth_finish",
    request_body = FinishOAuth, responses((status = 201, body = ConnectedView)))]
pub(in crate::server) async fn finish(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(finish): Body<FinishOAuth>,
) -> Result<(StatusCode, Json<ConnectedView>), Problem> {
    let member = caller.member()?;
    let callback = Url::parse(finish.callback.0.expose()).map_err(|_| Problem::wrong("callback is not a URL"))?;
    let connected = api.oauth().finish(member, &callback).await?;
    api.did(&caller, acts::connected(&connected)).await?;
    Ok((StatusCode::CREATED, Json(connected.into())))
}

/// Begin to connect an account with a code to enter elsewhere (RFC 8628)
#[utoipa::path(post, path = "/api/oauth/device", tag = "accounts", operation_id = "oauth_device",
    request_body = StartOAuth, responses((status = 200, body = DeviceView)))]
pub(in crate::server) async fn device(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(start): Body<StartOAuth>,
) -> Answer<DeviceView> {
    let member = caller.member()?;
    let start = to_start(&api, member, start).await?;
    let begun = api.oauth().begin_device(member, start).await?;
    Ok(Json(DeviceView {
        ticket: begun.ticket,
        user_code: begun.user_code,
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete,
        expires: begun.expires,
        interval: u64::try_from(begun.interval.as_millis()).unwrap_or(u64::MAX),
    }))
}

/// Ask whether the code was entered
#[utoipa::path(post, path = "/api/oauth/device/poll", tag = "accounts", operation_id = "oauth_device_poll",
    request_body = PollDevice, responses((status = 200, body = DeviceState)))]
pub(in crate::server) async fn poll(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(poll): Body<PollDevice>,
) -> Answer<DeviceState> {
    Ok(Json(match api.oauth().poll_device(caller.member()?, poll.ticket.0.expose()).await? {
        DevicePoll::Pending(wait) => DeviceState::Pending(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        DevicePoll::Connected(connected) => {
            api.did(&caller, acts::connected(&connected)).await?;
            DeviceState::Connected((*connected).into())
        }
    }))
}

/// Connect an account of an app whose client asks for itself (RFC 6749, section 4.4)
#[utoipa::path(post, path = "/api/oauth/client", tag = "accounts", operation_id = "oauth_client",
    request_body = StartOAuth, responses((status = 201, body = ConnectedView)))]
pub(in crate::server) async fn client(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(start): Body<StartOAuth>,
) -> Result<(StatusCode, Json<ConnectedView>), Problem> {
    let member = caller.member()?;
    let start = to_start(&api, member, start).await?;
    let connected = api.oauth().connect_client(member, start).await?;
    api.did(&caller, acts::connected(&connected)).await?;
    Ok((StatusCode::CREATED, Json(connected.into())))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

async fn to_start(api: &Api, by: &MemberId, start: StartOAuth) -> Result<Start, Problem> {
    let account =
        match start.account {
            // What can't be an id is no account's.
            Some(text) => Some(text.parse::<AccountId>().map_err(|_| {
                Problem::not_there(format!("there is no account '{text}'; see `keyhole accounts list`"))
            })?),
            None => None,
        };
    let scopes = match (start.scopes, &account) {
        (None, Some(account)) => scopes(api, by, account).await?,
        (scopes, _) => scopes,
    };
    Ok(Start {
        app: start.app,
        nickname: start.nickname,
        fields: secrets(start.fields),
        scopes,
        account,
        other_identity: start.other_identity,
        untested: !start.test,
        ..Start::default()
    })
}

/// The scopes to ask for when `by` connects their account anew: the definition's, and those that the workflows which
/// use it say they need. None to leave it to the definition.
pub(in crate::server) async fn scopes(
    api: &Api,
    by: &MemberId,
    account: &AccountId,
) -> Result<Option<Vec<String>>, Problem> {
    let Some(account) = api.accounts.get(by, account).await?.filter(|account| account.owner == *by) else {
        return Ok(None);
    };
    let using = api.workflows.using(&account.id).await?;
    let needed: BTreeSet<&String> = using.iter().flat_map(|one| one.scopes.get(&account.id)).flatten().collect();
    let Some(def) = api.catalog().get(&account.app).and_then(|app| app.oauth.as_ref()) else { return Ok(None) };
    let more = needed.into_iter().filter(|scope| !def.scopes.contains(scope)).cloned();
    let all: Vec<String> = def.scopes.iter().cloned().chain(more).collect();
    Ok((all.len() > def.scopes.len()).then_some(all))
}
