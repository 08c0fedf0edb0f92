//! The workflows of `examples/`, and the steps in Rust that have no test elsewhere, against local servers under the services' names.

use keyhole_tests::program::KEY;
use keyhole_tests::server::{Server, acme, json as answer};
use keyhole_tests::workspace::{component, root};
use serde_json::{Value, json};

use crate::rig::*;

#[test]
fn github_digest_reads_issues_with_one_account_and_posts_them_with_another() {
    let mut keyhole = keyhole();
    let server = Server::http(&keyhole.authority, &["api.github.com", "slack.com"], |request| {
        match request.target.starts_with("/repos/octocat/hello-world/issues?") {
            true => answer(
                200,
                &json!([
                    {"title": "It broke", "html_url": "https://github.com/octocat/hello-world/issues/1"},
                    {"title": "So did \"this\"", "html_url": "https://github.com/octocat/hello-world/issues/2"}
                ]),
            ),
            false => answer(200, &json!({"ok": true})),
        }
    });
    keyhole.lead("api.github.com", &server);
    keyhole.lead("slack.com", &server);
    let keys = [
        ("github", "alice's GitHub", "ghp_0123456789abcdefghijklmnopqrstuvwxyz"),
        ("slack", "alice's Slack", "xoxb-1234-5678-abcdefghijkl"),
    ];
    for (app, nickname, key) in keys {
        let args = ["accounts", "connect", app, "--as", "alice", "--stdin", "--no-test", "--nickname", nickname];
        keyhole.call_with(&args, key).ok();
    }
    let folder = root().join("examples/github-digest").display().to_string();
    let flags = keyhole.flags();
    let mut args = vec!["--json", "test", folder.as_str(), "--as", "alice"];
    args.extend(flags.iter().map(String::as_str));
    let tested = keyhole.call(&args).ok().json();
    assert_eq!(tested["status"], "ok", "{tested:#}");
    let received = server.received();
    assert_eq!(received[0].target, "/repos/octocat/hello-world/issues?per_page=10&state=open");
    assert!(received[0].header("authorization").unwrap().contains(keys[0].2), "{received:?}");
    assert_eq!(received[1].target, "/api/chat.postMessage");
    assert!(received[1].header("authorization").unwrap().contains(keys[1].2), "{received:?}");
    let posted: Value = serde_json::from_slice(&received[1].body).unwrap();
    let text = posted["text"].as_str().unwrap();
    assert!(text.starts_with("2 open issues\n• It broke <https://github.com"), "{text}");
    assert!(text.contains("• So did \"this\" <"), "{text}");
    assert!(list(&keyhole, &[]).is_empty(), "a test keeps no run");
    for (.., key) in keys {
        assert!(!tested.to_string().contains(key));
    }
    keyhole.call(&["workflows", "deploy", &folder, "--as", "alice"]).ok();
}

#[test]
fn webhook_to_slack_deploys_with_the_accounts_that_it_names() {
    let keyhole = keyhole();
    let folder = root().join("examples/webhook-to-slack").display().to_string();
    let said = keyhole.call(&["workflows", "deploy", &folder, "--as", "alice"]).failed(2);
    assert!(said.contains("there is no account 'GitHub's hook'"), "{said}");
    for (app, nickname, key) in [
        ("webhook", "GitHub's hook", "a secret of a webhook"),
        ("slack", "alice's Slack", "xoxb-1234-5678-abcdefghijkl"),
    ] {
        let args = ["accounts", "connect", app, "--as", "alice", "--stdin", "--no-test", "--nickname", nickname];
        keyhole.call_with(&args, key).ok();
    }
    let deployed = keyhole.call(&["--json", "workflows", "deploy", &folder, "--as", "alice"]).ok().json();
    assert_eq!(deployed["workflow"]["accounts"].as_array().unwrap().len(), 2, "{deployed:#}");
}

#[test]
fn github_issue_offers_repositories_and_opens_an_issue_that_is_not_open_yet() {
    let mut keyhole = keyhole();
    let server = Server::http(&keyhole.authority, &["api.github.com"], |request| {
        let open = json!([{"title": "Open already", "html_url": "https://github.com/octocat/hello-world/issues/1"}]);
        match (request.method.as_str(), request.target.split('?').next().unwrap_or_default()) {
            ("GET", "/user/repos") => answer(200, &json!([{"full_name": "octocat/hello-world"}])),
            ("GET", "/repos/octocat/hello-world/issues") => answer(200, &open),
            ("POST", "/repos/octocat/hello-world/issues") => {
                answer(201, &json!({"html_url": "https://github.com/new"}))
            }
            _ => answer(404, &json!({})),
        }
    });
    keyhole.lead("api.github.com", &server);
    let key = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
    let connect = ["accounts", "connect", "github", "--as", "alice", "--stdin", "--no-test", "--nickname", "mine"];
    keyhole.call_with(&connect, key).ok();
    let step = component("github-issue");
    let link = ["--as", "alice", "--link", "github=mine"];

    let path = step.display().to_string();
    let flags: Vec<&str> = keyhole.flags().iter().map(String::as_str).collect();
    let ask = ["--json", "run", &path, "--configure", "repo"];
    let offered = keyhole.call(&[&ask[..], &link, &flags].concat()).ok().json();
    assert_eq!(offered["options"], json!([{"label": "octocat/hello-world", "value": "octocat/hello-world"}]));

    let open = |title: &str| {
        let props = ["--prop", "repo=octocat/hello-world", "--prop", title];
        let run = keyhole.run(&step, &json!({}), &[&link[..], &props].concat());
        assert_eq!(run["status"], "ok", "{run:#}");
        assert!(!run.to_string().contains(key));
        run
    };
    let created = open("title=It broke");
    assert_eq!(created["exports"]["url"], "https://github.com/new");
    let there = open("title=Open already");
    assert_eq!(there["return_value"]["title"], "Open already");
    let received = server.received();
    let asked: Vec<&str> = received.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(asked, ["GET", "GET", "POST", "GET"], "options are asked for when they are wanted alone");
    let posted: Value = serde_json::from_slice(&received[2].body).unwrap();
    assert_eq!(posted, json!({"title": "It broke", "body": null, "labels": []}));
    assert!(received.iter().all(|request| request.header("authorization") == Some(&format!("Bearer {key}"))));
}

#[test]
fn raw_http_needs_no_sdk() {
    let mut keyhole = keyhole();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let link = format!("acme={}", keyhole.connect("alice", KEY));
    let run = keyhole.run(&component("raw-http"), &json!({}), &["--as", "alice", "--link", &link]);
    assert_eq!(run["return_value"]["status"], 200, "{run:#}");
    let body: Value = serde_json::from_str(run["return_value"]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["name"], "Alice at Acme");
    assert!(!run.to_string().contains(KEY));
}
