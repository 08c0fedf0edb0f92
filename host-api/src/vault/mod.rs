//! Where credentials lie encrypted. Nothing in here hands out plaintext except as a [`Secret`].

mod secret;

pub use secret::Secret;
