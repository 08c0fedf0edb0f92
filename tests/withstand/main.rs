//! What hostile steps do, and what happens to them: real components, real sockets, the built
//! program. One test for each thing that the guest does, named for what it proves.

mod access;
mod components;
mod compute;
mod inert;
mod network;
mod output;
mod rig;
mod secrets;
