//! What comes out of a step while it runs: an answer that does not wait, and lines of its log.

use std::sync::{Arc, Mutex};

use super::{Runner, Told, lock};
use crate::engine::{FlowResponse, LiveLog, LogLine, Observer};

/// Looks on at the steps of one run.
pub(super) struct Watch {
    runner: Runner,
    run: String,
    log: Mutex<Option<LiveLog>>,
}

impl Watch {
    pub fn new(runner: &Runner, run: &str) -> Arc<Self> {
        Arc::new(Self { runner: runner.clone(), run: run.to_owned(), log: Mutex::default() })
    }

    /// The lines of the step that runs, after the first `seen`.
    pub fn lines(&self, seen: usize) -> Vec<LogLine> {
        let log = lock(&self.log).clone();
        log.map_or_else(Vec::new, |log| log.lines(seen))
    }
}

impl Observer for Watch {
    fn watch(&self, log: LiveLog) {
        *lock(&self.log) = Some(log);
    }

    fn respond(&self, response: FlowResponse) {
        if let Some(tell) = lock(&self.runner.0.told).remove(&self.run) {
            let _ = tell.send(Told::Response(response));
        }
    }
}
