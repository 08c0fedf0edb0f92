//! The console: what members see in a browser. Pages are made on the server and work without a script.
//!
//! A page asks what the API asks, by the same functions, on behalf of who is signed in; it decides nothing itself.

mod access;
mod account;
mod accounts;
mod apps;
mod audit;
mod audit_table;
mod connect;
mod connect_link;
mod custom;
mod frame;
mod import;
mod live;
mod member;
mod members;
mod oidc;
mod parts;
mod passkeys;
mod room;
mod run;
mod runs;
mod session;
mod settings;
mod sign_in;
mod tokens;
mod vault;
mod words;
mod workflow_file;
mod workflow_links;
mod workflows;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};

use super::Api;
use super::acts;
use super::guard;
use super::problem::{self, Problem};

pub(super) use frame::{Wrong, bare};
pub use sign_in::SetUp;

/// For an address that is nothing's: a page for who looks with a browser, and a problem for a program.
pub(super) async fn no_such_page(headers: HeaderMap, uri: Uri) -> Response {
    match asks_for_page(&headers) {
        true => Wrong::from(Problem::not_there("there is nothing at this address")).into_response(),
        false => problem::no_such_route(uri).await.into_response(),
    }
}

/// The same for an address that takes forms alone. Who has it in their browser, perhaps of a form's answer, is led to the
/// page above it, where the form is.
pub(super) async fn no_such_method(headers: HeaderMap, method: Method, uri: Uri) -> Response {
    match above(uri.path()) {
        Some(page) if method == Method::GET && asks_for_page(&headers) => Redirect::to(page).into_response(),
        _ => problem::no_such_method(uri).await.into_response(),
    }
}

/// The page above an address of the console's.
fn above(path: &str) -> Option<&str> {
    let page = match path.strip_prefix('/')?.split('/').next()? {
        // Its forms are all on one page.
        "settings" => "/settings",
        "accounts" | "apps" | "audit" | "members" | "runs" | "sign-in" | "sign-out" | "workflows" => {
            path.rsplit_once('/').map(|(above, _)| above)?
        }
        _ => return None,
    };
    Some(if page.is_empty() { "/" } else { page })
}

fn asks_for_page(headers: &HeaderMap) -> bool {
    let asks = |value: &str| value.split(',').any(|kind| kind.trim().starts_with("text/html"));
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(asks)
}

/// Pages that may take their time.
pub(super) fn long(api: &Arc<Api>) -> Router<Arc<Api>> {
    Router::new()
        .route("/audit/verify", post(audit::verify))
        .route("/settings/vault/check", post(vault::check))
        .route("/settings/vault/rotate", get(vault::ask_rotate).post(vault::rotate))
        .layer(DefaultBodyLimit::max(guard::MAX_BODY))
        .route_layer(map_response(too_long))
        .route_layer(from_fn_with_state(api.clone(), session::sign_in_first))
}

/// Every other page.
pub(super) fn routes(api: &Arc<Api>) -> Router<Arc<Api>> {
    let closed = Router::new()
        .route("/accounts", get(accounts::list))
        .route("/accounts/new", get(connect::choose))
        .route("/accounts/new/custom", get(custom::ask).post(custom::connect))
        .route("/accounts/new/{app}", get(connect::ask).post(connect::connect))
        .route("/accounts/{account}", get(account::show))
        .route("/accounts/{account}/access", get(access::show).post(access::set))
        .route("/accounts/{account}/name", get(account::ask_name).post(account::rename))
        .route("/accounts/{account}/test", post(account::test))
        .route("/accounts/{account}/reconnect", get(connect::ask_again).post(connect::reconnect))
        .route("/accounts/{account}/delete", get(account::ask_delete).post(account::delete))
        .route("/workflows", get(workflows::list))
        .route("/workflows/{owner}/{name}", get(workflows::show))
        .route("/workflows/{owner}/{name}/state", post(workflows::set_state))
        .route("/workflows/{owner}/{name}/links", post(workflow_links::set))
        .route("/workflows/{owner}/{name}/file", post(workflow_file::set))
        .route("/workflows/{owner}/{name}/workflow.toml", get(workflow_file::whole))
        .route("/workflows/{owner}/{name}/runs", post(workflows::run))
        .route("/workflows/{owner}/{name}/delete", get(workflows::ask_delete).post(workflows::delete))
        .route("/runs", get(runs::list))
        .route("/runs/{run}", get(run::show))
        .route("/runs/{run}/run.json", get(run::whole))
        .route("/runs/{run}/events", get(live::events))
        .route("/runs/{run}/retry", post(run::retry))
        .route("/runs/{run}/cancel", post(run::cancel))
        .route("/members", get(members::list).post(members::add))
        .route("/members/{member}", get(member::show))
        .route("/members/{member}/role", post(member::set_role))
        .route("/members/{member}/invite", post(member::invite))
        .route("/members/{member}/remove", get(member::ask_remove).post(member::remove))
        .route("/apps", get(apps::list).post(import::add))
        .route("/apps/{app}", get(apps::show))
        .route("/apps/{app}/client", post(apps::configure))
        .route("/apps/{app}/client/forget", get(apps::ask_forget).post(apps::forget))
        .route("/audit", get(audit::list))
        .route("/settings", get(settings::show))
        .route("/settings/sessions/{session}/end", post(settings::end_session))
        .route("/settings/oidc", post(oidc::connect))
        .route("/settings/oidc/remove", post(oidc::disconnect))
        .route("/settings/passkeys", post(passkeys::register))
        .route("/settings/passkeys/begin", post(passkeys::begin_register))
        .route("/settings/passkeys/{passkey}/remove", post(passkeys::remove))
        .route("/settings/tokens", get(tokens::everyones).post(tokens::create))
        .route("/settings/tokens/{token}/revoke", post(tokens::revoke))
        .route("/settings/links", post(tokens::create_link))
        .route("/settings/links/{link}/revoke", post(tokens::revoke_link))
        .route("/sign-out", post(sign_in::out))
        .route("/sign-out/everywhere", post(sign_in::out_everywhere))
        .route_layer(from_fn(acts::act_to_its_end))
        // Its forms are long, and do nothing.
        .route("/apps/import", get(import::ask).post(import::draft).layer(DefaultBodyLimit::max(import::MAX_FORM)))
        .route_layer(map_response(too_long))
        .route_layer(from_fn_with_state(api.clone(), session::sign_in_first));
    Router::new()
        .route("/", get(async || Redirect::to("/accounts")))
        .route("/assets/{edition}/{name}", get(frame::asset))
        .route("/sign-in", get(sign_in::ask).post(sign_in::by_token))
        .route("/sign-in/oidc", get(oidc::begin))
        .route("/sign-in/oidc/callback", get(oidc::come_back))
        .route("/sign-in/passkey", post(passkeys::sign_in))
        .route("/sign-in/passkey/begin", post(passkeys::begin))
        .route("/sign-in/{link}", get(sign_in::ask_link).post(sign_in::by_link))
        .route("/set-up/{key}", get(sign_in::ask_set_up).post(sign_in::set_up))
        .merge(connect_link::routes())
        // Who comes back from a service does something, too, with a `GET`.
        .layer(from_fn(acts::call_to_its_end))
        .layer(map_response(too_long))
        .merge(closed)
        // A form that is too long is answered as a page, which a layer around these would not do.
        .layer(DefaultBodyLimit::max(guard::MAX_BODY))
}

/// Says of a form that is too long that it is.
async fn too_long(response: Response) -> Response {
    match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Wrong::from(guard::too_long()).into_response(),
        _ => response,
    }
}
