//! A running `keyhole serve`, and calls to it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use keyhole_tests::program::Keyhole;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// A server on a data directory of its own. It ends with the value.
pub struct Served {
    pub keyhole: Keyhole,
    pub url: String,
    /// Where it tells its metrics, if it does.
    pub metrics: Option<String>,
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
        let metrics = said["metrics"].as_str().map(str::to_owned);
        Self { keyhole, url, metrics, child }
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
        let mut command = Command::new(keyhole_tests::workspace::keyhole());
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

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    /// The problem that it is.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        self
    }
}

/// A client that calls from `127.0.0.x`.
pub fn client_at(x: u8) -> Client {
    // The tests bring the provider that the program brings.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder().no_proxy().local_address(std::net::IpAddr::from([127, 0, 0, x]));
    builder.redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// One call, with `Authorization` as it is given.
pub async fn call(
    client: &Client,
    method: &str,
    url: &str,
    authorization: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = client.request(Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method"), url);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a body") }
}

/// One call of a member's.
pub async fn by(token: &str, method: &str, url: &str, body: Option<&Value>) -> Answer {
    call(&client_at(1), method, url, Some(&format!("Bearer {token}")), body).await
}
