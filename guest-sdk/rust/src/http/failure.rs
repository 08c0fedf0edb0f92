//! `wasi:http` error codes as the SDK's errors: whose fault it is, and whether to try again.

use super::target::without_query;
use crate::bindings::wasi::http::types::{ErrorCode, http_error_code};
use crate::bindings::wasi::io::streams::StreamError;
use crate::{Error, ErrorKind};

/// How the host's broker begins the message of a refusal.
const REFUSAL: &str = "keyhole:";

/// A request for a message: method and URL, without the query.
pub(super) fn describe(method: &http::Method, url: &str) -> String {
    format!("{method} {}", without_query(url))
}

/// The error of the request that `what` describes.
pub(super) fn from_code(what: &str, code: &ErrorCode) -> Error {
    use ErrorCode as Code;
    let (kind, retry, message) = match code {
        Code::InternalError(Some(message)) if message.starts_with(REFUSAL) => {
            return Error::new(ErrorKind::Refused, message.clone());
        }
        Code::DnsTimeout => (ErrorKind::Upstream, true, "looking up its host took too long"),
        Code::DnsError(_) | Code::DestinationNotFound => (ErrorKind::Upstream, true, "its host was not found"),
        Code::ConnectionRefused => (ErrorKind::Upstream, true, "the connection was refused"),
        Code::ConnectionTerminated => (ErrorKind::Upstream, true, "the connection was closed before the answer was complete"),
        Code::ConnectionTimeout => (ErrorKind::Upstream, true, "connecting took too long"),
        Code::ConnectionReadTimeout | Code::HttpResponseTimeout => {
            (ErrorKind::Upstream, true, "the service did not answer in time")
        }
        Code::ConnectionWriteTimeout => (ErrorKind::Upstream, true, "the service did not take the request in time"),
        Code::DestinationUnavailable | Code::DestinationIpUnroutable => {
            (ErrorKind::Upstream, true, "its host can't be reached")
        }
        Code::ConnectionLimitReached => (ErrorKind::Upstream, true, "too many connections are open"),
        Code::DestinationIpProhibited => (ErrorKind::Refused, false, "requests to this address are not allowed"),
        Code::HttpRequestDenied => (ErrorKind::Refused, false, "the host does not allow this request"),
        other => return other_code(what, other),
    };
    let error = Error::new(kind, format!("{what}: {message}"));
    if retry { error.retryable() } else { error }
}

/// The rest have a name that says it.
fn other_code(what: &str, code: &ErrorCode) -> Error {
    Error::upstream(format!("{what}: {code}"))
}

/// The error of a body stream; `None` if it just ended.
pub(super) fn from_stream(what: &str, error: StreamError) -> Option<Error> {
    match error {
        StreamError::Closed => None,
        StreamError::LastOperationFailed(error) => Some(match http_error_code(&error) {
            Some(code) => from_code(what, &code),
            None => Error::upstream(format!("{what}: {}", error.to_debug_string())).retryable(),
        }),
    }
}

/// The error of a request that took longer than its `timeout`.
pub(super) fn timed_out(what: &str) -> Error {
    Error::upstream(format!("{what}: not done within the request's timeout")).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_broker_is_told_from_a_failure_of_the_service() {
        let refused = from_code("GET https://a.example/", &ErrorCode::InternalError(Some("keyhole: not allowed".into())));
        assert_eq!((refused.kind(), refused.message(), refused.retry()), (ErrorKind::Refused, "keyhole: not allowed", false));
        let failed = from_code("GET https://a.example/", &ErrorCode::ConnectionRefused);
        assert_eq!((failed.kind(), failed.retry()), (ErrorKind::Upstream, true));
        let odd = from_code("GET https://a.example/", &ErrorCode::TlsCertificateError);
        assert_eq!(odd.kind(), ErrorKind::Upstream);
        assert!(odd.message().starts_with("GET https://a.example/: "), "{odd}");
    }

    #[test]
    fn a_described_request_has_no_query() {
        assert_eq!(describe(&http::Method::GET, "https://a.example/b?key=1#c"), "GET https://a.example/b");
    }
}
