//! One house for all tests of this folder: the component `steps/api`, the accounts that it is
//! linked to, and servers that play their services.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard};

use keyhole_tests::program::{Ended, Keyhole};
use keyhole_tests::server::{Body, Received, Server, answer, json};
use keyhole_tests::workspace;
use serde_json::{Value, json};

/// What every secret of these tests begins with.
pub const SECRET: &str = "s3cretK3yOfTheTests0123456789";

/// Hosts of the test's app definitions, which tests/javascript has too.
const HOSTS: [&str; 3] = ["api.bearer-crm.example", "api.basic-pay.example", "api.query-maps.example"];

/// A host that takes requests and never answers.
pub const SILENT: &str = "api.silent.example";

/// A file of these tests.
pub fn file(path: &str) -> PathBuf {
    workspace::fixture("python").join(path)
}

/// Alice's Keyhole.
pub struct House {
    pub keyhole: Keyhole,
}

impl House {
    pub fn new() -> Self {
        Self::of(Keyhole::sharing_code())
    }

    fn of(keyhole: Keyhole) -> Self {
        let house = Self { keyhole };
        house.call(&["members", "add", "alice"]).ok();
        house
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(workspace::keyhole());
        command
            .args(["--data-dir".as_ref(), self.keyhole.data_dir().as_os_str()])
            .args(["--apps".as_ref(), workspace::fixture("javascript/apps").as_os_str()])
            .args(args)
            .env("XDG_CONFIG_HOME", self.keyhole.data.path().join("config"))
            .env_remove("KEYHOLE_MEMBER")
            .env("NO_COLOR", "1")
            // What no step may see.
            .env("MARK_OF_THE_MACHINE", SECRET)
            .stdin(Stdio::null());
        command
    }

    pub fn call(&self, args: &[&str]) -> Ended {
        self.command(args).output().expect("keyhole starts").into()
    }

    /// Connects an account with its secret, and other fields as `NAME=VALUE`.
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

    /// Runs a component or a source with an event, and gives `run --json`'s object.
    pub fn run(&self, source: &str, event: &Value, more: &[&str]) -> Value {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("event.json");
        std::fs::write(&path, event.to_string()).expect("the event is written");
        let path = path.display().to_string();
        let mut args = vec!["--json", "run", source, "--event", path.as_str()];
        args.extend(self.keyhole.flags().iter().map(String::as_str));
        args.extend(more);
        let ended = self.call(&args);
        assert!(ended.code <= 1 && !ended.stdout.is_empty(), "{}{}", ended.stdout, ended.stderr);
        ended.json()
    }
}

/// The house, its servers and the component.
pub struct Rig {
    pub house: House,
    pub component: String,
    pub server: Server,
    links: Vec<String>,
    _silent: Server,
}

static RIG: LazyLock<Rig> = LazyLock::new(Rig::new);
/// A build takes both cores: one at a time.
static BUILDS: Mutex<()> = Mutex::new(());

/// The one rig of this process.
pub fn rig() -> &'static Rig {
    &RIG
}

/// The turn to build.
pub fn turn() -> MutexGuard<'static, ()> {
    BUILDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Rig {
    fn new() -> Self {
        // What is static is not dropped: the next process takes it away.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut house = House::of(Keyhole::within(&folder));
        let silent = Server::raw(&house.keyhole.authority, &[SILENT], |stream| async move {
            let _kept = stream;
            std::future::pending().await
        });
        house.keyhole.lead(SILENT, &silent);
        let server = Server::http(&house.keyhole.authority, &HOSTS, service);
        for host in HOSTS {
            house.keyhole.lead(host, &server);
        }
        let links = vec![
            format!("bearer={}", house.connect("bearer_crm", &format!("{SECRET}Bearer"), &[])),
            format!("basic={}", house.connect("basic_pay", &format!("{SECRET}Basic"), &["account=acct"])),
            format!("maps={}", house.connect("query_maps", &format!("{SECRET}Maps"), &[])),
        ];
        let component = house.keyhole.data.path().join("api.wasm").display().to_string();
        let source = file("steps/api").display().to_string();
        {
            let _turn = turn();
            house.call(&["build", &source, "--output", &component]).ok();
        }
        // Compiled once, rather than by each test that comes first.
        let slept = house.run(&component, &json!({"do": "timed"}), &[]);
        assert_eq!(slept["return_value"], true, "{slept:#}");
        Self { house, component, server, links, _silent: silent }
    }

    /// Runs the component with `event["do"]` and all accounts linked.
    pub fn run(&self, what: &str, event: Value, more: &[&str]) -> Value {
        let mut event = event;
        event["do"] = what.into();
        let links = self.links.iter().flat_map(|link| ["--link", link.as_str()]);
        let more: Vec<&str> = links.chain(more.iter().copied()).collect();
        self.house.run(&self.component, &event, &more)
    }

    /// The same, which must be ok, and gives the return value.
    pub fn value(&self, what: &str, more: &[&str]) -> Value {
        let run = self.run(what, json!({}), more);
        assert_eq!(run["status"], "ok", "{run:#}");
        run["return_value"].clone()
    }
}

/// A `keyhole serve`, until it is dropped.
pub struct Serving {
    /// The address of the workflow's trigger.
    pub hook: String,
    child: Child,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rig {
    /// Deploys the workflow `name`, which has an HTTP trigger, and serves it.
    pub fn serve(&self, name: &str, workflow: &str) -> Serving {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("workflow.toml");
        std::fs::write(&path, workflow).expect("it is written");
        self.house.call(&["workflows", "deploy", &path.display().to_string()]).ok();
        let shown = self.house.call(&["--json", "workflows", "show", name]).ok().json();
        let mut serve = self.house.command(&["--json", "serve", "--listen", "127.0.0.1:0"]);
        let mut child = serve.stdout(Stdio::piped()).spawn().expect("keyhole starts");
        let mut said = serde_json::Deserializer::from_reader(child.stdout.take().expect("a pipe")).into_iter::<Value>();
        let said = said.next().expect("it says where it listens").expect("JSON");
        let url = said["url"].as_str().expect("an address").trim_end_matches('/');
        Serving { hook: format!("{url}{}", shown["hook"].as_str().expect("an HTTP trigger")), child }
    }
}

/// An answer that says what was received.
fn echo(request: &Received) -> http::Response<Body> {
    let headers: serde_json::Map<_, _> =
        request.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let body = String::from_utf8_lossy(&request.body);
    json(200, &json!({"method": request.method, "target": request.target, "headers": headers, "body": body}))
}

fn with(mut response: http::Response<Body>, name: &'static str, value: &'static str) -> http::Response<Body> {
    response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    response
}

fn service(request: &Received) -> http::Response<Body> {
    match request.target.split('?').next() {
        Some("/long") => answer(200, "application/octet-stream", vec![b'x'; 3_000_000]),
        Some("/missing") => json(404, &json!({"error": "missing"})),
        Some("/busy") => json(503, &json!({"error": "busy"})),
        Some("/redirect") => with(answer(302, "text/plain", ""), "location", "/echo?redirected"),
        Some("/cookie") => with(answer(200, "text/plain", ""), "set-cookie", "seen=yes; Secure"),
        Some("/empty") => answer(204, "text/plain", ""),
        // RFC 1952: "packed text", compressed.
        Some("/packed") => with(answer(200, "text/plain", PACKED), "content-encoding", "gzip"),
        _ => echo(request),
    }
}

const PACKED: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 43, 72, 76, 206, 78, 77, 81, 40, 73, 173, 40, 1, 0, 12, 244, 10, 210, 11, 0, 0, 0,
];
