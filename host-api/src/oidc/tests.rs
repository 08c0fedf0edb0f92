//! What a real provider can't be made to say, and who becomes whom. `tests/console/oidc.rs` has the whole way, with a real
//! provider and browsers.

use std::collections::BTreeMap;

use openidconnect::core::{
    CoreEdDsaPrivateSigningKey, CoreGenderClaim, CoreHmacKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
    CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AuthUrl, IdTokenClaims, IssuerUrl, JsonWebKeyId, JsonWebKeySetUrl, Nonce, PrivateSigningKey, ResponseTypes,
    TokenUrl,
};

use super::people::More;
use super::provider::{IdToken, Known, Metadata, MoreMetadata, verified, verifier};
use super::*;
use crate::accounts::Accounts;
use crate::apps::Catalog;
use crate::broker::Egress;
use crate::store::redb::RedbStore;
use crate::tokens::Sessions;
use crate::vault::{MasterKeySource, Vault};

const ISSUER: &str = "https://id.example.com";

fn settings() -> OidcSettings {
    let roles = [("admins", Role::Admin), ("staff", Role::Member)].map(|(group, role)| (group.to_owned(), role));
    OidcSettings {
        issuer: ISSUER.to_owned(),
        client_id: "keyhole".to_owned(),
        client_secret: None,
        label: "Example".to_owned(),
        scopes: Vec::new(),
        groups_claim: "groups".to_owned(),
        member_claim: MemberClaim::PreferredUsername,
        domain: None,
        roles: BTreeMap::from(roles),
        others: Others::Refuse,
        bind_existing: false,
    }
}

struct House {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    members: Members,
    sessions: Sessions,
    oidc: Oidc,
}

/// With the admin root.
async fn house() -> House {
    let house = empty().await;
    house.members.add("root".parse().unwrap(), Some(Role::Admin)).await.unwrap();
    house
}

async fn empty() -> House {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
    let source = MasterKeySource::File(dir.path().join("master.key"));
    let vault = Arc::new(Vault::open(source, &store).await.unwrap());
    let catalog = Arc::new(Catalog::embedded());
    let accounts = Arc::new(Accounts::new(store.clone(), vault, catalog.clone(), "test"));
    let broker = Broker::new(store.clone(), accounts, catalog, Egress::default());
    let (members, oidc) = (Members::new(store.clone()), Oidc::new(store.clone(), &broker));
    let sessions = Sessions::new(store.clone(), oidc.bindings().clone());
    oidc.change(Some(settings()));
    House { _dir: dir, store, members, sessions, oidc }
}

fn person(subject: &str, name: &str, groups: &[&str]) -> Person {
    Person {
        issuer: ISSUER.to_owned(),
        subject: subject.to_owned(),
        username: Some(name.to_owned()),
        email: None,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

impl House {
    async fn admit(&self, settings: &OidcSettings, person: &Person) -> Result<(String, Role), String> {
        let admitted = self.oidc.admit(settings, person, None).await;
        admitted.map(|(member, _)| (member.id.to_string(), member.role)).map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn the_role_follows_the_groups_and_who_has_none_is_refused() {
    let house = house().await;
    let settings = settings();
    let as_admin = house.admit(&settings, &person("1", "alice", &["staff", "admins"])).await.unwrap();
    assert_eq!(as_admin, ("alice".to_owned(), Role::Admin));
    // The name at the provider is looked at once; the person stays who they are.
    let renamed = house.admit(&settings, &person("1", "alicia", &["staff"])).await.unwrap();
    assert_eq!(renamed, ("alice".to_owned(), Role::Member));
    house.admit(&settings, &person("1", "alice", &["admins"])).await.unwrap();
    let refused = house.admit(&settings, &person("1", "alice", &["guests"])).await.unwrap_err();
    assert!(refused.contains("no group of Example"), "{refused}");
    let alice = house.members.get(&"alice".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(alice.role, Role::Member, "what a group gave is gone with it");
    assert!(house.admit(&settings, &person("2", "eve", &[])).await.is_err());
    assert!(house.members.get(&"eve".parse().unwrap()).await.unwrap().is_none());

    let everybody = OidcSettings { others: Others::Member, roles: BTreeMap::new(), ..settings };
    assert_eq!(house.admit(&everybody, &person("2", "eve", &[])).await.unwrap().1, Role::Member);
    house.members.set_role(&alice, Role::Admin).await.unwrap();
    let kept = house.admit(&everybody, &person("1", "alice", &[])).await.unwrap();
    assert_eq!(kept.1, Role::Admin, "without a mapping, roles are Keyhole's own matter");
}

#[tokio::test]
async fn the_only_admin_stays_one_and_the_first_member_is_one() {
    let house = empty().await;
    let first = house.admit(&settings(), &person("1", "alice", &["staff"])).await.unwrap_err();
    assert!(first.contains("no admin yet"), "{first}");
    assert!(house.members.list().await.unwrap().is_empty());
    house.admit(&settings(), &person("1", "alice", &["admins"])).await.unwrap();
    let only = house.admit(&settings(), &person("1", "alice", &["staff"])).await.unwrap();
    assert_eq!(only, ("alice".to_owned(), Role::Admin));
    assert!(house.admit(&settings(), &person("1", "alice", &[])).await.is_err());
    house.admit(&settings(), &person("2", "bob", &["admins"])).await.unwrap();
    assert_eq!(house.admit(&settings(), &person("1", "alice", &["staff"])).await.unwrap().1, Role::Member);
}

#[tokio::test]
async fn nobody_becomes_a_member_that_there_is_by_a_name_alone() {
    let house = house().await;
    let refused = house.admit(&settings(), &person("1", "root", &["staff"])).await.unwrap_err();
    assert!(refused.contains("connect Example in Settings"), "{refused}");

    // The member themselves says who they are there, and from then on nobody else is them.
    let root = house.members.get(&"root".parse().unwrap()).await.unwrap().unwrap();
    house.oidc.admit(&settings(), &person("7", "r", &["admins"]), Some(&root)).await.unwrap();
    assert_eq!(house.admit(&settings(), &person("7", "x", &["admins"])).await.unwrap().0, "root");
    let willing = OidcSettings { bind_existing: true, ..settings() };
    let refused = house.admit(&willing, &person("8", "root", &["admins"])).await.unwrap_err();
    assert!(refused.contains("root is somebody else"), "{refused}");
    let other = house.oidc.admit(&willing, &person("8", "r", &["admins"]), Some(&root)).await;
    assert!(matches!(other, Err(OidcError::OtherPerson { .. })));
    // Of another provider, the same subject is somebody else.
    let elsewhere = Person { issuer: "https://other.example".to_owned(), ..person("7", "root", &["admins"]) };
    assert!(house.admit(&willing, &elsewhere).await.is_err());

    let bob = house.members.add("bob".parse().unwrap(), Some(Role::Member)).await.unwrap();
    assert_eq!(house.admit(&willing, &person("9", "Bob", &["staff"])).await.unwrap().0, "bob");
    let taken = house.oidc.admit(&willing, &person("7", "r", &["admins"]), Some(&bob)).await;
    assert!(matches!(taken, Err(OidcError::OtherBound { .. })), "one person is one member");
}

#[tokio::test]
async fn a_later_member_of_the_name_is_bound_to_nobody() {
    let house = house().await;
    house.admit(&settings(), &person("1", "alice", &["staff"])).await.unwrap();
    let id: MemberId = "alice".parse().unwrap();
    let kept = house.oidc.bindings.of_person(ISSUER, "1").await.unwrap().unwrap();
    house.members.remove(&id).await.unwrap();
    assert!(house.oidc.bindings.of_person(ISSUER, "1").await.unwrap().is_none());
    let other = house.members.add(id.clone(), None).await.unwrap();
    // As if the removal had missed it.
    house.oidc.bindings.keep(&kept).await.unwrap();
    assert!(house.oidc.bindings.of(&id, other.added).await.unwrap().is_none());
    assert!(house.admit(&settings(), &person("1", "alice", &["staff"])).await.is_err());
}

#[tokio::test]
async fn the_name_of_somebody_who_was_removed_lets_nobody_in_by_itself() {
    let house = house().await;
    house.admit(&settings(), &person("1", "alice", &["staff"])).await.unwrap();
    let id: MemberId = "alice".parse().unwrap();
    house.members.remove(&id).await.unwrap();
    for subject in ["1", "2"] {
        let willing = OidcSettings { bind_existing: true, ..settings() };
        let refused = house.admit(&willing, &person(subject, "alice", &["admins"])).await.unwrap_err();
        assert!(refused.contains("keyhole members add alice --invite"), "{refused}");
        assert!(house.members.get(&id).await.unwrap().is_none());
    }
    let added = house.members.add_new(id.clone(), Role::Member, Timestamp::now()).await;
    assert_eq!(added, Err(MemberError::Exists(id.clone())), "nor between two looks");
    // Who is added again by an admin is asked who they are there.
    let again = house.members.add(id, Some(Role::Member)).await.unwrap();
    assert!(house.admit(&settings(), &person("1", "alice", &["staff"])).await.is_err());
    house.oidc.admit(&settings(), &person("1", "alice", &["staff"]), Some(&again)).await.unwrap();
    assert_eq!(house.admit(&settings(), &person("1", "alice", &["staff"])).await.unwrap().0, "alice");
}

#[tokio::test]
async fn of_two_who_come_at_once_with_one_name_the_member_is_bound() {
    let house = house().await;
    let settings = settings();
    for name in ["alice", "bob", "carol", "dave"] {
        let people = ["1", "2"].map(|subject| person(&format!("{subject}{name}"), name, &["staff"]));
        let [one, other] = &people;
        let came = futures_util::future::join(
            house.oidc.admit(&settings, one, None),
            house.oidc.admit(&settings, other, None),
        );
        let came: [_; 2] = came.await.into();
        assert_eq!(came.iter().filter(|came| came.is_ok()).count(), 1, "{came:?}");
        for (came, person) in came.iter().zip(&people) {
            let later = house.oidc.admit(&settings, person, None).await;
            assert_eq!(later.ok(), came.as_ref().ok().cloned(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_removal_takes_nothing_of_a_later_bearer_of_the_name() {
    let house = house().await;
    let (alice, _) = house.oidc.admit(&settings(), &person("1", "alice", &["staff"]), None).await.unwrap();
    let store = house.store.clone();
    Bindings::sweep(&store, &alice.id, alice.added - jiff::SignedDuration::from_nanos(1)).await.unwrap();
    assert!(house.oidc.bindings.of(&alice.id, alice.added).await.unwrap().is_some());
    Bindings::sweep(&store, &alice.id, alice.added).await.unwrap();
    assert!(house.oidc.bindings.of(&alice.id, alice.added).await.unwrap().is_none());
}

#[tokio::test]
async fn another_provider_takes_the_place_of_one_and_ends_what_rests_on_it() {
    let house = house().await;
    let (alice, binding) = house.oidc.admit(&settings(), &person("1", "alice", &["staff"]), None).await.unwrap();
    let key = house.sessions.begin(&alice.id, "", Basis::Oidc(binding)).await.unwrap();
    let opens = async || house.sessions.open(key.expose(), true).await.unwrap().is_some();
    assert!(opens().await);
    house.oidc.change(None);
    assert!(!opens().await, "without a provider");
    let elsewhere = "https://other.example".to_owned();
    let other = OidcSettings { issuer: elsewhere.clone(), bind_existing: true, ..settings() };
    house.oidc.change(Some(other.clone()));
    assert!(!opens().await, "another's");
    assert!(house.oidc.bindings.of(&alice.id, alice.added).await.unwrap().is_none(), "nor is one told so");
    // A name at the new one does not make somebody the member, but the member themselves may say who they are.
    let there = Person { issuer: elsewhere, ..person("1", "alice", &["staff"]) };
    assert!(house.admit(&other, &there).await.is_err());
    house.oidc.admit(&other, &there, Some(&alice)).await.unwrap();
    assert_eq!(house.admit(&other, &there).await.unwrap().0, "alice");
    house.oidc.change(Some(settings()));
    assert!(!opens().await, "the old one is replaced");
}

#[tokio::test]
async fn a_session_ends_with_the_binding_that_it_rests_on() {
    let house = house().await;
    let (alice, binding) = house.oidc.admit(&settings(), &person("1", "alice", &["staff"]), None).await.unwrap();
    let key = house.sessions.begin(&alice.id, "", Basis::Oidc(binding)).await.unwrap();
    assert!(house.sessions.open(key.expose(), true).await.unwrap().is_some());
    house.oidc.bindings.remove(&alice.id).await.unwrap();
    assert!(house.sessions.open(key.expose(), true).await.unwrap().is_none());
    // Another binding is another ground.
    house.oidc.admit(&settings(), &person("1", "alice", &["staff"]), Some(&alice)).await.unwrap();
    assert!(house.sessions.open(key.expose(), true).await.unwrap().is_none());
}

#[test]
fn names_are_of_the_one_domain_and_settings_let_nobody_in_by_mistake() {
    let by_email =
        OidcSettings { member_claim: MemberClaim::Email, domain: Some("example.com".to_owned()), ..settings() };
    let named = |settings: &OidcSettings, email: Option<&str>| {
        let person = Person { email: email.map(str::to_owned), ..person("1", "alice", &[]) };
        settings.name_of(&person).map(|id| id.to_string()).ok()
    };
    assert_eq!(named(&by_email, Some("Alice.Smith@Example.com")).as_deref(), Some("alice.smith"));
    for other in [None, Some("alice@evil.example"), Some("alice@example.com@evil.example"), Some("@example.com")] {
        assert_eq!(named(&by_email, other), None, "{other:?}");
    }
    let upn = OidcSettings { domain: Some("example.com".to_owned()), ..settings() };
    let name = |value: &str| upn.name_of(&person("1", value, &[])).map(|id| id.to_string()).ok();
    assert_eq!(name("alice@example.com").as_deref(), Some("alice"));
    assert_eq!(name("alice@evil.example"), None);

    assert!(settings().check().is_ok());
    for wrong in [
        OidcSettings { issuer: "http://id.example.com".to_owned(), ..settings() },
        OidcSettings { issuer: "https://u:p@id.example.com".to_owned(), ..settings() },
        OidcSettings { roles: BTreeMap::new(), ..settings() },
        OidcSettings { member_claim: MemberClaim::Email, ..settings() },
        OidcSettings { others: Others::Member, ..upn },
        OidcSettings { client_id: String::new(), ..settings() },
        OidcSettings { scopes: vec!["a b".to_owned()], ..settings() },
    ] {
        assert!(wrong.check().is_err());
    }
}

fn metadata(keys: CoreJsonWebKeySet) -> Metadata {
    Metadata::new(
        IssuerUrl::new(ISSUER.to_owned()).unwrap(),
        AuthUrl::new(format!("{ISSUER}/auth")).unwrap(),
        JsonWebKeySetUrl::new(format!("{ISSUER}/keys")).unwrap(),
        vec![ResponseTypes::new(vec![CoreResponseType::Code])],
        vec![CoreSubjectIdentifierType::Public],
        // What it offers is not what is taken.
        vec![CoreJwsSigningAlgorithm::HmacSha256, CoreJwsSigningAlgorithm::None],
        MoreMetadata::default(),
    )
    .set_token_endpoint(Some(TokenUrl::new(format!("{ISSUER}/token")).unwrap()))
    .set_jwks(keys)
}

fn signing_key(id: &str) -> CoreEdDsaPrivateSigningKey {
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(id.to_owned()))).unwrap()
}

fn claims(issuer: &str, audience: &[&str], expires_in: i64, nonce: &str) -> IdTokenClaims<More, CoreGenderClaim> {
    let claims = serde_json::from_value(serde_json::json!({
        "iss": issuer, "aud": audience, "iat": Timestamp::now().as_second(),
        "exp": Timestamp::now().as_second() + expires_in, "nonce": nonce, "sub": "1", "groups": ["staff"],
    }));
    claims.unwrap()
}

#[test]
fn a_token_holds_for_this_keyhole_this_attempt_and_this_provider_alone() {
    let (ours, theirs) = (signing_key("k1"), signing_key("k1"));
    let settings = settings();
    let metadata = metadata(CoreJsonWebKeySet::new(vec![ours.as_verification_key()]));
    let nonce = Nonce::new("n".to_owned());
    let judge = |token: &IdToken| verified(token, &verifier(&settings, &metadata), &nonce).map(drop);
    let signed = |claims, key: &CoreEdDsaPrivateSigningKey| {
        IdToken::new(claims, key, CoreJwsSigningAlgorithm::EdDsa, None, None).unwrap()
    };
    judge(&signed(claims(ISSUER, &["keyhole"], 60, "n"), &ours)).unwrap();
    for (what, claims) in [
        ("another provider's", claims("https://other.example", &["keyhole"], 60, "n")),
        ("with a slash more", claims("https://id.example.com/", &["keyhole"], 60, "n")),
        ("for another client", claims(ISSUER, &["other"], 60, "n")),
        ("for another client, too", claims(ISSUER, &["keyhole", "other"], 60, "n")),
        ("for nobody", claims(ISSUER, &[], 60, "n")),
        ("expired", claims(ISSUER, &["keyhole"], -1, "n")),
        ("of another attempt", claims(ISSUER, &["keyhole"], 60, "m")),
    ] {
        assert!(judge(&signed(claims, &ours)).is_err(), "{what}");
    }
    assert!(judge(&signed(claims(ISSUER, &["keyhole"], 60, "n"), &theirs)).is_err(), "another's key of the same id");
    let without = serde_json::json!({
        "iss": ISSUER, "aud": "keyhole", "iat": Timestamp::now().as_second(),
        "exp": Timestamp::now().as_second() + 60, "sub": "1",
    });
    let without = serde_json::from_value(without).unwrap();
    assert!(judge(&signed(without, &ours)).is_err(), "without a nonce");
    // Signed with what is public, or with the client's secret, or not at all.
    let hmac = CoreHmacKey::new("keyhole");
    let by_hmac =
        IdToken::new(claims(ISSUER, &["keyhole"], 60, "n"), &hmac, CoreJwsSigningAlgorithm::HmacSha256, None, None);
    assert!(judge(&by_hmac.unwrap()).is_err(), "a secret that two know");
    let text = signed(claims(ISSUER, &["keyhole"], 60, "n"), &ours).to_string();
    let body = text.split('.').nth(1).unwrap();
    // {"alg":"none"}
    if let Ok(unsigned) = format!("eyJhbGciOiJub25lIn0.{body}.").parse::<IdToken>() {
        assert!(judge(&unsigned).is_err(), "no signature");
    }
    let (head, signature) = (text.split('.').next().unwrap(), text.rsplit('.').next().unwrap());
    let other = signed(claims(ISSUER, &["keyhole"], 61, "n"), &ours).to_string();
    let mixed: IdToken = format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap()).parse().unwrap();
    assert!(judge(&mixed).is_err(), "another body");
}

#[tokio::test]
async fn an_attempt_is_its_browsers_alone_and_is_finished_once() {
    let house = house().await;
    house.oidc.change(Some(settings()));
    let settings = settings();
    let known = Known { metadata: metadata(CoreJsonWebKeySet::default()) };
    let redirect: Url = "https://keyhole.example/sign-in/oidc/callback".parse().unwrap();
    let begin = async || house.oidc.keep(&settings, &known, &redirect, Some("/runs"), None).await.unwrap();
    let state_of = |begun: &Begun| begun.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let came = |state: &str| Came { state: Some(state.to_owned()), code: Some("c".to_owned()), ..Came::default() };
    let (mine, theirs) = (begin().await, begin().await);
    let asked: BTreeMap<_, _> = mine.url.query_pairs().into_owned().collect();
    assert_eq!((asked["code_challenge_method"].as_str(), asked["response_type"].as_str()), ("S256", "code"));
    assert!(!mine.url.as_str().contains(mine.browser.expose()), "the browser's value goes nowhere");

    // Somebody who has my browser come back with their state signs nobody in, and does not use it up.
    let state = state_of(&theirs);
    for browser in [None, Some(""), Some(mine.browser.expose()), Some(&*state)] {
        let taken = house.oidc.take(&settings, &came(&state), browser).await;
        assert!(matches!(taken, Err(OidcError::OtherBrowser)));
    }
    let (attempt, keys) = house.oidc.take(&settings, &came(&state), Some(theirs.browser.expose())).await.unwrap();
    assert_eq!(attempt.next.as_deref(), Some("/runs"));
    let of_mine = house.oidc.take(&settings, &came(&state_of(&mine)), Some(mine.browser.expose())).await.unwrap().1;
    assert!(keys.nonce.secret() != of_mine.nonce.secret() && keys.verifier.expose() != of_mine.verifier.expose());
    let again = house.oidc.take(&settings, &came(&state), Some(theirs.browser.expose())).await;
    assert!(matches!(again, Err(OidcError::NotUnderWay)));

    let mixed = begin().await;
    let from = Came { iss: Some("https://other.example".to_owned()), ..came(&state_of(&mixed)) };
    assert!(matches!(house.oidc.take(&settings, &from, Some(mixed.browser.expose())).await, Err(OidcError::Issuer(_))));
    let changed = begin().await;
    let other = OidcSettings { client_id: "other".to_owned(), ..settings.clone() };
    let taken = house.oidc.take(&other, &came(&state_of(&changed)), Some(changed.browser.expose())).await;
    assert!(matches!(taken, Err(OidcError::NotUnderWay)));
    let clear: Url = "http://keyhole.example/sign-in/oidc/callback".parse().unwrap();
    assert!(matches!(house.oidc.keep(&settings, &known, &clear, None, None).await, Err(OidcError::NotOverTls(_))));
}

#[tokio::test]
async fn who_is_to_be_bound_must_still_be_signed_in() {
    let house = house().await;
    house.oidc.change(Some(settings()));
    let known = Known { metadata: metadata(CoreJsonWebKeySet::default()) };
    let redirect: Url = "https://keyhole.example/sign-in/oidc/callback".parse().unwrap();
    let root = house.members.get(&"root".parse().unwrap()).await.unwrap().unwrap();
    let other = house.members.add("other".parse().unwrap(), None).await.unwrap();
    for signed_in in [None, Some(&other)] {
        let begun = house.oidc.keep(&settings(), &known, &redirect, None, Some(&root)).await.unwrap();
        let state = begun.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let came = Came { state: Some(state), code: Some("c".to_owned()), ..Came::default() };
        let finished = house.oidc.finish(&came, Some(begun.browser.expose()), signed_in).await;
        assert!(matches!(finished, Err(OidcError::OtherMember(_))));
    }
}

#[tokio::test]
async fn who_connects_is_asked_who_they_are_where_the_provider_can_ask() {
    let house = house().await;
    let root = house.members.get(&"root".parse().unwrap()).await.unwrap().unwrap();
    let redirect: Url = "https://keyhole.example/sign-in/oidc/callback".parse().unwrap();
    for (can, member, asked) in [
        (&["login", "select_account"][..], Some(&root), Some("select_account")),
        (&["none", "login"], Some(&root), Some("login")),
        (&[], Some(&root), None),
        (&["login", "select_account"], None, None),
    ] {
        let mut said = serde_json::to_value(metadata(CoreJsonWebKeySet::default())).unwrap();
        said["prompt_values_supported"] = can.into();
        let known = Known { metadata: serde_json::from_value(said).unwrap() };
        let begun = house.oidc.keep(&settings(), &known, &redirect, None, member).await.unwrap();
        let prompt = begun.url.query_pairs().find(|(name, _)| name == "prompt").map(|(_, value)| value.into_owned());
        assert_eq!(prompt.as_deref(), asked, "{can:?}");
    }
}

#[tokio::test]
async fn two_admins_who_cease_at_once_leave_one() {
    let house = house().await;
    let root = house.members.get(&"root".parse().unwrap()).await.unwrap().unwrap();
    house.members.add("carol".parse().unwrap(), Some(Role::Member)).await.unwrap();
    let admins = async || {
        let all = house.members.list().await.unwrap();
        all.iter().filter(|member| member.role == Role::Admin).map(|member| member.id.clone()).collect::<Vec<_>>()
    };
    for round in 0..4 {
        let other = house.members.add(format!("other{round}").parse().unwrap(), Some(Role::Admin)).await.unwrap();
        let ceases = |member| house.members.set_role(member, Role::Member);
        let _ = futures_util::future::join(ceases(&root), ceases(&other)).await;
        assert!(!admins().await.is_empty(), "of two who became members");
        for id in [&root.id, &other.id] {
            let member = house.members.get(id).await.unwrap().unwrap();
            house.members.set_role(&member, Role::Admin).await.unwrap();
        }
        let _ = futures_util::future::join(ceases(&root), house.members.remove(&other.id)).await;
        assert!(!admins().await.is_empty(), "of one who became a member and one who went");
        house.members.set_role(&root, Role::Admin).await.unwrap();
        let _ = house.members.remove(&other.id).await;
    }
}
