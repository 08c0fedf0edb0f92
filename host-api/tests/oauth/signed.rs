//! Accounts whose access token is a JWT that the host makes, or is exchanged for one: the
//! catalog's, at servers that hold the services' own rules and verify with npm `jose`.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use keyhole_host_api::accounts::{Account, AccountId};
use keyhole_host_api::broker::{SendError, Session, Timeouts};
use keyhole_host_api::oauth::{OAuthError, Start};
use keyhole_host_api::vault::Secret;
use serde_json::{Value, json};

use crate::connect::{new, until};
use crate::house::{House, who};
use crate::server::Server;

/// Connects an account of alice's with these fields.
async fn connect(house: &House, app: &str, fields: &[(&str, &str)]) -> Result<Account, OAuthError> {
    let mut start = Start::of(app);
    for (name, value) in fields {
        start.fields.insert((*name).to_owned(), Secret::new((*value).to_owned()));
    }
    Ok(house.oauth().connect_client(&who("alice"), start).await?.account)
}

/// A step's GET with the placeholder of the account's token.
async fn get(session: &Arc<Session>, url: &str) -> Result<(u16, Value), SendError> {
    let injected = session.account("it").await.expect("the account is handed out");
    let (name, value) = injected.headers.iter().find(|(name, _)| name == "authorization").expect("a bearer");
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(url).header(name, value).body(body).unwrap();
    let answer = session.clone().send(request, Timeouts::default()).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

async fn placeholder(session: &Arc<Session>) -> String {
    let injected = session.account("it").await.unwrap();
    let secrets: Vec<_> = injected.auth.iter().filter(|field| field.secret).collect();
    assert_eq!(secrets.len(), 1, "the signing key is no field of $auth");
    secrets[0].value.clone()
}

fn github(key: &str) -> [(&'static str, String); 3] {
    [("app_id", "Iv1.8a61f9b3a7aba766".into()), ("installation_id", "42".into()), ("private_key", key.into())]
}

async fn connect_github(house: &House, key: &str) -> Result<Account, OAuthError> {
    let fields = github(key);
    connect(house, "github_app", &fields.each_ref().map(|(name, value)| (*name, value.as_str()))).await
}

const REPOSITORIES: &str = "https://api.github.com/installation/repositories";
const EXCHANGE: &str = "POST api.github.com/app/installations/42/access_tokens took it";

#[tokio::test(flavor = "multi_thread")]
async fn a_github_app_is_given_an_installation_token_for_its_jwt_and_another_before_that_expires() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 4})).await;
    let account = connect_github(&house, &server.key("RS256", true).await).await.unwrap();
    let session = house.session("alice", "github_app", &account.id);
    let shown = placeholder(&session).await;
    assert!(shown.starts_with("ghs_khp1"), "{shown}");
    let (status, answer) = get(&session, REPOSITORIES).await.unwrap();
    assert_eq!((status, &answer["token"]), (200, &json!(shown)), "what the service echoes is taken out");
    assert_eq!(server.count(EXCHANGE).await, 1);

    // A hundred runs at the instant of expiry cause one exchange.
    server.set(json!({"accessTtl": 3600})).await;
    tokio::time::sleep_until(until(account.oauth.clone().unwrap().expires.unwrap())).await;
    let house = Arc::new(house);
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let session = house.session("alice", "github_app", &account.id);
        runs.spawn(async move { get(&session, REPOSITORIES).await.unwrap().0 });
    }
    assert_eq!(BTreeSet::from_iter(runs.join_all().await), BTreeSet::from([200]));
    assert_eq!(server.count(EXCHANGE).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_google_service_account_is_given_an_access_token_for_its_assertion() {
    let (_dir, server, house) = new().await;
    // As the JSON file has it, with its line breaks escaped.
    let key = server.key("RS256", false).await.replace('\n', "\\n");
    let fields = [("client_email", "robot@project.iam.gserviceaccount.com"), ("private_key", &key)];
    let account = connect(&house, "google_service_account", &fields).await.unwrap();
    let session = house.session("alice", "google_service_account", &account.id);
    let shown = placeholder(&session).await;
    let (status, answer) = get(&session, "https://storage.googleapis.com/storage/v1/b").await.unwrap();
    assert_eq!((status, &answer["token"]), (200, &json!(shown)));
    assert_eq!(account.oauth.unwrap().scopes, ["https://www.googleapis.com/auth/cloud-platform"]);

    // Another's address under this key is refused by the service, and nothing is stored.
    let fields = [("client_email", "boss@project.iam.gserviceaccount.com"), ("private_key", &key)];
    let error = connect(&house, "google_service_account", &fields).await.unwrap_err().to_string();
    assert!(error.contains("https://oauth2.googleapis.com/token: invalid_grant: unexpected \"iss\""), "{error}");
    assert_eq!(house.accounts.list(&who("alice")).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jwt_of_app_store_connect_is_made_here_and_is_the_credential() {
    let (_dir, server, house) = new().await;
    let key = server.key("ES256", false).await;
    let fields =
        [("issuer_id", "57246542-96fe-1a63-e053-0824d011072a"), ("key_id", "2X9R4HXF34"), ("private_key", &key)];
    let account = connect(&house, "app_store_connect", &fields).await.unwrap();
    let session = house.session("alice", "app_store_connect", &account.id);
    let shown = placeholder(&session).await;
    let (status, answer) = get(&session, "https://api.appstoreconnect.apple.com/v1/apps").await.unwrap();
    assert_eq!((status, &answer["token"]), (200, &json!(shown)));
    let tokens = account.oauth.unwrap();
    let life = tokens.expires.unwrap().duration_since(tokens.obtained).as_secs();
    assert_eq!(life, 1200 - 60, "it is kept until it expires, and was set back by a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_makes_what_another_library_verifies() {
    let (_dir, server, house) = new().await;
    for (alg, app) in [("EdDSA", "signed_eddsa"), ("HS256", "signed_hs256")] {
        let key = server.key(alg, false).await;
        let account = connect(&house, app, &[("tenant", "acme"), ("key", &key)]).await.unwrap();
        assert_eq!(account.uid.as_deref(), Some("robot@acme"));
        let session = house.session("alice", app, &account.id);
        let whoami = format!("https://auth.acme.example/signed/{alg}/whoami");
        let (status, answer) = get(&session, &whoami).await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(answer["header"], json!({"alg": alg, "typ": "JWT", "kid": "acme-1"}));
        let claims = &answer["payload"];
        assert_eq!((&claims["iss"], &claims["role"]), (&json!("keyhole"), &json!("reader of acme")));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 120);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 22, "each has an id");
        assert!(!house.secret(&account.id, "token").await.contains(&key));

        // A second account's key makes another JWT, which this service does not take.
        let (kept, _) = (account.id, server.key(alg, false).await);
        refused_once_the_key_is_replaced(&house, app, &kept, &whoami).await;
    }
}

async fn refused_once_the_key_is_replaced(house: &House, app: &str, id: &AccountId, whoami: &str) {
    let session = house.session("alice", app, id);
    assert_eq!(get(&session, whoami).await.unwrap().0, 401, "the server knows another key by now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_sign_is_told_when_it_is_given() {
    let (_dir, server, house) = new().await;
    let (rsa, ec) = (server.key("RS256", false).await, server.key("ES256", false).await);
    let cut = &rsa[..rsa.len() / 2];
    let damaged = rsa.replacen("MII", "AAA", 1);
    for (given, expected) in [
        (ec.as_str(), "private_key: is no RSA private key of at least 2048 bits"),
        (cut, "private_key: holds no private key in PEM"),
        (&damaged, "private_key: is no RSA private key"),
        ("ghs_something", "private_key: holds no private key in PEM"),
        ("{\"private_key\": \"…\"}", "private_key: is a JSON file"),
        ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "private_key: holds a public key"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMCow\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "private_key: is encrypted",
        ),
    ] {
        let error = connect_github(&house, given).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("you find it here: https://github.com/settings/apps"), "{error}");
        assert!(!error.contains("MII") && !error.contains("MCow"), "the key is not quoted: {error}");
    }
    assert_eq!(server.count(EXCHANGE).await, 0, "nothing was sent");
    let short = [("tenant", "acme"), ("key", "hunter2")];
    let error = connect(&house, "signed_hs256", &short).await.unwrap_err().to_string();
    assert!(error.contains("key: has fewer than 32 characters"), "{error}");
}

/// The attack E2: a step chooses no claim, asks for no token, and takes none elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn bound_e2_a_step_gets_no_token_but_the_definitions() {
    let (_dir, server, house) = new().await;
    let account = connect_github(&house, &server.key("RS256", true).await).await.unwrap();
    let session = house.session("alice", "github_app", &account.id);
    let shown = placeholder(&session).await;
    // An installation that it was not given, its own again, and what only the app's own JWT may ask for.
    for path in ["app/installations/43/access_tokens", "app/installations/42/access_tokens", "app", "app/hook/config"] {
        let refused = get(&session, &format!("https://api.github.com/{path}")).await.unwrap_err();
        assert!(matches!(&refused, SendError::Refused(text) if text.contains("does not allow steps")), "{refused}");
    }
    // Towards another host of the same server, which would take it.
    let refused = get(&session, "https://storage.googleapis.com/storage/v1/b").await.unwrap_err();
    assert!(matches!(&refused, SendError::Refused(text) if text.contains("don't go to storage")), "{refused}");
    // As the assertion of a form that says more.
    let form = format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={shown}&scope=admin");
    let body = http_body_util::Full::new(form.into()).map_err(|never| match never {}).boxed_unsync();
    let request = Request::post("https://api.github.com/login/oauth")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .unwrap();
    let refused = session.clone().send(request, Timeouts::default()).await.unwrap_err();
    assert!(matches!(refused, SendError::Refused(_)), "{refused}");
    // The signer knows no purpose under that key.
    let refused = session.sign_hmac("it", "jwt", b"{}").await.unwrap_err().to_string();
    assert!(refused.contains("github_app signs nothing for 'jwt'"), "{refused}");
    assert_eq!(server.count(EXCHANGE).await, 1, "the host's own, when the account was connected");
}

impl Server {
    /// A private key that its services know from now on, in the old form for RSA if `pkcs1`.
    async fn key(&self, alg: &str, pkcs1: bool) -> String {
        self.post("key", json!({"alg": alg, "pkcs1": pkcs1})).await["key"].as_str().unwrap().to_owned()
    }
}
