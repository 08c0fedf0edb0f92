//! The list of runs and its filters, and what a run's page shows of its steps and what it can't show.

use serde_json::json;

use crate::browser::Browser;
use crate::house::{House, Words, run_as};
use crate::visit::Visit;

fn rows(page: &str) -> usize {
    page.matches("<td><a href=\"/runs/").count()
}

#[test]
fn a_person_finds_runs_by_a_part_of_the_workflows_name_as_they_type_it() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    alice.open("/runs");
    assert_eq!(
        alice.evaluate("[...document.querySelector('#workflow').list.options].map((one) => one.value).join()"),
        "orders,watch"
    );
    alice.type_in("Workflow", "rder");
    alice.arrives("workflow=rder");
    alice.sees("2 runs");
    alice.type_in("Workflow", "x");
    alice.sees("There are no such runs.");
}

#[tokio::test]
async fn runs_are_listed_between_two_times_and_every_link_keeps_the_filters() {
    let house = House::new(&Words::default());
    let alice = Visit::of(&house.served, "alice").await;
    for (query, there) in [
        ("", 4),
        ("since=2020-01-01T00:00", 4),
        ("until=2020-01-01T00:00", 0),
        ("since=2020-01-01T00:00&until=2999-01-01T00:00:00Z&workflow=orders", 2),
        ("since=2999-01-01T00:00", 0),
    ] {
        let page = alice.get(&format!("/runs?{query}")).await;
        assert_eq!((page.status, rows(&page.text)), (200, there), "{query}: {}", page.text);
    }
    let page = alice.get("/runs?until=soon").await;
    assert!(page.status == 422 && page.text.contains("is no time"), "{}: {}", page.status, page.text);
    let page = alice.get("/runs?status=failed&workflow=orders&before=7ZZZZZZZZZZZZZZZZZZZZZZZZZ").await.text;
    assert!(page.contains("href=\"/runs?workflow=orders&amp;status=failed\""), "{page}");

    // The same names in the CLI, and so in the API that it calls.
    let count = |more: &[&str]| {
        let args = [&["--json", "runs", "list", "--as", "alice"], more].concat();
        house.served.keyhole.call(&args).ok().json().as_array().expect("a list").len()
    };
    assert_eq!(count(&["--until", "2020-01-01"]), 0);
    assert_eq!(count(&["--since", "1h", "--until", "2999-01-01T00:00:00Z"]), 4);
}

#[test]
fn a_run_is_listed_before_a_time_only_if_it_was_accepted_before_it() {
    let house = House::new(&Words::default());
    let runs = house.served.keyhole.call(&["--json", "runs", "list", "--as", "alice"]).ok().json();
    let runs = runs.as_array().expect("a list");
    for (at, run) in runs.iter().enumerate() {
        let accepted = run["accepted"].as_str().expect("a time");
        let args = ["--json", "runs", "list", "--as", "alice", "--until", accepted];
        let before = house.served.keyhole.call(&args).ok().json();
        assert_eq!(before.as_array().expect("a list")[..], runs[at + 1..], "until {accepted}");
    }
}

#[tokio::test]
async fn an_event_that_is_too_long_to_be_edited_is_said_to_be_and_can_be_run_again_as_it_is() {
    let house = House::new(&Words::default());
    let long = "\"tea\" ".repeat(3_000);
    let ran = run_as(&house.served.keyhole, "alice", "orders", &json!({"note": long, "fail": false}));
    let id = ran["run"]["id"].as_str().expect("a run");
    let alice = Visit::of(&house.served, "alice").await;
    let page = alice.get(&format!("/runs/{id}")).await.text;
    assert!(page.contains("The event is too long to be edited here."), "{page}");
    assert!(!page.contains("name=\"event\"") && page.contains(">Run again</button>"), "{page}");
    let again = alice.post(&format!("/runs/{id}/retry"), &[]).await;
    let to = again.header("location").rsplit('/').next().expect("an id").to_owned();
    let shown = house.served.keyhole.call(&["--json", "runs", "show", &to, "--as", "alice"]).ok().json();
    assert_eq!(shown["event"]["note"], long.as_str());
    // All of it is to be had.
    let whole = alice.get(&format!("/runs/{id}/run.json")).await;
    assert!(whole.header("content-disposition").starts_with("attachment"), "{}", whole.header("content-disposition"));
    let whole: serde_json::Value = serde_json::from_str(&whole.text).expect("JSON");
    assert_eq!(whole["event"]["note"], long.as_str());
    let bob = Visit::of(&house.served, "bob").await;
    assert_eq!(bob.get(&format!("/runs/{id}/run.json")).await.status, 404);
}

#[tokio::test]
async fn a_run_of_a_deleted_workflow_can_be_looked_at_and_offers_nothing_that_is_not_there() {
    let house = House::new(&Words::default());
    let alice = Visit::of(&house.served, "alice").await;
    let path = format!("/runs/{}", house.ok);
    let before = alice.get(&path).await.text;
    assert!(before.contains("/workflows/alice/orders") && before.contains("/retry\""), "{before}");
    house.served.keyhole.call(&["workflows", "delete", "orders", "--as", "alice"]).ok();
    for path in [path.as_str(), "/runs"] {
        let page = alice.get(path).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("orders") && !page.text.contains("/workflows/alice/orders"), "{}", page.text);
        assert!(!page.text.contains("/retry\""), "{}", page.text);
    }
}

#[tokio::test]
async fn exact_times_stand_in_each_row_of_runs_and_of_the_audit_and_on_a_runs_page() {
    let house = House::new(&Words::default());
    let alice = Visit::of(&house.served, "alice").await;
    for path in ["/runs", "/audit", &format!("/accounts/{}", house.healthy)] {
        let page = alice.get(path).await.text;
        let (_, body) = page.rsplit_once("<tbody>").expect("a table");
        let rows = body.matches("<tr>").count();
        assert!(rows > 0, "{page}");
        assert_eq!(body.matches(" UTC</small></time>").count(), rows, "{path}: {body}");
    }
    let page = alice.get(&format!("/runs/{}", house.ok)).await.text;
    assert!(page.matches(" UTC</time>").count() >= 4, "when each step began: {page}");
    assert!(page.contains(" UTC</small></time>"), "when it was accepted: {page}");
}

#[test]
fn a_runs_page_shows_when_each_step_ran_what_it_exported_and_logged_and_each_request_with_its_account() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    alice.open(&format!("/runs/{}", house.ok));
    let bars = alice.evaluate(
        "[...document.querySelectorAll('.step')].map((step) => {
          const [bar, ...more] = step.querySelectorAll('summary svg.bar rect');
          const [x, width] = [bar.x.baseVal.value, bar.width.baseVal.value];
          return [bar.className.baseVal, more.length, 0 <= x, 1 <= width, x + width < 100.1, bar.getBoundingClientRect().width > 0];
        })",
    );
    let bar = |status: &str| json!([status, 0, true, true, true, true]);
    assert_eq!(bars, json!([bar("ok"), bar("ok"), bar("ok"), bar("ok"), bar("skipped")]));

    alice.click_text("kept");
    alice.sees("Exported given");
    let below = |title: &str| {
        alice.evaluate(&format!(
            "[...document.querySelectorAll('#step-kept h3')].find((one) => one.textContent === '{title}').nextElementSibling.textContent"
        ))
    };
    assert_eq!(below("Exported given"), "\"an order of tea\"");
    assert_eq!(below("Log"), "export \"an order of tea\"");

    alice.click_text("ask");
    alice.sees("GET api.acme.example/v1/me");
    let request = alice.evaluate(
        "[...document.querySelectorAll('#step-ask tbody tr')].map((row) => [...row.cells].slice(0, 2).map((one) => one.textContent))",
    );
    assert_eq!(request, json!([["GET api.acme.example/v1/me acme", "200"]]));
    alice.evaluate("document.querySelector('#step-ask tbody a').click()");
    alice.arrives(&format!("/accounts/{}$", house.healthy));
}

#[test]
fn a_run_that_failed_in_a_rust_step_shows_the_error_with_the_line_of_its_source() {
    const SOURCE: &str = include_str!("../guests/verbs/src/lib.rs");
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let line = 1 + SOURCE.lines().position(|line| line.contains("Err(Error::step(value")).expect("the verb that fails");
    let alice = house.alice(&browser, &json!({}));
    alice.open(&format!("/runs/{}", house.failed));
    alice.sees("store: the warehouse is closed");
    alice.sees(&format!("src/lib.rs:{line}:"));
}
