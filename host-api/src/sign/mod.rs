//! What the host signs with keys that no step holds, always as an app's definition fixes it.
//!
//! Nothing in here decides whether something may be signed, opens a record or sends a
//! request: `broker` and `oauth` do. No error in here quotes a key.

pub(crate) mod hmac;
pub(crate) mod jwt;

pub use jwt::{JwtError, KeyError};
