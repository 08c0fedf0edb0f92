//! Many tasks and several processes on one store.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use keyhole_host_api::store::{Expect, Store as _, StoreError};

use crate::{child, open, parents_dir, text};

/// Adds one to the number at `key`, as often as it takes.
async fn increment(store: &keyhole_host_api::store::redb::RedbStore, key: &str) {
    loop {
        let found = store.get(key).await.unwrap();
        let (expect, number) = match &found {
            Some(found) => {
                (Expect::Revision(found.revision), std::str::from_utf8(&found.value).unwrap().parse::<u64>().unwrap())
            }
            None => (Expect::Absent, 0),
        };
        match store.write(key, expect, Some((number + 1).to_string().into_bytes())).await {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_is_lost_when_many_tasks_swap_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..20 {
                    increment(&store, "counter").await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(text(&store, "counter").await.as_deref(), Some("640"));
}

#[tokio::test]
async fn a_revision_rises_with_every_write_and_across_a_delete() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = store.write("key", Expect::Absent, Some(b"a".to_vec())).await.unwrap();
    let second = store.write("key", Expect::Revision(first), Some(b"b".to_vec())).await.unwrap();
    let deleted = store.write("key", Expect::Revision(second), None).await.unwrap();
    assert!(store.get("key").await.unwrap().is_none());
    let again = store.write("key", Expect::Absent, Some(b"c".to_vec())).await.unwrap();
    assert!(first < second && second < deleted && deleted < again);
    for stale in [first, second, deleted] {
        let refused = store.write("key", Expect::Revision(stale), None).await;
        assert_eq!(refused, Err(StoreError::Conflict { key: "key".to_owned() }));
    }
    assert_eq!(store.get("key").await.unwrap().unwrap().revision, again);
}

#[tokio::test]
async fn a_scan_gives_a_folder_in_order_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..700 {
        store.write_soon(&format!("folder/{number:04}"), number.to_string().into_bytes()).unwrap();
    }
    store.write_soon("folde", b"before".to_vec()).unwrap();
    store.write_soon("folder0", b"behind".to_vec()).unwrap();
    store.flush().await.unwrap();
    let all = store.scan("folder/", None, 10_000).await.unwrap();
    assert_eq!(all.len(), 700);
    assert!(all.iter().enumerate().all(|(at, (key, _))| *key == format!("folder/{at:04}")));
    let page = store.scan("folder/", Some("folder/0300"), 300).await.unwrap();
    assert_eq!((page[0].0.as_str(), page.len()), ("folder/0301", 300));
    assert!(store.scan("folder/", Some("folder/0699"), 10).await.unwrap().is_empty());
    assert!(store.scan("folder/", None, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_scan_back_is_a_scan_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.revision().await.unwrap();
    for key in ["a/", "folder", "folder.", "folder0", "folder1/x", "z"] {
        store.write_soon(key, Vec::new()).unwrap();
    }
    for number in 0..700 {
        store.write_soon(&format!("folder/{number:04}"), number.to_string().into_bytes()).unwrap();
    }
    store.flush().await.unwrap();
    let forth = store.scan("folder/", None, usize::MAX).await.unwrap();
    let mut back = store.scan_back("folder/", None, usize::MAX).await.unwrap();
    assert_eq!(back.len(), 700);
    back.reverse();
    assert!(forth == back);
    let keys = |page: Vec<(String, _)>| page.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    for (before, limit, first, count) in [
        (Some("folder/0400"), 300, "folder/0399", 300),
        (Some("folder/0002"), 300, "folder/0001", 2),
        (Some("zzz"), 1, "folder/0699", 1),
        (None, 257, "folder/0699", 257),
    ] {
        let page = keys(store.scan_back("folder/", before, limit).await.unwrap());
        assert_eq!((page[0].as_str(), page.len()), (first, count), "{before:?}");
    }
    for (before, limit) in [(Some("folder/0000"), 10), (Some("a"), 10), (None, 0)] {
        assert!(store.scan_back("folder/", before, limit).await.unwrap().is_empty(), "{before:?}");
    }
    assert_eq!(store.scan_back("", None, usize::MAX).await.unwrap().len(), 706);
    let page = store.scan_back("folder/", Some("folder/0400"), 300).await.unwrap();
    let without = store.revisions_back("folder/", Some("folder/0400"), 300).await.unwrap();
    assert_eq!(page.into_iter().map(|(key, found)| (key, found.revision)).collect::<Vec<_>>(), without);
    // Each write has a revision of its own, and none is higher than the store's.
    let now = store.revision().await.unwrap();
    assert_eq!(now, before + 706);
    assert!(forth.iter().all(|(_, found)| found.revision > before && found.revision <= now));
}

#[tokio::test]
async fn appends_are_taken_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pending: Vec<_> =
        (0..500).map(|number| store.append("last", number.to_string().into_bytes()).unwrap()).collect();
    // Awaited in the other order: being taken over does not depend on being waited for.
    for durable in pending.into_iter().rev() {
        durable.await.unwrap();
    }
    assert_eq!(text(&store, "last").await.as_deref(), Some("499"));
}

#[tokio::test]
async fn dropping_the_store_writes_what_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..100 {
        store.write_soon(&format!("soon/{number:03}"), vec![1]).unwrap();
    }
    store.write_all_soon(vec![("soon/007".to_owned(), None)]).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).scan("soon/", None, 1000).await.unwrap().len(), 99);
}

#[tokio::test]
async fn what_is_written_soon_is_there_for_another_process_within_50_ms() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (open(dir.path()), open(dir.path()));
    let mut took = Vec::new();
    for number in 0..10 {
        let key = format!("soon/{number}");
        let handed_over = std::time::Instant::now();
        store.write_soon(&key, vec![1]).unwrap();
        while other.get(&key).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        took.push(handed_over.elapsed());
    }
    // Not the slowest: other tests have the disk, too.
    took.sort_unstable();
    assert!(took[5] < std::time::Duration::from_millis(50), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut other = child("concurrency::child_increments", dir.path()).stdout(Stdio::null()).spawn().unwrap();
    for _ in 0..200 {
        increment(&store, "counter").await;
    }
    assert!(tokio::task::spawn_blocking(move || other.wait()).await.unwrap().unwrap().success());
    assert_eq!(text(&store, "counter").await.as_deref(), Some("400"));
}

#[tokio::test]
#[ignore = "plays the other process of two_processes_write_side_by_side"]
async fn child_increments() {
    let Some(dir) = parents_dir() else { return };
    let store = open(&dir);
    for _ in 0..200 {
        increment(&store, "counter").await;
    }
}

/// The other process revokes and says so; what this one reads next must show it, every time.
#[tokio::test]
async fn a_write_acknowledged_by_another_process_is_seen_by_the_next_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.write("grant", Expect::Any, Some(b"0".to_vec())).await.unwrap();
    let mut other = child("concurrency::child_writes_and_says_so", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = 0;
    for line in BufReader::new(other.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(acknowledged) = line.strip_prefix("acknowledged ") else { continue };
        // It may have gone on since, never back. Reading twice takes the kept snapshot, too.
        for _ in 0..2 {
            let read: u64 = text(&store, "grant").await.unwrap().parse().unwrap();
            assert!(read >= acknowledged.parse().unwrap(), "read {read} after {acknowledged} was acknowledged");
        }
        seen += 1;
    }
    assert!(other.wait().unwrap().success());
    assert_eq!(seen, 300);
}

#[tokio::test]
#[ignore = "plays the other process of a_write_acknowledged_by_another_process_is_seen_by_the_next_read"]
async fn child_writes_and_says_so() {
    let Some(dir) = parents_dir() else { return };
    let store = open(&dir);
    for number in 1..=300 {
        store.write("grant", Expect::Any, Some(number.to_string().into_bytes())).await.unwrap();
        println!("\nacknowledged {number}");
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let mut writer =
            child("concurrency::child_writes_until_killed", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut acknowledged = Vec::new();
        for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
            let Ok(line) = line else { break };
            acknowledged.extend(line.strip_prefix("acknowledged ").map(str::to_owned));
            // A number that varies with the round, so that the kill comes at another point each time.
            if acknowledged.len() == 20 + round * 7 {
                writer.kill().unwrap();
            }
        }
        writer.wait().unwrap();
        assert!(acknowledged.len() >= 20 + round * 7);
        let store = open(dir.path());
        for key in &acknowledged {
            assert!(text(&store, key).await.is_some(), "round {round}: {key} was acknowledged");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "plays the writer of nothing_acknowledged_is_lost_when_the_process_is_killed"]
async fn child_writes_until_killed() {
    let Some(dir) = parents_dir() else { return };
    let store = Arc::new(open(&dir));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = Arc::clone(&store);
            let process = std::process::id();
            tokio::spawn(async move {
                for number in 0_u64.. {
                    let key = format!("killed/{process}-{task}-{number}");
                    store.write(&key, Expect::Absent, Some(vec![b'x'; 3000])).await.unwrap();
                    println!("\nacknowledged {key}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
