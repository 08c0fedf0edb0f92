//! The built program on a data directory of its own, as a person would call it.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use keyhole_host_api::members::{Members, Role};
use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::store::{Expect, Store};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Authority, Server};
use crate::workspace;

/// The key that the tests connect with. It must never show up anywhere but at the server.
pub const KEY: &str = "acme_live_9fQ2xT7bLm4ZcV8pRk3WsYhN";

/// The name of one of [`Keyhole::many_members`].
pub fn many_member(number: usize) -> String {
    format!("m{number:05}")
}

/// A data directory, an authority and servers under their production names.
pub struct Keyhole {
    /// A folder of the test's own, with the data directory in it.
    pub data: TempDir,
    /// Whom `--ca-cert` trusts.
    pub authority: Authority,
    flags: Vec<String>,
    apps: PathBuf,
}

impl Default for Keyhole {
    fn default() -> Self {
        Self::within(&std::env::temp_dir())
    }
}

impl Keyhole {
    /// One whose folder is in this one.
    pub fn within(folder: &Path) -> Self {
        let data = tempfile::tempdir_in(folder).expect("a temporary directory");
        let authority = Authority::default();
        let ca = data.path().join("test-ca.pem");
        std::fs::write(&ca, &authority.pem).expect("the CA file is written");
        let flags = vec![
            "--ca-cert".to_owned(),
            ca.display().to_string(),
            "--allow-range".to_owned(),
            "127.0.0.0/8".to_owned(),
        ];
        Self { data, authority, flags, apps: workspace::fixture("fixtures/apps") }
    }
}

/// A master key that is no secret.
const OPEN_MASTER_KEY: &str = "4b6579686f6c652c2069747320746573747327206f70656e206b657921212121";

impl Keyhole {
    /// One that compiles no component that another such did: they have one folder with compiled code, and
    /// one master key, which its key is derived of.
    pub fn sharing_code() -> Self {
        Self::default().with_shared_code()
    }

    /// The same of one that has no data directory yet.
    pub fn with_shared_code(self) -> Self {
        let shared = workspace::target().join("test-code");
        std::fs::create_dir_all(&shared).expect("the folder is made");
        let data = self.data_dir();
        std::fs::DirBuilder::new().mode(0o700).create(&data).expect("the data directory is made");
        let mut key = std::fs::OpenOptions::new();
        let key = key.write(true).create_new(true).mode(0o600).open(data.join("master.key"));
        key.and_then(|mut file| file.write_all(OPEN_MASTER_KEY.as_bytes())).expect("the master key is written");
        let shared = shared.canonicalize().expect("it is there");
        std::os::unix::fs::symlink(shared, data.join("code")).expect("the folder is linked");
        self
    }
}

/// How a call ended.
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {:?}; stderr: {}", self.stdout, self.stderr))
    }

    /// Fails the test unless the exit code is 0.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless it ended with `code` and one error on standard error, which is given.
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let errors = self.stderr.matches("error:").count();
        assert_eq!(errors, 1, "one clear error, not {errors}: {}", self.stderr);
        self.stderr
    }

    /// The error of a `--json` call, which has nothing else on standard error.
    pub fn json_error(&self) -> Value {
        let said: Value = serde_json::from_str(&self.stderr)
            .unwrap_or_else(|error| panic!("{error} in {:?}; stdout: {}", self.stderr, self.stdout));
        said["error"].clone()
    }
}

impl From<Output> for Ended {
    /// Whatever else a test is about: the program never panics, and no signal ends it.
    fn from(output: Output) -> Self {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked at") && !stderr.contains("stack backtrace"), "{stderr}");
        let code = output.status.code().unwrap_or_else(|| panic!("{}: {stderr}", output.status));
        Self { code, stdout, stderr }
    }
}

impl Keyhole {
    /// Leads `host` to `server` in later runs.
    pub fn lead(&mut self, host: &str, server: &Server) {
        self.lead_to(host, server.port);
    }

    /// Leads `host` to a port of loopback in later runs.
    pub fn lead_to(&mut self, host: &str, port: u16) {
        self.flags.extend(["--resolve".to_owned(), format!("{host}:443:127.0.0.1:{port}")]);
    }

    /// Gives it a folder of its own with the test apps in it, to which more can be added.
    pub fn own_apps(&mut self) -> &Path {
        let own = self.data.path().join("own-apps");
        std::fs::create_dir(&own).expect("the folder is made");
        for file in std::fs::read_dir(&self.apps).expect("the test apps").flatten() {
            std::fs::copy(file.path(), own.join(file.file_name())).expect("a test app is copied");
        }
        self.apps = own;
        &self.apps
    }

    /// The program with the data directory and the test apps, no color and no settings of the person's.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.clean(workspace::keyhole());
        command
            .args(["--data-dir".as_ref(), self.data_dir().as_os_str()])
            .args(["--apps".as_ref(), self.apps.as_os_str()])
            .args(args);
        command
    }

    /// Any program with no color, no settings of the person's and nothing to read.
    pub fn clean(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("XDG_CONFIG_HOME", self.data.path().join("config")).env("NO_COLOR", "1").stdin(Stdio::null());
        let set = |name: &str| name.starts_with("KEYHOLE_") || name.starts_with("OTEL_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| set(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
    }

    /// Calls it with these arguments.
    pub fn call(&self, args: &[&str]) -> Ended {
        self.command(args).output().expect("keyhole starts").into()
    }

    /// Calls it with `input` on standard input.
    pub fn call_with(&self, args: &[&str], input: &str) -> Ended {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("keyhole starts");
        // A program that ends without reading closes the pipe, which the caller sees in how it ended.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("keyhole ends").into()
    }

    /// Adds a member.
    pub fn member(&self, name: &str) {
        self.call(&["members", "add", name]).ok();
    }

    /// Has a member be one for ten years: for runs that a test puts into the past.
    pub async fn has_long_been(&self, name: &str) {
        self.alter(&format!("members/{name}"), |record| record["added"] = "2016-01-01T00:00:00Z".into()).await;
    }

    /// Makes the proof that the account is its owner's as old as it is given.
    pub async fn was_proved_before(&self, account: &str, minutes: i64) {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
        self.alter(&format!("accounts/{account}"), |record| record["account"]["proved"] = then.to_string().into())
            .await;
    }

    /// Changes a record in the store.
    async fn alter(&self, key: &str, change: impl FnOnce(&mut Value)) {
        let store = RedbStore::open(&self.data_dir()).expect("the store opens");
        let found = store.get(key).await.expect("the store is read").expect("a record");
        let mut record: Value = serde_json::from_slice(&found.value).expect("JSON");
        change(&mut record);
        let bytes = serde_json::to_vec(&record).expect("JSON");
        store.write(key, Expect::Revision(found.revision), Some(bytes)).await.expect("it is written");
        store.flush().await.expect("it is on disk");
    }

    /// Adds members `m00000`, `m00001` and so on, many at a time.
    pub async fn many_members(&self, count: usize) {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&self.data_dir()).expect("the store opens"));
        let members = Members::new(store);
        let one = |number: usize| members.add(many_member(number).parse().expect("a name"), Some(Role::Member));
        for added in stream::iter((0..count).map(one)).buffer_unordered(1_000).collect::<Vec<_>>().await {
            added.expect("the member is added");
        }
    }

    /// Connects an acme account for `member` and gives its id.
    pub fn connect(&self, member: &str, key: &str) -> String {
        let connected =
            self.call_with(&["--json", "accounts", "connect", "acme", "--as", member, "--stdin", "--no-test"], key);
        connected.ok().json()["id"].as_str().expect("an id").to_owned()
    }

    /// Runs a component with an event and gives `run --json`'s object.
    pub fn run(&self, component: &Path, event: &Value, more: &[&str]) -> Value {
        let ended = self.end_of_run(component, event, more);
        let document = ended.json();
        assert_eq!(ended.code, i32::from(document["status"] != "ok"), "{document:#}");
        document
    }

    /// Runs a component with an event and gives how the program ended.
    pub fn end_of_run(&self, component: &Path, event: &Value, more: &[&str]) -> Ended {
        let component = component.display().to_string();
        let mut args = vec!["--json", "run", component.as_str(), "--event", "-"];
        args.extend(self.flags.iter().map(String::as_str));
        args.extend(more);
        self.call_with(&args, &event.to_string())
    }

    /// The data directory itself; what is beside it in [`Keyhole::data`] is the test's.
    pub fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// The operator's flags that lead to the servers.
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// Every byte under the data directory, for searching.
    pub fn stored_bytes(&self) -> Vec<u8> {
        fn read(dir: &Path, into: &mut Vec<u8>) {
            for entry in std::fs::read_dir(dir).expect("a readable directory").flatten() {
                let path = entry.path();
                if path.is_symlink() {
                    // Compiled code that is shared.
                } else if path.is_dir() {
                    read(&path, into);
                } else {
                    into.extend(std::fs::read(path).expect("a readable file"));
                }
            }
        }
        let mut bytes = Vec::new();
        read(&self.data_dir(), &mut bytes);
        bytes
    }
}
