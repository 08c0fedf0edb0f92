//! Workflows by the built program, as people use it: deployed from a file, started by hand, by a request and by
//! the clock, killed in the middle, and looked into.

mod clock;
mod data;
mod deploy;
mod dev;
mod examples;
mod http_request;
mod kill;
mod pause;
mod relaxed;
mod rig;
mod run;
mod telemetry;
mod templates;
mod tidy;
mod trigger;
