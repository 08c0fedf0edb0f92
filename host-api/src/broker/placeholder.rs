//! Placeholders: what a step is given where a secret would be. One [`Table`] holds those
//! of one attempt at one step, makes them, and finds them again in what the step sends,
//! logs or returns.
//!
//! A placeholder is `{public prefix}khp1{base62}`. It is drawn at random and says nothing
//! of the credential but what the app's definition calls public: its prefix, and its
//! length where an SDK checks that. Nothing in here ever sees a credential.
//!
//! What is found: the text as it is. Its letters are the ones that percent-, JSON-, form-
//! and HTML-encoding leave alone, so only someone who wants it hidden writes it otherwise;
//! [`substitute`](super::substitute) undoes those encodings, [`Table::redact`] does not.
//! Nor does it know a placeholder that was cut to pieces: less than 22 of its letters are a
//! worthless string among others.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use memchr::memmem::Finder;

use crate::accounts::AccountId;

/// What every placeholder has between its prefix and its random letters.
pub const MARKER: &str = "khp1";
/// Fewest random letters: 130 bits.
pub const MIN_RANDOM: usize = 22;
/// Random letters where the definition does not ask for the credential's length: 190 bits.
pub const RANDOM: usize = 32;
/// What stands in records for a placeholder that is not of this attempt.
pub const UNKNOWN_LABEL: &str = "‹placeholder›";

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARKER));

/// What records show in place of the secret `field` of an account of `app`.
pub fn label(app: &str, field: &str) -> String {
    format!("‹{app}.{field}›")
}

/// What a placeholder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The account.
    pub account: AccountId,
    /// The account's app.
    pub app: String,
    /// The secret field.
    pub field: String,
    /// The prop through which the step got it.
    pub prop: String,
}

/// What of a credential's looks its placeholder keeps.
#[derive(Clone, Copy, Default)]
pub struct Shape<'s> {
    /// The public beginning, such as `xoxb-`.
    pub prefix: &'s str,
    /// The credential's length, if it is to be kept.
    pub length: Option<usize>,
}

impl Shape<'_> {
    fn random_letters(&self) -> usize {
        let fixed = self.prefix.len() + MARKER.len();
        // Where the credential is too short to be unguessable at its length, the length gives way.
        self.length.and_then(|length| length.checked_sub(fixed)).filter(|left| *left >= MIN_RANDOM).unwrap_or(RANDOM)
    }
}

/// The system's random source failed, so nothing unguessable can be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the system's random source failed ({0}); see whether /dev/urandom can be read")]
pub struct MintError(String);

/// Letters drawn evenly from base62. Random bytes are fetched for many placeholders at once,
/// since each fetch is a system call; each is wiped as it is used.
struct Letters {
    pool: [u8; 1024],
    left: usize,
}

/// One source for all attempts.
static LETTERS: Mutex<Letters> = Mutex::new(Letters::new());

impl Letters {
    const fn new() -> Self {
        Self { pool: [0; 1024], left: 0 }
    }

    fn append(&mut self, text: &mut String, count: usize) -> Result<(), MintError> {
        for _ in 0..count {
            text.push(self.next()?);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<char, MintError> {
        loop {
            if self.left == 0 {
                getrandom::fill(&mut self.pool).map_err(|error| MintError(error.to_string()))?;
                self.left = self.pool.len();
            }
            self.left -= 1;
            // 6 bits are 64 values: the two too many are drawn again, so that no letter is likelier.
            let drawn = usize::from(std::mem::take(&mut self.pool[self.left]) & 63);
            if let Some(letter) = BASE62.get(drawn) {
                return Ok(char::from(*letter));
            }
        }
    }
}

/// A placeholder and what it stands for.
#[derive(Clone)]
struct Entry {
    text: String,
    /// The length of its prefix.
    prefix: usize,
    origin: Origin,
}

impl Entry {
    fn body(&self) -> &[u8] {
        &self.text.as_bytes()[self.prefix..]
    }
}

/// Whether `bytes` begins with `expected`, in a time that does not tell where they differ.
fn begins_with(bytes: &[u8], expected: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..expected.len()) else { return false };
    std::hint::black_box(bytes.iter().zip(expected).fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
}

/// The placeholders of one attempt at one step.
///
/// A look-up compares with every entry, each in full: there are few, and what it takes
/// says nothing of how near a guess came.
#[derive(Default)]
pub struct Table {
    entries: Vec<Entry>,
}

/// Shows labels, never placeholders.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| label(&entry.origin.app, &entry.origin.field))).finish()
    }
}

/// Something that looks like a placeholder.
#[derive(Clone)]
pub struct Hit<'t> {
    /// Where it is. The prefix is included if the placeholder is known.
    pub range: Range<usize>,
    /// What it stands for; `None` if it is none of this attempt's.
    pub origin: Option<&'t Origin>,
}

impl Table {
    /// Makes a placeholder.
    pub fn mint(&mut self, origin: Origin, shape: Shape<'_>) -> Result<String, MintError> {
        let random = shape.random_letters();
        let mut text = String::with_capacity(shape.prefix.len() + MARKER.len() + random);
        text.push_str(shape.prefix);
        text.push_str(MARKER);
        LETTERS.lock().unwrap_or_else(PoisonError::into_inner).append(&mut text, random)?;
        self.entries.push(Entry { text: text.clone(), prefix: shape.prefix.len(), origin });
        Ok(text)
    }

    /// The latest placeholder of a secret, if there is one.
    pub fn placeholder_of(&self, account: &AccountId, field: &str) -> Option<&str> {
        let of = |entry: &&Entry| entry.origin.account == *account && entry.origin.field == field;
        self.entries.iter().rev().find(of).map(|entry| entry.text.as_str())
    }

    /// Those that were made, each with the app and the field that it stands for.
    pub(super) fn minted(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.entries.iter().map(|entry| (entry.text.as_str(), &*entry.origin.app, &*entry.origin.field))
    }

    /// Bytes that must be seen together so that no placeholder, or what looks like one, is missed.
    pub(super) fn longest(&self) -> usize {
        let own = self.entries.iter().map(|entry| entry.text.len()).max().unwrap_or(0);
        own.max(MARKER.len() + MIN_RANDOM)
    }

    /// A table that finds what this one finds, and mints on its own.
    pub(super) fn copy(&self) -> Self {
        Self { entries: self.entries.clone() }
    }

    /// Everything in `bytes` that is a placeholder of this attempt or has the shape of one.
    pub fn find<'t>(&'t self, bytes: &'t [u8]) -> impl Iterator<Item = Hit<'t>> {
        self.hits(bytes, |_| true)
    }

    /// The same, for content: bodies, logs, results. Here a shape that is not of this
    /// attempt counts only where a word begins, or behind a prefix. In a few megabytes of
    /// base64, the shape of a placeholder occurs by chance inside a longer word.
    pub fn find_in_content<'t>(&'t self, bytes: &'t [u8]) -> impl Iterator<Item = Hit<'t>> {
        self.find_in_content_after(None, bytes)
    }

    /// The same, for content that goes on after the byte `previous`.
    pub(super) fn find_in_content_after<'t>(
        &'t self,
        previous: Option<u8>,
        bytes: &'t [u8],
    ) -> impl Iterator<Item = Hit<'t>> {
        self.hits(bytes, move |marker| self.word_begins(previous, bytes, marker))
    }

    fn hits<'t>(&'t self, bytes: &'t [u8], counts: impl Fn(usize) -> bool) -> impl Iterator<Item = Hit<'t>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let marker = at + FINDER.find(&bytes[at..])?;
                if let Some(entry) = self.known_at(bytes, marker) {
                    let range = marker - entry.prefix..marker - entry.prefix + entry.text.len();
                    at = range.end;
                    return Some(Hit { range, origin: Some(&entry.origin) });
                }
                let tail = &bytes[marker + MARKER.len()..];
                // No further than it must: a megabyte of markers has as many tails.
                let shaped = tail.get(..MIN_RANDOM).is_some_and(|tail| tail.iter().all(u8::is_ascii_alphanumeric));
                if shaped && counts(marker) {
                    let random = tail.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                    at = marker + MARKER.len() + random;
                    return Some(Hit { range: marker..at, origin: None });
                }
                // A real one may begin within what was none.
                at = marker + 1;
            }
        })
    }

    fn known_at(&self, bytes: &[u8], marker: usize) -> Option<&Entry> {
        let mut found = None;
        for entry in &self.entries {
            let Some(start) = marker.checked_sub(entry.prefix) else { continue };
            if begins_with(&bytes[marker..], entry.body())
                & bytes[start..].starts_with(&entry.text.as_bytes()[..entry.prefix])
            {
                found = Some(entry);
            }
        }
        found
    }

    /// Whether what stands before `marker` is not part of the same word as base64 has
    /// them, or is a public prefix.
    fn word_begins(&self, previous: Option<u8>, bytes: &[u8], marker: usize) -> bool {
        let before = &bytes[..marker];
        let last = before.last().copied().or(previous);
        last.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"+/".contains(&byte))
            || self
                .entries
                .iter()
                .any(|entry| entry.prefix > 0 && before.ends_with(&entry.text.as_bytes()[..entry.prefix]))
    }

    /// Puts `‹app.field›` where `text` holds a placeholder of this attempt, and
    /// `‹placeholder›` where it holds something of that shape.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Self::labelled(text, self.find_in_content(text.as_bytes()))
    }

    /// The same where every word is short, so that a shape within one is no chance: a path.
    pub fn redact_names<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Self::labelled(text, self.find(text.as_bytes()))
    }

    fn labelled<'t, 'h>(text: &'t str, hits: impl Iterator<Item = Hit<'h>>) -> Cow<'t, str> {
        let mut redacted = String::new();
        let mut done = 0;
        for hit in hits {
            // A known one's prefix may be the end of what only had the shape. Placeholders are ASCII,
            // so both ends are boundaries of characters.
            redacted.push_str(text.get(done..hit.range.start).unwrap_or_default());
            match hit.origin {
                Some(origin) => redacted.push_str(&label(&origin.app, &origin.field)),
                None => redacted.push_str(UNKNOWN_LABEL),
            }
            done = hit.range.end;
        }
        if done == 0 {
            return Cow::Borrowed(text);
        }
        redacted.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(redacted)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn origin(field: &str) -> Origin {
        let account = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        Origin { account, app: "slack".into(), field: field.into(), prop: "slack".into() }
    }

    fn table(prefix: &str) -> (Table, String) {
        let mut table = Table::default();
        let text = table.mint(origin("token"), Shape { prefix, length: None }).unwrap();
        (table, text)
    }

    #[test]
    fn bound_a_placeholder_keeps_prefix_and_length_and_is_else_random() {
        let mut table = Table::default();
        let mut seen = HashSet::new();
        for (prefix, length, expected) in [
            ("", None, 36),
            ("xoxb-", None, 41),
            ("xoxb-", Some(57), 57),
            ("sk_live_", Some(34), 34),
            // Too short to be unguessable at that length.
            ("sk_live_", Some(33), 44),
            ("sk_live_", Some(3), 44),
            ("", Some(16_384), 16_384),
        ] {
            for _ in 0..50 {
                let text = table.mint(origin("token"), Shape { prefix, length }).unwrap();
                assert_eq!(text.len(), expected, "{prefix} {length:?}");
                let random = text.strip_prefix(prefix).unwrap().strip_prefix(MARKER).unwrap();
                assert!(random.len() >= MIN_RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
                assert!(seen.insert(text), "drawn twice");
            }
        }
    }

    #[test]
    fn bound_letters_are_evenly_drawn() {
        let mut letters = Letters::new();
        let mut counts = [0_u32; 128];
        let mut text = String::new();
        letters.append(&mut text, 620_000).unwrap();
        text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        for letter in BASE62 {
            // 10,000 expected; six standard deviations either way.
            assert!((9_400..10_600).contains(&counts[usize::from(*letter)]), "{}", char::from(*letter));
        }
    }

    #[test]
    fn bound_known_guessed_and_altered_ones_are_told_apart() {
        let (table, text) = table("xoxb-");
        let hits = |bytes: &str| -> Vec<(Range<usize>, bool)> {
            table.find(bytes.as_bytes()).map(|hit| (hit.range, hit.origin.is_some())).collect()
        };
        assert_eq!(hits(&format!("Bearer {text}")), [(7..48, true)]);
        assert_eq!(hits(&format!("{text}{text}")), [(0..41, true), (41..82, true)]);
        assert_eq!(hits(&format!("{text}abc")), [(0..41, true)]);
        let (_, other) = super::tests::table("xoxb-");
        assert_eq!(hits(&other), [(5..41, false)]);
        for at in 9..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(hits(&altered), [(5..41, false)], "{altered}");
        }
        assert_eq!(hits(&text[5..]), [(5 - 5..41 - 5, false)], "without its prefix it is another string");
        assert_eq!(hits("khp1"), []);
        assert_eq!(hits("khp1234567890123456789012"), [], "21 letters");
        assert_eq!(hits("khp11234567890123456789012"), [(0..26, false)]);
        // One that begins within what was none.
        assert_eq!(hits(&format!("khp1-{text}")), [(5..46, true)]);
    }

    #[test]
    fn a_shape_within_a_longer_word_of_content_is_chance() {
        let (table, text) = table("pat");
        let unknown = format!("khp1{}", "a".repeat(30));
        let counts = |content: &str| table.find_in_content(content.as_bytes()).count();
        for begins in ["", "\"", " ", "\n", "=", ":", "-", "_", ".", "pat"] {
            assert_eq!(counts(&format!("{begins}{unknown}")), 1, "{begins:?}");
        }
        for within in ["a", "Z", "0", "+", "/"] {
            assert_eq!(counts(&format!("{within}{unknown}")), 0, "{within:?}");
            assert_eq!(counts(&format!("{within}{text}")), 1, "a known one counts anywhere");
        }
    }

    #[test]
    fn sealed_records_show_labels() {
        let (table, text) = table("xoxb-");
        assert_eq!(table.redact("nothing here"), "nothing here");
        assert!(matches!(table.redact("nothing here"), Cow::Borrowed(_)));
        assert_eq!(table.redact(&format!("é {text} é {text}")), "é ‹slack.token› é ‹slack.token›");
        assert_eq!(table.redact("key=khp1aaaaaaaaaaaaaaaaaaaaaaaaa!"), "key=‹placeholder›!");
        assert_eq!(format!("{table:?}"), "[\"‹slack.token›\"]");
    }

    #[test]
    fn a_shape_that_runs_into_a_known_ones_prefix_is_no_trap() {
        let (table, text) = table("sk_live_");
        let shown = table.redact_names(&format!("khp1{}{text}", "a".repeat(22))).into_owned();
        assert_eq!(shown, "‹placeholder›‹slack.token›".replace("›‹", "›_‹").replace('_', ""));
        let (table, text) = super::tests::table("xoxb-");
        assert_eq!(table.redact(&format!("khp1{}{text}", "a".repeat(22))), "‹placeholder›‹slack.token›");
    }

    #[test]
    fn a_megabyte_of_markers_is_looked_through_once() {
        let (table, _) = table("");
        let text = format!("a{}", MARKER.repeat(1 << 20));
        // Quadratic, this would take hours.
        assert!(matches!(table.redact(&text), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn bound_a_placeholder_is_found_in_anything(before in "\\PC{0,60}", after in "\\PC{0,60}") {
            let (table, text) = table("xoxb-");
            let content = format!("{before}{text}{after}");
            let known: Vec<_> = table.find(content.as_bytes()).filter(|hit| hit.origin.is_some()).collect();
            prop_assert_eq!(known.len(), 1);
            prop_assert_eq!(known[0].range.clone(), before.len()..before.len() + text.len());
            let redacted = table.redact(&content).into_owned();
            prop_assert_eq!(redacted, format!("{before}‹slack.token›{after}"));
        }
    }
}
