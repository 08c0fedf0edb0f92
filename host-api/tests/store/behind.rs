//! The store that answers before the disk has: what this process reads, what others do, and what a full disk does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhole_host_api::store::{Expect, Store, StoreError, WriteBehind};
use proptest::prelude::*;

use crate::open;

fn behind(dir: &std::path::Path) -> (WriteBehind, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(open(dir));
    (WriteBehind::new(store.clone()), store)
}

#[derive(Clone, Debug)]
enum Do {
    /// Whether it is to be absent.
    Write(usize, u8, bool),
    Delete(usize),
    Swap(usize, u8),
    Soon(usize, Option<u8>),
    Flush,
    Scan(usize, Option<usize>, usize),
}

const KEYS: [&str; 7] = ["a/1", "a/2", "a/3", "a/4", "a", "a0", "b/1"];
const FOLDERS: [&str; 4] = ["a/", "a", "b/", ""];

fn anything() -> impl Strategy<Value = Do> {
    let key = 0..KEYS.len();
    prop_oneof![
        (key.clone(), any::<u8>(), any::<bool>()).prop_map(|(key, value, absent)| Do::Write(key, value, absent)),
        key.clone().prop_map(Do::Delete),
        (key.clone(), any::<u8>()).prop_map(|(key, value)| Do::Swap(key, value)),
        (key.clone(), any::<Option<u8>>()).prop_map(|(key, value)| Do::Soon(key, value)),
        Just(Do::Flush),
        (0..FOLDERS.len(), proptest::option::of(key), 0..5usize)
            .prop_map(|(of, from, limit)| Do::Scan(of, from, limit)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However much of it is on disk, it reads as one map.
    #[test]
    fn it_reads_as_if_all_were_written(what in prop::collection::vec(anything(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (behind, store) = behind(dir.path());
            let mut model: BTreeMap<&str, u8> = BTreeMap::new();
            for one in what {
                match one {
                    Do::Write(key, value, absent) => {
                        let expect = if absent { Expect::Absent } else { Expect::Any };
                        let written = behind.write(KEYS[key], expect, Some(vec![value])).await;
                        let holds = !absent || !model.contains_key(KEYS[key]);
                        assert_eq!(written.is_ok(), holds, "{written:?}");
                        if holds {
                            model.insert(KEYS[key], value);
                        }
                    }
                    Do::Delete(key) => {
                        behind.write(KEYS[key], Expect::Any, None).await.unwrap();
                        model.remove(KEYS[key]);
                    }
                    Do::Swap(key, value) => {
                        // It may get to the disk in between, and has another revision then.
                        let now = loop {
                            let Some(found) = behind.get(KEYS[key]).await.unwrap() else { break None };
                            let now = Expect::Revision(found.revision);
                            if behind.write(KEYS[key], now, Some(vec![value])).await.is_ok() {
                                break Some(now);
                            }
                        };
                        let Some(now) = now else { continue };
                        let late = behind.write(KEYS[key], now, Some(vec![0])).await;
                        assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
                        model.insert(KEYS[key], value);
                    }
                    Do::Soon(key, Some(value)) => {
                        behind.write_soon(KEYS[key], vec![value]).unwrap();
                        model.insert(KEYS[key], value);
                    }
                    Do::Soon(key, None) => {
                        behind.write_all_soon(vec![(KEYS[key].to_owned(), None)]).unwrap();
                        model.remove(KEYS[key]);
                    }
                    Do::Flush => behind.flush().await.unwrap(),
                    Do::Scan(of, from, limit) => {
                        let (of, from) = (FOLDERS[of], from.map(|from| KEYS[from]));
                        let theirs = || model.iter().filter(|(key, _)| key.starts_with(of));
                        let up = theirs().filter(|(key, _)| from.is_none_or(|from| **key > from));
                        let up: Vec<_> = up.take(limit).map(|(key, value)| ((*key).to_owned(), vec![*value])).collect();
                        let down = theirs().rev().filter(|(key, _)| from.is_none_or(|from| **key < from));
                        let down: Vec<_> =
                            down.take(limit).map(|(key, value)| ((*key).to_owned(), vec![*value])).collect();
                        let keys = |list: &[(String, Vec<u8>)]| -> Vec<String> {
                            list.iter().map(|(key, _)| key.clone()).collect()
                        };
                        let found = behind.scan(of, from, limit).await.unwrap();
                        assert_eq!(found.into_iter().map(|(key, found)| (key, found.value)).collect::<Vec<_>>(), up);
                        let found = behind.scan_back(of, from, limit).await.unwrap();
                        assert_eq!(found.into_iter().map(|(key, found)| (key, found.value)).collect::<Vec<_>>(), down);
                        let found = behind.revisions(of, from, limit).await.unwrap();
                        assert_eq!(found.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys(&up));
                        let found = behind.revisions_back(of, from, limit).await.unwrap();
                        assert_eq!(found.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys(&down));
                    }
                }
                let found = behind.get_each(&KEYS).await.unwrap();
                let found: Vec<_> = found.into_iter().map(|found| found.map(|found| found.value[0])).collect();
                assert_eq!(found, KEYS.map(|key| model.get(key).copied()));
            }
            behind.flush().await.unwrap();
            let there = store.scan("", None, 1000).await.unwrap();
            let there: Vec<_> = there.iter().map(|(key, found)| (key.as_str(), found.value[0])).collect();
            assert_eq!(there, model.into_iter().collect::<Vec<_>>());
        });
    }
}

#[tokio::test]
async fn it_is_on_disk_soon_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (behind, store) = behind(dir.path());
    behind.write("runs/1", Expect::Absent, Some(b"1".to_vec())).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.get("runs/1").await.unwrap().is_none() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_deleted_meanwhile_never_gets_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (behind, store) = behind(dir.path());
    let before = store.revision().await.unwrap();
    for number in 0..100 {
        let key = format!("pending/{number}");
        behind.write(&key, Expect::Absent, Some(vec![1])).await.unwrap();
        behind.write_all_soon(vec![(key, None)]).unwrap();
    }
    behind.flush().await.unwrap();
    assert_eq!(store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn what_others_may_have_seen_is_compared_with_what_they_made_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (behind, store) = behind(dir.path());
    behind.write("runs/1", Expect::Absent, Some(b"ours".to_vec())).await.unwrap();
    behind.flush().await.unwrap();
    let seen = behind.get("runs/1").await.unwrap().unwrap().revision;
    // As another process does that has the same file.
    store.write("runs/1", Expect::Revision(seen), Some(b"theirs".to_vec())).await.unwrap();
    let late = behind.write("runs/1", Expect::Revision(seen), Some(b"ours again".to_vec())).await;
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    behind.flush().await.unwrap();
    assert_eq!(store.get("runs/1").await.unwrap().unwrap().value, b"theirs");
}

#[tokio::test]
async fn a_slow_disk_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (behind, store) = behind(dir.path());
    // Four times what it holds at most.
    for number in 0..256 {
        behind.write(&format!("large/{number:03}"), Expect::Any, Some(vec![7; 1 << 20])).await.unwrap();
    }
    behind.flush().await.unwrap();
    assert_eq!(store.revisions("large/", None, 1000).await.unwrap().len(), 256);
}

#[tokio::test]
async fn dropping_it_hands_over_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (behind, store) = behind(dir.path());
    for number in 0..100 {
        behind.write_soon(&format!("soon/{number:03}"), vec![1]).unwrap();
    }
    drop(behind);
    store.flush().await.unwrap();
    assert_eq!(store.scan("soon/", None, 1000).await.unwrap().len(), 100);
}
