//! The console: what members see in a browser. Pages are made on the server and work without a script.
//!
//! A page asks what the API asks, by the same functions, on behalf of who is signed in; it decides nothing itself.

mod access;
mod account;
mod accounts;
mod audit_table;
mod connect;
mod connect_link;
mod frame;
mod parts;
mod session;
mod sign_in;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::{get, post};

use super::Api;

pub use connect_link::CALLBACK;
pub(super) use frame::{Wrong, bare};
pub use sign_in::SetUp;

/// Every page.
pub(super) fn routes(api: &Arc<Api>) -> Router<Arc<Api>> {
    let closed = Router::new()
        .route("/accounts", get(accounts::list))
        .route("/accounts/new", get(connect::choose))
        .route("/accounts/new/{app}", get(connect::ask).post(connect::connect))
        .route("/accounts/{account}", get(account::show))
        .route("/accounts/{account}/access", get(access::show).post(access::set))
        .route("/accounts/{account}/name", get(account::ask_name).post(account::rename))
        .route("/accounts/{account}/test", post(account::test))
        .route("/accounts/{account}/reconnect", get(connect::ask_again).post(connect::reconnect))
        .route("/accounts/{account}/delete", get(account::ask_delete).post(account::delete))
        .route("/sign-out", post(sign_in::out))
        .route("/sign-out/everywhere", post(sign_in::out_everywhere))
        .route_layer(from_fn_with_state(api.clone(), session::sign_in_first));
    Router::new()
        .route("/", get(async || Redirect::to("/accounts")))
        .route("/assets/{edition}/{name}", get(frame::asset))
        .route("/sign-in", get(sign_in::ask).post(sign_in::by_token))
        .route("/sign-in/{link}", get(sign_in::ask_link).post(sign_in::by_link))
        .route("/set-up/{key}", get(sign_in::ask_set_up).post(sign_in::set_up))
        .merge(connect_link::routes())
        .merge(closed)
}
