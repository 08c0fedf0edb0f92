//! Labels where what is recorded of an attempt holds its placeholders: as they are, or
//! encoded, as a server shows the `Basic` credentials that it was sent.
//!
//! It must cost an attempt that returns a few words next to nothing.

use std::borrow::Cow;

use super::placeholder::{MARKER, MIN_RANDOM, Table, label};
use super::scrub::Scrubber;
use crate::vault::Secret;

/// Letters of the shortest placeholder in base64, without those that its neighbours share.
const SHORTEST: usize = (MARKER.len() + MIN_RANDOM) / 3 * 4 - 4;

/// Finds one attempt's placeholders in what it leaves behind.
#[derive(Default)]
pub(super) struct Redactor {
    /// Finds encoded ones, of a table with so many; made when a text may hold one.
    encoded: Option<(usize, Scrubber)>,
}

impl Redactor {
    /// `text` with labels where it holds placeholders of `table`.
    pub(super) fn redact<'t>(&mut self, table: &Table, text: &'t str) -> Cow<'t, str> {
        let plain = table.redact(text);
        let count = table.minted().count();
        if count == 0 || !has_long_word(plain.as_bytes()) {
            return plain;
        }
        if self.encoded.as_ref().is_none_or(|(known, _)| *known != count) {
            let labelled = |(text, app, field): (&str, &str, &str)| (Secret::new(text.to_owned()), label(app, field));
            self.encoded = Some((count, Scrubber::new(table.minted().map(labelled).collect())));
        }
        let scrubbed = self.encoded.as_ref().and_then(|(_, scrubber)| scrubber.scrub(plain.as_bytes()));
        match scrubbed {
            Some(scrubbed) => Cow::Owned(String::from_utf8_lossy(&scrubbed).into_owned()),
            None => plain,
        }
    }
}

/// Whether a word of base64 or hexadecimal digits is long enough for a placeholder.
fn has_long_word(bytes: &[u8]) -> bool {
    let of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_%\\".contains(byte);
    bytes.split(|byte| !of_word(byte)).any(|word| word.len() >= SHORTEST)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::super::placeholder::{Origin, Shape};
    use super::*;

    fn table() -> (Table, String) {
        let account = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let origin = Origin { account, app: "acme".into(), field: "key".into(), prop: "acme".into() };
        let mut table = Table::default();
        let text = table.mint(origin, Shape { prefix: "", length: None }).unwrap();
        (table, text)
    }

    /// What the word says in base64 of either alphabet.
    fn decoded(word: &str) -> String {
        let word = word.trim_end_matches('=').replace('+', "-").replace('/', "_");
        String::from_utf8_lossy(&URL_SAFE_NO_PAD.decode(word).unwrap()).into_owned()
    }

    #[test]
    fn sealed_an_encoded_placeholder_is_a_label_in_what_is_recorded() {
        let (table, text) = table();
        let mut redactor = Redactor::default();
        for user in ["", "a", "ab", "abc"] {
            let pair = format!("{user}:{text}");
            for encoded in [STANDARD.encode(&pair), URL_SAFE_NO_PAD.encode(&pair)] {
                let echo = format!("{{\"authorization\":\"Basic {encoded}\"}}");
                let redacted = redactor.redact(&table, &echo).into_owned();
                let word = redacted.split(['"', ' ']).nth(4).unwrap();
                let said = decoded(word);
                assert!(said.contains("‹acme.key›") && !said.contains(&text), "{redacted}: {said}");
            }
        }
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let label: String = "‹acme.key›".bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(redactor.redact(&table, &hex), label);
        assert_eq!(redactor.redact(&table, &text), "‹acme.key›");
    }

    #[test]
    fn what_holds_none_is_borrowed() {
        let (table, _) = table();
        let mut redactor = Redactor::default();
        assert!(matches!(redactor.redact(&table, "a few words"), Cow::Borrowed(_)));
        assert!(redactor.encoded.is_none(), "nothing is made for short words");
        let long = "0123456789abcdef".repeat(8);
        assert!(matches!(redactor.redact(&table, &long), Cow::Borrowed(_)));
    }

    #[test]
    fn one_that_was_handed_out_later_is_found() {
        let (mut table, first) = table();
        let mut redactor = Redactor::default();
        assert!(decoded(&redactor.redact(&table, &STANDARD.encode(format!("x:{first}")))).contains("‹acme.key›"));
        let account = "01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap();
        let origin = Origin { account, app: "other".into(), field: "key".into(), prop: "other".into() };
        let second = table.mint(origin, Shape { prefix: "", length: None }).unwrap();
        assert!(decoded(&redactor.redact(&table, &STANDARD.encode(format!("x:{second}")))).contains("‹other.key›"));
    }
}
