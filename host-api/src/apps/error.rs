//! What is wrong with a definition, and where.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppError {
    /// The file, as the caller names it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.help) }
    }
}

impl std::error::Error for AppError {}

pub(super) type Span = Range<usize>;

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Problems(Vec<(Span, String, String)>);

impl Problems {
    /// Notes that `message` is wrong at `span`, and `help` what to do.
    pub(super) fn add(&mut self, span: &Span, message: impl fmt::Display, help: impl Into<String>) {
        self.0.push((span.clone(), message.to_string(), help.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems of a text, in its order.
    pub(super) fn into_errors(mut self, text: &str, file: &str) -> Vec<AppError> {
        self.0.sort_by_key(|(span, ..)| span.start);
        let at = |(span, message, help): (Span, String, String)| {
            let before = text.get(..span.start).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            AppError {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                message,
                help,
            }
        };
        let mut errors: Vec<AppError> = self.0.into_iter().map(at).collect();
        errors.dedup();
        errors
    }

    /// The problems of a definition that is not a text, each on one line.
    pub(super) fn into_lines(self) -> impl Iterator<Item = (Span, String)> {
        self.0.into_iter().map(|(span, message, help)| match help.is_empty() {
            true => (span, message),
            false => (span, format!("{message}; {help}")),
        })
    }
}
