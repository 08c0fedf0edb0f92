//! The host's own calls: to token, device, revocation and identity endpoints, and the
//! test requests of app definitions. They leave by the client and the address guard that
//! every request of a step goes through, and by nothing else.
//!
//! What they answer may hold credentials, so it must never be shown as it is.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http_body_util::{BodyExt as _, Limited};
use url::Url;

use super::client::{Client, ClientError, TransportError};
use super::egress::Egress;
use super::exchange::whole;

/// Longest answer that is read, in bytes.
const ANSWER: usize = 1 << 20;
/// Some services refuse requests that don't say who asks.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("keyhole/", env!("CARGO_PKG_VERSION")));

/// The client, as the operator's settings have it now.
pub(crate) struct WayOut {
    line: ArcSwap<Line>,
}

/// One set of settings and its client, whose connections no other set shares.
pub(super) struct Line {
    egress: Egress,
    /// Made when the first request leaves: reading the system's certificates takes milliseconds.
    client: OnceLock<Result<Client, ClientError>>,
}

impl Line {
    fn new(egress: Egress) -> Self {
        Self { egress, client: OnceLock::new() }
    }

    pub(super) fn client(&self) -> Result<&Client, ClientError> {
        self.client.get_or_init(|| Client::new(&self.egress)).as_ref().map_err(Clone::clone)
    }
}

impl WayOut {
    pub(super) fn new(egress: Egress) -> Self {
        Self { line: ArcSwap::from_pointee(Line::new(egress)) }
    }

    pub(super) fn line(&self) -> Arc<Line> {
        self.line.load_full()
    }

    /// From now on requests leave by `egress`, if a client can be made of it. What is under way goes on.
    pub(super) fn change(&self, egress: Egress) -> Result<(), ClientError> {
        let line = Line::new(egress);
        line.client()?;
        self.line.store(Arc::new(line));
        Ok(())
    }
}

/// Why a call of the host's own got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// It did not get through.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer is longer than any that is expected.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Makes calls for the host itself.
#[derive(Clone)]
pub(crate) struct OwnCalls {
    way_out: Arc<WayOut>,
}

impl OwnCalls {
    pub(super) fn new(way_out: Arc<WayOut>) -> Self {
        Self { way_out }
    }

    /// Sends `request` and reads the whole answer, within `limit`. Redirects are not
    /// followed: they are answers.
    pub(crate) async fn send(
        &self,
        request: http::Request<Vec<u8>>,
        limit: Duration,
    ) -> Result<http::Response<Bytes>, CallError> {
        self.send_for(request, limit, ANSWER).await
    }

    /// The same, of an answer of at most `most` bytes.
    pub(super) async fn send_for(
        &self,
        request: http::Request<Vec<u8>>,
        limit: Duration,
        most: usize,
    ) -> Result<http::Response<Bytes>, CallError> {
        let exchange = async {
            let url = Url::parse(&request.uri().to_string())
                .map_err(|error| TransportError::Protocol(format!("the URL can't be sent: {error}")))?;
            let mut request = request.map(|body| whole(body.into()));
            let headers = request.headers_mut();
            headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
            if let Some(credential) = headers.get_mut(header::AUTHORIZATION) {
                credential.set_sensitive(true);
            }
            let line = self.way_out.line();
            let client = line.client().map_err(TransportError::from)?;
            let (parts, body) = client.send(&url, request).await?.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|error| {
                error
                    .downcast::<TransportError>()
                    .map_or(CallError::TooLong(most), |error| CallError::Transport(*error))
            })?;
            Ok(http::Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(TransportError::Timeout.into()))
    }
}
