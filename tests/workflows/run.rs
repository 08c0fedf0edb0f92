//! What a run does: values from step to step, verbs, failures, attempts, and what is kept of it.

use serde_json::json;

use crate::rig::*;

#[test]
fn values_go_from_the_event_and_from_step_to_step() {
    let keyhole = keyhole();
    let text = [
        HEAD,
        &verb("first", "return", "{ id = \"{{ event.id }}\", text = \"<{{ event.name }}>\" }"),
        &verb("exports", "export", "[1, \"two\"]"),
        &verb("last", "return", "\"{{ steps.first.$return_value.id + steps.exports.given[0] }}\""),
        &verb("not", "fail", "\"never\"").replace("uses =", "if = \"{{ event.id > 100 }}\"\nuses ="),
        &verb("all", "steps", "0"),
    ]
    .concat();
    deploy(&keyhole, &text).ok();
    let run = run(&keyhole, "w", &json!({"id": 41, "name": "x"}));
    assert_eq!(run["run"]["status"], "ok", "{run:#}");
    let returned = returned(&run);
    assert_eq!(returned["first"], json!({"id": 41, "text": "<x>"}));
    assert_eq!(returned["last"], 42);
    assert_eq!(run["steps"][3]["status"], "skipped");
    assert_eq!(returned["all"]["exports"], json!({"$return_value": null, "given": [1, "two"]}));
    assert_eq!(returned["all"]["last"]["$return_value"], 42);
    assert!(run["steps"][0]["log"][0]["text"].as_str().unwrap().starts_with("return"), "{run:#}");
    assert_eq!(run["event"], json!({"id": 41, "name": "x"}));
}

#[test]
fn a_failure_ends_the_run_and_says_which_step_and_why() {
    let keyhole = keyhole();
    for (verb_, value, kind, message) in [
        ("fail", "\"no luck\"", "step", "no luck"),
        ("panic", "0", "trapped", "the step broke off"),
        ("loop", "0", "limit", "its deadline of 0.200 s"),
        ("return", "\"{{ event.nothing }}\"", "template", "refers to something that is not there"),
    ] {
        let text = format!("{HEAD}limits.timeout = \"200ms\"\n{}{}", verb("a", verb_, value), verb("b", "return", "1"));
        deploy(&keyhole, &text).ok();
        let run = run(&keyhole, "w", &json!({}));
        assert_eq!(run["run"]["status"], "failed", "{run:#}");
        assert_eq!(run["run"]["error"]["kind"], kind, "{run:#}");
        assert_eq!(run["run"]["error"]["step"], "a");
        assert!(run["run"]["error"]["message"].as_str().unwrap().contains(message), "{run:#}");
        assert_eq!(run["steps"].as_array().unwrap().len(), 1, "no step after it runs");
    }
    assert_eq!(list(&keyhole, &["--status", "failed"]).len(), 4);
    assert_eq!(list(&keyhole, &["--status", "ok"]).len(), 0);
    assert_eq!(list(&keyhole, &["--workflow", "w", "-n", "2"]).len(), 2);
}

#[test]
fn a_failure_of_a_rust_step_is_told_with_its_line() {
    const SOURCE: &str = include_str!("../guests/verbs/src/lib.rs");
    let line = |code: &str| 1 + SOURCE.lines().position(|line| line.contains(code)).unwrap();
    let keyhole = keyhole();
    for (verb_, value, code) in [
        ("fail", "\"no luck\"", "Err(Error::step(value"),
        ("fail-before", "9", "Error::upstream(\"not yet\")"),
        // What the SDK makes of an answer of the host's is placed where the step asked.
        ("delay", "999999999999", "ctx.delay("),
        ("get", "{ key = \"x\" }", "no store"),
        ("panic", "0", "panic!(\"as it was told\")"),
    ] {
        deploy(&keyhole, &format!("{HEAD}{}", verb("a", verb_, value))).ok();
        let run = run(&keyhole, "w", &json!({}));
        let trace = run["steps"][0]["error"]["trace"].as_str().unwrap_or_else(|| panic!("{run:#}"));
        assert!(trace.starts_with(&format!("src/lib.rs:{}:", line(code))), "{verb_}: {trace}");
        let shown = keyhole.call(&["runs", "show", run["run"]["id"].as_str().unwrap(), "--as", "alice"]).ok().stdout;
        assert!(shown.contains("src/lib.rs:"), "{shown}");
    }
}

#[test]
fn bounded_a_step_has_the_memory_that_its_file_says_and_no_more() {
    let keyhole = keyhole();
    let held = verb("a", "hold", "300");
    for memory in ["limits.memory = \"512MiB\"\n", ""] {
        deploy(&keyhole, &format!("{HEAD}{memory}{held}")).ok();
        let run = run(&keyhole, "w", &json!({}));
        match memory {
            "" => {
                assert_eq!(run["run"]["error"]["kind"], "limit", "{run:#}");
                let message = run["run"]["error"]["message"].as_str().unwrap();
                assert!(message.contains("more memory than its limit of 256 MiB"), "{message}");
            }
            _ => assert_eq!(returned(&run)["a"], 300 << 20, "{run:#}"),
        }
    }
    // Nor more than the operator lets any have.
    let config = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[runs]\nmost_memory = \"128MiB\"\n").unwrap();
    let args = ["--config", config.to_str().unwrap(), "--json", "workflows", "run", "w", "--as", "alice"];
    let run = keyhole.call(&args).json();
    assert!(run["run"]["error"]["message"].as_str().unwrap().contains("its limit of 128 MiB"), "{run:#}");
}

#[test]
fn a_failure_that_may_pass_is_tried_again_and_a_limit_is_not() {
    let keyhole = keyhole();
    let retry = "retry = { attempts = 4, wait = \"10ms\" }\n";
    deploy(&keyhole, &format!("{HEAD}{retry}{}", verb("a", "fail-before", "3"))).ok();
    let done = run(&keyhole, "w", &json!({}));
    assert_eq!((&done["run"]["status"], &done["steps"][0]["attempts"]), (&json!("ok"), &json!(3)), "{done:#}");
    // What the attempts before it did is kept.
    let earlier = done["steps"][0]["earlier"].as_array().unwrap();
    for (number, tried) in earlier.iter().enumerate() {
        assert_eq!(
            (&tried["attempt"], &tried["error"]["message"]),
            (&json!(number + 1), &json!("not yet")),
            "{tried:#}"
        );
        assert_eq!(tried["log"][0]["text"], "fail-before 3");
    }
    assert_eq!(earlier.len(), 2, "{done:#}");
    let said = keyhole.call(&["runs", "show", done["run"]["id"].as_str().unwrap(), "--as", "alice"]).ok().stdout;
    assert_eq!(said.matches("not yet").count(), 2, "{said}");
    deploy(&keyhole, &format!("{HEAD}{retry}{}", verb("a", "fail-before", "9"))).ok();
    let failed = run(&keyhole, "w", &json!({}));
    assert_eq!((&failed["run"]["status"], &failed["steps"][0]["attempts"]), (&json!("failed"), &json!(4)));
    deploy(&keyhole, &format!("{HEAD}limits.timeout = \"100ms\"\n{retry}{}", verb("a", "loop", "0"))).ok();
    let limited = run(&keyhole, "w", &json!({}));
    assert_eq!((&limited["run"]["status"], &limited["steps"][0]["attempts"]), (&json!("failed"), &json!(1)));
}

#[test]
fn a_workflow_says_which_kinds_of_failure_are_tried_again() {
    let keyhole = keyhole();
    for (on, step, status, attempts) in [
        ("step", verb("a", "fail", "0"), "failed", 2),
        ("upstream", verb("a", "fail", "0"), "failed", 1),
        ("upstream", verb("a", "fail-before", "2"), "ok", 2),
        ("step", verb("a", "fail-before", "2"), "failed", 1),
    ] {
        let retry = format!("retry = {{ attempts = 2, wait = \"1ms\", on = [{on:?}] }}\n");
        deploy(&keyhole, &format!("{HEAD}{retry}{step}")).ok();
        let run = run(&keyhole, "w", &json!({}));
        let ended = (&run["run"]["status"], &run["steps"][0]["attempts"]);
        assert_eq!(ended, (&json!(status), &json!(attempts)), "on {on}: {run:#}");
    }
}

#[test]
fn who_follows_a_log_from_another_process_misses_no_line_and_sees_none_twice() {
    use std::io::BufRead as _;
    let keyhole = keyhole();
    let retry = "retry = { attempts = 2, wait = \"700ms\" }\nlimits.timeout = \"60s\"\n";
    deploy(&keyhole, &format!("{HEAD}{retry}{}{}", verb("a", "fail-before", "2"), verb("b", "loop", "1"))).ok();
    let _serving = Serving::on(&keyhole);
    let run = start(&keyhole, "w");
    let mut command = keyhole.command(&["runs", "logs", &run, "--follow", "--as", "alice"]);
    let mut follows = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(follows.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Of the attempt that failed, of the one that did not, and of the step that runs.
    for text in ["fail-before 2", "fail-before 2", "loop 1"] {
        let line = lines.next().expect("a line");
        assert!(line.contains(text), "{line}");
    }
    keyhole.call(&["runs", "cancel", &run, "--as", "alice"]).ok();
    assert_eq!(lines.next(), None);
    assert!(follows.wait().unwrap().success());
}

#[test]
fn an_exit_ends_the_run_well_and_a_delay_holds_it() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}{}{}", verb("a", "exit", "\"nothing new\""), verb("b", "fail", "0"))).ok();
    let ended = run(&keyhole, "w", &json!({}));
    assert_eq!((&ended["run"]["status"], &ended["exit"]), (&json!("ok"), &json!("nothing new")), "{ended:#}");
    deploy(&keyhole, &format!("{HEAD}{}{}", verb("a", "delay", "700"), verb("b", "return", "1"))).ok();
    let began = std::time::Instant::now();
    let held = run(&keyhole, "w", &json!({}));
    assert_eq!(held["run"]["status"], "ok");
    assert!(began.elapsed().as_millis() >= 700);
}

#[test]
fn a_failure_starts_the_workflow_that_is_for_it() {
    let keyhole = keyhole();
    let alarm = format!("keyhole = 1\nname = \"alarm\"\n{}", verb("a", "return", "\"{{ event.error.message }}\""));
    deploy(&keyhole, &alarm).ok();
    deploy(&keyhole, &format!("{HEAD}on_error = \"alarm\"\n{}", verb("a", "fail", "\"no luck\""))).ok();
    let serving = Serving::on(&keyhole);
    keyhole.call(&["--json", "workflows", "run", "w", "--as", "alice"]);
    let alarms = until("the alarm", || {
        let alarms = list(&keyhole, &["--workflow", "alarm", "--status", "ok"]);
        (!alarms.is_empty()).then_some(alarms)
    });
    let shown = show(&keyhole, alarms[0]["id"].as_str().unwrap());
    assert_eq!(returned(&shown)["a"], "no luck");
    assert_eq!(shown["run"]["cause"], "error");
    drop(serving);
}

#[test]
fn a_run_that_waits_can_be_ended_and_an_event_run_again() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}{}{}", verb("a", "delay", "600000"), verb("b", "return", "1"))).ok();
    let _serving = Serving::on(&keyhole);
    let token = keyhole.call(&["--json", "workflows", "run", "w", "--no-wait", "--as", "alice"]).ok().json();
    let run = token["run"].as_str().unwrap().to_owned();
    let waiting = until_status(&keyhole, &run, "waiting");
    assert!(waiting["run"]["waits_until"].is_string(), "{waiting:#}");
    keyhole.call(&["runs", "cancel", &run, "--as", "alice"]).ok();
    until_status(&keyhole, &run, "cancelled");
    let said = keyhole.call(&["runs", "cancel", &run, "--as", "alice"]).failed(1);
    assert!(said.contains("has ended already"), "{said}");
    deploy(&keyhole, &format!("{HEAD}{}", verb("a", "return", "2"))).ok();
    let again = keyhole.call(&["--json", "runs", "retry", &run, "--as", "alice"]).ok().json();
    assert_eq!((&again["run"]["cause"], &returned(&again)["a"]), (&json!("retry"), &json!(2)), "{again:#}");
}

#[tokio::test]
async fn a_list_says_where_its_next_page_is_and_finds_what_has_not_ended() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}{}", verb("a", "return", "1"))).ok();
    let held = format!("keyhole = 1\nname = \"held\"\n{}{}", verb("a", "delay", "600000"), verb("b", "return", "1"));
    deploy(&keyhole, &held).ok();
    let serving = Serving::on(&keyhole);
    let token = keyhole.call(&["--json", "tokens", "create", "--as", "alice"]).ok().json();
    let held = keyhole.call(&["--json", "workflows", "run", "held", "--no-wait", "--as", "alice"]).ok().json();
    until_status(&keyhole, held["run"].as_str().unwrap(), "waiting");
    (0..5).for_each(|_| assert_eq!(run(&keyhole, "w", &json!({}))["run"]["status"], "ok"));

    let found = |more: &[&str]| list(&keyhole, more).len();
    assert_eq!(found(&["--status", "waiting"]), 1);
    assert_eq!((found(&["--status", "waiting", "--workflow", "held"]), found(&["--status", "queued"])), (1, 0));
    assert_eq!((found(&["--status", "waiting", "--workflow", "w"]), found(&["--status", "ok"])), (0, 5));
    assert_eq!((found(&["--since", "1h"]), found(&["--since", "2999-01-01"])), (6, 0));

    let (client, token) = (reqwest::Client::new(), token["token"].as_str().unwrap());
    let (mut next, mut pages) = (Some("/api/runs?limit=2&status=ok".to_owned()), Vec::new());
    while let Some(path) = next {
        assert!(path.contains("status=ok"), "{path}");
        let answer = client.get(format!("{}{path}", serving.url)).bearer_auth(token).send().await.unwrap();
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..].strip_suffix(">; rel=\"next\"").unwrap().to_owned());
        pages.push(answer.json::<Vec<serde_json::Value>>().await.unwrap());
    }
    assert!(pages.len() >= 3, "{pages:?}");
    let all: Vec<_> = pages.concat().iter().map(|run| run["id"].clone()).collect();
    assert_eq!(all, list(&keyhole, &["--status", "ok"]).iter().map(|run| run["id"].clone()).collect::<Vec<_>>());
    let said = keyhole.call(&["runs", "list", "-n", "2", "--as", "alice"]).ok().stdout;
    let last = list(&keyhole, &["-n", "2"])[1]["id"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("--before {last}")), "{said}");
    let said = keyhole.call(&["runs", "list", "--as", "alice"]).ok().stdout;
    assert!(!said.contains("--before"), "{said}");
}

#[test]
fn no_credential_and_no_placeholder_is_in_what_is_kept_of_a_run() {
    use keyhole_tests::program::KEY;
    use keyhole_tests::server::acme;
    let mut keyhole = keyhole();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let echo = keyhole_tests::workspace::component("echo-key").display().to_string();
    let text = format!(
        "{HEAD}[[steps]]\nname = \"a\"\nuses = {echo:?}\nlinks = {{ acme = {account:?} }}\n{}",
        verb("b", "return", "\"{{ steps.a.$return_value }}\"")
    );
    deploy(&keyhole, &text).ok();
    let run = run(&keyhole, "w", &json!({}));
    assert_eq!(run["run"]["status"], "ok", "{run:#}");
    let whole = run.to_string();
    assert!(whole.contains("‹acme.api_key›"), "{run:#}");
    assert!(!whole.contains(KEY) && !whole.contains("acme_live_"), "{run:#}");
    assert_eq!(run["steps"][0]["requests"][0]["host"], "api.acme.example");
    let stored = keyhole.stored_bytes();
    assert!(memchr::memmem::find(&stored, KEY.as_bytes()).is_none());
}

#[test]
fn bounded_a_run_that_is_cancelled_closes_its_streams() {
    use keyhole_tests::program::KEY;
    use keyhole_tests::server::Server;
    use keyhole_tests::workspace::component;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut keyhole = keyhole();
    // An answer without end, slow enough that no limit on bytes ends it.
    let server = Server::raw(&keyhole.authority, &["api.acme.example"], |mut stream| async move {
        // The request first: an answer to nothing is refused.
        let _ = stream.read(&mut [0; 4096]).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let mut open = stream.write_all(head).await.is_ok();
        while open {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            open = stream.write_all(b"data: more\n\n").await.is_ok();
        }
    });
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let step = component("hostile").display().to_string();
    let step =
        format!("[[steps]]\nname = \"a\"\nuses = {step:?}\nlinks = {{ acme = {account:?} }}\ntimeout = \"600s\"\n");
    deploy(&keyhole, &format!("{HEAD}{step}")).ok();
    let _serving = Serving::on(&keyhole);
    let asked =
        json!({"attack": "sequence", "requests": [{"url": "https://api.acme.example/v1/stream", "account": true}]});
    let args = ["--json", "workflows", "run", "w", "--no-wait", "--as", "alice", "--event", "-"];
    let started = keyhole.call_with(&args, &asked.to_string()).ok().json();
    let run = started["run"].as_str().unwrap();
    until("the stream", || (server.accepted() == 1).then_some(()));
    let cancelled = keyhole.call(&["runs", "cancel", run, "--as", "alice"]);
    assert_eq!(cancelled.code, 0, "{}{:#}", cancelled.stderr, show(&keyhole, run));
    let ended = until_status(&keyhole, run, "cancelled");
    // Long before the minute of silence, and the ten minutes that the step had.
    server.wait_until_idle();
    assert!(!ended.to_string().contains(KEY));
    assert_eq!(ended["steps"][0]["requests"][0]["path"], "/v1/stream", "{ended:#}");
}

#[test]
fn the_history_keeps_the_newest_runs_up_to_a_size() {
    let keyhole = keyhole();
    let config = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[runs]\nkeep_size = \"100KiB\"\n").unwrap();
    deploy(&keyhole, &format!("{HEAD}{}", verb("a", "return", "\"{{ event.text }}\""))).ok();
    let event = json!({"text": "x".repeat(10_000)});
    let first = run(&keyhole, "w", &event)["run"]["id"].as_str().unwrap().to_owned();
    let _serving = Serving::with(&keyhole, &["--config", config.to_str().unwrap()]);
    // Each leaves its event and what its step was given, logged and returned: 40 KiB.
    let ids: Vec<String> = (0..6)
        .map(|_| {
            keyhole.call_with(
                &["--json", "workflows", "run", "w", "--as", "alice", "--no-wait", "--event", "-"],
                &event.to_string(),
            )
        })
        .map(|started| started.json()["run"].as_str().unwrap().to_owned())
        .collect();
    let left = until("the two newest are left", || {
        Some(list(&keyhole, &[])).filter(|runs| runs.len() == 2 && runs.iter().all(|run| run["status"] == "ok"))
    });
    assert!(left.iter().all(|run| ids[4..].iter().any(|id| run["id"] == id.as_str())), "{left:#?}");
    let said = keyhole.call(&["runs", "show", &first, "--as", "alice"]).failed(1);
    assert!(said.contains("no run"), "{said}");
}

#[test]
fn the_log_of_a_step_that_runs_is_seen_from_another_process_while_it_does() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}limits.timeout = \"60s\"\n{}", verb("a", "loop", "\"x\""))).ok();
    let _serving = Serving::on(&keyhole);
    let started = keyhole.call(&["--json", "workflows", "run", "w", "--no-wait", "--as", "alice"]).ok().json();
    let run = started["run"].as_str().unwrap();
    let live = until("its log", || show(&keyhole, run).get("live").cloned());
    assert_eq!((&live["step"], &live["log"][0]["text"]), (&json!("a"), &json!("loop \"x\"")), "{live:#}");
    let logs = keyhole.call(&["runs", "logs", run, "--as", "alice"]).ok().stdout;
    assert!(logs.contains("loop \"x\""), "{logs}");
    keyhole.call(&["runs", "cancel", run, "--as", "alice"]).ok();
    let ended = until_status(&keyhole, run, "cancelled");
    assert!(ended.get("live").is_none(), "{ended:#}");
    // It stays in the history.
    let step = &ended["steps"][0];
    assert_eq!((&step["status"], &step["log"][0]["text"]), (&json!("cancelled"), &json!("loop \"x\"")), "{ended:#}");
}

#[test]
fn a_failure_is_posted_to_the_url_that_is_for_it() {
    use keyhole_tests::server::{Server, json as answer};
    let mut keyhole = keyhole();
    let server = Server::http(&keyhole.authority, &["alarm.example"], |_| answer(200, &json!({})));
    keyhole.lead("alarm.example", &server);
    let text = |url: &str| format!("{HEAD}on_error = {url:?}\n{}", verb("a", "fail", "\"no luck\""));
    let wrong = deploy(&keyhole, &text("http://alarm.example/x")).stderr;
    assert!(wrong.contains("`on_error` is the name of another of your workflows, or an https URL"), "{wrong}");
    deploy(&keyhole, &text("https://alarm.example/x?k=1")).ok();
    // What the event holds is no template any more, and ends no chain of alarms.
    let event = json!({"x": "{{ event.failed_run }} \"failed_run\": \"failed_run\": \"failed_run\":"});
    let failed = run(&keyhole, "w", &event);
    assert_eq!(failed["run"]["error"]["message"], "no luck");
    assert_eq!((&failed["steps"][1]["name"], &failed["steps"][1]["status"]), (&json!("on_error"), &json!("ok")));
    let received = &server.received()[0];
    let told: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!((received.method.as_str(), received.target.as_str()), ("POST", "/x?k=1"));
    assert_eq!(
        (&told["workflow"], &told["error"]["message"], &told["event"]),
        (&json!("w"), &json!("no luck"), &event)
    );
}

#[test]
fn a_url_that_does_not_answer_at_once_is_told_of_the_failure_again() {
    use keyhole_tests::server::{Server, json as answer};
    use std::sync::atomic::{AtomicUsize, Ordering};
    let mut keyhole = keyhole();
    let asked = AtomicUsize::new(0);
    let server = Server::http(&keyhole.authority, &["alarm.example"], move |_| {
        answer(if asked.fetch_add(1, Ordering::SeqCst) < 2 { 503 } else { 200 }, &json!({}))
    });
    keyhole.lead("alarm.example", &server);
    let on_error = "on_error = \"https://alarm.example/x\"\n";
    deploy(&keyhole, &format!("{HEAD}{on_error}{}", verb("a", "fail", "\"no luck\""))).ok();
    let failed = run(&keyhole, "w", &json!({}));
    let told = &failed["steps"][1];
    assert_eq!((&told["name"], &told["status"], &told["attempts"]), (&json!("on_error"), &json!("ok"), &json!(3)));
    let bodies: Vec<_> = server.received().into_iter().map(|received| received.body).collect();
    assert!(bodies.len() == 3 && bodies.iter().all(|body| *body == bodies[0]), "{}", bodies.len());
}

#[test]
fn what_goes_wrong_beside_a_call_is_said_as_flags_variables_and_the_file_have_it() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("keyhole = 1\nname = \"nothing\"\n{}", verb("a", "return", "0"))).ok();
    deploy(&keyhole, &format!("{HEAD}on_error = \"nothing\"\n{}", verb("a", "fail", "0"))).ok();
    keyhole.call(&["workflows", "delete", "nothing", "--as", "alice"]).ok();
    let run = |said_by: &[&str], format: &str| {
        let args = [said_by, &["--json", "workflows", "run", "w", "--as", "alice"]].concat();
        let mut command = keyhole.command(&args);
        let ended = command.env("KEYHOLE_LOG_FORMAT", format).stderr(std::process::Stdio::piped()).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, said) = run(&[], "json");
    let line: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((code, &line["level"], &line["on_error"]), (Some(1), &json!("WARN"), &json!("nothing")), "{said}");
    assert!(line["timestamp"].is_string() && line["target"].is_string(), "{said}");
    let (code, said) = run(&[], "xml");
    assert!(code == Some(2) && said.contains("invalid value 'xml'") && said.contains("text, json"), "{said}");
    // A flag wins over a variable, and both over the file.
    let (_, said) = run(&["--log-format", "text"], "json");
    assert!(said.contains(" WARN "), "{said}");
    let config = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[log]\nformat = \"json\"\nlevel = \"error\"\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let (_, said) = run(&config, "text");
    assert!(!said.contains("WARN"), "{said}");
    let (_, said) = run(&[&config[..], &["--log-level", "warn"]].concat(), "text");
    assert!(said.contains(" WARN "), "{said}");
}
