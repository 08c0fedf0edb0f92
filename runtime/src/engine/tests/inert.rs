//! One way out: what standard toolchains import is there, and finds nothing of the host's.

use super::super::allow::{WASI_INTERFACES, allowed};
use super::super::link::linker;
use super::super::*;
use super::guest::*;

#[test]
fn the_linker_has_what_the_list_allows_and_nothing_else_of_wasi() {
    let engine = wasmtime::Engine::default();
    let mut linker = linker(&engine).unwrap();
    // A name that is taken can't be defined again.
    let mut links = |name: &str| linker.root().func_wrap(name, |_, (): ()| Ok(())).is_err();
    for interface in WASI_INTERFACES {
        assert!(links(&format!("{interface}@0.2.12")), "{interface}");
        for version in ["0.2.0", "0.2.3", "0.2.12"] {
            assert!(allowed(&format!("{interface}@{version}")), "{interface}@{version}");
        }
    }
    for interface in ["types", "accounts", "flow", "signer"] {
        let name = format!("keyhole:step/{interface}@0.1.0");
        assert!(allowed(&name) && links(&name), "{name}");
    }
    for name in [
        "wasi:cli/run@0.2.12",
        "wasi:clocks/timezone@0.2.12",
        "wasi:http/incoming-handler@0.2.12",
        "wasi:config/store@0.2.0-draft",
        "wasi:keyvalue/store@0.2.0-draft",
        "wasi:nn/graph@0.2.0-rc-2024-10-28",
        "wasi:cli/environment@0.3.0",
        "wasi:cli/environment",
        "wasi:io/streams@0.2.0-rc-2023-11-10",
    ] {
        assert!(!allowed(name) && !links(name), "{name}");
    }
}

#[tokio::test]
async fn there_are_no_variables_arguments_or_directories() {
    let guest = Guest::run(
        r#"(call $environment (i32.const 3000)) (call $arguments (i32.const 3008)) (call $cwd (i32.const 3016))
           (call $directories (i32.const 3032))
           (if (i32.load (i32.const 3004)) (then unreachable))
           (if (i32.load (i32.const 3012)) (then unreachable))
           (if (i32.load8_u (i32.const 3016)) (then unreachable))
           (if (i32.load (i32.const 3036)) (then unreachable))
           (i32.const 256)"#,
    )
    .interface("wasi:cli/environment@0.2.12")
    .interface("wasi:filesystem/preopens@0.2.12")
    .imports(
        r#"(import "wasi:cli/environment@0.2.12" "get-environment" (func $environment (param i32)))
           (import "wasi:cli/environment@0.2.12" "get-arguments" (func $arguments (param i32)))
           (import "wasi:cli/environment@0.2.12" "initial-cwd" (func $cwd (param i32)))
           (import "wasi:filesystem/preopens@0.2.12" "get-directories" (func $directories (param i32)))"#,
    );
    run(&guest).await.result.unwrap();
}

#[tokio::test]
async fn standard_input_is_closed_and_output_goes_to_the_log() {
    let guest = Guest::run(
        r#"(call $read (call $stdin) (i64.const 10) (i32.const 3000))
           (if (i32.ne (i32.load8_u (i32.const 3000)) (i32.const 1)) (then unreachable)) ;; err
           (if (i32.ne (i32.load8_u (i32.const 3004)) (i32.const 1)) (then unreachable)) ;; closed
           (call $write (call $stdout) (i32.const 2048) (i32.const 8) (i32.const 3016))
           (call $write (call $stderr) (i32.const 2056) (i32.const 4) (i32.const 3016))
           (call $terminal (i32.const 3032))
           (if (i32.load8_u (i32.const 3032)) (then unreachable)) ;; none
           (i32.const 256)"#,
    )
    .interface("wasi:cli/stdin@0.2.12")
    .interface("wasi:cli/stdout@0.2.12")
    .interface("wasi:cli/stderr@0.2.12")
    .interface("wasi:cli/terminal-stdout@0.2.12")
    .imports(
        r#"(import "wasi:cli/stdin@0.2.12" "get-stdin" (func $stdin (result i32)))
           (import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))
           (import "wasi:cli/stderr@0.2.12" "get-stderr" (func $stderr (result i32)))
           (import "wasi:cli/terminal-stdout@0.2.12" "get-terminal-stdout" (func $terminal (param i32)))
           (import "wasi:io/streams@0.2.12" "[method]input-stream.blocking-read" (func $read (param i32 i64 i32)))
           (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))"#,
    )
    .items(r#"(data (i32.const 2048) "one\0atwo\0aoops")"#);
    let outcome = run(&guest).await;
    outcome.result.unwrap();
    let lines: Vec<_> = outcome.log.iter().map(|line| (line.level, line.text.as_str())).collect();
    assert_eq!(lines, [(Level::Info, "one"), (Level::Info, "two"), (Level::Error, "oops")]);
}

#[tokio::test]
async fn every_socket_and_look_up_is_denied() {
    let guest = Guest::run(
        r#"(call $tcp (i32.const 0) (i32.const 3000)) (call $tcp (i32.const 1) (i32.const 3008))
           (call $udp (i32.const 0) (i32.const 3016)) (call $udp (i32.const 1) (i32.const 3024))
           (call $resolve (call $network) (i32.const 2048) (i32.const 9) (i32.const 3032))
           (loop $l
             (if (i32.ne (i32.load8_u (i32.add (i32.const 3000) (local.get $i))) (i32.const 1)) (then unreachable))
             (local.set $i (i32.add (local.get $i) (i32.const 8)))
             (br_if $l (i32.le_u (local.get $i) (i32.const 32))))
           ;; access-denied
           (if (i32.ne (i32.load8_u (i32.const 3004)) (i32.const 1)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 3020)) (i32.const 1)) (then unreachable))
           (i32.const 256)"#,
    )
    .interface("wasi:sockets/tcp-create-socket@0.2.12")
    .interface("wasi:sockets/udp-create-socket@0.2.12")
    .interface("wasi:sockets/instance-network@0.2.12")
    .interface("wasi:sockets/ip-name-lookup@0.2.12")
    .imports(
        r#"(import "wasi:sockets/tcp-create-socket@0.2.12" "create-tcp-socket" (func $tcp (param i32 i32)))
           (import "wasi:sockets/udp-create-socket@0.2.12" "create-udp-socket" (func $udp (param i32 i32)))
           (import "wasi:sockets/instance-network@0.2.12" "instance-network" (func $network (result i32)))
           (import "wasi:sockets/ip-name-lookup@0.2.12" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))"#,
    )
    .items(r#"(data (i32.const 2048) "localhost")"#);
    run(&guest).await.result.unwrap();
}

#[tokio::test]
async fn an_import_that_is_not_on_the_list_is_refused_at_deploy_and_named() {
    let error = engine().load(component_with("wasi:keyvalue/store@0.2.0-draft", "")).await.unwrap_err();
    assert!(error.to_string().contains("wasi:keyvalue/store@0.2.0-draft"), "{error}");
}
