//! `keyhole dev`: builds and deploys with each change, runs the event, and shows what comes of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use keyhole_tests::program::Keyhole;
use serde_json::{Value, json};

use crate::rig::*;

struct Dev {
    child: Child,
    said: Receiver<Value>,
    errors: Receiver<String>,
}

impl Dev {
    fn on(keyhole: &Keyhole, args: &[&str]) -> Self {
        let args = [&["--json", "dev"], args, &["--as", "alice"]].concat();
        let mut child = keyhole.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (say, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let _ = say.send(serde_json::from_str(&line).unwrap());
            }
        });
        let (say, wrong) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        Self { child, said, errors: wrong }
    }

    /// The next thing that it says which has this member.
    #[track_caller]
    fn next(&self, member: &str) -> Value {
        self.within(Duration::from_secs(30), member)
    }

    #[track_caller]
    fn within(&self, time: Duration, member: &str) -> Value {
        loop {
            let said = self.said.recv_timeout(time).expect(member);
            if let Some(found) = said.get(member) {
                return found.clone();
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn each_change_is_deployed_and_run_and_what_is_wrong_is_said_and_waited_for() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let keyhole = keyhole();
    let trigger = "trigger.http = {}\n";
    let text = |value: &str| format!("{HEAD}{trigger}{}", verb("a", "return", value));
    let path = file(&keyhole, &text("\"one {{ event.n }}\""));
    let event = keyhole.data.path().join("event.json");
    std::fs::write(&event, "{\"n\": 7}").unwrap();
    let dev = Dev::on(&keyhole, &[path.to_str().unwrap(), "--event", event.to_str().unwrap()]);
    let deployed = dev.next("deployed");
    assert_eq!(deployed["version"], 1, "{deployed:#}");
    assert_eq!(dev.next("status"), "begun");
    assert_eq!(dev.next("line")["text"], "return \"one 7\"");
    assert_eq!(dev.next("status"), "ok");

    // A slip of the pen: it is said where, what was deployed stays, and its trigger answers.
    file(&keyhole, &text("\"{{ event.n\""));
    let wrong: String = std::iter::from_fn(|| dev.errors.recv_timeout(Duration::from_secs(3)).ok()).collect();
    assert!(wrong.contains("workflow.toml:"), "{wrong}");
    let hook = deployed["hook"].as_str().unwrap();
    assert_eq!(reqwest::Client::new().post(hook).json(&json!({})).send().await.unwrap().status(), 202);
    assert_eq!(dev.next("run")["cause"], "http");
    // This event has no n.
    assert_eq!(dev.next("status"), "failed");

    file(&keyhole, &text("\"two {{ event.n }}\""));
    assert_eq!(dev.next("deployed")["version"], 2);
    assert_eq!(dev.next("line")["text"], "return \"two 7\"");
    let mut dev = dev;
    std::process::Command::new("kill").args(["-INT", &dev.child.id().to_string()]).status().unwrap();
    assert_eq!(dev.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_change_of_a_steps_source_is_built_deployed_and_run() {
    // The tools are fetched once, and a component of JavaScript takes seconds to make.
    const BUILT: Duration = Duration::from_secs(300);
    let keyhole = keyhole();
    let folder = keyhole.data.path().join("workflow");
    std::fs::create_dir_all(folder.join("lib")).unwrap();
    let path = folder.join("workflow.toml");
    std::fs::write(&path, format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"step.mjs\"\n")).unwrap();
    std::fs::write(
        folder.join("step.mjs"),
        "import { word } from './lib/word.mjs';\nexport default { run() { console.log(word); } };\n",
    )
    .unwrap();
    let word =
        |word: &str| std::fs::write(folder.join("lib/word.mjs"), format!("export const word = '{word}';\n")).unwrap();
    word("one");
    let event = keyhole.data.path().join("event.json");
    std::fs::write(&event, "{}").unwrap();
    let dev = Dev::on(&keyhole, &[path.to_str().unwrap(), "--event", event.to_str().unwrap()]);
    assert_eq!(dev.within(BUILT, "deployed")["version"], 1);
    assert_eq!(dev.next("line")["text"], "one");
    // Not the file that the workflow names, but one that it imports.
    word("another");
    assert_eq!(dev.within(BUILT, "deployed")["version"], 2);
    assert_eq!(dev.next("line")["text"], "another");
}
