//! An answer: its head is there, its body comes as it is read.

use std::io::{self, Read};

use serde::de::DeserializeOwned;

use super::failure::from_stream;
use super::pending::Exchange;
use super::{Headers, Status};
use crate::bindings::wasi::http::types::{IncomingBody, IncomingResponse};
use crate::bindings::wasi::io::streams::InputStream;
use crate::error::placed;
use crate::{Error, Result};

/// How much is asked of the host at a time.
const CHUNK: u64 = 64 * 1024;

/// How much of an error's body goes into the message: enough for an API's explanation.
const EXCERPT: usize = 1024;

/// The answer to a request. It is a [`Read`]er of its body; `bytes`, `text` and
/// `json` read all of it.
///
/// ```no_run
/// # fn f() -> keyhole_sdk::Result<()> {
/// use std::io::{BufRead, BufReader};
///
/// let events = keyhole_sdk::http::get("https://api.acme.example/v1/events").send()?.error_for_status()?;
/// for line in BufReader::new(events).lines() {
///     println!("{}", line?);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Response {
    status: Status,
    headers: Headers,
    // Dropped in this order: a stream may not outlive its body.
    stream: Option<InputStream>,
    _body: IncomingBody,
    exchange: Exchange,
    /// What `read` has not yet given of the last chunk.
    left: Vec<u8>,
    given: usize,
}

impl Response {
    pub(super) fn new(exchange: Exchange, incoming: IncomingResponse) -> Result<Response> {
        let broken = || Error::upstream(format!("{}: the answer's body can't be read", exchange.what));
        let status = Status(incoming.status());
        let headers = Headers(incoming.headers().entries());
        let body = incoming.consume().map_err(|()| broken())?;
        let stream = body.stream().map_err(|()| broken())?;
        Ok(Response { status, headers, stream: Some(stream), _body: body, exchange, left: Vec::new(), given: 0 })
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// One header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// How long the body says it is.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// An error if the status is 400 or above: of kind [`Upstream`](crate::ErrorKind::Upstream), with the
    /// beginning of the body in its message, and worth a retry if the [status](Status::is_retryable) is.
    ///
    /// # Errors
    /// That one.
    #[track_caller]
    pub fn error_for_status(mut self) -> Result<Response> {
        placed(|| {
            if self.status.as_u16() < 400 {
                return Ok(self);
            }
            let mut excerpt = Vec::new();
            // What can't be read is left out: the status is what counts.
            let _ = (&mut self).take(EXCERPT as u64).read_to_end(&mut excerpt);
            let mut message = format!("{} answered {}", self.exchange.what, self.status);
            if !excerpt.is_empty() {
                message.push_str(": ");
                message.push_str(String::from_utf8_lossy(&excerpt).trim());
            }
            let error = Error::upstream(message).with_status(self.status);
            Err(if self.status.is_retryable() { error.retryable() } else { error })
        })
    }

    /// All of the body as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Upstream`](crate::ErrorKind::Upstream) if it is not JSON of `T`'s shape, or does not arrive.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        placed(|| {
            let what = self.exchange.what.clone();
            serde_json::from_slice(&self.bytes()?).map_err(|error| {
                Error::upstream(format!("{what}: the answer is not the JSON that was expected: {error}"))
            })
        })
    }

    /// All of the body as text. What is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// [`ErrorKind::Upstream`](crate::ErrorKind::Upstream) if it does not arrive.
    #[track_caller]
    pub fn text(self) -> Result<String> {
        placed(|| {
            let bytes = self.bytes()?;
            Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
        })
    }

    /// All of the body. Read it in parts, with [`chunk`](Self::chunk) or [`Read`], if it may be large.
    ///
    /// # Errors
    /// [`ErrorKind::Upstream`](crate::ErrorKind::Upstream) if it does not arrive.
    #[track_caller]
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        placed(|| {
            let mut bytes = self.take_left();
            while let Some(chunk) = self.chunk()? {
                if bytes.is_empty() { bytes = chunk } else { bytes.extend_from_slice(&chunk) }
            }
            Ok(bytes)
        })
    }

    /// The next part of the body, as it arrives; `None` at its end.
    ///
    /// # Errors
    /// [`ErrorKind::Upstream`](crate::ErrorKind::Upstream) if it breaks off.
    #[track_caller]
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        placed(|| {
            if self.given < self.left.len() {
                return Ok(Some(self.take_left()));
            }
            loop {
                let Some(stream) = &self.stream else { return Ok(None) };
                match stream.read(CHUNK) {
                    Ok(chunk) if chunk.is_empty() => {
                        let readable = stream.subscribe();
                        self.exchange.wait_for(&readable)?;
                    }
                    Ok(chunk) => return Ok(Some(chunk)),
                    Err(error) => {
                        let failure = from_stream(&self.exchange.what, error);
                        self.stream = None;
                        match failure {
                            None => return Ok(None),
                            Some(error) => return Err(error),
                        }
                    }
                }
            }
        })
    }

    fn take_left(&mut self) -> Vec<u8> {
        let mut left = std::mem::take(&mut self.left);
        left.drain(..std::mem::take(&mut self.given));
        left
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.given == self.left.len() {
            self.left.clear();
            self.given = 0;
            match self.chunk()? {
                Some(chunk) => self.left = chunk,
                None => return Ok(0),
            }
        }
        let rest = &self.left[self.given..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.given += length;
        Ok(length)
    }
}
