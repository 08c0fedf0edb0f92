//! JSON as it comes from a step: checked, and kept as text.
//!
//! A step's JSON is never turned into a tree of values in here. A tree takes many times
//! the text's memory (`[{"":0}, …]` about eighty times), and the step chooses the text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One JSON value (RFC 8259), nested at most 128 deep, as text.
#[derive(Clone)]
pub struct Json(String);

impl Json {
    /// Checks that `text` is one JSON value.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        check(&text)?;
        // The white space that may be around a value is no part of it.
        let value = text.trim_ascii();
        Ok(if value.len() == text.len() { Self(text) } else { Self(value.to_owned()) })
    }

    /// `null`.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0
    }

    /// The value as a tree. It may take many times the text's memory.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(self.as_str()).expect("`parse` has checked the text, its depth included")
    }

    /// The value after `redact` went over its text, in which nothing that it looks for is
    /// hidden behind an escape.
    pub(super) fn redacted(self, redact: impl Fn(&str) -> Cow<'_, str>) -> Self {
        let plain = self.unescaped();
        let redacted = match redact(&plain) {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        };
        match (redacted, plain) {
            (Some(text), _) | (None, Cow::Owned(text)) => Self::of_checked(text),
            (None, Cow::Borrowed(_)) => self,
        }
    }

    /// The same value, where no character is escaped that need not be.
    fn unescaped(&self) -> Cow<'_, str> {
        let text = self.as_str();
        if !text.contains("\\u") {
            return Cow::Borrowed(text);
        }
        let mut plain = Vec::with_capacity(text.len());
        let mut from = serde_json::Deserializer::from_str(text);
        let copied = serde_transcode::transcode(&mut from, &mut serde_json::Serializer::new(&mut plain));
        match (copied, String::from_utf8(plain)) {
            (Ok(()), Ok(plain)) => Cow::Owned(plain),
            // Not reached for checked text. Closed on failure.
            _ => Cow::Borrowed("null"),
        }
    }

    fn of_checked(text: String) -> Self {
        // A label holds no character that JSON escapes, so the text still is JSON; closed on failure.
        Self::parse(text).unwrap_or_else(|_| Self::null())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Eq for Json {}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Whether `text` is one JSON value that `serde_json` can make a tree of.
pub(super) fn check(text: &str) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Check.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Walks through a value without keeping any of it. Unlike `IgnoredAny` it minds the
/// depth and the range of numbers, as making a tree would.
#[derive(Clone, Copy)]
struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key_seed(Name)?.is_some() {
            entries.next_value_seed(self)?;
        }
        Ok(())
    }
}

/// A member's name. `serde_json` takes some names for its own when it makes a tree.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<(), E> {
        match name.starts_with("$serde_json::private::") {
            true => Err(E::custom("a member's name must not begin with $serde_json::private::")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_json_value_is_refused() {
        for text in [
            r#"[{"$serde_json::private::RawValue":5}]"#,
            "",
            "{",
            "1 2",
            "nope",
            "{\"a\":}",
            "1e999",
            "\"\\ud800\"",
            "\u{feff}1",
        ] {
            assert!(Json::parse(text.to_owned()).is_err(), "{text}");
        }
        assert!(Json::parse("[".repeat(200) + &"]".repeat(200)).is_err());
    }

    #[test]
    fn what_is_accepted_can_be_made_a_tree_and_keeps_its_text() {
        for text in ["null", " 1 ", "[1, 2.5e3, -7]", "{\"a\": {\"b\": [true, \"\\u00e4\"]}}"] {
            let json = Json::parse(text.to_owned()).unwrap();
            assert_eq!(json.as_str(), text.trim());
            assert_eq!(json.to_value(), serde_json::from_str::<serde_json::Value>(text).unwrap());
            assert_eq!(serde_json::to_value(&json).unwrap(), json.to_value());
        }
    }

    #[test]
    fn an_escape_hides_nothing_from_redaction() {
        let json = Json::parse(r#"{"k":"\u006bhp1secret","é":"\u00e9"}"#.to_owned()).unwrap();
        let redacted = json.redacted(|text| match text.contains("khp1secret") {
            true => Cow::Owned(text.replace("khp1secret", "‹slack.token›")),
            false => Cow::Borrowed(text),
        });
        assert_eq!(redacted.as_str(), r#"{"k":"‹slack.token›","é":"é"}"#);
    }
}
