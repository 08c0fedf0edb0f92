//! Workflows in the test's own process, with a clock that it sets.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use keyhole::engine::{Engine, EngineConfig};
use keyhole::workflow::history::{History, Of, Page};
use keyhole::workflow::record::{Run, Workflow, WorkflowId};
use keyhole::workflow::render::Renderers;
use keyhole::workflow::{AddedProps, Clock, Components, Deploy, Files, Runner, Work, Workflows};
use keyhole_host_api::broker::Egress;
use keyhole_host_api::data::DataStores;
use keyhole_tests::host::{Host, member};
use keyhole_tests::server::Authority;
use keyhole_tests::workspace::component;
use tokio::sync::watch;

/// A clock that a test sets.
#[derive(Clone)]
pub struct Hands(Arc<Mutex<watch::Sender<Timestamp>>>);

impl Hands {
    pub fn at(time: &str) -> Self {
        Self(Arc::new(Mutex::new(watch::Sender::new(time.parse().unwrap()))))
    }

    pub fn time(&self) -> Timestamp {
        *self.0.lock().unwrap().borrow()
    }

    pub fn forward(&self, hours: i64) {
        self.0.lock().unwrap().send_modify(|now| *now += SignedDuration::from_hours(hours));
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        self.time()
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

pub struct House {
    pub host: Host,
    clock: Hands,
    pub workflows: Arc<Workflows>,
}

impl House {
    pub async fn new(clock: &Hands) -> Self {
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
            added: AddedProps::default(),
            public_url: None,
        };
        let workflows = Arc::new(Workflows::new(host.store.clone(), Arc::new(work)));
        Self { host, clock: clock.clone(), workflows }
    }

    pub async fn deploy(&self, text: &str) -> Workflow {
        let path = component("verbs");
        let bytes = std::fs::read(&path).unwrap();
        let (added, _) = self.workflows.work().components.add(bytes.into()).await.unwrap();
        let components = [(path.display().to_string(), added.digest)].into();
        let deploy = Deploy { file: text.to_owned(), components, files: Default::default() };
        self.workflows.deploy(&member("alice"), &deploy).await.unwrap()
    }

    /// A process that runs them.
    pub async fn process(&self) -> Runner {
        let runner = Runner::new(
            self.host.store.clone(),
            History::new(self.host.store.clone()),
            self.workflows.clone(),
            Arc::new(self.clock.clone()),
        );
        runner.start(true).await.unwrap();
        runner
    }

    pub fn history(&self) -> History {
        History::new(self.host.store.clone())
    }

    pub async fn runs(&self) -> Vec<Run> {
        let of = Of::Workflow(WorkflowId("alice/w".to_owned()));
        let page = Page { before: None, limit: 100, looks: 100 };
        self.history().list(&of, page, |_| true).await.unwrap().runs
    }

    pub async fn until(&self, what: &str, mut fits: impl FnMut(&[Run]) -> bool) -> Vec<Run> {
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
    pub async fn a_while(&self) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
