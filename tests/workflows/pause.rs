//! What a step can have its workflow wait for: a call from outside, itself once more, another workflow.

use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::rig::*;

fn http() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(20)).build().unwrap()
}

/// The URLs that the step `a` of a run that waits has handed out, which begin with the server's.
fn urls(shown: &Value, serving: &Serving) -> [String; 2] {
    let urls = shown["steps"][0]["exports"]["urls"].as_array().unwrap();
    let urls: Vec<_> = urls.iter().map(|url| url.as_str().unwrap().to_owned()).collect();
    assert!(urls.iter().all(|url| url.starts_with(&format!("{}/callbacks/", serving.url))), "{urls:?}");
    urls.try_into().unwrap()
}

async fn status(answer: Response) -> (u16, Value) {
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_suspended_run_goes_on_when_its_url_is_called_once_and_after_a_kill() {
    let keyhole = keyhole();
    let last = verb("b", "return", "\"{{ steps.a.$resume_data.body.answer }} {{ steps.a.$resume_data.query.by }}\"");
    deploy(&keyhole, &[HEAD, &verb("a", "suspend", "600000"), &last].concat()).ok();
    let serving = Serving::on(&keyhole);
    let run = start(&keyhole, "w");
    let waiting = until_status(&keyhole, &run, "waiting");
    assert_eq!(waiting["run"]["waits_for_call"], true, "{waiting:#}");
    let [resume, _] = urls(&waiting, &serving);
    // A look at the link changes nothing.
    let page = http().get(&resume).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("A workflow waits for you"));
    assert_eq!(show(&keyhole, &run)["run"]["status"], "waiting");
    // Nor does a wrong token.
    let guessed = format!("{}AAAAAAAAAAAAAAAAAAAAAA", &resume[..resume.len() - 22]);
    assert_eq!(status(http().post(guessed).send().await.unwrap()).await.0, 404);
    // Nor can who may have it go on end it.
    let cancel = resume.replace("/resume/", "/cancel/");
    assert_eq!(status(http().post(cancel).send().await.unwrap()).await.0, 404);

    // The server is killed meanwhile; another one, elsewhere, takes the call.
    serving.kill();
    let serving = Serving::on(&keyhole);
    let resume = format!("{}{}", serving.url, &resume[resume.find("/callbacks").unwrap()..]);
    let called = http().post(format!("{resume}?by=bob")).json(&json!({"answer": "yes"})).send().await.unwrap();
    assert_eq!(status(called).await, (200, json!({"run": run, "status": "resumed"})));
    let ended = until_status(&keyhole, &run, "ok");
    assert_eq!(returned(&ended)["b"], "yes bob", "{ended:#}");
    assert_eq!(ended["steps"][0]["exports"]["$resume_data"]["method"], "POST");
    assert_eq!(status(http().post(&resume).send().await.unwrap()).await.0, 404, "it works once");
    assert!(!ended.to_string().contains("$suspend"));
}

#[tokio::test]
async fn a_run_under_way_ends_on_the_version_that_it_began_with() {
    let keyhole = keyhole();
    let version = |value: &str| [HEAD, &verb("a", "suspend", "600000"), &verb("b", "return", value)].concat();
    deploy(&keyhole, &version("\"old\"")).ok();
    let serving = Serving::on(&keyhole);
    let old = start(&keyhole, "w");
    until_status(&keyhole, &old, "waiting");
    deploy(&keyhole, &version("\"new\"")).ok();
    let new = start(&keyhole, "w");
    for (run, number, value) in [(new, 2, "new"), (old, 1, "old")] {
        let [resume, _] = urls(&until_status(&keyhole, &run, "waiting"), &serving);
        assert_eq!(http().post(&resume).send().await.unwrap().status(), 200);
        let ended = until_status(&keyhole, &run, "ok");
        assert_eq!((&ended["run"]["version"], &returned(&ended)["b"]), (&json!(number), &json!(value)), "{ended:#}");
    }
}

#[tokio::test]
async fn a_body_too_deep_for_later_steps_is_the_callers_mistake_and_the_run_still_waits() {
    let keyhole = keyhole();
    let last = verb("b", "return", "\"{{ steps.a.$resume_data.body }}\"");
    deploy(&keyhole, &[HEAD, "trigger.http = {}\n", &verb("a", "suspend", "600000"), &last].concat()).ok();
    let serving = Serving::on(&keyhole);
    let run = start(&keyhole, "w");
    let [resume, _] = urls(&until_status(&keyhole, &run, "waiting"), &serving);
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let send = |url: &str, levels| {
        let request = http().post(url).header("content-type", "application/json");
        let sent = request.body(nested(levels)).send();
        async move { sent.await.unwrap().status().as_u16() }
    };
    for levels in [101, 127, 200, 50_000] {
        assert_eq!(send(&resume, levels).await, 400, "{levels}");
        assert_eq!(send(&format!("{}{}", serving.url, hook(&keyhole, "w")), levels).await, 400, "{levels}");
    }
    assert_eq!(show(&keyhole, &run)["run"]["status"], "waiting");
    assert_eq!(send(&resume, 100).await, 200);
    let ended = until_status(&keyhole, &run, "ok");
    assert_eq!(returned(&ended)["b"].to_string(), nested(100));
}

#[tokio::test]
async fn a_suspended_run_can_be_ended_from_outside_and_goes_on_by_itself_when_its_time_is_over() {
    let keyhole = keyhole();
    let last = verb("b", "return", "\"{{ steps.a.$resume_data }}\"");
    deploy(&keyhole, &[HEAD, &verb("a", "suspend", "600000"), &last].concat()).ok();
    let serving = Serving::on(&keyhole);
    let run = start(&keyhole, "w");
    let [_, cancel] = urls(&until_status(&keyhole, &run, "waiting"), &serving);
    // As a browser does that shows the page.
    let answer = http().post(&cancel).header("accept", "text/html,*/*").send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("The workflow has ended"));
    let ended = until_status(&keyhole, &run, "cancelled");
    assert_eq!(ended["steps"].as_array().unwrap().len(), 1);

    deploy(&keyhole, &[HEAD, &verb("a", "suspend", "300"), &last].concat()).ok();
    let ended = until_status(&keyhole, &start(&keyhole, "w"), "ok");
    assert_eq!(ended["steps"][0]["attempts"], 1, "that it was handed over is no attempt: {ended:#}");
    assert_eq!((&returned(&ended)["b"], &ended["steps"][0]["exports"]["$resume_data"]), (&json!(null), &json!(null)));
    // Who comes too late changes nothing.
    let slow = verb("b", "loop", "0").replace("uses =", "timeout = \"60s\"\nuses =");
    deploy(&keyhole, &[HEAD, &verb("a", "suspend", "300"), &slow].concat()).ok();
    let run = start(&keyhole, "w");
    until("b", || Some(show(&keyhole, &run)).filter(|shown| shown["live"]["step"] == "b"));
    let [resume, cancel] = urls(&show(&keyhole, &run), &serving);
    // Nor does the answer tell whether there is such a run.
    let none = resume.replace(&run, "01JD0000000000000000000000");
    let mut answers = Vec::new();
    for late in [resume, cancel, none] {
        let answer = http().post(late).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (404, &"1".parse().unwrap()));
        answers.push(answer.text().await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(show(&keyhole, &run)["run"]["status"], "running");
    keyhole.call(&["runs", "cancel", &run, "--as", "alice"]).ok();
    until_status(&keyhole, &run, "cancelled");
    // By hand, where no server runs: it says what would happen.
    drop(serving);
    deploy(&keyhole, &[HEAD, &verb("a", "suspend", "600000"), &last].concat()).ok();
    let said = keyhole.call(&["workflows", "run", "w", "--as", "alice"]).ok();
    assert!(said.stderr.contains("goes on in keyhole serve when its resume URL is called"), "{}", said.stderr);
}

#[tokio::test]
async fn a_step_that_asks_is_run_again_and_finds_what_it_left() {
    let keyhole = keyhole();
    let again = |times: u32, of: u32, wait: u32| {
        stored("a", "rerun", &format!("{{ times = {times}, of = {of}, wait = {wait} }}")) + &verb("b", "return", "1")
    };
    deploy(&keyhole, &format!("{HEAD}{}", again(2, 5, 20))).ok();
    let ended = run(&keyhole, "w", &json!({}));
    assert_eq!(returned(&ended)["a"], json!({"runs": 3, "kept": "run 2", "resumed": null}), "{ended:#}");
    assert_eq!((&ended["steps"][0]["attempts"], &returned(&ended)["b"]), (&json!(1), &json!(1)));
    // No more often than it said.
    deploy(&keyhole, &format!("{HEAD}{}", again(9, 2, 0))).ok();
    let failed = run(&keyhole, "w", &json!({}));
    assert_eq!((&failed["run"]["status"], &failed["run"]["error"]["kind"]), (&json!("failed"), &json!("limit")));
    assert!(failed["run"]["error"]["message"].as_str().unwrap().contains("more often than the 2 times"), "{failed:#}");
    // Or at once, when it is called.
    deploy(&keyhole, &format!("{HEAD}{}", again(1, 5, 600_000))).ok();
    let serving = Serving::on(&keyhole);
    let id = start(&keyhole, "w");
    until_status(&keyhole, &id, "waiting");
    let url = keyhole.call(&["data", "get", "kept", "resume_url"]).ok().stdout;
    let url: String = serde_json::from_str(&url).unwrap();
    assert!(url.starts_with(&serving.url), "{url}");
    assert_eq!(status(http().post(url).body("ping").send().await.unwrap()).await.0, 200);
    let ended = until_status(&keyhole, &id, "ok");
    let a = &returned(&ended)["a"];
    assert_eq!((&a["runs"], &a["resumed"]["body"]), (&json!(2), &json!("ping")), "{ended:#}");
}

#[test]
fn a_rate_is_for_runs_that_begin_and_not_for_those_that_go_on() {
    let keyhole = keyhole();
    let steps = [verb("a", "delay", "300"), verb("b", "delay", "300"), verb("c", "return", "1")].concat();
    deploy(&keyhole, &[HEAD, "limits.runs_per_minute = 1\n", &steps].concat()).ok();
    let _serving = Serving::on(&keyhole);
    // Within half a minute.
    until_status(&keyhole, &start(&keyhole, "w"), "ok");
}

#[tokio::test]
async fn a_workflow_calls_another_as_a_step_and_has_what_it_returned() {
    let keyhole = keyhole();
    let call = |name: &str, more: &str| {
        format!("[[steps]]\nname = \"call\"\nuses = \"workflow\"\nprops = {{ name = {name:?}, {more} }}\n")
    };
    let said = deploy(&keyhole, &format!("{HEAD}{}", call("other", ""))).stderr;
    assert!(said.contains("alice has no workflow 'other'") && said.contains("workflow.toml:6:"), "{said}");
    let other = |step: &str| format!("keyhole = 1\nname = \"other\"\n{step}");
    deploy(&keyhole, &other(&verb("a", "return", "\"<{{ event.x }}>\""))).ok();
    let text = [
        HEAD,
        &call("other", "event = { x = \"{{ event.y }}\" }"),
        &verb("b", "return", "\"{{ steps.call.$return_value }}!\""),
    ];
    deploy(&keyhole, &text.concat()).ok();
    let ended = run(&keyhole, "w", &json!({"y": 7}));
    assert_eq!(returned(&ended), json!({"call": "<7>", "b": "<7>!"}), "{ended:#}");
    let called = &list(&keyhole, &["--workflow", "other"])[0];
    assert_eq!((&called["cause"], &called["status"]), (&json!("workflow"), &json!("ok")));
    // Its failure is the step's.
    deploy(&keyhole, &other(&verb("a", "fail", "\"no luck\""))).ok();
    let failed = run(&keyhole, "w", &json!({"y": 7}));
    let message = failed["run"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("of other did not end well") && message.contains("no luck"), "{failed:#}");
    // Without waiting, it is only started.
    deploy(&keyhole, &[HEAD, &call("other", "wait = false")].concat()).ok();
    let started = run(&keyhole, "w", &json!({}));
    assert!(returned(&started)["call"]["run"].is_string(), "{started:#}");
    // What calls itself comes to an end.
    let endless = format!("keyhole = 1\nname = \"endless\"\n{}", call("endless", ""));
    deploy(&keyhole, &endless).ok();
    let failed = run(&keyhole, "endless", &json!({}));
    assert!(failed["run"]["error"]["message"].as_str().unwrap().contains("have called one another"), "{failed:#}");
    assert_eq!(list(&keyhole, &["--workflow", "endless"]).len(), 17);
}

#[tokio::test]
async fn nothing_lost_a_call_that_was_cut_by_a_kill_is_made_once() {
    let keyhole = keyhole();
    deploy(
        &keyhole,
        &format!("keyhole = 1\nname = \"other\"\n{}", verb("a", "delay", "600") + &stored("c", "count", "1")),
    )
    .ok();
    let call = "[[steps]]\nname = \"call\"\nuses = \"workflow\"\nprops = { name = \"other\" }\n";
    deploy(&keyhole, &[HEAD, call, &verb("b", "return", "\"{{ steps.call.$return_value }}\"")].concat()).ok();
    let serving = Serving::on(&keyhole);
    let run = start(&keyhole, "w");
    let waiting = until_status(&keyhole, &run, "waiting");
    assert!(waiting["run"]["waits_for_run"].is_string(), "{waiting:#}");
    serving.kill();
    let _serving = Serving::on(&keyhole);
    let ended = until_status(&keyhole, &run, "ok");
    assert_eq!(returned(&ended)["b"], 1, "{ended:#}");
    assert_eq!(list(&keyhole, &["--workflow", "other"]).len(), 1);
}

#[test]
fn nothing_lost_a_run_goes_on_in_the_server_when_the_command_that_began_it_is_ended() {
    let keyhole = keyhole();
    deploy(&keyhole, &[HEAD, &verb("a", "delay", "6000"), &verb("b", "return", "1")].concat()).ok();
    let _serving = Serving::on(&keyhole);
    let mut command = keyhole.command(&["workflows", "run", "w", "--as", "alice"]).spawn().unwrap();
    let waiting = until("it to wait", || list(&keyhole, &["--status", "waiting"]).pop());
    std::process::Command::new("kill").args(["-TERM", &command.id().to_string()]).status().unwrap();
    assert!(!command.wait().unwrap().success());
    let ended = until_status(&keyhole, waiting["id"].as_str().unwrap(), "ok");
    assert_eq!(returned(&ended)["b"], 1, "{ended:#}");
}

#[test]
fn bounded_workflows_that_call_themselves_over_and_over_come_to_an_end() {
    let keyhole = keyhole();
    let config = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[runs]\nmost_per_event = 10\n").unwrap();
    let call = |name: &str, wait: bool| {
        format!("[[steps]]\nname = {name:?}\nuses = \"workflow\"\nprops = {{ name = \"w\", wait = {wait} }}\n")
    };
    for wait in [true, false] {
        let before = list(&keyhole, &[]).len();
        deploy(&keyhole, &[HEAD, &call("a", wait), &call("b", wait), &call("c", wait)].concat()).ok();
        let serving = Serving::with(&keyhole, &["--config", config.to_str().unwrap()]);
        start(&keyhole, "w");
        until("the end of all of them", || {
            let going =
                ["queued", "running", "waiting"].iter().map(|status| list(&keyhole, &["--status", status]).len());
            (going.sum::<usize>() == 0).then_some(())
        });
        let runs = list(&keyhole, &["-n", "1000"]);
        assert_eq!(runs.len() - before, 11, "10, and the one that began it");
        let told =
            |run: &Value| run["error"]["message"].as_str().is_some_and(|said| said.contains("has led to 10 runs"));
        assert!(runs.iter().any(told), "{runs:#?}");
        drop(serving);
    }
}

#[test]
fn who_ends_a_run_ends_those_that_it_waits_for() {
    let keyhole = keyhole();
    let named = |name: &str, steps: &str| format!("keyhole = 1\nname = {name:?}\n{steps}");
    let call = |name: &str, wait: bool| {
        format!(
            "[[steps]]\nname = \"call-{name}\"\nuses = \"workflow\"\nprops = {{ name = {name:?}, wait = {wait} }}\n"
        )
    };
    let waits = [verb("a", "delay", "600000"), verb("b", "return", "1")].concat();
    deploy(&keyhole, &named("inner", &waits)).ok();
    deploy(&keyhole, &named("beside", &waits)).ok();
    deploy(&keyhole, &named("middle", &[call("beside", false), call("inner", true)].concat())).ok();
    deploy(&keyhole, &named("outer", &call("middle", true))).ok();
    let _serving = Serving::on(&keyhole);
    let outer = start(&keyhole, "outer");
    let one = |name: &str| until(name, || list(&keyhole, &["--workflow", name, "--status", "waiting"]).pop());
    let ids = ["inner", "middle", "beside"].map(|name| one(name)["id"].as_str().unwrap().to_owned());
    keyhole.call(&["runs", "cancel", &outer, "--as", "alice"]).ok();
    for run in [&outer, &ids[1], &ids[0]] {
        until_status(&keyhole, run, "cancelled");
    }
    // Nobody waited for that one.
    assert_eq!(show(&keyhole, &ids[2])["run"]["status"], "waiting");
}
