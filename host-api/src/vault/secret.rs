//! A credential in memory. It has no `Debug`, no `Display`, no `Serialize`: the only
//! way to its bytes is [`Secret::expose`], which a reviewer can search for.

use zeroize::{ZeroizeOnDrop, Zeroizing};

/// A credential's text, wiped from memory when dropped.
///
/// It can't be printed:
/// ```compile_fail,E0277
/// let token = keyhole_host_api::vault::Secret::new("xoxb-1".to_owned());
/// println!("{token:?}");
/// ```
/// nor become part of an answer or a record:
/// ```compile_fail,E0277
/// let token = keyhole_host_api::vault::Secret::new("xoxb-1".to_owned());
/// serde_json::to_string(&token);
/// ```
/// One has to ask for it, where everyone who reads the code sees it:
/// ```
/// let token = keyhole_host_api::vault::Secret::new("xoxb-1".to_owned());
/// assert_eq!(token.expose(), "xoxb-1");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// By the one field that it has.
impl ZeroizeOnDrop for Secret {}

impl Secret {
    /// Takes over `text`.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Every caller is a place where a credential could leak.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
