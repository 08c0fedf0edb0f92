//! The workflows of `examples/`, against local servers under the services' names.

use keyhole_tests::server::{Server, json as answer};
use keyhole_tests::workspace::root;
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
