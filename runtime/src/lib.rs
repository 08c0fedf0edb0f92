//! The runtime of Keyhole: WebAssembly, workflows, and what the `keyhole` program is made of.

pub mod engine;
pub mod server;
pub mod telemetry;
pub mod workflow;
