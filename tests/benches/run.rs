//! A run of a small step with one app prop, everything on, beside bare wasmtime that
//! instantiates and calls the same component.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keyhole::engine::{Engine, EngineConfig, Input, Limits, Step};
use keyhole_host_api::broker::{Broker, Egress};
use keyhole_tests::host::member;
use serde_json::json;

use crate::bare::Bare;
use crate::common::{House, Row, component, in_turns, input, time};

/// As on a machine whose limits carry no more; the size of the pool changes what a slot keeps.
const SLOTS: u32 = 1_000;
const BATCH: u32 = 500;

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    let house = House::new().await;
    let broker = house.broker(Egress::default());
    let config = EngineConfig { slots: Some(SLOTS), ..EngineConfig::default() };
    let engine = Engine::new(config.clone())?;
    let wasm = component("small")?;
    let step = engine.load(wasm.clone()).await?;
    let bare = Bare::new(&engine, &config, &wasm)?;
    let input = input(&json!({"kind": "message", "text": "hello"}));

    let ours = keyhole(&house, &broker, &engine, &step, &input).await?;
    let theirs = bare.run(&input).await?;
    ensure!(ours == theirs, "the two sides do different work: {ours} and {theirs}");

    let rounds = if quick { 10 } else { 200 };
    let (with, without) = in_turns(
        rounds,
        BATCH,
        async || {
            for _ in 0..BATCH {
                keyhole(&house, &broker, &engine, &step, &input).await?;
            }
            Ok(())
        },
        async || {
            for _ in 0..BATCH {
                bare.run(&input).await?;
            }
            Ok(())
        },
    )
    .await?;

    let begun = Instant::now();
    const CHECKS: u32 = 10_000;
    for _ in 0..CHECKS {
        house.host.accounts.usable(&house.account, &member("alice")).await?;
    }
    let check = begun.elapsed() / CHECKS;
    println!("pool: {} slots, pagemap_scan: {}", SLOTS, engine.pool().pagemap_scan);
    println!("of a run, reading the grant from redb: {}", time(check));
    let row = Row::times("a run of a small step, one app prop, everything on", with, "bare wasmtime", without);
    Ok(vec![row.at_most(target(without))])
}

/// At most 1.5 times what bare wasmtime takes, and 30 µs where that takes 18.
fn target(bare: Duration) -> f64 {
    1.5_f64.min(30e-6 / bare.as_secs_f64().min(18e-6))
}

async fn keyhole(house: &House, broker: &Arc<Broker>, engine: &Engine, step: &Step, input: &Input) -> Result<String> {
    let session = broker.session(house.scope());
    let outcome = engine.run(step, session, input, &Limits::default()).await;
    Ok(outcome.result?.as_str().to_owned())
}
