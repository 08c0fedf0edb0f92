//! What the attacks share: a service and an attacker's server, alice's account at the service, and the
//! test in the step's place; or the hostile component, run by the built program.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use keyhole_host_api::accounts::{AccountId, Connect};
use keyhole_host_api::apps::{CustomApp, CustomField, CustomPlace};
use keyhole_host_api::broker::{Body, BodyError, Broker, Decision, Egress, MARKER, Scope, SendError, Session, Use};
use keyhole_host_api::vault::Secret;
use keyhole_tests::host::{Answer, Host, audit_text, member, scope, send};
use keyhole_tests::program::Keyhole;
use keyhole_tests::server::{self, Authority, Received, Server, answer, json};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

pub use keyhole_tests::host::request;
pub use keyhole_tests::program::KEY;

/// The service's host, where alice's account leads.
pub const HOST: &str = "api.acme.example";
/// The attacker's host, and names that look like the service's and lead to it.
pub const EVIL: &str = "evil.example";
pub const LOOKALIKES: [&str; 3] = ["api.acme.example.evil.example", "xn--pi-6kc.acme.example", "acme.example"];

/// Alice's account at a service, an attacker's server, and the broker between.
pub struct Scene {
    pub host: Host,
    pub authority: Authority,
    pub service: Server,
    pub evil: Server,
    pub broker: Arc<Broker>,
    pub account: AccountId,
}

/// One run of alice's, and the placeholder that it was given.
pub struct Run {
    pub session: Arc<Session>,
    pub placeholder: String,
    pub bearer: String,
}

/// A service that says what it received, as text: the target, the headers, the body.
pub fn echo(request: &Received) -> Response<server::Body> {
    let headers: Vec<String> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let body = String::from_utf8_lossy(&request.body);
    json(200, &json!({ "target": request.target, "headers": headers, "body": body }))
}

impl Scene {
    /// At a service that echoes.
    pub async fn new() -> Self {
        Self::at(|authority| Server::http(authority, &[HOST, "ledger.example", "custom.example"], echo)).await
    }

    /// At a service of the test's own.
    pub async fn at(service: impl FnOnce(&Authority) -> Server) -> Self {
        let authority = Authority::default();
        let service = service(&authority);
        let names: Vec<&str> = LOOKALIKES.iter().copied().chain([EVIL]).collect();
        let evil = Server::http(&authority, &names, |_| answer(200, "text/plain", "got it"));
        let host = Host::new().await;
        let mut resolve: Vec<_> = names.iter().map(|name| evil.resolve(name).parse().expect("a value")).collect();
        // Without TLS, on the service's own port under its own name, and on the attacker's.
        for plain in [
            format!("{HOST}:80:127.0.0.1:{}", service.port),
            format!("{HOST}:{0}:127.0.0.1:{0}", service.port),
            format!("{EVIL}:80:127.0.0.1:{}", evil.port),
        ] {
            resolve.push(plain.parse().expect("a --resolve value"));
        }
        let egress = Egress { resolve, ..Egress::default() };
        let services = [(HOST, &service), ("ledger.example", &service), ("custom.example", &service)];
        let broker = host.broker(&authority, &services, egress);
        let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
        Self { host, authority, service, evil, broker, account }
    }

    /// What one of alice's runs may do: use her account, and call the attacker's host without it.
    pub fn scope(&self) -> Scope {
        self.allowing(&[EVIL])
    }

    /// The same with other hosts opened.
    pub fn allowing(&self, hosts: &[&str]) -> Scope {
        let mut scope = scope("alice", &[("acme", "acme", Some(&self.account))]);
        scope.allow_hosts = hosts.iter().map(|host| host.parse().expect("a host")).collect();
        scope
    }

    pub async fn run(&self) -> Run {
        Run::of(self.broker.session(self.scope()), "acme").await
    }

    /// A run with an account for `app` linked.
    pub async fn run_with(&self, app: &str, account: &AccountId) -> Run {
        let mut scope = scope("alice", &[(app, app, Some(account))]);
        scope.allow_hosts.push(EVIL.parse().expect("a host"));
        Run::of(self.broker.session(scope), app).await
    }

    /// A broker on the same store, with other settings. It trusts the same authority.
    pub fn broker_with(&self, egress: Egress) -> Arc<Broker> {
        let egress = Egress { ca_certs: vec![self.authority.pem.clone()], ..egress };
        let catalog = self.host.accounts.catalog().clone();
        Arc::new(Broker::new(self.host.store.clone(), self.host.accounts.clone(), catalog, egress))
    }

    /// Alice's account at a service that she described herself, with the secret in `places`.
    pub async fn custom(&self, host: &str, secret: &str, places: Vec<CustomPlace>) -> AccountId {
        let definition = CustomApp {
            title: String::new(),
            hosts: vec![host.to_owned()],
            base_url: None,
            fields: vec![CustomField { name: "key".to_owned(), secret: true }],
            places,
            headers: Default::default(),
        };
        let fields = [("key".to_owned(), Secret::new(secret.to_owned()))].into();
        let given = Connect { app: "custom".to_owned(), nickname: None, fields, custom: Some(definition) };
        self.host.accounts.connect(&member("alice"), given).await.expect("an account").account.id
    }

    /// The audit's uses, after a look for anything in it that is secret.
    pub async fn uses(&self) -> Vec<Use> {
        self.uses_of(&self.broker).await
    }

    pub async fn uses_of(&self, broker: &Broker) -> Vec<Use> {
        let text = audit_text(broker.audit()).await;
        assert!(!text.contains(KEY) && !text.contains(MARKER), "the audit holds a secret: {text}");
        broker.audit().uses(None).await.expect("the audit is read")
    }

    /// Fails unless the audit has exactly `count` uses, all refused, and nothing of any was sent.
    #[track_caller]
    pub fn all_refused(uses: &[Use], count: usize) {
        assert_eq!(uses.len(), count, "{uses:#?}");
        for used in uses {
            assert!(used.decision == Decision::Refused && used.reason.is_some(), "{used:#?}");
            assert!(used.status.is_none() && used.bytes_in == 0, "{used:#?}");
        }
    }

    /// Fails if anybody connected to the service or to the attacker.
    #[track_caller]
    pub fn untouched(&self) {
        assert_eq!((self.service.accepted(), self.evil.accepted()), (0, 0), "connections to the service and to evil");
    }

    /// Whether the service received the key in some form in which it is written here.
    pub fn service_got(&self, text: &str) -> bool {
        self.service.received().iter().any(|got| {
            got.target.contains(text)
                || got.headers.iter().any(|(name, value)| name.contains(text) || value.contains(text))
                || String::from_utf8_lossy(&got.body).contains(text)
        })
    }
}

impl Run {
    pub async fn of(session: Arc<Session>, prop: &str) -> Self {
        let injected = session.account(prop).await.unwrap_or_else(|error| panic!("{error}"));
        let secret = injected.auth.iter().find(|field| field.secret).expect("a secret field");
        let placeholder = secret.value.clone();
        assert!(placeholder.contains(MARKER));
        Self { session, bearer: format!("Bearer {placeholder}"), placeholder }
    }

    pub async fn send(&self, request: Request<Body>) -> Result<Answer, SendError> {
        send(&self.session, request).await
    }

    /// A GET with the placeholder where it belongs.
    pub async fn get(&self, url: &str) -> Result<Answer, SendError> {
        self.send(request("GET", url, &[("authorization", &self.bearer)], "")).await
    }

    /// Fails unless the request is refused. The reason, in which there is nothing secret.
    #[track_caller]
    pub fn refused(&self, what: &str, outcome: Result<Answer, SendError>) -> String {
        let reason = refused(what, outcome);
        assert!(!reason.contains(KEY) && !reason.contains(&self.placeholder), "{what}: {reason}");
        reason
    }
}

/// The whole of `text`, one frame a piece, with no length stated.
pub fn pieces(method: &str, url: &str, headers: &[(&str, &str)], text: &str, size: usize) -> Request<Body> {
    let frames: Vec<_> = text
        .as_bytes()
        .chunks(size)
        .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    request(method, url, headers, "").map(|_| StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
}

/// Fails unless the request was refused; what the step is told.
#[track_caller]
pub fn refused(what: &str, outcome: Result<Answer, SendError>) -> String {
    match outcome {
        Ok(answer) => panic!("{what}: it was sent: {} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(SendError::Refused(reason)) => reason,
        Err(other) => panic!("{what}: not refused, but {other}"),
    }
}

/// All that a step sees of an answer, as text.
pub fn seen(answer: &Answer) -> String {
    let headers: Vec<String> = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    format!("{}\n{}\n\n{}", answer.status, headers.join("\n"), String::from_utf8_lossy(&answer.body))
}

/// Alice's account and the hostile component, run by the built program.
pub struct Guest {
    pub keyhole: Keyhole,
    pub account: String,
}

impl Guest {
    pub fn new() -> Self {
        let keyhole = Keyhole::default();
        keyhole.member("alice");
        let account = keyhole.connect("alice", KEY);
        Self { keyhole, account }
    }

    /// Has alice's run do `attack`. What became of it.
    pub fn attack(&self, attack: &str, mut how: Value, more: &[&str]) -> Value {
        how["attack"] = json!(attack);
        let link = format!("acme={}", self.account);
        let flags: Vec<&str> = ["--as", "alice", "--link", &link].iter().chain(more).copied().collect();
        let run = self.keyhole.run(&component("hostile"), &how, &flags);
        let text = run.to_string();
        assert!(!text.contains(KEY) && !text.contains(MARKER), "a secret is in what the run recorded: {text}");
        run
    }

    /// The requests as `keyhole audit --json` has them, latest first.
    pub fn audit(&self) -> Value {
        let audit = self.keyhole.call(&["--json", "audit", "--kind", "request"]).ok().json();
        let text = audit.to_string();
        assert!(!text.contains(KEY) && !text.contains(MARKER), "{text}");
        audit
    }
}
