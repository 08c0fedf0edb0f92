//! A run's log: what the step logs, and what it writes to its standard output and error.
//!
//! It must never hold more than its limit, and no line of it leaves before [`Log::finish`] or [`LiveLog::lines`]
//! has put labels where placeholders stand.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::host::StepHost;

/// Importance of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What happened. Standard output is of this level.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed. Standard error is of this level.
    Error,
}

/// One line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written; for a line of standard output or error, when it ended.
    pub time: Timestamp,
    /// Its importance.
    pub level: Level,
    /// The text, without a newline at its end.
    pub text: String,
}

/// What a line costs beside its text, so that empty lines are not free.
pub(crate) const LINE_BYTES: usize = 32;

/// The lines so far. What a stream has begun and not yet ended is in `open`.
#[derive(Debug)]
pub(super) struct Log {
    lines: Vec<LogLine>,
    open: [Vec<u8>; 2],
    used: usize,
    limit: usize,
    cut: bool,
}

/// Which of the two streams bytes were written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn level(self) -> Level {
        match self {
            Self::Out => Level::Info,
            Self::Err => Level::Error,
        }
    }
}

/// The log, shared between the run and the streams that its step has open.
#[derive(Clone, Debug)]
pub(super) struct SharedLog(Arc<Mutex<Log>>);

impl SharedLog {
    pub fn new(limit: usize) -> Self {
        let log = Log { lines: Vec::new(), open: [Vec::new(), Vec::new()], used: 0, limit, cut: false };
        Self(Arc::new(Mutex::new(log)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The log of a call that is under way, for who looks on.
#[derive(Clone)]
pub struct LiveLog {
    log: SharedLog,
    host: Weak<dyn StepHost>,
}

impl LiveLog {
    pub(super) fn new(log: &SharedLog, host: &Arc<dyn StepHost>) -> Self {
        Self { log: log.clone(), host: Arc::downgrade(host) }
    }

    /// The lines so far, after the first `seen`, as they may be shown. None once the call has ended.
    pub fn lines(&self, seen: usize) -> Vec<LogLine> {
        let Some(host) = self.host.upgrade() else { return Vec::new() };
        let lines: Vec<LogLine> = self.log.lock().lines.iter().skip(seen).cloned().collect();
        let redacted = |line: LogLine| LogLine { text: host.redact(&line.text).into_owned(), ..line };
        lines.into_iter().map(redacted).collect()
    }
}

impl Log {
    /// Adds one line.
    pub fn line(&mut self, level: Level, text: String) {
        let Some(room) = self.room(LINE_BYTES + text.len()) else { return };
        let mut text = text;
        if self.cut {
            truncate(&mut text, room.saturating_sub(LINE_BYTES));
        }
        self.push(level, text);
    }

    /// Adds what was written to a stream, split into lines.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.cut {
            let (part, ends) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&bytes[..at], true),
                None => (bytes, false),
            };
            bytes = &bytes[part.len() + usize::from(ends)..];
            let Some(room) = self.room(part.len() + if ends { LINE_BYTES } else { 0 }) else { return };
            self.open[stream as usize].extend_from_slice(&part[..part.len().min(room)]);
            if ends || self.cut {
                self.end_line(stream);
            }
        }
    }

    /// Reserves `wanted` bytes. Once they do not fit, the log is cut: what still fits is returned.
    fn room(&mut self, wanted: usize) -> Option<usize> {
        if self.cut {
            return None;
        }
        let room = self.limit - self.used;
        if wanted > room {
            self.cut = true;
            self.used = self.limit;
            return Some(room);
        }
        self.used += wanted;
        Some(wanted)
    }

    fn end_line(&mut self, stream: Stream) {
        let mut bytes = std::mem::take(&mut self.open[stream as usize]);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let mut text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        if self.cut {
            let end = text.len();
            truncate(&mut text, end);
        }
        self.push(stream.level(), text);
    }

    fn push(&mut self, level: Level, text: String) {
        self.lines.push(LogLine { time: Timestamp::now(), level, text });
    }

    /// Ends open lines and hands the log out, with `redact` applied to every line.
    /// The flag says whether it was cut.
    pub fn finish(&mut self, redact: impl Fn(&str) -> Cow<'_, str>) -> (Vec<LogLine>, bool) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.open[stream as usize].is_empty() {
                self.end_line(stream);
            }
        }
        let mut lines = std::mem::take(&mut self.lines);
        for line in &mut lines {
            if let Cow::Owned(redacted) = redact(&line.text) {
                line.text = redacted;
            }
        }
        (lines, self.cut)
    }
}

/// Longest placeholder's share that could be left at a cut.
const TAIL: usize = 512;

/// Cuts `text` to at most `end` bytes, and further back to the beginning of the word that
/// was cut: half a placeholder would not be known for one.
fn truncate(text: &mut String, end: usize) {
    let end = text.floor_char_boundary(end);
    let word = text[..end]
        .bytes()
        .rev()
        .take(TAIL)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        .count();
    text.truncate(end - word);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &SharedLog) -> (Vec<String>, bool) {
        let (lines, cut) = log.lock().finish(|text| Cow::Borrowed(text));
        (lines.into_iter().map(|line| line.text).collect(), cut)
    }

    #[test]
    fn streams_are_split_into_lines_and_an_open_line_is_kept() {
        let log = SharedLog::new(1000);
        log.lock().write(Stream::Out, b"a\nb");
        log.lock().write(Stream::Err, b"oops\r\n");
        log.lock().write(Stream::Out, b"c\n\n");
        log.lock().write(Stream::Out, b"end");
        assert_eq!(texts(&log), (vec!["a".into(), "oops".into(), "bc".into(), "".into(), "end".into()], false));
    }

    #[test]
    fn a_log_is_cut_at_its_limit_whatever_is_written() {
        for chunk in [&b"\n"[..], b"x", b"word word\n", &[b'y'; 5000], b"\xff\xfe"] {
            let log = SharedLog::new(2000);
            for _ in 0..10_000 {
                log.lock().write(Stream::Out, chunk);
                log.lock().line(Level::Info, String::from_utf8_lossy(chunk).into_owned());
            }
            let (lines, cut) = log.lock().finish(|text| Cow::Borrowed(text));
            assert!(cut);
            // Bytes that are no text take up to three times their room.
            assert!(lines.iter().map(|line| line.text.len()).sum::<usize>() <= 6000);
            assert!(lines.len() <= 2000 / LINE_BYTES + 2);
        }
    }

    #[test]
    fn a_cut_leaves_no_half_word() {
        let log = SharedLog::new(60);
        log.lock().line(Level::Info, format!("token {}", "k".repeat(100)));
        assert_eq!(texts(&log), (vec!["token ".into()], true));
    }
}
