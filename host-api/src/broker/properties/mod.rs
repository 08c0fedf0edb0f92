//! What is claimed of the broker's judges for every input, one file a claim. Each is a function from bytes that panics
//! where the claim does not hold: proptest calls it in the tests below, and `host-api/fuzz` has a target for it.
//!
//! Nothing in here is part of the program.

mod addresses;
mod bodies;
mod hosts;
mod party;
mod placeholders;
mod scrubbing;
mod source;
pub(super) mod writings;

pub use addresses::addresses;
pub use bodies::bodies;
pub use hosts::hosts;
pub use placeholders::placeholders;
pub use scrubbing::scrubbing;

#[cfg(test)]
mod tests;
