//! The time, told to the runner instead of waited for: delays, deadlines and the clock's workflows across restarts.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use keyhole::engine::{Engine, EngineConfig};
use keyhole::workflow::history::{History, Of, Page};
use keyhole::workflow::record::{Cause, Run, RunStatus, WorkflowId};
use keyhole::workflow::render::Renderers;
use keyhole::workflow::{Clock, Components, Deploy, Files, Runner, Work, Workflows};
use keyhole_host_api::broker::Egress;
use keyhole_host_api::data::DataStores;
use keyhole_tests::host::{Host, member};
use keyhole_tests::server::Authority;
use keyhole_tests::workspace::component;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::rig::{HEAD, verb};

/// A clock that a test sets.
#[derive(Clone)]
struct Hands(Arc<Mutex<watch::Sender<Timestamp>>>);

impl Hands {
    fn at(time: &str) -> Self {
        Self(Arc::new(Mutex::new(watch::Sender::new(time.parse().unwrap()))))
    }

    fn forward(&self, hours: i64) {
        self.0.lock().unwrap().send_modify(|now| *now += SignedDuration::from_hours(hours));
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap().borrow()
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut time = self.0.lock().unwrap().subscribe();
        Box::pin(async move {
            // Who waits looks at other things, too, so it must come back before.
            let come = time.wait_for(|now| *now >= at);
            let _ = tokio::time::timeout(std::time::Duration::from_millis(20), come).await;
        })
    }
}

struct House {
    host: Host,
    clock: Hands,
    workflows: Arc<Workflows>,
}

impl House {
    async fn new(clock: &Hands) -> Self {
        let host = Host::new().await;
        let broker = host.broker(&Authority::default(), &[], Egress::default());
        let engine = || Engine::new(EngineConfig { slots: Some(4), ..EngineConfig::default() });
        let work = Work {
            components: Components::new(host.store.clone(), engine),
            broker,
            accounts: host.accounts.clone(),
            data: DataStores::new(host.store.clone()),
            files: Files::new(host.store.clone()),
            renderers: Renderers::here(),
            public_url: None,
        };
        let workflows = Arc::new(Workflows::new(host.store.clone(), Arc::new(work)));
        Self { host, clock: clock.clone(), workflows }
    }

    async fn deploy(&self, text: &str) -> keyhole::workflow::record::Workflow {
        let path = component("verbs");
        let bytes = std::fs::read(&path).unwrap();
        let (added, _) = self.workflows.work().components.add(bytes.into()).await.unwrap();
        let components = [(path.display().to_string(), added.digest)].into();
        let deploy = Deploy { file: text.to_owned(), components, files: Default::default() };
        self.workflows.deploy(&member("alice"), &deploy).await.unwrap()
    }

    /// A process that runs them.
    async fn process(&self) -> Runner {
        let runner = Runner::new(
            self.host.store.clone(),
            History::new(self.host.store.clone()),
            self.workflows.clone(),
            Arc::new(self.clock.clone()),
        );
        runner.start(true).await.unwrap();
        runner
    }

    async fn runs(&self) -> Vec<Run> {
        let of = Of::Workflow(WorkflowId("alice/w".to_owned()));
        let page = Page { before: None, limit: 100, looks: 100 };
        History::new(self.host.store.clone()).list(&of, page, |_| true).await.unwrap().runs
    }

    async fn until(&self, what: &str, mut fits: impl FnMut(&[Run]) -> bool) -> Vec<Run> {
        for _ in 0..1000 {
            let runs = self.runs().await;
            if fits(&runs) {
                return runs;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{what}: {:#?}", self.runs().await);
    }

    /// Waits until the runner has looked at the new time, and lets it do what it will.
    async fn a_while(&self) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

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
    let at = |time: &str| Cause::Cron(time.parse().unwrap());
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
