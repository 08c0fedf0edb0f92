//! Workflows on a data directory of their own, and a server that runs them.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use keyhole_tests::program::{Ended, Keyhole};
use keyhole_tests::workspace::component;
use serde_json::{Map, Value};

/// What begins each file.
pub const HEAD: &str = "keyhole = 1\nname = \"w\"\n";

/// A step of `verbs` with this prop and value, TOML.
pub fn verb(name: &str, verb: &str, value: &str) -> String {
    let component = component("verbs").display().to_string();
    format!("[[steps]]\nname = {name:?}\nuses = {component:?}\nprops = {{ verb = {verb:?}, value = {value} }}\n")
}

/// Writes the file and deploys it for alice.
pub fn deploy(keyhole: &Keyhole, text: &str) -> Ended {
    let path = file(keyhole, text);
    keyhole.call(&["--json", "workflows", "deploy", path.to_str().unwrap(), "--as", "alice"])
}

/// The file, written.
pub fn file(keyhole: &Keyhole, text: &str) -> PathBuf {
    let path = keyhole.data.path().join("workflow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs the workflow `name` by hand with this event and gives the run.
pub fn run(keyhole: &Keyhole, name: &str, event: &Value) -> Value {
    let flags = keyhole.flags();
    let mut args = vec!["--json", "workflows", "run", name, "--as", "alice", "--event", "-"];
    args.extend(flags.iter().map(String::as_str));
    keyhole.call_with(&args, &event.to_string()).json()
}

/// The run, as `runs show` has it.
pub fn show(keyhole: &Keyhole, run: &str) -> Value {
    keyhole.call(&["--json", "runs", "show", run, "--as", "alice"]).ok().json()
}

/// The runs, as `runs list` has them.
pub fn list(keyhole: &Keyhole, more: &[&str]) -> Vec<Value> {
    let listed = keyhole.call(&[&["--json", "runs", "list", "--as", "alice"], more].concat()).ok().json();
    listed.as_array().unwrap().clone()
}

/// Waits until `look` gives something. Fails after 30 s.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the run is of this status, and gives it.
#[track_caller]
pub fn until_status(keyhole: &Keyhole, run: &str, status: &str) -> Value {
    until(status, || Some(show(keyhole, run)).filter(|shown| shown["run"]["status"] == status))
}

/// A `keyhole serve` that can be killed.
pub struct Serving {
    pub url: String,
    /// Where it tells its metrics, if it does.
    pub metrics: Option<String>,
    child: Child,
}

impl Serving {
    pub fn on(keyhole: &Keyhole) -> Self {
        Self::with(keyhole, &[])
    }

    pub fn with(keyhole: &Keyhole, more: &[&str]) -> Self {
        Self::set(keyhole, more, &[])
    }

    /// With these variables, too.
    pub fn set(keyhole: &Keyhole, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut args = vec!["--json", "serve", "--listen", "127.0.0.1:0"];
        args.extend(more);
        args.extend(keyhole.flags().iter().map(String::as_str));
        let mut child = keyhole.command(&args).envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = serde_json::Deserializer::from_reader(child.stdout.take().unwrap()).into_iter::<Value>();
        let said = said.next().expect("it says where it listens").unwrap();
        let metrics = said["metrics"].as_str().map(str::to_owned);
        Self { url: said["url"].as_str().unwrap().trim_end_matches('/').to_owned(), metrics, child }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM. Gives the exit code and how long it took.
    pub fn stop(self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        self.terminate();
        (self.ended(), began.elapsed())
    }

    /// SIGTERM, without waiting for what comes of it.
    pub fn terminate(&self) {
        std::process::Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap();
    }

    /// Waits until it has ended, and gives its exit code.
    pub fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A data directory with alice in it.
pub fn keyhole() -> Keyhole {
    let keyhole = Keyhole::sharing_code();
    keyhole.member("alice");
    keyhole
}

/// Starts the workflow `name` by hand, and gives the run's id.
pub fn start(keyhole: &Keyhole, name: &str) -> String {
    let started = keyhole.call(&["--json", "workflows", "run", name, "--no-wait", "--as", "alice"]).ok().json();
    started["run"].as_str().unwrap().to_owned()
}

/// A step of `verbs` with a data store.
pub fn stored(name: &str, word: &str, value: &str) -> String {
    verb(name, word, value).replace("props = {", "props = { store = \"kept\",")
}

/// The path of the workflow's HTTP trigger.
pub fn hook(keyhole: &Keyhole, name: &str) -> String {
    let shown = keyhole.call(&["--json", "workflows", "show", name, "--as", "alice"]).ok().json();
    let address = shown["hook"].as_str().expect("an HTTP trigger");
    // With the address of the server, where there is one.
    address[address.find("/hooks/").expect("a hook's path")..].to_owned()
}

/// What the steps of a run returned, by name.
pub fn returned(run: &Value) -> Value {
    let steps = run["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| (step["name"].as_str().unwrap().to_owned(), step["return_value"].clone()))
        .collect::<Map<_, _>>()
        .into()
}
