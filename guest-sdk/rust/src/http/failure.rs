//! `wasi:http` error codes as the SDK's errors: whose fault it is, and whether to try again.

use super::Method;
use super::target::without_query;
use crate::bindings::wasi::http::types::{ErrorCode, http_error_code};
use crate::bindings::wasi::io::streams::StreamError;
use crate::{Error, ErrorKind};

/// How the host's broker begins the message of a refusal.
const REFUSAL: &str = "keyhole:";

/// A request for a message: method and URL, without the query.
pub(super) fn describe(method: &Method, url: &str) -> String {
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
        Code::ConnectionTerminated => {
            (ErrorKind::Upstream, true, "the connection was closed before the answer was complete")
        }
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
        Code::InternalError(Some(message)) => (ErrorKind::Upstream, true, message.as_str()),
        other => (ErrorKind::Upstream, false, name(other)),
    };
    let error = Error::new(kind, format!("{what}: {message}"));
    if retry { error.retryable() } else { error }
}

/// The names of the rest, as `wasi:http` has them. `{code:?}` would say the same with 6 KB more.
fn name(code: &ErrorCode) -> &'static str {
    use ErrorCode as Code;
    match code {
        Code::TlsProtocolError => "TLS protocol error",
        Code::TlsCertificateError => "the service's TLS certificate is not trusted",
        Code::TlsAlertReceived(_) => "the service broke off with a TLS alert",
        Code::HttpRequestLengthRequired => "the request needs a content-length",
        Code::HttpRequestBodySize(_) => "the request's body is too large, or not as long as its content-length says",
        Code::HttpRequestMethodInvalid => "the request's method is not valid",
        Code::HttpRequestUriInvalid => "the request's URL is not valid",
        Code::HttpRequestUriTooLong => "the request's URL is too long",
        Code::HttpRequestHeaderSectionSize(_) | Code::HttpRequestHeaderSize(_) => "the request's headers are too large",
        Code::HttpRequestTrailerSectionSize(_) | Code::HttpRequestTrailerSize(_) => {
            "the request's trailers are too large"
        }
        Code::HttpResponseIncomplete => "the answer is not complete",
        Code::HttpResponseHeaderSectionSize(_) | Code::HttpResponseHeaderSize(_) => {
            "the answer's headers are too large"
        }
        Code::HttpResponseBodySize(_) => "the answer's body is too large",
        Code::HttpResponseTrailerSectionSize(_) | Code::HttpResponseTrailerSize(_) => {
            "the answer's trailers are too large"
        }
        Code::HttpResponseTransferCoding(_) => "the answer's transfer-encoding is not known",
        Code::HttpResponseContentCoding(_) => "the answer's content-encoding can't be undone",
        Code::HttpUpgradeFailed => "the connection could not be upgraded",
        Code::HttpProtocolError => "the service does not speak proper HTTP",
        Code::LoopDetected => "the request came back to where it started",
        Code::ConfigurationError => "the host's configuration does not allow for it",
        _ => "the host could not send it",
    }
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
        let refused =
            from_code("GET https://a.example/", &ErrorCode::InternalError(Some("keyhole: not allowed".into())));
        assert_eq!(
            (refused.kind(), refused.message(), refused.retry()),
            (ErrorKind::Refused, "keyhole: not allowed", false)
        );
        let failed = from_code("GET https://a.example/", &ErrorCode::ConnectionRefused);
        assert_eq!((failed.kind(), failed.retry()), (ErrorKind::Upstream, true));
        let odd = from_code("GET https://a.example/", &ErrorCode::TlsCertificateError);
        assert_eq!(odd.kind(), ErrorKind::Upstream);
        assert!(odd.message().starts_with("GET https://a.example/: "), "{odd}");
    }

    #[test]
    fn a_described_request_has_no_query() {
        assert_eq!(describe(&Method::Get, "https://a.example/b?key=1#c"), "GET https://a.example/b");
    }
}
