//! A body into which a credential was put parses as before, has exactly that credential in its place, and is byte for
//! byte the same elsewhere.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::super::placeholder::MARKER;
use super::super::survey::{self, Refusal};
use super::party::handed;
use super::source::Source;
use super::writings::{json_unicode, percent, shown};
use crate::vault::Secret;

/// Writes a body with the placeholder in one of its places, and puts a credential there.
pub fn bodies(data: &[u8]) {
    let mut source = Source::new(data);
    // A field of an account has no line ends and no NUL; those that came to be there are refused.
    let mut credential = source.text(12);
    if credential.is_empty() {
        credential.push('k');
    }
    match source.upto(2) {
        0 => json(&mut source, &credential),
        1 => form(&mut source, &credential),
        _ => multipart(&mut source, &credential),
    }
}

/// What leaves in the place of `body`; none if the credential is refused there.
fn substituted(content_type: &str, body: &[u8], credential: &str) -> Option<Vec<u8>> {
    let handed = handed();
    let url = Url::parse("https://api.acme.example/v1/things").unwrap_or_else(|error| panic!("{error}"));
    let content_type = HeaderValue::from_str(content_type).unwrap_or_else(|error| panic!("{error}"));
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
    let survey = survey::survey(&handed.table, &handed.parties, &url, &headers, Some(body));
    let survey = survey.unwrap_or_else(|refusal| panic!("{refusal}: {}", shown(body)));
    let survey = survey.unwrap_or_else(|| panic!("not seen: {}", shown(body)));
    let secret = Secret::new(credential.to_owned());
    match survey::substitute(&survey, &url, &headers, Some(body), |_| Some(&secret)) {
        Ok(with) => Some(with.body.unwrap_or_else(|| panic!("as it was: {}", shown(body))).to_vec()),
        Err(Refusal::Unfit { .. }) => None,
        Err(refusal) => panic!("{refusal}: {}", shown(body)),
    }
}

/// Whether nothing but line ends, NUL and, in multipart, a delimiter keeps a credential from a body.
fn is_line(credential: &str) -> bool {
    !credential.contains(['\r', '\n', '\0'])
}

/// The part of `output` that is not in `input`, where `at` was cut out of it; all else must be the same.
fn replaced<'o>(input: &str, at: &str, output: &'o str) -> &'o str {
    let (before, after) = input.split_once(at).unwrap_or_else(|| panic!("{at} is not in {input}"));
    let rest = output.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    rest.unwrap_or_else(|| panic!("{input} became {output}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| panic!("{error}"))
}

/// `text` with none of its letters escaped, all of them, or some. If some, then none before the placeholder's marker,
/// and the one behind it: else what stands there as it is looks like a placeholder that is another's, and is refused.
fn escaped(source: &mut Source<'_>, text: &str, escape: fn(&str) -> String) -> String {
    let marker = text.find(MARKER).map_or(0, |at| at + MARKER.len());
    let how = source.upto(2);
    let letter = |(at, c): (usize, char)| match how {
        0 => c.to_string(),
        1 => escape(&c.to_string()),
        _ if at == marker || (at > marker && source.flag()) => escape(&c.to_string()),
        _ => c.to_string(),
    };
    text.char_indices().map(letter).collect()
}

fn json(source: &mut Source<'_>, credential: &str) {
    let mut document = json!({});
    for _ in 0..source.upto(4) {
        document[source.text(2)] = value(source, 3);
    }
    let placeholder = &handed().placeholder;
    let (pointer, holds, expected) = match source.flag() {
        true => {
            document["auth"] = value(source, 2);
            if !document["auth"].is_object() {
                document["auth"] = json!({});
            }
            document["auth"]["token"] = json!("");
            ("/auth/token", placeholder.clone(), credential.to_owned())
        }
        false => {
            document["list"] = json!([value(source, 2), { "a/b": "" }, value(source, 2)]);
            ("/list/1/a~1b", format!("key:{placeholder}"), format!("key:{credential}"))
        }
    };
    // Letters that are escaped read the same.
    let literal = format!("\"{}\"", escaped(source, &holds, |c| json_unicode(c, true)));
    let mut put = |what: Value| {
        if let Some(place) = document.pointer_mut(pointer) {
            *place = what;
        }
        document.clone()
    };
    // A text that is nowhere else, and not changed by writing it.
    let marked = put(json!("@@here@@"));
    let expected = put(json!(expected));
    let marked = if source.flag() { serde_json::to_string(&marked) } else { serde_json::to_string_pretty(&marked) };
    let mut marked = marked.unwrap_or_else(|error| panic!("{error}"));
    if marked.matches("\"@@here@@\"").count() != 1 {
        return;
    }
    if source.flag() {
        // Of members with one name, parsers take the last.
        let name = if pointer.starts_with("/auth") { "auth" } else { "list" };
        marked = format!("{{\"{name}\": {}, {}", value(source, 1), marked[1..].trim_start());
    }
    let body = marked.replace("\"@@here@@\"", &literal);
    let content_type = *source.one_of(&["application/json", "application/json; charset=utf-8", "application/x+json"]);
    let Some(output) = substituted(content_type, body.as_bytes(), credential) else {
        return assert!(!is_line(credential), "{credential:?} was refused in {body}");
    };
    let output = text(output);
    let parsed: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(parsed, expected, "{body} became {output}");
    let written: Value = serde_json::from_str(replaced(&body, &literal, &output)).unwrap_or_default();
    assert_eq!(Some(&written), expected.pointer(pointer), "{body} became {output}");
}

/// Any JSON, `depth` deep.
fn value(source: &mut Source<'_>, depth: usize) -> Value {
    match source.upto(if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => json!(source.flag()),
        2 => json!(source.upto(usize::MAX)),
        3 => json!(-1.5e300),
        4 => json!(source.text(4)),
        5 => (0..source.upto(3)).map(|_| value(source, depth - 1)).collect(),
        _ => {
            let members: serde_json::Map<_, _> =
                (0..source.upto(3)).map(|_| (source.text(2), value(source, depth - 1))).collect();
            members.into()
        }
    }
}

fn form(source: &mut Source<'_>, credential: &str) {
    let placeholder = &handed().placeholder;
    let mut pairs: Vec<(String, String)> = (0..source.upto(4)).map(|_| (source.text(2), source.text(3))).collect();
    // More than once, even: each is a place.
    let places: Vec<usize> = (0..=source.upto(1)).map(|_| source.upto(pairs.len())).collect();
    for at in &places {
        pairs.insert(*at, ("token".to_owned(), String::new()));
    }
    let is_place = |(name, value): &(String, String)| name == "token" && value.is_empty();
    // Only what the place is filled with is one; an empty field of this name stays.
    let mut body = Vec::new();
    let mut expected = Vec::new();
    let mut left = places.len();
    for pair in &pairs {
        if is_place(pair) && left > 0 {
            left -= 1;
            let name = if source.flag() { "token".to_owned() } else { percent("token", true, false) };
            body.push(format!("{name}={}", escaped(source, placeholder, |c| percent(c, true, true))));
            expected.push((pair.0.clone(), credential.to_owned()));
        } else {
            body.push(form_urlencoded::Serializer::new(String::new()).append_pair(&pair.0, &pair.1).finish());
            expected.push(pair.clone());
        }
    }
    let body = body.join("&");
    let Some(output) = substituted("application/x-www-form-urlencoded", body.as_bytes(), credential) else {
        return assert!(!is_line(credential), "{credential:?} was refused in {body}");
    };
    let parsed: Vec<(String, String)> = form_urlencoded::parse(&output).into_owned().collect();
    assert_eq!(parsed, expected, "{body} became {}", shown(&output));
    let output = text(output);
    let (pairs, outputs): (Vec<&str>, Vec<&str>) = (body.split('&').collect(), output.split('&').collect());
    assert_eq!(pairs.len(), outputs.len(), "{body} became {output}");
    for ((pair, output), (_, value)) in pairs.iter().zip(outputs).zip(&expected) {
        let name = pair.split('=').next();
        let same = if value == credential { output.split('=').next() == name } else { *pair == output };
        assert!(same, "{pair} became {output}");
    }
}

/// The headers of a part, and its content.
type Part = (String, Vec<u8>);

fn multipart(source: &mut Source<'_>, credential: &str) {
    let boundary: String = (0..=source.upto(20)).map(|_| *source.one_of(&['-', '-', 'x', '7', '_'])).collect();
    let delimiter = format!("--{boundary}");
    let mut parts: Vec<Part> = (0..source.upto(3)).map(|_| part(source)).collect();
    let at = source.upto(parts.len());
    let headers = *source.one_of(&[
        "Content-Disposition: form-data; name=\"token\"",
        "content-disposition:form-data; name=token\r\nContent-Type: text/plain",
        "X-Other: 1\r\nCONTENT-DISPOSITION: form-data; name=\"token\"",
    ]);
    parts.insert(at, (headers.to_owned(), handed().placeholder.clone().into_bytes()));
    let body = write(&delimiter, &parts);
    // A step that writes a delimiter into its content gets what it wrote.
    if read(&delimiter, &body).as_ref() != Some(&parts) {
        return;
    }
    // What no step can know, it may guess.
    let credential =
        if source.flag() { credential.to_owned() } else { format!("{delimiter}{}", source.one_of(&["", "--", "\t"])) };
    let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
    let Some(output) = substituted(&content_type, &body, &credential) else {
        let delimits = credential.starts_with(&delimiter);
        return assert!(delimits || !is_line(&credential), "{credential:?} was refused in {}", shown(&body));
    };
    parts[at].1 = credential.into_bytes();
    assert_eq!(shown(&output), shown(&write(&delimiter, &parts)));
    assert_eq!(read(&delimiter, &output), Some(parts), "{} became {}", shown(&body), shown(&output));
}

fn part(source: &mut Source<'_>) -> Part {
    let name = *source.one_of(&["note", "token\"; filename=\"a.txt", "tokens", ""]);
    (format!("Content-Disposition: form-data; name=\"{name}\""), source.bytes(40).to_vec())
}

fn write(delimiter: &str, parts: &[Part]) -> Vec<u8> {
    let mut body = Vec::new();
    for (headers, content) in parts {
        body.extend_from_slice(format!("{delimiter}\r\n{headers}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("{delimiter}--\r\n").as_bytes());
    body
}

/// A reader that takes lines (RFC 2046, section 5.1.1): one that begins with the delimiter ends a part, wherever it is.
/// None if there is no closing one, or a part has no blank line.
fn read(delimiter: &str, body: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut lines: Option<Vec<&[u8]>> = None;
    let mut rest = body;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        let Some(after) = line.strip_prefix(delimiter.as_bytes()) else {
            lines.as_mut()?.push(line);
            continue;
        };
        if let Some(lines) = lines.take() {
            let blank = lines.iter().position(|line| line.is_empty())?;
            let headers = shown(&lines[..blank].join(&b"\r\n"[..]));
            parts.push((headers, lines[blank + 1..].join(&b"\r\n"[..])));
        }
        if after.starts_with(b"--") {
            return Some(parts);
        }
        lines = Some(Vec::new());
    }
    None
}
