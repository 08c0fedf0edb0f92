//! The time, told to the runner instead of waited for: delays, deadlines and the clock's workflows across restarts.

use std::sync::Arc;

use keyhole::workflow::Runner;
use keyhole::workflow::record::{Cause, Run, RunStatus, WorkflowId};
use keyhole_host_api::members::Role;
use keyhole_tests::host::member;
use serde_json::value::RawValue;

use crate::house::{Hands, House};
use crate::rig::{HEAD, verb};

#[tokio::test]
async fn a_delay_and_a_deadline_of_days_hold_across_restarts_to_the_hour() {
    let clock = Hands::at("2026-03-01T12:00:00Z");
    let house = House::new(&clock).await;
    let days = 24 * 3600 * 1000_i64;
    let steps = [HEAD, &verb("a", "delay", &(30 * days).to_string()), &verb("b", "suspend", &days.to_string())];
    let workflow = house.deploy(&(steps.concat() + &verb("c", "return", "\"{{ steps.b.$resume_data }}\""))).await;
    let runner = house.process().await;
    let event = RawValue::from_string("{}".to_owned()).unwrap();
    runner.accept(&workflow, Cause::Manual, event, None).await.unwrap();
    let waits = |runs: &[Run], steps: u32| runs[0].status == RunStatus::Waiting && runs[0].steps == steps;
    let waiting = house.until("the delay", |runs| waits(runs, 1)).await;
    let until = waiting[0].waits.as_ref().and_then(|waits| waits.until());
    assert_eq!(until, Some("2026-03-31T12:00:00Z".parse().unwrap()));

    // Another process, 29 days and 23 hours later: an hour is missing.
    runner.stop(std::time::Duration::ZERO).await;
    clock.forward(30 * 24 - 1);
    let runner = house.process().await;
    house.a_while().await;
    assert!(waits(&house.runs().await, 1));
    clock.forward(1);
    house.until("the second step's wait", |runs| waits(runs, 2)).await;

    // The deadline comes while no process runs.
    runner.stop(std::time::Duration::ZERO).await;
    clock.forward(25);
    let _runner = house.process().await;
    let ended = house.until("its end", |runs| runs[0].status == RunStatus::Ok).await;
    assert_eq!((ended.len(), ended[0].ended), (1, Some("2026-04-01T13:00:00Z".parse().unwrap())));
}

#[tokio::test]
async fn the_clocks_workflow_runs_at_nine_in_vienna_whatever_the_season_and_not_for_what_was_missed() {
    // The night to 25 March 2040 is an hour shorter there. It is deployed before, by the machine's clock.
    let clock = Hands::at("2040-03-24T00:00:00Z");
    let house = House::new(&clock).await;
    let trigger = "[trigger.cron]\nschedule = \"0 9 * * *\"\ntime_zone = \"Europe/Vienna\"\n";
    house.deploy(&[HEAD, trigger, &verb("a", "return", "1")].concat()).await;
    let runner = house.process().await;
    house.a_while().await;
    for _ in 0..48 {
        clock.forward(1);
        house.a_while().await;
    }
    let ended = |runs: &[Run]| runs.iter().filter(|run| run.status == RunStatus::Ok).count();
    let runs = house.until("three runs", |runs| ended(runs) == 3).await;
    let mut times: Vec<_> = runs.iter().map(|run| run.cause.clone()).collect();
    times.reverse();
    // The last of those that were due since it was deployed, and each one since.
    assert_eq!(times, [at("2040-03-23T08:00:00Z"), at("2040-03-24T08:00:00Z"), at("2040-03-25T07:00:00Z")]);

    // A week without a process: of what was missed, one run at most.
    runner.stop(std::time::Duration::ZERO).await;
    clock.forward(7 * 24);
    let _runner = house.process().await;
    house.a_while().await;
    clock.forward(24);
    let runs = house.until("the next", |runs| runs.iter().any(|run| run.cause == at("2040-04-02T07:00:00Z"))).await;
    assert!(runs.len() <= 5, "{runs:#?}");
}

fn at(time: &str) -> Cause {
    Cause::Cron(time.parse().unwrap())
}

/// What the runs were for, the oldest first.
fn causes(runs: &[Run]) -> Vec<Cause> {
    runs.iter().rev().map(|run| run.cause.clone()).collect()
}

fn cron(schedule: &str) -> String {
    let trigger = format!("[trigger.cron]\nschedule = {schedule:?}\ntime_zone = \"Europe/Vienna\"\n");
    [HEAD, &trigger, &verb("a", "return", "1")].concat()
}

/// Forward hour by hour, of which each has so many runs more.
async fn hours(house: &House, clock: &Hands, runs: &[usize]) {
    let mut all = house.runs().await.len();
    for more in runs {
        clock.forward(1);
        all += more;
        house.until("the hour's runs", |runs| runs.len() == all).await;
        // None beyond them.
        house.a_while().await;
        assert_eq!(house.runs().await.len(), all);
    }
}

#[tokio::test]
async fn over_both_changes_of_the_clocks_each_hour_has_its_run_and_each_night_one() {
    // 25 March 2040 has no 02:00 in Vienna; 28 October has it twice.
    for begin in ["2040-03-24T22:00:00Z", "2040-10-27T22:00:00Z"] {
        let clock = Hands::at(begin);
        let house = House::new(&clock).await;
        house.deploy(&cron("0 * * * *")).await;
        let _runner = house.process().await;
        house.until("the first", |runs| runs.len() == 1).await;
        hours(&house, &clock, &[1; 6]).await;
    }
    let clock = Hands::at("2040-10-27T22:00:00Z");
    let house = House::new(&clock).await;
    house.deploy(&cron("0 2 * * *")).await;
    let _runner = house.process().await;
    // The last one since it was deployed; then the first of the two times that it is two o'clock.
    house.until("the first", |runs| runs.len() == 1).await;
    hours(&house, &clock, &[0, 1, 0, 0]).await;
    let runs = house.runs().await;
    assert_eq!(causes(&runs), [at("2040-10-27T00:00:00Z"), at("2040-10-28T00:00:00Z")]);
}

#[tokio::test]
async fn what_was_due_while_it_was_off_does_not_run_when_it_is_turned_on_again() {
    let clock = Hands::at("2040-01-10T12:00:00Z");
    let house = House::new(&clock).await;
    house.deploy(&cron("0 9 * * *")).await;
    let _runner = house.process().await;
    house.until("the first", |runs| runs.len() == 1).await;
    let id = WorkflowId("alice/w".to_owned());
    house.workflows.enable(&id, false, clock.time()).await.unwrap();
    house.a_while().await;
    clock.forward(3 * 24);
    house.a_while().await;
    house.workflows.enable(&id, true, clock.time()).await.unwrap();
    // That it is on already changes nothing.
    clock.forward(1);
    house.workflows.enable(&id, true, clock.time()).await.unwrap();
    house.a_while().await;
    assert_eq!(house.runs().await.len(), 1);
    clock.forward(24);
    let runs = house.until("the next", |runs| runs.len() == 2).await;
    assert_eq!(causes(&runs), [at("2040-01-10T08:00:00Z"), at("2040-01-14T08:00:00Z")]);
}

#[tokio::test]
async fn of_the_600_000_times_that_a_week_without_a_process_misses_the_last_one_runs() {
    let clock = Hands::at("2040-01-10T12:00:00Z");
    let house = House::new(&clock).await;
    house.deploy(&cron("* * * * * *")).await;
    let runner = house.process().await;
    house.until("the first", |runs| runs.len() == 1).await;
    runner.stop(std::time::Duration::ZERO).await;
    clock.forward(7 * 24);
    let _runner = house.process().await;
    let runs = house.until("the last", |runs| runs.len() == 2).await;
    assert_eq!(causes(&runs), [at("2040-01-10T12:00:00Z"), at("2040-01-17T12:00:00Z")]);
}

#[tokio::test]
async fn what_a_removed_member_left_runs_for_nobody_who_bears_the_name_later() {
    // Later than the machine's, by which it is deployed.
    let clock = Hands::at("2040-03-24T00:00:00Z");
    let house = House::new(&clock).await;
    let trigger = "[trigger.cron]\nschedule = \"0 * * * *\"\n";
    let text = [HEAD, trigger, &verb("a", "return", "1")].concat();
    let workflow = house.deploy(&text).await;
    house.workflows.enable(&workflow.id(), false, clock.time()).await.unwrap();
    // Accepted, and left to others to run.
    let (store, workflows) = (house.host.store.clone(), house.workflows.clone());
    let runner = Runner::new(store, house.history(), workflows, Arc::new(clock.clone()));
    let event = RawValue::from_string("{}".to_owned()).unwrap();
    runner.accept(&workflow, Cause::Manual, event, None).await.unwrap();

    let members = &house.host.members;
    let bob = members.get(&member("bob")).await.unwrap().unwrap();
    members.set_role(&bob, Role::Admin).await.unwrap();
    members.remove(&member("alice")).await.unwrap();
    // As a call does that was under way.
    house.workflows.enable(&workflow.id(), true, clock.time()).await.unwrap();
    members.add(member("alice"), None).await.unwrap();
    assert!(house.workflows.get(&workflow.id()).await.unwrap().is_none());
    assert!(house.workflows.list(Some(&member("alice"))).await.unwrap().is_empty());

    let _runner = house.process().await;
    let runs = house.until("its end", |runs| runs.iter().all(|run| run.ended.is_some())).await;
    let error = runs[0].error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
    assert!(runs[0].status == RunStatus::Failed && error.contains("no member any more"), "{runs:#?}");
    clock.forward(3);
    house.a_while().await;
    assert_eq!(house.runs().await.len(), 1, "the clock starts nothing");

    // One of their own is theirs, with another address.
    let own = house.deploy(&text).await;
    assert!(own.enabled && own.hook != workflow.hook && own.version == 2, "{own:?}");
    clock.forward(1);
    house.until("a run of it", |runs| runs[0].status == RunStatus::Ok && runs[0].version == 2).await;
}
