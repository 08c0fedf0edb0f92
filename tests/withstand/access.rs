//! Accounts that a step may not have: each refusal says which, and nothing is sent.

use keyhole_tests::program::KEY;
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

use crate::rig::*;

/// How a run that asks for the account of `prop` ended.
fn ask(scene: &Scene, prop: &str, flags: &[&str]) -> Value {
    let event = event("account", json!({ "prop": prop }));
    let run = scene.keyhole.run(&component("hostile"), &event, flags);
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_eq!(run["error"]["failure"], "failed");
    assert_eq!(run["error"]["kind"], "access");
    assert_eq!(run["error"]["retry"], false);
    assert_eq!(run["requests"], json!([]));
    assert_eq!(run["return_value"], Value::Null);
    run["error"]["message"].clone()
}

fn link(account: &str) -> String {
    format!("acme={account}")
}

#[test]
fn access_a_prop_that_was_not_declared_is_refused_as_such() {
    let scene = Scene::new();
    let message = ask(&scene, "slack", &["--as", "alice", "--link", &link(&scene.account)]);
    says(&message, &["the step declares no app prop 'slack'"]);
    // Nor can a person link what the step does not declare.
    let flags = ["--as", "alice", "--link", &format!("slack={}", scene.account)];
    let ended = scene.keyhole.end_of_run(&component("hostile"), &event("none", json!({})), &flags);
    assert_eq!(ended.code, 2);
    says(&ended.json_error()["message"], &["hostile has no app prop 'slack'"]);
    says(&ended.json_error()["help"], &["its app props are acme"]);
}

#[test]
fn access_an_account_that_is_not_linked_is_refused_as_such() {
    let scene = Scene::new();
    let message = ask(&scene, "acme", &["--as", "alice"]);
    says(&message, &["no account is linked to the prop 'acme'", "--link acme=ACCOUNT"]);
}

#[test]
fn access_another_members_account_is_refused_as_such() {
    let scene = Scene::new();
    scene.keyhole.member("bob");
    let message = ask(&scene, "acme", &["--as", "bob", "--link", &link(&scene.account)]);
    says(&message, &["bob may not use the account", &scene.account, "ask its owner for access"]);
    // Private by default; alice herself may.
    let alices = scene.attack("account", json!({"prop": "acme"}), &[]);
    assert_eq!(alices["status"], "ok", "{alices:#}");
}

#[test]
fn access_a_deleted_account_is_refused_as_such() {
    let scene = Scene::new();
    scene.keyhole.call(&["accounts", "delete", &scene.account, "--as", "alice"]).ok();
    let message = ask(&scene, "acme", &["--as", "alice", "--link", &link(&scene.account)]);
    says(&message, &[&format!("the account {} was deleted", scene.account), "link the step to another one"]);
    // Its ciphertext went with it.
    assert!(scene.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json() == json!([]));
}

#[test]
fn access_an_account_that_never_was_is_refused_as_such() {
    let scene = Scene::new();
    let mut id = scene.account.clone();
    let last = id.pop().unwrap();
    id.push(if last == '0' { '1' } else { '0' });
    let message = ask(&scene, "acme", &["--as", "alice", "--link", &link(&id)]);
    says(&message, &[&format!("there is no account {id}")]);
}

#[test]
fn access_an_account_of_another_app_is_refused_as_such() {
    let scene = Scene::new();
    let connect = ["--json", "accounts", "connect", "openai", "--as", "alice", "--stdin", "--no-test"];
    let openai = scene.keyhole.call_with(&connect, "sk-0123456789abcdef0123456789").ok().json();
    let message = ask(&scene, "acme", &["--as", "alice", "--link", &link(openai["id"].as_str().unwrap())]);
    says(&message, &["the prop 'acme' takes an account for acme", "is for openai"]);
}

#[test]
fn access_a_removed_members_accounts_are_gone() {
    let scene = Scene::new();
    scene.keyhole.member("bob");
    let bobs = scene.keyhole.connect("bob", KEY);
    scene.keyhole.call(&["accounts", "access", &bobs, "workspace", "--as", "bob"]).ok();
    let asked = event("account", json!({"prop": "acme"}));
    let flags = ["--as", "alice", "--link", &link(&bobs)];
    assert_eq!(scene.keyhole.run(&component("hostile"), &asked, &flags)["status"], "ok");
    scene.keyhole.call(&["members", "remove", "bob"]).ok();
    says(&ask(&scene, "acme", &flags), &[&format!("the account {bobs} was deleted")]);
}
