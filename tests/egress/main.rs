//! What the operator says of the way out: how many requests there may be, by which way they leave, what is closed;
//! and that it can be changed while Keyhole serves.

mod failures;
mod limits;
mod process;
mod retry;
mod settings;
mod soak;
mod way_out;
