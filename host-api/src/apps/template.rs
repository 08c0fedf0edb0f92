//! Text with an account's fields in it: `Bearer {api_key}`. A template only puts
//! values in; it must never decide where they may go.

use std::fmt;
use std::str::FromStr;

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Text that stands as it is.
    Text(String),
    /// The name of the field whose value stands here.
    Field(String),
}

/// Parsed text with fields: `Bearer {api_key}`. `{{` and `}}` stand for braces.
///
/// ```
/// use keyhole_host_api::apps::Template;
///
/// let template: Template = "Bearer {api_key}".parse()?;
/// assert_eq!(template.fields().collect::<Vec<_>>(), ["api_key"]);
/// assert_eq!(template.render(|_| Some("k1")), Some("Bearer k1".to_owned()));
/// # Ok::<(), keyhole_host_api::apps::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template(Vec<Piece>);

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error("a '{{' is never closed; write {{field}}, or {{{{ for a brace")]
    Unclosed,
    /// A `}` without its `{`.
    #[error("a '}}' closes nothing; write {{field}}, or }}}} for a brace")]
    Unopened,
    /// What stands between braces cannot name a field.
    #[error("'{0}' cannot be a field's name; use letters, digits and '_', beginning with a letter")]
    FieldName(String),
}

/// Whether `name` can be a field's name.
pub(super) fn is_field_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Template {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if after.starts_with(brace) {
                plain.push_str(brace);
                rest = &after[1..];
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Unopened);
            }
            let (name, tail) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            if !is_field_name(name) {
                return Err(TemplateError::FieldName(name.to_owned()));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Field(name.to_owned()));
            rest = tail;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The field alone.
    pub(crate) fn of_field(name: &str) -> Self {
        Self(vec![Piece::Field(name.to_owned())])
    }

    /// The parts, in order. No two texts are neighbours.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The names of the fields, in order, as often as they occur.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Field(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with each field's value in its place, as it is; `None` if `value` has
    /// none for one of them.
    pub fn render<'v>(&self, mut value: impl FnMut(&str) -> Option<&'v str>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field(name) => text.push_str(value(name)?),
            }
        }
        Some(text)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => f.write_str(&plain.replace('{', "{{").replace('}', "}}"))?,
                Piece::Field(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_in_and_braces_stand() {
        let t = Template::parse("a{{b}} {x}/{y}{x}").unwrap();
        assert_eq!(t.render(|f| Some(if f == "x" { "1" } else { "2" })).unwrap(), "a{b} 1/21");
        assert_eq!(t.to_string(), "a{{b}} {x}/{y}{x}");
        assert_eq!(t.render(|f| (f == "x").then_some("1")), None);
        assert_eq!(Template::parse(&t.to_string()).unwrap(), t);
    }

    #[test]
    fn a_value_with_braces_is_not_a_template() {
        let t = Template::parse("{x}").unwrap();
        assert_eq!(t.render(|_| Some("{x}")).unwrap(), "{x}");
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        assert_eq!(Template::parse("{x"), Err(TemplateError::Unclosed));
        assert_eq!(Template::parse("x}"), Err(TemplateError::Unopened));
        for bad in ["{}", "{ x }", "{1x}", "{x-y}", "{x{y}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
