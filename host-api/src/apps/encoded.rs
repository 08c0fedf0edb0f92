//! A header's value in base64: `Basic {base64(api_key)}`, as services have it that take a key alone, without the colon
//! of HTTP Basic.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::template::{Template, TemplateError, is_field_name};

/// What stands before it, and what is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    before: String,
    template: Template,
}

impl Encoded {
    /// Parses `text` if it ends with `{base64(…)}`, which holds a field's name or a template such as `{id}:{secret}`.
    /// What stands before is no template.
    ///
    /// # Errors
    /// If what is encoded is no template.
    pub fn parse(text: &str) -> Option<Result<Self, TemplateError>> {
        let (before, rest) = text.split_once("{base64(")?;
        let inner = rest.strip_suffix(")}")?;
        // A base64 digit right before it would be read as one of it.
        if before.contains(['{', '}']) || !(before.is_empty() || before.ends_with(' ')) {
            return None;
        }
        let template = if is_field_name(inner) { Ok(Template::of_field(inner)) } else { Template::parse(inner) };
        Some(template.map(|template| Self { before: before.to_owned(), template }))
    }

    /// What is encoded.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The header's value, of what the template comes to.
    pub fn write(&self, rendered: &str) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}", self.before, STANDARD.encode(rendered)))
    }

    /// What is encoded in a header's value, if it begins as it should. The case of what stands before is of no matter,
    /// as it is in a scheme (RFC 9110, section 11.1).
    pub fn encoded_in<'v>(&self, value: &'v str) -> Option<&'v str> {
        let (before, encoded) = value.split_at_checked(self.before.len())?;
        before.eq_ignore_ascii_case(&self.before).then_some(encoded)
    }
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{base64({})}}", self.before, self.template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_or_a_template_is_encoded_after_a_scheme() {
        for (text, value) in [
            ("Basic {base64(key)}", "Basic azE="),
            ("{base64(key)}", "azE="),
            ("Token token {base64({id}:{key})}", "Token token YTprMQ=="),
        ] {
            let encoded = Encoded::parse(text).unwrap().unwrap();
            let rendered = encoded.template().render(|name| Some(if name == "id" { "a" } else { "k1" })).unwrap();
            assert_eq!(*encoded.write(&rendered), value);
            assert_eq!(Encoded::parse(&encoded.to_string()).unwrap().unwrap(), encoded);
        }
    }

    #[test]
    fn what_is_not_the_whole_rest_of_a_value_is_not_encoded() {
        for text in ["Basic {key}", "x{base64(key)}", "{id} {base64(key)}", "Basic {base64(key)} x", "{base64(key)"] {
            assert!(Encoded::parse(text).is_none(), "{text}");
        }
        assert!(Encoded::parse("Basic {base64({key)}").unwrap().is_err());
    }
}
