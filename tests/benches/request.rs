//! A request through the broker (policy, grant, substitution, scrub, audit) on a connection
//! that is kept alive, beside one by wasmtime-wasi-http's own sender from the same component,
//! which opens a connection for each. And what it costs to have the audit's intent on disk
//! before a request leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use keyhole::engine::{Engine, EngineConfig, Input, Limits, Step};
use keyhole_host_api::broker::{AuditMode, Broker, Egress};
use keyhole_tests::server::Authority;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bare::Bare;
use crate::common::{House, Row, component, in_turns, input, median, time};
use crate::sender::OverTls;
use crate::server::{self, Plain};

/// Requests in one run of the step.
const REQUESTS: u32 = 100;

/// What a step is run on, and by what.
struct Bench {
    house: House,
    engine: Engine,
    step: Arc<Step>,
}

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    let body = Bytes::from(json!({"items": vec![json!({"id": 4711, "name": "an item of a list"}); 20]}).to_string());
    let plain = Plain::new(body.clone())?;
    let authority = Authority::default();
    let tls = server::tls(&authority, body);

    let config = EngineConfig { slots: Some(300), ..EngineConfig::default() };
    let engine = Engine::new(config.clone())?;
    let wasm = component("fetch")?;
    let step = engine.load(wasm.clone()).await?;
    let bare = Bare::new(&engine, &config, &wasm)?;
    let bench = Bench { house: House::new().await, engine, step };

    let egress = |audit| -> Result<Egress> {
        Ok(Egress {
            resolve: vec![
                format!("api.acme.example:80:{}", plain.address).parse()?,
                tls.resolve("api.acme.example").parse()?,
            ],
            ca_certs: vec![authority.pem.clone()],
            allow_ranges: vec!["127.0.0.0/8".parse()?],
            audit,
            ..Egress::default()
        })
    };
    let relaxed = bench.house.broker(egress(AuditMode::Relaxed)?);
    let strict = bench.house.broker(egress(AuditMode::Strict)?);

    let to_plain = requests("http://api.acme.example/v1/items", REQUESTS);
    let to_address = requests(&format!("http://{}/v1/items", plain.address), REQUESTS);
    let rounds = if quick { 5 } else { 60 };
    let (brokered, own) = in_turns(
        rounds,
        REQUESTS,
        async || bench.run(&relaxed, &to_plain).await,
        async || {
            bare.run(&to_address).await?;
            Ok(())
        },
    )
    .await?;
    let to_tls = requests("https://api.acme.example/v1/items", REQUESTS);
    let sender = OverTls { authority: authority.pem.clone(), address: ([127, 0, 0, 1], tls.port).into() };
    let (over_tls, own_over_tls) = in_turns(
        rounds / 2,
        REQUESTS,
        async || bench.run(&relaxed, &to_tls).await,
        async || {
            bare.run_by(Some(&sender), &to_tls).await?;
            Ok(())
        },
    )
    .await?;

    let mut rows = vec![
        Row::times("a brokered request, kept alive, relaxed audit", brokered, "wasi-http's own sender", own)
            .at_most(1.0),
        Row::times("the same over TLS", over_tls, "the same, one connection and handshake each", own_over_tls)
            .at_most(1.0),
    ];
    for at_once in [1, 32, 256] {
        let (mut durable, mut soon) = (Vec::new(), Vec::new());
        for _ in 0..if quick { 2 } else { 7 } {
            durable.push(bench.at_once(&strict, at_once).await?);
            soon.push(bench.at_once(&relaxed, at_once).await?);
        }
        let (durable, soon) = (median(durable), median(soon));
        println!(
            "{at_once:>3} at once, over TLS: strict {:>7.0} requests/s, {} each; relaxed {:>7.0} requests/s, {} each",
            f64::from(at_once) / durable.as_secs_f64(),
            time(durable),
            f64::from(at_once) / soon.as_secs_f64(),
            time(soon),
        );
        rows.push(Row::times(
            format!("strict audit, {at_once} requests at once: each takes"),
            durable,
            "relaxed",
            soon,
        ));
    }
    Ok(rows)
}

fn requests(url: &str, count: u32) -> Input {
    input(&json!({"url": url, "count": count, "account": true}))
}

impl Bench {
    async fn run(&self, broker: &Arc<Broker>, input: &Input) -> Result<()> {
        run(&self.engine, &self.step, broker, &self.house, input).await
    }

    /// How long one request takes when `at_once` runs each have one under way.
    async fn at_once(&self, broker: &Arc<Broker>, at_once: u32) -> Result<Duration> {
        let each = (2_000 / at_once).clamp(20, 200);
        let input = requests("https://api.acme.example/v1/items", each);
        let sessions: Vec<_> = (0..at_once).map(|_| broker.session(self.house.scope())).collect();
        let mut runs = JoinSet::new();
        let begun = Instant::now();
        for session in sessions {
            let (engine, step, input) = (self.engine.clone(), self.step.clone(), input.clone());
            runs.spawn(async move {
                let outcome = engine.run(&step, session, &input, &Limits::default()).await;
                outcome.result.map(drop)
            });
        }
        while let Some(ended) = runs.join_next().await {
            ended??;
        }
        Ok(begun.elapsed() / each)
    }
}

async fn run(engine: &Engine, step: &Step, broker: &Arc<Broker>, house: &House, input: &Input) -> Result<()> {
    let session = broker.session(house.scope());
    let outcome = engine.run(step, session.clone(), input, &Limits::default()).await;
    outcome.result?;
    let sent = session.requests();
    ensure!(sent.iter().all(|request| request.status == Some(200) && request.account.is_some()), "{sent:?}");
    Ok(())
}
