//! Credentials' places in a request's body: a value in JSON, a form's field, a part of
//! multipart. What can't be told apart for certain is no place, so a placeholder there is refused.

use std::collections::BTreeMap;
use std::ops::Range;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memmem;
use percent_encoding::utf8_percent_encode;
use serde_json::value::RawValue;

use super::{QUERY, form_decode};
use crate::apps::Place;

/// How a body is written, as far as places know it.
pub(in super::super) enum Format {
    Json,
    Form,
    /// With its delimiter: `--` and the boundary.
    Multipart(Vec<u8>),
}

/// A value that stands in a body.
pub(super) struct Value {
    pub span: Range<usize>,
    /// As the server reads it.
    pub read: Vec<u8>,
    pub writing: Writing,
}

/// How a value is written where it stands.
#[derive(Clone, Copy)]
pub(super) enum Writing {
    Json,
    Form,
    AsIs,
}

impl Writing {
    pub fn write(self, value: &str) -> String {
        match self {
            Self::Json => serde_json::Value::from(value).to_string(),
            Self::Form => utf8_percent_encode(value, QUERY).to_string(),
            Self::AsIs => value.to_owned(),
        }
    }
}

impl Format {
    /// The format that the headers name. None for one without places, or under a content-encoding.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.contains_key(CONTENT_ENCODING) || headers.get_all(CONTENT_TYPE).iter().count() != 1 {
            return None;
        }
        let content_type: mime::Mime = headers.get(CONTENT_TYPE)?.to_str().ok()?.parse().ok()?;
        match (content_type.type_(), content_type.subtype()) {
            (mime::APPLICATION, mime::JSON) => Some(Self::Json),
            (mime::APPLICATION, _) if content_type.suffix() == Some(mime::JSON) => Some(Self::Json),
            (mime::APPLICATION, mime::WWW_FORM_URLENCODED) => Some(Self::Form),
            (mime::MULTIPART, mime::FORM_DATA) => {
                let boundary = content_type.get_param(mime::BOUNDARY)?;
                Some(Self::Multipart([b"--", boundary.as_str().as_bytes()].concat()))
            }
            _ => None,
        }
    }

    /// Whether `place` can be in such a body.
    pub fn has(&self, place: &Place) -> bool {
        matches!(
            (self, place),
            (Self::Json, Place::Json { .. })
                | (Self::Form, Place::Form { .. })
                | (Self::Multipart(_), Place::Part { .. })
        )
    }

    /// What stands in `place`. A form and multipart may name it more than once.
    pub(super) fn values(&self, place: &Place, body: &[u8]) -> Vec<Value> {
        match (self, place) {
            (Self::Json, Place::Json { pointer, .. }) => {
                std::str::from_utf8(body).ok().and_then(|body| json_string(body, pointer)).into_iter().collect()
            }
            (Self::Form, Place::Form { name, .. }) => form_values(body, name),
            (Self::Multipart(delimiter), Place::Part { name, .. }) => part_values(body, delimiter, name),
            _ => Vec::new(),
        }
    }
}

/// The text at `pointer` (RFC 6901). Of members of one name the last, as most parsers have it:
/// a placeholder in another one is left over, and refused.
fn json_string(body: &str, pointer: &str) -> Option<Value> {
    let mut at: &RawValue = serde_json::from_str(body).ok()?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = if at.get().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(at.get()).ok()?;
            items.get(token.parse::<usize>().ok()?).copied()?
        } else {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(at.get()).ok()?;
            members.get(&token).copied()?
        };
    }
    let read: String = serde_json::from_str(at.get()).ok()?;
    // The raw value is a part of the body itself.
    let start = at.get().as_ptr() as usize - body.as_ptr() as usize;
    Some(Value { span: start..start + at.get().len(), read: read.into_bytes(), writing: Writing::Json })
}

fn form_values(body: &[u8], name: &str) -> Vec<Value> {
    let Ok(body) = std::str::from_utf8(body) else { return Vec::new() };
    let mut values = Vec::new();
    let mut start = 0;
    for pair in body.split('&') {
        if let Some((given, value)) = pair.split_once('=')
            && form_decode(given) == name.as_bytes()
        {
            let from = start + given.len() + 1;
            values.push(Value { span: from..from + value.len(), read: form_decode(value), writing: Writing::Form });
        }
        start += pair.len() + 1;
    }
    values
}

/// The contents of the parts called `name` (RFC 7578) that are no files.
fn part_values(body: &[u8], delimiter: &[u8], name: &str) -> Vec<Value> {
    let ending = [b"\r\n", delimiter].concat();
    let mut values = Vec::new();
    if !body.starts_with(delimiter) {
        return values;
    }
    let mut at = delimiter.len();
    while let Some(rest) = body.get(at..).filter(|rest| rest.starts_with(b"\r\n"))
        && let Some(head) = memmem::find(rest, b"\r\n\r\n")
        && let Some(length) = memmem::find(&rest[head + 2..], &ending)
    {
        // The content may be empty: then the blank line's end is the delimiter's beginning.
        let start = at + head + 4;
        let end = (at + head + 2 + length).max(start);
        if part_name(&rest[2..head]).as_deref() == Some(name) && at + head + 2 + length >= start {
            values.push(Value { span: start..end, read: body[start..end].to_vec(), writing: Writing::AsIs });
        }
        at = at + head + 2 + length + ending.len();
    }
    values
}

/// The name in a part's headers, if it is a plain field.
fn part_name(headers: &[u8]) -> Option<String> {
    let headers = std::str::from_utf8(headers).ok()?;
    let mut dispositions = headers.split("\r\n").filter_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let (disposition, None) = (dispositions.next()?, dispositions.next()) else { return None };
    // Read as a media type, whose parameters are written alike (RFC 6266, section 4.1).
    let disposition: mime::Mime = format!("x/{}", disposition.trim()).parse().ok()?;
    let plain = disposition.subtype() == "form-data" && disposition.get_param("filename").is_none();
    plain.then(|| disposition.get_param("name").map(|name| name.as_str().to_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &str, pointer: &str) -> Option<String> {
        json_string(body, pointer).map(|value| {
            assert!(body[value.span.clone()].starts_with('"') && body[value.span].ends_with('"'));
            String::from_utf8(value.read).unwrap()
        })
    }

    #[test]
    fn a_text_is_found_by_its_pointer_and_nothing_else_is() {
        let body = r#" {"a": {"b~/c": ["x", "k\u0065y"]}, "n": 1, "d": "one", "d": "two"} "#;
        assert_eq!(json(body, "/a/b~0~1c/1").as_deref(), Some("key"));
        assert_eq!(json(body, "/d").as_deref(), Some("two"));
        for missing in ["", "/n", "/a", "/a/b~0~1c/2", "/a/b~0~1c/x", "/none"] {
            assert_eq!(json(body, missing), None, "{missing}");
        }
        assert_eq!(json("not json", "/a"), None);
        assert_eq!(json(r#""whole""#, "").as_deref(), Some("whole"));
    }

    #[test]
    fn a_forms_fields_are_read_as_servers_read_them() {
        let body = b"a=1&to%6Ben=k%2Be+y&token=&other";
        let read: Vec<_> = form_values(body, "token").into_iter().map(|value| (value.span, value.read)).collect();
        assert_eq!(read, [(12..19, b"k+e y".to_vec()), (26..26, b"".to_vec())]);
    }

    #[test]
    fn parts_are_found_by_name_and_files_are_not() {
        let body = b"--X\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nkey\r\n--X\r\n\
            content-disposition: form-data; name=\"token\"; filename=\"f\"\r\n\r\nfile\r\n--X\r\n\
            Content-Type: text/plain\r\nContent-Disposition: form-data; name=token\r\n\r\nk2\r\n--X--\r\n";
        let read: Vec<_> = part_values(body, b"--X", "token").into_iter().map(|value| value.read).collect();
        assert_eq!(read, [b"key".to_vec(), b"k2".to_vec()]);
        assert!(part_values(body, b"--Y", "token").is_empty());
        assert!(part_values(&body[..60], b"--X", "token").is_empty(), "cut short");
    }
}
