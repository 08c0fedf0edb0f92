//! A credential in memory. It has no `Debug`, no `Display`, no `Serialize`: the only
//! way to its bytes is [`Secret::expose`], which a reviewer can search for.

use zeroize::Zeroizing;

/// A credential's text, wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

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
