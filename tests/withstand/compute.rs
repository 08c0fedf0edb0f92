//! Time and memory: loops, recursion, allocation, tables, handles.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhole::engine::{
    CodeCacheConfig, Engine, EngineConfig, LoadError, MAX_DEADLINE, NoHost, StepFailure, runtime_builder,
};
use keyhole_tests::program::{Ended, Keyhole};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

use crate::rig::*;

const MIB: u64 = 1 << 20;
/// How late a run may end, where the machine has time for it. So it is the best of three that is held to this: two
/// cores are shared with all that is tested meanwhile, and what waits for its turn there can end no sooner.
const LATE: Duration = Duration::from_millis(100);
/// How late every run may end, whatever else the machine has to do.
const LATE_AT_WORST: Duration = Duration::from_secs(2);

/// How long the run took, in the program's own words.
fn duration(run: &Value) -> Duration {
    Duration::from_secs_f64(run["duration_ms"].as_f64().unwrap() / 1e3)
}

/// The attack is ended at its deadline of 1 s: each time within 2 s of it, and the best of three within 100 ms.
#[track_caller]
fn ends_at_its_deadline(attack: &str) {
    let scene = Scene::new();
    let deadline = Duration::from_secs(1);
    at_best(deadline + LATE, deadline + LATE_AT_WORST, || {
        let run = scene.attack(attack, json!({}), &["--timeout", "1s"]);
        assert_eq!(limit(&run), "deadline");
        says(&run["error"]["message"], &["deadline of 1 s", "up to 750 s"]);
        let took = duration(&run);
        assert!(took >= deadline, "{took:?}");
        took
    });
}

#[test]
fn bounded_an_endless_loop_in_run_ends_within_100_ms_of_its_deadline() {
    ends_at_its_deadline("loop");
}

#[test]
fn bounded_endless_calls_to_the_host_end_within_100_ms_of_the_deadline() {
    ends_at_its_deadline("loop-host-calls");
}

#[test]
fn bounded_an_endless_wait_in_the_host_ends_within_100_ms_of_the_deadline() {
    ends_at_its_deadline("sleep");
}

#[test]
fn bounded_an_endless_loop_in_definition_ends_within_100_ms_of_its_deadline() {
    let runtime = runtime_builder().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let deadline = Duration::from_millis(500);
    let code_cache = Some(CodeCacheConfig::new(dir.path(), [7; 32]));
    let engine = Engine::new(EngineConfig { definition: within(deadline), code_cache, ..config() }).unwrap();
    let component: bytes::Bytes = std::fs::read(component("definition-loop")).unwrap().into();
    let load = || runtime.block_on(engine.load(component.clone())).unwrap_err();
    // The first time it is compiled, too; that is not what is measured.
    load();
    at_best(deadline + LATE, deadline + LATE_AT_WORST, || {
        let started = Instant::now();
        let error = load();
        let took = started.elapsed();
        let LoadError::DefinitionCall(StepFailure::Limit { limit, message }) = error else { panic!("{error}") };
        assert!(limit.as_str() == "deadline" && message.contains("0.500 s"), "{message}");
        assert!(took >= deadline, "{took:?}");
        took
    });
}

#[test]
fn bounded_an_endless_loop_in_definition_fails_each_command_that_reads_it() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let step = component("definition-loop").display().to_string();
    std::thread::scope(|threads| {
        for args in [["run", step.as_str()], ["inspect", step.as_str()]] {
            let keyhole = &keyhole;
            threads.spawn(move || {
                let said = keyhole.call(&args).failed(1);
                assert!(
                    said.contains("the step's `definition` failed: the step ended at its deadline of 5 s"),
                    "{said}"
                );
            });
        }
    });
}

/// The longest that a run with nothing to do waits for its turn beside steps that loop. Each of these has a thread for
/// 5 ms at a time, and then it is the next one's turn; the rest is for what else the machine has to do.
const TURN: Duration = Duration::from_secs(1);

#[test]
fn bounded_other_runs_are_served_while_steps_loop() {
    // On a runtime as the program's is, whose every thread has a loop on it.
    runtime_builder().worker_threads(2).build().unwrap().block_on(async {
        let hostile = step("hostile").await;
        let start = |attack: &'static str, deadline: Duration| {
            let hostile = hostile.clone();
            tokio::spawn(
                async move { run(&hostile, Arc::new(NoHost), &event(attack, json!({})), &within(deadline)).await },
            )
        };
        let hogs =
            ["loop", "loop-host-calls", "loop", "loop-host-calls"].map(|attack| start(attack, Duration::from_secs(2)));
        let mut served = Vec::new();
        while hogs.iter().any(|hog| !hog.is_finished()) {
            let begun = Instant::now();
            let outcome = start("none", Duration::from_secs(30)).await.unwrap();
            served.push(begun.elapsed());
            assert_eq!(outcome.result.expect("it is served").as_str(), "\"fine\"");
        }
        // More than were needed to see the four end.
        assert!(served.len() >= 10, "{served:?}");
        assert!(served.iter().all(|took| *took < TURN), "{served:?}");
        for hog in hogs {
            assert_eq!(limit_of(&hog.await.unwrap()).0, "deadline");
        }
    });
}

#[test]
fn bounded_the_deadline_is_30_s_by_default_and_750_s_at_most() {
    let scene = Scene::new();
    let given = |flags: &[&str]| scene.attack("input", json!({}), flags)["return_value"]["deadline_ms"].clone();
    assert_eq!(given(&[]), 30_000);
    assert_eq!(given(&["--timeout", "750s"]), 750_000);
    let said = scene.end_of_attack("none", json!({}), &["--timeout", "751s"]);
    assert_eq!(said.code, 2);
    assert_eq!(said.json_error()["message"], "a run may take up to 750 s");
    assert_eq!(said.json_error()["where"], "--timeout");
}

#[test]
fn bounded_a_run_without_a_timeout_ends_after_30_s() {
    let deadline = Duration::from_secs(30);
    let run = Scene::new().attack("sleep", json!({}), &[]);
    assert_eq!(limit(&run), "deadline");
    says(&run["error"]["message"], &["deadline of 30 s"]);
    let took = duration(&run);
    assert!((deadline..deadline + LATE_AT_WORST).contains(&took), "{took:?}");
}

/// Which deadline the engine goes by is also shown where nobody waits for it: by `a_deadline_is_at_most_750_s_and_said_so`
/// in runtime/src/engine/tests.
#[tokio::test(flavor = "multi_thread")]
async fn bounded_the_longest_deadline_holds_to_the_end() {
    if !long() {
        eprintln!("skipped: it takes 750 s, so only tests/run --long has it");
        return;
    }
    let hostile = step("hostile").await;
    let limits = within(Duration::from_secs(9000));
    let outcome = run(&hostile, Arc::new(NoHost), &event("sleep", json!({})), &limits).await;
    let (limit, message) = limit_of(&outcome);
    assert!(limit == "deadline" && message.contains("deadline of 750 s"), "{message}");
    let ends = MAX_DEADLINE..MAX_DEADLINE + LATE_AT_WORST;
    assert!(ends.contains(&outcome.duration), "{:?}", outcome.duration);
}

#[test]
fn bounded_memory_without_end_ends_the_run_and_the_hosts_stays_bounded() {
    let scene = Scene::new();
    let (_, idle) = with_peak_of_the_host(&scene, "none", &[]);
    for attack in ["allocate", "grow-memory"] {
        let (ended, host) = with_peak_of_the_host(&scene, attack, &[]);
        let run = ended.json();
        assert_eq!(limit(&run), "memory");
        says(&run["error"]["message"], &["256 MiB", "raise `memory`"]);
        let peak = run["peak_memory"].as_u64().unwrap();
        assert!((200 * MIB..=256 * MIB).contains(&peak), "{attack}: {peak}");
        assert!(host <= idle + 256 * MIB + 32 * MIB, "{attack}: {host}, when idle {idle}");
    }
    let (ended, host) = with_peak_of_the_host(&scene, "allocate", &["--memory", "16MiB"]);
    says(&ended.json()["error"]["message"], &["16 MiB"]);
    assert!(host <= idle + 16 * MIB + 32 * MIB, "{host}, when idle {idle}");
}

/// How the attack ended, and the most memory that the program itself ever had resident, in bytes.
fn with_peak_of_the_host(scene: &Scene, attack: &str, more: &[&str]) -> (Ended, u64) {
    let file = scene.keyhole.data.path().join("event.json");
    std::fs::write(&file, event(attack, json!({})).to_string()).unwrap();
    let (file, step) = (file.display().to_string(), component("hostile").display().to_string());
    let link = format!("acme={}", scene.account);
    let args = ["--json", "run", &step, "--event", &file, "--as", "alice", "--link", &link];
    let mut command = scene.keyhole.command(&args);
    let child = command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let ended = std::thread::spawn(move || child.wait_with_output().unwrap());
    let mut peak = 0;
    while !ended.is_finished() {
        // The kernel keeps the maximum, so that looking now and then is enough. A zombie has none.
        if let Some(kib) = std::fs::read_to_string(&status).ok().and_then(|text| peak_resident(&text)) {
            peak = peak.max(kib * 1024);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(peak > 0, "it was seen running");
    (ended.join().unwrap().into(), peak)
}

fn peak_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn bounded_a_table_without_end_ends_saying_which_limit() {
    let tables = engine().load(component_of_text("tables").into()).await.unwrap();
    let outcome = run(&tables, Arc::new(NoHost), &json!({}), &within(Duration::from_secs(30))).await;
    let (limit, message) = limit_of(&outcome);
    assert_eq!(limit, "table");
    assert!(message.contains("100000 elements"), "{message}");
}

#[test]
fn bounded_recursion_without_end_ends_saying_which_limit() {
    let run = Scene::new().attack("recurse", json!({}), &[]);
    assert_eq!(limit(&run), "stack");
    says(&run["error"]["message"], &["recurses deeper than the stack's limit"]);
}

#[test]
fn bounded_handles_without_end_end_saying_which_limit() {
    let scene = Scene::new();
    for attack in ["leak-pollables", "leak-accounts"] {
        let run = scene.attack(attack, json!({}), &[]);
        assert_eq!(limit(&run), "handles", "{attack}");
        says(&run["error"]["message"], &["more than 32768 answers, bodies and streams"]);
    }
    let run = scene.attack("leak-fields", json!({}), &[]);
    assert_eq!(limit(&run), "header_sets");
    says(&run["error"]["message"], &["more than 4096 sets of headers"]);
}

#[test]
fn bounded_one_call_that_would_cost_the_host_much_is_refused() {
    let scene = Scene::new();
    let run = scene.attack("random-large", json!({"size": 1_u64 << 40}), &[]);
    assert_eq!(run["error"]["failure"], "trapped", "{run:#}");
    // As many pollables as there may be, over and over: work, but not without end.
    let run = scene.attack("poll-many", json!({"size": 15_000}), &["--timeout", "5s"]);
    let ended = run["status"] == "ok" || limit(&run) == "deadline";
    assert!(ended, "{run:#}");
}

#[test]
fn a_step_that_breaks_off_or_exits_ends_its_run_alone() {
    let scene = Scene::new();
    let run = scene.attack("trap", json!({}), &[]);
    assert_eq!(run["error"]["failure"], "trapped", "{run:#}");
    says(&run["error"]["message"], &["the step broke off"]);
    for code in [0, 1] {
        let run: Value = scene.attack("exit", json!({"code": code}), &[]);
        assert_eq!(run["error"]["failure"], "exited", "{run:#}");
        says(&run["error"]["message"], &["a step ends by returning a value or an error"]);
    }
}

#[test]
fn a_compiler_ends_when_nobody_is_left_to_read_what_it_makes() {
    let mut compiler = std::process::Command::new(keyhole_tests::workspace::keyhole());
    let compiler = compiler.arg("__compile").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut compiler = compiler.spawn().expect("keyhole starts");
    // Its limits, 1 GiB and 60 s of CPU, and the begin of a component. A pipe holds less: when all of it
    // is written, the compiler is at work, and waits for the rest.
    let mut component = compiler.stdin.take().expect("a pipe");
    let limits = [1_u64 << 30, 60].map(u64::to_le_bytes).concat();
    component.write_all(&limits).and_then(|()| component.write_all(&vec![0_u8; 1 << 20])).expect("it reads");
    assert!(compiler.try_wait().expect("a process").is_none(), "it waits");
    // As where the run that it compiles for is killed. But for this it would wait for ever: `component` is open.
    drop(compiler.stdout.take());
    let gone = Instant::now();
    let ended = loop {
        if let Some(ended) = compiler.try_wait().expect("a process") {
            break ended;
        }
        assert!(gone.elapsed() < Duration::from_secs(10), "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(ended.code(), Some(4));
    drop(component);
}
