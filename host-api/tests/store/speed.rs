//! Figures, not claims: `cargo test --release -p keyhole-host-api --test store speed -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use keyhole_host_api::store::{Expect, Store as _};

use crate::open;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn reads_and_writes() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Arc::new(open(dir.path()));
    let mut there = 0;
    for records in [1, 1_000, 100_000] {
        for number in there..records {
            store.write_soon(&format!("accounts/{number:026}"), vec![7; 600]).unwrap();
        }
        there = records;
        store.flush().await.unwrap();
        let keys: Vec<_> = (0..20_000_u64).map(|at| format!("accounts/{:026}", at * 7919 % records)).collect();
        for _ in 0..2 {
            let started = Instant::now();
            for key in &keys {
                assert!(store.get(key).await.unwrap().is_some());
            }
            println!("{records} records: a read {:?}", started.elapsed() / 20_000);
        }
    }
    for at_once in [1, 32, 256] {
        let each = 2_000 / at_once + 5;
        let started = Instant::now();
        let tasks: Vec<_> = (0..at_once)
            .map(|task| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for number in 0..each {
                        store.append(&format!("audit/{task}-{number}"), vec![7; 400]).unwrap().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let took = started.elapsed();
        println!("appends, {at_once} at once: {:?} each, {:?} a round", took / (at_once * each), took / each);
    }
    let mut slowest = Vec::new();
    for number in 0..200 {
        store.write("counter", Expect::Any, Some(vec![1])).await.unwrap();
        let started = Instant::now();
        store.get(&format!("accounts/{number:026}")).await.unwrap();
        slowest.push(started.elapsed());
    }
    slowest.sort();
    println!("the first read after a commit: {:?} (median)", slowest[100]);
}
