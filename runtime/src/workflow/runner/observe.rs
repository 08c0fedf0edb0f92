//! What comes out of a step while it runs: an answer that does not wait, lines of its log, and its requests.

use std::sync::{Arc, Mutex, Weak};

use keyhole_host_api::broker::Session;

use super::{Runner, Told, lock};
use crate::engine::{FlowResponse, LiveLog, LogLine, Observer};

/// Looks on at the steps of one run.
pub(super) struct Watch {
    runner: Runner,
    run: String,
    log: Mutex<Option<LiveLog>>,
    session: Mutex<Weak<Session>>,
}

impl Watch {
    pub fn new(runner: &Runner, run: &str) -> Arc<Self> {
        Arc::new(Self { runner: runner.clone(), run: run.to_owned(), log: Mutex::default(), session: Mutex::default() })
    }

    /// The lines of the step that runs, after the first `seen`.
    pub fn lines(&self, seen: usize) -> Vec<LogLine> {
        let log = lock(&self.log).clone();
        log.map_or_else(Vec::new, |log| log.lines(seen))
    }

    /// What the attempt that is under way sends by. It must not be kept: it has what the step was handed.
    pub fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).upgrade()
    }
}

impl Observer for Watch {
    fn watch(&self, log: LiveLog) {
        *lock(&self.log) = Some(log);
    }

    fn sends_by(&self, session: &Arc<Session>) {
        *lock(&self.session) = Arc::downgrade(session);
    }

    fn respond(&self, response: FlowResponse) {
        if let Some(tell) = lock(&self.runner.0.told).remove(&self.run) {
            let _ = tell.send(Told::Response(response));
        }
    }
}
