//! OAuth 2.0, to RFC 9700: how members connect accounts without handing over a password,
//! and how the tokens stay fresh afterwards.
//!
//! [`OAuth`] hangs on the broker ([`Broker::oauth`](crate::broker::Broker::oauth)), by
//! whose client and address guard its requests leave. What an authorization server does
//! differently from others is in its app's definition ([`crate::apps::OAuthDef`]).
//!
//! For a command or an HTTP API:
//!
//! | | |
//! | --- | --- |
//! | `apps configure` | [`OAuth::configure`], [`OAuth::configured`], [`OAuth::unconfigure`]: the operator's client for an app |
//! | `accounts connect` | [`OAuth::begin`] gives a URL for the browser; [`OAuth::finish`] takes the URL at which it came back. Any process on the store can finish what another began |
//! | `accounts connect --device` | [`OAuth::begin_device`] gives a code to show; [`OAuth::poll_device`] asks once, [`OAuth::wait_device`] until it is done |
//! | apps without a member to ask: client credentials, a JWT | [`OAuth::connect_client`] |
//! | `accounts reconnect` | any of these, with [`Start::account`] |
//! | `accounts test` | [`OAuth::test_account`] |
//! | `accounts delete` | [`OAuth::delete`]: revokes at the service, then erases |
//!
//! ```no_run
//! # use keyhole_host_api::{broker::Broker, members::MemberId, oauth::{OAuthError, Start}};
//! # async fn connect(broker: &Broker, alice: &MemberId, url_of_the_callback: url::Url) -> Result<(), OAuthError> {
//! let oauth = broker.oauth();
//! let begun = oauth.begin(alice, Start::of("github"), "http://127.0.0.1:8471/callback").await?;
//! println!("open {}", begun.url);
//! let account = oauth.finish(alice, &url_of_the_callback).await?.account;
//! # Ok(()) }
//! ```
//!
//! Tokens are refreshed by the sessions of runs as they need it (`refresh.rs`): one
//! refresh, however many tasks and processes ask for it at once.
//!
//! It must never hand out a token before what came with it is on disk, nor send a code, a
//! token or a client's secret anywhere but to the endpoints that the definition names.

mod alone;
mod answer;
mod attempt;
mod clients;
mod connect;
mod device;
mod end;
mod error;
mod identity;
mod lease;
mod refresh;
mod test_account;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use answer::AnswerError;
pub(crate) use answer::line;
pub use attempt::Origin;
pub(crate) use attempt::sweep;
pub use clients::{ClientSummary, NewClient};
pub use connect::{Begun, Start};
pub use device::{DeviceBegun, DevicePoll};
pub use end::Upstream;
pub use error::{OAuthError, RefreshError, TokenError};
pub use identity::{Identity, TestError};
pub(crate) use refresh::Need;
pub use test_account::TestAccountError;
pub(crate) use wire::is_redirect_uri;

use crate::accounts::Accounts;
use crate::apps::{App, OAuthDef};
use crate::broker::OwnCalls;
use crate::store::Store;
use crate::store::records::Records;
use crate::tokens::{ConnectAccount, Links};
use crate::vault::Secret;
use attempt::{Attempt, Tries};
use clients::Client;
use lease::Lease;
use wire::ClientKeys;

/// Connects accounts by OAuth and keeps their tokens fresh.
pub struct OAuth {
    accounts: Arc<Accounts>,
    calls: OwnCalls,
    clients: Records<Client>,
    attempts: Records<Attempt>,
    tries: Records<Tries>,
    leases: Records<Lease>,
    links: Links<ConnectAccount>,
    flights: refresh::Flights,
}

impl OAuth {
    /// OAuth for `accounts`, whose requests leave by `calls`.
    pub(crate) fn new(store: Arc<dyn Store>, accounts: Arc<Accounts>, calls: OwnCalls) -> Arc<Self> {
        Arc::new(Self {
            accounts,
            calls,
            clients: Records::new(store.clone()),
            attempts: Records::new(store.clone()),
            tries: Records::new(store.clone()),
            leases: Records::new(store.clone()),
            links: Links::new(store),
            flights: refresh::Flights::default(),
        })
    }

    /// The definition of `app`'s OAuth.
    fn def<'a>(&self, app: &'a App) -> Result<&'a OAuthDef, OAuthError> {
        app.oauth.as_ref().ok_or_else(|| OAuthError::NotByOAuth(app.name.clone()))
    }

    /// The client that asks for an account with these fields: its own, or the operator's.
    async fn keys(
        &self,
        app: &App,
        def: &OAuthDef,
        plain: &BTreeMap<String, String>,
        secret: impl Fn(&str) -> Result<Option<Secret>, OAuthError>,
    ) -> Result<ClientKeys, OAuthError> {
        if def.jwt.is_some() {
            // The key of the JWT proves who asks.
            return Ok(ClientKeys { id: String::new(), secret: None });
        }
        let Some(own) = &def.own_client else { return self.operators_client(&app.name).await };
        let id = plain.get(&own.id).cloned().ok_or_else(|| OAuthError::NotConfigured(app.name.clone()))?;
        let secret = match &own.secret {
            Some(name) => secret(name)?,
            None => None,
        };
        Ok(ClientKeys { id, secret })
    }
}
