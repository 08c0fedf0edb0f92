//! A hostile member, and someone who is none, against every call that the served OpenAPI
//! document has. A new call is in the table by itself, and fails it until it is safe.

use keyhole_tests::program::KEY;
use serde_json::{Value, json};

use crate::rig::{Answer, Served, by, call, client_at};

/// A ULID that nothing has.
const NOTHING: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// A workflow that needs nobody's account.
const WORKFLOW: &str = "keyhole = 1\nname = \"theirs\"\n[[steps]]\nname = \"a\"\nuses = \"http-request\"\n\
props.url = \"https://nowhere.example/\"\nallow_hosts = [\"nowhere.example\"]\n";

struct Call {
    name: String,
    method: String,
    path: String,
    open: bool,
    body: Option<Value>,
}

/// Every call of the document, with a body that would be taken from whoever may.
async fn calls(url: &str, account: &str) -> Vec<Call> {
    let document = call(&client_at(1), "get", &format!("{url}/api/openapi.json"), None, None).await.ok().json();
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            let body = operation.get("requestBody").map(|_| body_of(&name, account));
            let open = operation["security"] == json!([{}]);
            calls.push(Call { name, method: method.clone(), path: path.clone(), open, body });
        }
    }
    assert!(calls.len() > 25);
    calls
}

fn body_of(name: &str, account: &str) -> Value {
    let oauth = json!({"account": account, "redirect_uri": "http://127.0.0.1:9/callback"});
    match name {
        "members_add" => json!({"name": "eve"}),
        "members_role" => json!({"role": "admin"}),
        "accounts_connect" => json!({"app": "acme", "fields": {"api_key": KEY}, "test": false}),
        "accounts_rename" => json!({"nickname": "mine"}),
        "accounts_reconnect" => json!({"fields": {"api_key": KEY}, "test": false}),
        "accounts_access" => json!({"access": "workspace"}),
        "accounts_grant" => json!({"member": "mallory"}),
        "oauth_begin" | "oauth_device" | "oauth_client" => oauth,
        "oauth_finish" => json!({"callback": "http://127.0.0.1:9/callback?state=a&code=b"}),
        "oauth_device_poll" => json!({"ticket": "nothing"}),
        "apps_add" => json!({"definition": "keyhole = 1"}),
        "clients_configure" => json!({"client_id": "mine"}),
        "tokens_create" => json!({"name": "mine"}),
        "workflows_deploy" => json!({"file": WORKFLOW}),
        "workflows_set" => json!({"enabled": true}),
        "runs_start" => json!({"event": {}}),
        "runs_retry" => json!({}),
        "components_add" => json!({}),
        "vault_forget" => json!({"key": NOTHING}),
        "restore" | "audit_verify" | "audit_verify_export" => json!({}),
        "data_set" => json!({"key": "k", "value": 1}),
        "audit_prune" => json!({"before": "2020-01-01T00:00:00Z"}),
        "links_create" => json!({"app": "acme"}),
        "sign_in_links_create" => json!({}),
        other => panic!("say what body {other} takes"),
    }
}

/// What an answer tells, without the words that the request itself had.
fn told(answer: &Answer, words: &[&str]) -> String {
    let mut text = format!("{} {}", answer.status, answer.text);
    for word in words.iter().filter(|word| !word.is_empty()) {
        text = text.replace(word, "‹asked›");
    }
    text
}

#[tokio::test]
async fn nobody_gets_in_without_a_valid_token_whichever_call_they_try() {
    let served = Served::with_members();
    let account = served.keyhole.connect("alice", KEY);
    let (token, _) = served.token("alice", &[]);
    let (revoked, id) = served.token("alice", &[]);
    served.keyhole.call(&["tokens", "revoke", &id]).ok();
    let (expired, _) = served.token("alice", &["--expires", "1s"]);
    let (other, _) = served.token("bob", &[]);
    served.keyhole.call(&["members", "remove", "bob"]).ok();
    while by(&expired, "get", &format!("{}/api/me", served.url), None).await.status != 401 {}
    let basic = format!("Basic {token}");
    // One that differs in its last bits, and one whose id is another token's.
    let altered = format!("Bearer {}", flipped(&token));
    let crossed = format!("Bearer {}", token.replace(&token[4..30], NOTHING));
    let wrong = [
        None,
        Some(format!("Bearer {revoked}")),
        Some(format!("Bearer {expired}")),
        Some(format!("Bearer {other}")),
        Some(basic),
        Some(altered),
        Some(crossed),
        Some("Bearer ".to_owned()),
    ];
    // Tested against the document, and from another address each: failures are limited by address.
    for (index, call_) in calls(&served.url, &account).await.iter().enumerate() {
        let client = client_at(u8::try_from(index + 10).unwrap());
        let url = format!("{}{}", served.url, fill(&call_.path, &account));
        let mut answers = Vec::new();
        for authorization in &wrong {
            let answer = call(&client, &call_.method, &url, authorization.as_deref(), call_.body.as_ref()).await;
            if call_.open {
                assert!(answer.status.is_success(), "{}: {}", call_.name, answer.text);
                continue;
            }
            answer.problem(401);
            assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{}", call_.name);
            answers.push(answer.text);
        }
        answers.dedup();
        assert!(answers.len() <= 1, "{}: one answer, whatever is wrong: {answers:?}", call_.name);
    }
    by(&token, "get", &format!("{}/api/accounts/{account}", served.url), None).await.ok();
}

/// A text of the same form that differs in the middle of its random part.
fn flipped(token: &str) -> String {
    let mut bytes = token.as_bytes().to_vec();
    let at = bytes.len() - 20;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

fn fill(path: &str, id: &str) -> String {
    let mut filled = String::new();
    for part in path.split('/').skip(1) {
        filled.push('/');
        filled.push_str(match part {
            "{account}" | "{token}" | "{link}" | "{run}" | "{digest}" | "{session}" | "{passkey}" => id,
            "{member}" | "{owner}" => "alice",
            "{name}" => "theirs",
            "{app}" => "acme",
            fixed => fixed,
        });
    }
    filled
}

#[tokio::test]
async fn what_is_not_yours_looks_like_what_is_not_there_whichever_call_you_try() {
    let served = Served::with_members();
    let account = served.keyhole.connect("alice", KEY);
    let nickname = "alice's Acme";
    served.keyhole.call(&["accounts", "rename", &account, nickname, "--as", "alice"]).ok();
    let (alices, token_id) = served.token("alice", &[]);
    let link = served.keyhole.call(&["--json", "accounts", "links", "create", "acme", "--as", "alice"]).ok().json();
    let link_id = link["id"].as_str().unwrap().to_owned();
    let session = signed_in(&served.url, &alices).await;
    let (mallorys, _) = served.token("mallory", &[]);
    by(&alices, "post", &format!("{}/api/workflows", served.url), Some(&json!({"file": WORKFLOW}))).await.ok();
    let runs = format!("{}/api/workflows/alice/theirs/runs", served.url);
    let run = by(&alices, "post", &runs, Some(&json!({}))).await.ok().json()["run"].as_str().unwrap().to_owned();
    let before = served.keyhole.call(&["--json", "accounts", "show", &account, "--as", "alice"]).ok().stdout;

    for call_ in calls(&served.url, &account).await {
        let ids: Vec<(&str, &str)> = match call_.path.split('/').find(|part| part.starts_with('{')) {
            Some("{account}") => vec![(&account, NOTHING), ("alice's%20Acme", "alice's%20Other")],
            Some("{token}") => vec![(&token_id, NOTHING)],
            Some("{link}") => vec![(&link_id, NOTHING)],
            Some("{session}") => vec![(&session, NOTHING)],
            // Only a browser makes one: tests/console/passkeys.rs tries another's.
            Some("{passkey}") => vec![],
            // Who is a member is known to all; what only admins do must not tell.
            Some("{member}") => vec![("alice", "nobody")],
            // Which apps there are is known to all; whether one has a client is not.
            Some("{app}") if call_.name != "apps_show" => vec![("slack", "acme")],
            Some("{run}") => vec![(&run, NOTHING)],
            Some("{owner}") => vec![("theirs", "nobodys")],
            // What a component does is nobody's secret; what it is used for is.
            // What is in a data store is everybody's.
            Some("{digest}" | "{app}" | "{store}") | None => vec![],
            Some(other) => panic!("{}: say what {other} may be", call_.name),
        };
        for (theirs, nobodys) in ids {
            let mut answers = Vec::new();
            for id in [theirs, nobodys] {
                let path = call_.path.split('/').map(|part| if part.starts_with('{') { id } else { part });
                let path = match call_.path.contains("/grants/{member}") {
                    true => format!("/api/accounts/{id}/grants/mallory"),
                    false => path.collect::<Vec<_>>().join("/"),
                };
                // The name under which its owner has it.
                let path = path.replace(&format!("/{id}/{id}"), &format!("/alice/{id}"));
                let url = format!("{}{path}", served.url);
                let answer = by(&mallorys, &call_.method, &url, call_.body.as_ref()).await;
                assert!(answer.status == 404 || answer.status == 403, "{} {id}: {}", call_.name, answer.text);
                answers.push(told(&answer, &[id, &id.replace("%20", " ")]));
            }
            assert_eq!(answers[0], answers[1], "{}", call_.name);
        }
        // Ids that a body carries.
        if call_.body.as_ref().is_some_and(|body| body.get("account").is_some()) {
            let mut answers = Vec::new();
            for id in [account.as_str(), NOTHING] {
                let url = format!("{}{}", served.url, call_.path);
                let answer = by(&mallorys, &call_.method, &url, Some(&body_of(&call_.name, id))).await;
                assert_eq!(answer.status, 404, "{}: {}", call_.name, answer.text);
                answers.push(told(&answer, &[id]));
            }
            assert_eq!(answers[0], answers[1], "{}", call_.name);
        }
    }

    let after = served.keyhole.call(&["--json", "accounts", "show", &account, "--as", "alice"]).ok().stdout;
    assert_eq!(before, after);
    by(&alices, "get", &format!("{}/api/me", served.url), None).await.ok();
    let seen = by(&mallorys, "get", &format!("{}/api/accounts", served.url), None).await.ok().text;
    assert!(!seen.contains(&account), "{seen}");
    let workflow = by(&alices, "get", &format!("{}/api/workflows/alice/theirs", served.url), None).await.ok().json();
    assert_eq!((&workflow["version"], &workflow["enabled"]), (&json!(1), &json!(true)));
    for theirs in ["workflows", "runs"] {
        let seen = by(&mallorys, "get", &format!("{}/api/{theirs}", served.url), None).await.ok().json();
        assert_eq!(seen, json!([]));
    }
    let told = by(&mallorys, "get", &format!("{}/api/audit", served.url), None).await.ok().json();
    let told = told.as_array().unwrap();
    // Of what was done to them, too.
    let is_theirs = |one: &Value| one["kind"] == "act" && (one["member"] == "mallory" || one["about"] == "mallory");
    assert!(told.iter().all(is_theirs), "{told:#?}");
    let sessions = by(&alices, "get", &format!("{}/api/sessions", served.url), None).await.ok().json();
    assert_eq!(sessions[0]["id"], session.as_str());
}

/// The session of a browser that was signed in with the token.
async fn signed_in(url: &str, token: &str) -> String {
    let form = client_at(1).post(format!("{url}/sign-in")).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.body(format!("token={token}")).send().await.unwrap().status(), 303);
    let sessions = by(token, "get", &format!("{url}/api/sessions"), None).await.ok().json();
    sessions[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn failed_attempts_are_limited_and_valid_tokens_are_not_kept_out() {
    let served = Served::with_members();
    let (token, _) = served.token("alice", &[]);
    let (client, url) = (client_at(77), format!("{}/api/me", served.url));
    let mut limited = None;
    for _ in 0..100 {
        let answer = call(&client, "get", &url, Some("Bearer kht_nothing"), None).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        answer.problem(401);
    }
    let limited = limited.expect("the hundredth failure is not answered as the first");
    limited.problem(429);
    assert!(limited.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    call(&client, "get", &url, Some(&format!("Bearer {token}")), None).await.ok();
    call(&client_at(78), "get", &url, Some("Bearer kht_nothing"), None).await.problem(401);
}

#[tokio::test]
async fn sealed_no_answer_holds_a_secret_and_no_error_quotes_the_body() {
    let served = Served::with_members();
    let (token, _) = served.token("alice", &[]);
    let accounts = format!("{}/api/accounts", served.url);
    let given = json!({"app": "acme", "fields": {"api_key": KEY}, "test": false});
    let mut answers = vec![by(&token, "post", &accounts, Some(&given)).await.ok()];
    let id = answers[0].json()["id"].as_str().unwrap().to_owned();
    for path in ["", &format!("/{id}")] {
        answers.push(by(&token, "get", &format!("{accounts}{path}"), None).await.ok());
    }
    for wrong in [
        json!({"app": "acme", "fields": {"api_key": KEY, KEY: KEY}, "test": false}),
        json!({"app": "acme", "fields": {"api_key": [KEY]}}),
        json!({"app": "acme", KEY: KEY}),
        json!([KEY]),
        json!({"app": "acme", "fields": {"api_key": format!("{KEY}\n")}, "test": false}),
        json!({"app": "acme", "fields": KEY}),
    ] {
        let answer = by(&token, "post", &accounts, Some(&wrong)).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
        if wrong.get("fields").is_none_or(|fields| fields.get(KEY).is_none()) {
            answers.push(answer);
        }
    }
    for answer in answers {
        assert!(!answer.text.contains(KEY), "{}", answer.text);
    }
    let stored = served.keyhole.stored_bytes();
    let secret = &token.as_bytes()[31..];
    assert!(memchr::memmem::find(&stored, secret).is_none(), "the token is in the store");
    assert!(memchr::memmem::find(&stored, KEY.as_bytes()).is_none(), "the key is in the store");
}

#[tokio::test]
async fn requests_that_are_too_long_or_no_json_end_in_a_problem() {
    let served = Served::with_members();
    let (token, _) = served.token("alice", &[]);
    let accounts = format!("{}/api/accounts", served.url);
    let long = json!({"app": "x".repeat(300 * 1024)});
    by(&token, "post", &accounts, Some(&long)).await.problem(413);
    let client = client_at(1);
    for (kind, body, status) in [
        ("application/json", "{", 400),
        ("application/json", "{}", 422),
        ("application/x-www-form-urlencoded", "app=acme", 415),
        ("application/json", "\u{fffd}", 400),
    ] {
        let request = client.post(&accounts).bearer_auth(&token).header("content-type", kind).body(body);
        assert_eq!(request.send().await.unwrap().status(), status, "{body}");
    }
    by(&token, "get", &format!("{}/api/nowhere", served.url), None).await.problem(404);
    by(&token, "put", &format!("{}/api/me", served.url), None).await.problem(405);
    by(&token, "get", &format!("{}/api/audit?limit=many", served.url), None).await.problem(400);
}

#[tokio::test]
async fn what_looks_after_the_audit_is_for_admins_and_others_see_their_own() {
    let served = Served::with_members();
    let (admin, _) = served.token("alice", &[]);
    let (mallorys, _) = served.token("mallory", &[]);
    let at = |path: &str| format!("{}/api/audit{path}", served.url);
    let before = json!({"before": "2020-01-01T00:00:00Z"});
    let calls = [
        ("get", "/export", None),
        ("post", "/verify", Some(json!({}))),
        ("post", "/verify/export", Some(json!({}))),
        ("post", "/prune", Some(before.clone())),
    ];
    for (method, path, body) in calls {
        by(&mallorys, method, &at(path), body.as_ref()).await.problem(403);
        by(&admin, method, &at(path), body.as_ref()).await.ok();
    }
    let future = json!({"before": "2999-01-01T00:00:00Z"});
    by(&admin, "post", &at("/prune"), Some(&future)).await.problem(422);
    by(&admin, "get", &at("/follow?since=2020-01-01T00:00:00Z"), None).await.problem(422);
    for wrong in ["?status=many", "?since=soon", "?order=up", "?limit=-1"] {
        by(&admin, "get", &at(wrong), None).await.problem(400);
    }
    // A follower ends with the token, and with the server.
    let (once, id) = served.token("mallory", &[]);
    let client = client_at(3);
    let follow = |token: &str| client.get(at("/follow?kind=request")).bearer_auth(token).send();
    let (one, other) = (follow(&once).await.unwrap(), follow(&mallorys).await.unwrap());
    assert_eq!((one.status(), other.status()), (reqwest::StatusCode::OK, reqwest::StatusCode::OK));
    served.keyhole.call(&["tokens", "revoke", &id]).ok();
    assert_eq!(one.text().await.unwrap().replace([':', '\n'], ""), "");
    let (code, took) = served.stop();
    assert_eq!(code, 0);
    assert!(took < std::time::Duration::from_secs(10), "{took:?}: a follower keeps no server from stopping");
    assert_eq!(other.text().await.unwrap().replace([':', '\n'], ""), "");
}
