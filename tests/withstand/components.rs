//! What is no step is refused when it is deployed, before any of it is compiled, and told why.

use std::path::{Path, PathBuf};

use keyhole::engine::{InspectError, LoadError, inspect};
use keyhole_tests::program::Keyhole;
use keyhole_tests::workspace::component;
use serde_json::json;

use crate::rig::*;

/// Writes `bytes` to a file beside the data directory.
fn file(keyhole: &Keyhole, name: &str, bytes: &[u8]) -> PathBuf {
    let path = keyhole.data.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// `run` and `inspect` refuse the file, with `parts` in the message and the file as the place.
#[track_caller]
fn refused(keyhole: &Keyhole, path: &Path, parts: &[&str]) {
    let shown = path.display().to_string();
    for command in ["run", "inspect"] {
        let said = keyhole.call(&[command, &shown]).failed(1);
        for part in parts.iter().chain([&shown.as_str()]) {
            assert!(said.contains(part), "{command}: {part:?} is not in {said}");
        }
    }
    let ended = keyhole.end_of_run(path, &json!({}), &[]);
    assert_eq!(ended.code, 1);
    assert_eq!(ended.stdout, "");
    says(&ended.json_error()["message"], &parts[..1]);
    assert_eq!(ended.json_error()["where"], json!(shown));
}

fn with_alice() -> Keyhole {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    keyhole
}

#[test]
fn a_file_that_is_no_component_is_refused_and_told_what_it_is() {
    let keyhole = with_alice();
    for (name, bytes, part) in [
        ("empty.wasm", &b""[..], "this is not a WebAssembly component"),
        ("program.wasm", b"\x7fELF\x02\x01\x01\0\xff\xfe", "this is not a WebAssembly component"),
        ("source.wasm", b"export const run = () => 1", "this is WebAssembly text, or source"),
    ] {
        refused(&keyhole, &file(&keyhole, name, bytes), &[part]);
    }
}

#[test]
fn a_core_module_is_refused_and_told_which_target_to_build_for() {
    let keyhole = with_alice();
    let module = wat::parse_str(r#"(module (func (export "run")))"#).unwrap();
    let path = file(&keyhole, "module.wasm", &module);
    refused(&keyhole, &path, &["this is a core WebAssembly module, not a component", "wasm32-wasip2"]);
}

#[test]
fn a_component_cut_short_is_refused_wherever_it_was_cut() {
    let keyhole = with_alice();
    let whole = std::fs::read(component("hostile")).unwrap();
    for end in [3, 100, whole.len() / 2, whole.len() - 1] {
        let path = file(&keyhole, &format!("cut-at-{end}.wasm"), &whole[..end]);
        refused(&keyhole, &path, &[&format!("the component is cut short: {end} bytes are there")]);
    }
    inspect(&whole).unwrap().check().unwrap();
    for end in (0..whole.len()).step_by(whole.len() / 200) {
        let found = inspect(&whole[..end]).and_then(|found| found.check());
        assert!(found.is_err(), "cut at {end} of {}", whole.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_altered_bytes_is_refused_or_a_step() {
    // Whatever comes of it, nothing crashes, and what is refused is told why.
    let whole = component_of_text("tables");
    engine().load(whole.clone().into()).await.unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut refused = 0;
    for _ in 0..40 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut altered = whole.clone();
        let at = (random >> 33) as usize % altered.len();
        altered[at] ^= 1 << (random >> 30 & 7);
        if let Err(error) = engine().load(altered.into()).await {
            refused += 1;
            assert!(!matches!(error, LoadError::Compile(keyhole::engine::CompileError::Crashed(_))), "{at}: {error}");
        }
    }
    assert!(refused > 10, "{refused} of 40");
}

#[test]
fn one_way_out_an_import_that_is_not_on_the_list_is_named() {
    let keyhole = with_alice();
    let path = file(&keyhole, "secrets.wasm", &component_of_text("secrets"));
    refused(&keyhole, &path, &["the component imports what no step may: test:guest/secrets", "wasi:http alone"]);
    let looked = keyhole.call(&["--json", "inspect", path.to_str().unwrap()]);
    assert_eq!(looked.code, 1);
    assert_eq!(looked.json()["forbidden"], json!(["test:guest/secrets"]));
    says(&looked.json()["problem"], &["test:guest/secrets"]);
}

#[test]
fn one_way_out_each_forbidden_import_is_named() {
    let keyhole = with_alice();
    let forbidden =
        ["wasi:keyvalue/store@0.2.0-draft", "wasi:http/incoming-handler@0.2.0", "wasi:cli/run@0.2.0", "bare"];
    let imports: String = forbidden
        .iter()
        .map(|name| match *name {
            "bare" => r#"(import "bare" (func))"#.to_owned(),
            name => format!(r#"(import "{name}" (instance))"#),
        })
        .collect();
    let allowed = r#"(import "wasi:cli/environment@0.2.3" (instance))"#;
    let component = wat::parse_str(format!("(component {allowed} {imports})")).unwrap();
    let path = file(&keyhole, "imports.wasm", &component);
    refused(&keyhole, &path, &forbidden);
    let looked = keyhole.call(&["--json", "inspect", path.to_str().unwrap()]).json();
    assert_eq!(looked["forbidden"], json!(forbidden));
}

#[test]
fn a_component_that_is_no_step_is_told_what_is_missing() {
    let keyhole = with_alice();
    let path = file(&keyhole, "nothing.wasm", &wat::parse_str("(component)").unwrap());
    refused(&keyhole, &path, &["the component is no step: it does not export definition, configure, run"]);
}

#[test]
fn a_component_too_large_to_be_looked_at_is_refused() {
    let error = LoadError::from(InspectError::TooLarge { size: 65 << 20, limit: 64 << 20 });
    let keyhole = with_alice();
    let path = keyhole.data.path().join("large.wasm");
    // A file with a hole: it takes no space.
    let large = std::fs::File::create(&path).unwrap();
    large.set_len(65 << 20).unwrap();
    let said = keyhole.call(&["run", path.to_str().unwrap()]).failed(1);
    assert!(said.contains(&error.to_string()), "{said}");
}
