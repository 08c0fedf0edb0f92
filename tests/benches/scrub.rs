//! A body of 10 MB over loopback, scrubbed and passed on. And bytes a second of the scrub
//! beside memchr over the same bytes, and the time that it takes to make a scrubber.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use keyhole_host_api::broker::scrub::{Scrub, Scrubber};
use keyhole_host_api::vault::Secret;

use crate::common::{Row, median};

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

/// The listing of some service: names, escaped quotes, slashes and letters, links, ids.
fn json(length: usize) -> Bytes {
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
        black_box(scrub.push(input.slice(at..end)).expect("searchable"));
        at = end;
    }
    black_box(scrub.finish().expect("searchable"));
}

fn throughput(quick: bool) {
    println!("{:<26} {:>9} {:>12} {:>12} {:>8}", "input", "secrets", "scrub GB/s", "memchr GB/s", "ratio");
    let inputs = [
        ("JSON, 1 KB", json(1_000)),
        ("JSON, 10 KB", json(10_000)),
        ("JSON, 100 KB", json(100_000)),
        ("JSON, 10 MB", json(LARGE)),
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
                "{name:<26} {count:>9} {:>12.2} {:>12.2} {:>7.1}x",
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
        println!("JSON, 10 MB, one secret of {length:>3} characters: {:.2} GB/s", 1e-9 * LARGE as f64 / time.as_secs_f64());
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

/// Receives `length` bytes and gives each chunk to `each`.
fn receive(from: &mut TcpStream, length: usize, mut each: impl FnMut(Bytes)) {
    let mut buffer = BytesMut::new();
    let mut left = length;
    while left > 0 {
        buffer.resize(CHUNK.min(left), 0);
        let read = from.read(&mut buffer).expect("the sender sends on");
        left -= read;
        each(buffer.split_to(read).freeze());
    }
}

fn loopback(rounds: usize) -> Result<(Duration, Duration)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut receiver = TcpStream::connect(listener.local_addr()?)?;
    let (mut sender, _) = listener.accept()?;
    let input = json(LARGE);
    let sent = input.clone();
    std::thread::spawn(move || {
        let mut ask = [0];
        while sender.read_exact(&mut ask).is_ok() && sender.write_all(&sent).is_ok() {}
    });
    let mut transfer = |each: &mut dyn FnMut(Bytes)| {
        let begun = Instant::now();
        receiver.write_all(&[1]).expect("the sender listens");
        receive(&mut receiver, LARGE, |chunk| each(chunk));
        begun.elapsed()
    };
    let scrubber = Arc::new(scrubber(1, 40));
    let (mut plain, mut scrubbed) = (Vec::new(), Vec::new());
    // In turns, so that both meet the same weather.
    for _ in 0..rounds {
        plain.push(transfer(&mut |chunk| {
            black_box(chunk);
        }));
        let mut scrub = Scrub::new(scrubber.clone());
        scrubbed.push(transfer(&mut |chunk| {
            black_box(scrub.push(chunk).expect("searchable"));
        }));
    }
    Ok((median(scrubbed), median(plain)))
}

pub fn measure(quick: bool) -> Result<Vec<Row>> {
    throughput(quick);
    small();
    let (scrubbed, plain) = loopback(if quick { 20 } else { 100 })?;
    Ok(vec![Row::times("10 MB over loopback, scrubbed", scrubbed, "passed on", plain).at_most(1.1)])
}
