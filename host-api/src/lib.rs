//! What Keyhole does for a step outside the sandbox, and where it is kept: the
//! store, the vault, the apps, the members' accounts and the broker.
//!
//! There is no WebAssembly in here. The engine in `runtime` calls [`broker::Session`].

#[cfg(test)]
#[macro_use]
mod sealed;

pub mod accounts;
pub mod apps;
pub mod broker;
pub mod data;
pub mod members;
pub mod oauth;
pub mod oidc;
pub mod passkeys;
pub mod sign;
pub mod store;
pub mod tokens;
pub mod upkeep;
pub mod vault;
pub mod workspace;
