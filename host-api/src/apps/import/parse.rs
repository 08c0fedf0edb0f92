//! JSON or YAML text as a value, within limits: a few lines of YAML can stand for terabytes.

use serde_json::Value;

use super::MAX_DOCUMENT;

/// Most nodes of a YAML document, those that its aliases repeat included.
const MAX_NODES: usize = 8_000_000;
/// As deep as `serde_json` goes.
const MAX_DEPTH: usize = 127;

/// Where a text is neither JSON nor YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

/// Reads a document: JSON if it begins with a bracket, else YAML.
///
/// # Errors
///
/// If it is neither, longer than [`MAX_DOCUMENT`], nested deeper than 127 levels, or a YAML document
/// whose aliases repeat more than a real one's would.
pub fn parse(text: &str) -> Result<Value, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_DOCUMENT {
        let message = format!("the document has {} bytes; at most {MAX_DOCUMENT} are read", text.len());
        return Err(SyntaxError { line: 1, column: 1, message });
    }
    if text.trim_start().starts_with(['{', '[']) {
        return serde_json::from_str(text).map_err(|error| {
            let said = error.to_string();
            let end = said.rfind(" at line ").unwrap_or(said.len());
            let message = format!("this is not JSON: {}", &said[..end]);
            SyntaxError { line: error.line().max(1), column: error.column().max(1), message }
        });
    }
    yaml(text)
}

fn yaml(text: &str) -> Result<Value, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            // Documents write one parameter as an anchor and refer to it from every operation.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 1_000_000 },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location();
        let number = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
        let said = error.without_snippet().to_string();
        let said = said.lines().next().unwrap_or_default();
        // It ends with the place, which is told apart from it.
        let end = said.rfind(" at line ").unwrap_or(said.len());
        SyntaxError {
            line: number(at.map(|at| at.line())),
            column: number(at.map(|at| at.column())),
            message: format!("this is not YAML: {}", said[..end].trim_end_matches([':', ',', ' '])),
        }
    })
}
