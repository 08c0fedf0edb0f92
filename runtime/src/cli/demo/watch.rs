//! Stands between a step and its session, and notes what the step is shown: the demo's
//! proof is what really reached the step, not what was recorded of it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use keyhole::engine::StepHost;
use keyhole_host_api::broker::{AccessError, Body, Injected, SendError, Session, SignError, Timeouts};

/// What a step was shown.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The secret fields of `$auth`, as it got them.
    pub secrets: Vec<String>,
    /// Every answer's body, as it got them.
    pub bodies: Vec<String>,
}

/// A session that is watched.
pub struct Watched {
    session: Arc<Session>,
    seen: Mutex<Seen>,
}

impl Watched {
    /// Watches `session`.
    pub fn new(session: Arc<Session>) -> Arc<Self> {
        Arc::new(Self { session, seen: Mutex::default() })
    }

    /// What the step was shown so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl StepHost for Watched {
    async fn account(&self, prop: &str) -> Result<Injected, AccessError> {
        let injected = self.session.account(prop).await?;
        let secrets = injected.auth.iter().filter(|field| field.secret).map(|field| field.value.clone());
        self.lock().secrets.extend(secrets);
        Ok(injected)
    }

    async fn sign_hmac(&self, prop: &str, purpose: &str, message: &[u8]) -> Result<String, SignError> {
        self.session.sign_hmac(prop, purpose, message).await
    }

    fn send(
        self: Arc<Self>,
        request: http::Request<Body>,
        timeouts: Timeouts,
    ) -> BoxFuture<'static, Result<http::Response<Body>, SendError>> {
        Box::pin(async move {
            let (parts, body) = self.session.clone().send(request, timeouts).await?.into_parts();
            // The demo's answers are small.
            let body = body.collect().await.map_err(|error| SendError::Answer(error.to_string()))?.to_bytes();
            self.lock().bodies.push(String::from_utf8_lossy(&body).into_owned());
            Ok(http::Response::from_parts(parts, Full::new(body).map_err(|never| match never {}).boxed_unsync()))
        })
    }

    fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.session.redact(text)
    }
}
