//! The typed layer.

use std::sync::Arc;

use keyhole_host_api::store::records::{Record, Records};
use keyhole_host_api::store::{Expect, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::open;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pet {
    name: String,
    legs: u64,
}

impl Record for Pet {
    const FOLDER: &'static str = "pets";
    const VERSION: u32 = 2;

    fn upgrade(from: u32, mut value: Value) -> Result<Value, String> {
        match from {
            1 => value["legs"] = 4.into(),
            other => return Err(format!("there was no version {other}")),
        }
        Ok(value)
    }
}

fn pets(dir: &std::path::Path) -> (Arc<dyn Store>, Records<Pet>) {
    let store: Arc<dyn Store> = Arc::new(open(dir));
    (Arc::clone(&store), Records::new(store))
}

async fn raw(store: &Arc<dyn Store>, key: &str, json: &str) {
    store.write(key, Expect::Any, Some(json.as_bytes().to_vec())).await.unwrap();
}

#[tokio::test]
async fn a_record_comes_back_as_it_was_put_with_its_version_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, pets) = pets(dir.path());
    let revision = pets.put("rex", Expect::Absent, &Pet { name: "Rex".into(), legs: 3 }).await.unwrap();
    assert_eq!(pets.get("rex").await.unwrap(), Some((Pet { name: "Rex".into(), legs: 3 }, revision)));
    assert_eq!(pets.get("rexx").await.unwrap(), None);
    assert_eq!(store.get("pets/rex").await.unwrap().unwrap().value, br#"{"v":2,"name":"Rex","legs":3}"#);
    let conflict = pets.put("rex", Expect::Absent, &Pet { name: "Other".into(), legs: 4 }).await;
    assert_eq!(conflict, Err(StoreError::Conflict { key: "pets/rex".into() }));
    pets.delete("rex", Expect::Revision(revision)).await.unwrap();
    assert_eq!(pets.get("rex").await.unwrap(), None);
}

#[tokio::test]
async fn a_record_of_an_older_version_is_upgraded_and_of_a_newer_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, pets) = pets(dir.path());
    raw(&store, "pets/old", r#"{"v":1,"name":"Old"}"#).await;
    assert_eq!(pets.get("old").await.unwrap().unwrap().0, Pet { name: "Old".into(), legs: 4 });
    raw(&store, "pets/new", r#"{"v":3,"name":"New","wings":2}"#).await;
    let newer = StoreError::NewerVersion { place: "pets/new".into(), found: 3, known: 2 };
    assert_eq!(pets.get("new").await.unwrap_err(), newer);
}

#[tokio::test]
async fn what_a_damaged_record_holds_is_not_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let (store, pets) = pets(dir.path());
    for json in
        [r#"{"v":2,"name":"Rex","legs":"hunter2"}"#, r#"{"v":2,"hunter2"#, r#"["hunter2"]"#, r#"{"v":0,"a":"hunter2"}"#]
    {
        raw(&store, "pets/bad", json).await;
        let error = pets.get("bad").await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_of_many_tasks_all_take_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (_, pets) = pets(dir.path());
    pets.put("millipede", Expect::Absent, &Pet { name: "Milli".into(), legs: 0 }).await.unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let pets = pets.clone();
            tokio::spawn(async move { pets.update("millipede", |pet| pet.legs += 1).await.unwrap().unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(pets.get("millipede").await.unwrap().unwrap().0.legs, 50);
    assert_eq!(pets.update("nobody", |pet| pet.legs += 1).await.unwrap(), None);
    let refused = pets.try_update("millipede", |pet| {
        pet.legs = 0;
        Err(StoreError::Failed("no".into()))
    });
    assert!(refused.await.is_err());
    assert_eq!(pets.get("millipede").await.unwrap().unwrap().0.legs, 50);
}

#[tokio::test]
async fn a_list_goes_page_by_page_and_stays_in_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (store, pets) = pets(dir.path());
    raw(&store, "pets-of-others/x", "{}").await;
    for number in 0..10 {
        pets.put(&number.to_string(), Expect::Absent, &Pet { name: "Pet".into(), legs: number }).await.unwrap();
    }
    let page = pets.list(Some("3"), 4).await.unwrap();
    assert_eq!(page.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), ["4", "5", "6", "7"]);
    assert_eq!(pets.all().await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_listing_is_what_the_store_has_now_whoever_wrote_it_and_reads_again_only_what_is_new() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use keyhole_host_api::store::records::Listing;

    #[derive(Deserialize)]
    struct Legs {
        legs: u64,
    }

    let dir = tempfile::tempdir().unwrap();
    let (_, ours) = pets(dir.path());
    let (other, theirs) = pets(dir.path());
    raw(&other, "pets-of-others/x", "{}").await;
    for number in 0..1000 {
        theirs.put(&format!("{number:04}"), Expect::Absent, &Pet { name: "Pet".into(), legs: number }).await.unwrap();
    }
    let (listing, made) = (Listing::default(), AtomicUsize::new(0));
    let legs = || async {
        made.store(0, Ordering::Relaxed);
        let make = |pet: Legs| {
            made.fetch_add(1, Ordering::Relaxed);
            pet.legs
        };
        let listed = ours.listed(&listing, make).await.unwrap();
        assert!(listed.is_sorted_by_key(|(id, ..)| id.clone()));
        for (id, revision, legs) in listed.iter().step_by(97) {
            let (pet, now) = theirs.get(id).await.unwrap().unwrap();
            assert_eq!((pet.legs, now), (*legs, *revision));
        }
        (listed.len(), listed.iter().map(|(.., legs)| legs).sum::<u64>(), made.load(Ordering::Relaxed))
    };
    assert_eq!(legs().await, (1000, 499_500, 1000));
    assert_eq!(legs().await, (1000, 499_500, 0));
    theirs.update("0007", |pet| pet.legs = 100_000).await.unwrap();
    assert_eq!(legs().await, (1000, 599_493, 1));
    theirs.delete("0007", Expect::Any).await.unwrap();
    assert_eq!(legs().await, (999, 499_493, 0));
    // What comes back under a key is another record.
    theirs.put("0007", Expect::Absent, &Pet { name: "Pet".into(), legs: 1 }).await.unwrap();
    theirs.put("00070", Expect::Absent, &Pet { name: "Pet".into(), legs: 2 }).await.unwrap();
    raw(&other, "pets/0008", r#"{"v":1,"name":"Old"}"#).await;
    assert_eq!(legs().await, (1001, 499_492, 3));
    raw(&other, "pets/0009", r#"{"v":3,"name":"New","wings":2}"#).await;
    assert!(ours.listed(&listing, |pet: Legs| pet.legs).await.is_err(), "what can't be read is not passed over");
}
