//! Bodies on their way through the broker: counted, limited, watched for placeholders on
//! the way out, scrubbed on the way back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::{Instant, Sleep};

use super::meter::{Tally, Way};
use super::scrub::Unsearchable;
use super::survey::{BodyWatch, Refusal};
use crate::sign::ChunkError;
use crate::sign::sigv4::Chunks;

/// A body as engine and broker hand it to each other.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BodyError {
    /// The step's side failed or went away.
    #[error("the request's body ended early: {0}")]
    Guest(String),
    /// The server's side failed.
    #[error("the answer's body ended early: {0}")]
    Server(String),
    /// Nothing came for too long.
    #[error("the server sent nothing for {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The body is longer than the run's limits allow.
    #[error("the {direction} body is longer than {limit} bytes, the run's limit")]
    TooLong {
        /// `request` or `answer`.
        direction: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A limit that holds for more than this body.
    #[error("limit: {0}")]
    Limit(String),
    /// What can't be searched for credentials is not passed on.
    #[error(transparent)]
    Unsearchable(#[from] Unsearchable),
    /// A chunk of the request is not signed as it says.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A placeholder stands where none may be.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl BodyError {
    /// Whether the broker broke it off, and would do so again. Else one of the two sides failed.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::Limit(_) | Self::Unsearchable(_) | Self::Chunk(_) | Self::Refused(_) => true,
            Self::Guest(_) | Self::Server(_) | Self::Timeout(_) => false,
        }
    }
}

/// A step's request body: without trailers, no longer than the limit, and cut as soon as
/// a placeholder shows in it.
pub(super) struct Outgoing {
    inner: Body,
    watch: BodyWatch,
    sent: Arc<AtomicU64>,
    limit: u64,
    tally: Tally,
}

impl Outgoing {
    pub(super) fn new(inner: Body, watch: BodyWatch, limit: u64, sent: Arc<AtomicU64>, tally: Tally) -> Self {
        Self { inner, watch, sent, limit, tally }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else { return Poll::Ready(None) };
            // Trailers are dropped: a credential's place is never there, and servers differ on them.
            let Ok(data) = frame?.into_data() else { continue };
            self.watch.push(&data)?;
            let sent = self.sent.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
            if sent > self.limit {
                return Poll::Ready(Some(Err(BodyError::TooLong { direction: "request", limit: self.limit })));
            }
            self.tally.bytes(Way::Out, data.len()).map_err(BodyError::Limit)?;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}

/// A step's request body whose chunks are signed, with the real key in the place of the placeholder.
pub(super) struct SignedAgain {
    inner: Body,
    chunks: Chunks,
    ended: bool,
}

impl SignedAgain {
    pub(super) fn new(inner: Body, chunks: Chunks) -> Self {
        Self { inner, chunks, ended: false }
    }
}

impl http_body::Body for SignedAgain {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while !self.ended {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                None => {
                    self.ended = true;
                    self.chunks.end()?;
                }
                Some(frame) => {
                    // Trailers of HTTP's own are dropped further on; those of the chunks are in the body.
                    let Ok(data) = frame?.into_data() else { continue };
                    let again = self.chunks.push(&data)?;
                    if !again.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(again.into()))));
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        // As many bytes leave as come in; but some are held for a while.
        SizeHint::default()
    }
}

/// Runs once, when an answer's body has ended, however it ended.
pub(super) type OnEnd = Box<dyn FnOnce(u64, Option<String>) + Send>;

/// An answer's body: counted, limited in size and in silence. Tells when it has ended.
pub(super) struct Incoming {
    inner: Body,
    received: u64,
    limit: u64,
    silence: Duration,
    tally: Tally,
    timer: Option<Pin<Box<Sleep>>>,
    on_end: Option<OnEnd>,
}

impl Incoming {
    pub(super) fn new(inner: Body, limit: u64, silence: Duration, tally: Tally, on_end: OnEnd) -> Self {
        Self { inner, received: 0, limit, silence, tally, timer: None, on_end: Some(on_end) }
    }

    fn end(&mut self, failure: Option<String>) {
        if let Some(on_end) = self.on_end.take() {
            on_end(self.received, failure);
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.end(Some(error.to_string()));
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.on_end.is_none() {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(None) => {
                self.end(None);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.received += bytes as u64;
                if this.received > this.limit {
                    let limit = this.limit;
                    return self.fail(BodyError::TooLong { direction: "answer's", limit });
                }
                if let Err(limit) = this.tally.bytes(Way::In, bytes) {
                    return self.fail(BodyError::Limit(limit));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // The timer is set only once there is something to wait for: most bodies never need one.
            Poll::Pending => {
                let silence = this.silence;
                let timer =
                    this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + silence)));
                ready!(timer.as_mut().poll(cx));
                self.fail(BodyError::Timeout(silence))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.on_end.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.end(Some("the step stopped reading".to_owned()));
    }
}

#[cfg(test)]
never_shown!(Outgoing, SignedAgain);
