//! Saying too much: what a step logs, exports, returns and answers is cut or refused at a
//! stated limit.

use serde_json::{Value, json};

use crate::rig::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The log's limit.
const LOG: usize = 256 * KIB;

/// The bytes of a run's log.
fn logged(run: &Value) -> usize {
    run["log"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap().len()).sum()
}

#[test]
fn bounded_a_log_without_end_is_cut_and_says_so() {
    let scene = Scene::new();
    for attack in ["log", "stdout", "stderr"] {
        let run = scene.attack(attack, json!({"text": "again"}), &["--timeout", "1s"]);
        assert_eq!(limit(&run), "deadline", "{attack}: writing goes on, and into nothing");
        assert_eq!(run["log_cut"], true, "{attack}");
        let bytes = logged(&run);
        assert!(bytes > LOG / 10 && bytes <= LOG, "{attack}: {bytes}");
    }
}

#[test]
fn bounded_a_cut_log_fails_no_run() {
    let scene = Scene::new();
    for (attack, size) in [("log", 20_000), ("log-large", 5 * MIB), ("stdout", 5 * MIB), ("stderr", 5 * MIB)] {
        let run = scene.attack(attack, json!({"size": size, "text": "again"}), &[]);
        assert_eq!(run["status"], "ok", "{attack}: {}", run["error"]);
        assert_eq!(run["log_cut"], true, "{attack}");
        assert!(logged(&run) <= LOG, "{attack}");
    }
    // What a person sees says so, too.
    let run = scene.attack("log", json!({"size": 10, "text": "again"}), &[]);
    assert_eq!(run["log_cut"], false);
    assert_eq!(run["log"].as_array().unwrap().len(), 10);
}

#[test]
fn bounded_a_single_call_that_logs_too_much_ends_saying_which_limit() {
    let run = Scene::new().attack("log-large", json!({"size": 20 * MIB}), &[]);
    assert_eq!(limit(&run), "call_size");
    says(&run["error"]["message"], &["more than 7 MiB", "pass it in parts"]);
}

#[test]
fn bounded_exports_without_end_are_refused_at_their_limit() {
    let scene = Scene::new();
    let run = scene.attack("export", json!({}), &[]);
    assert_eq!(run["return_value"]["exported"], 256, "{run:#}");
    says(&run["return_value"]["refused"], &["a run may have 256 exports"]);
    assert_eq!(run["exports"].as_object().unwrap().len(), 256);

    let run = scene.attack("export-large", json!({"size": MIB}), &[]);
    says(&run["return_value"]["refused"], &["a run may export 1 MiB in all"]);
    assert_eq!(run["exports"], json!({}));

    let run = scene.attack("export-not-json", json!({}), &[]);
    says(&run["return_value"]["refused"], &["EOF", "line 1"]);
    assert_eq!(run["exports"], json!({}));
}

#[test]
fn bounded_a_return_value_above_its_limit_is_refused() {
    let scene = Scene::new();
    let fits = scene.attack("return-large", json!({"size": 6 * MIB - 2}), &[]);
    assert_eq!(fits["return_value"].as_str().map(str::len), Some(6 * MIB - 2));
    for size in [6 * MIB - 1, 60 * MIB] {
        let run = scene.attack("return-large", json!({"size": size}), &[]);
        assert_eq!(limit(&run), "return_value", "{size}");
        says(&run["error"]["message"], &["returned more than 6 MiB"]);
        assert_eq!(run["return_value"], Value::Null);
    }
}

#[test]
fn bounded_a_return_value_nested_too_deep_is_refused() {
    let run = Scene::new().attack("return-deep", json!({"size": 1000}), &[]);
    assert_eq!(run["error"]["failure"], "bad_result", "{run:#}");
    says(&run["error"]["message"], &["recursion limit"]);
}

#[test]
fn bounded_a_failures_message_is_cut() {
    let run = Scene::new().attack("fail-large", json!({"size": MIB}), &[]);
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.len() <= 64 * KIB + '…'.len_utf8() && message.ends_with('…'), "{}", message.len());
}

#[test]
fn bounded_an_answer_to_the_trigger_above_its_limit_is_refused() {
    let scene = Scene::new();
    let run = scene.attack("respond-large", json!({"size": 6 * MIB + 1}), &[]);
    says(&run["return_value"]["refused"], &["an answer's body may have 6 MiB"]);
    let run = scene.attack("delay-too-long", json!({}), &[]);
    says(&run["return_value"]["refused"], &["at most one year"]);
}
