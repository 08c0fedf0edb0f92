//! Puts the credentials where a survey found their placeholders, as the encoding of each
//! place demands: the server reads exactly the credential, and finds nothing else changed.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use percent_encoding::utf8_percent_encode;
use url::Url;
use zeroize::Zeroizing;

use super::body::Writing;
use super::{QUERY, Refusal, Spot, Survey};
use crate::apps::Template;
use crate::sign::sigv4::Chunks;
use crate::vault::Secret;

/// A request with credentials in it.
pub(in super::super) struct Substituted {
    pub url: Url,
    pub headers: HeaderMap,
    /// The body, if it was rewritten.
    pub body: Option<Bytes>,
    /// What signs the body's chunks again.
    pub chunks: Option<Chunks>,
}

/// Renders every place of the survey anew. `secret` gives the fields that [`Survey::fields`] named.
pub(in super::super) fn substitute<'s>(
    survey: &'s Survey,
    url: &Url,
    headers: &HeaderMap,
    body: Option<&[u8]>,
    secret: impl Fn(&str) -> Option<&'s Secret>,
) -> Result<Substituted, Refusal> {
    let value = |field: &str| secret(field).map(Secret::expose).or_else(|| survey.plain(field));
    let render = |template: &Template, place: &str| -> Result<String, Refusal> {
        for field in template.fields() {
            let value = value(field).ok_or_else(|| Refusal::Missing(field.to_owned()))?;
            if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err(unfit(template, place));
            }
        }
        template.render(value).ok_or_else(|| Refusal::Missing(template.to_string()))
    };
    let mut headers = headers.clone();
    let mut segments: Vec<Cow<'_, str>> = url.path().split('/').map(Cow::Borrowed).collect();
    let mut pairs: Vec<Cow<'_, str>> = url.query().unwrap_or_default().split('&').map(Cow::Borrowed).collect();
    let (mut path_changed, mut query_changed) = (false, false);
    let mut written = Vec::new();
    for spot in &survey.spots {
        match spot {
            Spot::Header { name, template } => {
                let place = format!("the header {name}");
                headers.insert(name.clone(), sensitive(&render(template, &place)?, template, &place)?);
            }
            Spot::Encoded { name, value: encoded } => {
                let place = format!("the header {name}");
                let value = Zeroizing::new(render(encoded.template(), &place)?);
                headers.insert(name.clone(), sensitive(&encoded.write(&value), encoded.template(), &place)?);
            }
            Spot::Basic { username, password } => {
                let place = "Authorization: Basic";
                let user = render(username, place)?;
                // RFC 7617, section 2: the first colon ends the user name.
                if user.contains(':') {
                    return Err(unfit(username, place));
                }
                let pair = Zeroizing::new(format!("{user}:{}", render(password, place)?));
                let value = format!("Basic {}", general_purpose::STANDARD.encode(pair.as_bytes()));
                headers.insert(header::AUTHORIZATION, sensitive(&value, username, place)?);
            }
            Spot::Segment { index, template } => {
                let value = render(template, "the path")?;
                // Servers and clients take these for steps up and down, however they are encoded.
                if matches!(value.as_str(), "" | "." | "..") {
                    return Err(unfit(template, "the path"));
                }
                segments[*index] = Cow::Owned(utf8_percent_encode(&value, QUERY).to_string());
                path_changed = true;
            }
            Spot::Query { index, name, template } => {
                let value = render(template, "the query")?;
                let name = utf8_percent_encode(name, QUERY);
                pairs[*index] = Cow::Owned(format!("{name}={}", utf8_percent_encode(&value, QUERY)));
                query_changed = true;
            }
            Spot::Body { span, writing, template } => {
                let value = Zeroizing::new(render(template, "the body")?);
                // It stands at the beginning of a line, where it would be taken for the end of its part.
                if matches!(writing, Writing::AsIs)
                    && body.is_some_and(|body| value.as_bytes().starts_with(first_line(body)))
                {
                    return Err(unfit(template, "the body"));
                }
                written.push((span.clone(), Zeroizing::new(writing.write(&value))));
            }
        }
    }
    let mut url = url.clone();
    if path_changed {
        url.set_path(&segments.join("/"));
    }
    if query_changed {
        url.set_query(Some(&pairs.join("&")));
    }
    let body = body.filter(|_| !written.is_empty()).map(|body| {
        let mut whole = Vec::with_capacity(body.len() + written.iter().map(|(_, value)| value.len()).sum::<usize>());
        let mut done = 0;
        for (span, value) in &written {
            whole.extend_from_slice(&body[done..span.start]);
            whole.extend_from_slice(value.as_bytes());
            done = span.end;
        }
        whole.extend_from_slice(&body[done..]);
        Bytes::from(whole)
    });
    Ok(Substituted { url, headers, body, chunks: None })
}

/// Of a body in multipart, its delimiter.
fn first_line(body: &[u8]) -> &[u8] {
    memchr::memmem::find(body, b"\r\n").map_or(body, |end| &body[..end])
}

fn unfit(template: &Template, place: &str) -> Refusal {
    Refusal::Unfit { field: template.to_string(), place: place.to_owned() }
}

fn sensitive(value: &str, template: &Template, place: &str) -> Result<HeaderValue, Refusal> {
    let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| unfit(template, place))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
never_shown!(Substituted);
