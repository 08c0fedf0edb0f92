//! Runs components: engine, pools, component cache, limits, and the host's side of wit/.
//!
//! Arrows: engine ← workflow ← server ← cli. In here nothing knows of workflows, and the
//! world is reached through a [`StepHost`] alone. No credential may come into this module.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use keyhole::engine::{Engine, EngineConfig, Input, Limits, NoHost};
//!
//! let engine = Engine::new(EngineConfig::default())?;
//! let step = engine.load(std::fs::read("step.wasm")?.into()).await?;
//! let input = Input {
//!     event: "{}".into(),
//!     steps: "{}".into(),
//!     props: "{}".into(),
//!     context: "{}".into(),
//! };
//! let outcome = engine.run(&step, Arc::new(NoHost), &input, &Limits::default()).await;
//! println!("{:?}", outcome.result);
//! # Ok(())
//! # }
//! ```

mod added;
mod allow;
mod bindings;
mod cache;
mod code;
pub mod compile;
mod config;
mod contract;
mod data;
mod definition;
mod host;
mod http;
mod inspect;
mod json;
mod limits;
mod link;
mod log;
mod outcome;
mod run;
mod state;
mod stdio;
mod step;
#[cfg(test)]
mod tests;

pub use added::{filled_in, suffices};
pub use bindings::keyhole::step::types::Input;
pub use compile::CompileError;
pub use config::{CodeCacheConfig, CompileLimits, CompileWorker, EngineConfig, EngineError, PoolReport};
pub(crate) use definition::is_scope;
pub use definition::{BaseType, Definition, DefinitionError, PropDef, PropType, PropsError};
pub use host::{Attempt, NoHost, Observer, StepHost};
pub use inspect::{InspectError, Inspection, inspect};
pub use json::Json;
pub use limits::{Limit, Limits, MAX_DEADLINE, MAX_MEMORY};
pub(crate) use log::LINE_BYTES;
pub use log::{Level, LiveLog, LogLine};
pub use outcome::{FailureKind, RunOutcome, StepFailure};
pub use run::{Engine, Instances, runtime_builder};
pub use state::{Flow, FlowResponse, Pause, Rerun, Tokens};
pub use step::{Digest, LoadError, Step};
