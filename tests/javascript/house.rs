//! The program with the test's own app definitions, one member, and servers under
//! production names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keyhole_tests::program::{Ended, Keyhole};
use keyhole_tests::server::{Body, Received, Server, json};
use keyhole_tests::workspace;
use serde_json::{Value, json};

/// A file of these tests.
pub fn file(path: &str) -> PathBuf {
    workspace::fixture("javascript").join(path)
}

/// Alice's Keyhole.
pub struct House {
    pub keyhole: Keyhole,
}

impl House {
    pub fn new() -> Self {
        Self::of(Keyhole::sharing_code())
    }

    /// One whose folder is in this one.
    pub fn within(folder: &Path) -> Self {
        Self::of(Keyhole::within(folder).with_shared_code())
    }

    fn of(keyhole: Keyhole) -> Self {
        let house = Self { keyhole };
        house.call(&["members", "add", "alice"]).ok();
        house
    }

    /// A server for `hosts` that answers as `answer` says.
    pub fn serve<F>(&mut self, hosts: &[&str], answer: F) -> Server
    where
        F: Fn(&Received) -> http::Response<Body> + Send + Sync + 'static,
    {
        let server = Server::http(&self.keyhole.authority, hosts, answer);
        for host in hosts {
            self.keyhole.lead(host, &server);
        }
        server
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(workspace::keyhole());
        command
            .args(["--data-dir".as_ref(), self.keyhole.data_dir().as_os_str()])
            .args(["--apps".as_ref(), file("apps").as_os_str()])
            .args(args)
            .env("XDG_CONFIG_HOME", self.keyhole.data.path().join("config"))
            .env_remove("KEYHOLE_MEMBER")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub fn call(&self, args: &[&str]) -> Ended {
        self.command(args).output().expect("keyhole starts").into()
    }

    /// Connects an account with its secret fields, and others as `NAME=VALUE`.
    pub fn connect(&self, app: &str, secret: &str, others: &[&str]) -> String {
        let path = self.keyhole.data.path().join("secret");
        std::fs::write(&path, secret).expect("the secret is written");
        let mut args = vec!["--json", "accounts", "connect", app, "--no-test", "--stdin"];
        for other in others {
            args.extend(["--field", other]);
        }
        let stdin = std::fs::File::open(&path).expect("the secret is there");
        let ended: Ended = self.command(&args).stdin(stdin).output().expect("keyhole starts").into();
        ended.ok().json()["id"].as_str().expect("an id").to_owned()
    }

    /// Builds and runs a source with an event.
    pub fn end_of_run(&self, source: &Path, event: &Value, more: &[&str]) -> Ended {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("event.json");
        std::fs::write(&path, event.to_string()).expect("the event is written");
        let (source, path) = (source.display().to_string(), path.display().to_string());
        let mut args = vec!["--json", "run", source.as_str(), "--event", path.as_str()];
        args.extend(self.keyhole.flags().iter().map(String::as_str));
        args.extend(more);
        self.call(&args)
    }

    /// Builds and runs a source, and gives `run --json`'s object.
    pub fn run(&self, source: &Path, event: &Value, more: &[&str]) -> Value {
        let ended = self.end_of_run(source, event, more);
        assert!(ended.code <= 1 && !ended.stdout.is_empty(), "{}{}", ended.stdout, ended.stderr);
        ended.json()
    }

    /// The same, which must be ok, and gives the return value.
    pub fn value(&self, source: &Path, more: &[&str]) -> Value {
        let run = self.run(source, &json!({}), more);
        assert_eq!(run["status"], "ok", "{run:#}");
        run["return_value"].clone()
    }
}

/// An answer that says what was received.
pub fn echo(request: &Received) -> http::Response<Body> {
    let headers: serde_json::Map<_, _> =
        request.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json(
        200,
        &json!({
            "method": request.method,
            "target": request.target,
            "headers": headers,
            "body": String::from_utf8_lossy(&request.body),
        }),
    )
}

/// Every check of a step, by its name.
pub fn all(found: &Value, expected: &Value) {
    let (Value::Object(found), Value::Object(expected)) = (found, expected) else { panic!("{found}") };
    for (name, value) in expected {
        assert_eq!(found.get(name), Some(value), "{name}");
    }
    assert_eq!(found.len(), expected.len(), "every check is expected");
}
