//! Attacks on time and memory.

use std::hint::black_box;
use std::time::Duration;

use keyhole_sdk::__private::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use keyhole_sdk::prelude::*;

/// Nothing but guest code.
pub fn endless_loop() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Hardly ever in guest code: the host's own is what takes the time.
pub fn endless_host_calls() -> ! {
    loop {
        black_box(wall_clock::now());
    }
}

/// Waits in the host, where no epoch fires.
pub fn sleep(ms: u64) -> Result<Value> {
    let length = Duration::from_millis(ms).as_nanos().try_into().unwrap_or(u64::MAX);
    monotonic_clock::subscribe_duration(length).block();
    Ok(json!("slept"))
}

/// A `Vec` that grows, every page of it touched. Ends in an allocation failure.
pub fn allocate() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![0xa5; 1 << 20]));
    }
}

/// `memory.grow`, page by page, until the host says no. Returns how many it got.
pub fn grow_memory() -> Result<Value> {
    let mut pages = 0_u64;
    #[cfg(target_arch = "wasm32")]
    while std::arch::wasm32::memory_grow::<0>(1) != usize::MAX {
        pages += 1;
    }
    pages = black_box(pages);
    Ok(json!({ "pages": pages }))
}

/// Each frame holds what the next one needs, so no optimizer makes a loop of it.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the attack")]
pub fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(black_box(depth + 1)) + frame[(depth % 16) as usize]
}

pub fn trap() -> ! {
    std::process::abort()
}
