//! JavaScript steps: a run beside bare wasmtime, what ten of them take, how long one takes to
//! load, what compiling one costs the others, and what evaluating a bundle in each run would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use keyhole::engine::{CodeCacheConfig, CompileWorker, Engine, EngineConfig, Input, Limits, Step};
use keyhole_host_api::broker::{Broker, Egress};
use keyhole_tests::workspace;
use serde_json::json;

use crate::bare::Bare;
use crate::common::{House, Row, in_turns, input, median, time};

const SLOTS: u32 = 1_000;
const BATCH: u32 = 20;
const STEPS: usize = 10;
const LODASH: &str = "lodash@4.17.21";

/// What all of them do: something with the event, and nothing that waits.
const WORK: &str = "const { text } = steps.trigger.event; return { greeting: `${text.toUpperCase()}, world` };";

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    let sources = Sources::new()?;
    let house = House::new().await;
    let broker = house.broker(Egress::default());
    let cache = tempfile::tempdir()?;
    let config = EngineConfig {
        slots: Some(SLOTS),
        code_cache: Some(CodeCacheConfig::new(cache.path(), [7; 32])),
        worker: Some(CompileWorker { program: workspace::keyhole(), args: vec!["__compile".into()] }),
        ..EngineConfig::default()
    };
    let event = input(&json!({"kind": "message", "text": "hello"}));
    let mut components = Vec::new();
    for number in 0..STEPS {
        components.push(sources.build(&format!("step-{number}"), &format!("const number = {number}; {WORK}"), "")?);
    }
    println!("a component has {:.1} MiB", components[0].len() as f64 / f64::from(1 << 20));

    // Compiled here, loaded from the cache by the engines below.
    let compiling = Compiling::measure(&config, &house, &broker, &components, &event).await?;
    let resident = resident()?;
    let engine = Engine::new(config.clone())?;
    let mut loads = Vec::new();
    let mut steps = Vec::new();
    for component in &components {
        let begun = Instant::now();
        steps.push(engine.load(component.clone()).await?);
        loads.push(begun.elapsed());
        run(&house, &broker, &engine, &steps[steps.len() - 1], &event).await?;
    }
    let code: usize = steps.iter().map(|step| step.code_bytes).sum();
    println!(
        "{STEPS} steps, each run once: {:.0} MiB resident more than without",
        (self::resident()? - resident) / MIB
    );
    println!("their code and the memory that they begin with: {:.0} MiB, mapped once", code as f64 / MIB);

    let bare = Bare::new(&engine, &config, &components[0])?;
    let ours = run(&house, &broker, &engine, &steps[0], &event).await?;
    let theirs = bare.run(&event).await?;
    ensure!(ours == theirs, "the two sides do different work: {ours} and {theirs}");
    let rounds = if quick { 5 } else { 100 };
    let (with, without) = in_turns(
        rounds,
        BATCH,
        async || {
            for _ in 0..BATCH {
                run(&house, &broker, &engine, &steps[0], &event).await?;
            }
            Ok(())
        },
        async || {
            for _ in 0..BATCH {
                bare.run(&event).await?;
            }
            Ok(())
        },
    )
    .await?;

    let (snapshot, shared) = sources.with_lodash()?;
    let resident = self::resident()?;
    let alone = Engine::new(config.clone())?;
    let step = alone.load(shared.clone()).await?;
    for _ in 0..STEPS {
        run(&house, &broker, &alone, &step, &event).await?;
    }
    println!(
        "an engine that all steps share, run as often: {:.0} MiB resident more, {:.0} MiB mapped once",
        (self::resident()? - resident) / MIB,
        step.code_bytes as f64 / MIB
    );
    drop((step, alone));
    let (snapshot, shared) = (engine.load(snapshot).await?, engine.load(shared).await?);
    let (kept, evaluated) = in_turns(
        rounds,
        1,
        async || run(&house, &broker, &engine, &snapshot, &event).await.map(drop),
        async || run(&house, &broker, &engine, &shared, &event).await.map(drop),
    )
    .await?;

    let load = Row::times("loading a compiled step from disk", median(loads), "allowed", Duration::from_millis(50));
    Ok(vec![
        Row::times("a run of a JavaScript step, no HTTP", with, "bare wasmtime", without).at_most(0.5 / 0.37),
        load.at_most(1.0),
        compiling.row(),
        Row::times(
            "a run with lodash, loaded when it was built",
            kept,
            "by an engine that all steps share, evaluating the bundle in each run",
            evaluated,
        ),
    ])
}

const MIB: f64 = (1 << 20) as f64;

/// Runs while nothing is compiled, and while a component is.
struct Compiling {
    quiet: Duration,
    meanwhile: Duration,
}

impl Compiling {
    async fn measure(
        config: &EngineConfig,
        house: &House,
        broker: &Arc<Broker>,
        components: &[Bytes],
        event: &Input,
    ) -> Result<Self> {
        let engine = Engine::new(config.clone())?;
        let (first, others) = components.split_first().context("there are steps")?;
        let begun = Instant::now();
        let step = engine.load(first.clone()).await?;
        println!("compiling and loading one: {}", time(begun.elapsed()));
        let mut times = [Vec::new(), Vec::new()];
        for component in others {
            let compiler = engine.clone();
            let component = component.clone();
            let compiled = tokio::spawn(async move { compiler.load(component).await });
            let begun = Instant::now();
            while !compiled.is_finished() {
                times[1].push(timed(house, broker, &engine, &step, event).await?);
            }
            let took = begun.elapsed();
            compiled.await??;
            // As long without.
            let begun = Instant::now();
            while begun.elapsed() < took {
                times[0].push(timed(house, broker, &engine, &step, event).await?);
            }
        }
        let [quiet, meanwhile] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() * 99 / 100]
        });
        Ok(Self { quiet, meanwhile })
    }

    fn row(&self) -> Row {
        let what = "a run while another step is compiled, 99th percentile";
        Row::times(what, self.meanwhile, "while none is", self.quiet).at_most(2.0)
    }
}

async fn timed(house: &House, broker: &Arc<Broker>, engine: &Engine, step: &Step, input: &Input) -> Result<Duration> {
    let begun = Instant::now();
    run(house, broker, engine, step, input).await?;
    let took = begun.elapsed();
    // One caller, who is not always there: two would be compared with two cores less.
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(took)
}

async fn run(house: &House, broker: &Arc<Broker>, engine: &Engine, step: &Step, input: &Input) -> Result<String> {
    let outcome = engine.run(step, broker.session(house.scope()), input, &Limits::default()).await;
    Ok(outcome.result?.as_str().to_owned())
}

/// Bytes of this process that are in memory.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is a size")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}

/// Where the steps' sources lie.
struct Sources(tempfile::TempDir);

impl Sources {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A step that does `work`, after the statements of `top`.
    fn build(&self, name: &str, work: &str, top: &str) -> Result<Bytes> {
        let source = self.path(&format!("{name}.mjs"));
        std::fs::write(&source, format!("{top}\nexport default {{ async run({{ steps }}) {{ {work} }} }};\n"))?;
        let output = self.path(&format!("{name}.wasm"));
        let status = Command::new(workspace::keyhole())
            .args(["--data-dir".as_ref(), self.path("data").as_os_str()])
            .args(["build".as_ref(), source.as_os_str(), "--output".as_ref(), output.as_os_str()])
            .stdout(std::process::Stdio::null())
            .status()?;
        ensure!(status.success(), "{} was not built", source.display());
        Ok(std::fs::read(output)?.into())
    }

    /// A step with a package in its snapshot, and the same with the package's source as data, as it would be in an
    /// engine that knows no step when it is built.
    fn with_lodash(&self) -> Result<(Bytes, Bytes)> {
        let folder = self.0.path();
        let npm =
            Command::new("npm").current_dir(folder).args(["install", "--silent", "--no-save", LODASH]).status()?;
        ensure!(npm.success(), "npm did not install {LODASH}");
        std::fs::copy(folder.join(Path::new("node_modules/lodash/lodash.js")), self.path("lodash.txt"))?;
        let work =
            |lodash: &str| WORK.replacen("return", &format!("const _ = {lodash}; _.chunk([text], 1); return"), 1);
        let snapshot = self.build("snapshot", &work("lodash"), r#"import lodash from "lodash";"#)?;
        let evaluate = r#"(() => { const module = { exports: {} }; new Function("module", "exports", source)(module, module.exports); return module.exports; })()"#;
        let shared = self.build("shared", &work(evaluate), r#"import source from "./lodash.txt";"#)?;
        Ok((snapshot, shared))
    }
}
