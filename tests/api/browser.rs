//! A person with a browser, who was sent a connect link: real Chromium, through the pages of a real
//! authorization server and back, over TLS, against the built program.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use keyhole_tests::oidc::Oidc;
use keyhole_tests::program::Keyhole;
use keyhole_tests::workspace::{chromium as chromium_program, root};
use serde_json::{Value, json};

use crate::rig::Served;

/// What a person's Chromium saw who began at `address`, and is ann at the service.
fn chromium(address: &str, hosts: &[(&str, u16)]) -> Value {
    let program = chromium_program().expect("looked for before");
    let rules: Vec<String> = hosts.iter().map(|(host, port)| format!("MAP {host}:443 127.0.0.1:{port}")).collect();
    let output = Command::new("node")
        .arg("connect.mjs")
        .current_dir(root().join("tests/browser"))
        .envs([("ADDRESS", address), ("LOGIN", "ann"), ("HOSTS", &rules.join(", "))])
        .env("CHROMIUM", program)
        .output()
        .expect("node is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaint}"))
}

/// Alice's Keyhole, which the service knows as `client`, and the service.
fn notes(client: &str, dir: &Path) -> (Keyhole, Oidc) {
    let mut keyhole = Keyhole::default();
    let service = Oidc::start(&keyhole.authority, dir);
    keyhole.lead_to("auth.acme.example", service.port);
    keyhole.member("alice");
    let secret = format!("{client}-secret-4f1b7c2e9d");
    keyhole.call_with(&["apps", "configure", "notes", "--client-id", client, "--stdin"], &secret).ok();
    (keyhole, service)
}

/// The account is alice's, is ann's at the service, and works there.
fn works(keyhole: &Keyhole) {
    let accounts = keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
    let account = &accounts[0];
    assert_eq!((&account["owner"], &account["uid"]), (&json!("alice"), &json!("ann")), "{accounts:#}");
    assert_eq!((&account["nickname"], &account["access"]), (&json!("ann@acme.example"), &json!("private")));
    let test = ["--json", "accounts", "test", account["id"].as_str().unwrap(), "--as", "alice"];
    let flags: Vec<&str> = keyhole.flags().iter().map(String::as_str).collect();
    let tested = keyhole.call(&[&test[..], &flags].concat()).ok().json();
    assert_eq!(tested["works"], true, "{tested:#}");
}

#[test]
fn a_person_connects_an_account_in_chromium_by_a_link() {
    if chromium_program().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (keyhole, service) = notes("keyhole", dir.path());
    let (certificate, key) = keyhole.authority.issue_pem(&["keyhole.example"]);
    let (cert_file, key_file) = (dir.path().join("keyhole.pem"), dir.path().join("keyhole.key"));
    std::fs::write(&cert_file, certificate).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let (cert_file, key_file) = (cert_file.to_str().unwrap(), key_file.to_str().unwrap());
    let tls = ["--tls-cert", cert_file, "--tls-key", key_file, "--public-url", "https://keyhole.example"];
    let served = Served::on(keyhole, &tls);
    let port = served.url.rsplit(':').next().unwrap().parse().unwrap();
    let link = served.keyhole.call(&["--json", "accounts", "links", "create", "notes", "--as", "alice"]).ok().json();
    let address = link["url"].as_str().unwrap();
    let saw = chromium(address, &[("keyhole.example", port), ("auth.acme.example", service.port)]);

    let pages = saw["seen"].as_array().unwrap();
    let (first, last) = (&pages[0], pages.last().unwrap());
    assert!(first["text"].as_str().unwrap().contains("will belong to alice"), "{first:#}");
    assert!(pages.len() >= 4, "the service asked who they are, and whether they allow it: {pages:#?}");
    assert!(last["url"].as_str().unwrap().starts_with("https://keyhole.example/oauth/callback?"), "{last:#}");
    assert!(last["text"].as_str().unwrap().contains("ann@acme.example now belongs to alice"), "{last:#}");
    assert_eq!(saw["again"], 422, "the answer can't be given twice");
    let cookies = saw["cookies"].to_string();
    assert!(!cookies.contains("keyhole"), "what was needed on the way is gone: {cookies}");
    works(&served.keyhole);
}

/// Starts `keyhole accounts connect`, and has Chromium open the address that it prints after `words`.
fn from_the_terminal(how: &str, words: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (keyhole, service) = notes("keyhole-native", dir.path());
    let flags: Vec<&str> = keyhole.flags().iter().map(String::as_str).collect();
    let args = [&["--json", "accounts", "connect", "notes", "--as", "alice", how][..], &flags].concat();
    let mut command = keyhole.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = said.by_ref().skip_while(|line| !line.contains(words)).nth(1).expect("an address");
    let saw = chromium(address.trim(), &[("auth.acme.example", service.port)]);
    let rest: Vec<String> = said.collect();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{rest:?} {saw:#}");
    let connected: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(connected["owner"], "alice", "{connected:#}");
    works(&keyhole);
}

#[test]
fn a_person_connects_from_a_terminal_and_chromium_comes_back_to_it() {
    if chromium_program().is_some() {
        from_the_terminal("--no-browser", "allow it in your browser");
    }
}

#[test]
fn a_client_that_asks_for_itself_is_connected_without_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let mut keyhole = Keyhole::default();
    let service = Oidc::start(&keyhole.authority, dir.path());
    keyhole.lead_to("auth.acme.example", service.port);
    keyhole.member("alice");
    let flags: Vec<&str> = keyhole.flags().iter().map(String::as_str).collect();
    let args = ["--json", "accounts", "connect", "robot", "--as", "alice", "--field", "client_id=robot", "--stdin"];
    let args = [&args[..], &flags].concat();
    let said = keyhole.call_with(&args, "a-wrong-secret").json_error()["message"].to_string();
    assert!(said.contains("invalid_client"), "{said}");
    let connected = keyhole.call_with(&args, "robot-secret-4f1b7c2e9d").ok().json();
    let id = connected["id"].as_str().unwrap();
    let tested = keyhole.call(&[&["--json", "accounts", "test", id, "--as", "alice"], &flags[..]].concat()).ok().json();
    assert_eq!(tested["works"], true, "{tested:#}");
    let shown = keyhole.call(&["--json", "accounts", "show", id, "--as", "alice"]).ok().json();
    assert_eq!(shown["uid"], "robot", "{shown:#}");
}

#[test]
fn a_person_connects_a_machine_without_a_browser_by_a_code_in_chromium_elsewhere() {
    if chromium_program().is_some() {
        from_the_terminal("--device", "or open");
    }
}
