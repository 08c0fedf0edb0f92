//! Workflows: a trigger and steps in order, whose runs survive whatever happens to the process.
//!
//! Arrows: engine ← workflow ← server ← cli. In here nobody is asked who they are: the server does that, and
//! hands over on whose behalf. An event is acknowledged when it is on disk, never before; a step's result is on
//! disk before the next step begins.

mod added;
mod attempt;
mod blobs;
mod call;
mod clock;
mod components;
mod deploy;
pub mod file;
mod files;
pub mod history;
mod http_request;
mod instance;
mod queue;
pub mod record;
pub mod render;
mod runner;
mod schedule;
pub mod scopes;
mod template;
mod tidy;
mod trace;
pub mod trigger;

pub use added::AddedProps;
pub use attempt::{Attempted, CALLBACKS, Failed, Turn, Who, Work};
pub use call::MOST as RUNS_PER_EVENT;
pub use clock::{Clock, SystemClock};
pub use components::{Component, ComponentError, Components, STEP_MEMORY};
pub use deploy::{DIGEST, Deploy, DeployError, Workflows};
pub use files::{ALL as FILES_BYTES, Files, ONE as FILE_BYTES, PlannedFile, check_path};
use std::sync::Arc;

use keyhole_host_api::broker::Own;
use keyhole_host_api::store::{Store, StoreError};
use url::Url;

pub use http_request::FILE;
pub use runner::{Accepted, EventError, Runner, Told, callback};
pub use tidy::{NEEDED_LATELY, Tidied};

/// Where the processes that serve this store are reached.
///
/// # Errors
/// Whatever the store says.
pub async fn reached(store: &Arc<dyn Store>) -> Result<Own, StoreError> {
    instance::Instances::new(store.clone()).reached().await
}

/// Where browsers find a process that serves this store, if there is one.
///
/// # Errors
/// Whatever the store says.
pub async fn served_at(store: &Arc<dyn Store>) -> Result<Option<Url>, StoreError> {
    instance::Instances::new(store.clone()).public_url().await
}
