//! Workflows and their runs through the pages.

use keyhole_tests::program::KEY;
use keyhole_tests::served::Served;
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::house::{House, Words, deploy, enter};
use crate::many::connect;

/// The run as a command shows it.
fn run(house: &House, id: &str) -> Value {
    house.served.keyhole.call(&["--json", "runs", "show", id, "--as", "alice"]).ok().json()
}

/// The run whose page this is, once it has ended.
fn ended(page: &Page) -> String {
    page.sees_button("Run again");
    let at = page.address();
    at.rsplit('/').next().expect("an id").split('?').next().expect("an id").to_owned()
}

#[test]
fn a_person_sees_why_a_run_failed_runs_it_again_with_another_event_and_ends_one_that_waits() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    // Each of the two runs asked the service twice, in a process of its own that has ended.
    let used = house.served.keyhole.call(&["--json", "accounts", "show", &house.healthy, "--as", "alice"]).ok().json();
    assert!(used["uses"] == 4 && used["last_used"].is_string(), "{used:#}");
    alice.follow("Runs");
    alice.select("Status", "failed");
    // The list follows, and so does the address.
    alice.arrives("status=failed");
    assert_eq!(alice.count("row", None), 3, "its head, and those that failed");
    alice.open(&format!("/runs/{}", house.failed));
    alice.sees("the warehouse is closed");
    alice.sees("two boxes of tea");

    alice.press_button("Run again");
    alice.arrives(&format!("/runs/(?!{})[^/?]+$", house.failed));
    let again = ended(&alice);
    let shown = run(&house, &again);
    assert_eq!((&shown["run"]["status"], &shown["run"]["cause"]), (&json!("failed"), &json!("retry")), "{shown:#}");

    alice.click_text("Run again with another event");
    let event = alice.value("Event (JSON)");
    assert!(event.contains("two boxes of tea"), "the event of this run stands there to be edited: {event}");
    alice.fill("Event (JSON)", "{\"fail\": fal");
    alice.press_button("Run");
    alice.sees("the event is not JSON");
    alice.open(&format!("/runs/{again}"));
    alice.click_text("Run again with another event");
    alice.fill("Event (JSON)", &event.replace("true", "false"));
    alice.press_button("Run");
    alice.arrives(&format!("/runs/(?!{again})[^/?]+$"));
    let edited = ended(&alice);
    let shown = run(&house, &edited);
    assert_eq!((&shown["run"]["status"], &shown["event"]["fail"]), (&json!("ok"), &json!(false)), "{shown:#}");

    alice.open(&format!("/runs/{}", house.waiting));
    alice.sees("an account to be reconnected");
    alice.press_button("Cancel");
    alice.sees("cancelled");
    house.until("the run to be cancelled", || run(&house, &house.waiting)["run"]["status"] == "cancelled");
}

#[test]
fn a_person_chooses_which_account_a_step_uses_edits_the_file_and_turns_a_workflow_off() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let keyhole = &house.served.keyhole;
    let other = ["--json", "accounts", "connect", "acme", "--as", "alice", "--nickname", "Acme of sales", "--stdin"];
    let other = keyhole.call_with(&[&other[..], &["--no-test"]].concat(), KEY).ok().json();
    let shown = || keyhole.call(&["--json", "workflows", "show", "orders", "--as", "alice"]).ok().json();
    let alice = house.alice(&browser, &json!({}));
    alice.follow("Workflows");
    let marks = alice.evaluate("[...document.querySelectorAll('.dots')].map((one) => one.ariaLabel)");
    assert!(marks.to_string().contains("last runs: 1 ok, 1 failed"), "{marks}");
    alice.type_in("Search", "nothing-is-called-this");
    alice.sees("0 workflows");
    alice.fill("Search", "");
    alice.type_in("Search", "ORD");
    alice.sees("1 workflow");
    alice.follow("orders");
    alice.sees("Tells the warehouse of each order");
    alice.select("account (Acme)", "Acme of sales");
    alice.press_button("Save and deploy");
    alice.sees("The new version is deployed.");
    let linked = shown()["file"].to_string();
    assert!(linked.contains(other["id"].as_str().unwrap()) && linked.contains(&house.healthy), "one of two: {linked}");

    alice.click_text("workflow.toml");
    let file = alice.value("The file");
    let wrong = file.replace("http-request", "no-such-step");
    alice.fill("The file", &wrong);
    alice.press_button("Deploy");
    alice.sees("no-such-step");
    assert_eq!(alice.value("The file").trim(), wrong.trim(), "what was typed is kept");
    alice.judge("a workflow's file that is refused");
    assert_eq!(shown()["file"].to_string(), linked, "and the old version goes on");
    alice.fill("The file", &file.replace("each order", "every order"));
    alice.press_button("Deploy");
    alice.sees("Tells the warehouse of every order");

    alice.press_button("Turn off");
    alice.sees("Its triggers are off.");
    assert_eq!(shown()["enabled"], false);
    alice.press_button("Turn on");
    alice.sees("Its triggers are on.");
    alice.follow("Delete");
    alice.press_button("Delete the workflow");
    alice.sees("The workflow is deleted.");
    alice.sees("1 workflow");
    assert_ne!(keyhole.call(&["workflows", "show", "orders", "--as", "alice"]).code, 0);
}

/// The component with an optional app prop, linked to `account`.
pub fn optional(name: &str, account: &str) -> String {
    let fetch = component("fetch").display().to_string();
    format!(
        "keyhole = 1\nname = {name:?}\n[[steps]]\nname = \"fetch\"\nuses = {fetch:?}\nlinks = {{ acme = {account:?} }}\n"
    )
}

#[test]
fn an_account_that_a_step_may_do_without_is_taken_out_and_put_in_again() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    deploy(&house.served.keyhole, "fetch", &optional("fetch", &house.healthy));
    let file = || {
        let shown = house.served.keyhole.call(&["--json", "workflows", "show", "fetch", "--as", "alice"]).ok().json();
        shown["file"].as_str().expect("a file").to_owned()
    };
    let alice = house.alice(&browser, &json!({}));
    alice.open("/workflows/alice/fetch");
    assert_eq!(alice.value("acme (Acme)"), house.healthy);
    alice.select("acme (Acme)", "none");
    alice.press_button("Save and deploy");
    alice.sees("The new version is deployed.");
    assert!(!file().contains(&house.healthy), "{}", file());
    alice.open("/workflows/alice/fetch");
    assert_eq!(alice.value("acme (Acme)"), "");
    alice.select("acme (Acme)", "Acme of marketing");
    alice.press_button("Save and deploy");
    alice.sees("The new version is deployed.");
    assert_eq!(alice.value("acme (Acme)"), house.healthy);
    assert!(file().contains(&house.healthy), "{}", file());
    alice.follow("Connect another account of Acme");
    alice.arrives(r"/accounts/new/acme\?next=%2Fworkflows%2Falice%2Ffetch$");
}

#[test]
fn where_many_accounts_fit_one_is_named_by_its_nickname_and_some_are_suggested() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    tokio::runtime::Runtime::new().expect("a runtime").block_on(connect(&served, 120));
    let all = served.keyhole.call(&["--json", "accounts", "list", "--as", "alice"]).ok().json();
    let id = |nickname: &str| {
        let one = all.as_array().expect("a list").iter().find(|one| one["nickname"] == nickname);
        one.and_then(|one| one["id"].as_str()).unwrap_or_else(|| panic!("no {nickname} in {all:#}")).to_owned()
    };
    deploy(&served.keyhole, "fetch", &optional("fetch", "number-00001"));
    let shown = || served.keyhole.call(&["--json", "workflows", "show", "fetch", "--as", "alice"]).ok().json();
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open("/workflows/alice/fetch");
    assert_eq!(alice.value("acme (Acme)"), "number-00001");
    let suggested = alice.evaluate("document.querySelector('input[list]').list.options.length");
    assert!(suggested.as_u64().is_some_and(|count| count > 20), "{suggested}");
    // As it is, nothing changes.
    let before = shown()["file"].clone();
    alice.press_button("Save and deploy");
    alice.sees("The new version is deployed.");
    assert_eq!(shown()["file"], before);

    alice.open("/workflows/alice/fetch");
    alice.fill("acme (Acme)", "number-00117");
    alice.press_button("Save and deploy");
    alice.sees("The new version is deployed.");
    assert_eq!(alice.value("acme (Acme)"), "number-00117");
    assert_eq!(shown()["accounts"], json!([id("number-00117")]));
    alice.open("/workflows/alice/fetch");
    alice.fill("acme (Acme)", "no such account");
    alice.press_button("Save and deploy");
    alice.sees("no such account");
    assert_eq!(shown()["accounts"], json!([id("number-00117")]));
    alice.open("/workflows/alice/fetch");
    alice.fill("acme (Acme)", "");
    alice.press_button("Save and deploy");
    alice.sees("The new version is deployed.");
    assert_eq!(shown()["accounts"], json!([]));
}
