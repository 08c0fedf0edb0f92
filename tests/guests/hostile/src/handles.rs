//! Attacks on what the host keeps for a guest: handles, lists, answers to small questions.

use std::mem::forget;

use keyhole_sdk::__private::bindings::keyhole::step::accounts;
use keyhole_sdk::__private::bindings::wasi::clocks::monotonic_clock;
use keyhole_sdk::__private::bindings::wasi::http::types::Fields;
use keyhole_sdk::__private::bindings::wasi::io::poll::poll;
use keyhole_sdk::__private::bindings::wasi::random::random;
use keyhole_sdk::prelude::*;

pub fn leak_fields() -> ! {
    loop {
        forget(Fields::new());
    }
}

pub fn leak_pollables() -> ! {
    loop {
        forget(monotonic_clock::subscribe_duration(u64::MAX));
    }
}

pub fn leak_accounts() -> ! {
    loop {
        forget(accounts::linked("acme"));
    }
}

/// One `poll` over as many pollables as it is let have, over and over.
pub fn poll_many(count: u64) -> Result<Value> {
    let mut held = vec![monotonic_clock::subscribe_duration(0)];
    for _ in 1..count {
        held.push(monotonic_clock::subscribe_duration(u64::MAX));
    }
    let list: Vec<_> = held.iter().collect();
    for _ in 0..1000 {
        poll(&list);
    }
    Ok(json!({ "polled": count }))
}

/// The host would have to make them all up first.
pub fn random_large(size: u64) -> Result<Value> {
    Ok(json!({ "bytes": random::get_random_bytes(size).len() }))
}
