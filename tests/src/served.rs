//! A running `keyhole serve`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::program::Keyhole;
use crate::workspace;

/// A server on a data directory of its own. It ends with the value.
pub struct Served {
    /// The data directory, which commands work on beside the server.
    pub keyhole: Keyhole,
    /// Where it listens, without a slash at the end.
    pub url: String,
    /// Where it tells its metrics, if it does.
    pub metrics: Option<String>,
    /// Where the first member is made, while there is none.
    pub set_up: Option<String>,
    child: Child,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Serves the data directory of `keyhole` with the flags that lead to its test servers.
    pub fn on(keyhole: Keyhole, more: &[&str]) -> Self {
        let mut args = vec!["--json", "serve"];
        if !more.contains(&"--listen") {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        args.extend(keyhole.flags().iter().map(String::as_str));
        args.extend(more);
        let mut child = keyhole.command(&args).stdout(Stdio::piped()).spawn().expect("keyhole starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut text = String::new();
        for line in stdout.lines() {
            text += &line.expect("a line");
            if text.ends_with('}') {
                break;
            }
        }
        let said: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
        let url = said["url"].as_str().expect("a URL").trim_end_matches('/').to_owned();
        let one = |name: &str| said[name].as_str().map(str::to_owned);
        Self { url, metrics: one("metrics"), set_up: one("set_up"), keyhole, child }
    }

    /// The same with alice, an admin, bob and mallory.
    pub fn with_members() -> Self {
        let keyhole = Keyhole::default();
        for name in ["alice", "bob", "mallory"] {
            keyhole.member(name);
        }
        Self::on(keyhole, &[])
    }

    /// A new token of `member`'s, and its id, made on the data directory beside the server.
    pub fn token(&self, member: &str, more: &[&str]) -> (String, String) {
        let made = self.keyhole.call(&[&["--json", "tokens", "create", "--as", member][..], more].concat()).ok().json();
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        (text("token"), text("id"))
    }

    /// The program as a client of the server.
    pub fn remotely(&self, token: &str, args: &[&str]) -> Command {
        let mut command = Command::new(workspace::keyhole());
        command
            .args(args)
            .env("KEYHOLE_URL", &self.url)
            .env("KEYHOLE_TOKEN", token)
            // No data directory that it could use instead.
            .env("KEYHOLE_DATA_DIR", "/dev/null/nowhere")
            .env("XDG_CONFIG_HOME", self.keyhole.data.path().join("config"))
            .env_remove("KEYHOLE_MEMBER")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Asks it to stop, and gives its exit code and how long it took.
    pub fn stop(mut self) -> (i32, std::time::Duration) {
        let began = std::time::Instant::now();
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        let status = self.child.wait().expect("keyhole ends");
        (status.code().expect("no signal ended it"), began.elapsed())
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}
