//! The host's side of a step without the engine: a real store, a real vault, a broker and
//! its sessions, for tests that play the step themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt, Full};
use keyhole_host_api::accounts::{AccountId, Accounts, Connect};
use keyhole_host_api::apps::Catalog;
use keyhole_host_api::broker::{
    Audit, Body, Broker, Egress, Limits, Link, RunBooks, Scope, SendError, Session, Timeouts,
};
use keyhole_host_api::members::{MemberId, Members, Role};
use keyhole_host_api::store::Store;
use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::vault::{MasterKeySource, Secret, Vault};
use tempfile::TempDir;

use crate::server::{Authority, Server};
use crate::workspace;

/// A data directory with two members, alice (an admin) and bob.
pub struct Host {
    /// The data directory.
    pub dir: TempDir,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The members.
    pub members: Members,
    catalog: Arc<Catalog>,
}

/// A member's id.
pub fn member(name: &str) -> MemberId {
    name.parse().expect("a member's name")
}

impl Host {
    /// A new one, with the test apps.
    pub async fn new() -> Self {
        Self::with_apps(&workspace::fixture("fixtures/apps")).await
    }

    /// A new one, with the apps of a folder beside the built-in ones.
    pub async fn with_apps(apps: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).expect("a store"));
        let source = MasterKeySource::File(dir.path().join("master.key"));
        let vault = Arc::new(Vault::open(source, &store).await.expect("a vault"));
        let catalog = Arc::new(Catalog::embedded().with_dir(apps).expect("the test apps"));
        let members = Members::new(store.clone());
        members.add(member("alice"), Some(Role::Admin)).await.expect("alice");
        members.add(member("bob"), Some(Role::Member)).await.expect("bob");
        let accounts = Arc::new(Accounts::new(store.clone(), vault, catalog.clone(), "test"));
        Self { dir, store, accounts, members, catalog }
    }

    /// A broker whose egress leads each host to its server.
    pub fn broker(&self, authority: &Authority, servers: &[(&str, &Server)], more: Egress) -> Arc<Broker> {
        let mut egress = Egress {
            ca_certs: vec![authority.pem.clone()],
            allow_ranges: vec!["127.0.0.0/8".parse().expect("a range")],
            ..more
        };
        for (host, server) in servers {
            egress.resolve.push(server.resolve(host).parse().expect("a --resolve value"));
        }
        Arc::new(Broker::new(self.store.clone(), self.accounts.clone(), self.catalog.clone(), egress))
    }

    /// Connects an account of `owner`'s.
    pub async fn connect(&self, owner: &str, app: &str, fields: &[(&str, &str)]) -> AccountId {
        let fields =
            fields.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect();
        let given = Connect { app: app.to_owned(), nickname: None, fields, custom: None };
        self.accounts.connect(&member(owner), given).await.expect("an account").account.id
    }
}

/// What a session is made for: `who`, with each prop linked to an account for an app.
pub fn scope(who: &str, links: &[(&str, &str, Option<&AccountId>)]) -> Scope {
    let props: BTreeMap<String, Link> = links
        .iter()
        .map(|(prop, app, account)| {
            ((*prop).to_owned(), Link { app: (*app).to_owned(), account: account.map(Clone::clone) })
        })
        .collect();
    Scope {
        run: "run-1".to_owned(),
        step: "step".to_owned(),
        member: member(who),
        props,
        allow_hosts: Vec::new(),
        books: RunBooks::new(Limits::default()),
        retries: 0,
    }
}

/// An answer, read whole.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A request as a step makes it.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(bytes::Bytes::copy_from_slice(body.as_bytes()));
    request.body(body.map_err(|never| match never {}).boxed_unsync()).expect("a valid request")
}

/// Sends it and reads the answer.
pub async fn send(session: &Arc<Session>, request: Request<Body>) -> Result<Answer, SendError> {
    let answer = session.clone().send(request, Timeouts::default()).await?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| SendError::Answer(error.to_string()))?.to_bytes().to_vec();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// The whole audit as text, for searching.
pub async fn audit_text(audit: &Audit) -> String {
    audit.flush().await.expect("the audit is written");
    serde_json::to_string(&audit.entries(None).await.expect("the audit is read")).expect("JSON")
}
