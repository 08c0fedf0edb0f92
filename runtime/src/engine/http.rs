//! Where `wasi:http` meets the broker. No request leaves a step by any other way.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use http::uri::Scheme;
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, Result, WasiBody, WasiHttpHooks,
};

use super::host::{BodyError, SendError, StepHost, Timeouts, TransportError};

/// How the message of a refusal begins. `wasi:http` has no error code with a reason in
/// it but `internal-error`; an SDK tells a refusal from a failure by this (`wit/step.wit`).
const REFUSAL: &str = "keyhole: ";

/// Bytes of one chunk of a request's body on its way to the broker. Two chunks wait at most.
const CHUNK_BYTES: usize = 64 * 1024;

/// Hands each request to the broker.
pub(super) struct Broker {
    pub host: Arc<dyn StepHost>,
    /// Whether the call is over.
    pub over: Arc<AtomicBool>,
    /// Requests that were made and are not answered. One that is dropped before it is sent stays among them.
    pub unanswered: Arc<AtomicUsize>,
    /// Sets of headers that were made and did not leave. One that is dropped stays among them.
    pub header_sets: usize,
}

/// Takes a request off the list of those that are not answered: it is, or nobody waits for it any more.
struct Off(Arc<AtomicUsize>);

impl Drop for Off {
    fn drop(&mut self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }
}

/// Says that the call is over when it is dropped. wasmtime ends what is under way one by one,
/// and a request that waited for another must not get its turn in between.
pub(super) struct OverOnDrop(pub Arc<AtomicBool>);

impl Drop for OverOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> =
    LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));

type Io = Box<dyn Future<Output = Result<()>> + Send>;

impl WasiHttpHooks for Broker {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        FORBIDDEN.clone()
    }

    // The broker decides, and says why not.
    fn is_supported_scheme(&mut self, _scheme: &Scheme) -> bool {
        true
    }

    // Made from the URL that the broker checks, so that the two can't differ.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _guest_side: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io)>> + Send> {
        let options = options.unwrap_or_default();
        // Connecting is part of the wait for the first byte.
        let timeouts =
            Timeouts { first_byte: options.first_byte_timeout, between_bytes: options.between_bytes_timeout };
        let request = request.map(|body| body.map_err(|error| BodyError::Guest(error.to_string())).boxed_unsync());
        let sent = self.host.clone().send(request, timeouts);
        let over = self.over.clone();
        self.header_sets = self.header_sets.saturating_sub(1);
        let off = Off(self.unanswered.clone());
        Box::new(async move {
            let _off = off;
            let mut sent = pin!(sent);
            let response = poll_fn(|cx| match over.load(Ordering::Acquire) {
                true => Poll::Ready(Err(refusal("the run is over"))),
                false => sent.as_mut().poll(cx).map_err(send_error),
            });
            let response = response.await?;
            let response = response.map(|body| body.map_err(body_error).boxed_unsync());
            Ok((response, Box::new(std::future::ready(Ok(()))) as Io))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

fn refusal(reason: &str) -> Error {
    Error::InternalError(Some(format!("{REFUSAL}{reason}")))
}

fn send_error(error: SendError) -> Error {
    match error {
        refused if refused.is_refusal() => refusal(&refused.to_string()),
        SendError::Transport(TransportError::Timeout) => Error::HttpResponseTimeout,
        failed => Error::InternalError(Some(failed.to_string())),
    }
}

fn body_error(error: BodyError) -> Error {
    match error {
        refused if refused.is_refusal() => refusal(&refused.to_string()),
        BodyError::Timeout(_) => Error::ConnectionReadTimeout,
        failed => Error::InternalError(Some(failed.to_string())),
    }
}
