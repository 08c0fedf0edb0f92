//! A body of 10 MB that a step fetches over loopback, scrubbed and passed on. And bytes a
//! second of the scrub beside memchr over the same bytes, and the time that it takes to make
//! a scrubber.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use keyhole::engine::{Engine, EngineConfig, Limits};
use keyhole_host_api::broker::scrub::{Scrub, Scrubber};
use keyhole_host_api::broker::{AuditMode, Egress};
use keyhole_host_api::vault::Secret;
use keyhole_tests::server::Authority;
use serde_json::json;

use crate::common::{House, Row, component, in_turns, input};
use crate::server;

/// What hyper hands on at a time when a server sends fast.
const CHUNK: usize = 64 * 1024;
const LARGE: usize = 10_000_000;

/// Reproducible noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        (0..count).map(|_| char::from(LETTERS[(self.next() % LETTERS.len() as u64) as usize])).collect()
    }
}

/// The listing of some service as most write it: names, links, ids, a text with quotes and lines.
fn json(length: usize) -> Bytes {
    let mut noise = Noise(5);
    let mut text = String::from("[");
    while text.len() < length {
        let (id, name, hash) = (noise.next() % 1_000_000_000, noise.letters(12), noise.letters(40));
        text.push_str(&format!(
            "{{\"id\":{id},\"name\":\"{name}\",\"url\":\"https://api.example.com/v1/items/{id}?page=2&per_page=50\",\
             \"sha\":\"{hash}\",\"labels\":[\"bug\",\"help wanted\"],\"private\":false,\"body\":\"It says \\\"no\\\" on the \
             second try.\\nNothing else in this text is worth a look, but it goes on for a while as such texts \
             do.\",\"count\":null}},\n"
        ));
    }
    text.truncate(length);
    Bytes::from(text)
}

/// The same where slashes and all but ASCII are escaped, too, and links are percent-encoded.
fn escaped_json(length: usize) -> Bytes {
    let mut noise = Noise(7);
    let mut text = String::from("[");
    while text.len() < length {
        let (id, name, hash) = (noise.next() % 1_000_000_000, noise.letters(12), noise.letters(40));
        text.push_str(&format!(
            "{{\"id\":{id},\"name\":\"{name}\",\"title\":\"He said \\\"hello\\\" to Ren\\u00e9e & left\",\
             \"url\":\"https:\\/\\/api.example.com\\/v1\\/items\\/{id}?page=2&per_page=50%2C100\",\"etag\":\"{hash}\",\
             \"labels\":[\"bug\",\"help wanted\"],\"private\":false,\"description\":\"Nothing in this text is worth a \
             second look, but it goes on for a while as descriptions do.\",\"count\":null}},\n"
        ));
    }
    text.truncate(length);
    Bytes::from(text)
}

fn base64(length: usize) -> Bytes {
    Bytes::from(Noise(9).letters(length))
}

fn form(length: usize) -> Bytes {
    let mut text = "name=J%C3%BCrgen+M%C3%BCller&url=https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc&".repeat(length / 70 + 1);
    text.truncate(length);
    Bytes::from(text)
}

fn scrubber(count: usize, length: usize) -> Scrubber {
    let mut noise = Noise(11);
    let secrets = (0..count).map(|_| (Secret::new(noise.letters(length)), format!("khp1{}", noise.letters(32))));
    Scrubber::new(secrets.collect())
}

/// The least of many times: what the work takes when nothing else runs.
fn best(times: usize, mut work: impl FnMut()) -> Duration {
    let each = (0..times).map(|_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    });
    each.min().unwrap_or_default()
}

fn scrub_all(scrubber: &Arc<Scrubber>, input: &Bytes) {
    let mut scrub = Scrub::new(scrubber.clone());
    let mut at = 0;
    while at < input.len() {
        let end = (at + CHUNK).min(input.len());
        let mut chunk = input.slice(at..end);
        while !chunk.is_empty() {
            black_box(scrub.push(&mut chunk).expect("searchable"));
        }
        at = end;
    }
    black_box(scrub.finish().expect("searchable"));
}

fn throughput(quick: bool) {
    println!("{:<28} {:>9} {:>12} {:>12} {:>8}", "input", "secrets", "scrub GB/s", "memchr GB/s", "ratio");
    let inputs = [
        ("JSON, 1 KB", json(1_000)),
        ("JSON, 10 KB", json(10_000)),
        ("JSON, 100 KB", json(100_000)),
        ("JSON, 10 MB", json(LARGE)),
        ("JSON full of escapes, 10 MB", escaped_json(LARGE)),
        ("base64, 10 MB", base64(LARGE)),
        ("form encoding, 10 MB", form(LARGE)),
    ];
    let work = if quick { 20_000_000 } else { 150_000_000 };
    for (name, input) in &inputs {
        for count in [1, 10, 100] {
            let scrubber = Arc::new(scrubber(count, 40));
            let times = (work / input.len()).clamp(3, 2_000);
            let scrubbing = best(times, || scrub_all(&scrubber, input));
            let searching = best(times, || {
                input.chunks(CHUNK).for_each(|chunk| {
                    black_box(memchr::memchr(0, chunk));
                });
            });
            let rate = |time: Duration| input.len() as f64 / time.as_secs_f64() / 1e9;
            println!(
                "{name:<28} {count:>9} {:>12.2} {:>12.2} {:>7.1}x",
                rate(scrubbing),
                rate(searching),
                scrubbing.as_secs_f64() / searching.as_secs_f64()
            );
        }
    }
    let input = json(LARGE);
    for length in [8, 12, 20, 40, 200] {
        let scrubber = Arc::new(scrubber(1, length));
        let time = best(15, || scrub_all(&scrubber, &input));
        println!(
            "JSON, 10 MB, one secret of {length:>3} characters: {:.2} GB/s",
            1e-9 * LARGE as f64 / time.as_secs_f64()
        );
    }
}

fn small() {
    for (count, length) in [(1, 40), (10, 40), (100, 40), (1, 2_000)] {
        let time = best(200, || {
            black_box(scrubber(count, length));
        });
        println!("make and wipe a scrubber for {count:>3} secrets of {length:>4}: {:.1} us", time.as_secs_f64() * 1e6);
    }
    let scrubber = scrubber(1, 40);
    let value = b"application/json; charset=utf-8; profile=\"https://example.com/x\"";
    let time = best(50, || {
        for _ in 0..1_000 {
            black_box(scrubber.scrub(black_box(value)));
        }
    });
    println!("scrub a header of {} bytes: {:.0} ns", value.len(), time.as_secs_f64() * 1e6);
}

/// A step fetches 10 MB, with an account whose secret is looked for, and without one.
async fn fetched(body: Bytes, rounds: usize) -> Result<(Duration, Duration)> {
    let authority = Authority::default();
    let server = server::tls(&authority, body);
    let house = House::new().await;
    let broker = house.broker(Egress {
        resolve: vec![server.resolve("api.acme.example").parse()?],
        ca_certs: vec![authority.pem.clone()],
        allow_ranges: vec!["127.0.0.0/8".parse()?],
        audit: AuditMode::Relaxed,
        ..Egress::default()
    });
    let engine = Engine::new(EngineConfig { slots: Some(16), ..EngineConfig::default() })?;
    let step = engine.load(component("fetch")?).await?;
    let fetch = async |account: bool| {
        let input = input(&json!({"url": "https://api.acme.example/v1/export", "account": account}));
        let mut scope = house.scope();
        if !account {
            // The prop stays, and no account is linked to it.
            scope.props.values_mut().for_each(|link| link.account = None);
            scope.allow_hosts.push("api.acme.example".parse()?);
        }
        let outcome = engine.run(&step, broker.session(scope), &input, &Limits::default()).await;
        let value = outcome.result?.to_value();
        ensure!(value["bytes"] == json!(LARGE), "{value}");
        Ok(())
    };
    in_turns(rounds, 1, async || fetch(true).await, async || fetch(false).await).await
}

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    throughput(quick);
    small();
    let mut rows = Vec::new();
    let bodies = [
        ("JSON", json(LARGE), Some(1.1)),
        ("base64", base64(LARGE), Some(1.1)),
        ("JSON full of escapes", escaped_json(LARGE), None),
    ];
    for (name, body, target) in bodies {
        let (scrubbed, plain) = fetched(body, if quick { 20 } else { 400 }).await?;
        let row = Row::times(format!("10 MB of {name} fetched, scrubbed"), scrubbed, "passed on", plain);
        rows.push(match target {
            Some(target) => row.at_most(target),
            None => row,
        });
    }
    Ok(rows)
}
