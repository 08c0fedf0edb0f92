//! The `openidconnect` crate on our wire: its requests leave by the host's own calls, with their guard against addresses
//! that are nobody's business, over TLS alone. Redirects are not followed.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

use super::error::WireError;
use crate::broker::OwnCalls;

/// How long the provider has for a whole answer: somebody waits.
const LIMIT: Duration = Duration::from_secs(15);

/// One way to the provider.
pub(super) struct Wire<'a>(pub &'a OwnCalls);

impl<'c> AsyncHttpClient<'c> for Wire<'_> {
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, WireError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            // Its endpoints are of its own choice.
            if request.uri().scheme_str() != Some("https") {
                return Err(WireError::InTheClear);
            }
            let (parts, body) = self.0.send(request, LIMIT).await?.into_parts();
            Ok(http::Response::from_parts(parts, body.to_vec()))
        })
    }
}
