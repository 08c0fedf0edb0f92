//! A placeholder is found in every part of a request and in every encoding that a server may undo: it is put right in
//! its place or refused, never forwarded unseen. What holds none is not refused, and leaves as it is.

use base64::Engine as _;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use percent_encoding::percent_decode;
use url::Url;

use super::super::placeholder::{MARKER, MIN_RANDOM};
use super::super::survey::{self, BodyWatch, Refusal, Survey};
use super::party::{Handed, handed};
use super::source::Source;
use super::writings::{BASE64, base64_lenient, json_unicode, percent, shown};
use crate::vault::Secret;

/// A part of a request into which a step writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Host,
    Path,
    QueryName,
    QueryValue,
    HeaderName,
    Header,
    Authorization,
    /// With this content type.
    Body(&'static str),
}

const PARTS: &[Part] = &[
    Part::Host,
    Part::Path,
    Part::QueryName,
    Part::QueryValue,
    Part::HeaderName,
    Part::Header,
    Part::Authorization,
    Part::Body("text/plain"),
    Part::Body("application/json"),
    Part::Body("application/x-www-form-urlencoded"),
    Part::Body("multipart/form-data; boundary=B"),
];

/// Writes text, and placeholders in some encoding, into one part of a request.
pub fn placeholders(data: &[u8]) {
    let handed = handed();
    let mut source = Source::new(data);
    let part = *source.one_of(PARTS);
    let mut text = String::new();
    // Whether a server that undoes one of the encodings reads the placeholder.
    let mut written = false;
    for _ in 0..=source.upto(4) {
        if source.flag() {
            text.push_str(&source.text(6));
            continue;
        }
        // As a word of its own, nothing before or after it takes part in its encoding.
        let fence = if source.flag() { "." } else { "" };
        written |= !fence.is_empty();
        text.extend([fence, &encoded(&mut source, &handed.placeholder), fence]);
    }
    let Some(request) = Request::with(part, &text) else { return };
    let sent = request.sent(part);
    let read = readings(&sent);
    let shows = |what: &str| read.iter().any(|reading| holds(reading, what));
    // In a host and in a header's name letters lose their case: what is left has a placeholder's look alone.
    let there = match part {
        Part::Host | Part::HeaderName => shows(&handed.placeholder.to_ascii_lowercase()) || shows(&handed.placeholder),
        _ => (written && holds(&sent, &text)) || shows(&handed.placeholder),
    };
    let says = || format!("{part:?}: {}", shown(&sent));
    match request.survey(handed) {
        Ok(None) => assert!(!there, "forwarded unseen, {}", says()),
        // Only what stands exactly in a place is sent: nothing of the placeholder is left then.
        Ok(Some(survey)) => {
            let secret = Secret::new("the-secret".to_owned());
            let with =
                survey::substitute(&survey, &request.url, &request.headers, request.body.as_deref(), |_| Some(&secret));
            let with = with.unwrap_or_else(|error| panic!("{error}, {}", says()));
            let body = with.body.map(Vec::from).or_else(|| request.body.clone());
            let after = Request { url: with.url, headers: with.headers, body };
            assert!(matches!(after.survey(handed), Ok(None)), "there is one left, {}", says());
        }
        Err(refusal) => {
            let any = there || read.iter().any(|reading| has_shape(reading));
            assert!(any, "refused without a placeholder: {refusal}, {}", says());
            assert!(!refusal.to_string().contains(&handed.placeholder), "{refusal}");
        }
    }
    if request.body.is_some() {
        streamed(&mut source, handed, &sent);
    }
}

/// A body that streams is cut before all of a placeholder has left, and only for one, however it comes in chunks.
fn streamed(source: &mut Source<'_>, handed: &Handed, body: &[u8]) {
    let chunks = source.cut(body);
    let mut watch = BodyWatch::new(&handed.table);
    let passed: usize = chunks.iter().take_while(|chunk| watch.push(chunk).is_ok()).map(|chunk| chunk.len()).sum();
    let found = handed.table.find_in_content(body).next().is_some();
    assert_eq!(passed < body.len(), found, "{chunks:?} is another than the whole");
    assert!(!holds(&body[..passed], &handed.placeholder), "a placeholder left in {chunks:?}");
}

/// The placeholder in one of the listed encodings, with every letter encoded or some.
fn encoded(source: &mut Source<'_>, placeholder: &str) -> String {
    let every = *source.one_of(&[1, 2, 3, 100]);
    let each = |encode: fn(&str) -> String| {
        let letters = placeholder.char_indices();
        letters.map(|(at, c)| if at % every == 0 { encode(&c.to_string()) } else { c.to_string() }).collect::<String>()
    };
    match source.upto(4) {
        0 => placeholder.to_owned(),
        1 => each(|c| percent(c, true, true)),
        2 => percent(&each(|c| percent(c, true, false)), false, true),
        3 => each(|c| json_unicode(c, false)),
        _ => source.one_of(&BASE64).encode(source.text(2) + placeholder + &source.text(2)),
    }
}

struct Request {
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request with `text` in `part`; none if it can't be there.
    fn with(part: Part, text: &str) -> Option<Self> {
        let mut url = Url::parse("https://api.acme.example/v1/things").ok()?;
        let mut headers = HeaderMap::new();
        let mut body = None;
        match part {
            Part::Host => {
                let host = Url::parse(&format!("https://{text}.acme.example/")).ok()?;
                let alone = host.path() == "/" && host.query().is_none() && host.fragment().is_none();
                url = Some(host).filter(|host| alone && host.username().is_empty() && host.password().is_none())?;
            }
            Part::Path => url.set_path(text),
            Part::QueryName => url.set_query(Some(&format!("{text}=1"))),
            Part::QueryValue => url.set_query(Some(&format!("note={text}"))),
            Part::HeaderName => {
                headers.insert(HeaderName::from_bytes(text.as_bytes()).ok()?, HeaderValue::from_static("1"));
            }
            Part::Header => {
                headers.insert("x-key", HeaderValue::from_bytes(text.as_bytes()).ok()?);
            }
            Part::Authorization => {
                headers.insert("authorization", HeaderValue::from_bytes(format!("Basic {text}").as_bytes()).ok()?);
            }
            Part::Body(content_type) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                let (before, after) = match content_type {
                    "application/json" => ("{\"note\": \"", "\"}"),
                    "application/x-www-form-urlencoded" => ("note=", "&more=1"),
                    "text/plain" => ("", ""),
                    _ => ("--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n", "\r\n--B--\r\n"),
                };
                body = Some([before, text, after].concat().into_bytes());
            }
        }
        Some(Self { url, headers, body })
    }

    /// What is sent in `part`.
    fn sent(&self, part: Part) -> Vec<u8> {
        match part {
            Part::Host => self.url.host_str().unwrap_or_default().into(),
            Part::Path => self.url.path().into(),
            Part::QueryName | Part::QueryValue => self.url.query().unwrap_or_default().into(),
            Part::HeaderName => self.headers.keys().map(HeaderName::as_str).collect::<String>().into_bytes(),
            Part::Header | Part::Authorization => {
                self.headers.values().map(HeaderValue::as_bytes).next().unwrap_or_default().to_vec()
            }
            Part::Body(_) => self.body.clone().unwrap_or_default(),
        }
    }

    fn survey(&self, handed: &Handed) -> Result<Option<Survey>, Refusal> {
        survey::survey(&handed.table, &handed.parties, &self.url, &self.headers, self.body.as_deref())
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// Whether a placeholder's marker stands in `bytes` with as many letters after it as one has.
fn has_shape(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, MARKER).any(|at| {
        let random = bytes[at + MARKER.len()..].iter().take_while(|byte| byte.is_ascii_alphanumeric());
        random.count() >= MIN_RANDOM
    })
}

/// All that a server may read in `sent` by undoing one of the listed encodings.
fn readings(sent: &[u8]) -> Vec<Vec<u8>> {
    let once: Vec<u8> = percent_decode(sent).collect();
    let twice = percent_decode(&once).collect();
    let mut readings = vec![sent.to_vec(), once, twice, json_unescaped(sent)];
    for token in sent.split(|byte| !byte.is_ascii_alphanumeric() && !b"+/-_".contains(byte)) {
        readings.extend((0..4.min(token.len())).filter_map(|skip| base64_lenient(&token[skip..])));
    }
    readings
}

fn json_unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let escape = rest.get(..6).filter(|escape| escape.starts_with(b"\\u"));
        match escape.and_then(|escape| serde_json::from_slice::<String>(&[b"\"", escape, b"\""].concat()).ok()) {
            Some(c) => {
                read.extend_from_slice(c.as_bytes());
                rest = &rest[6..];
            }
            None => {
                read.push(*first);
                rest = &rest[1..];
            }
        }
    }
    read
}
