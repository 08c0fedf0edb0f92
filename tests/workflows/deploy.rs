//! What a deploy checks, and what it leaves alone when something is wrong.

use keyhole_tests::program::KEY;
use keyhole_tests::workspace::component;

use crate::rig::*;

#[test]
fn what_is_wrong_is_told_with_file_line_and_column_and_nothing_is_deployed() {
    let keyhole = keyhole();
    keyhole.member("bob");
    keyhole.connect("alice", KEY);
    let echo = component("echo-key").display().to_string();
    let small = format!("[[steps]]\nname = \"a\"\nuses = {:?}\n", component("small").display().to_string());
    let cases = [
        (format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"nowhere.wasm\"\n"), "no such component"),
        (format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"blake3:00\"\n"), "workflow.toml:5:8: there is no component"),
        (
            format!("{HEAD}owner = \"bob\"\n{}", verb("a", "return", "1")),
            "workflow.toml:3:9: a workflow runs on behalf",
        ),
        (
            format!("{HEAD}{}", verb("a", "return", "1").replace("verb =", "vreb =")),
            "workflow.toml:6:18: verbs has no prop 'vreb'",
        ),
        (format!("{HEAD}{small}"), "workflow.toml:4:8: the app prop 'acme' takes an account"),
        (format!("{HEAD}{small}links = {{ acme = \"nobody's\" }}\n"), "workflow.toml:6:18: there is no account"),
        (
            format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"http-request\"\n"),
            "workflow.toml:4:8: http-request needs a URL",
        ),
        (
            format!(
                "{HEAD}[[steps]]\nname = \"a\"\nuses = \"http-request\"\nprops = {{ url = \"https://a.example\", mehtod = \"GET\" }}\n"
            ),
            "http-request has no prop 'mehtod'",
        ),
        (
            format!("{HEAD}trigger.cron.schedule = \"61 * * * *\"\n{}", verb("a", "return", "1")),
            "'61 * * * *' is no cron schedule",
        ),
        (
            format!(
                "{HEAD}description = \"a time_zone\"\ntrigger.cron.schedule = \"0 * * * *\"\ntrigger.cron.time_zone = \"Vienna\"\n{}",
                verb("a", "return", "1")
            ),
            "workflow.toml:5:26: 'Vienna' is no time zone",
        ),
        (
            format!(
                "{HEAD}description = \"a body_limit\"\n[trigger.http]\nbody_limit = \"9MiB\"\n{}",
                verb("a", "return", "1")
            ),
            "workflow.toml:5:14: a body may have up to 8 MiB",
        ),
        (
            format!(
                "{HEAD}trigger.http.signature = {{ scheme = \"slack\", secret = \"nobody's\" }}\n{}",
                verb("a", "return", "1")
            ),
            "workflow.toml:3:55: there is no account",
        ),
        (
            format!("{HEAD}limits.memory = \"2GiB\"\n{}", verb("a", "return", "1")),
            "workflow.toml:5:8: a step may have up to 1024 MiB of memory here",
        ),
        (format!("{HEAD}{}", verb("a", "return", "\"{{ steps.b.x }}\"")), "no step before this one is called `b`"),
        (
            format!("{HEAD}on_error = \"typo\"\n{}", verb("a", "return", "1")),
            "workflow.toml:3:12: alice has no workflow 'typo'; deploy that one first",
        ),
        (
            format!("{HEAD}{}if = \"event.x == 1\"\n", verb("a", "return", "1")),
            "workflow.toml:7:6: an `if` is one expression between braces",
        ),
        (
            format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"http-request\"\nprops = {{ url = \"v1/x\" }}\n"),
            "workflow.toml:6:17: 'v1/x' is a path below the base URL of an account's app, and none is linked",
        ),
        (
            format!(
                "{HEAD}[[steps]]\nname = \"a\"\nuses = \"http-request\"\nprops.url = \"https://a.example\"\nprops.text = \"x\"\nprops.form = {{}}\n"
            ),
            "workflow.toml:7:14: a request has one body",
        ),
        (format!("{HEAD}[[steps]]\nname = \"a\"\nuses = {echo:?}\nlinks = {{ slack = \"x\" }}\n"), "takes an account"),
    ];
    for (text, expected) in cases {
        let path = file(&keyhole, &text);
        let said = keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "alice"]);
        assert_eq!(said.code, 2, "{text}\n{}", said.stderr);
        let (at, what) = expected.split_once(": ").unwrap_or(("", expected));
        assert!(
            said.stderr.contains(at) && said.stderr.contains(what),
            "{text}\nsaid {}\nand not {expected}",
            said.stderr
        );
    }
    let listed = keyhole.call(&["--json", "workflows", "list", "--as", "alice"]).ok().json();
    assert_eq!(listed, serde_json::json!([]));
}

#[test]
fn a_component_that_was_deployed_before_is_named_by_its_digest() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}{}", verb("a", "return", "1"))).ok();
    let path = component("verbs").display().to_string();
    let digest = keyhole.call(&["--json", "inspect", &path]).ok().json()["digest"].as_str().unwrap().to_owned();
    let text = format!("{HEAD}{}", verb("a", "return", "2")).replace(&path, &format!("blake3:{digest}"));
    assert!(text.contains("uses = \"blake3:"), "{text}");
    assert_eq!(deploy(&keyhole, &text).ok().json()["workflow"]["version"], 2);
    assert_eq!(returned(&run(&keyhole, "w", &serde_json::json!({})))["a"], 2);
}

#[test]
fn keyhole_test_runs_a_file_with_an_event_and_its_exit_code_says_how_it_ended() {
    let keyhole = keyhole();
    let path = file(
        &keyhole,
        &format!(
            "{HEAD}{}{}",
            verb("a", "return", "\"{{ event.n }}\""),
            verb("b", "fail", "\"no luck\"").replace("uses =", "if = \"{{ event.n > 1 }}\"\nuses =")
        ),
    );
    let event = keyhole.data.path().join("event.json");
    let test = |event_text: &str, json: &[&str]| {
        std::fs::write(&event, event_text).unwrap();
        let args = ["test", path.to_str().unwrap(), "--event", event.to_str().unwrap(), "--as", "alice"];
        keyhole.call(&[json, &args].concat())
    };
    let done = test("{\"n\": 1}", &["--json"]).ok().json();
    assert_eq!((&done["status"], &done["steps"][0]["return_value"]), (&serde_json::json!("ok"), &serde_json::json!(1)));
    assert_eq!(done["steps"][1]["status"], "skipped", "{done:#}");
    let failed = test("{\"n\": 2}", &["--json"]);
    assert_eq!((failed.code, &failed.json()["status"]), (1, &serde_json::json!("failed")));
    assert_eq!(failed.json()["error"]["message"], "no luck");
    let said = test("{\"n\": 2}", &[]).failed(1);
    assert!(said.contains("no luck") && said.contains("the step b"), "{said}");
    let said = test("{\"n\": }", &[]).failed(2);
    assert!(said.contains("event.json:1:"), "{said}");
    assert_eq!(list(&keyhole, &[]).len(), 0, "no run is kept");
}

#[test]
fn a_workflow_may_be_told_of_its_own_failures_and_of_those_of_one_that_is_there() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}on_error = \"w\"\n{}", verb("a", "return", "1"))).ok();
    let other = format!("keyhole = 1\nname = \"other\"\non_error = \"w\"\n{}", verb("a", "return", "1"));
    deploy(&keyhole, &other).ok();
}

#[test]
fn another_members_account_that_is_private_can_not_be_linked() {
    let keyhole = keyhole();
    keyhole.member("bob");
    let account = keyhole.connect("bob", KEY);
    let text = format!(
        "{HEAD}[[steps]]\nname = \"a\"\nuses = {:?}\nlinks = {{ acme = {account:?} }}\n",
        component("small").display().to_string()
    );
    let path = file(&keyhole, &text);
    keyhole.member("carol");
    let said = keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "carol"]).failed(2);
    assert!(said.contains("there is no account"), "{said}");
    // An admin sees that it is there, and may not use it either.
    let said = keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "alice"]).failed(2);
    assert!(said.contains("alice may not use the account"), "{said}");
}

#[test]
fn a_deploy_takes_the_place_of_the_version_before_and_a_delete_ends_it() {
    let keyhole = keyhole();
    assert_eq!(deploy(&keyhole, &format!("{HEAD}{}", verb("a", "return", "1"))).ok().json()["workflow"]["version"], 1);
    let path = file(&keyhole, &format!("{HEAD}{}", verb("a", "return", "2")));
    let checked = keyhole.call(&["--json", "workflows", "deploy", "--check", path.to_str().unwrap(), "--as", "alice"]);
    assert_eq!(checked.ok().json()["deployed"], false);
    assert_eq!(returned(&run(&keyhole, "w", &serde_json::json!({})))["a"], 1);
    assert_eq!(deploy(&keyhole, &std::fs::read_to_string(&path).unwrap()).ok().json()["workflow"]["version"], 2);
    assert_eq!(returned(&run(&keyhole, "w", &serde_json::json!({})))["a"], 2);
    keyhole.call(&["workflows", "delete", "w", "--as", "alice"]).ok();
    let said = keyhole.call(&["workflows", "run", "w", "--as", "alice"]).failed(1);
    assert!(said.contains("there is no workflow alice/w"), "{said}");
    assert_eq!(list(&keyhole, &[]).len(), 2, "the history stays");
}

#[test]
fn an_account_says_which_workflows_use_it_and_so_does_what_takes_it_away() {
    let keyhole = keyhole();
    keyhole.member("bob");
    let account = keyhole.connect("alice", KEY);
    let text = format!(
        "{HEAD}[[steps]]\nname = \"a\"\nuses = {:?}\nlinks = {{ acme = {account:?} }}\n",
        component("small").display().to_string()
    );
    deploy(&keyhole, &text).ok();
    let shown = keyhole.call(&["--json", "accounts", "show", &account, "--as", "alice"]).ok().json();
    assert_eq!(shown["workflows"], serde_json::json!(["alice/w"]));
    let listed = keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
    assert_eq!(listed[0]["workflows"], serde_json::json!(["alice/w"]));
    let run = run(&keyhole, "w", &serde_json::json!({"x": 1}));
    assert_eq!(run["run"]["status"], "ok", "{run:#}");
    assert_eq!(returned(&run)["a"]["event"], serde_json::json!({"x": 1}));
    let deleted = keyhole.call(&["--json", "accounts", "delete", &account, "--as", "alice"]).ok().json();
    assert_eq!(deleted["workflows"], serde_json::json!(["alice/w"]));
    let run = crate::rig::run(&keyhole, "w", &serde_json::json!({}));
    assert_eq!(run["run"]["error"]["kind"], "access", "{run:#}");
    assert!(run["run"]["error"]["message"].as_str().unwrap().contains("was deleted"), "{run:#}");
}

#[test]
fn a_removed_members_workflows_stop_and_are_named() {
    let keyhole = keyhole();
    keyhole.member("bob");
    let path = file(&keyhole, &format!("{HEAD}trigger.http = {{}}\n{}", verb("a", "return", "1")));
    keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "bob"]).ok();
    let removed = keyhole.call(&["--json", "members", "remove", "bob"]).ok().json();
    assert_eq!(removed["workflows"], serde_json::json!(["bob/w"]));
    let shown = keyhole.call(&["--json", "workflows", "show", "bob/w", "--as", "alice"]).ok().json();
    assert_eq!(shown["enabled"], false);
    assert!(shown.get("hook").is_none() && shown.get("file").is_none(), "an admin sees that it exists: {shown:#}");
}
