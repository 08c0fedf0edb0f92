//! `keyhole demo`, as somebody meets it who has just cloned this: all of the main job on one screen, each line of which
//! was checked.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keyhole_tests::program::{Ended, Keyhole};
use keyhole_tests::workspace;
use serde_json::{Value, json};

/// What every placeholder has in it.
const MARKER: &str = keyhole_host_api::broker::MARKER;

/// How long a second demo may take to its first line.
const START: Duration = Duration::from_secs(3);

/// A demo that has ended.
struct Shown {
    ended: Ended,
    /// How long it took to its first line.
    start: Duration,
}

/// Demos take turns: each has times of its own to keep, and the first builds what the others find.
static TURN: Mutex<()> = Mutex::new(());

fn play(mut demo: Command) -> Shown {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = demo.spawn().expect("keyhole starts");
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    let mut shown = Vec::new();
    screen.read_until(b'\n', &mut shown).unwrap();
    let start = began.elapsed();
    screen.read_to_end(&mut shown).unwrap();
    let mut output = child.wait_with_output().expect("keyhole ends");
    output.stdout = shown;
    Shown { ended: output.into(), start }
}

impl Shown {
    fn right(self) -> Self {
        Self { ended: self.ended.ok(), ..self }
    }

    fn screen(&self) -> &str {
        &self.ended.stdout
    }

    /// What came of `what`, on a line that is marked as right.
    #[track_caller]
    fn came(&self, what: &str) -> &str {
        let begins = format!("   ✓ {what:26} ");
        let mut lines = self.screen().lines().filter_map(|line| line.strip_prefix(&begins));
        let came = lines.next().unwrap_or_else(|| panic!("{begins:?} is not in {}", self.screen()));
        assert_eq!(lines.next(), None, "{what} is there once");
        came
    }

    /// The id of the account that alice connected.
    fn account(&self) -> &str {
        let told = self.came("the account");
        let id = told.strip_prefix("alice's Acme (").and_then(|rest| rest.strip_suffix("), access: private"));
        id.unwrap_or_else(|| panic!("{told}"))
    }

    /// The rows of the audit, from the member on. Why a request was refused stands on lines of its own.
    fn audit(&self) -> Vec<Vec<&str>> {
        let lines = self.screen().lines().skip_while(|line| !line.trim_start().starts_with("WHEN "));
        let mut rows: Vec<Vec<&str>> = Vec::new();
        for line in lines.skip(1).take_while(|line| !line.starts_with("   ✓")) {
            let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            match cells.as_slice() {
                [why] => rows.last_mut().expect("a row before it").push(why),
                [_when, row @ ..] => rows.push(row.to_vec()),
                [] => panic!("an empty line in {}", self.screen()),
            }
        }
        rows
    }
}

/// Fails if the demo's key is in `bytes` in any form in which it would be readable, or any placeholder.
fn assert_sealed(bytes: &[u8], shown: &Shown, what: &str) {
    // The tail: the prefix is public, and stored as such.
    let tail = shown.came("the key").trim_start_matches("acme_live_");
    let hex: String = tail.bytes().map(|byte| format!("{byte:02x}")).collect();
    for needle in [tail, &hex, &hex.to_uppercase(), shown.came("the step saw"), MARKER] {
        let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        assert!(!found, "{needle} is in {what}");
    }
}

#[test]
fn the_demo_shows_the_main_job_in_five_points_of_which_each_line_is_right() {
    let keyhole = Keyhole::default();
    let shown = play(keyhole.command(&["demo"])).right();
    let screen = shown.screen();
    let points: Vec<&str> =
        screen.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).collect();
    assert_eq!(
        points,
        [
            "1  alice connects an account with a key; it is private",
            "2  alice's step reads $auth, calls the service and gets its answer",
            "3  bob runs the same step",
            "4  a hostile step with alice's account tries",
            "5  the audit of all that",
        ]
    );

    let (key, account) = (shown.came("the key"), shown.account());
    assert!(key.starts_with("acme_live_") && key.len() == 36, "{key}");
    assert!(shown.came("on disk").starts_with("sealed: none of "));

    let placeholder = shown.came("the step saw");
    assert!(placeholder.starts_with("acme_live_") && placeholder.contains(MARKER), "{placeholder}");
    assert_eq!((placeholder.len(), placeholder == key), (key.len(), false));
    assert_eq!(shown.came("the service received"), key);
    assert_eq!(shown.came("the echo told the step"), placeholder);
    assert!(shown.came("the step's answer").starts_with("Alice at Acme, in "));
    assert_eq!(shown.came("the log, recorded"), "the key, as this step sees it: ‹acme.api_key›");

    let no_access = format!("bob may not use the account {account}");
    assert_eq!(shown.came("bob runs it"), format!("refused: {no_access}"));
    assert_eq!(shown.came("alice grants bob access"), "access: bob");
    assert_eq!(shown.came("bob runs it again"), "works: \"Alice at Acme\"");
    assert_eq!(shown.came("alice revokes it"), "access: private");
    assert_eq!(shown.came("bob's next run"), format!("refused: {no_access}"));

    let host = "acme credentials don't go to collector.example";
    let place = "the body holds a credential of acme";
    let address = "169.254.169.254 is a cloud's metadata service (RFC 3927)";
    assert_eq!(shown.came("to print the key"), "output, log, export and value show ‹acme.api_key›");
    assert_eq!(shown.came("to send it to another host"), format!("refused: {host}"));
    assert_eq!(shown.came("to send it in a body"), format!("refused: {place}"));
    assert_eq!(shown.came("to ask cloud metadata"), format!("refused: {address}"));
    assert!(shown.came("to loop for ever").ends_with(" ended at its deadline of 1 s"));
    assert!(shown.came("to allocate without end").ends_with(" needs more memory than its limit of 64 MiB"));
    assert_eq!(shown.came("meanwhile, alice's step"), "works as before");

    let act = |what: &str| vec!["alice".to_owned(), "–".to_owned(), "done".to_owned(), what.to_owned()];
    let sent = |member: &str, path: &str| {
        [member, "echo-key", "200", &format!("GET api.acme.example{path}")].map(str::to_owned).to_vec()
    };
    let refused = |member: &str, step: &str, what: &str, why: &str| {
        [member, step, "refused", what, why].map(str::to_owned).to_vec()
    };
    let runs = |member: &str| [sent(member, "/v1/me"), sent(member, "/v1/echo")];
    let denied = refused("bob", "echo-key", "to use the account", &no_access);
    let hostile = |what: &str, why: &str| refused("alice", "hostile-step", what, why);
    let [me, echo] = runs("alice");
    let [bobs_me, bobs_echo] = runs("bob");
    assert_eq!(
        shown.audit(),
        [
            act(&format!("accounts_connect {account}")),
            me.clone(),
            echo.clone(),
            denied.clone(),
            act(&format!("accounts_grant {account}: bob")),
            bobs_me,
            bobs_echo,
            act(&format!("accounts_revoke {account}: private")),
            denied,
            hostile("POST collector.example/keys", host),
            hostile("POST api.acme.example/v1/notes", place),
            hostile("GET 169.254.169.254/latest/meta-data/", address),
            me,
            echo,
        ]
    );
    let complete = "3 acts of alice's; 6 requests sent; 5 refused, 2 for want of access";
    assert_eq!(shown.came("complete"), complete);
    assert!(shown.came("the data directory").starts_with("neither the key nor one of "));

    // One screen, on which nothing is cut off.
    let story = screen.split("Look around:").next().unwrap();
    assert!(!story.contains('…'), "{screen}");
    for line in story.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    // The key is where alice has it, and at the service.
    assert_eq!(screen.matches(key).count(), 2, "{screen}");
    assert!(!shown.ended.stderr.contains(key));
}

#[test]
fn a_second_demo_starts_in_3_s_and_the_store_that_is_kept_can_be_looked_around_in() {
    let keyhole = Keyhole::default();
    let first = play(keyhole.command(&["demo"])).right();
    let second = play(keyhole.command(&["demo"])).right();
    assert!(second.start < START, "{:?}", second.start);
    assert_ne!(first.account(), second.account());

    // The commands are a person's to copy, with `keyhole` in the PATH.
    let commands = second.screen().split("Look around:\n").nth(1).unwrap();
    let commands: Vec<&str> = commands.lines().map(str::trim).collect();
    let [accounts, audit] = commands[..] else { panic!("{commands:?}") };
    let copied = |command: &str| -> Value {
        let mut shell = keyhole.clean("sh");
        let words = command.strip_prefix("keyhole ").unwrap();
        shell.args(["-c", &format!("\"$0\" --json {words}")]).arg(workspace::keyhole());
        Ended::from(shell.output().unwrap()).ok().json()
    };
    let accounts = copied(accounts);
    let accounts = accounts.as_array().unwrap();
    assert_eq!(accounts.len(), 1, "the first demo's has made room: {accounts:#?}");
    assert_eq!(accounts[0]["id"], second.account());
    assert_eq!([&accounts[0]["owner"], &accounts[0]["access"]], ["alice", "private"]);
    // What a link names.
    let named = keyhole.call(&["--json", "accounts", "show", "alice's Acme", "--as", "alice"]).ok().json();
    assert_eq!(named["id"], second.account());
    let members = keyhole.call(&["--json", "members", "list"]).ok().json();
    let members: Vec<&Value> = members.as_array().unwrap().iter().map(|member| &member["name"]).collect();
    assert_eq!(members, ["alice", "bob"]);

    let audit = copied(audit);
    let acts = audit.as_array().unwrap().iter().filter(|told| told["kind"] == "act");
    let acts: Vec<_> = acts.map(|act| (act["act"].as_str().unwrap(), &act["by"], &act["account"])).collect();
    let operator = json!("operator");
    let (none, one, other) = (Value::Null, json!(first.account()), json!(second.account()));
    assert_eq!(
        acts,
        [
            ("members_add", &operator, &none),
            ("members_add", &operator, &none),
            ("accounts_connect", &operator, &one),
            ("accounts_grant", &operator, &one),
            ("accounts_revoke", &operator, &one),
            ("accounts_delete", &operator, &one),
            ("accounts_connect", &operator, &other),
            ("accounts_grant", &operator, &other),
            ("accounts_revoke", &operator, &other),
        ]
    );
    let stored = keyhole.stored_bytes();
    for shown in [&first, &second] {
        assert_sealed(&stored, shown, "the directory that is kept");
    }
}

#[test]
fn a_demo_that_is_not_to_be_kept_leaves_nothing_behind() {
    let keyhole = Keyhole::default();
    let (temporary, home) = (keyhole.data.path().join("tmp"), keyhole.data.path().join("home"));
    std::fs::create_dir(&temporary).unwrap();
    let mut demo = keyhole.clean(workspace::keyhole());
    demo.args(["--json", "demo"]).env("TMPDIR", &temporary).env("XDG_DATA_HOME", &home);
    let shown = play(demo).right();
    let document = shown.ended.json();
    let acts = document["acts"].as_array().unwrap();
    assert_eq!((&document["ok"], acts.len()), (&json!(true), 5));
    for check in acts.iter().flat_map(|act| act["checks"].as_array().unwrap()) {
        assert_eq!(check["ok"], true, "{check}");
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(!home.exists() && !keyhole.data_dir().exists());
}

/// Puts a program `cargo` into `folder` which says of every crate that it was built to `component`.
fn forge_cargo(folder: &Path, component: &Path) {
    std::fs::create_dir(folder).unwrap();
    let cargo = folder.join("cargo");
    let built = json!({
        "reason": "compiler-artifact",
        "manifest_path": "FOLDER/Cargo.toml",
        "target": {"kind": ["cdylib"]},
        "filenames": [component],
    });
    let script = format!("#!/bin/sh\ncat <<END\n{}\nEND\n", built.to_string().replace("FOLDER", "$PWD"));
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_demo_in_which_something_is_not_as_it_should_be_says_what_and_ends_with_1() {
    let keyhole = Keyhole::default();
    // What it builds is there then.
    play(keyhole.command(&["demo"])).right();
    // A hostile step that nobody stops: it is not hostile.
    let folder = keyhole.data.path().join("bin");
    forge_cargo(&folder, &workspace::target().join("wasm32-wasip2/release/echo_key.wasm"));
    let path = std::env::var_os("PATH").unwrap();
    let paths = std::iter::once(folder).chain(std::env::split_paths(&path));
    let mut demo = keyhole.command(&["demo"]);
    demo.env("PATH", std::env::join_paths(paths).unwrap());
    let shown = play(demo);
    assert_eq!(shown.ended.code, 1, "{}", shown.ended.stderr);
    let wrong: Vec<&str> = shown.screen().lines().filter(|line| line.starts_with("   ✗ ")).collect();
    let wanted = [
        "to print the key",
        "to send it to another host",
        "to send it in a body",
        "to ask cloud metadata",
        "to loop for ever",
        "to allocate without end",
        "complete",
    ];
    assert_eq!(wrong.len(), wanted.len(), "{}", shown.screen());
    for (line, what) in wrong.iter().zip(wanted) {
        assert!(line.starts_with(&format!("   ✗ {what} ")) && line.ends_with("← not as it should be"), "{line}");
    }
    assert!(shown.screen().contains("\n7 of the lines above did not go as they should."), "{}", shown.screen());
}

#[test]
fn a_demo_does_nothing_to_a_data_directory_that_is_somebodys_own() {
    let keyhole = Keyhole::default();
    keyhole.member("carol");
    let said = play(keyhole.command(&["demo"])).ended.failed(2);
    assert!(said.contains("this data directory is somebody's own") && said.contains("--data-dir DIR"), "{said}");
    let members = keyhole.call(&["--json", "members", "list"]).ok().json();
    assert_eq!((members.as_array().unwrap().len(), &members[0]["name"]), (1, &json!("carol")));
    assert!(!keyhole.data_dir().join("apps").exists());
}
