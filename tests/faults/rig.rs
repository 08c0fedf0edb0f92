//! A workspace that has something to lose, and how to see that it is all there.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyhole_tests::program::{Ended, KEY, Keyhole};
use keyhole_tests::server::{Server, acme};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

/// Alice's accounts, one of which leads to a server that takes only the real key.
pub struct Workspace {
    pub keyhole: Keyhole,
    pub accounts: Vec<String>,
    server: Server,
}

impl Workspace {
    pub fn new() -> Self {
        Self::on(Keyhole::default())
    }

    /// In a data directory that is perhaps not an ordinary one.
    pub fn on(mut keyhole: Keyhole) -> Self {
        let server = acme(&keyhole.authority, KEY);
        keyhole.lead("api.acme.example", &server);
        keyhole.member("alice");
        let accounts = (0..3).map(|_| keyhole.connect("alice", KEY)).collect();
        Self { keyhole, accounts, server }
    }

    pub fn data(&self) -> PathBuf {
        self.keyhole.data_dir()
    }

    pub fn store(&self) -> PathBuf {
        self.data().join("keyhole.redb")
    }

    /// How many requests have arrived at the service.
    pub fn received(&self) -> usize {
        self.server.received().len()
    }

    /// Every account is there, and its key is the one that it was.
    #[track_caller]
    pub fn is_whole(&self) {
        let listed = self.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
        let mut listed: Vec<&str> =
            listed.as_array().unwrap().iter().map(|account| account["id"].as_str().unwrap()).collect();
        let mut accounts: Vec<&str> = self.accounts.iter().map(String::as_str).collect();
        listed.sort_unstable();
        accounts.sort_unstable();
        assert_eq!(listed, accounts);
        let before = self.received();
        for account in &self.accounts {
            let run = self.run(account);
            assert_eq!(run["status"], "ok", "{run:#}");
            assert_eq!(run["return_value"]["answer"]["id"], "u-1");
        }
        assert_eq!(self.received(), before + 2 * self.accounts.len());
    }

    /// Alice's run of a step that uses the account.
    pub fn run(&self, account: &str) -> Value {
        self.keyhole.run(&component("echo-key"), &json!({}), &["--as", "alice", "--link", &format!("acme={account}")])
    }

    /// The commands that a person would try, one of each kind: reading, writing and running. Each
    /// ends with exit code 1 and one error, which has all of `parts`, and so does its JSON form.
    #[track_caller]
    pub fn all_fail(&self, with: impl Fn(&mut Command), parts: &[&str]) {
        let step = component("echo-key").display().to_string();
        let link = format!("acme={}", self.accounts[0]);
        let commands: [&[&str]; 4] = [
            &["accounts", "list", "--as", "alice"],
            &["accounts", "connect", "acme", "--as", "alice", "--stdin", "--no-test"],
            &["members", "add", "bob"],
            &["run", &step, "--as", "alice", "--link", &link],
        ];
        for args in commands {
            fails(self.keyhole.command(args), &with, parts);
        }
    }
}

/// The command, in both its forms, ends with exit code 1 and one error, which has all of `parts`.
#[track_caller]
pub fn fails(mut command: Command, with: impl Fn(&mut Command), parts: &[&str]) {
    with(&mut command);
    let said = Ended::from(command.output().unwrap()).failed(1);
    let shown = format!("{:?}", command.get_args().collect::<Vec<_>>());
    for part in parts {
        assert!(said.contains(part), "{shown}: {part:?} is not in {said}");
    }
    assert!(said.lines().count() <= 4, "{shown}: one clear error, not {said}");
    let ended = Ended::from(command.arg("--json").output().unwrap());
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{shown}");
    let message = ended.json_error()["message"].to_string();
    assert!(parts.iter().any(|part| message.contains(part)), "{shown}: {message}");
}

/// Runs the test `part` of this program in a mount namespace of its own, where it may mount things.
/// What is mounted goes with it.
pub fn in_own_mounts(part: &str) {
    let mut unshare = Command::new("unshare");
    // Root needs no user namespace, and may lack the right to make one.
    let root = is_root();
    unshare.arg(if root { "-m" } else { "-rm" }).arg(std::env::current_exe().unwrap());
    unshare.args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"]).env(PART, part);
    let output = unshare.output().expect("`unshare` (util-linux) must be there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(PLAYED),
        "{part} failed, or mounting is not allowed here:\n{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Set where a part is played for a test, rather than by someone who asks for ignored tests.
const PART: &str = "KEYHOLE_TEST_PART";
const PLAYED: &str = "the part was played to its end";

/// Whether this process is there to play a part.
pub fn plays_a_part() -> bool {
    std::env::var_os(PART).is_some()
}

/// Said at the end of a part.
pub fn played() {
    println!("{PLAYED}");
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A small disk in memory at `at`.
pub fn mount_disk(at: &Path, kib: usize) {
    std::fs::create_dir_all(at).unwrap();
    mount(&["-t", "tmpfs", "-o", &format!("size={kib}k,mode=0700"), "keyhole-test", at.to_str().unwrap()]);
}

/// Remounts the disk at `at`, `ro` or `rw`.
pub fn remount(at: &Path, how: &str) {
    mount(&["-o", &format!("remount,{how}"), at.to_str().unwrap()]);
}

fn mount(args: &[&str]) {
    let status = Command::new("mount").args(args).status().unwrap();
    assert!(status.success(), "mount {args:?}");
}

/// Has a command run as nobody, who is not root and owns nothing.
pub fn as_nobody(command: &mut Command) {
    command.uid(65534).gid(65534).current_dir("/");
}
