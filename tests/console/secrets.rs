//! What no browser of any test may ever get: each page is searched for it as it is closed, see [`crate::browser::Page`].

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyhole_host_api::broker::MARKER;
use keyhole_tests::program::KEY;

use crate::house::{CLIENT_SECRET, TOKEN};

static MORE: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// The secret, which no browser may get from now on.
pub fn secret(text: &'static str) -> &'static str {
    MORE.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    text
}

/// Every secret of the tests, in the forms in which it would be readable.
pub fn all() -> Vec<String> {
    let more = MORE.lock().unwrap_or_else(PoisonError::into_inner);
    [KEY, TOKEN, CLIENT_SECRET].iter().chain(&*more).copied().flat_map(forms).collect()
}

/// What every placeholder has in it, and every token that a provider signs; and what no text has by chance.
pub fn patterns() -> String {
    // What is signed begins as Base64 of `{"`, and so does what it says.
    format!(r"{MARKER}[0-9A-Za-z]{{22}}|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+")
}

/// A secret, and what it looks like in Base64 at each offset.
fn forms(secret: &str) -> Vec<String> {
    let encoded = (0..3).map(|offset| {
        let text = STANDARD.encode(format!("{}{secret}", "x".repeat(offset)));
        // Without the ends, which depend on what stands beside it.
        text[4..text.len() - 4].to_owned()
    });
    std::iter::once(secret.to_owned()).chain(encoded).collect()
}

#[test]
fn a_secret_is_known_also_in_base64() {
    let inside = STANDARD.encode(format!("api:{KEY}"));
    assert!(all().iter().any(|form| inside.contains(form)));
    assert!(all().contains(&TOKEN.to_owned()) && secret("some-more-of-it") == "some-more-of-it");
    assert!(all().contains(&"some-more-of-it".to_owned()));
}
