//! The broker: the one way out. Every request of every step goes through
//! [`Session::send`], which is told as a story in `session.rs`.
//!
//! It must never forward a request that it did not check, hand a credential to anything
//! but the request that carries it, or answer with a byte of one.

pub mod address;
pub mod audit;
pub mod egress;
mod fetch;
pub mod limits;
pub mod scrub;

mod body;
mod client;
mod exchange;
mod handed;
mod meter;
mod own;
mod placeholder;
mod policy;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod record;
mod redact;
mod retry;
mod session;
mod signature;
mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditError, AuditMode, Decision, Use};
pub use body::{Body, BodyError};
pub use client::{ClientError, Closed, TransportError};
pub use egress::{ClosedHost, Egress, Own, Proxy, Resolve};
pub use fetch::{Fetch, FetchError, Fetched};
pub use limits::{Limits, Rate, Share, Shares, Timeouts};
pub use meter::{RunBooks, Spent};
pub use own::CallError;
pub(crate) use own::OwnCalls;
pub use placeholder::{MARKER, label};
pub use policy::AllowedHost;
pub use session::Session;
pub use survey::Refusal;

use crate::accounts::{AccountId, Accounts, UseError};
use crate::apps::Catalog;
use crate::members::MemberId;
use crate::oauth::OAuth;
use crate::store::Store;
use meter::Meters;
use own::WayOut;

/// Everything that sessions share: one for each open data directory.
pub struct Broker {
    accounts: Arc<Accounts>,
    catalog: Arc<Catalog>,
    audit: Arc<Audit>,
    oauth: Arc<OAuth>,
    way_out: Arc<WayOut>,
    meters: ArcSwap<Meters>,
}

impl Broker {
    /// A broker over these accounts. Opens no connection.
    pub fn new(store: Arc<dyn Store>, accounts: Arc<Accounts>, catalog: Arc<Catalog>, egress: Egress) -> Self {
        let (vault, workspace) = accounts.vault();
        let audit = Arc::new(Audit::new(store.clone(), vault, workspace, egress.audit));
        let meters = ArcSwap::from_pointee(Meters::new(egress.shares.clone()));
        let way_out = Arc::new(WayOut::new(egress));
        let oauth = OAuth::new(store, accounts.clone(), OwnCalls::new(way_out.clone()));
        Self { accounts, catalog, audit, oauth, way_out, meters }
    }

    /// Takes other settings from the next request on. What is under way goes on as it began.
    ///
    /// # Errors
    /// They make no sense, and everything stays as it was.
    pub fn change(&self, egress: Egress) -> Result<(), ClientError> {
        let (shares, mode) = (egress.shares.clone(), egress.audit);
        self.way_out.change(egress)?;
        self.audit.set_mode(mode);
        let meters = self.meters.load().changed(shares);
        self.meters.store(Arc::new(meters));
        Ok(())
    }

    /// Books on a run that has spent so much, by the operator's limits.
    pub fn books(&self, spent: Spent) -> Arc<RunBooks> {
        RunBooks::resumed(self.meters.load().shares().run.clone(), spent)
    }

    /// The audit that its sessions write.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// Returns once everything that was noted of requests so far is on disk.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn settle(&self) -> Result<(), AuditError> {
        self.accounts.usage().flush().await?;
        self.audit.flush().await
    }

    /// What connects accounts by OAuth and keeps their tokens fresh.
    pub fn oauth(&self) -> &Arc<OAuth> {
        &self.oauth
    }

    /// What makes the host's own calls, by the same guard as everything.
    pub(crate) fn own_calls(&self) -> OwnCalls {
        OwnCalls::new(self.way_out.clone())
    }

    /// A session for one attempt at one step.
    pub fn session(self: &Arc<Self>, scope: Scope) -> Arc<Session> {
        Arc::new(Session::new(self.clone(), scope))
    }

    fn meters(&self) -> Arc<Meters> {
        self.meters.load_full()
    }
}

/// What one attempt at one step may do.
#[derive(Clone)]
pub struct Scope {
    /// The run's id.
    pub run: String,
    /// The step's name.
    pub step: String,
    /// On whose behalf it runs.
    pub member: MemberId,
    /// The step's app props, and what they are linked to.
    pub props: BTreeMap<String, Link>,
    /// Hosts that requests without a placeholder may go to, beside the accounts' own.
    pub allow_hosts: Vec<AllowedHost>,
    /// What the run has used of its limits on requests.
    pub books: Arc<RunBooks>,
    /// How often a request that may be sent again is sent again by itself, where the service asks for it or
    /// can't be reached.
    pub retries: u32,
}

/// An app prop of a step.
#[derive(Clone)]
pub struct Link {
    /// The app that the prop declares.
    pub app: String,
    /// The account that the workflow links to it.
    pub account: Option<AccountId>,
}

/// An account as a step gets it.
#[derive(Clone)]
pub struct Injected {
    /// The app's name.
    pub app: String,
    /// What its owner calls it.
    pub nickname: String,
    /// `$auth`.
    pub auth: Vec<Field>,
    /// Where its API starts.
    pub base_url: Option<String>,
    /// Headers that its requests carry, with placeholders.
    pub headers: Vec<(String, String)>,
    /// Query parameters that its requests carry, with placeholders.
    pub query: Vec<(String, String)>,
}

/// One field of `$auth`.
#[derive(Clone)]
pub struct Field {
    /// The name in the app's definition.
    pub name: String,
    /// The placeholder if `secret`, else the value.
    pub value: String,
    /// Whether `value` is a placeholder.
    pub secret: bool,
}

/// Why a step did not get an account.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The step's definition has no such app prop.
    #[error("the step declares no app prop '{0}'; declare it in the step's props")]
    NotDeclared(String),
    /// No account is linked.
    #[error("no account is linked to the prop '{0}'; link one, with --link {0}=ACCOUNT")]
    NotLinked(String),
    /// The member may not use the account.
    #[error("{0}")]
    NoAccess(String),
    /// The account is for another app.
    #[error("the prop '{prop}' takes an account for {wanted}, and the one linked to it is for {got}")]
    WrongApp {
        /// The prop.
        prop: String,
        /// The app that it declares.
        wanted: String,
        /// The account's app.
        got: String,
    },
    /// The credentials no longer work.
    #[error("{0}")]
    ReconnectNeeded(String),
    /// The account was deleted.
    #[error("{0}")]
    Deleted(String),
    /// The check could not be made.
    #[error("the account can't be checked, so it is not used: {0}")]
    Unavailable(String),
}

/// Why a request of a step gave no answer. The text may be shown to the step.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The broker refused it, or the rest of its body; no placeholder left with a credential in its place.
    #[error("refused: {0}")]
    Refused(String),
    /// A limit of the run; nothing left.
    #[error("limit: {0}")]
    Limit(String),
    /// A check could not be made, or the audit not be written; nothing left.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It left, or tried to, and no answer came.
    #[error("{0}")]
    Transport(#[source] TransportError),
    /// The answer came and can't be passed on safely.
    #[error("the answer was refused: {0}")]
    Answer(String),
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The account could not be used.
    #[error("{0}")]
    Access(#[from] AccessError),
    /// The app's definition lists no such purpose.
    #[error("{app} signs nothing for '{purpose}'; it can sign for: {listed}")]
    NotAllowed {
        /// The account's app.
        app: String,
        /// What was asked for.
        purpose: String,
        /// What its definition lists.
        listed: String,
    },
    /// More than 1 MiB.
    #[error("a message to sign may have 1 MiB; this one has {0} bytes")]
    TooLong(usize),
}

/// One request of a run, as the run's record shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Brokered {
    /// When it was made, from the audit's clock.
    pub at: jiff::Timestamp,
    /// The request's method.
    pub method: String,
    /// The request's host, with the port where it is not the scheme's own.
    pub host: String,
    /// The request's path. Never the query.
    pub path: String,
    /// The answer's status.
    pub status: Option<u16>,
    /// The account whose placeholder it carried.
    pub account: Option<String>,
    /// That account's app.
    pub app: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// Why it was refused, or how it failed.
    pub reason: Option<String>,
    /// Bytes of the request's body.
    pub bytes_out: u64,
    /// Bytes of the answer's body.
    pub bytes_in: u64,
    /// Milliseconds from the step's request to the end of the answer's body.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)? / 1e3).map_err(de::Error::custom)
    }
}

impl From<UseError> for AccessError {
    fn from(error: UseError) -> Self {
        let text = error.to_string();
        match error {
            UseError::Deleted(_) => Self::Deleted(text),
            UseError::ReconnectNeeded { .. } => Self::ReconnectNeeded(text),
            UseError::Store(_) => Self::Unavailable(text),
            UseError::NotThere(_) | UseError::NoAccess { .. } | UseError::MemberRemoved(_) => Self::NoAccess(text),
        }
    }
}

impl SendError {
    /// Whether the broker said no, and would say so again. Else the network, the service or the host failed, and the
    /// same request may go through later.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Limit(_) | Self::Answer(_) => true,
            Self::Transport(_) | Self::Unavailable(_) => false,
        }
    }

    /// A word for the kind of reason.
    fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "policy",
            Self::Limit(_) => "limit",
            Self::Unavailable(_) => "unavailable",
            Self::Transport(_) => "transport",
            Self::Answer(_) => "answer",
        }
    }

    /// The same, with `clean` applied to what the other side may have put into its text.
    fn cleaned(self, clean: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Transport(TransportError::Name(text)) => Self::Transport(TransportError::Name(clean(&text))),
            Self::Transport(TransportError::Connect(text)) => Self::Transport(TransportError::Connect(clean(&text))),
            Self::Transport(TransportError::Protocol(text)) => Self::Transport(TransportError::Protocol(clean(&text))),
            Self::Answer(text) => Self::Answer(clean(&text)),
            other => other,
        }
    }
}

impl From<TransportError> for SendError {
    fn from(error: TransportError) -> Self {
        match error {
            // The address is known only once the name is resolved; it is the broker's refusal all the same.
            TransportError::Closed(closed) => Self::Refused(closed.to_string()),
            TransportError::Body(error) if error.is_refusal() => Self::Refused(error.to_string()),
            other => Self::Transport(other),
        }
    }
}

impl From<policy::Denied> for SendError {
    fn from(denied: policy::Denied) -> Self {
        Self::Refused(denied.to_string())
    }
}

impl From<Refusal> for SendError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}
