//! A body that is scrubbed as it passes, trailers included.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{Scrub, Scrubber, Unsearchable};

/// A body without the secrets that its scrubber looks for.
///
/// It has no stated length, since that changes. When the body beneath fails, what was held
/// back of it is dropped: it may be the beginning of a secret.
pub struct ScrubBody<B> {
    inner: B,
    scrub: Scrub,
    scrubber: Arc<Scrubber>,
    state: State,
    trailers_rewritten: bool,
}

enum State {
    Data,
    Trailers(HeaderMap),
    Ended,
}

impl<B> ScrubBody<B> {
    /// Wraps `inner`.
    pub fn new(inner: B, scrubber: Arc<Scrubber>) -> Self {
        Self { inner, scrub: Scrub::new(scrubber.clone()), scrubber, state: State::Data, trailers_rewritten: false }
    }

    /// Whether something was replaced so far.
    pub fn rewrote(&self) -> bool {
        self.scrub.rewrote() || self.trailers_rewritten
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
            let passed = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => {
                    this.state = State::Ended;
                    this.scrub.finish()
                }
                Some(Err(error)) => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.scrub.push(data),
                    Err(frame) => {
                        let Ok(mut trailers) = frame.into_trailers() else { continue };
                        this.trailers_rewritten |= this.scrubber.scrub_headers(&mut trailers);
                        this.state = State::Trailers(trailers);
                        this.scrub.finish()
                    }
                },
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
