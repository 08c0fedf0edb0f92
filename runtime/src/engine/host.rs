//! What the engine needs of the world outside the sandbox: accounts, requests, signatures, data stores.
//!
//! Nothing behind this trait may hand a credential to the engine: what comes back holds
//! placeholders.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use keyhole_host_api::broker::Session;
pub use keyhole_host_api::broker::{
    AccessError, Body, BodyError, Injected, SendError, SignError, Timeouts, TransportError,
};
use keyhole_host_api::data::DataStore;

use super::log::LiveLog;
use super::state::FlowResponse;

/// The one way from a step to the world.
#[async_trait]
pub trait StepHost: Send + Sync + 'static {
    /// The account linked to `prop`, with placeholders where its secrets would be.
    async fn account(&self, prop: &str) -> Result<Injected, AccessError>;

    /// The HMAC of `message`, for a purpose that the app's definition lists.
    async fn sign_hmac(&self, prop: &str, purpose: &str, message: &[u8]) -> Result<String, SignError>;

    /// Sends one request, or refuses it. Dropping the future ends the request.
    fn send(
        self: Arc<Self>,
        request: http::Request<Body>,
        timeouts: Timeouts,
    ) -> BoxFuture<'static, Result<http::Response<Body>, SendError>>;

    /// Puts a label where `text` holds a placeholder.
    fn redact<'t>(&self, text: &'t str) -> Cow<'t, str>;

    /// The data store that the prop `prop` names.
    fn data(&self, prop: &str) -> Option<DataStore> {
        let _ = prop;
        None
    }

    /// Where others call the run back: a URL, or the path of one, without the slash at its end. None outside
    /// of workflows.
    fn callbacks(&self) -> Option<&str> {
        None
    }

    /// A call has begun that writes this log.
    fn watch(&self, log: LiveLog) {
        let _ = log;
    }

    /// The step answers the trigger's caller, and does not want to wait with it.
    fn respond(&self, response: FlowResponse) {
        let _ = response;
    }
}

/// Who looks on while a step runs.
pub trait Observer: Send + Sync + 'static {
    /// See [`StepHost::watch`].
    fn watch(&self, log: LiveLog);
    /// See [`StepHost::respond`].
    fn respond(&self, response: FlowResponse);
    /// An attempt has begun whose requests are this session's.
    fn sends_by(&self, session: &Arc<Session>);
}

/// What one attempt at a step has of the world.
pub struct Attempt {
    /// Its session with the broker.
    pub session: Arc<Session>,
    /// The data stores that its props name.
    pub data: BTreeMap<String, DataStore>,
    /// See [`StepHost::callbacks`].
    pub callbacks: Option<String>,
    /// Who looks on.
    pub observer: Option<Arc<dyn Observer>>,
}

#[async_trait]
impl StepHost for Attempt {
    async fn account(&self, prop: &str) -> Result<Injected, AccessError> {
        self.session.account(prop).await
    }

    async fn sign_hmac(&self, prop: &str, purpose: &str, message: &[u8]) -> Result<String, SignError> {
        self.session.sign_hmac(prop, purpose, message).await
    }

    fn send(
        self: Arc<Self>,
        request: http::Request<Body>,
        timeouts: Timeouts,
    ) -> BoxFuture<'static, Result<http::Response<Body>, SendError>> {
        Box::pin(self.session.clone().send(request, timeouts))
    }

    fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.session.redact(text)
    }

    fn data(&self, prop: &str) -> Option<DataStore> {
        self.data.get(prop).cloned()
    }

    fn callbacks(&self) -> Option<&str> {
        self.callbacks.as_deref()
    }

    fn watch(&self, log: LiveLog) {
        if let Some(observer) = &self.observer {
            observer.watch(log);
        }
    }

    fn respond(&self, response: FlowResponse) {
        if let Some(observer) = &self.observer {
            observer.respond(response);
        }
    }
}

#[async_trait]
impl StepHost for Session {
    async fn account(&self, prop: &str) -> Result<Injected, AccessError> {
        Self::account(self, prop).await
    }

    async fn sign_hmac(&self, prop: &str, purpose: &str, message: &[u8]) -> Result<String, SignError> {
        Self::sign_hmac(self, prop, purpose, message).await
    }

    fn send(
        self: Arc<Self>,
        request: http::Request<Body>,
        timeouts: Timeouts,
    ) -> BoxFuture<'static, Result<http::Response<Body>, SendError>> {
        Box::pin(Self::send(self, request, timeouts))
    }

    fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Self::redact(self, text)
    }
}

/// A host that gives nothing: for `definition`, which runs before any account is linked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

#[async_trait]
impl StepHost for NoHost {
    async fn account(&self, prop: &str) -> Result<Injected, AccessError> {
        Err(AccessError::NotLinked(prop.to_owned()))
    }

    async fn sign_hmac(&self, prop: &str, _purpose: &str, _message: &[u8]) -> Result<String, SignError> {
        Err(SignError::Access(AccessError::NotLinked(prop.to_owned())))
    }

    fn send(
        self: Arc<Self>,
        _request: http::Request<Body>,
        _timeouts: Timeouts,
    ) -> BoxFuture<'static, Result<http::Response<Body>, SendError>> {
        Box::pin(std::future::ready(Err(SendError::Refused(
            "`definition` may not send a request; send it in `run` or `configure`".to_owned(),
        ))))
    }

    fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        Cow::Borrowed(text)
    }
}
