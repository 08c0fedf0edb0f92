//! The master key is exchanged while two processes work on the store.

use keyhole_host_api::oauth::Start;
use keyhole_host_api::store::Expect;
use keyhole_host_api::upkeep;
use keyhole_host_api::vault::VaultError;
use serde_json::json;

use crate::connect::{connect, new};
use crate::house::{House, who};
use crate::server::{CALLBACK, Decision};

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_rotated_under_accounts_clients_and_connections_under_way() {
    let (dir, server, house) = new().await;
    let other = House::open(dir.path(), &server.pem, server.port).await;
    let mut browser = server.browser();
    let id = connect(&house, &mut browser, "notes", "ann").await;
    let before = house.secret(&id, "oauth_access_token").await;
    let begun = other.oauth().begin(&who("alice"), Start::of("notes"), CALLBACK).await.unwrap();

    let rotated = upkeep::rotate(&house.accounts, house.oauth()).await.unwrap();
    let (from, to) = (rotated.rotation.from, rotated.rotation.to);
    assert_eq!(rotated.report.keys, [(to.clone(), 3)].into(), "an account and two clients");
    assert!(rotated.report.damaged.is_empty());

    // The one that was not told opens what is sealed anew, and seals with the new key.
    assert_eq!(other.secret(&id, "oauth_access_token").await, before);
    let back = browser.open(begun.url.as_str(), "ann", Decision::Allow).await;
    let report = upkeep::check(&house.accounts, house.oauth()).await.unwrap();
    assert_eq!(report.keys, [(from.clone(), 1), (to.clone(), 3)].into(), "the connection that is under way");
    let error = upkeep::forget(&house.accounts, house.oauth(), &from).await.unwrap_err();
    assert!(matches!(error, VaultError::InUse { uses: 1, .. }), "{error}");
    other.oauth().finish(&who("alice"), &back).await.unwrap();
    let report = upkeep::check(&house.accounts, house.oauth()).await.unwrap();
    assert_eq!(report.keys, [(to.clone(), 4)].into());
    assert_eq!((report.opened, report.damaged.len()), (4, 0));

    upkeep::forget(&house.accounts, house.oauth(), &from).await.unwrap();
    drop((house, other));
    let later = House::open(dir.path(), &server.pem, server.port).await;
    assert_eq!(later.secret(&id, "oauth_access_token").await, before);
    assert!(later.oauth().configured().await.unwrap().iter().all(|client| client.has_secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_open_is_named_and_the_others_are_rotated_all_the_same() {
    let (_dir, server, house) = new().await;
    let mut browser = server.browser();
    let good = connect(&house, &mut browser, "notes", "ann").await;
    let bad = connect(&house, &mut browser, "notes", "ben").await;
    // What someone who can write the store and has no key would do.
    let key = format!("accounts/{bad}");
    let mut record: serde_json::Value =
        serde_json::from_slice(&house.store.get(&key).await.unwrap().unwrap().value).unwrap();
    record["account"]["plain"]["tenant"] = json!("evil");
    house.store.write(&key, Expect::Any, Some(record.to_string().into_bytes())).await.unwrap();

    let rotated = upkeep::rotate(&house.accounts, house.oauth()).await.unwrap();
    assert_eq!(rotated.report.damaged.len(), 1);
    assert_eq!(rotated.report.damaged[0].record, key);
    let report = upkeep::check(&house.accounts, house.oauth()).await.unwrap();
    assert_eq!((report.opened, report.damaged.len()), (3, 1));
    assert!(report.damaged[0].reason.contains("reconnect the account"), "{}", report.damaged[0].reason);
    house.secret(&good, "oauth_access_token").await;
}
