//! The fields of an account: what a value must look like, and what of it is public.

use std::fmt;

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest value of a plain field, in bytes.
pub const MAX_PLAIN: usize = 1024;
/// Longest value of a secret field, in bytes. Some tokens carry a whole signed document.
pub const MAX_SECRET: usize = 16 * 1024;

/// One field of an account.
#[derive(Clone, Debug)]
pub struct FieldDef {
    /// The name that `$auth` has it under.
    pub name: String,
    /// Further names of it there, which code written elsewhere knows it by.
    pub aliases: Vec<String>,
    /// What a person calls it.
    pub label: String,
    /// Whether it is a credential: sealed, and handed out as a placeholder.
    pub secret: bool,
    /// A secret that is not handed out at all, not even as a placeholder: signing keys,
    /// client secrets, refresh tokens.
    pub host_only: bool,
    /// Whether its value has several lines, as a key in PEM has. Host-only fields alone.
    pub lines: bool,
    /// Whether an account can do without it.
    pub optional: bool,
    /// What the whole value must look like.
    pub pattern: Option<Pattern>,
    /// The values that there are. Empty: any.
    pub choices: Vec<String>,
    /// The value if none is given. Plain fields only.
    pub default: Option<String>,
    /// Public beginnings such as `xoxb-` and `xoxp-`, which a placeholder keeps, since
    /// SDKs look at them.
    pub prefixes: Vec<String>,
    /// Whether a placeholder is as long as the credential.
    pub keep_length: bool,
    /// What it is.
    pub help: Option<String>,
    /// Where to find it: the address of the page, or the way to it.
    pub find: Option<String>,
}

/// What is wrong with a field's value. Never quotes the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// An empty value is no value.
    #[error("{field}: is empty; leave an optional field out, or give its value")]
    Empty {
        /// The field.
        field: String,
    },
    /// Too long for a header, and for a slip of the hand.
    #[error("{field}: has {length} bytes; at most {limit} are taken")]
    TooLong {
        /// The field.
        field: String,
        /// The value's length in bytes.
        length: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A control character could end a header line.
    #[error("{field}: holds a line break or another control character; paste the value alone")]
    Control {
        /// The field.
        field: String,
    },
    /// Another shape than the definition demands.
    #[error("{field}: does not look like a {label}; it must match {pattern}{}", found_at(.find))]
    Pattern {
        /// The field.
        field: String,
        /// Its label.
        label: String,
        /// The pattern.
        pattern: String,
        /// Where to find the right value.
        find: Option<String>,
    },
    /// Not one of the values that there are.
    #[error("{field}: must be one of {}", .choices.join(", "))]
    Choice {
        /// The field.
        field: String,
        /// The values.
        choices: Vec<String>,
    },
}

fn found_at(place: &Option<String>) -> String {
    place.as_ref().map(|place| format!("; you find it here: {place}")).unwrap_or_default()
}

impl FieldDef {
    /// Checks a value that someone gave.
    pub fn check(&self, value: &str) -> Result<(), FieldError> {
        let field = || self.name.clone();
        let limit = if self.secret { MAX_SECRET } else { MAX_PLAIN };
        if value.is_empty() {
            return Err(FieldError::Empty { field: field() });
        }
        if value.len() > limit {
            return Err(FieldError::TooLong { field: field(), length: value.len(), limit });
        }
        if value.chars().any(|c| c.is_control() && !(self.lines && matches!(c, '\r' | '\n'))) {
            return Err(FieldError::Control { field: field() });
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == value) {
            return Err(FieldError::Choice { field: field(), choices: self.choices.clone() });
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(value) => Err(FieldError::Pattern {
                field: field(),
                label: self.label.clone(),
                pattern: pattern.to_string(),
                find: self.find.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The public beginning of `value`: the longest of the prefixes that it has, or nothing.
    pub fn prefix_of<'v>(&self, value: &'v str) -> &'v str {
        let fitting = self.prefixes.iter().filter(|prefix| value.starts_with(prefix.as_str()));
        &value[..fitting.map(String::len).max().unwrap_or(0)]
    }

    /// Whether steps are given a placeholder for it.
    pub fn has_placeholder(&self) -> bool {
        self.secret && !self.host_only
    }
}

/// A regular expression that a whole value must match.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// Parses `source`; `^` and `$` at its ends are implied.
    pub fn parse(source: &str) -> Result<Self, regex::Error> {
        // Alone first: `)|(` must not break out of the group.
        Regex::new(source)?;
        let regex = regex::RegexBuilder::new(&format!(r"\A(?:{source})\z")).size_limit(1 << 20).build()?;
        Ok(Self { source: source.to_owned(), regex })
    }

    /// Whether all of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// Whether no value with a character outside `allowed` can match.
    pub(super) fn admits_only(&self, allowed: fn(char) -> bool) -> bool {
        regex_syntax::parse(&self.source).is_ok_and(|hir| hir_admits_only(&hir, allowed))
    }
}

fn hir_admits_only(hir: &Hir, allowed: fn(char) -> bool) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(text) => std::str::from_utf8(&text.0).is_ok_and(|text| text.chars().all(allowed)),
        // A class of more characters than ASCII has holds one that no host may.
        HirKind::Class(Class::Unicode(class)) => class.iter().all(|range| {
            u32::from(range.end()) - u32::from(range.start()) < 128 && (range.start()..=range.end()).all(allowed)
        }),
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().all(|range| (range.start()..=range.end()).map(char::from).all(allowed))
        }
        HirKind::Repetition(repetition) => hir_admits_only(&repetition.sub, allowed),
        HirKind::Capture(capture) => hir_admits_only(&capture.sub, allowed),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(|part| hir_admits_only(part, allowed)),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(pattern: &str) -> FieldDef {
        FieldDef {
            name: "token".into(),
            aliases: Vec::new(),
            label: "token".into(),
            secret: true,
            host_only: false,
            lines: false,
            optional: false,
            pattern: Some(Pattern::parse(pattern).unwrap()),
            choices: Vec::new(),
            default: None,
            prefixes: vec!["sk_".into(), "sk_live_".into()],
            keep_length: false,
            help: None,
            find: None,
        }
    }

    #[test]
    fn a_pattern_holds_for_the_whole_value() {
        let f = field("a|b");
        assert!(f.check("a").is_ok());
        for bad in ["ab", "xa", "b ", "a\n", "", "a\0", "\u{85}a"] {
            assert!(f.check(bad).is_err(), "{bad:?}");
        }
        assert!(Pattern::parse("a)|(b").is_err(), "breaks out of the anchors");
    }

    #[test]
    fn an_error_does_not_quote_the_value() {
        let error = field("[0-9]+").check("hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_longest_public_prefix_is_kept() {
        let f = field(".*");
        assert_eq!(f.prefix_of("sk_live_abc"), "sk_live_");
        assert_eq!(f.prefix_of("sk_test_abc"), "sk_");
        assert_eq!(f.prefix_of("rk_abc"), "");
    }

    #[test]
    fn what_a_pattern_can_admit_is_known_without_trying() {
        let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
        for (source, expected) in [
            ("[a-z0-9-]+", true),
            ("[a-z][a-z0-9-]{0,61}(x|y)?", true),
            ("^[A-Za-z0-9]+$", true),
            ("(?i)[a-j]+", true),
            (".+", false),
            ("[a-z.]+", false),
            (r"\w+", false),
            ("[^/]+", false),
            ("(?i)[a-z]+", false), // U+017F and U+212A fold to s and k
            ("a(b|c/)?", false),
            (r"\S+", false),
        ] {
            assert_eq!(Pattern::parse(source).unwrap().admits_only(label), expected, "{source}");
        }
    }
}
