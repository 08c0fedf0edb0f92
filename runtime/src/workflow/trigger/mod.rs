//! What starts a run: a request, the clock, a person, another workflow.

mod cron;
mod http;
mod signature;

pub use cron::{CronError, CronTrigger};
pub use http::{HttpTrigger, RespondWith, event_of};
pub use signature::{Scheme, Signature, SignatureError};
