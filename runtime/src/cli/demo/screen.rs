//! What the demo shows: acts, and lines that were checked. It adds up whether everything
//! went as it should.

use comfy_table::Table;
use serde_json::{Value, json};

use super::super::error::Result;
use super::super::output::{self, Output, one_line, style, visible};

/// What stands before the lines of an act.
const INDENT: &str = "   ";
/// Columns of a line's first part.
const WHAT: usize = 26;
/// Widest text of its second part, so that it fits 100 columns with the mark and the blanks.
const DETAIL: usize = 100 - INDENT.len() - 2 - WHAT - 1;

/// The screen, and its account of what went as it should.
pub struct Screen {
    out: Output,
    acts: Vec<Value>,
    wrong: usize,
}

impl Screen {
    /// An empty screen.
    pub fn new(out: Output) -> Self {
        Self { out, acts: Vec::new(), wrong: 0 }
    }

    /// A line of text.
    pub fn say(&self, text: &str) -> Result {
        if self.out.json { Ok(()) } else { self.out.line(text) }
    }

    /// A new act.
    pub fn act(&mut self, title: &str) -> Result {
        self.acts.push(json!({"title": title, "checks": []}));
        let (number, bold) = (self.acts.len(), style::BOLD);
        self.say(&format!("\n{bold}{number}  {title}{bold:#}"))
    }

    /// A table within the act.
    pub fn table(&self, table: &mut Table) -> Result {
        let text = output::table_text_within(table, output::width().saturating_sub(INDENT.len()));
        self.say(&format!("{INDENT}{}", text.replace('\n', &format!("\n{INDENT}"))))
    }

    /// A line that is right or wrong: what was tried, and what came of it.
    pub fn check(&mut self, right: bool, what: &str, came: &str) -> Result {
        self.wrong += usize::from(!right);
        if let Some(checks) = self.acts.last_mut().and_then(|act| act["checks"].as_array_mut()) {
            checks.push(json!({"ok": right, "what": what, "came": came}));
        }
        let (mark, color) = if right { ('✓', style::GOOD) } else { ('✗', style::BAD) };
        // What went wrong is shown whole.
        let came = match right {
            true => one_line(came, DETAIL),
            false => format!("{}  ← not as it should be", visible(came)),
        };
        self.say(&format!("{INDENT}{color}{mark}{color:#} {what:WHAT$} {came}"))
    }

    /// The object that `--json` prints, or the closing line. Says whether all went well.
    pub fn close(self, closing: &str) -> Result<bool> {
        let right = self.wrong == 0;
        if self.out.json {
            self.out.document(&json!({"ok": right, "acts": self.acts}))?;
        } else if right {
            self.out.line(format!("\n{}Everything went as it should.{:#} {closing}", style::GOOD, style::GOOD))?;
        } else {
            let bad = style::BAD;
            self.out.line(format!(
                "\n{bad}{} of the lines above did not go as they should.{bad:#} {closing}",
                self.wrong
            ))?;
        }
        Ok(right)
    }
}
