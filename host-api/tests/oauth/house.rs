//! A data directory with its members, opened as one process opens it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use keyhole_host_api::accounts::{AccountId, Accounts, Health, Summary};
use keyhole_host_api::apps::Catalog;
use keyhole_host_api::broker::{Broker, Egress, Limits, Link, RunBooks, Scope, SendError, Session, Timeouts};
use keyhole_host_api::members::{MemberId, Members, Role};
use keyhole_host_api::oauth::{NewClient, OAuth};
use keyhole_host_api::store::Store;
use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::vault::{MasterKeySource, Secret, Vault};
use serde_json::Value;

use crate::server::{HOST, HOSTS, Server};

pub fn who(name: &str) -> MemberId {
    name.parse().unwrap()
}

/// What one process has of a data directory.
pub struct House {
    pub store: Arc<dyn Store>,
    pub accounts: Arc<Accounts>,
    pub members: Members,
    pub broker: Arc<Broker>,
}

impl House {
    /// Opens `dir`, whose requests for [`HOST`] go to the server on `port`.
    pub async fn open(dir: &Path, pem: &str, port: u16) -> Self {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir).unwrap());
        let source = MasterKeySource::File(dir.join("master.key"));
        let vault = Arc::new(Vault::open(source, &store).await.unwrap());
        let apps = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oauth/apps");
        let catalog = Arc::new(Catalog::embedded().with_dir(&apps).unwrap());
        let members = Members::new(store.clone());
        let accounts = Arc::new(Accounts::new(store.clone(), vault, catalog.clone(), "test"));
        let egress = Egress {
            ca_certs: vec![pem.to_owned()],
            allow_ranges: vec!["127.0.0.0/8".parse().unwrap()],
            resolve: HOSTS.map(|host| format!("{host}:443:127.0.0.1:{port}").parse().unwrap()).into(),
            ..Egress::default()
        };
        let broker = Arc::new(Broker::new(store.clone(), accounts.clone(), catalog, egress));
        Self { store, accounts, members, broker }
    }

    /// A new one in `dir`, with alice (an admin), bob, and the operator's clients.
    pub async fn new(dir: &Path, server: &Server) -> Self {
        let house = Self::open(dir, &server.pem, server.port).await;
        house.members.add(who("alice"), Some(Role::Admin)).await.unwrap();
        house.members.add(who("bob"), Some(Role::Member)).await.unwrap();
        for (app, client) in [("notes", "keyhole"), ("odd", "keyhole-body")] {
            let secret = Some(Secret::new(client_secret(client)));
            house.oauth().configure(app, NewClient { id: client.to_owned(), secret }).await.unwrap();
        }
        house
    }

    pub fn oauth(&self) -> &Arc<OAuth> {
        self.broker.oauth()
    }

    /// What a run of `member`'s sees of the account.
    pub fn session(&self, member: &str, app: &str, account: &AccountId) -> Arc<Session> {
        let link = Link { app: app.to_owned(), account: Some(account.clone()) };
        self.broker.session(Scope {
            run: "run-1".to_owned(),
            step: "step".to_owned(),
            member: who(member),
            props: BTreeMap::from([("it".to_owned(), link)]),
            allow_hosts: Vec::new(),
            books: RunBooks::new(Limits::default()),
            retries: 0,
        })
    }

    pub async fn show(&self, id: &AccountId) -> Summary {
        self.accounts.get(&who("alice"), id).await.unwrap().unwrap()
    }

    /// The account's own secret, as it is on disk.
    pub async fn secret(&self, id: &AccountId, field: &str) -> String {
        let account = self.accounts.usable(id, &who("alice")).await.unwrap();
        self.accounts.secret(&account, field).unwrap().expose().to_owned()
    }

    /// Why the account must be reconnected.
    pub async fn dead(&self, id: &AccountId) -> Option<String> {
        match self.show(id).await.health {
            Health::Ok => None,
            Health::ReconnectNeeded { reason } => Some(reason),
        }
    }
}

pub fn client_secret(client: &str) -> String {
    format!("{client}-secret-4f1b7c2e9d")
}

/// A step's request to the resource, with the placeholder of the account's token.
pub async fn use_it(session: &Arc<Session>, body: &str) -> Result<(u16, Value), SendError> {
    let injected = session.account("it").await.expect("the account is handed out");
    let (name, value) = injected.headers.iter().find(|(name, _)| name == "authorization").expect("a bearer");
    let body = Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let request = Request::post(format!("https://{HOST}/api/notes")).header(name, value).body(body).unwrap();
    let answer = session.clone().send(request, Timeouts::default()).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

impl House {
    /// Forgets that the tokens were just refreshed because they were refused, as a minute would.
    pub async fn forget_lease(&self, id: &AccountId) {
        self.store.write(&format!("oauth-refreshes/{id}"), keyhole_host_api::store::Expect::Any, None).await.unwrap();
    }
}
