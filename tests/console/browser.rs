//! People with browsers: contexts of one Chromium, which `tests/browser/console.mjs` drives for all tests at once.
//! A page's controls are found as a person finds them, by what they are and what they say; whatever is asked for is
//! waited for.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use keyhole_tests::workspace::{chromium, root};
use serde_json::{Value, json};

use crate::secrets;

/// Longer than the driver itself waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

type Waiting = Arc<Mutex<HashMap<u64, Sender<Value>>>>;

/// A Chromium.
pub struct Browser {
    to: Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
    driver: Child,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its Chromium goes with it.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// The one that the tests share. None where there is no Chromium: it was said that the test is skipped.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: OnceLock<Option<Arc<Browser>>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::leading(&[]));
        if shared.is_none() {
            chromium();
        }
        shared.clone()
    }

    /// One of a test's own, which finds each name at a port of loopback.
    pub fn leading(hosts: &[(&str, u16)]) -> Option<Arc<Self>> {
        let program = chromium()?;
        let rules = hosts.iter().map(|(host, port)| format!("MAP {host}:443 127.0.0.1:{port}"));
        // Nothing else is anywhere: what a page of another's loads from elsewhere does not come.
        let rules: Vec<String> =
            rules.chain(["MAP * ~NOTFOUND".into(), "EXCLUDE 127.0.0.1".into(), "EXCLUDE localhost".into()]).collect();
        let mut driver = Command::new("node")
            .arg("console.mjs")
            .current_dir(root().join("tests/browser"))
            .env("CHROMIUM", program)
            .env("HOSTS", rules.join(", "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed");
        let from = BufReader::new(driver.stdout.take().expect("a pipe"));
        let to = Mutex::new(driver.stdin.take().expect("a pipe"));
        let waiting = Waiting::default();
        let answered = waiting.clone();
        std::thread::spawn(move || {
            for line in from.lines().map_while(Result::ok) {
                let answer: Value = serde_json::from_str(&line).expect("the driver speaks JSON");
                let id = answer["id"].as_u64().expect("an id");
                if let Some(asked) = answered.lock().expect("no panic with it held").remove(&id) {
                    let _ = asked.send(answer);
                }
            }
            // Whoever waits need not wait any longer.
            answered.lock().expect("no panic with it held").clear();
        });
        Some(Arc::new(Self { to, waiting, next: AtomicU64::new(0), driver }))
    }

    fn ask(&self, call: &mut Value) -> Receiver<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        call["id"] = id.into();
        let (asked, answer) = channel();
        self.waiting.lock().expect("no panic with it held").insert(id, asked);
        writeln!(self.to.lock().expect("no panic with it held"), "{call}")
            .expect("the driver listens; is npm ci done?");
        answer
    }

    #[track_caller]
    fn call(&self, mut call: Value) -> Value {
        let answer = self.ask(&mut call).recv_timeout(PATIENCE);
        let mut answer = answer.unwrap_or_else(|error| panic!("the driver of the browser: {error} for {call}"));
        assert!(answer["error"].is_null(), "{call}: {}", answer["error"].as_str().unwrap_or_default());
        answer["answer"].take()
    }

    /// A person at the server `url`, whose browser has nothing of others'. `options` are playwright's.
    #[track_caller]
    pub fn person(self: &Arc<Self>, url: &str, options: &Value) -> Page {
        let opened = self.call(json!({"do": "open", "options": options}));
        Page { browser: self.clone(), name: opened["page"].clone(), url: url.to_owned() }
    }
}

/// A window of a person's browser. Once it is closed, nothing that the browser got or keeps may be a secret of the tests, a
/// placeholder or a provider's token.
pub struct Page {
    browser: Arc<Browser>,
    name: Value,
    url: String,
}

/// What the browser was answered.
pub struct Answered {
    pub url: String,
    pub status: u16,
    pub headers: Value,
    pub body: String,
}

impl Page {
    #[track_caller]
    fn call(&self, what: &str, mut call: Value) -> Value {
        call["do"] = what.into();
        call["page"] = self.name.clone();
        self.browser.call(call)
    }

    /// Opens a page of the server, and gives its status.
    #[track_caller]
    pub fn open(&self, path: &str) -> u64 {
        let at = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.call("goto", json!({"url": at}))["status"].as_u64().unwrap_or_default()
    }

    #[track_caller]
    pub fn reload(&self) {
        self.call("reload", json!({}));
    }

    #[track_caller]
    pub fn press_button(&self, name: &str) {
        self.call("click", json!({"role": "button", "name": name}));
    }

    #[track_caller]
    pub fn follow(&self, name: &str) {
        self.call("click", json!({"role": "link", "name": name}));
    }

    /// Clicks what is labelled so.
    #[track_caller]
    pub fn click_label(&self, label: &str) {
        self.call("click", json!({"label": label}));
    }

    /// Clicks what says this.
    #[track_caller]
    pub fn click_text(&self, says: &str) {
        self.call("click", json!({"says": says}));
    }

    #[track_caller]
    pub fn fill(&self, label: &str, text: &str) {
        self.call("fill", json!({"label": label, "text": text}));
    }

    /// Fills in a field of another's page, which need not say what it is for.
    #[track_caller]
    pub fn fill_at(&self, css: &str, text: &str) {
        self.call("fill", json!({"css": css, "text": text}));
    }

    /// Types letter by letter.
    #[track_caller]
    pub fn type_in(&self, label: &str, text: &str) {
        self.call("type", json!({"label": label, "text": text}));
    }

    /// Chooses a file with this text.
    #[track_caller]
    pub fn attach(&self, label: &str, name: &str, text: &str) {
        self.call("attach", json!({"label": label, "name": name, "text": text}));
    }

    #[track_caller]
    pub fn select(&self, label: &str, option: &str) {
        self.call("select", json!({"label": label, "text": option}));
    }

    /// Chooses the one of several whose name has this text.
    #[track_caller]
    pub fn choose(&self, name: &str) {
        self.call("check", json!({"role": "radio", "name": name}));
    }

    #[track_caller]
    pub fn tick(&self, name: &str) {
        self.call("check", json!({"role": "checkbox", "name": name}));
    }

    #[track_caller]
    pub fn is_chosen(&self, role: &str, name: &str) -> bool {
        self.call("checked", json!({"role": role, "name": name})) == true
    }

    /// What is in a field.
    #[track_caller]
    pub fn value(&self, label: &str) -> String {
        self.call("value", json!({"label": label})).as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn press(&self, key: &str) {
        self.call("press", json!({"key": key}));
    }

    /// How many of this role, with this name if there is one, there are now.
    #[track_caller]
    pub fn count(&self, role: &str, name: Option<&str>) -> u64 {
        let mut asked = json!({"role": role});
        if let Some(name) = name {
            asked["name"] = name.into();
        }
        self.call("count", asked).as_u64().unwrap_or_default()
    }

    /// Waits until the text can be seen.
    #[track_caller]
    pub fn sees(&self, text: &str) {
        self.call("sees", json!({"text": text}));
    }

    /// Waits until there is such a button.
    #[track_caller]
    pub fn sees_button(&self, name: &str) {
        self.call("sees", json!({"role": "button", "name": name}));
    }

    /// Waits until the text can't be seen.
    #[track_caller]
    pub fn sees_no_more(&self, text: &str) {
        self.call("gone", json!({"text": text}));
    }

    /// Waits until its address matches, and gives it.
    #[track_caller]
    pub fn arrives(&self, pattern: &str) -> String {
        self.call("arrives", json!({"pattern": pattern})).as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn address(&self) -> String {
        self.call("address", json!({})).as_str().unwrap_or_default().to_owned()
    }

    /// All that can be read on it.
    #[track_caller]
    pub fn text(&self) -> String {
        self.call("text", json!({})).as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn evaluate(&self, script: &str) -> Value {
        self.call("evaluate", json!({"script": script}))
    }

    #[track_caller]
    pub fn cookies(&self) -> Vec<Value> {
        self.call("cookies", json!({})).as_array().cloned().unwrap_or_default()
    }

    /// Puts cookies into the browser.
    #[track_caller]
    pub fn give(&self, cookies: &[Value]) {
        self.call("give", json!({"cookies": cookies}));
    }

    /// Gives the page a device that keeps passkeys.
    #[track_caller]
    pub fn device(&self) {
        self.call("device", json!({}));
    }

    /// What scripts keep in the browser.
    #[track_caller]
    pub fn storage(&self) -> Value {
        self.call("storage", json!({}))
    }

    /// Everything that the person's browser was answered so far.
    #[track_caller]
    pub fn answers(&self) -> Vec<Answered> {
        let answers = self.call("answers", json!({}));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let one = |answer: &Value| Answered {
            url: text(&answer["url"]),
            status: answer["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or_default(),
            headers: answer["headers"].clone(),
            body: text(&answer["body"]),
        };
        answers.as_array().expect("a list").iter().map(one).collect()
    }

    /// What the browser complained about: scripts that failed, and what a policy refused.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        strings(&self.call("complaints", json!({})))
    }

    #[track_caller]
    pub fn size(&self, width: u32, scheme: &str) {
        self.call("size", json!({"width": width, "height": 900, "scheme": scheme}));
    }

    /// What axe-core finds by these rules; by all of them if there are none.
    #[track_caller]
    pub fn violations(&self, rules: &[&str]) -> Vec<Value> {
        let asked = if rules.is_empty() { json!({}) } else { json!({"rules": rules}) };
        self.call("audit", asked).as_array().cloned().unwrap_or_default()
    }

    /// Writes what of the page fits the window to `path`, which gets its ending. Gives the file's name.
    #[track_caller]
    pub fn screenshot(&self, path: &std::path::Path) -> String {
        self.call("screenshot", json!({"path": path})).as_str().unwrap_or_default().to_owned()
    }

    /// What makes it scroll sideways.
    #[track_caller]
    pub fn overflow(&self) -> Vec<String> {
        strings(&self.call("overflow", json!({})))
    }

    /// What Tab does not get to, or gets to without showing it.
    #[track_caller]
    pub fn unreached(&self) -> Vec<String> {
        strings(&self.call("unreached", json!({})))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let sought = json!({"texts": secrets::all(), "pattern": secrets::patterns()});
        assert_eq!(strings(&self.call("close", sought)), [""; 0]);
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}
