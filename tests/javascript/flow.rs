//! What a step tells the workflow that it is part of: answers, pauses, ends, and which props it needs.
//! One component for all of it, since each takes seconds to build.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use keyhole_tests::program::Ended;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::house::{House, file};

/// What a run needs if `mode` does not say otherwise.
const RECIPIENT: [&str; 2] = ["--prop", "recipient=ada"];
const TO_ADA: &str = "recipient = \"ada\"";

/// The house and the component, built and compiled.
struct Rig {
    house: House,
    component: PathBuf,
}

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    // What is static is not dropped: the next process takes it away.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("javascript");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let house = House::within(&folder);
    let component = house.keyhole.data.path().join("flow.wasm");
    let (source, output) = (file("steps/flow.mjs").display().to_string(), component.display().to_string());
    house.call(&["build", &source, "--output", &output]).ok();
    house.call(&["run", &output, "--configure", "mode"]).ok();
    Rig { house, component }
});

impl Rig {
    fn end_of_run(&self, what: &str, more: &[&str]) -> Ended {
        self.house.end_of_run(&self.component, &json!({"do": what}), more)
    }

    /// What `run --json` says of a run that is ok.
    fn run(&self, what: &str) -> Value {
        let run = self.end_of_run(what, &RECIPIENT).ok().json();
        assert_eq!(run["status"], "ok", "{run:#}");
        run
    }

    /// What `run` shows a person.
    fn shown(&self, what: &str) -> String {
        let event = self.house.keyhole.data.path().join(format!("{what}.json"));
        std::fs::write(&event, json!({"do": what}).to_string()).expect("the event is written");
        let (component, event) = (self.component.display().to_string(), event.display().to_string());
        let args = [&["run", component.as_str(), "--event", event.as_str()], RECIPIENT.as_slice()];
        self.house.call(&args.concat()).ok().stdout
    }

    /// Deploys a workflow of the step, once with each of these props.
    fn deploy(&self, name: &str, steps: &[&str]) {
        let step =
            |(at, props)| format!("[[steps]]\nname = \"s{at}\"\nuses = {:?}\nprops = {{ {props} }}\n", self.component);
        let steps: String = steps.iter().enumerate().map(step).collect();
        let text = format!("keyhole = 1\nname = {name:?}\ntrigger.http = {{ respond = \"workflow\" }}\n{steps}");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("workflow.toml");
        std::fs::write(&path, text).expect("it is written");
        self.house.call(&["workflows", "deploy", &path.display().to_string()]).ok();
    }

    /// Runs a workflow by hand and gives what `--json` says of it.
    fn workflow(&self, name: &str, event: &Value, more: &[&str]) -> Value {
        let event_file = self.house.keyhole.data.path().join(format!("{name}.json"));
        std::fs::write(&event_file, event.to_string()).expect("the event is written");
        let event = event_file.display().to_string();
        self.house.call(&[&["--json", "workflows", "run", name, "--event", &event], more].concat()).json()
    }
}

/// A `keyhole serve`, until it is dropped. One at a time.
struct Serving {
    url: String,
    child: Child,
    _turn: MutexGuard<'static, ()>,
}

impl Serving {
    async fn new(rig: &Rig) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let mut serve = rig.house.command(&["--json", "serve", "--listen", "127.0.0.1:0"]);
        let mut child = serve.stdout(Stdio::piped()).spawn().expect("keyhole starts");
        let mut said = serde_json::Deserializer::from_reader(child.stdout.take().expect("a pipe")).into_iter::<Value>();
        let said = said.next().expect("it says where it listens").expect("JSON");
        let url = said["url"].as_str().expect("an address").trim_end_matches('/').to_owned();
        Self { url, child, _turn: turn }
    }

    /// Calls the workflow's HTTP trigger.
    async fn call(&self, rig: &Rig, name: &str, body: &Value) -> reqwest::Response {
        let shown = rig.house.call(&["--json", "workflows", "show", name]).ok().json();
        let hook = shown["hook"].as_str().expect("an HTTP trigger");
        let hook = format!("{}{}", self.url, &hook[hook.find("/hooks/").expect("a hook's path")..]);
        post(&hook, "application/json", body.to_string()).await
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn post(url: &str, content_type: &str, body: String) -> reqwest::Response {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new().post(url).header("content-type", content_type).body(body);
    request.send().await.expect("an answer")
}

/// Waits until the run is of this status, and gives it. Fails after 30 s.
fn until_status(rig: &Rig, run: &str, status: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let shown = rig.house.call(&["--json", "runs", "show", run]).ok().json();
        if shown["run"]["status"] == status {
            return shown;
        }
        assert!(Instant::now() < deadline, "it did not come to be {status}: {shown:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_step_answers_who_called_the_workflow() {
    let rig = &*RIG;
    let serving = Serving::new(rig).await;
    rig.deploy("answer", &[TO_ADA]);

    // What it would be, and what it is.
    let said = rig.run("respond");
    assert_eq!(said["response"]["status"], 201, "{said:#}");
    assert_eq!(said["response"]["body"], "{\"made\":true}", "{said:#}");
    let answer = serving.call(rig, "answer", &json!({"do": "respond"})).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["x-own"].to_str().unwrap()), (201, "yes"));
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({"made": true}));

    let answer = serving.call(rig, "answer", &json!({"do": "respond_by_prop"})).await;
    let many: Vec<_> = answer.headers().get_all("x-many").iter().filter_map(|value| value.to_str().ok()).collect();
    assert_eq!((answer.status().as_u16(), many), (418, vec!["a", "b"]));
    assert_eq!(answer.headers()["content-type"], "image/x-teapot");
    assert_eq!(answer.bytes().await.expect("a body"), [0, 255].as_slice());
}

#[test]
fn a_run_says_what_its_workflow_would_do_next() {
    let delayed = RIG.run("delay");
    assert_eq!((&delayed["then"], &delayed["return_value"]), (&json!("wait 1.50 s"), &Value::Null), "{delayed:#}");

    let suspended = RIG.run("suspend");
    assert_eq!(suspended["then"], "wait until its resume URL is called, 60.00 s at most", "{suspended:#}");
    assert_eq!(suspended["return_value"], json!(["resume_url", "cancel_url"]));
}

#[test]
fn an_exit_is_one_whatever_the_authors_catch_makes_of_it() {
    for what in ["exit", "exit_and_throw"] {
        let left = RIG.run(what);
        assert_eq!(
            (&left["return_value"], &left["error"], &left["exit"], left.get("then")),
            (&Value::Null, &Value::Null, &json!("enough"), None),
            "{left:#}"
        );
        let shown = RIG.shown(what);
        assert!(shown.contains("ends the workflow\n  enough\n"), "{what}: {shown}");
    }
}

#[tokio::test]
async fn after_an_exit_no_later_step_runs() {
    let rig = &*RIG;
    let _serving = Serving::new(rig).await;
    rig.deploy("exits", &[TO_ADA, TO_ADA]);
    for what in ["exit", "exit_and_throw"] {
        let ended = rig.workflow("exits", &json!({"do": what}), &[]);
        assert_eq!((&ended["run"]["status"], &ended["exit"]), (&json!("ok"), &json!("enough")), "{ended:#}");
        assert_eq!(ended["steps"].as_array().expect("steps").len(), 1, "{ended:#}");
    }
}

#[tokio::test]
async fn a_step_that_asks_is_run_again_and_finds_what_it_left() {
    let rig = &*RIG;
    let serving = Serving::new(rig).await;
    rig.deploy("again", &[TO_ADA]);
    let asked = |times: u32, wait: u32, most: u32| json!({"do": "rerun", "times": times, "wait": wait, "most": most});

    let ended = rig.workflow("again", &asked(2, 20, 5), &[]);
    let found = json!({"runs": 3, "seen": [1, 2], "called": null});
    assert_eq!(ended["steps"][0]["return_value"], found, "{ended:#}");

    let failed = rig.workflow("again", &asked(9, 0, 2), &[]);
    let message = failed["run"]["error"]["message"].as_str().expect("an error");
    assert!(message.contains("more often than the 2 times"), "no more often than it said: {failed:#}");

    // At once, when it is called.
    let started = rig.workflow("again", &asked(1, 600_000, 5), &["--no-wait"]);
    let run = started["run"].as_str().expect("a run");
    until_status(rig, run, "waiting");
    let url = rig.house.call(&["--json", "data", "get", "of-the-flow", "resume_url"]).ok().json();
    let url = url["value"].as_str().expect("a URL").to_owned();
    assert!(url.starts_with(&serving.url), "{url}");
    assert_eq!(post(&url, "application/json", r#"{"approved":true}"#.to_owned()).await.status(), 200);
    let ended = until_status(rig, run, "ok");
    let found = json!({"runs": 2, "seen": [1], "called": {"approved": true}});
    assert_eq!(ended["steps"][0]["return_value"], found, "{ended:#}");
}

#[tokio::test]
async fn a_prop_that_additional_props_hides_need_not_be_filled_in() {
    let rig = &*RIG;
    let run = rig.end_of_run("address", &["--prop", "mode=auto"]).ok().json();
    assert_eq!(run["return_value"], "whoever is there", "{run:#}");
    let refused = rig.end_of_run("address", &["--prop", "mode=by hand"]).json_error();
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("'recipient'")), "{refused:#}");
    assert_eq!(rig.run("address")["return_value"], "ada");

    let _serving = Serving::new(rig).await;
    rig.deploy("hides", &["mode = \"auto\""]);
    let ended = rig.workflow("hides", &json!({"do": "address"}), &[]);
    assert_eq!(ended["steps"][0]["return_value"], "whoever is there", "{ended:#}");
    rig.deploy("hides", &["mode = \"by hand\""]);
    let failed = rig.workflow("hides", &json!({"do": "address"}), &[]);
    let message = failed["run"]["error"]["message"].as_str().expect("an error");
    assert!(message.contains("'recipient'"), "{failed:#}");
}

#[tokio::test]
async fn additional_props_are_asked_for_once_and_not_in_every_run() {
    let rig = &*RIG;
    let serving = Serving::new(rig).await;
    let asked = async |props: &str| {
        rig.deploy("asks", &[props]);
        let answer = serving.call(rig, "asks", &json!({"do": "asked"})).await.json::<Value>().await.expect("JSON");
        answer["asked"].as_u64().unwrap_or_else(|| panic!("{answer:#}"))
    };
    // A store of this test's own counts.
    let auto = "mode = \"auto\", store = \"asks\"";
    assert_eq!(asked(auto).await, 1);
    assert_eq!(asked(auto).await, 1, "nothing that they depend on has changed");
    // What was kept does not refuse: the step is asked again, and then it is refused.
    rig.deploy("asks", &[&format!("{auto}, else = 1")]);
    assert_eq!(serving.call(rig, "asks", &json!({"do": "asked"})).await.status(), 500);
    assert_eq!(asked(auto).await, 2);
    // What an added prop is decides on others, too.
    let (first, second) = (format!("{auto}, table = \"a\""), format!("{auto}, table = \"b\""));
    assert_eq!(asked(&first).await, 3);
    assert_eq!(asked(&first).await, 3);
    assert_eq!(asked(&second).await, 4);
}

#[test]
fn an_entry_of_a_data_store_is_given_a_time_to_live_and_keeps_its_value() {
    let value = RIG.run("ttl")["return_value"].clone();
    assert!((50_000..=60_000).contains(&value["left"].as_i64().expect("milliseconds")), "{value:#}");
    let expected = json!({
        "found": [true, {"a": 1}],
        "left": value["left"],
        "forever": [true, {"a": 1}, true],
        "missing": [false, false],
        "refused": "ttl takes a number of seconds, not -1",
    });
    assert_eq!(value, expected);
}
