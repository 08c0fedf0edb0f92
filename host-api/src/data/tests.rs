use super::*;
use crate::store::redb::RedbStore;

const ALL: usize = 1 << 20;

struct Scene {
    stores: Arc<DataStores>,
    _dir: tempfile::TempDir,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
    Scene { stores: DataStores::new(store), _dir: dir }
}

impl Scene {
    fn store(&self, name: &str) -> DataStore {
        self.stores.open(name.parse().unwrap())
    }
}

fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

const LONG_AGO: Duration = Duration::from_millis(1);

async fn expired(store: &DataStore, key: &str) {
    store.set(key, json("1"), Some(LONG_AGO), Expected::Anything).await.unwrap().unwrap();
    while store.get(key).await.unwrap().is_some() {
        tokio::time::sleep(LONG_AGO).await;
    }
}

#[test]
fn names_are_plain() {
    for good in ["a", "0", "counters", "a-b_c", &"x".repeat(64)] {
        assert_eq!(good.parse::<StoreName>().unwrap().as_str(), good);
    }
    for bad in ["", "-a", "_a", "A", "a/b", "a b", "ä", &"x".repeat(65)] {
        assert!(bad.parse::<StoreName>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_value_is_there_for_every_name_of_its_store_and_no_other() {
    let scene = scene();
    let (one, other) = (scene.store("one"), scene.store("one-more"));
    let revision = one.set("k/1 ü", json(r#"{"a":[1,2]}"#), None, Expected::Anything).await.unwrap().unwrap();
    let entry = scene.store("one").get("k/1 ü").await.unwrap().unwrap();
    assert_eq!((entry.value.get(), entry.revision, entry.expires), (r#"{"a":[1,2]}"#, revision, None));
    assert!(other.get("k/1 ü").await.unwrap().is_none());
    assert!(other.list("", None, 10, ALL).await.unwrap().is_empty());
    assert!(one.delete("k/1 ü", Expected::Anything).await.unwrap());
    assert!(!one.delete("k/1 ü", Expected::Anything).await.unwrap());
}

#[tokio::test]
async fn a_change_is_made_only_on_what_was_expected() {
    let store = scene_store();
    let set = |expected| store.1.set("k", json("1"), None, expected);
    let first = set(Expected::Absent).await.unwrap().unwrap();
    assert!(set(Expected::Absent).await.unwrap().is_none());
    let second = set(Expected::Revision(first)).await.unwrap().unwrap();
    assert!(set(Expected::Revision(first)).await.unwrap().is_none());
    assert!(!store.1.delete("k", Expected::Revision(first)).await.unwrap());
    assert!(store.1.delete("k", Expected::Revision(second)).await.unwrap());
    assert!(set(Expected::Revision(second)).await.unwrap().is_none());
}

fn scene_store() -> (Scene, DataStore) {
    let scene = scene();
    let store = scene.store("s");
    (scene, store)
}

#[tokio::test]
async fn what_is_over_is_as_good_as_gone_and_then_is() {
    let (scene, store) = scene_store();
    expired(&store, "k").await;
    assert!(store.list("", None, 10, ALL).await.unwrap().is_empty());
    assert!(!store.delete("k", Expected::Anything).await.unwrap());
    assert_eq!(store.increment("k", 5, Some(Duration::from_secs(60))).await.unwrap(), 5, "it counts from 0 again");
    assert!(store.get("k").await.unwrap().unwrap().expires.is_some());
    expired(&store, "l").await;
    assert!(store.set("l", json("2"), None, Expected::Absent).await.unwrap().is_some());
    expired(&store, "m").await;
    assert_eq!(scene.stores.sweep().await.unwrap(), 1);
    assert_eq!(scene.stores.sweep().await.unwrap(), 0);
    let left: Vec<_> = store.list("", None, 10, ALL).await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(left, ["k", "l"]);
}

#[tokio::test]
async fn no_count_is_lost_among_many_who_count() {
    let (_scene, store) = scene_store();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    store.increment("n", 2, None).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.get("n").await.unwrap().unwrap().value.get(), "1000");
    assert_eq!(store.increment("n", -1001, None).await.unwrap(), -1);
    store.set("text", json("\"1\""), None, Expected::Anything).await.unwrap();
    assert!(matches!(store.increment("text", 1, None).await, Err(DataError::NotAnInteger)));
    store.set("most", json(&i64::MAX.to_string()), None, Expected::Anything).await.unwrap();
    assert!(matches!(store.increment("most", 1, None).await, Err(DataError::NotAnInteger)));
}

#[tokio::test]
async fn bounded_keys_values_times_and_stores_have_a_size() {
    let (scene, store) = scene_store();
    let set = |key: String, bytes: usize, ttl| {
        let store = store.clone();
        async move { store.set(&key, json(&format!("\"{}\"", "x".repeat(bytes - 2))), ttl, Expected::Anything).await }
    };
    assert!(matches!(set(String::new(), 3, None).await, Err(DataError::Key(0))));
    assert!(matches!(set("k".repeat(KEY_BYTES + 1), 3, None).await, Err(DataError::Key(_))));
    assert!(matches!(set("a\nb".into(), 3, None).await, Err(DataError::Control)));
    assert!(matches!(set("k".into(), VALUE_BYTES + 1, None).await, Err(DataError::Value(_))));
    assert!(matches!(set("k".into(), 3, Some(Duration::ZERO)).await, Err(DataError::Ttl)));
    assert!(matches!(set("k".into(), 3, Some(MAX_TTL * 2)).await, Err(DataError::Ttl)));
    set("k".repeat(KEY_BYTES), VALUE_BYTES, Some(MAX_TTL)).await.unwrap().unwrap();
    store.clear().await.unwrap();

    scene.stores.set_most(1000);
    let store = scene.store("small");
    let set = async |key: &str, bytes: usize| {
        store.set(key, json(&format!("\"{}\"", "x".repeat(bytes - 2))), None, Expected::Anything).await
    };
    set("a", 600).await.unwrap();
    let refused = set("b", 600).await.unwrap_err().to_string();
    assert!(refused.contains("the data store small is full"), "{refused}");
    // What is written over, or taken away, does not count.
    set("a", 900).await.unwrap();
    set("a", 600).await.unwrap();
    set("c", 300).await.unwrap();
    store.delete("c", Expected::Anything).await.unwrap();
    assert!(matches!(set("b", 300).await, Ok(Some(_))));
    assert_eq!(scene.stores.all().await.unwrap(), [Size { name: "small".parse().unwrap(), entries: 2, bytes: 902 }]);
    // Nor can what is over be heaped up.
    for n in 0..20 {
        let value = json(&format!("\"{}\"", "x".repeat(90)));
        let _ = store.set(&format!("t{n}"), value, Some(LONG_AGO), Expected::Anything).await;
    }
    assert!(scene.stores.all().await.unwrap()[0].bytes <= 1000);
    assert!(store.clear().await.unwrap() >= 2);
    assert!(scene.stores.all().await.unwrap().is_empty());
}

#[tokio::test]
async fn entries_come_in_the_order_of_their_keys_and_in_pages() {
    let (_scene, store) = scene_store();
    for n in 0..250 {
        store.set(&format!("n/{n:03}"), json(&n.to_string()), None, Expected::Anything).await.unwrap();
    }
    store.set("o", json("0"), None, Expected::Anything).await.unwrap();
    let mut all = Vec::new();
    loop {
        let page = store.list("n/", all.last().map(String::as_str), 1000, 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page.into_iter().map(|entry| entry.key));
    }
    assert_eq!(all, (0..250).map(|n| format!("n/{n:03}")).collect::<Vec<_>>());
    assert_eq!(store.list("", Some("n/249"), 5, ALL).await.unwrap()[0].key, "o");
    assert_eq!(store.list("n/", None, 7, ALL).await.unwrap().len(), 7);
}
