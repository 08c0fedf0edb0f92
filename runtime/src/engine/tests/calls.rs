//! What calls give, and what the contract's functions do.

use std::sync::Arc;

use serde_json::json;

use super::super::*;
use super::guest::*;

const FLOW: &str = r#"
    (import "keyhole:step/flow@0.1.0" "log" (func $log (param i32 i32 i32)))
    (import "keyhole:step/flow@0.1.0" "export" (func $export (param i32 i32 i32 i32 i32)))
    (import "keyhole:step/flow@0.1.0" "respond" (func $respond (param i32 i32 i32 i32 i32 i32 i32)))
    (import "keyhole:step/flow@0.1.0" "exit" (func $exit (param i32 i32)))
    (import "keyhole:step/flow@0.1.0" "delay" (func $delay (param i64 i32)))
"#;
const ACCOUNTS: &str = r#"
    (import "keyhole:step/accounts@0.1.0" "linked" (func $linked (param i32 i32 i32)))
    (import "keyhole:step/accounts@0.1.0" "[method]account.auth" (func $auth (param i32 i32)))
"#;

#[tokio::test]
async fn a_step_returns_its_value() {
    let outcome = run(&Guest::default().returning(r#"{"a":[1,2]}"#)).await;
    assert_eq!(outcome.result.unwrap().to_value(), json!({"a": [1, 2]}));
    assert!(outcome.peak_memory >= 2 * 65536);
}

#[tokio::test]
async fn a_step_is_given_its_event() {
    // Returns the event as it came.
    let guest = Guest::run(
        "(i32.store (i32.const 260) (local.get 0)) (i32.store (i32.const 264) (local.get 1)) (i32.const 256)",
    );
    assert_eq!(run(&guest).await.result.unwrap().as_str(), r#"{"e":1}"#);
}

#[tokio::test]
async fn what_is_returned_must_be_json() {
    let outcome = run(&Guest::default().returning("{oops")).await;
    assert!(matches!(outcome.result, Err(StepFailure::BadResult { .. })), "{:?}", outcome.result);
}

#[tokio::test]
async fn a_failure_keeps_its_kind_and_its_trace() {
    // err({message: "slack", kind: upstream, retry: true, trace: some("work")})
    let guest = Guest::run("(i32.const 512)").items(
        r#"(data (i32.const 512) "\01\00\00\00\00\08\00\00\05\00\00\00\02\01\00\00\01\00\00\00\06\08\00\00\04\00\00\00")
           (data (i32.const 2048) "slack\00work")"#,
    );
    let expected = StepFailure::Failed {
        message: "slack".into(),
        kind: FailureKind::Upstream,
        retry: true,
        trace: Some("work".into()),
    };
    let failure = run(&guest).await.result.unwrap_err();
    assert_eq!(failure, expected);
    assert!(failure.retry());
}

#[tokio::test]
async fn flow_is_in_the_outcome() {
    let guest = Guest::run(
        r#"(call $log (i32.const 2) (i32.const 2048) (i32.const 5))
           (call $export (i32.const 2048) (i32.const 5) (i32.const 320) (i32.const 4) (i32.const 3000))
           (call $export (i32.const 2048) (i32.const 4) (i32.const 2048) (i32.const 5) (i32.const 3016))
           (if (i32.ne (i32.load8_u (i32.const 3000)) (i32.const 0)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 3016)) (i32.const 1)) (then unreachable)) ;; not JSON
           (call $respond (i32.const 99) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3032))
           (if (i32.ne (i32.load8_u (i32.const 3032)) (i32.const 1)) (then unreachable)) ;; out of range
           (call $respond (i32.const 201) (i32.const 0) (i32.const 0) (i32.const 2048) (i32.const 5) (i32.const 1) (i32.const 3032))
           (call $respond (i32.const 500) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3032))
           (call $exit (i32.const 2048) (i32.const 5))
           (call $delay (i64.const 1500) (i32.const 3048))
           (call $delay (i64.const 9999999999999) (i32.const 3064))
           (if (i32.ne (i32.load8_u (i32.const 3064)) (i32.const 1)) (then unreachable))
           (i32.const 256)"#,
    )
    .imports(FLOW)
    .items(r#"(data (i32.const 2048) "slack")"#);
    let outcome = run(&guest).await;
    outcome.result.unwrap();
    assert_eq!(outcome.exports.keys().collect::<Vec<_>>(), ["slack"]);
    assert_eq!((outcome.log[0].level, outcome.log[0].text.as_str()), (Level::Warn, "slack"));
    let response = outcome.flow.response.unwrap();
    assert_eq!((response.status, &response.body[..], response.immediate), (201, &b"slack"[..], true));
    assert_eq!((outcome.flow.exit.as_deref(), outcome.flow.pause), (Some("slack"), Some(Pause::Delay(1500))));
}

#[tokio::test]
async fn a_placeholder_is_in_nothing_that_is_recorded() {
    let guest = Guest::run(
        r#"(call $linked (i32.const 2048) (i32.const 5) (i32.const 3000))
           (if (i32.ne (i32.load8_u (i32.const 3000)) (i32.const 0)) (then unreachable))
           (call $auth (i32.load (i32.const 3004)) (i32.const 3100))
           (local.set $i (i32.load (i32.const 3100)))
           (i32.store8 (i32.const 3200) (i32.const 34))
           (memory.copy (i32.const 3201) (i32.load offset=8 (local.get $i)) (i32.load offset=12 (local.get $i)))
           (local.set $n (i32.add (i32.const 2) (i32.load offset=12 (local.get $i))))
           (i32.store8 (i32.add (i32.const 3199) (local.get $n)) (i32.const 34))
           (call $log (i32.const 1) (i32.const 3200) (local.get $n))
           (call $export (i32.const 3201) (i32.sub (local.get $n) (i32.const 2)) (i32.const 3200) (local.get $n) (i32.const 3400))
           (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 3200) (local.get $n) (i32.const 0) (i32.const 3432))
           (call $exit (i32.const 3200) (local.get $n))
           (i32.store (i32.const 260) (i32.const 3200)) (i32.store (i32.const 264) (local.get $n))
           (i32.const 256)"#,
    )
    .imports(FLOW)
    .imports(ACCOUNTS)
    .items(r#"(data (i32.const 2048) "slack")"#);
    let outcome = run(&guest).await;
    assert_eq!(outcome.result.as_ref().unwrap().as_str(), "\"‹slack.token›\"");
    assert_eq!(outcome.log[0].text, "\"‹slack.token›\"");
    assert_eq!(outcome.exports["‹slack.token›"].as_str(), "\"‹slack.token›\"");
    assert!(!format!("{outcome:?}{}", serde_json::to_string(&outcome).unwrap()).contains(PLACEHOLDER));
}

#[tokio::test]
async fn a_prop_that_is_not_declared_gives_its_access_error() {
    let guest = Guest::run(
        r#"(call $linked (i32.const 2048) (i32.const 4) (i32.const 3000))
           (if (i32.ne (i32.load8_u (i32.const 3000)) (i32.const 1)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 3004)) (i32.const 0)) (then unreachable)) ;; not-declared
           (i32.const 256)"#,
    )
    .imports(ACCOUNTS)
    .items(r#"(data (i32.const 2048) "gist")"#);
    let engine = engine();
    let step = engine.load(guest.component()).await.unwrap();
    let host = Arc::new(TestHost::default());
    engine.run(&step, host.clone(), &input(), &Limits::default()).await.result.unwrap();
    assert_eq!(*host.asked.lock().unwrap(), ["gist"]);
}

#[tokio::test]
async fn a_trap_names_the_steps_functions_and_nothing_of_the_host() {
    let guest = Guest::run("(call $innermost) unreachable").items("(func $innermost unreachable)");
    let failure = run(&guest).await.result.unwrap_err();
    let StepFailure::Trapped { message, trace } = &failure else { panic!("{failure:?}") };
    assert!(message.contains("unreachable"), "{message}");
    assert_eq!(trace[0], "innermost");
    let text = format!("{failure:?} {failure}");
    assert!(!text.contains("wasmtime") && !text.contains(".rs"), "{text}");
}

#[tokio::test]
async fn an_exit_is_named() {
    let guest = Guest::run("(call $exit (i32.const 1)) unreachable")
        .interface("wasi:cli/exit@0.2.12")
        .imports(r#"(import "wasi:cli/exit@0.2.12" "exit" (func $exit (param i32)))"#);
    assert_eq!(run(&guest).await.result.unwrap_err(), StepFailure::Exited { code: 1 });
}

#[tokio::test]
async fn a_definition_is_read_once_and_kept() {
    let engine = engine();
    let component = Guest::default().component();
    let step = engine.load(component.clone()).await.unwrap();
    assert_eq!((step.definition.name.as_str(), step.definition.version.to_string().as_str()), ("t", "1.0.0"));
    assert!(Arc::ptr_eq(&step, &engine.load(component.clone()).await.unwrap()));
    assert!(Arc::ptr_eq(&step, &engine.loaded(&Digest::of(&component)).unwrap()));
    let configured = engine.configure(&step, Arc::new(NoHost), "p", "{}", &Limits::default()).await;
    assert_eq!(configured.result.unwrap(), Json::null());
}

#[tokio::test]
async fn an_interface_of_another_shape_is_refused_at_deploy() {
    let error = engine().load(component_with("wasi:cli/exit@0.2.0", r#"(export "leave" (func))"#)).await.unwrap_err();
    // It exports no step either; what it imports is looked at first only if it is forbidden.
    assert!(matches!(error, LoadError::Inspect(InspectError::NotAStep(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_can_be_spawned() {
    let engine = engine();
    let step = engine.load(Guest::default().component()).await.unwrap();
    let runs = (0..64).map(|_| {
        let (engine, step) = (engine.clone(), step.clone());
        tokio::spawn(async move { engine.run(&step, Arc::new(NoHost), &input(), &Limits::default()).await })
    });
    for run in futures_util::future::join_all(runs).await {
        run.unwrap().result.unwrap();
    }
}
