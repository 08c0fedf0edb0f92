//! Every command on members, accounts, apps, tokens, links and the audit, three ways: on the
//! data directory, on one that a server has open too, and over HTTP. The same comes of each.

use std::io::Write as _;
use std::process::Stdio;

use keyhole_tests::program::{Ended, KEY, Keyhole};
use keyhole_tests::server::acme;
use keyhole_tests::workspace::component;
use serde_json::json;

use crate::rig::Served;

enum Way {
    Here,
    Beside(Served),
    There(Served, String),
}

impl Way {
    fn keyhole(&self) -> &Keyhole {
        match self {
            Self::Beside(served) | Self::There(served, _) => &served.keyhole,
            Self::Here => panic!("the caller has it"),
        }
    }

    fn call(&self, here: Option<&Keyhole>, args: &[&str], input: &str) -> Ended {
        let mut command = match self {
            Self::Here => here.expect("a keyhole").command(args),
            Self::Beside(served) => served.keyhole.command(args),
            Self::There(served, token) => served.remotely(token, args),
        };
        command.env("KEYHOLE_MEMBER", "alice");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap().into()
    }
}

/// Ids, times and keys, which differ from one run to the next.
fn steady(text: &str) -> String {
    let id = |word: &str| word.len() == 26 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let mut steady = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        steady += if id(&word) { "‹id›" } else { &word };
        word.clear();
        steady.push(c);
    }
    let mut lines = Vec::new();
    for line in steady.lines() {
        // Times of both forms: of people and of JSON.
        let words = line.split(' ').map(|part| {
            let digits = part.bytes().filter(u8::is_ascii_digit).count();
            let marks = part.bytes().filter(|b| b"-:.TZ\",".contains(b)).count();
            if digits >= 6 && digits + marks == part.len() { "‹time›" } else { part }
        });
        lines.push(words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    }
    lines.join("\n")
}

/// What came of each command of a day with Keyhole.
fn day(way: &Way, here: Option<&Keyhole>) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let mut run = |args: &[&str], input: &str| -> Ended {
        let ended = way.call(here, args, input);
        let said = format!("{}\n{}\n{}", ended.code, steady(&ended.stdout), steady(&ended.stderr));
        told.push((args.iter().map(|arg| steady(arg).trim().to_owned()).collect::<Vec<_>>().join(" "), said));
        ended
    };
    let id = |ended: &Ended, name: &str| ended.json()[name].as_str().expect("an id").to_owned();

    run(&["members", "list"], "");
    run(&["--json", "members", "list"], "");
    run(&["members", "add", "carol"], "");
    run(&["members", "add", "carol"], "");
    run(&["--json", "members", "add", "dave", "--role", "admin"], "");
    run(&["accounts", "list"], "");
    run(&["accounts", "connect", "slak", "--stdin"], "");
    run(&["accounts", "connect", "acme", "--stdin", "--no-test", "--nickname", "one"], KEY);
    let two = run(&["--json", "accounts", "connect", "acme", "--stdin", "--no-test"], KEY);
    let two = id(&two, "id");
    run(&["accounts", "connect", "acme", "--stdin", "--no-test"], "bad key\u{1}");
    let custom = [
        "accounts",
        "connect",
        "custom",
        "--host",
        "api.example.com",
        "--header",
        "X-Key: {k}",
        "--stdin",
        "--no-test",
    ];
    run(&custom, KEY);
    run(&["accounts", "list"], "");
    run(&["--json", "accounts", "list", "--app", "acme"], "");
    run(&["accounts", "show", "one"], "");
    run(&["--json", "accounts", "show", &two], "");
    run(&["--json", "accounts", "show", "nothing"], "");
    run(&["accounts", "show", "a/b ?#%"], "");
    run(&["accounts", "show", ".."], "");
    run(&["accounts", "rename", &two, "two / 2"], "");
    run(&["accounts", "show", "two / 2"], "");
    run(&["accounts", "rename", &two, ""], "");
    run(&["accounts", "access", "one", "members", "bob,carol"], "");
    run(&["accounts", "access", "one", "--revoke", "bob", "--grant", "dave"], "");
    run(&["accounts", "access", "one", "--grant", "nobody"], "");
    run(&["--json", "accounts", "access", "one", "workspace"], "");
    run(&["accounts", "access", "one", "--revoke", "bob"], "");
    run(&["accounts", "access", "one", "private"], "");
    run(&["accounts", "reconnect", "one", "--stdin", "--no-test"], KEY);
    run(&["accounts", "rename", &two, "one"], "");
    run(&["accounts", "show", "one"], "");
    run(&["accounts", "delete", &two], "");
    run(&["accounts", "delete", &two], "");
    run(&["--json", "accounts", "delete", "one"], "");
    run(&["apps", "list"], "");
    run(&["--json", "apps", "show", "acme"], "");
    run(&["apps", "show", "acme"], "");
    run(&["apps", "show", "slak"], "");
    let link = run(&["--json", "accounts", "links", "create", "nowhere"], "");
    assert_eq!(link.code, 1);
    run(&["accounts", "links", "list"], "");
    run(&["accounts", "links", "revoke", "nothing"], "");
    let token = run(&["--json", "--quiet", "tokens", "create", "--name", "new", "--expires", "400d"], "");
    assert_eq!(token.code, 1);
    run(&["tokens", "revoke", "nothing"], "");
    run(&["sessions", "list"], "");
    run(&["--json", "sessions", "list"], "");
    run(&["sessions", "end", "nothing"], "");
    run(&["sessions", "end-all", "bob"], "");
    run(&["passkeys", "list"], "");
    run(&["--json", "passkeys", "list"], "");
    run(&["passkeys", "remove", "nothing"], "");
    run(&["members", "unbind", "bob"], "");
    run(&["members", "unbind", "nobody"], "");
    run(&["members", "role", "carol", "admin"], "");
    run(&["--json", "members", "role", "carol", "member"], "");
    run(&["members", "role", "nobody", "admin"], "");
    run(&["members", "invite", "nobody"], "");
    run(&["sign-in", "--expires", "8d"], "");
    run(&["members", "remove", "carol"], "");
    run(&["members", "remove", "carol"], "");
    run(&["--json", "audit"], "");
    run(&["audit", "--member", "alice", "--decision", "allowed", "--since", "1h", "-n", "5"], "");
    run(&["audit", "--member", "nobody"], "");
    run(&["audit", "--app", "acme", "--host", "api.acme.example", "--status", "2xx", "--until", "0s"], "");
    run(&["audit", "--status", "many"], "");
    run(&["audit", "verify"], "");
    run(&["audit", "verify", "--heads", "/dev/null"], "");
    run(&["audit", "prune", "--before", "1h"], "");
    run(&["audit", "prune", "--before", "1h", "--yes"], "");
    run(&["--json", "audit", "prune", "--before", "1h", "--yes"], "");
    // Its hashes are of this day alone.
    let export = way.call(here, &["audit", "export", "--since", "1h"], "").ok().stdout;
    assert_eq!(export.lines().count(), 4, "{export}");
    let verified = way.call(here, &["--json", "audit", "verify", "-"], &export).ok().json();
    assert_eq!((&verified["records"], &verified["wrong"]), (&json!(4), &json!(0)), "{verified:#}");
    let forged = export.replacen("api.acme.example", "api.evil.example", 1);
    let verified = way.call(here, &["--json", "audit", "verify", "-"], &forged);
    assert_eq!((verified.code, &verified.json()["findings"][0]["what"]), (1, &json!("changed")));
    told
}

fn with_a_use() -> Keyhole {
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    keyhole.member("alice");
    keyhole.member("bob");
    let account = keyhole.connect("alice", KEY);
    keyhole.run(&component("echo-key"), &json!({}), &["--as", "alice", "--link", &format!("acme={account}")]);
    keyhole.call(&["accounts", "delete", &account, "--as", "alice"]).ok();
    keyhole
}

#[test]
fn every_command_works_three_ways_with_the_same_output() {
    let here = with_a_use();
    let expected = day(&Way::Here, Some(&here));
    let beside = Way::Beside(Served::on(with_a_use(), &[]));
    let served = Served::on(with_a_use(), &[]);
    let (token, _) = served.token("alice", &[]);
    let there = Way::There(served, token);
    for (name, way) in [("beside a server", &beside), ("over HTTP", &there)] {
        assert!(way.keyhole().data.path().exists());
        for (one, other) in expected.iter().zip(day(way, None)) {
            // Requests are timed, and ports differ.
            assert_eq!(*one, other, "{name}");
        }
    }
    // It did happen: a day in which all failed would be alike, too.
    assert!(expected.iter().filter(|(_, said)| said.starts_with('0')).count() > 25, "{expected:#?}");
}

#[test]
fn tokens_and_links_are_made_listed_and_taken_back_over_http() {
    let served = Served::with_members();
    let (token, _) = served.token("bob", &[]);
    let remotely = |args: &[&str]| Ended::from(served.remotely(&token, args).output().unwrap());
    let made = remotely(&["--json", "tokens", "create", "--name", "other", "--expires", "2h"]).ok().json();
    assert_eq!(made["member"], "bob");
    let other = made["token"].as_str().unwrap();
    let listed = Ended::from(served.remotely(other, &["--json", "tokens", "list"]).output().unwrap()).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(listed.as_array().unwrap().iter().all(|token| token["token"].is_null() && token["last_used"].is_string()));
    remotely(&["tokens", "revoke", made["id"].as_str().unwrap()]).ok();
    let said = Ended::from(served.remotely(other, &["tokens", "list"]).output().unwrap()).failed(1);
    assert!(
        said.contains("not valid") && said.contains("keyhole tokens create") && said.contains(&served.url),
        "{said}"
    );

    let link = remotely(&["--json", "accounts", "links", "create", "acme"]).ok().json();
    assert!(link["url"].as_str().unwrap().starts_with(&format!("{}/connect/khl_", served.url)), "{link}");
    assert_eq!(remotely(&["--json", "accounts", "links", "list"]).ok().json().as_array().unwrap().len(), 1);
    remotely(&["accounts", "links", "revoke", link["id"].as_str().unwrap()]).ok();
    assert_eq!(remotely(&["--json", "accounts", "links", "list"]).ok().json(), json!([]));
    // Only an admin does that, and the token speaks for nobody else.
    assert!(remotely(&["members", "add", "eve"]).failed(1).contains("only an admin"));
    assert!(remotely(&["accounts", "list", "--as", "alice"]).failed(2).contains("the token is bob's"));
}

#[test]
fn a_server_that_is_not_there_or_a_token_that_is_missing_is_said_so() {
    let served = Served::with_members();
    let (token, _) = served.token("alice", &[]);
    let mut command = served.remotely("", &["members", "list"]);
    assert!(Ended::from(command.output().unwrap()).failed(2).contains("KEYHOLE_TOKEN"));
    let mut command = served.remotely(&token, &["--url", "http://keyhole.example", "members", "list"]);
    assert!(Ended::from(command.output().unwrap()).failed(2).contains("not https"));
    let mut command = served.remotely(&token, &["--url", "http://127.0.0.1:1", "members", "list"]);
    let said = Ended::from(command.output().unwrap()).failed(1);
    assert!(said.contains("can't be reached") && said.contains("keyhole serve"), "{said}");
    let file = served.keyhole.data.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let mut command = served.remotely("", &["--token-file", &file.display().to_string(), "members", "list"]);
    Ended::from(command.output().unwrap()).ok();
}

#[test]
fn the_audit_is_followed_over_http_as_it_is_on_the_data_directory() {
    use std::io::{BufRead as _, BufReader};
    let mut keyhole = Keyhole::default();
    let service = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &service);
    keyhole.member("alice");
    let account = keyhole.connect("alice", KEY);
    let served = Served::on(keyhole, &[]);
    let (token, _) = served.token("alice", &[]);
    let mut follow = served.remotely(&token, &["--json", "audit", "--follow"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stdout = BufReader::new(follow.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let link = format!("acme={account}");
    let event = json!({"attack": "sequence", "requests": [{"url": "https://api.acme.example/v1/me", "account": true}]});
    // Where it begins is where the server's audit was when it came: some run is after that.
    let (run, line) = (0..20)
        .find_map(|_| {
            let run = served.keyhole.run(&component("hostile"), &event, &["--as", "alice", "--link", &link]);
            Some((run, told.recv_timeout(std::time::Duration::from_secs(3)).ok()?))
        })
        .expect("it tells of a run");
    let _ = follow.kill();
    let _ = follow.wait();
    let used: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&used["status"], &used["decision"]), (&json!(200), &json!("allowed")), "{used:#}");
    assert!(used["run"].is_string() && run["status"] == "ok" && !line.contains(KEY), "{used:#}");
}
