//! A run's page while the run goes on: what comes, comes without loading the page again.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use keyhole_tests::program::Keyhole;
use keyhole_tests::served::Served;
use keyhole_tests::server::{Server, answer};
use keyhole_tests::workspace::component;
use serde_json::json;

use crate::browser::Browser;
use crate::hostile::{evil, unharmed};
use crate::house::{House, Words, deploy, enter};
use crate::visit::Visit;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(100);

/// A service that answers `/hold/1`, `/hold/2` and so on each when it is told to.
struct Held {
    server: Server,
    told: Arc<(Mutex<u32>, Condvar)>,
}

impl Held {
    fn new(keyhole: &mut Keyhole) -> Self {
        let told: Arc<(Mutex<u32>, Condvar)> = Arc::default();
        let may = told.clone();
        let server = Server::http(&keyhole.authority, &["api.acme.example"], move |request| {
            let number: u32 = request.target.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(0);
            let answered = may.0.lock().expect("no panic with it held");
            drop(may.1.wait_timeout_while(answered, PATIENCE, |answered| *answered < number));
            answer(200, "text/plain", "here it is")
        });
        keyhole.lead("api.acme.example", &server);
        Self { server, told }
    }

    /// Answers what is asked for up to this one.
    fn answer(&self, number: u32) {
        *self.told.0.lock().expect("no panic with it held") = number;
        self.told.1.notify_all();
    }

    #[track_caller]
    fn is_asked(&self, number: u32) {
        let target = format!("/hold/{number}");
        until(&format!("a request to {target}"), || self.server.received().iter().any(|one| one.target == target));
    }
}

#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_page_that_is_open_shows_a_line_of_the_log_a_step_that_is_done_and_the_end_as_they_come() {
    let Some(browser) = Browser::shared() else { return };
    let mut keyhole = Keyhole::default();
    keyhole.member("alice");
    let held = Held::new(&mut keyhole);
    let url = |number: u32| format!("https://api.acme.example/hold/{number}");
    let (verbs, asked) = (component("verbs").display().to_string(), json!([url(1), url(2)]));
    let text = format!(
        "keyhole = 1\nname = \"slow\"\nlimits = {{ timeout = \"100s\" }}\n\
         [[steps]]\nname = \"ask\"\nuses = {verbs:?}\nallow_hosts = [\"api.acme.example\"]\n\
         props = {{ verb = \"ask\", value = {asked} }}\n\
         [[steps]]\nname = \"after\"\nuses = \"http-request\"\nallow_hosts = [\"api.acme.example\"]\nprops = {{ url = {:?} }}\n",
        url(3)
    );
    deploy(&keyhole, "slow", &text);
    let served = Served::on(keyhole, &[]);
    let alice = enter(&browser, &served, "alice", &json!({}));
    let started =
        served.keyhole.call(&["--json", "workflows", "run", "slow", "--no-wait", "--as", "alice"]).ok().json();
    held.is_asked(1);
    alice.open(&format!("/runs/{}", started["run"].as_str().expect("a run")));
    alice.sees("running");
    // What would be gone if the page were loaded again.
    alice.evaluate("window.region = document.querySelector('[role=status]'), 1");
    alice.judge("a run that goes on");
    let line = "200 from https://api.acme.example/hold/1";
    assert!(!alice.text().contains(line), "{}", alice.text());

    held.answer(1);
    alice.sees(line);
    let done = || alice.evaluate("document.querySelector('#step-ask > summary .mark')?.textContent ?? ''");
    assert_eq!(done(), "", "it is held by the second address");
    held.is_asked(2);
    held.answer(2);
    until("the step to be done", || done() == "ok");
    assert_eq!(alice.count("button", Some("Run again")), 0, "the run goes on");
    held.is_asked(3);
    held.answer(3);
    alice.sees_button("Run again");
    let region = "window.region.isConnected && window.region === document.querySelector('[role=status]') && window.region.textContent";
    assert_eq!(alice.evaluate(region), "ok", "what reads aloud has stayed, and says how it ended");
    assert!(!alice.text().contains("Not live any more"));
    assert_eq!(alice.complaints(), [""; 0]);
}

/// Deploys `pause`, which waits for somebody, and then exports, logs and ends as `words` have it. Gives its run, that waits,
/// and where it goes on.
fn waits_for_somebody(served: &Served, words: [&str; 3]) -> (String, String) {
    let verbs = component("verbs").display().to_string();
    // TOML takes JSON's strings.
    let [name, logged, exit] = words.map(|word| json!(word).to_string());
    let step = |name: &str, verb: &str, value: &str| {
        format!("[[steps]]\nname = {name:?}\nuses = {verbs:?}\nprops = {{ verb = {verb:?}, value = {value} }}\n")
    };
    let text = [
        "keyhole = 1\nname = \"pause\"\n".to_owned(),
        step("wait", "suspend", "600000"),
        step("say", "export-as", &format!("{{ key = {name}, value = {logged} }}")),
        step("end", "exit", &exit),
    ];
    deploy(&served.keyhole, "pause", &text.concat());
    let started =
        served.keyhole.call(&["--json", "workflows", "run", "pause", "--no-wait", "--as", "alice"]).ok().json();
    let run = started["run"].as_str().expect("a run").to_owned();
    let urls = || {
        let shown = served.keyhole.call(&["--json", "runs", "show", &run, "--as", "alice"]).ok().json();
        let waits = shown["run"]["status"] == "waiting";
        let step = shown["steps"].as_array()?.first()?.clone();
        waits.then(|| step["exports"]["urls"][0].as_str().map(str::to_owned))?
    };
    until("the run to wait", || urls().is_some());
    let resume = urls().expect("it waits");
    (run, resume)
}

#[test]
fn a_person_lets_a_run_go_on_that_waits_for_them_and_another_sees_it_go_on() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let (run, resume) = waits_for_somebody(&served, ["told", "it was allowed", "all was done"]);
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open(&format!("/runs/{run}"));
    alice.sees("waiting");
    let stranger = browser.person(&served.url, &json!({}));
    assert_eq!(stranger.open(&resume), 200);
    stranger.sees("A workflow waits for you");
    assert_eq!(stranger.count("navigation", None), 0, "it shows just this");
    stranger.judge("a run that waits for somebody");
    stranger.press_button("Go on");
    alice.sees("all was done");
    alice.sees_button("Run again");
    assert_eq!(stranger.open(&resume), 404, "it was called");
}

#[test]
fn markup_in_what_comes_while_a_page_is_open_is_text() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let words = ["evil-export", "evil-logged", "evil-exit"].map(evil);
    let (run, resume) = waits_for_somebody(&served, words.each_ref().map(String::as_str));
    let alice = enter(&browser, &served, "alice", &json!({}));
    let path = format!("/runs/{run}");
    alice.open(&path);
    alice.sees("waiting");
    let calls = format!("fetch({}, {{ method: 'POST' }}).then((answer) => answer.status)", json!(resume));
    assert_eq!(alice.evaluate(&calls), 200);
    alice.sees_button("Run again");
    unharmed(&alice, "what came live");
    let text = alice.evaluate("document.body.textContent");
    // A value of JSON has its quotes escaped.
    for word in [words[0].as_str(), "evil-logged<script>", words[2].as_str()] {
        assert!(text.as_str().is_some_and(|text| text.contains(word)), "no {word} in {text}");
    }
    alice.reload();
    unharmed(&alice, &path);
    assert_eq!(alice.complaints(), [""; 0]);
}

#[test]
fn a_page_that_can_not_follow_its_run_says_so_when_its_session_ends_and_when_there_is_no_place() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let path = format!("/runs/{}", house.waiting);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let visit = || runtime.block_on(Visit::of(&house.served, "alice"));
    let alice = house.alice(&browser, &json!({}));
    alice.open(&path);
    alice.sees("an account to be reconnected");
    assert!(!alice.text().contains("Not live any more"));
    runtime.block_on(visit().post("/sign-out/everywhere", &[]));
    alice.sees("Not live any more; reload the page.");
    assert_eq!(alice.count("alert", None), 1, "and it is read aloud");

    let (visit, events) = (visit(), format!("{path}/events"));
    let mut places = Vec::new();
    loop {
        let place = runtime.block_on(visit.begin(&events));
        match place.status().as_u16() {
            200 => places.push(place),
            429 => break,
            other => panic!("{other}"),
        }
        assert!(places.len() < 2_000, "there is no end of places");
    }
    let alice = house.alice(&browser, &json!({}));
    alice.open(&path);
    alice.sees("Not live any more; reload the page.");
}

#[test]
fn what_says_how_many_were_found_stays_while_a_list_follows_what_is_typed() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    for (path, field, typed, told) in [
        ("/accounts", "Search", "marketing", "1 account"),
        ("/workflows", "Search", "watch", "1 workflow"),
        ("/members", "Search", "mallory", "1 member"),
        ("/runs", "Workflow", "watc", "2 runs"),
    ] {
        alice.open(path);
        alice.evaluate("window.region = document.querySelector('#found'), 1");
        alice.type_in(field, typed);
        alice.sees(told);
        let region =
            "window.region.isConnected && window.region.getAttribute('role') === 'status' && window.region.textContent";
        assert_eq!(alice.evaluate(region), told, "{path}");
    }
}
