//! What the host signs with keys that no step holds, always as an app's definition fixes it.
//!
//! Nothing in here decides whether something may be signed, opens a record or sends a
//! request: `broker` and `oauth` do. No error in here quotes a key.

pub(crate) mod hmac;
pub(crate) mod jwt;
pub(crate) mod oauth1;
pub(crate) mod sigv4;

pub use jwt::{JwtError, KeyError};
pub use oauth1::OAuth1Error;
pub use sigv4::{ChunkError, ClaimError};

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
