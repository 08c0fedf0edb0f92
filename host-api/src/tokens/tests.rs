use super::*;
use crate::members::Role;
use crate::store::redb::RedbStore;

struct Rig {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    members: Members,
    tokens: Tokens,
    alice: MemberId,
}

async fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
    let members = Members::new(store.clone());
    let alice: MemberId = "alice".parse().unwrap();
    members.add("root".parse().unwrap(), Some(Role::Admin)).await.unwrap();
    members.add(alice.clone(), None).await.unwrap();
    Rig { tokens: Tokens::new(store.clone()), store, members, alice, _dir: dir }
}

async fn holder(rig: &Rig, text: &str) -> Option<String> {
    rig.tokens.verify(text).await.unwrap().map(|(member, _)| member.id.to_string())
}

#[tokio::test]
async fn a_token_speaks_for_its_member_until_it_is_revoked() {
    let rig = rig().await;
    let made = rig.tokens.create(&rig.alice, "laptop", LIFETIME).await.unwrap();
    let text = made.text.expose();
    assert_eq!(holder(&rig, text).await.as_deref(), Some("alice"));
    // Also for another process, which holds nothing of it in memory.
    let other = Tokens::new(rig.store.clone());
    assert!(other.verify(text).await.unwrap().is_some());
    assert!(rig.tokens.list(Some(&rig.alice)).await.unwrap()[0].last_used.is_some());

    let somebody: MemberId = "root".parse().unwrap();
    let id = made.token.id.as_str();
    assert!(matches!(rig.tokens.revoke(Some(&somebody), id).await, Err(TokenError::NotThere(_))));
    rig.tokens.revoke(Some(&rig.alice), id).await.unwrap();
    assert_eq!(holder(&rig, text).await, None);
    assert!(other.verify(text).await.unwrap().is_none());
}

#[tokio::test]
async fn a_text_that_differs_in_one_place_opens_nothing() {
    let rig = rig().await;
    let made = rig.tokens.create(&rig.alice, "laptop", LIFETIME).await.unwrap();
    let text = made.text.expose();
    for at in 0..text.len() {
        for by in ['A', 'b', '_', '='] {
            let mut other: Vec<char> = text.chars().collect();
            if other[at] != by {
                other[at] = by;
                let other: String = other.into_iter().collect();
                assert_eq!(holder(&rig, &other).await, None, "{at} {by}");
            }
        }
    }
    for other in ["", "kht_", "kht__", &text[1..], &text[..text.len() - 1], &format!("{text}="), &format!(" {text}")] {
        assert_eq!(holder(&rig, other).await, None, "{other:?}");
    }
    // The id alone, in lower case, is the same ULID and yet no other spelling of the token.
    assert_eq!(holder(&rig, &text.replace(made.token.id.as_str(), &made.token.id.as_str().to_lowercase())).await, None);
}

#[tokio::test]
async fn an_expired_token_opens_nothing() {
    let rig = rig().await;
    let made = rig.tokens.create(&rig.alice, "short", Duration::from_secs(1)).await.unwrap();
    let id = made.token.id.as_str();
    assert!(holder(&rig, made.text.expose()).await.is_some());
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    rig.tokens.records.update(id, |stored| stored.expires = past).await.unwrap();
    assert_eq!(holder(&rig, made.text.expose()).await, None);
}

#[tokio::test]
async fn a_later_member_of_the_same_name_is_not_spoken_for() {
    let rig = rig().await;
    let made = rig.tokens.create(&rig.alice, "laptop", LIFETIME).await.unwrap();
    let links = Links::<ConnectAccount>::new(rig.store.clone());
    let link =
        links.create(&rig.alice, ConnectAccount { app: "acme".to_owned() }, ConnectAccount::LIFETIME).await.unwrap();
    let (kept, _) = rig.tokens.records.get(made.token.id.as_str()).await.unwrap().unwrap();
    rig.members.remove(&rig.alice).await.unwrap();
    assert_eq!(holder(&rig, made.text.expose()).await, None);
    assert!(rig.tokens.list(None).await.unwrap().is_empty());
    rig.members.add(rig.alice.clone(), None).await.unwrap();
    // As if the removal had missed it.
    rig.tokens.records.put(made.token.id.as_str(), Expect::Any, &kept).await.unwrap();
    assert_eq!(holder(&rig, made.text.expose()).await, None);
    assert_eq!(links.redeem(link.text.expose()).await.unwrap_err(), LinkError::NotValid);
}

#[tokio::test]
async fn sealed_no_byte_of_a_token_is_in_the_store() {
    let rig = rig().await;
    let made = rig.tokens.create(&rig.alice, "laptop", LIFETIME).await.unwrap();
    holder(&rig, made.text.expose()).await;
    rig.store.flush().await.unwrap();
    let secret = made.text.expose().rsplit('_').next().unwrap().as_bytes();
    let secret = if secret.len() < 20 { &made.text.expose().as_bytes()[31..] } else { secret };
    for entry in std::fs::read_dir(rig._dir.path()).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(memchr::memmem::find(&bytes, secret).is_none(), "{:?}", entry.path());
    }
}

#[tokio::test]
async fn a_link_opens_once_however_many_try() {
    let rig = rig().await;
    let links = Links::<ConnectAccount>::new(rig.store.clone());
    let link =
        links.create(&rig.alice, ConnectAccount { app: "acme".to_owned() }, ConnectAccount::LIFETIME).await.unwrap();
    let text = link.text.expose();
    assert_eq!(links.look(text).await.unwrap().opens.app, "acme");
    // A link is no token, and no token a link.
    assert_eq!(holder(&rig, &text.replace("khl_", "kht_")).await, None);
    let tries = futures_util::future::join_all((0..8).map(|_| links.redeem(text))).await;
    assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
    assert_eq!(links.look(text).await.unwrap_err(), LinkError::NotValid);
}
