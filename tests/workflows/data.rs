//! Data stores: what steps keep between runs, and how people look at it.

use keyhole_tests::program::KEY;
use serde_json::json;

use crate::rig::*;

fn stored(name: &str, word: &str, value: &str) -> String {
    verb(name, word, value).replace("props = {", "props = { store = \"kept\",")
}

#[test]
fn what_a_step_keeps_is_there_for_the_next_run_and_for_other_workflows() {
    let keyhole = keyhole();
    deploy(&keyhole, &[HEAD, &stored("a", "count", "2"), &stored("b", "put", "{ key = \"k\", value = [1] }")].concat())
        .ok();
    for sum in [2, 4, 6] {
        assert_eq!(returned(&run(&keyhole, "w", &json!({})))["a"], sum);
    }
    keyhole.member("bob");
    let other = file(&keyhole, &format!("keyhole = 1\nname = \"o\"\n{}", stored("a", "entries", "{}")));
    keyhole.call(&["workflows", "deploy", other.to_str().unwrap(), "--as", "bob"]).ok();
    let ran = keyhole.call(&["--json", "workflows", "run", "o", "--as", "bob"]).ok().json();
    assert_eq!(returned(&ran)["a"], json!([["k", [1]], ["n", 6]]));
}

#[test]
fn people_look_into_data_stores_and_change_them() {
    let keyhole = keyhole();
    let data = |args: &[&str]| keyhole.call(&[&["--json", "data"], args].concat());
    let said = |args: &[&str], code| keyhole.call(&[&["data"], args].concat()).failed(code);
    assert_eq!(data(&["list"]).ok().json(), json!([]));
    data(&["set", "kept", "a/1", "{\"x\": 1}", "--ttl", "1h"]).ok();
    let first = data(&["set", "kept", "b", "\"text\""]).ok().json();
    assert_eq!((&first["value"], first.get("expires")), (&json!("text"), None));
    let revision = first["revision"].to_string();
    data(&["set", "kept", "b", "2", "--revision", &revision]).ok();
    assert!(said(&["set", "kept", "b", "3", "--revision", &revision], 1).contains("changed meanwhile"));
    assert!(said(&["set", "kept", "b", "no json"], 2).contains("a text needs its quotes"));
    assert!(said(&["set", "No", "b", "1"], 1).contains("a data store's name"));
    let entries = data(&["entries", "kept", "--prefix", "a/"]).ok().json();
    assert_eq!((&entries[0]["key"], &entries[0]["value"]), (&json!("a/1"), &json!({"x": 1})), "{entries:#}");
    assert!(entries[0]["expires"].is_string());
    assert_eq!(keyhole.call(&["data", "get", "kept", "b"]).ok().stdout.trim(), "2");
    let listed = data(&["list"]).ok().json();
    assert_eq!(listed, json!([{"name": "kept", "entries": 2, "bytes": 12}]));
    data(&["delete", "kept", "a/1"]).ok();
    assert!(said(&["get", "kept", "a/1"], 1).contains("no such key"));
    assert_eq!(data(&["clear", "kept"]).ok().json(), json!({"entries": 1}));
    let text = keyhole.call(&["data", "list"]).ok().stdout;
    assert!(text.contains("no data store has anything in it"), "{text}");
    // Backups have them.
    data(&["set", "kept", "b", "1"]).ok();
    let backup = keyhole.data.path().join("backup");
    keyhole.call(&["backup", backup.to_str().unwrap()]).ok();
    data(&["set", "kept", "b", "2"]).ok();
    keyhole.call(&["restore", "--replace", backup.to_str().unwrap()]).ok();
    assert_eq!(data(&["get", "kept", "b"]).ok().json()["value"], 1);
}

#[test]
fn bounded_a_data_store_takes_no_more_than_the_operator_lets() {
    let keyhole = keyhole();
    let config = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[data]\nstore_size = \"100KiB\"\n").unwrap();
    deploy(&keyhole, &[HEAD, &stored("a", "put-endless", "5000")].concat()).ok();
    let run = |name: &str| {
        let config = config.to_str().unwrap();
        keyhole.call(&["--config", config, "--json", "workflows", "run", name, "--as", "alice"]).json()
    };
    let failed = run("w");
    assert!(failed["run"]["error"]["message"].as_str().unwrap().contains("the data store kept is full"), "{failed:#}");
    let listed = keyhole.call(&["--json", "data", "list"]).ok().json();
    assert!((90_000..=102_400).contains(&listed[0]["bytes"].as_u64().unwrap()), "{listed:#}");
    let many = keyhole.call(&["--json", "data", "clear", "kept"]).ok().json();
    assert_eq!(many["entries"], 20, "{many:#}");
    // A name that is none, and a value that is too long.
    deploy(
        &keyhole,
        &[HEAD, &verb("a", "count", "1").replace("props = {", "props = { store = \"{{ event.to }}\",")].concat(),
    )
    .ok();
    let failed = crate::rig::run(&keyhole, "w", &json!({"to": "../accounts"}));
    assert!(failed["run"]["error"]["message"].as_str().unwrap().contains("names a data store"), "{failed:#}");
    let said =
        deploy(&keyhole, &[HEAD, &verb("a", "count", "1").replace("props = {", "props = { store = \"A\",")].concat());
    assert!(said.stderr.contains("workflow.toml:6:"));
}

#[test]
fn sealed_no_placeholder_gets_into_a_data_store() {
    let mut keyhole = keyhole();
    let server = keyhole_tests::server::Server::http(&keyhole.authority, &["api.acme.example"], |_| {
        keyhole_tests::server::json(200, &json!({}))
    });
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let step = keyhole_tests::workspace::component("hostile").display().to_string();
    let text = format!(
        "{HEAD}[[steps]]\nname = \"a\"\nuses = {step:?}\nlinks = {{ acme = {account:?} }}\nprops = {{ store = \"kept\" }}\n"
    );
    deploy(&keyhole, &text).ok();
    let ended = run(&keyhole, "w", &json!({"attack": "store-key"}));
    assert_eq!(ended["run"]["status"], "ok", "{ended:#}");
    let kept = keyhole.call(&["--json", "data", "entries", "kept"]).ok().json();
    assert_eq!(kept[0]["value"], json!({"‹acme.api_key›": ["‹acme.api_key›"]}), "{kept:#}");
    assert_eq!(kept[0]["key"], "‹acme.api_key›");
}
