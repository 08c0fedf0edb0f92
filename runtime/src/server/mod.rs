//! The HTTP API: the one way in, for `keyhole serve` over the network and for the commands
//! of the CLI, which call the same router within their own process.
//!
//! Who a caller is, and what they may do, is decided in [`caller`] and nowhere else. A
//! secret comes in with a request and never goes out with an answer, other than a token or
//! connect link in the answer to the request that made it.

mod acts;
mod callbacks;
pub mod caller;
mod console;
pub mod drafting;
mod extract;
mod guard;
pub mod health;
mod hooks;
pub mod listen;
pub mod model;
pub mod problem;
pub mod routes;
mod schema;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use keyhole_host_api::accounts::Accounts;
use keyhole_host_api::apps::Catalog;
use keyhole_host_api::broker::Broker;
use keyhole_host_api::data::DataStores;
use keyhole_host_api::members::Members;
use keyhole_host_api::oauth::OAuth;
use keyhole_host_api::oidc::Oidc;
use keyhole_host_api::passkeys::Passkeys;
use keyhole_host_api::store::{Store, StoreError};
use keyhole_host_api::tokens::{ConnectAccount, Links, Sessions, SignIn, Tokens};
use tokio::sync::{OnceCell, Semaphore, watch};
use url::Url;
use utoipa::openapi::OpenApi;

use console::SetUp;
use drafting::Drafts;
use guard::{BegunSignIns, FailedAttempts, Places, ToldFailures};

use crate::workflow::{Runner, Workflows};

/// What the API works on: one open data directory.
pub struct Api {
    store: Arc<dyn Store>,
    /// Who shares the workspace.
    pub members: Members,
    /// What they connected.
    pub accounts: Arc<Accounts>,
    /// The way out, by which accounts are tested and connected.
    pub broker: Arc<Broker>,
    /// What callers prove who they are with.
    pub tokens: Tokens,
    /// What connects one account without a token.
    pub links: Links<ConnectAccount>,
    /// What signs in to the console, once.
    pub sign_ins: Links<SignIn>,
    /// Browsers that are signed in.
    pub sessions: Sessions,
    /// Keys on members' devices, which sign them in.
    pub passkeys: Passkeys,
    /// Who signs in with the operator's OpenID provider.
    pub oidc: Arc<Oidc>,
    /// What is deployed.
    pub workflows: Arc<Workflows>,
    /// What runs it.
    pub runner: Runner,
    /// What drafts definitions.
    drafts: Drafts,
    /// Whether this process runs what it accepts.
    runs: OnceCell<()>,
    /// Where the members' browsers find this server, if there is one.
    public_url: Option<Url>,
    /// What makes the first member.
    pub set_up: SetUp,
    failed: FailedAttempts,
    told: ToldFailures,
    told_connecting: ToldFailures,
    begun: BegunSignIns,
    /// Places for those who follow the audit.
    followers: Arc<Semaphore>,
    /// Places for those who watch a run in the console.
    watchers: Arc<Places>,
    stopping: watch::Sender<bool>,
    readiness: health::Readiness,
}

/// How many may follow the audit at a time.
const FOLLOWERS: usize = 64;
impl Api {
    /// The API on what an open data directory holds. `public_url` is where browsers reach
    /// it, if they can: `https://keyhole.example.com/`.
    #[allow(clippy::too_many_arguments, reason = "each is a part of the open data directory")]
    pub fn new(
        store: &Arc<dyn Store>,
        members: Members,
        accounts: Arc<Accounts>,
        broker: Arc<Broker>,
        workflows: Arc<Workflows>,
        runner: Runner,
        drafts: Drafts,
        public_url: Option<Url>,
    ) -> Arc<Self> {
        let oidc = Arc::new(Oidc::new(store.clone(), &broker));
        Arc::new(Self {
            store: store.clone(),
            members,
            accounts,
            broker,
            tokens: Tokens::new(store.clone()),
            links: Links::new(store.clone()),
            sign_ins: Links::new(store.clone()),
            sessions: Sessions::new(store.clone(), oidc.bindings().clone()),
            passkeys: Passkeys::new(store.clone(), public_url.as_ref()),
            oidc,
            workflows,
            runner,
            drafts,
            runs: OnceCell::new(),
            public_url,
            set_up: SetUp::default(),
            failed: FailedAttempts::default(),
            told: ToldFailures::default(),
            told_connecting: ToldFailures::default(),
            begun: BegunSignIns::default(),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            watchers: Arc::default(),
            stopping: watch::Sender::new(false),
            readiness: health::Readiness::default(),
        })
    }

    /// Runs what was left by a process before, and the clock's workflows: for a server.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn serve_runs(&self) -> Result<(), StoreError> {
        self.runs.get_or_try_init(|| self.runner.start(true)).await.map(drop)
    }

    /// Makes sure that what is accepted next is run: by this process if somebody waits for it here, else by
    /// whichever server there is.
    async fn begin_runs(&self, here: bool) -> Result<(), StoreError> {
        match here {
            true => self.runs.get_or_try_init(|| self.runner.start_own()).await.map(drop),
            false if self.runs.initialized() => Ok(()),
            false => self.runner.announce().await,
        }
    }

    /// Begins no more runs, and ends the calls that would go on for ever.
    pub fn stop(&self) {
        self.runner.take_no_more();
        self.stopping.send_replace(true);
    }

    fn catalog(&self) -> &Arc<Catalog> {
        self.accounts.catalog()
    }

    /// What steps keep between runs.
    pub fn data(&self) -> &Arc<DataStores> {
        &self.workflows.work().data
    }

    fn oauth(&self) -> &Arc<OAuth> {
        self.broker.oauth()
    }

    /// Where `path` of this server is, for a browser.
    pub fn address_of(&self, path: &str) -> Option<Url> {
        self.public_url.as_ref().and_then(|url| url.join(path).ok())
    }
}

/// Every route, with its guards.
pub fn router(api: Arc<Api>) -> Router {
    let (open, _) = routes::open().split_for_parts();
    let (closed, _) = routes::closed().split_for_parts();
    // Around every route of the API at once, so that none can be left out.
    let authenticate = from_fn_with_state(api.clone(), caller::authenticate);
    let (long, _) = routes::long().split_for_parts();
    // What outsiders call has limits of its own.
    let hooks = hooks::routes().merge(callbacks::routes());
    let acting = from_fn(acts::act_to_its_end);
    open.merge(closed.route_layer(acting).route_layer(authenticate.clone()))
        .layer(guard::body_limit())
        .merge(console::routes(&api))
        .layer(from_fn(guard::within_time))
        .merge(long.route_layer(authenticate))
        .merge(console::long(&api))
        .merge(hooks)
        .merge(health::routes())
        .fallback(console::no_such_page)
        .method_not_allowed_fallback(console::no_such_method)
        .layer(from_fn(guard::answer_headers))
        .layer(guard::catch_panic())
        .with_state(api)
}

/// The OpenAPI document of every route under `/api`.
pub fn document() -> OpenApi {
    let mut closed = routes::closed().into_openapi();
    closed.merge(routes::long().into_openapi());
    schema::document(routes::open().into_openapi(), closed)
}
