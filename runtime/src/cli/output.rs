//! What the commands print: tables and text for people, one JSON document for programs.
//!
//! Text that a step or a server chose goes through [`visible`] first, so that it can't
//! move the cursor, retitle the terminal or pose as the program's own words.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Cell, ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::error::{Result, written};

/// The program's few styles. `anstream` takes them out where they don't belong.
pub mod style {
    use anstyle::{AnsiColor, Style};

    /// Headings.
    pub const BOLD: Style = Style::new().bold();
    /// What matters less.
    pub const DIM: Style = Style::new().dimmed();
    /// It went as it should.
    pub const GOOD: Style = AnsiColor::Green.on_default();
    /// It works, but have a look.
    pub const WARN: Style = AnsiColor::Yellow.on_default();
    /// It went wrong.
    pub const BAD: Style = AnsiColor::Red.on_default();
    /// The word `error`.
    pub const ERROR: Style = AnsiColor::Red.on_default().bold();
    /// The word `help`.
    pub const HELP: Style = AnsiColor::Cyan.on_default().bold();
}

/// How and how much to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
    /// Only what was asked for: no notes on what is being done.
    pub quiet: bool,
}

impl Output {
    /// Prints one line, or several, to standard output.
    pub fn line(&self, text: impl AsRef<str>) -> Result {
        written(writeln!(anstream::stdout().lock(), "{}", text.as_ref()))
    }

    /// Prints the JSON document of a `--json` call.
    pub fn document(&self, value: &impl Serialize) -> Result {
        let text = serde_json::to_string_pretty(value)?;
        written(writeln!(anstream::stdout().lock(), "{text}"))
    }

    /// Prints the document with `--json`, else what `text` gives.
    pub fn either(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result {
        if self.json { self.document(document) } else { self.line(text().trim_end()) }
    }

    /// Says on standard error what is being done. Silent with `--quiet` and `--json`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            stderr_line(text.as_ref());
        }
    }

    /// Whether a moving progress line may be drawn on standard error.
    pub fn may_animate(&self) -> bool {
        !self.quiet && !self.json && std::io::stderr().is_terminal()
    }
}

/// Prints a line to standard error; that nobody reads it is not an error.
pub fn stderr_line(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Standard output's width in columns, 100 where it is no terminal.
pub fn width() -> usize {
    let terminal = std::io::stdout().is_terminal().then(|| comfy_table::Table::new().width()).flatten();
    terminal.map_or(100, usize::from)
}

/// A table without borders that wraps within the terminal's width.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    // Whether colours are shown is `anstream`'s to decide, as everywhere else.
    table.enforce_styling();
    table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase())));
    table
}

/// A table's text with a dim header, flush left and without trailing blanks.
pub fn table_text(table: &mut Table) -> String {
    match table.is_tty() {
        true => table_text_within(table, width()),
        // Without a terminal nothing is wrapped at all.
        false => laid_out(table),
    }
}

/// The same in so many columns, terminal or not. Wrapped cells keep whole words.
pub fn table_text_within(table: &mut Table, width: usize) -> String {
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    laid_out(table)
}

fn laid_out(table: &mut Table) -> String {
    let columns = table.column_count();
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index + 1 == columns { 0 } else { 2 }));
    }
    let text = table.trim_fmt();
    match text.split_once('\n') {
        Some((header, rows)) => format!("{}{header}{:#}\n{rows}", style::DIM, style::DIM),
        None => format!("{}{text}{:#}", style::DIM, style::DIM),
    }
}

/// `name  value` lines, the values aligned.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let longest = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        let value = value.trim_end().replace('\n', &format!("\n{:longest$}  ", ""));
        let _ = writeln!(text, "{}{name:longest$}{:#}  {value}", style::DIM, style::DIM);
    }
    text
}

/// A time for people: local, to the second.
pub fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A size for people, such as `88.4 KiB`.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// A duration for people, such as `1.24 s` or `310 µs`.
pub fn duration(time: std::time::Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 120.0 => format!("{:.1} min", s / 60.0),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// `text` with everything that a terminal would obey rather than show turned into escapes.
pub fn visible(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            // Marks that reorder what follows: they can make a line read as another.
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// [`visible`], on one line, and no longer than `limit` characters.
pub fn one_line(text: &str, limit: usize) -> String {
    let flat = visible(text).replace('\n', " ");
    if flat.chars().count() <= limit {
        return flat;
    }
    flat.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_step_can_not_drive_the_terminal() {
        assert_eq!(visible("a\tb\nc"), "a\tb\nc");
        assert_eq!(visible("\u{1b}[2Jx\r\u{202e}y"), "\\u{1b}[2Jx\\r\\u{202e}y");
    }

    #[test]
    fn a_long_text_is_cut_to_its_limit() {
        assert_eq!(one_line("añb\nc", 10), "añb c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    #[test]
    fn pairs_stand_in_two_columns() {
        let text = anstream::adapter::strip_str(&pairs(&[("a", "1".into()), ("bcd", "2\n3".into())])).to_string();
        assert_eq!(text, "a    1\nbcd  2\n     3\n");
    }
}
