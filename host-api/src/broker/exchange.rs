//! The two halves of an exchange that the session's story leaves out: a request's body
//! on its way to the survey, and an answer on its way to the step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, BodyStream, Collected, Full, Limited, StreamBody};
use tokio::time::Instant;

use super::body::{Body, BodyError, Incoming, Outgoing, SignedAgain};
use super::client::Answer;
use super::limits::{BODY_WITH_PLACE, BUFFERED_BODY, Limits};
use super::meter::{Tally, Way};
use super::record::Record;
use super::scrub::{Latest, ScrubBody, forget_measures};
use super::session::Admitted;
use super::survey::BodyWatch;
use super::{SendError, TransportError};
use crate::sign::ChunkError;
use crate::sign::sigv4::Chunks;

/// A request's body, as far as the survey sees it before the request leaves.
pub(super) enum Outbound {
    /// Short and of stated length: read whole.
    Whole(Bytes),
    /// Long, or of unknown length: watched while it streams.
    Streaming(Body),
}

impl Outbound {
    /// Reads the body if it is short and says so. One that may have a credential's place in it is
    /// read whole, or refused if it is too long for that.
    pub(super) async fn read(
        body: Body,
        headers: &HeaderMap,
        limits: &Limits,
        has_place: bool,
    ) -> Result<Self, SendError> {
        let stated = stated_length(headers)?.or_else(|| body.size_hint().exact());
        let room = if has_place { BODY_WITH_PLACE } else { BUFFERED_BODY };
        match stated {
            Some(length) if length > limits.request_bytes => Err(SendError::Limit(format!(
                "a request's body may have {} bytes; this one says {length}",
                limits.request_bytes
            ))),
            Some(length) if length <= room => Self::whole_of(body, room).await,
            None if has_place => Self::whole_of(body, room).await,
            _ => Ok(Self::Streaming(body)),
        }
    }

    async fn whole_of(body: Body, room: u64) -> Result<Self, SendError> {
        let whole = Limited::new(body, usize::try_from(room).unwrap_or(usize::MAX)).collect().await;
        let whole = whole.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => SendError::Limit(format!("the request's body is longer than it says, or than {room} bytes without saying so; state its length in Content-Length")),
            false => SendError::Refused(format!("the request's body ended early: {error}")),
        })?;
        Ok(Self::Whole(whole.to_bytes()))
    }

    /// This body, or what was written anew with credentials in it.
    pub(super) fn or_rewritten(self, rewritten: Option<Bytes>) -> Self {
        rewritten.map_or(self, Self::Whole)
    }

    /// The same, with its chunks signed again.
    pub(super) fn signed_again(self, chunks: Option<Chunks>) -> Result<Self, SendError> {
        let Some(mut chunks) = chunks else { return Ok(self) };
        let refused = |error: ChunkError| SendError::Refused(error.to_string());
        match self {
            Self::Whole(bytes) => {
                let again = chunks.push(&bytes).map_err(refused)?;
                chunks.end().map_err(refused)?;
                Ok(Self::Whole(again.into()))
            }
            Self::Streaming(body) => Ok(Self::Streaming(SignedAgain::new(body, chunks).boxed_unsync())),
        }
    }

    /// The same once more, if it is still there.
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Streaming(_) => None,
        }
    }

    /// The bytes that the survey can see.
    pub(super) fn whole(&self) -> Option<Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes.clone()),
            Self::Streaming(_) => None,
        }
    }

    /// The body for the client. `sent` counts what left.
    pub(super) fn into_client_body(
        self,
        method: &Method,
        headers: &mut HeaderMap,
        watch: BodyWatch,
        limits: &Limits,
        sent: &Arc<AtomicU64>,
        tally: &Tally,
    ) -> Result<Body, SendError> {
        Ok(match self {
            // The client states the length itself.
            Self::Whole(bytes) => {
                tally.bytes(Way::Out, bytes.len()).map_err(SendError::Limit)?;
                headers.remove(header::CONTENT_LENGTH);
                if bytes.is_empty() && matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                    // Except that of no body, which strict servers answer by 411 (RFC 9110, section 8.6).
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
                }
                sent.store(bytes.len() as u64, Ordering::Relaxed);
                whole(bytes)
            }
            Self::Streaming(body) => {
                Outgoing::new(body, watch, limits.request_bytes, sent.clone(), tally.clone()).boxed_unsync()
            }
        })
    }
}

/// A body of these bytes.
pub(super) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// The length that the headers state. Of two, or of one such as `+5`, the client and servers read different
/// lengths, and so other requests (RFC 9112, section 6.3).
fn stated_length(headers: &HeaderMap) -> Result<Option<u64>, SendError> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let digits = line.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|digits| digits.parse().ok()), lines.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(SendError::Refused("Content-Length is not one number; state it once, in digits".to_owned())),
    }
}

const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Most bytes of an answer's headers, names and values. Each is in the host's memory for as long as
/// the step has the answer.
const HEADERS: usize = 64 * 1024;

/// Makes an answer safe to pass on. `latest` finds every secret that the run was handed so far.
pub(super) async fn answer(
    answer: Answer,
    asked: &Method,
    latest: Latest,
    limits: &Limits,
    record: &mut Record,
    admitted: Admitted,
) -> Result<Response<Body>, SendError> {
    let (mut parts, body) = answer.into_parts();
    record.status(parts.status);
    let scrubber = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() > HEADERS {
        return Err(SendError::Answer(format!("its headers have more than {HEADERS} bytes")));
    }
    if !scrubber.is_empty() {
        can_be_searched(&parts)?;
    }
    for name in &HOP_BY_HOP {
        parts.headers.remove(name);
    }
    let told = scrubber.clone();
    let body = body
        .map_err(move |error| match error {
            TransportError::Timeout => BodyError::Server("timed out".to_owned()),
            other => BodyError::Server(told.scrub_text(&other.to_string()).into_owned()),
        })
        .boxed_unsync();
    let Admitted { places, tally, timeouts } = admitted;
    let silence = timeouts.between_bytes.unwrap_or(limits.between_bytes).min(limits.between_bytes);
    let body = Incoming::new(body, limits.response_bytes, silence, tally, record.on_end(places));
    let body = ahead(body).await.map_err(|error| SendError::Answer(error.to_string()))?;

    if scrubber.is_empty() {
        let body = match body {
            Ahead::Whole(whole) => again(whole),
            Ahead::Begun(body) => body,
        };
        return Ok(Response::from_parts(parts, ScrubBody::following(body, latest).boxed_unsync()));
    }
    let rewritten = scrubber.scrub_headers(&mut parts.headers);
    // There is no body to search, and what is told of it may be the credential's own length or hash.
    let unseen = asked == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
    let body = match body {
        // A short body is scrubbed whole, so that its length and tags can stay where nothing was rewritten.
        Ahead::Whole(whole) => {
            let mut scrubbed = ScrubBody::following(again(whole), latest);
            let whole = (&mut scrubbed).collect().await.map_err(|error| SendError::Answer(error.to_string()))?;
            if rewritten || unseen || scrubbed.rewrote() {
                forget_measures(&mut parts.headers);
            }
            again(whole)
        }
        // Headers leave before the body's end is known, so nothing in them may tell of it.
        Ahead::Begun(body) => {
            forget_measures(&mut parts.headers);
            ScrubBody::following(body, latest).boxed_unsync()
        }
    };
    Ok(Response::from_parts(parts, body))
}

/// How long an answer of unknown length is read before the step has its headers.
const READ_AHEAD: Duration = Duration::from_millis(20);

/// An answer's body, as far as it was read ahead.
enum Ahead {
    /// It is short, and has ended.
    Whole(Collected<Bytes>),
    /// It goes on.
    Begun(Body),
}

/// Reads a short body to its end. Its connection and its place among the run's requests are free from then on,
/// whatever the step does with it: many only look at the status, and an engine that gives nothing back would keep
/// both.
async fn ahead(mut body: Incoming) -> Result<Ahead, BodyError> {
    let until = match body.size_hint().exact() {
        Some(length) if length <= BUFFERED_BODY => None,
        Some(_) => return Ok(Ahead::Begun(body.boxed_unsync())),
        None => Some(Instant::now() + READ_AHEAD),
    };
    let mut frames = Vec::new();
    let mut bytes = 0;
    loop {
        let frame = match until {
            None => body.frame().await,
            Some(until) => match tokio::time::timeout_at(until, body.frame()).await {
                Ok(frame) => frame,
                Err(_) => break,
            },
        };
        let Some(frame) = frame.transpose()? else {
            let frames = StreamBody::new(stream::iter(frames.into_iter().map(Ok::<_, BodyError>)));
            return Ok(Ahead::Whole(BodyExt::collect(frames).await?));
        };
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        frames.push(frame);
        if bytes > BUFFERED_BODY {
            break;
        }
    }
    let begun = stream::iter(frames.into_iter().map(Ok)).chain(BodyStream::new(body));
    Ok(Ahead::Begun(StreamBody::new(begun).boxed_unsync()))
}

/// A body that was read, once more.
fn again(read: Collected<Bytes>) -> Body {
    let trailers = read.trailers().cloned();
    let body = whole(read.to_bytes());
    match trailers {
        None => body,
        Some(trailers) => body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync(),
    }
}

/// Refuses answers in which a credential could hide from the scrub.
fn can_be_searched(parts: &http::response::Parts) -> Result<(), SendError> {
    if parts.status == StatusCode::PARTIAL_CONTENT {
        return Err(SendError::Answer("it is a part (206), which could show a credential in pieces".to_owned()));
    }
    let all = |name: HeaderName, plain: &[u8]| {
        parts.headers.get_all(name).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(plain))
    };
    // What the client can undo, it has undone, and taken the header out.
    if !all(header::CONTENT_ENCODING, b"identity") || !all(header::TRANSFER_ENCODING, b"chunked") {
        return Err(SendError::Answer("its encoding can't be undone, so it can't be searched".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
never_shown!(Outbound);
