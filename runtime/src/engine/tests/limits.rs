//! Every call ends within its limits, whatever the code does, and says which limit it met.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::*;
use super::guest::*;

fn short() -> Limits {
    Limits { deadline: Duration::from_millis(200), ..Limits::default() }
}

const LOOP: &str = "(loop $l (br $l)) unreachable";
const LOG: &str = r#"(import "keyhole:step/flow@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
const CLOCK: &str = r#"
    (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $after (param i64) (result i32)))
    (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))"#;
const HTTP: &str = r#"
    (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.2.12" "[constructor]outgoing-request" (func $request (param i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-authority" (func $authority (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-path-with-query" (func $path (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]outgoing-request.set-method" (func $method (param i32 i32 i32 i32) (result i32)))
    (import "wasi:http/types@0.2.12" "[method]future-incoming-response.subscribe" (func $subscribe (param i32) (result i32)))
    (import "wasi:http/outgoing-handler@0.2.12" "handle" (func $handle (param i32 i32 i32 i32)))
    (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))"#;

#[tokio::test]
async fn an_endless_loop_ends_within_100_ms_of_its_deadline() {
    let outcome = run_with(&engine(), &Guest::run(LOOP), &short()).await;
    assert_eq!(limit(&outcome), Limit::Deadline);
    assert!(outcome.duration < Duration::from_millis(300), "{:?}", outcome.duration);
}

#[tokio::test]
async fn waiting_in_the_host_ends_within_100_ms_of_the_deadline() {
    let guest = Guest::run("(call $block (call $after (i64.const 3600000000000))) unreachable").imports(CLOCK);
    let outcome = run_with(&engine(), &guest, &short()).await;
    assert_eq!(limit(&outcome), Limit::Deadline);
    assert!(outcome.duration < Duration::from_millis(300), "{:?}", outcome.duration);
}

#[tokio::test]
async fn an_endless_loop_in_definition_ends() {
    let config = EngineConfig { slots: Some(4), definition: short(), ..EngineConfig::default() };
    let engine = Engine::new(config).unwrap();
    let guest = Guest { definition: LOOP.to_owned(), ..Guest::default() };
    let started = Instant::now();
    let error = engine.load(guest.component()).await.unwrap_err();
    assert!(matches!(&error, LoadError::DefinitionCall(StepFailure::Limit { limit: Limit::Deadline, .. })), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_deadline_is_at_most_750_s_and_said_so() {
    let asked = Limits { deadline: Duration::from_secs(9000), ..Limits::default() };
    let held = asked.that_hold();
    assert_eq!(held.deadline, MAX_DEADLINE);
    let told = held.describe(Limit::Deadline);
    assert!(told.contains("its deadline of 750 s") && told.contains("`timeout` up to 750 s"), "{told}");
    let default = Limits::default();
    assert_eq!(default.that_hold().deadline, default.deadline);
}

#[test]
fn others_are_served_while_steps_loop() {
    // One thread: whoever does not let go of it holds up everyone.
    runtime_builder().worker_threads(1).build().unwrap().block_on(async {
        tokio::spawn(serve_beside_loops()).await.unwrap();
    });
}

async fn serve_beside_loops() {
    let engine = engine();
    let hog = engine.load(Guest::run(LOOP).component()).await.unwrap();
    // It waits for a timer, as one waits for a server.
    let waits = Guest::run("(call $block (call $after (i64.const 1000000))) (i32.const 256)").imports(CLOCK);
    let step = engine.load(waits.component()).await.unwrap();
    let hogs: Vec<_> = (0..4)
        .map(|_| {
            let (engine, hog) = (engine.clone(), hog.clone());
            let limits = Limits { deadline: Duration::from_secs(2), ..Limits::default() };
            tokio::spawn(async move { engine.run(&hog, Arc::new(NoHost), &input(), &limits).await })
        })
        .collect();
    let mut served = 0;
    while !hogs.iter().all(|hog| hog.is_finished()) {
        engine.run(&step, Arc::new(NoHost), &input(), &Limits::default()).await.result.unwrap();
        served += 1;
    }
    assert!(served >= 5, "{served}");
    for hog in hogs {
        assert_eq!(limit(&hog.await.unwrap()), Limit::Deadline);
    }
}

#[tokio::test]
async fn memory_without_end_ends_at_its_limit() {
    let guest = Guest::run("(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable");
    let outcome = run(&guest).await;
    assert_eq!(limit(&outcome), Limit::Memory);
    assert!(outcome.result.unwrap_err().to_string().contains("256 MiB"));
    assert!((255 << 20..=256 << 20).contains(&outcome.peak_memory), "{}", outcome.peak_memory);
}

#[tokio::test]
async fn memory_that_is_written_to_ends_at_its_limit() {
    let guest = Guest::run(
        "(loop $l (local.set $i (memory.grow (i32.const 64)))
            (memory.fill (i32.mul (local.get $i) (i32.const 65536)) (i32.const 1) (i32.const 4194304)) (br $l)) unreachable",
    );
    assert_eq!(limit(&run(&guest).await), Limit::Memory);
}

#[tokio::test]
async fn memories_and_tables_count_together() {
    let limits = Limits { memory: 4 << 20, ..Limits::default() };
    let one = Guest::run("(drop (memory.grow (i32.const 32))) (i32.const 256)");
    run_with(&engine(), &one, &limits).await.result.unwrap();
    let two = one.clone().items("(memory $second 32)");
    assert_eq!(limit(&run_with(&engine(), &two, &limits).await), Limit::Memory);
    let table = one.items("(table $t 99000 funcref)").items("(table $u 99000 funcref) (table $v 99000 funcref)");
    assert_eq!(limit(&run_with(&engine(), &table, &limits).await), Limit::Memory);
}

#[tokio::test]
async fn a_module_that_declares_its_own_maximum_gets_minus_one() {
    let guest =
        Guest::run("(if (i32.ne (memory.grow $own (i32.const 9)) (i32.const -1)) (then unreachable)) (i32.const 256)")
            .items("(memory $own 1 2)");
    run(&guest).await.result.unwrap();
}

#[tokio::test]
async fn a_memory_that_begins_above_the_limit_is_refused() {
    let error = engine().load(Guest { pages: 5000, ..Guest::default() }.component()).await.unwrap_err();
    assert!(error.to_string().contains("needs more memory than its limit of 256 MiB"), "{error}");
}

#[tokio::test]
async fn a_table_without_end_ends_at_its_limit() {
    let guest = Guest::run("(loop $l (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $l)) unreachable")
        .items("(table $t 1 funcref)");
    assert_eq!(limit(&run(&guest).await), Limit::Table);
}

#[tokio::test]
async fn recursion_without_end_ends_at_the_stacks_limit() {
    let guest = Guest::run("(call $down (i64.const 1)) unreachable")
        .items("(func $down (param i64) (call $down (i64.add (local.get 0) (i64.const 1))))");
    assert_eq!(limit(&run(&guest).await), Limit::Stack);
}

#[tokio::test]
async fn recursion_into_a_toolchains_own_stack_is_named_as_such() {
    let guest = Guest::run("(i32.store (i32.const -64) (i32.const 1)) (i32.const 256)");
    assert_eq!(limit(&run(&guest).await), Limit::Stack);
    let guest = Guest::run("(i32.store (i32.const 0x10000000) (i32.const 1)) (i32.const 256)");
    assert!(matches!(run(&guest).await.result, Err(StepFailure::Trapped { .. })));
}

#[tokio::test]
async fn a_log_without_end_is_cut_and_says_so() {
    let guest = Guest::run("(loop $l (call $log (i32.const 1) (i32.const 0) (i32.const 4096)) (br $l)) unreachable")
        .imports(LOG);
    let outcome = run_with(&engine(), &guest, &short()).await;
    assert_eq!(limit(&outcome), Limit::Deadline);
    assert!(outcome.log_cut);
    assert!(outcome.log.iter().map(|line| line.text.len()).sum::<usize>() <= 256 * 1024);
}

#[tokio::test]
async fn exports_without_end_are_refused_at_their_limit() {
    let guest = Guest::run(
        r#"(loop $l
            (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
            (call $export (i32.const 4112) (i32.add (i32.rem_u (i32.load (i32.const 4096)) (i32.const 100)) (i32.const 1))
                (i32.const 8192) (i32.const 20002) (i32.const 3000))
            (br_if $l (i32.eqz (i32.load8_u (i32.const 3000)))))
           (i32.const 256)"#,
    )
    .imports(r#"(import "keyhole:step/flow@0.1.0" "export" (func $export (param i32 i32 i32 i32 i32)))"#)
    .items(&format!(r#"(data (i32.const 8192) "\22{}\22") (data (i32.const 4112) "{}")"#, "x".repeat(20_000), "n".repeat(128)));
    let outcome = run(&guest).await;
    outcome.result.unwrap();
    let bytes: usize = outcome.exports.iter().map(|(name, value)| name.len() + value.as_str().len()).sum();
    assert!((1 << 20) - 21_000 < bytes && bytes <= 1 << 20, "{bytes}");
}

#[tokio::test]
async fn a_return_value_above_its_limit_is_refused() {
    for bytes in [7 << 20, 100 << 20] {
        let guest = Guest {
            pages: 2000,
            ..Guest::run(&format!(
                "(i32.store (i32.const 260) (i32.const 65536)) (i32.store (i32.const 264) (i32.const {bytes})) (i32.const 256)"
            ))
        };
        assert_eq!(limit(&run(&guest).await), Limit::ReturnValue);
    }
}

#[tokio::test]
async fn a_call_that_passes_too_much_is_refused() {
    let guest = Guest {
        pages: 2000,
        ..Guest::run("(call $log (i32.const 1) (i32.const 0) (i32.const 100000000)) (i32.const 256)").imports(LOG)
    };
    assert_eq!(limit(&run(&guest).await), Limit::CallSize);
}

#[tokio::test]
async fn handles_without_end_end_at_their_limit() {
    let clocks = Guest::run("(loop $l (drop (call $after (i64.const 1000000))) (br $l)) unreachable").imports(CLOCK);
    assert_eq!(limit(&run(&clocks).await), Limit::Handles);
    let fields = Guest::run("(loop $l (drop (call $fields)) (br $l)) unreachable").imports(HTTP);
    assert_eq!(limit(&run(&fields).await), Limit::HeaderSets);
}

#[tokio::test]
async fn requests_that_are_never_sent_end_at_a_limit_and_hold_no_long_authority() {
    let guest = Guest::run("(loop $l (drop (call $request (call $fields))) (br $l)) unreachable").imports(HTTP);
    assert_eq!(limit(&run(&guest).await), Limit::Unanswered);
    let authority = |bytes: usize| async move {
        let body = format!(
            "(local.set $n (call $request (call $fields)))
             (if (call $authority (local.get $n) (i32.const 1) (i32.const 1048576) (i32.const {bytes})) (then unreachable))
             (i32.const 256)"
        );
        let text = format!(r#"(data (i32.const 1048576) "{}")"#, "a".repeat(bytes));
        run(&Guest { pages: 100, ..Guest::run(&body).imports(HTTP).items(&text) }).await.result.is_ok()
    };
    assert!(authority(4 * 1024).await);
    assert!(!authority(4 * 1024 + 1).await);
}

#[tokio::test]
async fn ten_thousand_requests_end_at_a_limit() {
    let guest = Guest::run(
        r#"(loop $l
            (local.set $n (call $request (call $fields)))
            (drop (call $authority (local.get $n) (i32.const 1) (i32.const 2048) (i32.const 9)))
           (drop (call $path (local.get $n) (i32.const 1) (i32.const 2057) (i32.const 1)))
            (call $handle (local.get $n) (i32.const 0) (i32.const 0) (i32.const 3000))
            (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000))))
           (i32.const 256)"#,
    )
    .imports(HTTP)
    .items(r#"(data (i32.const 2048) "a.example/")"#);
    let engine = engine();
    let step = engine.load(guest.component()).await.unwrap();
    let host = Arc::new(TestHost::default());
    let outcome = engine.run(&step, host.clone(), &input(), &Limits::default()).await;
    assert_eq!(limit(&outcome), Limit::Unanswered);
    // The run is over, and so is every request that it had begun.
    drop(outcome);
    tokio::task::yield_now().await;
    let patience = Instant::now() + Duration::from_secs(5);
    while Arc::strong_count(&host) > 1 && Instant::now() < patience {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&host), 1);
}

#[tokio::test]
async fn a_dropped_run_ends_its_requests() {
    let guest = Guest::run(
        r#"(local.set $n (call $request (call $fields)))
           (drop (call $authority (local.get $n) (i32.const 1) (i32.const 2048) (i32.const 9)))
           (drop (call $path (local.get $n) (i32.const 1) (i32.const 2057) (i32.const 1)))
           (call $handle (local.get $n) (i32.const 0) (i32.const 0) (i32.const 3000))
           (call $block (call $subscribe (i32.load (i32.const 3008))))
           (i32.const 256)"#,
    )
    .imports(HTTP)
    .items(r#"(data (i32.const 2048) "a.example/")"#);
    let engine = engine();
    let step = engine.load(guest.component()).await.unwrap();
    let host = Arc::new(TestHost::default());
    let (input, limits) = (input(), Limits::default());
    {
        let mut run = Box::pin(engine.run(&step, host.clone(), &input, &limits));
        while host.asked.lock().unwrap().is_empty() {
            tokio::select! {
                biased;
                outcome = &mut run => panic!("{outcome:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(*host.asked.lock().unwrap(), ["https://a.example/"]);
    }
    let patience = Instant::now() + Duration::from_secs(5);
    while Arc::strong_count(&host) > 1 && Instant::now() < patience {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&host), 1);
}

#[tokio::test]
async fn a_method_of_megabytes_is_refused() {
    let guest = Guest {
        pages: 100,
        ..Guest::run(
            r#"(memory.fill (i32.const 65536) (i32.const 65) (i32.const 5000000))
               (if (i32.ne (call $method (call $request (call $fields)) (i32.const 9) (i32.const 65536) (i32.const 5000000)) (i32.const 1))
                 (then unreachable))
               (if (i32.ne (call $method (call $request (call $fields)) (i32.const 9) (i32.const 65536) (i32.const 8)) (i32.const 0))
                 (then unreachable))
               (i32.const 256)"#,
        )
        .imports(HTTP)
    };
    run(&guest).await.result.unwrap();
}

#[tokio::test]
async fn random_bytes_without_end_are_refused() {
    let random = |bytes: u64| {
        Guest {
            pages: 40,
            ..Guest::run(&format!("(call $random (i64.const {bytes}) (i32.const 3000)) (i32.const 256)"))
        }
        .imports(r#"(import "wasi:random/random@0.2.12" "get-random-bytes" (func $random (param i64 i32)))"#)
    };
    run(&random(1 << 20)).await.result.unwrap();
    assert!(matches!(run(&random(1 << 40)).await.result, Err(StepFailure::Trapped { .. })));
}

#[tokio::test]
async fn who_finds_no_slot_waits_for_one() {
    let engine = Engine::new(EngineConfig { slots: Some(2), ..EngineConfig::default() }).unwrap();
    assert_eq!(engine.pool().slots, Some(2));
    let guest = Guest::run("(call $block (call $after (i64.const 2000000))) (i32.const 256)").imports(CLOCK);
    let step = engine.load(guest.component()).await.unwrap();
    let (input, limits) = (input(), Limits::default());
    let runs = (0..20).map(|_| engine.run(&step, Arc::new(NoHost), &input, &limits));
    for outcome in futures_util::future::join_all(runs).await {
        outcome.result.unwrap();
    }
}
