//! Sealed: wherever a step puts its placeholder, nothing secret is recorded, and what is shows
//! the label in its stead.

use keyhole_host_api::broker::MARKER;
use keyhole_tests::program::KEY;
use keyhole_tests::server::{Authority, acme};
use serde_json::{Value, json};

use crate::rig::*;

const LABEL: &str = "‹acme.api_key›";

/// A run of the attack, as JSON and as text for a person, after a look over both and over the
/// whole data directory for a key or a placeholder.
#[track_caller]
fn recorded(scene: &Scene, attack: &str, how: Value) -> Value {
    let ended = scene.end_of_attack(attack, how.clone(), &[]);
    let file = scene.keyhole.data.path().join("event.json");
    std::fs::write(&file, event(attack, how).to_string()).unwrap();
    let step = keyhole_tests::workspace::component("hostile").display().to_string();
    let (file, link) = (file.display().to_string(), format!("acme={}", scene.account));
    let mut args = vec!["run", &step, "--event", &file, "--as", "alice", "--link", &link];
    args.extend(scene.keyhole.flags().iter().map(String::as_str));
    let output = scene.keyhole.command(&args).env("KEYHOLE_LOG", "trace").output().unwrap();
    let text = keyhole_tests::program::Ended::from(output);
    for (what, said) in
        [("stdout", &ended.stdout), ("stderr", &ended.stderr), ("text", &text.stdout), ("its stderr", &text.stderr)]
    {
        assert!(!said.contains(MARKER), "{attack}: a placeholder is in {what}: {said}");
        assert!(!said.contains(KEY), "{attack}: the key is in {what}");
    }
    assert!(ended.stdout.contains(LABEL), "{attack}: {}", ended.stdout);
    assert!(text.stdout.contains(LABEL) || text.stderr.contains(LABEL), "{attack}: {} {}", text.stdout, text.stderr);
    let stored = scene.keyhole.stored_bytes();
    for secret in [MARKER.as_bytes(), KEY.trim_start_matches("acme_live_").as_bytes()] {
        assert!(!stored.windows(secret.len()).any(|window| window == secret), "{attack}: in the data directory");
    }
    ended.json()
}

fn log_texts(run: &Value) -> Vec<&str> {
    run["log"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect()
}

#[test]
fn sealed_a_printed_placeholder_is_a_label() {
    let scene = Scene::new();
    let run = recorded(&scene, "print", json!({"text": "key: {api_key}."}));
    // Once in one piece, and once in two.
    assert_eq!(log_texts(&run), [format!("key: {LABEL}."), format!("key: {LABEL}.")]);
    let run = recorded(&scene, "print-error", json!({"text": "{api_key}{api_key}"}));
    assert_eq!(log_texts(&run), [format!("{LABEL}{LABEL}")]);
}

#[test]
fn sealed_a_logged_placeholder_is_a_label_at_every_level() {
    let run = recorded(&Scene::new(), "log-text", json!({"text": "it is {api_key}"}));
    let levels: Vec<_> = run["log"].as_array().unwrap().iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["debug", "info", "warn", "error"]);
    assert!(log_texts(&run).iter().all(|text| *text == format!("it is {LABEL}")));
}

#[test]
fn sealed_a_returned_placeholder_is_a_label_as_value_and_as_key() {
    let scene = Scene::new();
    let run = recorded(&scene, "return", json!({"text": "Bearer {api_key}"}));
    assert_eq!(run["return_value"], json!(format!("Bearer {LABEL}")));
    let run = recorded(&scene, "return-key", json!({"text": "{api_key}"}));
    assert_eq!(run["return_value"], json!({ LABEL: LABEL }));
    let run = recorded(&scene, "account", json!({"prop": "acme"}));
    assert_eq!(run["return_value"]["app"], "acme");
}

#[test]
fn sealed_an_exported_placeholder_is_a_label_as_value_and_as_name() {
    let run = recorded(&Scene::new(), "export-text", json!({"text": "{api_key}"}));
    assert_eq!(run["exports"]["plain"], LABEL);
    assert_eq!(run["exports"]["deep"], json!({"list": [{ LABEL: [LABEL] }]}));
    assert_eq!(run["exports"][LABEL], "x");
}

#[test]
fn sealed_a_placeholder_in_a_failure_or_a_panic_is_a_label() {
    let scene = Scene::new();
    let run = recorded(&scene, "fail", json!({"text": "no good: {api_key}"}));
    assert_eq!(run["error"]["message"], json!(format!("no good: {LABEL}")));
    let run = recorded(&scene, "panic", json!({"text": "no good: {api_key}"}));
    assert_eq!(run["error"]["failure"], "trapped");
    assert!(log_texts(&run).iter().any(|text| text.contains(&format!("no good: {LABEL}"))), "{run:#}");
}

#[test]
fn sealed_a_placeholder_in_a_refused_request_is_a_label() {
    let mut scene = Scene::new();
    let server = acme(&scene.keyhole.authority, KEY);
    scene.keyhole.lead(HOST, &server);
    let run = recorded(&scene, "request", json!({"request": {"url": format!("https://{HOST}/v1/{{api_key}}/x")}}));
    assert_eq!(run["requests"][0]["decision"], "refused");
    assert_eq!(run["requests"][0]["path"], json!(format!("/v1/{LABEL}/x")));
    assert!(server.received().is_empty());
    let audit = scene.keyhole.call(&["--json", "audit", "--kind", "request"]).ok().json();
    assert_eq!(audit[0]["path"], json!(format!("/v1/{LABEL}/x")));
}

#[test]
fn sealed_a_placeholder_that_the_server_echoes_is_a_label() {
    let mut scene = Scene::new();
    let server = acme(&scene.keyhole.authority, KEY);
    scene.keyhole.lead(HOST, &server);
    let request = json!({"url": format!("https://{HOST}/v1/echo?q=1"), "account": true});
    let run = recorded(&scene, "request", json!({ "request": request }));
    says(&run["return_value"]["body"], &[&format!("Bearer {LABEL}")]);
    assert!(server.received().iter().all(|request| request.header("authorization") == Some(&format!("Bearer {KEY}"))));
}

#[test]
fn sealed_what_answers_the_trigger_shows_no_placeholder() {
    let scene = Scene::new();
    let ended = scene.end_of_attack("respond", json!({"text": "{api_key}"}), &[]).ok();
    assert!(!ended.stdout.contains(MARKER) && !ended.stdout.contains(KEY), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_an_answer_to_the_trigger_holds_labels() {
    let authority = Authority::default();
    let server = acme(&authority, KEY);
    let world = World::new(&authority, &server).await;
    let event = event("respond", json!({"text": "{api_key}"}));
    let outcome =
        run(&*step("hostile").await, world.session(), &event, &within(std::time::Duration::from_secs(30))).await;
    outcome.result.unwrap();
    let response = outcome.flow.response.unwrap();
    assert_eq!(response.body, LABEL);
    assert_eq!(response.headers, [("x-text".to_owned(), LABEL.to_owned())]);
    assert_eq!(outcome.flow.exit.as_deref(), Some(LABEL));
}
