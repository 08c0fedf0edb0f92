//! What starts a run: a request, the clock, a person, another workflow.

mod cron;
mod http;
mod signature;

pub use cron::{CronError, CronTrigger};
pub use http::{HttpTrigger, NESTED, RespondWith, event_of, is_too_deep};
pub use signature::{Scheme, Signature, SignatureError};
