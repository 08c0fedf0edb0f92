//! The body of a request, and sending it without waiting: the answer, other
//! requests and the run's deadline must not wait for a service that reads slowly.

use std::fmt;
use std::io::{self, Read, Write};

use super::Pending;
use super::failure::from_stream;
use crate::bindings::wasi::http::types::OutgoingBody;
use crate::bindings::wasi::io::poll::Pollable;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::{Error, Result};

/// How much is taken from a reader at a time.
const CHUNK: usize = 64 * 1024;

/// The body of a request.
#[derive(Debug)]
pub struct Body {
    content: Content,
    length: Option<u64>,
}

pub(super) enum Content {
    Bytes(Vec<u8>),
    Reader(Box<dyn Read>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Content::Reader(_) => f.write_str("Reader"),
        }
    }
}

impl Body {
    /// What `reader` gives until its end, a chunk at a time. A [`Response`](super::Response)
    /// is a reader, so one service's answer can be streamed into a request to another.
    pub fn from_reader(reader: impl Read + 'static) -> Body {
        Body { content: Content::Reader(Box::new(reader)), length: None }
    }

    /// As [`from_reader`](Self::from_reader), where the length in bytes is known: it
    /// is sent as `content-length`. A reader that gives another number fails the request.
    pub fn sized(reader: impl Read + 'static, length: u64) -> Body {
        Body { content: Content::Reader(Box::new(reader)), length: Some(length) }
    }

    pub(super) fn length(&self) -> Option<u64> {
        match &self.content {
            Content::Bytes(bytes) if bytes.is_empty() => None,
            _ => self.length,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.content, Content::Bytes(bytes) if bytes.is_empty())
    }

    pub(super) fn into_content(self) -> Content {
        self.content
    }
}

impl Default for Body {
    /// No body.
    fn default() -> Body {
        Body::from(Vec::new())
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        let length = Some(bytes.len() as u64);
        Body { content: Content::Bytes(bytes), length }
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Body {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Body {
    fn from(bytes: &[u8; N]) -> Body {
        bytes.to_vec().into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        text.into_bytes().into()
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Body {
        text.as_bytes().into()
    }
}

/// A body on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    // Dropped in this order: a stream may not outlive its body.
    stream: OutputStream,
    body: OutgoingBody,
    chunk: Vec<u8>,
    written: usize,
    reader: Option<Reader>,
    flushing: bool,
}

struct Reader(Box<dyn Read>);

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// Where a body stands.
pub(super) enum Progress {
    /// Nothing more can be written until the pollable is ready.
    Blocked(Sending),
    /// All of it is out, or the service takes no more.
    Done,
}

impl Sending {
    pub fn new(body: OutgoingBody, content: Content) -> Result<Sending> {
        let stream = body.write().map_err(|()| Error::step("the request's body was taken already"))?;
        let (chunk, reader) = match content {
            Content::Bytes(bytes) => (bytes, None),
            Content::Reader(reader) => (Vec::new(), Some(Reader(reader))),
        };
        Ok(Sending { stream, body, chunk, written: 0, reader, flushing: false })
    }

    /// Ready when `advance` can do more.
    pub fn pollable(&self) -> Pollable {
        self.stream.subscribe()
    }

    /// Writes what can be written without waiting, and ends the body when all is written.
    pub fn advance(mut self, what: &str) -> Result<Progress> {
        loop {
            if self.flushing {
                return match self.stream.check_write() {
                    Ok(0) => Ok(Progress::Blocked(self)),
                    Ok(_) => self.end(what),
                    Err(error) => closed(what, error),
                };
            }
            match self.write(what)? {
                Written::All => {
                    if !self.refill()?
                        && let Err(error) = self.stream.flush().map(|()| self.flushing = true)
                    {
                        return closed(what, error);
                    }
                }
                Written::Blocked => return Ok(Progress::Blocked(self)),
                Written::Closed => return Ok(Progress::Done),
            }
        }
    }

    fn write(&mut self, what: &str) -> Result<Written> {
        while self.written < self.chunk.len() {
            let room = match self.stream.check_write() {
                Ok(0) => return Ok(Written::Blocked),
                Ok(room) => usize::try_from(room).unwrap_or(usize::MAX),
                Err(error) => return closed(what, error).map(|_| Written::Closed),
            };
            let end = self.chunk.len().min(self.written.saturating_add(room));
            if let Err(error) = self.stream.write(&self.chunk[self.written..end]) {
                return closed(what, error).map(|_| Written::Closed);
            }
            self.written = end;
        }
        Ok(Written::All)
    }

    /// The next chunk of the reader; false if there is none.
    fn refill(&mut self) -> Result<bool> {
        let Some(Reader(reader)) = &mut self.reader else { return Ok(false) };
        self.chunk.resize(CHUNK, 0);
        let length = loop {
            match reader.read(&mut self.chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.chunk.truncate(length);
        self.written = 0;
        Ok(length > 0)
    }

    /// Says that the body is complete. Without it the host takes it for broken off.
    fn end(self, what: &str) -> Result<Progress> {
        let Sending { stream, body, .. } = self;
        drop(stream);
        match OutgoingBody::finish(body, None) {
            Ok(()) => Ok(Progress::Done),
            Err(code) => Err(super::failure::from_code(what, &code)),
        }
    }
}

enum Written {
    All,
    Blocked,
    Closed,
}

/// A service that closes early has often answered: the answer tells more than the error.
fn closed(what: &str, error: StreamError) -> Result<Progress> {
    match from_stream(what, error) {
        None => Ok(Progress::Done),
        Some(error) => Err(error),
    }
}

/// A request whose body is being written; see [`RequestBuilder::upload`](super::RequestBuilder::upload).
#[derive(Debug)]
pub struct Upload {
    // The body goes before the request that it belongs to.
    sending: Option<Sending>,
    pending: Pending,
}

impl Upload {
    pub(super) fn new(pending: Pending, sending: Sending) -> Upload {
        Upload { sending: Some(sending), pending }
    }

    /// Ends the body. The answer is waited for with [`Pending::wait`].
    ///
    /// # Errors
    /// If the service, or the broker, stopped taking it.
    pub fn finish(self) -> Result<Pending> {
        let Upload { sending, mut pending } = self;
        if let Some(sending) = sending {
            pending.attach(sending);
        }
        Ok(pending)
    }
}

impl Write for Upload {
    /// Waits until at least one byte is taken. After the service closed its end,
    /// what is written goes nowhere: [`finish`](Upload::finish) tells why.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(sending) = &mut self.sending else { return Ok(bytes.len()) };
        let what = self.pending.describe();
        loop {
            match sending.stream.check_write() {
                Ok(0) => self.pending.wait_for(&sending.stream.subscribe())?,
                Ok(room) => {
                    let length = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                    match sending.stream.write(&bytes[..length]) {
                        Ok(()) => return Ok(length),
                        Err(error) => closed(what, error)?,
                    };
                    break;
                }
                Err(error) => {
                    closed(what, error)?;
                    break;
                }
            }
        }
        self.sending = None;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(sending) = &mut self.sending
            && let Err(error) = sending.stream.flush()
        {
            closed(self.pending.describe(), error)?;
            self.sending = None;
        }
        Ok(())
    }
}
