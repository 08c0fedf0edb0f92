//! Names and lines made of a document's texts, which may hold anything.

use std::collections::BTreeSet;

use crate::apps::CUSTOM;

/// `text` on one line of at most `limit` characters, without what a terminal would obey.
pub(super) fn line(text: &str, limit: usize) -> String {
    let reorders = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let word: String = word.chars().filter(|c| !reorders(*c)).collect();
        if word.is_empty() {
            continue;
        }
        let more = word.chars().count() + usize::from(length > 0);
        if length + more > limit {
            let rest = limit.saturating_sub(length + 2);
            if length == 0 {
                line.extend(word.chars().take(rest));
            }
            line.push('…');
            break;
        }
        if length > 0 {
            line.push(' ');
        }
        line.push_str(&word);
        length += more;
    }
    line
}

/// Lower-case letters, digits and `_` of `text`; words that capitals set apart are parted.
fn snake(text: &str) -> String {
    let mut name = String::new();
    let mut lower_before = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && lower_before {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        lower_before = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    name.trim_end_matches('_').to_owned()
}

/// The same, short enough for a name with a number after it.
fn name(text: &str) -> String {
    let mut name = snake(text);
    name.truncate(48);
    name.trim_end_matches('_').to_owned()
}

/// An app's name made of `text`, if it has a letter or digit at all.
pub(super) fn app_name(text: &str) -> Option<String> {
    let name = name(&text.to_lowercase());
    match name.as_str() {
        "" => None,
        CUSTOM => Some(format!("{CUSTOM}_app")),
        _ => Some(name),
    }
}

/// A field's name made of `text`, unlike those in `taken`.
pub(super) fn field_name(text: &str, fallback: &str, taken: &BTreeSet<String>) -> String {
    let name = name(text);
    let name = match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name,
        _ => fallback.to_owned(),
    };
    let mut numbered = name.clone();
    let mut number = 2;
    while taken.contains(&numbered) {
        numbered = format!("{name}_{number}");
        number += 1;
    }
    numbered
}

/// What a person would call a field of this name.
pub(super) fn label(name: &str) -> String {
    let spaced = snake(name).replace('_', " ");
    let label = format!(" {spaced} ").replace(" api ", " API ").replace(" id ", " ID ").replace(" url ", " URL ");
    let label = label.trim();
    let mut characters = label.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => "Value".to_owned(),
    }
}

/// The words of a name, in lower case: `listApiKeys`, `api-keys` and `api.keys` have `api` and `keys`.
pub(super) fn words(name: &str) -> Vec<String> {
    snake(name).split('_').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
