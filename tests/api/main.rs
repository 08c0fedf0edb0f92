//! `keyhole serve` and its HTTP API: over the network, beside other processes on the same
//! data directory, and as the commands use it.

mod browser;
mod document;
mod health;
mod hostile;
mod links;
mod listen;
mod removal;
mod rig;
mod roles;
mod three_ways;
mod upkeep;
