//! Workflows and their runs through the pages.

use keyhole_tests::program::KEY;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::house::{House, Words};

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
    alice.arrives("/workflows$");
    alice.sees("1 workflow");
    assert_ne!(keyhole.call(&["workflows", "show", "orders", "--as", "alice"]).code, 0);
}
