//! Runs what was accepted, until it has ended: also after the process was killed, by another one.
//!
//! It must never run a step again whose result is on disk, and never drop an event that is.

pub mod callback;
mod drive;
mod lead;
mod look;
mod observe;
mod place;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::{Own, Spent};
use keyhole_host_api::store::{Expect, Store, StoreError};
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use place::{Place, Reserved};

use super::clock::Clock;
use super::deploy::Workflows;
use super::history::History;
use super::instance::Instances;
use super::queue::{AT_ONCE, Next, Queue};
use super::record::{Cause, Pending, RunStatus, Waits, Workflow, WorkflowId};
use crate::engine::FlowResponse;
use crate::telemetry::{Parent, Tracer};
use crate::workflow::{call, trace};

/// How often it looks at the clock's workflows, at accounts that runs wait for, and at other processes.
const LOOK: Duration = Duration::from_secs(1);

/// What became of an event that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its run.
    pub run: String,
}

/// Why an event was not accepted. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// As many wait as the workflow lets.
    #[error(
        "{waiting} events wait already, as many as the workflow {workflow} lets; try again later, or raise limits.queue"
    )]
    Full {
        /// The workflow.
        workflow: WorkflowId,
        /// How many.
        waiting: usize,
    },
    /// It is being stopped.
    #[error("Keyhole is being stopped; try again")]
    Stopping,
    /// The event is not JSON.
    #[error("the event can't be kept: {0}")]
    Event(#[from] serde_json::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a run has for whoever started it.
#[derive(Clone, Debug)]
pub enum Told {
    /// What a step gave to `respond`.
    Response(FlowResponse),
    /// The run has ended, or, if it failed, is about to. What the last step returned, if it was ok.
    Ended(RunStatus, Option<Box<RawValue>>),
}

/// Runs workflows. Clones share everything.
#[derive(Clone)]
pub struct Runner(Arc<Inner>);

struct Inner {
    workflows: Arc<Workflows>,
    history: History,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    instances: Instances,
    queue: Mutex<Queue>,
    wake: Notify,
    timers: Mutex<BTreeSet<(Timestamp, String, WorkflowId)>>,
    /// The runs that wait for an account.
    held: Mutex<HashMap<String, (WorkflowId, AccountId)>>,
    /// The runs that are being driven, and whether they are to be looked at once more.
    driven: Mutex<HashMap<String, bool>>,
    /// The runs that wait for a run that a step of theirs started.
    callers: Mutex<HashMap<String, (WorkflowId, String)>>,
    told: Mutex<HashMap<String, oneshot::Sender<Told>>>,
    /// What steps want the callers told who wait, when the run has ended.
    responses: Mutex<HashMap<String, FlowResponse>>,
    slots: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
    /// What hands out runs, once it does.
    dispatcher: Mutex<Option<JoinHandle<()>>>,
    /// What looks around, and says that this process is there.
    looking: Mutex<Option<JoinHandle<()>>>,
    /// What takes spans, if there is a place for them.
    tracer: OnceLock<Tracer>,
    /// Most runs that one event leads to.
    most_started: AtomicU32,
}

/// How far this process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Running,
    /// Nothing more is taken; what runs may go on.
    Stopping,
    /// What runs is broken off, and nothing of it is noted any more: it is on disk how far it came.
    Stopped,
}

/// What led to an event, if something within Keyhole, or known to it, did.
#[derive(Default)]
struct Origin {
    /// The span that had it sent.
    parent: Option<Parent>,
    /// The run that it all began with.
    root: Option<String>,
}

/// Does the work even if nobody waits for it any more.
async fn to_the_end<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    let broken_off = |_| Err(E::from(StoreError::Failed("it was broken off; look whether it was done".to_owned())));
    tokio::spawn(work).await.unwrap_or_else(broken_off)
}

/// The id of a new run: after all that this process gave before, also within one millisecond.
fn new_id() -> String {
    static IDS: Mutex<ulid::Generator> = Mutex::new(ulid::Generator::new());
    let id = match lock(&IDS).generate() {
        Ok(id) => id,
        Err(overflow) => overflow.commit_overflow_increment(),
    };
    id.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    /// A runner of these workflows, whose runs are kept in `history`. Runs nothing before [`Runner::start`].
    pub fn new(store: Arc<dyn Store>, history: History, workflows: Arc<Workflows>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            workflows,
            history,
            instances: Instances::new(store.clone()),
            store,
            clock,
            queue: Mutex::default(),
            wake: Notify::new(),
            timers: Mutex::default(),
            held: Mutex::default(),
            callers: Mutex::default(),
            driven: Mutex::default(),
            told: Mutex::default(),
            responses: Mutex::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            stage: watch::Sender::new(Stage::Running),
            dispatcher: Mutex::default(),
            looking: Mutex::default(),
            tracer: OnceLock::new(),
            most_started: AtomicU32::new(call::MOST),
        }))
    }

    /// The runs that there are.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// From now on, calls and failures lead from one event to so many runs at most.
    pub fn set_most_started(&self, most: u32) {
        self.0.most_started.store(most, Ordering::Relaxed);
    }

    /// Has spans of all runs go there, from its start on.
    pub fn trace_by(&self, tracer: Tracer) {
        let _ = self.0.tracer.set(tracer);
    }

    /// What takes spans.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.0.tracer.get()
    }

    /// Says to other processes where this one is reached, from its start on.
    pub fn reached_at(&self, own: Own, public_url: Url) {
        self.0.instances.reached_at(own, public_url);
    }

    /// Takes over what a process before left, and begins to run. `with_clock` if the clock's workflows are this
    /// process's to start, too.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn start(&self, with_clock: bool) -> Result<(), StoreError> {
        self.0.instances.beat().await?;
        self.adopt().await?;
        self.begin();
        let looking = tokio::spawn(self.clone().look(with_clock));
        *lock(&self.0.looking) = Some(looking);
        Ok(())
    }

    /// Begins to run what this process accepts and nothing else: for a command that waits for its run.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn start_own(&self) -> Result<(), StoreError> {
        self.announce().await?;
        self.begin();
        Ok(())
    }

    /// Makes this process known, so that others take over what it accepts and does not run.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn announce(&self) -> Result<(), StoreError> {
        self.0.instances.beat().await
    }

    fn begin(&self) {
        let dispatcher = tokio::spawn(self.clone().dispatch());
        *lock(&self.0.dispatcher) = Some(dispatcher);
        tokio::spawn(self.clone().timers());
        tokio::spawn(self.clone().callers());
    }

    /// Looks after those who wait for a run, be they runs or people.
    async fn callers(self) {
        while !self.is_stopping() {
            self.forget_callers();
            if let Err(error) = self.callers_look().await {
                tracing::warn!(%error, "runs that others wait for could not be looked at");
            }
            let next = self.0.clock.now().saturating_add(SignedDuration::try_from(LOOK).unwrap_or_default());
            self.0.clock.until(next.unwrap_or(Timestamp::MAX)).await;
        }
    }

    /// Takes nothing more, and begins nothing more; what runs goes on until [`Runner::stop`] ends it.
    pub fn take_no_more(&self) {
        self.0.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Running;
            if first {
                *stage = Stage::Stopping;
            }
            first
        });
        // Who waits for a run that does not go on in this process need not wait longer.
        let driven = lock(&self.0.driven);
        lock(&self.0.told).retain(|run, _| driven.contains_key(run));
    }

    /// Takes nothing more, lets what runs go on until `within` has passed, and leaves the rest on disk for
    /// whoever comes next. Gives how many were left.
    pub async fn stop(&self, within: Duration) -> usize {
        self.take_no_more();
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        let idle = tokio::time::timeout(within, self.0.slots.acquire_many(all)).await;
        let left = if idle.is_ok() { 0 } else { AT_ONCE - self.0.slots.available_permits() };
        // Before they are broken off. Of the others that it has, whoever comes next knows that no step was begun.
        let cut = lock(&self.0.driven).keys().cloned().collect();
        self.0.stage.send_replace(Stage::Stopped);
        let dispatcher = lock(&self.0.dispatcher).take();
        if let Some(dispatcher) = dispatcher {
            let _ = dispatcher.await;
        }
        // So that it does not say once more that it is there.
        let looking = lock(&self.0.looking).take();
        if let Some(looking) = looking {
            looking.abort();
            let _ = looking.await;
        }
        // Whoever takes over what it leaves reads how far that came from the disk.
        let leaves = match self.0.history.flush().await {
            Ok(()) => self.0.instances.leave(cut).await,
            Err(error) => Err(error),
        };
        if let Err(error) = leaves {
            tracing::warn!(%error, "this process could not be taken off the list of those that run workflows");
        }
        left
    }

    /// Accepts an event. It is on disk when this returns. `parent` is the span that had it sent, if one is known.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub async fn accept(
        &self,
        workflow: &Workflow,
        cause: Cause,
        event: Box<RawValue>,
        parent: Option<Parent>,
    ) -> Result<Accepted, EventError> {
        self.take(new_id(), workflow, cause, event, Origin { parent, root: None }).await
    }

    /// Accepts an event whose sender waits for what the run has for them.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub async fn accept_and_tell(
        &self,
        workflow: &Workflow,
        cause: Cause,
        event: Box<RawValue>,
        parent: Option<Parent>,
    ) -> Result<(Accepted, oneshot::Receiver<Told>), EventError> {
        let run = new_id();
        let (tell, told) = oneshot::channel();
        lock(&self.0.told).insert(run.clone(), tell);
        let accepted = self.take(run.clone(), workflow, cause, event, Origin { parent, root: None }).await;
        if accepted.is_err() || self.is_stopping() && !lock(&self.0.driven).contains_key(&run) {
            lock(&self.0.told).remove(&run);
        }
        Ok((accepted?, told))
    }

    /// Takes an event whatever becomes of who asked: a caller that goes away must not leave it half taken.
    async fn take(
        &self,
        run: String,
        workflow: &Workflow,
        cause: Cause,
        event: Box<RawValue>,
        origin: Origin,
    ) -> Result<Accepted, EventError> {
        if self.is_stopping() {
            return Err(EventError::Stopping);
        }
        let (runner, workflow) = (self.clone(), workflow.clone());
        to_the_end(async move { runner.keep(run, &workflow, cause, event, origin).await }).await
    }

    /// Puts an event on disk, and in its place.
    async fn keep(
        &self,
        run: String,
        workflow: &Workflow,
        cause: Cause,
        event: Box<RawValue>,
        Origin { parent, root }: Origin,
    ) -> Result<Accepted, EventError> {
        let id = workflow.id();
        let reserved = Reserved::new(self, workflow, &id)?;
        let pending = Pending {
            workflow: id.clone(),
            version: workflow.version,
            cause,
            accepted: self.0.clock.now(),
            started: None,
            event,
            instance: self.0.instances.id.clone(),
            at: 0,
            attempts: 0,
            again: None,
            child: None,
            resumed: None,
            spent: Spent::default(),
            left: lock(&self.0.dispatcher).is_none(),
            cuts: 0,
            error: None,
            tried: Vec::new(),
            waits: None,
            cancelled: false,
            root,
            trace: self.0.tracer.get().map(|tracer| tracer.begin(&run, parent.as_ref())),
        };
        if let Err(error) = self.0.history.accept(&run, &pending).await {
            if !matches!(error, StoreError::Conflict { .. }) {
                self.look_at_it_soon(&pending.workflow, &run);
            }
            return Err(error.into());
        }
        if let (Some(tracer), Some(trace)) = (self.0.tracer.get(), &pending.trace) {
            trace::triggered(tracer, trace, parent.as_ref(), &run, &pending);
        }
        reserved.taken_by(run.clone());
        Ok(Accepted { run })
    }

    /// Ends a run. False if it has ended already.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn cancel(&self, run: &str) -> Result<bool, StoreError> {
        let (runner, run) = (self.clone(), run.to_owned());
        to_the_end(async move { runner.cancel_now(&run).await }).await
    }

    async fn cancel_now(&self, run: &str) -> Result<bool, StoreError> {
        let history = &self.0.history;
        loop {
            let Some((pending, revision)) = history.pending.get(run).await? else { return Ok(false) };
            let waited = pending.waits.is_some();
            if waited && lock(&self.0.dispatcher).is_none() {
                // So that others take it over if this process goes away before it has ended it.
                self.announce().await?;
            }
            let changed = Pending {
                cancelled: true,
                waits: None,
                // One that waits is nobody's to run: whoever ends it has it.
                instance: if waited { self.0.instances.id.clone() } else { pending.instance.clone() },
                ..pending
            };
            match history.pending.put(run, Expect::Revision(revision), &changed).await {
                // One that is under way looks for itself, in whichever process it is.
                Ok(_) if !waited => return Ok(true),
                Ok(_) => {
                    self.forget_wait(run);
                    // That it is to end is on disk. If that can't be done now, whoever drives it does it.
                    self.drive(&changed.workflow, run).await;
                    return Ok(true);
                }
                // It went on or ended meanwhile.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => {
                    self.look_at_it_soon(&changed.workflow, run);
                    return Err(error);
                }
            }
        }
    }

    /// Has the run go on when what it waits for has come.
    fn wait_for(&self, run: &str, workflow: &WorkflowId, waits: Waits) {
        let (run, workflow) = (run.to_owned(), workflow.clone());
        match waits {
            Waits::Until(at) | Waits::Callback { until: at, .. } => {
                lock(&self.0.timers).insert((at, run, workflow));
            }
            Waits::Reconnect(account) => {
                lock(&self.0.held).insert(run, (workflow.clone(), account));
                // Nor need the others get as far as this one.
                lock(&self.0.queue).hold(&workflow, true);
            }
            Waits::Run(child) => drop(lock(&self.0.callers).insert(run, (workflow, child))),
        }
    }

    fn forget_wait(&self, run: &str) {
        lock(&self.0.held).remove(run);
        lock(&self.0.callers).remove(run);
        lock(&self.0.timers).retain(|(_, waiting, _)| waiting != run);
    }

    /// Runs that are ready, and that are under way in this process.
    pub fn load(&self) -> (usize, usize) {
        lock(&self.0.queue).totals()
    }

    /// Runs that wait for a time or another run, and those that wait for an account to be reconnected.
    pub fn asleep(&self) -> (usize, usize) {
        (lock(&self.0.timers).len() + lock(&self.0.callers).len(), lock(&self.0.held).len())
    }

    fn is_stopping(&self) -> bool {
        *self.0.stage.borrow() >= Stage::Stopping
    }

    /// Puts a run that had begun back in its place.
    async fn go_on(&self, id: &WorkflowId, run: String) {
        self.line_up(id, run, true).await;
    }

    async fn line_up(&self, id: &WorkflowId, run: String, begun: bool) {
        // One that was deleted still ends what it began.
        let workflow = self.0.workflows.get(id).await.ok().flatten();
        let mut queue = lock(&self.0.queue);
        if let Some(workflow) = workflow {
            queue.limits(id, &workflow.limits);
        }
        queue.push(id, run, begun);
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Hands out what is ready, as there is room.
    async fn dispatch(self) {
        let mut stage = self.0.stage.subscribe();
        let mut runs = JoinSet::new();
        loop {
            while runs.try_join_next().is_some() {}
            let next = lock(&self.0.queue).next();
            let wait = match next {
                Next::Run(workflow, run) => {
                    let slot = tokio::select! {
                        biased;
                        _ = stage.wait_for(|stage| *stage >= Stage::Stopping) => break,
                        slot = self.0.slots.clone().acquire_owned() => slot,
                    };
                    let Ok(slot) = slot else { break };
                    let runner = self.clone();
                    runs.spawn(async move {
                        let place = Place { runner: &runner, workflow: &workflow, _slot: slot };
                        runner.drive(&workflow, &run).await;
                        drop(place);
                    });
                    continue;
                }
                Next::After(millis) => Duration::from_millis(millis),
                Next::Nothing => Duration::from_secs(3600),
            };
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = stage.wait_for(|stage| *stage >= Stage::Stopping) => break,
            }
        }
        let _ = stage.wait_for(|stage| *stage == Stage::Stopped).await;
        runs.shutdown().await;
    }

    /// Lets what waited for a time go on when it has come.
    async fn timers(self) {
        loop {
            let now = self.0.clock.now();
            let mut due = Vec::new();
            let next = {
                let mut timers = lock(&self.0.timers);
                while timers.first().is_some_and(|(at, ..)| *at <= now) {
                    due.extend(timers.pop_first());
                }
                timers.first().map(|(at, ..)| *at)
            };
            for (_, run, workflow) in due {
                self.go_on(&workflow, run).await;
            }
            if self.is_stopping() {
                return;
            }
            let at =
                next.unwrap_or(Timestamp::MAX).min(now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(now));
            self.0.clock.until(at).await;
        }
    }
}
