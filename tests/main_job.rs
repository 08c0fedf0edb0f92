//! The main job, through the built program: a step uses a connected account and never sees the key.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Authority, Server, acme, json};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

/// What every placeholder has in it.
const MARKER: &str = keyhole_host_api::broker::MARKER;

/// Alice and bob, alice's account, and the service.
struct Scene {
    keyhole: Keyhole,
    server: Server,
    account: String,
}

impl Scene {
    fn new(serve: impl FnOnce(&Authority) -> Server) -> Self {
        let mut keyhole = Keyhole::default();
        let server = serve(&keyhole.authority);
        keyhole.lead("api.acme.example", &server);
        keyhole.member("alice");
        keyhole.member("bob");
        let account = keyhole.connect("alice", KEY);
        Self { keyhole, server, account }
    }

    fn link(&self) -> String {
        format!("acme={}", self.account)
    }

    fn echo_key(&self, member: &str) -> Value {
        self.keyhole.run(&component("echo-key"), &json!({}), &["--as", member, "--link", &self.link()])
    }

    fn access(&self, change: &[&str]) {
        let mut args = vec!["--json", "accounts", "access", self.account.as_str(), "--as", "alice"];
        args.extend(change);
        self.keyhole.call(&args).ok();
    }
}

#[test]
fn sealed_the_server_receives_the_key_and_the_step_a_placeholder() {
    let scene = Scene::new(|authority| acme(authority, KEY));
    let accounts = scene.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
    assert_eq!(accounts[0]["id"], json!(scene.account));
    assert_eq!(accounts[0]["access"], "private");

    let run = scene.echo_key("alice");
    assert_eq!(run["status"], "ok", "{run:#}");
    assert_eq!(run["return_value"]["answer"]["name"], "Alice at Acme");

    // The service got the key, both ways of sending it.
    let received = scene.server.received();
    assert_eq!(received.len(), 2);
    let bearer = format!("Bearer {KEY}");
    assert!(received.iter().all(|request| request.header("authorization") == Some(&bearer)));
    // The step got the placeholder back from the endpoint that echoes; the record shows the label for it.
    assert_eq!(run["return_value"]["saw"], "‹acme.api_key›");
    assert_eq!(run["return_value"]["echo"]["headers"]["authorization"], "Bearer ‹acme.api_key›");
    assert_eq!(run["log"][0]["text"], "the key, as this step sees it: ‹acme.api_key›");

    let requests = run["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2);
    for (request, path) in requests.iter().zip(["/v1/me", "/v1/echo"]) {
        assert_eq!(request["method"], "GET");
        assert_eq!(request["host"], "api.acme.example");
        assert_eq!(request["path"], path);
        assert_eq!(request["status"], 200);
        assert_eq!(request["account"], json!(scene.account));
        assert_eq!(request["decision"], "allowed");
        assert_eq!(request["reason"], Value::Null);
    }
    assert!(run["duration_ms"].as_f64().unwrap() > 0.0 && run["peak_memory"].as_u64().unwrap() > 0);
}

#[test]
fn sealed_no_byte_of_the_key_is_printed_or_stored_whatever_is_asked_for() {
    let scene = Scene::new(|authority| acme(authority, KEY));
    let Scene { keyhole, account, .. } = &scene;
    let component = component("echo-key");
    let (component, link) = (component.display().to_string(), scene.link());
    let flags: Vec<&str> = keyhole.flags().iter().map(String::as_str).collect();
    let run: Vec<&str> = [&["run", &component, "--as", "alice", "--link", &link][..], &flags].concat();
    let calls: [&[&str]; 9] = [
        &run,
        &[&["--json"][..], &run].concat(),
        &["accounts", "list", "--as", "alice"],
        &["accounts", "show", account, "--as", "alice"],
        &["--json", "accounts", "show", account, "--as", "alice"],
        &["audit"],
        &["--json", "audit"],
        &["doctor"],
        &["accounts", "rename", account, "mine", "--as", "alice"],
    ];
    let mut everything = Vec::new();
    for args in calls {
        // With all that the program would ever log.
        let output = keyhole.command(args).env("KEYHOLE_LOG", "trace").output().expect("keyhole starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        everything.extend(output.stdout);
        everything.extend(output.stderr);
    }
    everything.extend(keyhole.stored_bytes());
    assert_absent(&everything, "whatever was printed and stored");
    assert!(scene.server.received().len() >= 4, "the key was in use meanwhile");
}

/// Neither the key, in any form in which it would be readable, nor a placeholder.
fn assert_absent(bytes: &[u8], what: &str) {
    // The tail: the prefix is public, and stored as such.
    let tail = KEY.trim_start_matches("acme_live_");
    let hex: String = tail.bytes().map(|byte| format!("{byte:02x}")).collect();
    for needle in [tail, &hex, &hex.to_uppercase(), MARKER] {
        let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(!found, "{needle} is in {what}");
    }
}

#[test]
fn checked_twice_bob_is_refused_granted_and_refused_again_and_the_audit_shows_it() {
    let scene = Scene::new(|authority| acme(authority, KEY));

    let run = scene.echo_key("bob");
    let refusal = format!("bob may not use the account {}; ask its owner for access", scene.account);
    assert_eq!(run["status"], "failed");
    assert_eq!(run["error"]["kind"], "access");
    assert!(run["error"]["message"].as_str().unwrap().contains(&refusal), "{run:#}");
    assert!(scene.server.received().is_empty());

    scene.access(&["--grant", "bob"]);
    assert_eq!(scene.echo_key("bob")["status"], "ok");
    assert_eq!(scene.server.received().len(), 2);

    scene.access(&["--revoke", "bob"]);
    let run = scene.echo_key("bob");
    assert_eq!(run["status"], "failed");
    assert!(run["error"]["message"].as_str().unwrap().contains(&refusal), "{run:#}");
    assert_eq!(scene.server.received().len(), 2);
    // Alice is who she was.
    assert_eq!(scene.echo_key("alice")["status"], "ok");

    let audit = scene.keyhole.call(&["--json", "audit", "--kind", "request"]).ok().json();
    let seen: Vec<_> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|used| (used["member"].as_str().unwrap(), used["path"].as_str().unwrap(), used["status"].as_u64()))
        .collect();
    assert_eq!(
        seen,
        [
            ("bob", "", None),
            ("bob", "/v1/me", Some(200)),
            ("bob", "/v1/echo", Some(200)),
            ("bob", "", None),
            ("alice", "/v1/me", Some(200)),
            ("alice", "/v1/echo", Some(200)),
        ]
    );
    for used in audit.as_array().unwrap() {
        assert_eq!(used["account"], json!(scene.account));
        assert_eq!(used["step"], "echo-key");
        // An account that is refused before there is a request has none to show.
        let refused = used["path"] == "";
        assert_eq!(used["host"], if refused { "" } else { "api.acme.example" });
        assert_eq!(used["decision"], if refused { "refused" } else { "allowed" });
    }
    let bobs = scene.keyhole.call(&["--json", "audit", "--kind", "request", "--member", "bob"]).ok().json();
    assert_eq!(bobs.as_array().unwrap().len(), 4);
    // Who let bob in, and took that back, is there too.
    let acts = scene.keyhole.call(&["--json", "audit", "--kind", "act", "--account", &scene.account]).ok().json();
    let acts: Vec<_> = acts.as_array().unwrap().iter().map(|act| (act["act"].as_str().unwrap(), &act["by"])).collect();
    let operator = json!("operator");
    let acted = ["accounts_connect", "accounts_grant", "accounts_revoke"].map(|act| (act, &operator));
    assert_eq!(acts, acted);
}

#[test]
fn checked_twice_a_revoke_works_on_the_next_request_of_a_run_under_way() {
    // The first request is held at the server until the grant is gone.
    let (arrived, arrival): (Sender<()>, Receiver<()>) = channel();
    let (release, released): (Sender<()>, Receiver<()>) = channel();
    let (arrived, released) = (Mutex::new(arrived), Mutex::new(released));
    let scene = Scene::new(|authority| {
        Server::http(authority, &["api.acme.example"], move |_| {
            arrived.lock().unwrap().send(()).unwrap();
            released.lock().unwrap().recv_timeout(Duration::from_secs(60)).expect("the test lets go");
            json(200, &json!({"ok": true}))
        })
    });
    scene.access(&["--grant", "bob"]);
    let request = json!({"url": "https://api.acme.example/v1/me", "account": true});
    let event = json!({"attack": "sequence", "requests": [request, request]});
    let hostile = component("hostile");
    let run = std::thread::scope(|threads| {
        let run = threads.spawn(|| scene.keyhole.run(&hostile, &event, &["--as", "bob", "--link", &scene.link()]));
        arrival.recv_timeout(Duration::from_secs(60)).expect("the first request arrives");
        scene.access(&["--revoke", "bob"]);
        release.send(()).unwrap();
        run.join().unwrap()
    });

    assert_eq!(run["status"], "ok", "{run:#}");
    assert_eq!(run["return_value"][0]["status"], 200);
    let refused = run["return_value"][1]["error"].as_str().unwrap();
    assert!(refused.contains("bob may not use the account"), "{refused}");
    assert_eq!(scene.server.received().len(), 1);
    assert_eq!(run["requests"][1]["decision"], "refused");
    let audit = scene.keyhole.call(&["--json", "audit", "--decision", "refused"]).ok().json();
    assert_eq!(audit.as_array().unwrap().len(), 1, "{audit:#}");
    assert!(audit[0]["reason"].as_str().unwrap().contains("bob may not use the account"), "{audit:#}");
}
