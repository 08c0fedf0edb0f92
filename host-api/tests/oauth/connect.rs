//! Connecting: in a browser, from a device, as a client; reconnecting and deleting.

use futures_util::future::join_all;
use keyhole_host_api::accounts::{AccountId, ChangeError};
use keyhole_host_api::apps::REFRESH_TOKEN;
use keyhole_host_api::oauth::{DevicePoll, NewClient, OAuthError, Start, Upstream};
use keyhole_host_api::store::Expect;
use keyhole_host_api::tokens::{ConnectAccount, LinkError, Links, Purpose as _};
use keyhole_host_api::vault::Secret;
use serde_json::json;
use tempfile::TempDir;
use url::Url;

use crate::house::{House, client_secret, use_it, who};
use crate::server::{Browser, CALLBACK, Decision, Server};

pub async fn new() -> (TempDir, Server, House) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let house = House::new(dir.path(), &server).await;
    (dir, server, house)
}

/// Connects an account of alice's for `app`, as `login` at the service.
pub async fn connect(house: &House, browser: &mut Browser, app: &str, login: &str) -> AccountId {
    let begun = house.oauth().begin(&who("alice"), Start::of(app), CALLBACK).await.unwrap();
    let back = browser.open(begun.url.as_str(), login, Decision::Allow).await;
    house.oauth().finish(&who("alice"), &back).await.unwrap().account.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_connects_in_a_browser_and_a_step_uses_the_account() {
    let (dir, server, house) = new().await;
    let begun = house.oauth().begin(&who("alice"), Start::of("notes"), CALLBACK).await.unwrap();
    let query: std::collections::BTreeMap<_, _> = begun.url.query_pairs().into_owned().collect();
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["redirect_uri"], CALLBACK);
    assert_eq!(query["scope"], "openid offline_access notes.read");
    assert_eq!(query["state"], begun.state);

    let back = server.browser().open(begun.url.as_str(), "ann", Decision::Allow).await;
    // Another process finishes it.
    let other = House::open(dir.path(), &server.pem, server.port).await;
    let account = other.oauth().finish(&who("alice"), &back).await.unwrap().account;

    let shown = house.show(&account.id).await;
    assert_eq!((shown.uid.as_deref(), shown.nickname.as_str()), (Some("ann"), "ann@acme.example"));
    assert_eq!(shown.plain["oauth_uid"], "ann");
    assert_eq!(shown.secrets, ["oauth_access_token", REFRESH_TOKEN]);
    assert_eq!(shown.oauth.unwrap().scopes, ["openid", "offline_access", "notes.read"]);

    let session = house.session("alice", "notes", &account.id);
    let injected = session.account("it").await.unwrap();
    assert!(injected.auth.iter().all(|field| field.name != REFRESH_TOKEN), "it never becomes a placeholder");
    let (status, answer) = use_it(&session, "hello").await.unwrap();
    assert_eq!((status, &answer["sub"], &answer["sent"]), (200, &json!("ann"), &json!("hello")));
    let placeholder = injected.auth.iter().find(|field| field.secret).unwrap().value.clone();
    assert_eq!(answer["token"], placeholder, "the token that the service echoes is taken out");

    for secret in [house.secret(&account.id, "oauth_access_token").await, client_secret("keyhole")] {
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "in the clear");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_taken_once_and_only_from_where_it_was_asked_for() {
    let (_dir, server, house) = new().await;
    let (alice, bob) = (who("alice"), who("bob"));
    let oauth = house.oauth();
    let mut browser = server.browser();
    let begun = oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();
    let back = browser.open(begun.url.as_str(), "ann", Decision::Allow).await;

    let with = |name: &str, value: Option<&str>| {
        let mut url = back.clone();
        let kept: Vec<_> =
            back.query_pairs().filter(|(key, _)| key != name).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        url.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(value.map(|value| (name, value)));
        url
    };
    let elsewhere = Url::parse(&back.as_str().replace("8471", "8472")).unwrap();
    let twice = Url::parse(&format!("{back}&state=x")).unwrap();
    assert!(matches!(oauth.finish(&bob, &back).await, Err(OAuthError::NotUnderWay)), "someone else's");
    assert!(matches!(oauth.finish(&alice, &with("state", Some("made-up"))).await, Err(OAuthError::NotUnderWay)));
    assert!(matches!(oauth.finish(&alice, &with("state", None)).await, Err(OAuthError::Answer(_))));
    assert!(matches!(oauth.finish(&alice, &twice).await, Err(OAuthError::Answer(_))));
    assert!(matches!(oauth.finish(&alice, &elsewhere).await, Err(OAuthError::OtherRedirect)));
    assert_eq!(server.count("token requests").await, 0, "nothing was shown to the server");

    // All at once, as a browser that reloads would: one comes through.
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (oauth, back, alice) = (oauth.clone(), back.clone(), alice.clone());
        tries.spawn(async move { oauth.finish(&alice, &back).await.is_ok() });
    }
    assert_eq!(tries.join_all().await.into_iter().filter(|ok| *ok).count(), 1);
    assert_eq!(server.count("token requests").await, 1);

    // Answers from another server, or from none that says who it is (RFC 9207).
    for iss in [Some("https://evil.example"), None] {
        let begun = oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();
        let mut url = Url::parse(CALLBACK).unwrap();
        url.query_pairs_mut().extend_pairs([("state", begun.state.as_str()), ("code", "c")]);
        url.query_pairs_mut().extend_pairs(iss.map(|iss| ("iss", iss)));
        assert!(matches!(oauth.finish(&alice, &url).await, Err(OAuthError::Issuer { .. })), "{iss:?}");
        assert!(matches!(oauth.finish(&alice, &url).await, Err(OAuthError::NotUnderWay)), "its chance is gone");
    }
    assert_eq!(server.count("token requests").await, 1);

    let begun = oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();
    let back = browser.open(begun.url.as_str(), "ann", Decision::Deny).await;
    match oauth.finish(&alice, &back).await {
        Err(OAuthError::Refused(text)) => assert_eq!(text, "access_denied: End-User aborted interaction"),
        other => panic!("{other:?}"),
    }
    for bad in ["http://keyhole.example/callback", "javascript:alert(1)", "https://a.example/#x", "nonsense"] {
        assert!(matches!(oauth.begin(&alice, Start::of("notes"), bad).await, Err(OAuthError::RedirectUri(_))), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_connected_elsewhere() {
    let (_dir, server, house) = new().await;
    let (alice, oauth) = (who("alice"), house.oauth());
    let begun = oauth.begin_device(&alice, Start::of("notes")).await.unwrap();
    assert_eq!(begun.verification_uri, "https://auth.acme.example/device");
    // Nobody asks sooner than the server allows.
    assert!(matches!(oauth.poll_device(&alice, &begun.ticket).await, Ok(DevicePoll::Pending(_))));
    assert_eq!(server.count("token requests").await, 0);
    assert!(matches!(oauth.poll_device(&who("bob"), &begun.ticket).await, Err(OAuthError::NotUnderWay)));

    let mut browser = server.browser();
    let entered = async {
        // After the first poll, so that one finds it pending.
        while server.count("token requests").await == 0 {
            tokio::task::yield_now().await;
        }
        browser.open(begun.verification_uri_complete.as_ref().unwrap(), "dee", Decision::Allow).await;
        Ok(())
    };
    let (connected, ()) = tokio::try_join!(oauth.wait_device(&alice, &begun), entered).unwrap();
    let account = connected.account;
    assert_eq!(house.show(&account.id).await.uid.as_deref(), Some("dee"));
    assert_eq!(server.count("token requests").await, 2);
    assert!(matches!(oauth.poll_device(&alice, &begun.ticket).await, Err(OAuthError::NotUnderWay)));
    let (status, _) = use_it(&house.session("alice", "notes", &account.id), "").await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_itself_needs_no_browser() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 2})).await;
    let mut start = Start::of("robot");
    let secret = client_secret("robot");
    start.fields.insert("client_id".into(), Secret::new("robot".into()));
    start.fields.insert("client_secret".into(), Secret::new("wrong-secret-wrong".into()));
    match house.oauth().connect_client(&who("alice"), start.clone()).await {
        Err(error @ OAuthError::Token { .. }) => {
            let text = error.to_string();
            assert!(text.contains("https://auth.acme.example/token: invalid_client"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    start.fields.insert("client_secret".into(), Secret::new(secret));
    let account = house.oauth().connect_client(&who("alice"), start).await.unwrap().account;
    let shown = house.show(&account.id).await;
    assert_eq!(shown.uid.as_deref(), Some("robot"));
    assert!(!shown.secrets.contains(&REFRESH_TOKEN.to_owned()));
    let session = house.session("alice", "robot", &account.id);
    assert_eq!(use_it(&session, "").await.unwrap().0, 200);
    // Without a refresh token it asks for itself again.
    tokio::time::sleep_until(until(account.oauth.clone().unwrap().expires.unwrap())).await;
    assert_eq!(use_it(&session, "").await.unwrap().0, 200);
    assert_eq!(server.count("client_credentials").await, 2);
}

/// An instant of the machine's clock as tokio has it.
pub fn until(at: jiff::Timestamp) -> tokio::time::Instant {
    let left = std::time::Duration::try_from(at - jiff::Timestamp::now()).unwrap_or_default();
    tokio::time::Instant::now() + left
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_server_is_understood_by_its_definition() {
    let (_dir, server, house) = new().await;
    server.set(json!({"odd": true})).await;
    let account = connect(&house, &mut server.browser(), "odd", "ann").await;
    let shown = house.show(&account).await;
    assert_eq!(shown.uid.as_deref(), Some("U42"));
    assert_eq!((shown.plain["team_id"].as_str(), shown.plain["tenant"].as_str()), ("T7", "tenant.acme.example"));
    let usable = house.accounts.usable(&account, &who("alice")).await.unwrap();
    let tokens = usable.oauth.clone().unwrap();
    assert_eq!(tokens.scopes, ["openid", "offline_access", "notes.read"]);
    assert_eq!((tokens.expires.unwrap() - tokens.obtained).as_secs(), 3600);
    assert!(server.takes(&house.secret(&account, "token").await).await);
    assert!(!house.secret(&account, REFRESH_TOKEN).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnecting_keeps_the_account_and_refuses_somebody_elses_tokens() {
    let (_dir, server, house) = new().await;
    let (alice, oauth) = (who("alice"), house.oauth());
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    house.accounts.grant(&alice, &id, &who("bob")).await.unwrap();
    let before = house.show(&id).await;
    let old = house.secret(&id, "oauth_access_token").await;

    assert!(matches!(oauth.begin(&who("bob"), Start::again(id.clone()), CALLBACK).await, Err(OAuthError::Change(_))));
    let again = |other_identity| Start { other_identity, ..Start::again(id.clone()) };
    let begun = oauth.begin(&alice, again(false), CALLBACK).await.unwrap();
    let back = server.browser().open(begun.url.as_str(), "zoe", Decision::Allow).await;
    match oauth.finish(&alice, &back).await {
        Err(OAuthError::Change(ChangeError::OtherIdentity { .. })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(house.secret(&id, "oauth_access_token").await, old, "nothing changed");

    let begun = oauth.begin(&alice, again(false), CALLBACK).await.unwrap();
    let back = server.browser().open(begun.url.as_str(), "ann", Decision::Allow).await;
    oauth.finish(&alice, &back).await.unwrap();
    let after = house.show(&id).await;
    assert_eq!((&after.id, &after.nickname, &after.access), (&before.id, &before.nickname, &before.access));
    assert_ne!(house.secret(&id, "oauth_access_token").await, old);
    assert_eq!(use_it(&house.session("bob", "notes", &id), "").await.unwrap().0, 200);

    let begun = oauth.begin(&alice, again(true), CALLBACK).await.unwrap();
    let back = server.browser().open(begun.url.as_str(), "zoe", Decision::Allow).await;
    oauth.finish(&alice, &back).await.unwrap();
    assert_eq!(house.show(&id).await.uid.as_deref(), Some("zoe"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_revokes_at_the_service() {
    let (_dir, server, house) = new().await;
    let mut browser = server.browser();
    let id = connect(&house, &mut browser, "notes", "ann").await;
    let token = house.secret(&id, "oauth_access_token").await;
    assert!(server.takes(&token).await);
    assert!(matches!(house.oauth().delete(&who("bob"), &id).await, Err(ChangeError::NotThere(_))));
    assert_eq!(house.oauth().delete(&who("alice"), &id).await.unwrap(), Upstream::Revoked);
    assert!(!server.takes(&token).await);
    assert_eq!(server.count("revocation").await, 2);
    assert!(house.accounts.get(&who("alice"), &id).await.unwrap().is_none());

    let id = connect(&house, &mut browser, "notes", "ann").await;
    house.oauth().unconfigure("notes").await.unwrap();
    match house.oauth().delete(&who("alice"), &id).await.unwrap() {
        Upstream::Failed(why) => assert!(why.contains("keyhole apps configure notes"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(house.accounts.get(&who("alice"), &id).await.unwrap().is_none(), "it is erased all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_configured_or_not_there_is_told() {
    let (_dir, server, house) = new().await;
    let (alice, oauth) = (who("alice"), house.oauth());
    let shown = oauth.configured().await.unwrap();
    assert_eq!(
        shown.iter().map(|client| (client.app.as_str(), client.has_secret)).collect::<Vec<_>>(),
        [("notes", true), ("odd", true)]
    );
    assert!(!serde_json::to_string(&shown).unwrap().contains(&client_secret("keyhole")));
    oauth.unconfigure("odd").await.unwrap();
    assert!(matches!(oauth.begin(&alice, Start::of("odd"), CALLBACK).await, Err(OAuthError::NotConfigured(_))));
    assert!(matches!(oauth.begin(&alice, Start::of("openai"), CALLBACK).await, Err(OAuthError::NotByOAuth(_))));
    let text = oauth.begin(&alice, Start::of("note"), CALLBACK).await.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("did you mean notes?"), "{text}");
    let wrong = NewClient { id: "keyhole".into(), secret: Some(Secret::new("not-the-secret".into())) };
    oauth.configure("notes", wrong).await.unwrap();
    let begun = oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();
    let back = server.browser().open(begun.url.as_str(), "ann", Decision::Allow).await;
    let text = oauth.finish(&alice, &back).await.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("invalid_client") && !text.contains("not-the-secret"), "{text}");
    assert!(house.accounts.list(&alice).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_link_is_used_up_by_the_one_connection_that_comes_to_an_account() {
    let (dir, server, house) = new().await;
    let (alice, oauth) = (who("alice"), house.oauth());
    let links = Links::<ConnectAccount>::new(house.store.clone());
    let opens = ConnectAccount { app: "notes".to_owned() };
    let made = links.create(&alice, opens, ConnectAccount::LIFETIME).await.unwrap();
    let begin = async || {
        let next = Some(Secret::new(format!("/connect/{}", made.text.expose())));
        let start = Start { link: Some(made.link.id.clone()), next, ..Start::of("notes") };
        oauth.begin(&alice, start, CALLBACK).await
    };

    // Who says no at the service has it still, and can be led back to it; who reads the store can't.
    let begun = begin().await.unwrap();
    let origin = oauth.origin(&alice, &begun.state).await.unwrap().expect("it is under way");
    assert!(origin.is_by_link() && origin.next.is_some_and(|next| next.expose().ends_with(made.text.expose())));
    assert!(oauth.origin(&who("bob"), &begun.state).await.unwrap().is_none(), "it is alice's");
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let (text, bytes) = (made.text.expose(), std::fs::read(file.unwrap().path()).unwrap_or_default());
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "in the clear");
    }
    let back = server.browser().open(begun.url.as_str(), "ann", Decision::Deny).await;
    assert!(matches!(oauth.finish(&alice, &back).await, Err(OAuthError::Refused(_))));
    links.look(made.text.expose()).await.unwrap();

    // Of two who allow it at once, one has an account; who comes after them learns of it before the service gives a token.
    let mut allowed = Vec::new();
    for login in ["ann", "ben", "cid"] {
        let begun = begin().await.unwrap();
        allowed.push(server.browser().open(begun.url.as_str(), login, Decision::Allow).await);
    }
    let (first, second) = tokio::join!(oauth.finish(&alice, &allowed[0]), oauth.finish(&alice, &allowed[1]));
    let (mut connected, mut refused) = (0, 0);
    for ended in [first, second] {
        match ended {
            Ok(_) => connected += 1,
            Err(OAuthError::Link(LinkError::NotValid)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((connected, refused), (1, 1));
    let before = server.count("token requests").await;
    assert!(matches!(oauth.finish(&alice, &allowed[2]).await, Err(OAuthError::Link(LinkError::NotValid))));
    assert_eq!(server.count("token requests").await, before);
    assert_eq!(house.accounts.list(&alice).await.unwrap().len(), 1);
    assert!(matches!(links.look(made.text.expose()).await, Err(LinkError::NotValid)));
    assert!(matches!(begin().await, Err(OAuthError::Link(LinkError::NotValid))));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_begun_by_a_link_however_many_try_at_once_and_none_keeps_its_member_from_connecting() {
    let (_dir, _server, house) = new().await;
    let (alice, oauth) = (who("alice"), house.oauth());
    let links = Links::<ConnectAccount>::new(house.store.clone());
    let link = async || {
        let opens = ConnectAccount { app: "notes".to_owned() };
        links.create(&alice, opens, ConnectAccount::LIFETIME).await.unwrap().link.id
    };
    let mut all = Vec::new();
    for _ in 0..3 {
        let id = link().await;
        let start = || Start { link: Some(id.clone()), ..Start::of("notes") };
        let ended = join_all((0..60).map(|_| oauth.begin(&alice, start(), CALLBACK))).await;
        let begun = ended.iter().filter(|one| one.is_ok()).count();
        let refused = ended.iter().filter(|one| matches!(one, Err(OAuthError::TooManyByLink(50)))).count();
        assert_eq!((begun, refused), (50, 10));
        all.push(id);
    }
    oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();

    // What was begun by a link is over with it, and how much that was is forgotten then and not before.
    let kept = async |folder: &str| house.store.scan(folder, None, 1000).await.unwrap().len();
    assert_eq!((kept("oauth-attempts/").await, kept("connect-link-attempts/").await), (151, 3));
    links.revoke(&alice, all[0].as_str()).await.unwrap();
    oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();
    assert_eq!((kept("oauth-attempts/").await, kept("connect-link-attempts/").await), (102, 2));
    let start = Start { link: Some(all[1].clone()), ..Start::of("notes") };
    let again = oauth.begin(&alice, start, CALLBACK).await;
    assert!(matches!(again, Err(OAuthError::TooManyByLink(50))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_began_ends_with_them_and_no_later_bearer_of_the_name_finishes_it() {
    let (_dir, server, house) = new().await;
    let (bob, oauth) = (who("bob"), house.oauth());
    let begun = oauth.begin(&bob, Start::of("notes"), CALLBACK).await.unwrap();
    let back = server.browser().open(begun.url.as_str(), "ann", Decision::Allow).await;
    let (key, record) = house.store.scan("oauth-attempts/", None, 10).await.unwrap().remove(0);
    house.members.remove(&bob).await.unwrap();
    assert!(house.store.scan("oauth-attempts/", None, 10).await.unwrap().is_empty());

    // One that was written while they were removed.
    house.store.write(&key, Expect::Absent, Some(record.value.clone())).await.unwrap();
    house.members.add(bob.clone(), None).await.unwrap();
    assert!(matches!(oauth.finish(&bob, &back).await, Err(OAuthError::NotUnderWay)));
    assert_eq!(server.count("token requests").await, 0);
    let own = oauth.begin(&bob, Start::of("notes"), CALLBACK).await.unwrap();
    assert!(oauth.origin(&bob, &own.state).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_under_way_ends_after_ten_minutes_and_can_not_be_finished_from_the_store() {
    let (dir, server, house) = new().await;
    let (alice, oauth) = (who("alice"), house.oauth());
    let begun = oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();
    let left = (begun.expires - jiff::Timestamp::now()).as_secs();
    assert!((590..=600).contains(&left), "{left}");
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(begun.state.len()).any(|window| window == begun.state.as_bytes()), "a hash will do");
    }
    let back = server.browser().open(begun.url.as_str(), "ann", Decision::Allow).await;

    // Ten minutes later.
    let (key, record) = house.store.scan("oauth-attempts/", None, 10).await.unwrap().remove(0);
    let mut value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
    value["expires"] = json!(jiff::Timestamp::now());
    house.store.write(&key, Expect::Any, Some(value.to_string().into_bytes())).await.unwrap();
    assert!(matches!(oauth.finish(&alice, &back).await, Err(OAuthError::NotUnderWay)));
    assert_eq!(server.count("token requests").await, 0);
    oauth.begin(&alice, Start::of("notes"), CALLBACK).await.unwrap();
    assert_eq!(house.store.scan("oauth-attempts/", None, 10).await.unwrap().len(), 1, "what is over is cleared away");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_deleted_in_mid_refresh_leaves_no_token_behind() {
    let (_dir, server, house) = new().await;
    server.set(json!({"accessTtl": 2})).await;
    let id = connect(&house, &mut server.browser(), "notes", "ann").await;
    crate::keep::expiry(&house, &id).await;
    server.set(json!({"after": 1000})).await;
    let session = house.session("alice", "notes", &id);
    let using = tokio::spawn(async move { use_it(&session, "").await });
    while server.count("refresh_token").await == 0 {
        tokio::task::yield_now().await;
    }
    // Without the service's word, as a member's removal does it.
    house.accounts.delete(&who("alice"), &id).await.unwrap();
    assert!(using.await.unwrap().is_err(), "the grant is read again after the wait");
    while server.count("revocation").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.count("resource").await, 0);
}
