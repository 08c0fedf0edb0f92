//! A body that is scrubbed as it passes, trailers included.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{Scrub, Scrubber, Unsearchable, forget_measures};

/// A body without the secrets that its scrubber looks for.
///
/// It has no stated length, since that changes. When the body beneath fails, what was held
/// back of it is dropped: it may be the beginning of a secret.
pub struct ScrubBody<B> {
    inner: B,
    scrub: Scrub,
    scrubber: Arc<Scrubber>,
    /// Where a scrubber that knows more is put when there is one.
    latest: Option<Latest>,
    state: State,
    /// Of a frame, what was not searched yet.
    unsearched: Bytes,
    rewritten: bool,
}

/// A scrubber that may be replaced, while bodies pass, by one that finds more.
pub type Latest = Arc<Mutex<Arc<Scrubber>>>;

enum State {
    Data,
    Trailers(HeaderMap),
    Ended,
}

impl<B> ScrubBody<B> {
    /// Wraps `inner`.
    pub fn new(inner: B, scrubber: Arc<Scrubber>) -> Self {
        let scrub = Scrub::new(scrubber.clone());
        Self { inner, scrub, scrubber, latest: None, state: State::Data, unsearched: Bytes::new(), rewritten: false }
    }

    /// Wraps `inner`, and takes what `latest` has from the frame on before which it is there.
    pub fn following(inner: B, latest: Latest) -> Self {
        let scrubber = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { latest: Some(latest), ..Self::new(inner, scrubber) }
    }

    /// Goes on with the latest scrubber. What the old one held back is the first that it is given.
    fn renew(&mut self) -> Result<Bytes, Unsearchable> {
        let Some(latest) = &self.latest else { return Ok(Bytes::new()) };
        let latest = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if Arc::ptr_eq(&latest, &self.scrubber) {
            return Ok(Bytes::new());
        }
        let mut held = self.scrub.finish()?;
        self.rewritten |= self.scrub.rewrote();
        self.scrub = Scrub::new(latest.clone());
        self.scrubber = latest;
        self.scrub.push(&mut held)
    }

    /// Takes what came of the body beneath; returns what can be passed on before it.
    fn take(&mut self, frame: Option<Frame<Bytes>>) -> Result<Bytes, Unsearchable> {
        let Some(frame) = frame else {
            self.state = State::Ended;
            return self.scrub.finish();
        };
        match frame.into_data() {
            Ok(data) => {
                let held = self.renew()?;
                self.unsearched = data;
                Ok(held)
            }
            Err(frame) => {
                let Ok(mut trailers) = frame.into_trailers() else { return Ok(Bytes::new()) };
                self.rewritten |= self.scrubber.scrub_headers(&mut trailers);
                forget_measures(&mut trailers);
                self.state = State::Trailers(trailers);
                self.scrub.finish()
            }
        }
    }

    /// Whether something was replaced so far.
    pub fn rewrote(&self) -> bool {
        self.scrub.rewrote() || self.rewritten
    }
}

impl<B> Body for ScrubBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: From<Unsearchable>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                State::Data => {}
            }
            this.state = State::Data;
            let passed = if this.unsearched.is_empty() {
                match ready!(Pin::new(&mut this.inner).poll_frame(cx)).transpose() {
                    Ok(frame) => this.take(frame),
                    Err(error) => {
                        this.state = State::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            } else {
                this.scrub.push(&mut this.unsearched)
            };
            match passed {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
