//! Takes credentials out of what servers answer: wherever a secret stands, its placeholder
//! is put.
//!
//! A secret is found as it is; with any of its characters escaped as percent-encoding,
//! form encoding, JSON, JavaScript or HTML do it; in base64 of either alphabet at each of
//! the three offsets, which covers `Basic`; and in hexadecimal digits. Where finds overlap,
//! all that they cover goes, and the placeholder of the one that begins first is put there.
//! What comes out does not depend on how the input was cut into chunks.
//!
//! Held back is only what may begin a match: a tail of the input that is the beginning of
//! a secret in one of those encodings.
//!
//! A secret shorter than [`MIN_SECRET`] bytes is left alone. Such a string occurs by chance,
//! so replacing it spoils answers; worse, a step that has a server repeat every word of four
//! letters would see which one vanishes. Whoever connects such an account is warned.
//!
//! What is not found: a secret that the server changed (in another case, cut, reversed,
//! compressed, encrypted, in base64 twice). And it must never run for longer than the input
//! warrants: see [`Unsearchable`].

mod body;
mod index;
mod pairs;
mod pattern;
mod units;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

#[cfg(test)]
never_shown!(Scrubber, Scrub, Search, Match, Pattern, Index, Thread);

pub use body::{Latest, ScrubBody};

use self::index::Index;
use self::pattern::{Form, Outcome, Pattern, Thread, base64_digit, base64_value};
use self::units::{MAX_UNIT, introduces};
use crate::vault::Secret;

/// Shortest secret that is looked for, in bytes.
pub const MIN_SECRET: usize = 8;

/// Steps that a search may take beyond [`WORK_A_BYTE`], and for each byte of input.
const WORK: u64 = 8 << 20;
const WORK_A_BYTE: u64 = 64;

/// How much of new input is put behind what was held back, in bytes. The whole of most chunks:
/// to copy one costs less than to pass it on in two parts.
const BRIDGE: usize = 32 * 1024;

/// The input was made to be hard to search: a secret such as `aaaa…b`, and input full of
/// its beginnings. Nothing further may be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer can't be searched for credentials in reasonable time; use a credential that is random")]
pub struct Unsearchable;

/// What to look for, and what to put there. Made once a run; its memory is wiped.
pub struct Scrubber {
    replacements: Vec<String>,
    patterns: Vec<Pattern>,
    index: Option<Box<Index>>,
    /// The secrets as header names have them: in lower case.
    names: Vec<Zeroizing<Vec<u8>>>,
}

/// Headers that tell of a body's length or content, by which a step could see what was replaced.
const MEASURES: [HeaderName; 8] = [
    header::CONTENT_LENGTH,
    header::ETAG,
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("want-digest"),
    header::TRAILER,
];

/// Takes out what tells of a body's length or content.
pub fn forget_measures(headers: &mut HeaderMap) {
    for name in &MEASURES {
        headers.remove(name);
    }
}

impl Scrubber {
    /// Looks for each secret; the text beside it takes its place.
    pub fn new(secrets: Vec<(Secret, String)>) -> Self {
        let mut replacements = Vec::with_capacity(secrets.len());
        let mut patterns = Vec::with_capacity(secrets.len() * 5);
        let mut names = Vec::with_capacity(secrets.len());
        for (secret, replacement) in secrets {
            let bytes = secret.expose().as_bytes();
            if bytes.len() < MIN_SECRET {
                continue;
            }
            let number = replacements.len();
            replacements.push(replacement);
            patterns.push(Pattern::text(number, bytes));
            patterns.extend((0..3).map(|offset| Pattern::base64(number, bytes, offset)));
            patterns.push(Pattern::hex(number, bytes));
            names.push(Zeroizing::new(bytes.to_ascii_lowercase()));
        }
        let index = (!patterns.is_empty()).then(|| Box::new(Index::new(&patterns)));
        Self { replacements, patterns, index, names }
    }

    /// Whether it looks for nothing, so that everything passes as it is.
    pub fn is_empty(&self) -> bool {
        self.index.is_none()
    }

    /// `input`, whole, without secrets; `None` if it holds none.
    pub fn scrub(&self, input: &[u8]) -> Option<Vec<u8>> {
        let mut search = Search::default();
        let mut output = Vec::new();
        match search.run(self, input, true, &mut output) {
            Ok(_) => search.rewrote.then_some(output),
            // Nothing of it may be shown.
            Err(Unsearchable) => Some(Vec::new()),
        }
    }

    /// Whether there is a secret in `input`, whole.
    pub fn finds(&self, input: &[u8]) -> bool {
        self.scrub(input).is_some()
    }

    /// `text` without secrets.
    pub fn scrub_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.scrub(text.as_bytes()) {
            None => Cow::Borrowed(text),
            Some(scrubbed) => Cow::Owned(String::from_utf8_lossy(&scrubbed).into_owned()),
        }
    }

    /// Takes secrets out of values; a header whose name holds one goes. Whether there were any.
    pub fn scrub_headers(&self, headers: &mut HeaderMap) -> bool {
        let in_name = |name: &HeaderName| {
            let name = name.as_str().as_bytes();
            self.names.iter().any(|secret| memchr::memmem::find(name, secret).is_some()) || self.finds(name)
        };
        let secret_name = headers.keys().any(in_name);
        let mut rewrote = secret_name;
        for value in headers.values_mut() {
            if let Some(scrubbed) = self.scrub(value.as_bytes()) {
                rewrote = true;
                *value = HeaderValue::from_bytes(&scrubbed).unwrap_or(HeaderValue::from_static(""));
            }
        }
        if secret_name {
            let kept = headers.iter().filter(|(name, _)| !in_name(name));
            *headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        }
        rewrote
    }
}

/// One body, or another input that comes in chunks.
pub struct Scrub {
    scrubber: Arc<Scrubber>,
    search: Search,
    /// Input that was not passed on: it may begin a match.
    held: Zeroizing<Vec<u8>>,
}

impl Scrub {
    /// Begins an input.
    pub fn new(scrubber: Arc<Scrubber>) -> Self {
        Self { scrubber, search: Search::default(), held: Zeroizing::default() }
    }

    /// Takes the next bytes from `input`, as many as it likes; returns what can be passed on.
    /// What it left must come next. What is returned is a part of `input` itself, not a copy, where nothing is to be replaced and
    /// nothing was held back.
    pub fn push(&mut self, input: &mut Bytes) -> Result<Bytes, Unsearchable> {
        if self.held.is_empty() {
            let chunk = std::mem::take(input);
            let (output, kept) = self.run(&chunk, false)?;
            self.held.extend_from_slice(&chunk[kept..]);
            return Ok(output);
        }
        // Only so much is put behind what is held that no byte is copied often.
        let next = &input[..input.len().min(BRIDGE.max(self.held.len()))];
        let bridge = Bytes::from([&self.held[..], next].concat());
        let (output, kept) = self.run(&bridge, false)?;
        let held = self.held.len();
        if kept < held {
            self.held = Zeroizing::new(bridge[kept..].to_vec());
            input.advance(bridge.len() - held);
        } else {
            self.held = Zeroizing::default();
            input.advance(kept - held);
        }
        Ok(output)
    }

    /// Ends the input; returns what was held back.
    pub fn finish(&mut self) -> Result<Bytes, Unsearchable> {
        // Wiped when nobody has a part of it any more: it may be a whole secret.
        let held = Bytes::from_owner(std::mem::take(&mut self.held));
        self.run(&held, true).map(|(output, _)| output)
    }

    /// What can be passed on of `input`, and from where on it must come again.
    fn run(&mut self, input: &Bytes, end: bool) -> Result<(Bytes, usize), Unsearchable> {
        let mut output = Vec::new();
        let done = self.search.run(&self.scrubber, input, end, &mut output)?;
        Ok((if done.as_it_is { input.slice(..done.kept) } else { output.into() }, done.kept))
    }

    /// Whether something was replaced so far.
    pub fn rewrote(&self) -> bool {
        self.search.rewrote
    }
}

/// A secret that was found.
#[derive(Clone, Copy)]
struct Match {
    thread: Thread,
    end: usize,
}

/// How far a run came.
struct Done {
    /// The input from here on must come again, before what follows it.
    kept: usize,
    /// What was before `kept` can be passed on unchanged, and is not in the output.
    as_it_is: bool,
}

/// The search through one input. Places are counted from the beginning of what was kept.
#[derive(Default)]
struct Search {
    threads: Vec<Thread>,
    matches: Vec<Match>,
    /// The input up to here was seen: every match that begins there has its thread.
    seen: usize,
    /// The input up to here is replaced by a placeholder that was put out already.
    covered: usize,
    rewrote: bool,
    failed: bool,
    /// How many escapes were none of a pattern's so far.
    dismissed: usize,
    work: u64,
    allowed: u64,
}

impl Search {
    /// Reads `input`, which begins with what the last run kept.
    fn run(
        &mut self,
        scrubber: &Scrubber,
        input: &[u8],
        end: bool,
        output: &mut Vec<u8>,
    ) -> Result<Done, Unsearchable> {
        let Some(index) = &scrubber.index else { return Ok(Done { kept: input.len(), as_it_is: true }) };
        if self.failed {
            return Err(Unsearchable);
        }
        self.allowed += (input.len() - self.seen) as u64 * WORK_A_BYTE;
        for thread in std::mem::take(&mut self.threads) {
            self.follow(scrubber, thread, input, end);
        }
        let tail = input.len().saturating_sub(index.tail()).max(self.seen);
        if tail > self.seen {
            let (seen, mut dismissed) = (self.seen, self.dismissed);
            let mut found = |pattern, place| self.begin(scrubber, pattern, place, input, seen, end);
            index.candidates(input, seen, tail, &scrubber.patterns, &mut dismissed, &mut found);
            self.dismissed = dismissed;
        }
        for place in index.stretches(input, tail).flatten() {
            self.begin_anything(scrubber, index, place, input, end);
        }
        if self.failed {
            return Err(Unsearchable);
        }
        Ok(self.settle(scrubber, input, output))
    }

    /// A match of `pattern` may begin with its first whole element at `place`.
    fn begin(&mut self, scrubber: &Scrubber, number: usize, place: usize, input: &[u8], seen: usize, end: bool) {
        let pattern = &scrubber.patterns[number];
        if pattern.whole_from() == 1 {
            // The element before it, a part of which is the secret's, if it is there.
            for taken in (1..=MAX_UNIT.min(place.saturating_sub(seen))).rev() {
                let byte = input[place - taken];
                let fits = (taken == 1 && pattern.is(0, byte))
                    || pattern.escapes_with(byte)
                        && units::read(&input[place - taken..], end)
                            .iter()
                            .any(|unit| usize::from(unit.taken) == taken && pattern.are(0, unit));
                if fits {
                    return self.follow(scrubber, Thread::new(number, place - taken, 0), input, end);
                }
            }
        }
        if place >= seen {
            self.follow(scrubber, Thread::new(number, place, pattern.whole_from()), input, end);
        }
    }

    /// Tries every pattern at `place`.
    fn begin_anything(&mut self, scrubber: &Scrubber, index: &Index, place: usize, input: &[u8], end: bool) {
        let byte = input[place];
        if introduces(byte) {
            for (number, pattern) in scrubber.patterns.iter().enumerate() {
                for from in 0..=pattern.whole_from() {
                    if pattern.is(from, byte) || pattern.escapes_with(byte) {
                        self.follow(scrubber, Thread::new(number, place, from), input, end);
                    }
                }
            }
            return;
        }
        if input.get(place + 1).is_some_and(|next| !index.may_begin(byte, *next)) {
            return;
        }
        for (number, from) in index.beginning_with(byte) {
            self.follow(scrubber, Thread::new(number, place, from), input, end);
        }
    }

    /// Follows a thread, and what it forks into, as far as the input goes.
    fn follow(&mut self, scrubber: &Scrubber, thread: Thread, input: &[u8], end: bool) {
        let mut forks = Vec::new();
        let mut next = Some(thread);
        while let Some(mut thread) = next {
            let pattern = &scrubber.patterns[thread.pattern];
            match thread.advance(pattern, input, end, &mut forks, &mut self.work) {
                Outcome::Pending if !self.threads.contains(&thread) => self.threads.push(thread),
                Outcome::Pending | Outcome::Dead => {}
                Outcome::Matched(end) => self.matches.push(Match { thread, end }),
            }
            if self.work > self.allowed + WORK {
                self.failed = true;
                return;
            }
            next = forks.pop();
        }
    }

    /// Puts out what is certain, and forgets it.
    fn settle(&mut self, scrubber: &Scrubber, input: &[u8], output: &mut Vec<u8>) -> Done {
        let kept = self.threads.iter().map(|thread| thread.start).min().unwrap_or(input.len());
        let as_it_is = self.covered == 0 && self.matches.iter().all(|found| found.thread.start >= kept);
        let mut at = self.covered;
        // The longest of those that begin at one place first.
        self.matches.sort_unstable_by_key(|found| (found.thread.start, Reverse(found.end), found.thread.pattern));
        let settled = self.matches.partition_point(|found| found.thread.start < kept);
        for found in self.matches.drain(..settled) {
            if found.thread.start >= at {
                output.extend_from_slice(&input[at..found.thread.start]);
                scrubber.replace(&found, input, output);
                self.rewrote = true;
            }
            at = at.max(found.end);
        }
        if !as_it_is && at < kept {
            output.extend_from_slice(&input[at..kept]);
        }
        self.covered = at.saturating_sub(kept);
        self.seen = input.len() - kept;
        for thread in &mut self.threads {
            *thread = thread.moved(kept);
        }
        for found in &mut self.matches {
            *found = Match { thread: found.thread.moved(kept), end: found.end - kept };
        }
        Done { kept, as_it_is }
    }
}

impl Scrubber {
    /// Writes the placeholder as the secret was written.
    fn replace(&self, found: &Match, input: &[u8], output: &mut Vec<u8>) {
        let pattern = &self.patterns[found.thread.pattern];
        let replacement = self.replacements[pattern.secret].as_bytes();
        let written = &input[found.thread.start..found.end];
        match pattern.form {
            // It is made of characters that no encoding changes.
            Form::Text => output.extend_from_slice(replacement),
            Form::Hex => {
                let upper = written.iter().any(u8::is_ascii_uppercase);
                let digits = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
                let digit = |nibble: u8| digits[usize::from(nibble)];
                output.extend(replacement.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
            }
            Form::Base64 => {
                let url_safe = written.iter().any(|byte| matches!(byte, b'-' | b'_'));
                replace_base64(pattern, &found.thread, replacement, url_safe, output);
            }
        }
    }
}

/// Writes `replacement` where base64 had the secret, such that what stands before and after
/// it decodes as before. Where their lengths differ by no multiple of three, the
/// replacement is filled up with dots.
fn replace_base64(pattern: &Pattern, thread: &Thread, replacement: &[u8], url_safe: bool, output: &mut Vec<u8>) {
    // Of the digits that it shares with its neighbours, their bits stay.
    let before = pattern.first_mask.leading_zeros() - 2;
    let after = pattern.last_mask.trailing_zeros();
    let secret = (pattern.len() as u32 * 6 - before - after) as usize / 8;
    let fill = (secret + 3 - replacement.len() % 3) % 3;

    let value = |digit: u8| u32::from(base64_value(digit).unwrap_or(0));
    let mut count = before;
    let mut held = if thread.from == 0 && before > 0 { value(thread.first) >> (6 - before) } else { 0 };
    let mut skip = thread.from;
    let mut put = |value: u32, output: &mut Vec<u8>| {
        // The first digit is left out where the server left it out.
        if skip > 0 {
            skip -= 1;
        } else {
            output.push(base64_digit(value as u8 & 0x3f, url_safe));
        }
    };
    for byte in replacement.iter().chain(std::iter::repeat_n(&b'.', fill)) {
        held = held << 8 | u32::from(*byte);
        count += 8;
        while count >= 6 {
            count -= 6;
            put(held >> count, output);
        }
        held &= (1 << count) - 1;
    }
    if count > 0 {
        let shared = thread.elements() == pattern.len();
        let rest = if shared { value(thread.last) & ((1 << after) - 1) } else { 0 };
        put(held << (6 - count) | rest, output);
    }
}
