//! The command line as people and programs meet it: errors that say what, where and what to do;
//! one JSON document; no secret where others could read it.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use keyhole_tests::program::{Ended, KEY, Keyhole};
use keyhole_tests::server::{Server, acme, json as answer};
use keyhole_tests::workspace::{component, keyhole as program, root};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

/// Fails unless `text` has all of `parts`.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

fn with_alice() -> Keyhole {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    keyhole
}

/// Writes a file beside the data directory and gives its path.
fn file(keyhole: &Keyhole, name: &str, text: &str) -> String {
    let path = keyhole.data.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2_and_says_what_to_write() {
    let keyhole = with_alice();
    let step = component("hostile").display().to_string();
    let cases: [(&[&str], &[&str]); 16] = [
        (&["nonsense"], &["unrecognized subcommand 'nonsense'", "Usage: keyhole"]),
        (&["run"], &["<COMPONENT>", "Usage: keyhole run"]),
        (&["run", &step, "--nonsense"], &["unexpected argument '--nonsense'"]),
        (&["run", "nowhere.wasm"], &["there is no such component or folder", "at nowhere.wasm"]),
        (&["run", &step, "--resolve", "a.example"], &["'a.example': there is no port; write HOST:PORT:ADDR"]),
        (&["run", &step, "--allow-range", "10.0.0.0/33"], &["'10.0.0.0/33'", "--allow-range <CIDR>"]),
        (&["run", &step, "--allow-host", "https://a/b"], &["'https://a/b'", "--allow-host <HOST>"]),
        (&["run", &step, "--timeout", "soon"], &["'soon' is not a length of time; write 30s, 500ms or 2m"]),
        (&["run", &step, "--memory", "lots"], &["'lots' is not a size; write 64MiB or 1GiB"]),
        (&["run", &step, "--event", "nowhere.json"], &["there is no such file", "at nowhere.json"]),
        (&["run", &step, "--link", "acme"], &["'acme' is not of the form PROP=ACCOUNT", "at --link"]),
        (&["run", &step, "--prop", "x"], &["'x' is not of the form NAME=VALUE", "at --prop"]),
        (&["run", &step, "--as", "carol"], &["there is no member 'carol'", "keyhole members list shows them"]),
        (&["apps", "show", "slak"], &["there is no app 'slak'", "did you mean slack?"]),
        (&["accounts", "connect", "nowhere-at-all"], &["there is no app 'nowhere-at-all'", "custom"]),
        (&["accounts", "access", "a", "members"], &["no account 'a'"]),
    ];
    for (args, parts) in cases {
        let code = if parts[0].starts_with("no account") { 1 } else { 2 };
        says(&keyhole.call(args).failed(code), parts);
        let ended = keyhole.call(&[&["--json"], args].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{args:?}");
        says(&strict(&ended.stderr)["error"].to_string(), &[parts[0].split('\'').next().unwrap()]);
    }
}

#[test]
fn an_event_that_is_not_json_is_named_with_line_and_column() {
    let keyhole = with_alice();
    let step = component("hostile").display().to_string();
    let bad = file(&keyhole, "event.json", "{\n  \"attack\": none\n}");
    let said = keyhole.call(&["run", &step, "--event", &bad]).failed(2);
    says(&said, &["the event is not JSON", &format!("at {bad}:2:14")]);
    let said = keyhole.call_with(&["run", &step, "--event", "-"], "{} {}").failed(2);
    says(&said, &["the event is not JSON", "at standard input:1:4"]);
}

#[test]
fn a_wrong_setting_in_the_configuration_file_is_named_with_line_and_column() {
    let keyhole = with_alice();
    for (text, place, part) in [
        ("member = \"alice\"\n\n[egress]\nresolv = []\n", "4:1", "unknown field `resolv`"),
        ("[egress]\nallow_range = [\"10.0.0.0/33\"]\n", "2:15", "'10.0.0.0/33'"),
        ("[run]\ntimeout = \"soon\"\n", "2:11", "write 30s, 500ms or 2m"),
        ("color = \"pink\"\n", "1:9", "unknown variant `pink`"),
        ("member = alice\n", "1:10", "string values must be quoted"),
    ] {
        let config = file(&keyhole, "config.toml", text);
        let said = keyhole.call(&["--config", &config, "members", "list"]).failed(2);
        says(&said, &[part, &format!("at {config}:{place}")]);
        let ended = keyhole.call(&["--config", &config, "--json", "members", "list"]);
        assert_eq!(strict(&ended.stderr)["error"]["where"], json!(format!("{config}:{place}")));
    }
    let said = keyhole.call(&["--config", "nowhere.toml", "members", "list"]).failed(2);
    says(&said, &["there is no such file", "at nowhere.toml"]);
}

#[test]
fn the_configuration_file_opens_what_the_flags_open() {
    let mut keyhole = with_alice();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let step = component("echo-key").display().to_string();
    let link = format!("acme={account}");
    let resolve = server.resolve("api.acme.example");
    // Its paths start at the folder that it is in.
    let config = file(
        &keyhole,
        "config.toml",
        &format!(
            "member = \"alice\"\n[egress]\nresolve = [\"{resolve}\"]\nca_cert = [\"test-ca.pem\"]\nallow_range = [\"127.0.0.0/8\"]\n"
        ),
    );
    let run = ["--config", &config, "--json", "run", &step, "--link", &link];
    assert_eq!(keyhole.call(&run).ok().json()["status"], "ok");
    // A flag replaces what the file says.
    let closed = keyhole.call(&[&run[..], &["--allow-range", "192.0.2.0/24"]].concat());
    assert_eq!(closed.code, 1);
    says(&closed.json()["error"]["message"].to_string(), &["127.0.0.1", "--allow-range"]);
    assert_eq!(server.received().len(), 2);
}

#[test]
fn on_whose_behalf_is_asked_where_it_is_not_clear() {
    let keyhole = Keyhole::default();
    let list = ["accounts", "list"];
    says(&keyhole.call(&list).failed(2), &["there is no member yet", "add one: keyhole members add NAME"]);
    keyhole.member("alice");
    keyhole.call(&list).ok();
    keyhole.member("bob");
    says(
        &keyhole.call(&list).failed(2),
        &["there are several members, so say on whose behalf", "--as MEMBER, one of alice, bob", "KEYHOLE_MEMBER"],
    );
    Ended::from(keyhole.command(&list).env("KEYHOLE_MEMBER", "bob").output().unwrap()).ok();
}

#[test]
fn json_is_one_document_on_standard_output_and_nothing_else_for_every_command() {
    let mut keyhole = with_alice();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let id = keyhole.connect("alice", KEY);
    let step = component("echo-key").display().to_string();
    let definition = keyhole_tests::workspace::fixture("fixtures/apps/acme.toml").display().to_string();
    let link = format!("acme={id}");
    let flags: Vec<&str> = keyhole.flags().iter().map(String::as_str).collect();
    let run: Vec<&str> = [&["run", &step, "--as", "alice", "--link", &link][..], &flags].concat();
    let calls: [&[&str]; 18] = [
        &["members", "add", "bob"],
        &["members", "list"],
        &["accounts", "list", "--as", "alice"],
        &["accounts", "show", &id, "--as", "alice"],
        &["accounts", "rename", &id, "mine", "--as", "alice"],
        &["accounts", "access", "mine", "members", "bob", "--as", "alice"],
        &["accounts", "access", "mine", "--revoke", "bob", "--as", "alice"],
        &run,
        &["audit"],
        &["accounts", "delete", "mine", "--as", "alice"],
        &["members", "remove", "bob"],
        &["apps", "list"],
        &["apps", "show", "slack"],
        &["apps", "check", &definition],
        &["inspect", &step],
        &["doctor"],
        &["vault", "check"],
        &["vault", "rotate"],
    ];
    for args in calls {
        let ended = keyhole.call(&[&["--json"], args].concat()).ok();
        assert_eq!(ended.stderr, "", "{args:?}");
        strict(&ended.stdout);
    }
    // The flag may come last, too; and text is something else.
    strict(&keyhole.call(&["members", "list", "--json"]).ok().stdout);
    let text = keyhole.call(&["members", "list"]).ok().stdout;
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    // A run that fails is told in the same document.
    let failed = keyhole.call(&["--json", "run", &step, "--as", "alice"]);
    assert_eq!((failed.code, failed.stderr.as_str()), (1, ""));
    assert_eq!(strict(&failed.stdout)["status"], "failed");
}

#[test]
fn run_prints_what_the_issue_of_a_run_is() {
    let keyhole = with_alice();
    let event = json!({"attack": "none"});
    let run = keyhole.run(&component("hostile"), &event, &["--as", "alice"]);
    let members: BTreeSet<&str> = run.as_object().unwrap().keys().map(String::as_str).collect();
    for member in
        ["status", "return_value", "exports", "log", "requests", "duration_ms", "peak_memory", "error", "member", "run"]
    {
        assert!(members.contains(member), "{member} is missing: {members:?}");
    }
    assert_eq!(run["return_value"], "fine");
    assert_eq!(run["error"], Value::Null);
}

#[test]
fn sealed_a_secret_is_no_argument() {
    let keyhole = with_alice();
    let connect = ["accounts", "connect", "acme", "--as", "alice"];
    let field = format!("api_key={KEY}");
    let said = keyhole.call(&[&connect[..], &["--field", &field]].concat()).failed(2);
    says(&said, &["api_key is a secret, and arguments are no place for one", "--secret-file api_key=FILE or --stdin"]);
    assert!(!said.contains(KEY), "it is not said again");
    // A pair without its `=`, where the whole of it may be the secret.
    let said = keyhole.call(&[&connect[..], &["--field", KEY]].concat()).failed(2);
    assert!(!said.contains(KEY), "{said}");
    // There is no flag that takes one.
    for flag in ["--key", "--api-key", "--secret", "--password", "--token"] {
        assert_eq!(keyhole.call(&[&connect[..], &[flag, "x"]].concat()).code, 2, "{flag}");
    }
    assert_eq!(keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json(), json!([]));
    // Without a terminal nobody is asked; the error says how else.
    let said = keyhole.call(&connect).failed(2);
    says(&said, &["the field api_key (API key) is missing", "--stdin"]);
}

#[test]
fn a_secret_comes_from_standard_input_or_a_file() {
    let mut keyhole = with_alice();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let key = file(&keyhole, "key.txt", &format!("{KEY}\n"));
    let named = format!("api_key={key}");
    let connect = ["--json", "accounts", "connect", "acme", "--as", "alice", "--no-test"];
    let ways: [&[&str]; 2] = [&["--key-file", &key], &["--secret-file", &named]];
    let mut accounts = vec![
        keyhole.call_with(&[&connect[..], &["--stdin"]].concat(), &format!("{KEY}\r\n")).ok().json(),
        keyhole.call_with(&[&connect[..], &["--stdin"]].concat(), KEY).ok().json(),
    ];
    accounts.extend(ways.iter().map(|way| keyhole.call(&[&connect[..], way].concat()).ok().json()));
    for account in accounts {
        let link = format!("acme={}", account["id"].as_str().unwrap());
        let run = keyhole.run(&component("echo-key"), &json!({}), &["--as", "alice", "--link", &link]);
        assert_eq!(run["status"], "ok", "{run:#}");
    }
    let said = keyhole.call(&["accounts", "connect", "acme", "--as", "alice", "--key-file", "nowhere"]);
    assert_ne!(said.code, 0);
    says(&said.stderr, &["nowhere"]);
}

/// Runs the program on a terminal of its own and types `typed`. What it shows comes back.
fn on_a_terminal(keyhole: &Keyhole, args: &[&str], typed: &str, no_color: bool) -> String {
    let command = keyhole.command(args);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]).env("TERM", "xterm-256color").env_remove("NO_COLOR");
    script.env("XDG_CONFIG_HOME", keyhole.data.path().join("config"));
    if no_color {
        script.env("NO_COLOR", "1");
    }
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().expect("`script` (bsdutils) must be there");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    // The terminal's end would be the program's: it stays open until the program has ended.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    const ESCAPE: char = '\u{1b}';
    let keyhole = with_alice();
    let list = ["members", "list"];
    let piped = |args: &[&str], no_color: bool| {
        let mut command = keyhole.command(args);
        if !no_color {
            command.env_remove("NO_COLOR");
        }
        Ended::from(command.output().unwrap()).stdout
    };
    assert!(!piped(&list, false).contains(ESCAPE), "not into a pipe");
    assert!(piped(&["--color", "always", "apps", "show", "slack"], true).contains(ESCAPE), "unless always");
    assert!(!piped(&["--color", "always", "--json", "members", "list"], true).contains(ESCAPE), "JSON has none");
    let show = ["apps", "show", "slack"];
    assert!(on_a_terminal(&keyhole, &show, "", false).contains(ESCAPE), "on a terminal");
    assert!(!on_a_terminal(&keyhole, &show, "", true).contains(ESCAPE), "NO_COLOR");
    let never = ["--color", "never", "apps", "show", "slack"];
    assert!(!on_a_terminal(&keyhole, &never, "", false).contains(ESCAPE), "never");
}

#[test]
fn sealed_a_key_that_is_typed_is_not_shown() {
    let mut keyhole = with_alice();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let connect = ["accounts", "connect", "acme", "--as", "alice", "--no-test", "--nickname", "typed"];
    // The key, and no webhook secret.
    let shown = on_a_terminal(&keyhole, &connect, &format!("{KEY}\n\n"), true);
    says(&shown, &["API key", "Webhook signing secret", "connected typed"]);
    // The terminal's own echo, before the program has taken it over, is not the program's doing.
    let asked = shown.find("API key").unwrap();
    assert!(!shown[asked..].contains(KEY), "{shown}");
    let run = keyhole.run(&component("echo-key"), &json!({}), &["--as", "alice", "--link", "acme=typed"]);
    assert_eq!(run["status"], "ok", "{run:#}");
}

#[test]
fn what_a_step_writes_can_not_drive_the_terminal() {
    let keyhole = with_alice();
    let event = file(
        &keyhole,
        "event.json",
        r#"{"attack": "log-text", "text": "\u001b]0;owned\u0007\u001b[2Jgone\r\u009b31m"}"#,
    );
    let step = component("hostile").display().to_string();
    let text = keyhole.call(&["run", &step, "--event", &event]).ok().stdout;
    says(&text, &["owned", "gone"]);
    let control = |letter: char| letter.is_control() && letter != '\n';
    assert!(!text.contains(control), "{text:?}");
}

#[test]
fn completions_are_scripts_that_their_shells_take() {
    let keyhole = Keyhole::default();
    for shell in ["bash", "zsh", "fish"] {
        let script = keyhole.call(&["completions", shell]).ok().stdout;
        for command in ["accounts", "members", "run", "inspect", "doctor", "completions", "audit"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(!script.contains("__compile"), "{shell}: the hidden command");
        let path = file(&keyhole, shell, &script);
        // Those that are installed say whether they can read it.
        match Command::new(shell).args(["-n", &path]).output() {
            Ok(read) => assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr)),
            Err(error) => assert!(shell != "bash", "bash must be there: {error}"),
        }
    }
    let script = keyhole.call(&["completions", "bash"]).ok().stdout;
    let path = file(&keyhole, "sourced", &script);
    let complete = format!(
        "source '{path}'; COMP_WORDS=(keyhole acc); COMP_CWORD=1; _keyhole keyhole acc keyhole; echo \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &complete]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "accounts");
    assert_eq!(keyhole.call(&["completions", "cmd.exe"]).code, 2);
}

#[test]
fn doctor_looks_and_changes_nothing() {
    let keyhole = Keyhole::default();
    let report = keyhole.call(&["--json", "doctor"]).ok().json();
    assert_eq!(report["ok"], true, "{report:#}");
    let checks: BTreeSet<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    for check in [
        "configuration",
        "data directory",
        "free space",
        "master key",
        "store",
        "cargo",
        "wasm32-wasip2",
        "Node.js",
        "Python",
        "pagemap_scan",
        "file descriptors",
        "vm.max_map_count",
        "core dumps",
    ] {
        assert!(checks.contains(check), "{check} is missing: {checks:?}");
    }
    assert!(!keyhole.data_dir().exists());
}

#[test]
fn doctor_says_what_to_do_about_what_is_not_right() {
    use std::os::unix::fs::PermissionsExt as _;
    let keyhole = with_alice();
    let check = |name: &str| {
        let ended = keyhole.call(&["--json", "doctor"]);
        let report = ended.json();
        let checks = report["checks"].as_array().unwrap();
        let failed = checks.iter().any(|check| check["verdict"] == "fail");
        assert_eq!((ended.code, &report["ok"]), (i32::from(failed), &json!(!failed)), "{report:#}");
        checks.iter().find(|check| check["name"] == name).unwrap().clone()
    };
    let mode = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();

    mode(&keyhole.data_dir(), 0o755);
    let found = check("data directory");
    assert_eq!(found["verdict"], "warn");
    says(found["help"].as_str().unwrap(), &[&format!("chmod 700 {}", keyhole.data_dir().display())]);
    mode(&keyhole.data_dir(), 0o700);
    assert_eq!(check("data directory")["verdict"], "ok");

    let key = keyhole.data_dir().join("master.key");
    mode(&key, 0o640);
    let found = check("master key");
    assert_eq!(found["verdict"], "fail");
    says(found["help"].as_str().unwrap(), &[&format!("chmod 600 {}", key.display())]);
    mode(&key, 0o600);

    let store = keyhole.data_dir().join("keyhole.redb");
    let whole = std::fs::read(&store).unwrap();
    std::fs::write(&store, &whole[..1000]).unwrap();
    let found = check("store");
    assert_eq!(found["verdict"], "fail");
    says(found["found"].as_str().unwrap(), &["cut short"]);
    std::fs::write(&store, whole).unwrap();
    assert_eq!(check("store")["verdict"], "ok");

    std::fs::create_dir_all(keyhole.data.path().join("config/keyhole")).unwrap();
    let config = file(&keyhole, "config/keyhole/config.toml", "member = \"alice\"\n");
    assert_eq!(check("configuration")["found"], json!(config));
}

#[test]
fn inspect_shows_what_a_step_is() {
    let keyhole = with_alice();
    let step = component("slack-post");
    let size = std::fs::metadata(&step).unwrap().len();
    let step = step.display().to_string();
    let looked = keyhole.call(&["--json", "inspect", &step]).ok().json();
    assert_eq!(looked["size"], size);
    assert_eq!(looked["definition"]["name"], "slack-post");
    assert_eq!(looked["definition"]["props"]["slack"]["app"], "slack", "{looked:#}");
    assert_eq!(looked["contract"], "0.1.0");
    assert_eq!(looked["problem"], Value::Null);
    let imports = looked["imports"].as_array().unwrap();
    assert!(imports.iter().any(|import| import.as_str().unwrap().starts_with("wasi:http/outgoing-handler@")));
    assert_eq!(looked["forbidden"], json!([]));
    let text = keyhole.call(&["inspect", &step]).ok().stdout;
    says(&text, &["slack-post", "account of slack", "#general", "Where to post.", "wasi:http/outgoing-handler"]);
    assert!(!keyhole.data_dir().join("code").exists(), "it keeps nothing");
}

#[test]
fn apps_show_says_of_custom_which_options_name_its_parts() {
    let keyhole = Keyhole::default();
    let text = keyhole.call(&["apps", "show", "custom"]).ok().stdout;
    says(&text, &["Each account brings its own definition", "keyhole accounts connect custom --host api.example.com"]);
    let about = keyhole.call(&["--json", "apps", "show", "custom"]).ok().stdout;
    let about = strict(&about);
    assert_eq!(about["name"], "custom");
    let help = keyhole.call(&["accounts", "connect", "custom", "--help"]).ok().stdout;
    let options = about["options"].as_array().unwrap();
    for option in options {
        let [option, what] = ["option", "help"].map(|part| option[part].as_str().unwrap());
        assert!(text.contains(option) && text.contains(what) && help.contains(option), "{option}: {what}");
    }
    let named = |names: &str| -> Vec<&str> {
        let options = options.iter().filter(|option| option["names"] == names);
        options.map(|option| option["option"].as_str().unwrap().split(' ').next().unwrap()).collect()
    };
    assert_eq!(named("hosts"), ["--host"]);
    assert_eq!(named("places"), ["--header", "--basic", "--query", "--segment", "--json-body", "--form"]);
    assert_eq!(named("fields"), ["--field", "--secret-file", "--key-file", "--stdin"]);
    // Where a definition is asked for, there is none.
    let said = keyhole.call(&["apps", "configure", "custom", "--client-id", "x", "--public"]).failed(2);
    says(&said, &["custom has no definition", "keyhole accounts connect custom --help"]);
}

#[test]
fn apps_check_names_each_mistake_with_its_line() {
    let keyhole = Keyhole::default();
    let broken = file(
        &keyhole,
        "broken.toml",
        "keyhole = 1\nname = \"broken\"\ntitle = \"Broken\"\nhosts = [\"*.com\", \"api.broken.example\"]\n\n\
         [[field]]\nname = \"api_key\"\nsecret = true\ncolour = \"red\"\n\n\
         [[place]]\nheader = \"Authorization\"\ntemplate = \"Bearer {key}\"\n",
    );
    let ended = keyhole.call(&["apps", "check", &broken]);
    assert_eq!(ended.code, 1);
    for (place, part) in [
        ("4:10", "'*.com' is a public suffix"),
        ("9:1", "there is no key colour here"),
        ("11:1", "there is no field key"),
    ] {
        let said = ended.stderr.split("error:").find(|said| said.contains(part));
        says(said.unwrap_or_else(|| panic!("{part}: {}", ended.stderr)), &[&format!("at {broken}:{place}")]);
    }
    let ended = keyhole.call(&["--json", "apps", "check", &broken]);
    let error = &strict(&ended.stderr)["error"];
    assert!(error["also"].as_array().unwrap().len() >= 2, "{error:#}");

    let garbage = file(&keyhole, "garbage.toml", "keyhole = 1\nname = \"x\n");
    says(&keyhole.call(&["apps", "check", &garbage]).failed(1), &["this is not TOML", &format!("at {garbage}:2:")]);
    // In a folder of one's own such a file is refused, whatever the command.
    let own = file(&keyhole, "own/broken.toml", &std::fs::read_to_string(&broken).unwrap());
    let folder = Path::new(&own).parent().unwrap().display().to_string();
    let ended = Ended::from(
        keyhole.command(&["apps", "list"]).env_remove("KEYHOLE_APPS").arg("--apps").arg(&folder).output().unwrap(),
    );
    assert_ne!(ended.code, 0, "{}", ended.stdout);
}

#[test]
fn build_makes_a_component_that_runs() {
    let keyhole = with_alice();
    let crate_of = root().join("examples/echo-key").display().to_string();
    let to = keyhole.data.path().join("echo.wasm");
    let built = keyhole.call(&["--json", "build", &crate_of, "--output", to.to_str().unwrap()]).ok();
    assert_eq!(built.stderr, "");
    let built = strict(&built.stdout);
    assert_eq!((&built["name"], &built["path"]), (&json!("echo-key"), &json!(to)));
    assert_eq!(built["size"], std::fs::metadata(&to).unwrap().len());
    assert_eq!(
        keyhole.call(&["--json", "inspect", to.to_str().unwrap()]).ok().json()["definition"]["name"],
        "echo-key"
    );
}

#[test]
fn build_shows_what_cargo_says_is_wrong() {
    let keyhole = Keyhole::default();
    let manifest = "[package]\nname = \"mine\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    file(&keyhole, "mine/src/lib.rs", "pub fn f() -> u8 {\n    \"no\"\n}\n");
    let path = file(&keyhole, "mine/Cargo.toml", &format!("{manifest}\n[lib]\ncrate-type = [\"cdylib\"]\n"));
    let folder = Path::new(&path).parent().unwrap().display().to_string();
    let ended = keyhole.call(&["build", &folder]);
    assert_eq!(ended.code, 1);
    says(&ended.stderr, &["the crate does not build", "error[E0308]: mismatched types", "src/lib.rs:2:5", &folder]);
    says(&keyhole.call(&["--json", "build", &folder]).json_error()["message"].to_string(), &["error[E0308]"]);

    // Builds, and is nothing that could be a step.
    file(&keyhole, "mine/src/lib.rs", "");
    file(&keyhole, "mine/Cargo.toml", manifest);
    says(&keyhole.call(&["build", &folder]).failed(1), &["the crate builds no component", "crate-type = [\"cdylib\"]"]);
    file(&keyhole, "mine/Cargo.toml", &format!("{manifest}\n[lib]\ncrate-type = [\"cdylib\"]\n"));
    let out = keyhole.data.path().join("out.wasm");
    let said = keyhole.call(&["build", &folder, "--output", out.to_str().unwrap()]).failed(1);
    says(&said, &["is no step: it does not export definition, configure, run"]);
    assert!(!out.exists());

    let empty = keyhole.data.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    says(&keyhole.call(&["build", empty.to_str().unwrap()]).failed(2), &["the folder holds no Cargo.toml"]);
    says(&keyhole.call(&["build", "nowhere"]).failed(2), &["there is no such folder", "at nowhere"]);
    file(&keyhole, "mine/Cargo.toml", "[package\n");
    says(&keyhole.call(&["build", &folder]).failed(1), &["Cargo.toml"]);
}

#[test]
fn a_production_definition_runs_against_a_server_that_plays_the_service() {
    const TOKEN: &str = concat!("xo", "xb-", "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx");
    let mut keyhole = with_alice();
    let server = Server::http(&keyhole.authority, &["slack.com"], |_| answer(200, &json!({"ok": true, "ts": "1.2"})));
    keyhole.lead("slack.com", &server);
    let connect = ["accounts", "connect", "slack", "--as", "alice", "--stdin", "--no-test", "--nickname", "team"];
    keyhole.call_with(&connect, TOKEN).ok();
    let flags = ["--as", "alice", "--link", "slack=team", "--prop", "text=Hello, world!"];
    let run = keyhole.run(&component("slack-post"), &json!({}), &flags);
    assert_eq!(run["return_value"], json!({"ok": true, "ts": "1.2"}), "{run:#}");
    let received = server.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].target, "/api/chat.postMessage");
    assert_eq!(received[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let posted: Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(posted, json!({"channel": "#general", "text": "Hello, world!"}));

    // A prop that is missing, of the wrong type or unknown is named before anything runs.
    let step = component("slack-post").display().to_string();
    let run = ["run", &step, "--as", "alice", "--link", "slack=team"];
    says(&keyhole.call(&run).failed(2), &["text"]);
    says(&keyhole.call(&[&run[..], &["--prop", "text=x", "--prop", "colour=red"]].concat()).failed(2), &["colour"]);
    // What is no text is taken for one where a text is asked for.
    let flags = ["--as", "alice", "--link", "slack=team", "--prop", "text=42"];
    assert_eq!(keyhole.run(&component("slack-post"), &json!({}), &flags)["status"], "ok");
    let posted: Value = serde_json::from_slice(&server.received()[1].body).unwrap();
    assert_eq!(posted["text"], "42");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let keyhole = Keyhole::default();
    let mut child = keyhole.command(&["apps", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn a_link_that_signs_in_stands_alone_on_standard_output() {
    let keyhole = with_alice();
    let own = keyhole.call(&["sign-in"]).ok();
    assert!(own.stdout.starts_with("/sign-in/khi_") && own.stdout.lines().count() == 1, "{}", own.stdout);
    says(&own.stderr, &["put the address of your keyhole serve before it", "it signs alice in, once, until"]);
    let invite = keyhole.call(&["members", "add", "bob", "--invite"]).ok();
    assert!(invite.stdout.starts_with("/sign-in/khi_") && invite.stdout.lines().count() == 1, "{}", invite.stdout);
    says(&invite.stderr, &["added bob (member)", "it signs bob in, once, within 7 days"]);
    let added = keyhole.call(&["--json", "members", "add", "carol", "--invite"]).ok();
    assert!(added.json()["invite"].as_str().unwrap().contains("khi_") && added.stderr.is_empty(), "{}", added.stderr);
    says(&keyhole.call(&["sign-in"]).failed(2), &["there are several members", "add --as MEMBER"]);
    keyhole.call(&["sign-in", "--as", "bob", "--expires", "2h"]).ok();
}

#[test]
fn every_command_has_help_and_the_program_its_version() {
    fn commands_in(help: &str) -> Vec<String> {
        let list = help.split("Commands:\n").nth(1).unwrap_or_default();
        list.lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.strip_prefix("  "))
            // What is indented further goes on with the line before.
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    }
    let help = |path: &[String]| {
        let output = Command::new(program()).args(path).arg("--help").output().unwrap();
        Ended::from(output).ok().stdout
    };
    let mut paths = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = paths.pop() {
        let text = help(&path);
        says(&text, &["Usage: keyhole", "--json"]);
        seen += 1;
        for name in commands_in(&text) {
            paths.push([&path[..], &[name]].concat());
        }
    }
    assert!(seen >= 20, "{seen}");
    let version = Command::new(program()).arg("--version").output().unwrap();
    says(&Ended::from(version).ok().stdout, &["keyhole ", env!("CARGO_PKG_VERSION")]);
}

/// The one JSON document that `text` is, in which no object has a name twice.
#[track_caller]
fn strict(text: &str) -> Value {
    if let Err(error) = serde_json::from_str::<NoNameTwice>(text) {
        panic!("{error}: {text}");
    }
    serde_json::from_str(text).unwrap()
}

struct NoNameTwice;

impl<'de> Deserialize<'de> for NoNameTwice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoNameTwice)
    }
}

impl<'de> Visitor<'de> for NoNameTwice {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON in which no object has a name twice")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, Self)) = map.next_entry::<String, Self>()? {
            if !names.insert(name.clone()) {
                return Err(serde::de::Error::custom(format!("{name} is there twice")));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[test]
fn the_configuration_is_checked_with_what_it_names() {
    let keyhole = Keyhole::default();
    let config = keyhole.data.path().join("keyhole.toml");
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        keyhole.call(&["--json", "--config", config.to_str().unwrap(), "config", "check"])
    };
    let ok = check("[egress]\nca_cert = [\"test-ca.pem\"]\n[limits.account]\nrequests = \"50/s\"\n").ok().json();
    assert!(ok["ok"] == true && ok["config"].as_str().unwrap().ends_with("keyhole.toml"), "{ok:#}");
    assert!(ok["apps"].as_u64().unwrap() > 10, "{ok:#}");
    for (text, says, place) in [
        ("[egress]\nca_certs = []\n", "unknown field `ca_certs`", "keyhole.toml:2:1"),
        ("[egress]\nca_cert = [\"none.pem\"]\n", "no such file", "none.pem"),
        ("[egress]\nproxy_credentials = \"test-ca.pem\"\n", "no proxy", "test-ca.pem"),
        ("[egress]\nproxy = \"http://me:secret@proxy\"\n", "USER:PASSWORD into a file", "keyhole.toml:2:"),
        ("[limits.run]\nat_once = 0\n", "1 at least", "keyhole.toml:2:"),
        ("[limits.workspace]\nbytes_in = \"much\"\n", "10MiB/s", "keyhole.toml:2:"),
    ] {
        let ended = check(text);
        let error = ended.json_error();
        assert_eq!(ended.code, 2, "{error:#}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error:#}");
        assert!(error["where"].as_str().unwrap().contains(place), "{error:#}");
        assert!(!error.to_string().contains("me:secret"), "{error:#}");
    }
    assert!(!keyhole.data_dir().join("keyhole.redb").exists(), "looking makes no store");
}
