//! One request's record: what the run shows of it, and what the audit keeps. It is
//! finished exactly once, however the request ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;
use url::Url;

use super::audit::{Audit, Decision, Use};
use super::body::OnEnd;
use super::{AccessError, Brokered, Link, Scope, SendError, policy};
use crate::accounts::AccountId;

/// Longest path that is recorded, in characters.
const PATH: usize = 512;

/// The requests of a session, in the order in which they were made.
pub(super) type Requests = Arc<Mutex<Vec<Brokered>>>;

pub(super) struct Record {
    pub(super) used: Use,
    /// Whether an intent was written, so that an outcome is owed.
    pub(super) intended: bool,
    /// Whether a part of it may have left the host.
    pub(super) left: bool,
    pub(super) sent: Arc<AtomicU64>,
    started: Instant,
    audit: Arc<Audit>,
    requests: Requests,
    index: usize,
    finished: bool,
    /// Which kind of reason there is, if it got no answer.
    kind: &'static str,
    /// Held until the request is over.
    open: TaskTrackerToken,
}

impl Record {
    pub(super) fn new(
        scope: &Scope,
        method: &http::Method,
        audit: &Arc<Audit>,
        requests: &Requests,
        open: TaskTrackerToken,
    ) -> Self {
        let used = Use { method: method.as_str().chars().take(20).collect(), ..unused(scope) };
        let index = {
            let mut requests = requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            requests.push(shown(&used, Instant::now(), Some("the run ended before the answer did")));
            requests.len() - 1
        };
        Self {
            used,
            intended: false,
            left: false,
            sent: Arc::default(),
            started: Instant::now(),
            audit: audit.clone(),
            requests: requests.clone(),
            index,
            finished: false,
            kind: "ended",
            open,
        }
    }

    /// Where the request goes. `path` has no placeholder in it any more.
    pub(super) fn destination(&mut self, url: &Url, path: &str) {
        self.used.host = policy::shown_host(url);
        self.used.path = path.chars().take(PATH).collect();
    }

    pub(super) fn status(&mut self, status: StatusCode) {
        self.used.status = Some(status.as_u16());
    }

    /// The request got no answer that the step may see.
    pub(super) fn failed(mut self, error: &SendError) {
        // The body that was read for the answer has told of its end already.
        if self.finished {
            return;
        }
        self.used.reason = Some(error.to_string());
        self.kind = error.kind();
        if !self.left && !matches!(error, SendError::Transport(_) | SendError::Answer(_)) {
            self.used.decision = Decision::Refused;
        }
        let bytes_in = self.used.bytes_in;
        self.finish(bytes_in, None);
    }

    /// What runs when the answer's body has ended. Gives the request's places in the queues back.
    pub(super) fn on_end(&mut self, places: Vec<OwnedSemaphorePermit>) -> OnEnd {
        let mut rest = Self {
            used: self.used.clone(),
            intended: self.intended,
            left: self.left,
            sent: self.sent.clone(),
            started: self.started,
            audit: self.audit.clone(),
            requests: self.requests.clone(),
            index: self.index,
            finished: false,
            kind: "ended",
            open: self.open.clone(),
        };
        self.finished = true;
        Box::new(move |bytes_in, failure| {
            rest.finish(bytes_in, failure);
            drop(places);
        })
    }

    /// For the operator's metrics, which hold nothing of whose it is.
    fn count(&self) {
        let app = || self.used.app.clone().unwrap_or_else(|| "none".to_owned());
        // Which numbers there are is the server's choice.
        let known = |status: u16| StatusCode::from_u16(status).is_ok_and(|code| code.canonical_reason().is_some());
        let status = match self.used.status {
            None => "none".to_owned(),
            Some(status) if known(status) => status.to_string(),
            Some(_) => "other".to_owned(),
        };
        let decision = match self.used.decision {
            Decision::Allowed => "allowed",
            Decision::Refused => "refused",
        };
        metrics::counter!("keyhole_requests_total", "app" => app(), "decision" => decision, "status" => status)
            .increment(1);
        metrics::histogram!("keyhole_request_seconds", "app" => app()).record(self.started.elapsed().as_secs_f64());
        if decision == "refused" {
            metrics::counter!("keyhole_requests_refused_total", "reason" => self.kind).increment(1);
        }
    }

    fn finish(&mut self, bytes_in: u64, failure: Option<String>) {
        self.finished = true;
        self.used.bytes_out = self.sent.load(Ordering::Relaxed);
        self.used.bytes_in = bytes_in;
        if failure.is_some() {
            self.used.reason = failure;
        }
        self.count();
        let written = match self.used.decision {
            Decision::Refused if !self.intended => self.audit.refusal(&self.used),
            _ => self.audit.outcome(&self.used),
        };
        match written {
            Ok(()) => {}
            // The intent is on disk; the next request is refused by the audit itself.
            Err(error) if self.intended && self.used.decision == Decision::Allowed => {
                metrics::counter!("keyhole_audit_failures_total").increment(1);
                tracing::error!(%error, "an outcome could not be recorded")
            }
            // Nothing left the host, and the audit says the same to whoever flushes it.
            Err(error) => tracing::debug!(%error, "a refusal could not be recorded"),
        }
        let mut requests = self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        requests[self.index] = shown(&self.used, self.started, None);
    }
}

fn unused(scope: &Scope) -> Use {
    Use {
        id: ulid::Ulid::generate().to_string(),
        at: Timestamp::now(),
        run: scope.run.clone(),
        step: scope.step.clone(),
        member: scope.member.to_string(),
        account: None,
        app: None,
        method: String::new(),
        host: String::new(),
        path: String::new(),
        status: None,
        bytes_out: 0,
        bytes_in: 0,
        decision: Decision::Allowed,
        reason: None,
    }
}

/// A linked account that was refused before there was a request.
pub(super) fn refused_account(scope: &Scope, link: &Link, account: &AccountId, error: &AccessError) -> Use {
    Use {
        account: Some(account.to_string()),
        app: Some(link.app.clone()),
        decision: Decision::Refused,
        reason: Some(error.to_string()),
        ..unused(scope)
    }
}

/// A request whose future was dropped (the run ended) is recorded all the same.
impl Drop for Record {
    fn drop(&mut self) {
        if !self.finished {
            self.finish(0, Some("the run ended before the answer came".to_owned()));
        }
    }
}

fn shown(used: &Use, started: Instant, reason: Option<&str>) -> Brokered {
    Brokered {
        at: used.at,
        method: used.method.clone(),
        host: used.host.clone(),
        path: used.path.clone(),
        status: used.status,
        account: used.account.clone(),
        app: used.app.clone(),
        decision: used.decision,
        reason: reason.map(str::to_owned).or_else(|| used.reason.clone()),
        bytes_out: used.bytes_out,
        bytes_in: used.bytes_in,
        duration: started.elapsed(),
    }
}
