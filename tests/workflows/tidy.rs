//! What no workflow and no run needs any more goes, and nothing else: also when that is cut off, and while somebody
//! deploys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyhole::engine::{Engine, EngineConfig};
use keyhole::workflow::history::{History, Of, Page, Within, came};
use keyhole::workflow::record::{Cause, Details, Run, RunStatus, Workflow, WorkflowId};
use keyhole::workflow::render::Renderers;
use keyhole::workflow::{
    AddedProps, Component, Components, Deploy, DeployError, Files, NEEDED_LATELY, Runner, SystemClock, Work, Workflows,
};
use keyhole_host_api::broker::Egress;
use keyhole_host_api::data::DataStores;
use keyhole_host_api::store::records::Records;
use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::store::{Durable, Expect, Revision, Store, StoreError, Versioned};
use keyhole_tests::host::{Host, member};
use keyhole_tests::server::Authority;
use keyhole_tests::workspace::component;
use serde_json::value::RawValue;

use crate::rig::{HEAD, Serving, deploy as deploy_file, keyhole, list, verb};

/// Whatever is not needed now has not been for long.
const NONE: SignedDuration = SignedDuration::from_secs(-1);

/// The workflows on `store`, as a process that has just been started sees them.
fn workflows(host: &Host, store: &Arc<dyn Store>) -> Arc<Workflows> {
    let engine = || Engine::new(EngineConfig { slots: Some(4), ..EngineConfig::default() });
    let work = Work {
        components: Components::new(store.clone(), engine),
        broker: host.broker(&Authority::default(), &[], Egress::default()),
        accounts: host.accounts.clone(),
        data: DataStores::new(store.clone()),
        files: Files::new(store.clone()),
        renderers: Renderers::here(),
        added: AddedProps::default(),
        public_url: None,
    };
    Arc::new(Workflows::new(store.clone(), Arc::new(work)))
}

async fn add(workflows: &Workflows, package: &str) -> String {
    let bytes = std::fs::read(component(package)).unwrap();
    workflows.work().components.add(bytes.into()).await.unwrap().0.digest
}

async fn deploy(workflows: &Workflows, text: &str, components: &[(&str, &str)]) -> Result<Workflow, DeployError> {
    let path = |package: &str| component(package).display().to_string();
    let components = components.iter().map(|(package, digest)| (path(package), (*digest).to_owned())).collect();
    let files = BTreeMap::from([("a.csv".to_owned(), "a,b\n".into())]);
    workflows.deploy(&member("alice"), &Deploy { file: text.to_owned(), components, files }).await
}

/// A version whose one step sends a file.
fn sends() -> String {
    format!(
        "{HEAD}[[steps]]\nname = \"a\"\nuses = \"http-request\"\nprops = {{ url = \"https://a.example\", file = \"a.csv\" }}\n"
    )
}

fn uses(package: &str) -> String {
    format!("{HEAD}[[steps]]\nname = \"a\"\nuses = {:?}\n", component(package).display().to_string())
}

async fn keys(store: &Arc<dyn Store>, folder: &str) -> usize {
    store.scan(folder, None, 10_000).await.unwrap().len()
}

async fn until(history: &History, run: &str, status: RunStatus) {
    for _ in 0..1000 {
        if history.run(run).await.unwrap().unwrap().status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the run did not come to be {status:?}");
}

fn id() -> WorkflowId {
    WorkflowId("alice/w".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_when_no_run_is_of_it_and_with_it_what_it_alone_needed() {
    let host = Host::new().await;
    let store = host.store.clone();
    let workflows = workflows(&host, &store);
    let (inert, verbs) = (add(&workflows, "inert").await, add(&workflows, "verbs").await);
    let waits = format!("{HEAD}{}{}", verb("a", "delay", "600000"), verb("b", "return", "1"));
    deploy(&workflows, &uses("inert"), &[("inert", &inert)]).await.unwrap();
    let second = deploy(&workflows, &waits, &[("verbs", &verbs)]).await.unwrap();
    let runner = Runner::new(store.clone(), History::new(store.clone()), workflows.clone(), Arc::new(SystemClock));
    runner.start(false).await.unwrap();
    let event = RawValue::from_string("{}".to_owned()).unwrap();
    let run = runner.accept(&second, Cause::Manual, event, None).await.unwrap().run;
    let history = History::new(store.clone());
    until(&history, &run, RunStatus::Waiting).await;
    deploy(&workflows, &sends(), &[]).await.unwrap();
    deploy(&workflows, &sends(), &[]).await.unwrap();
    assert_eq!(keys(&store, "workflow-files/").await, 2);

    // Within the hour nothing goes.
    assert_eq!(workflows.tidy(&history, NEEDED_LATELY).await.unwrap(), Default::default());
    // The first goes with its component; the second has a run, and what is after it may have had.
    let tidied = workflows.tidy(&history, NONE).await.unwrap();
    assert_eq!((tidied.versions, tidied.components, tidied.files), (1, 1, 0));
    assert!(workflows.version(&id(), 1).await.unwrap().is_none());
    assert!(workflows.work().components.get(&inert).await.unwrap().is_none());
    assert_eq!(keys(&store, &format!("component-pieces/{inert}/")).await, 0);
    assert!(workflows.work().components.get(&verbs).await.unwrap().is_some());

    // Ended, the run keeps it as long as it is in the history itself.
    runner.cancel(&run).await.unwrap();
    until(&history, &run, RunStatus::Cancelled).await;
    assert_eq!(workflows.tidy(&history, NONE).await.unwrap().versions, 0);
    let soon = Timestamp::now().checked_add(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(history.prune(soon).await.unwrap(), 1);
    let tidied = workflows.tidy(&history, NONE).await.unwrap();
    assert_eq!((tidied.versions, tidied.components, tidied.files), (2, 1, 1));
    let now = workflows.version(&id(), 4).await.unwrap().expect("the current one stays");
    workflows.work().files.get(now.steps[0].file.as_ref().unwrap()).await.expect("and what it sends");

    // What is gone can come again, and not without its bytes.
    let none = deploy(&workflows, &uses("inert"), &[("inert", &inert)]).await.unwrap_err();
    assert!(none.to_string().contains("there is no component"), "{none}");
    let again = add(&workflows, "inert").await;
    deploy(&workflows, &uses("inert"), &[("inert", &again)]).await.unwrap();
    crate::tidy::workflows(&host, &store).work().components.step(&inert).await.expect("whole again");

    // Of one that was deleted, nothing stays. It is seen to be gone first, and then for a while.
    workflows.delete(&id()).await.unwrap();
    workflows.tidy(&history, NONE).await.unwrap();
    assert_eq!(workflows.tidy(&history, NONE).await.unwrap(), Default::default(), "there is nothing more to do");
    for folder in ["workflow-versions/", "workflow-files/", "components/", "component-pieces/", "started/"] {
        assert_eq!(keys(&store, folder).await, 0, "{folder}");
    }
    runner.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_after_it_was_deleted_is_newer_than_what_is_left_of_it() {
    let host = Host::new().await;
    let store = host.store.clone();
    let (workflows, history) = (workflows(&host, &store), History::new(store.clone()));
    deploy(&workflows, &sends(), &[]).await.unwrap();
    deploy(&workflows, &sends(), &[]).await.unwrap();
    // The first goes and the second stays: its number must not come again below it.
    workflows.tidy(&history, NONE).await.unwrap();
    assert!(workflows.version(&id(), 1).await.unwrap().is_none());
    workflows.delete(&id()).await.unwrap();
    assert_eq!(deploy(&workflows, &sends(), &[]).await.unwrap().version, 3);
    assert_eq!(workflows.tidy(&history, NONE).await.unwrap().versions, 1);
    assert!(workflows.version(&id(), 3).await.unwrap().is_some(), "the current one stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_bytes_were_lost_is_whole_again_once_it_is_added() {
    let host = Host::new().await;
    let store = host.store.clone();
    let small = add(&workflows(&host, &store), "small").await;
    let folder = format!("component-pieces/{small}/");
    let (lost, _) = store.scan(&folder, None, 1).await.unwrap().pop().unwrap();
    store.write(&lost, Expect::Any, None).await.unwrap();
    let late = workflows(&host, &store);
    assert!(late.work().components.step(&small).await.is_err());
    assert!(late.work().components.get(&small).await.unwrap().is_none(), "who has it must give it again");
    assert_eq!(add(&late, "small").await, small);
    workflows(&host, &store).work().components.step(&small).await.expect("whole again");
}

/// A store that fails as it deletes for the `left`th time, as if the process had been killed there.
struct Cut {
    store: Arc<dyn Store>,
    left: AtomicI64,
}

#[async_trait]
impl Store for Cut {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.store.scan(prefix, after, limit).await
    }

    async fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.store.scan_back(prefix, before, limit).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn write(&self, key: &str, expect: Expect, value: Option<Vec<u8>>) -> Result<Revision, StoreError> {
        if value.is_none() && self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(StoreError::Failed("it was cut off".to_owned()));
        }
        self.store.write(key, expect, value).await
    }

    fn write_soon(&self, key: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.store.write_soon(key, value)
    }

    fn write_all_soon(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        let deletes = records.iter().any(|(_, value)| value.is_none());
        if deletes && self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(StoreError::Failed("it was cut off".to_owned()));
        }
        self.store.write_all_soon(records)
    }

    fn append(&self, key: &str, value: Vec<u8>) -> Result<Durable, StoreError> {
        self.store.append(key, value)
    }

    async fn replace(&self, records: Vec<(String, Vec<u8>)>, kept: &'static [&'static str]) -> Result<(), StoreError> {
        self.store.replace(records, kept).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_lost_what_is_needed_stays_wherever_tidying_up_is_cut_off() {
    let host = Host::new().await;
    let store = host.store.clone();
    let whole = workflows(&host, &store);
    let (inert, verbs) = (add(&whole, "inert").await, add(&whole, "verbs").await);
    for _ in 0..3 {
        deploy(&whole, &uses("inert"), &[("inert", &inert)]).await.unwrap();
        deploy(&whole, &sends(), &[]).await.unwrap();
    }
    let last = format!("{}{}", sends(), verb("b", "return", "1"));
    let current = deploy(&whole, &last, &[("verbs", &verbs)]).await.unwrap();
    let mut cuts = 0;
    for left in 0.. {
        let cut: Arc<dyn Store> = Arc::new(Cut { store: store.clone(), left: AtomicI64::new(left) });
        let tidied = workflows(&host, &cut).tidy(&History::new(cut.clone()), NONE).await;
        // Whoever comes next finds all that runs need.
        let next = workflows(&host, &store);
        let version = next.version(&id(), current.version).await.unwrap().expect("the current version");
        next.work().files.get(version.steps[0].file.as_ref().unwrap()).await.expect("its file");
        next.work().components.step(&verbs).await.expect("its component");
        // A component that is said to be there is whole.
        if next.work().components.get(&inert).await.unwrap().is_some() {
            next.work().components.step(&inert).await.expect("whole");
        }
        if tidied.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 3, "it was cut off {cuts} times");
    assert_eq!(keys(&store, "workflow-versions/").await, 1);
    assert_eq!(keys(&store, "workflow-files/").await, 1);
    assert_eq!(keys(&store, "components/").await, 1);
    assert_eq!(keys(&store, &format!("component-pieces/{inert}/")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_component_goes_while_a_workflow_is_deployed_that_needs_it() {
    let host = Host::new().await;
    let store = host.store.clone();
    let heads = Records::<Component>::new(store.clone());
    let (deploying, tidying) = (workflows(&host, &store), workflows(&host, &store));
    let history = History::new(store.clone());
    let long_ago = Timestamp::now().checked_sub(SignedDuration::from_hours(2)).unwrap();
    let (mut kept, mut gone) = (0, 0);
    for _ in 0..40 {
        let inert = add(&deploying, "inert").await;
        // Nobody has asked for it for long.
        heads.update(&inert, |head| (head.used, head.deployed) = (Some(long_ago), long_ago)).await.unwrap();
        let (text, components) = (uses("inert"), [("inert", inert.as_str())]);
        let (deployed, tidied) =
            tokio::join!(deploy(&deploying, &text, &components), tidying.tidy(&history, NEEDED_LATELY));
        tidied.unwrap();
        match deployed {
            Ok(_) => {
                let there = workflows(&host, &store);
                there.work().components.step(&inert).await.expect("the component of the current version");
                kept += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("there is no component"), "{error}");
                gone += 1;
            }
        }
        deploying.delete(&id()).await.unwrap();
        for (key, _) in store.scan("workflow-versions/", None, 100).await.unwrap() {
            store.write(&key, Expect::Any, None).await.unwrap();
        }
    }
    assert!(kept + gone == 40 && kept > 0, "{kept} kept, {gone} gone");
}

/// A run of alice's workflow `w` that was accepted and has ended at that time.
async fn ended_at(history: &History, at: Timestamp) -> String {
    ended_when(history, at, at).await
}

/// A run of this workflow that was accepted at that time, whose event was due then.
async fn accepted(history: &History, workflow: &str, due: Timestamp, at: Timestamp) -> String {
    let number = 1 + u128::from(workflow != "alice/w");
    let id = ulid::Ulid::from_parts(u64::try_from(due.as_millisecond()).unwrap(), number).to_string();
    let pending = serde_json::json!({
        "workflow": workflow, "version": 1, "cause": "http", "accepted": at, "instance": "test", "event": {},
    });
    history.accept(&id, &serde_json::from_str(&pending.to_string()).unwrap()).await.unwrap();
    id
}

/// A run of alice's workflow `w` that was accepted and has ended at that time, whose event was due then.
async fn ended_when(history: &History, due: Timestamp, at: Timestamp) -> String {
    let event = RawValue::from_string("{}".to_owned()).unwrap();
    let workflow = WorkflowId("alice/w".to_owned());
    let id = accepted(history, &workflow.0, due, at).await;
    let run = Run {
        id: id.clone(),
        workflow,
        version: 1,
        cause: Cause::Http,
        status: RunStatus::Ok,
        accepted: at,
        started: Some(at),
        ended: Some(at),
        steps: 0,
        bytes: 0,
        error: None,
        waits: None,
    };
    history.end(&run, &Details { event, steps: Vec::new(), tried: Vec::new(), exit: None }).await.unwrap();
    id
}

#[tokio::test]
async fn serve_removes_the_runs_that_ended_longer_ago_than_the_operator_keeps_them() {
    let keyhole = keyhole();
    keyhole.has_long_been("alice").await;
    deploy_file(&keyhole, &format!("{HEAD}{}", verb("a", "return", "1"))).ok();
    let now = Timestamp::now();
    let (old, young) = {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&keyhole.data_dir()).unwrap());
        let history = History::new(store);
        let old = ended_at(&history, now - SignedDuration::from_mins(61)).await;
        let young = ended_at(&history, now - SignedDuration::from_mins(50)).await;
        history.flush().await.unwrap();
        (old, young)
    };
    let ids = || list(&keyhole, &[]).iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(), [young.clone(), old]);
    let config = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[runs]\nkeep = \"1h\"\n").unwrap();
    let _serving = Serving::with(&keyhole, &["--config", config.to_str().unwrap()]);
    crate::rig::until("the old run to be gone", || (ids() == [young.clone()]).then_some(()));
}

#[tokio::test]
async fn a_run_that_was_made_up_for_keeps_no_older_one_and_is_listed_by_when_it_was_due() {
    let host = Host::new().await;
    let history = History::new(host.store.clone());
    let now = Timestamp::now();
    let ago = |minutes: i64| now - SignedDuration::from_mins(minutes);
    let late = ended_when(&history, ago(90), ago(1)).await;
    let old = ended_at(&history, ago(80)).await;
    let young = ended_at(&history, ago(50)).await;
    history.flush().await.unwrap();
    let run = history.run(&late).await.unwrap().unwrap();
    assert_eq!(came(&run).as_second(), ago(90).as_second());
    let run = history.run(&young).await.unwrap().unwrap();
    assert_eq!(came(&run), run.accepted);
    assert_eq!(history.prune(ago(60)).await.unwrap(), 1);
    assert!(history.run(&old).await.unwrap().is_none());
    assert!(history.run(&late).await.unwrap().is_some() && history.run(&young).await.unwrap().is_some());
}

#[tokio::test]
async fn what_others_have_under_way_is_no_part_of_a_list() {
    let host = Host::new().await;
    let history = History::new(host.store.clone());
    let now = Timestamp::now();
    let ago = |minutes: i64| now - SignedDuration::from_mins(minutes);
    let mine = accepted(&history, "alice/w", ago(900), ago(900)).await;
    // More than are read at a time.
    let mut others = Vec::new();
    for minutes in 0..300 {
        others.push(accepted(&history, "bob/w", ago(minutes), ago(minutes)).await);
    }
    let open = Within { since: None, open: true };
    let owner = |name: &str| Of::Owner(name.to_owned());
    for of in [owner("alice"), Of::Workflow(WorkflowId("alice/w".to_owned()))] {
        let page = Page { before: None, limit: 10, looks: 10 };
        let listed = history.list_within(&of, page, open, |_| true).await.unwrap();
        let ids: Vec<_> = listed.runs.iter().map(|run| &run.id).collect();
        assert_eq!((ids, listed.more), (vec![&mine], None), "{of:?}");
    }
    let page = Page { before: None, limit: 1000, looks: 1000 };
    let listed = history.list_within(&owner("bob"), page, open, |_| true).await.unwrap();
    assert!(listed.runs.iter().map(|run| &run.id).eq(&others), "all of them, the newest first");
}
