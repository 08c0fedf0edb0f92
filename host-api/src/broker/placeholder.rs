//! Placeholders: what a step gets instead of a credential. Minted per attempt of a step
//! from the system's random source; a placeholder names nothing and is worth nothing
//! outside its [`Table`].
//!
//! Every placeholder carries [`MARKER`], so that the broker can tell one of another run, a
//! guessed one and an altered one for what it is, and refuse all three alike.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem;

use crate::accounts::{Account, AccountId};
use crate::apps::App;

/// What every placeholder has after the credential's public prefix. Eight characters, so
/// that ten megabytes of random base64 hold it with a chance of less than one in ten million.
pub const MARKER: &str = "keyh0le1";
/// Fewest random characters after the marker: 131 bits.
pub const RANDOM: usize = 22;
/// Random characters where no length is to be kept.
const USUAL: usize = 32;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The system's random source failed, so nothing was minted.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the system's random source failed: {0}")]
pub struct NoRandomness(String);

/// One placeholder and what it stands for.
pub(super) struct Entry {
    pub(super) text: String,
    /// Where the marker stands in `text`.
    marker: usize,
    pub(super) account: Arc<Account>,
    pub(super) app: Arc<App>,
    pub(super) field: String,
}

/// The placeholders of one attempt.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

/// A placeholder found in bytes. `entry` is none if it is not one of this attempt's.
pub(super) struct Hit<'t> {
    pub(super) range: Range<usize>,
    pub(super) entry: Option<&'t Entry>,
}

impl Table {
    /// A placeholder for `field` of `account`. It begins with `prefix` and has `length`
    /// characters, if that leaves room for the randomness. The same field of the same
    /// account keeps its placeholder.
    pub(super) fn mint(
        &mut self,
        account: &Arc<Account>,
        app: &Arc<App>,
        field: &str,
        prefix: &str,
        length: Option<usize>,
    ) -> Result<String, NoRandomness> {
        if let Some(text) = self.placeholder_of(&account.id, field) {
            return Ok(text.to_owned());
        }
        // A prefix that could not stand in a URL would not survive its encodings.
        let prefix = if prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) { prefix } else { "" };
        let fixed = prefix.len() + MARKER.len();
        let random = length.and_then(|length| length.checked_sub(fixed)).filter(|n| *n >= RANDOM).unwrap_or(USUAL);
        let mut text = String::with_capacity(fixed + random);
        text.push_str(prefix);
        text.push_str(MARKER);
        push_random(&mut text, random)?;
        self.entries.push(Entry {
            text: text.clone(),
            marker: prefix.len(),
            account: account.clone(),
            app: app.clone(),
            field: field.to_owned(),
        });
        Ok(text)
    }

    /// The placeholder of one field of one account.
    pub(super) fn placeholder_of(&self, account: &AccountId, field: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.account.id == *account && entry.field == field)?;
        Some(&entry.text)
    }

    /// Every placeholder in `bytes`, this attempt's or not.
    pub(super) fn find<'t>(&'t self, bytes: &[u8]) -> Vec<Hit<'t>> {
        let mut hits: Vec<Hit<'t>> = Vec::new();
        for at in memmem::find_iter(bytes, MARKER) {
            if hits.last().is_some_and(|last| at < last.range.end) {
                continue;
            }
            let known = self.entries.iter().find_map(|entry| {
                let start = at.checked_sub(entry.marker)?;
                let range = start..start + entry.text.len();
                (bytes.get(range.clone()) == Some(entry.text.as_bytes())).then_some(Hit { range, entry: Some(entry) })
            });
            if let Some(hit) = known {
                hits.push(hit);
                continue;
            }
            let rest = &bytes[at + MARKER.len()..];
            let random = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            if random >= RANDOM {
                hits.push(Hit { range: at..at + MARKER.len() + random, entry: None });
            }
        }
        hits
    }

    /// `text` with a label in the place of each placeholder.
    pub(super) fn redact<'s>(&self, text: &'s str) -> Cow<'s, str> {
        let hits = self.find(text.as_bytes());
        if hits.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut shown = String::with_capacity(text.len());
        let mut end = 0;
        for hit in hits {
            // Placeholders are ASCII, so these are boundaries of characters.
            shown.push_str(&text[end..hit.range.start]);
            match hit.entry {
                Some(entry) => shown.push_str(&label(&entry.app.name, &entry.field)),
                None => shown.push_str("‹placeholder›"),
            }
            end = hit.range.end;
        }
        shown.push_str(&text[end..]);
        Cow::Owned(shown)
    }
}

/// What stands for a field of an account wherever something is recorded.
pub fn label(app: &str, field: &str) -> String {
    format!("‹{app}.{field}›")
}

/// Appends `count` characters, each of the 62 equally likely.
fn push_random(text: &mut String, count: usize) -> Result<(), NoRandomness> {
    let mut pool = [0_u8; 64];
    let end = text.len() + count;
    while text.len() < end {
        getrandom::fill(&mut pool).map_err(|error| NoRandomness(error.to_string()))?;
        // 248 is the largest multiple of 62 that fits a byte; what is above would favour some.
        let fair = pool.iter().filter(|byte| **byte < 248).take(end - text.len());
        text.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    Ok(())
}
