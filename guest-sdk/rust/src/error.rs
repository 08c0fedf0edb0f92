//! What a step returns when it can't give a value. An error must never carry a
//! credential; it can't, since the step has none.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;

use crate::bindings::keyhole::step::accounts::AccessError;
use crate::bindings::keyhole::step::data::DataError;
use crate::bindings::keyhole::step::flow::FlowError;
use crate::bindings::keyhole::step::signer::SignError;
use crate::bindings::keyhole::step::types::{Failure, FailureKind};
use crate::http::Status;

/// The result of a step and of everything that it calls in this SDK.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The step's own code decided so.
    Step,
    /// The event or a prop has the wrong shape.
    Input,
    /// The service answered with an error, or not at all.
    Upstream,
    /// An account could not be used: not linked, no access, reconnect needed.
    Access,
    /// The broker refused a request.
    Refused,
}

/// Why a step gave no value: a message for a person, a kind, and whether the
/// same call may succeed later.
///
/// `?` turns strings and the usual errors of `std` and `serde_json` into one of
/// kind [`ErrorKind::Step`]. A step may also return `anyhow::Error` or
/// `Box<dyn std::error::Error>` in its stead.
///
/// ```
/// use keyhole_sdk::{Error, ErrorKind};
///
/// let error = Error::upstream("the queue is full").retryable();
/// assert_eq!(error.kind(), ErrorKind::Upstream);
/// assert!(error.retry());
/// assert_eq!(Error::from("no such channel").kind(), ErrorKind::Step);
/// ```
#[derive(Debug)]
pub struct Error {
    // Boxed: a `Result` that is mostly `Ok` should not be carried around as 80 bytes.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry: bool,
    status: Option<Status>,
    /// Where in the step's own code it came about.
    at: Option<&'static Location<'static>>,
}

impl Error {
    /// An error of this kind, not worth a retry.
    #[track_caller]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
        let at = outside(Location::caller());
        Error { inner: Box::new(Inner { kind, message: message.into(), retry: false, status: None, at }) }
    }

    /// The step's own decision to fail.
    #[track_caller]
    pub fn step(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::Step, message)
    }

    /// The event or a prop is not what the step can work with.
    #[track_caller]
    pub fn input(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::Input, message)
    }

    /// The service did not do its part.
    #[track_caller]
    pub fn upstream(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(ErrorKind::Upstream, message)
    }

    /// The same error, marked as one that a later attempt may not meet.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.inner.retry = true;
        self
    }

    /// The same error with `what` in front of its message: "what: message".
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.inner.message = format!("{what}: {}", self.inner.message).into();
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What went wrong and what to do, for a person.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Whether the same call may succeed later without a change.
    pub fn retry(&self) -> bool {
        self.inner.retry
    }

    /// The status of the answer, for an error made of one by
    /// [`Response::error_for_status`](crate::http::Response::error_for_status).
    pub fn status(&self) -> Option<Status> {
        self.inner.status
    }

    /// The same error, which came about there, unless that is known better.
    fn at(mut self, at: &'static Location<'static>) -> Error {
        self.inner.at = self.inner.at.or_else(|| outside(at));
        self
    }

    pub(crate) fn with_status(mut self, status: Status) -> Error {
        self.inner.status = Some(status);
        self
    }

    /// What a step returned, as one of ours: itself if it is one, else a
    /// `Step` error with the messages of the whole chain.
    #[track_caller]
    pub(crate) fn from_boxed(error: Box<dyn std::error::Error>) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => {
                let mut message = error.to_string();
                let mut source = error.source();
                while let Some(cause) = source {
                    // Many errors already print their source.
                    let cause_text = cause.to_string();
                    if !message.ends_with(&cause_text) {
                        message.push_str(": ");
                        message.push_str(&cause_text);
                    }
                    source = cause.source();
                }
                Error::step(message)
            }
        }
    }

    pub(crate) fn into_failure(self) -> Failure {
        Failure {
            kind: match self.inner.kind {
                ErrorKind::Step => FailureKind::Step,
                ErrorKind::Input => FailureKind::Input,
                ErrorKind::Upstream => FailureKind::Upstream,
                ErrorKind::Access => FailureKind::Access,
                ErrorKind::Refused => FailureKind::Refused,
            },
            message: self.inner.message.into_owned(),
            retry: self.inner.retry,
            trace: self.inner.at.map(|at| format!("{}:{}:{}", in_crate(at.file()), at.line(), at.column())),
        }
    }
}

/// What `work` gives. An error that this SDK made itself is placed where its caller was called: that is the step's code.
#[track_caller]
pub(crate) fn placed<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let at = Location::caller();
    work().map_err(|error| error.at(at))
}

/// The place, unless it is in this SDK.
fn outside(at: &'static Location<'static>) -> Option<&'static Location<'static>> {
    let own = file!().strip_suffix("error.rs")?;
    (!at.file().starts_with(own)).then_some(at)
}

/// A source file as its crate has it, without the folders of the machine that it was built on.
fn in_crate(file: &str) -> String {
    let file = file.replace('\\', "/");
    let after_slash = |end: usize| file[..end].rfind('/').map_or(0, |slash| slash + 1);
    // Those of crates.io and of Rust itself lie in a folder that is called as they are.
    let is_known = |at: usize| ["/registry/src/", "/library/"].iter().any(|folder| file[..at].contains(folder));
    let is_absolute = file.starts_with('/') || file.get(1..3) == Some(":/");
    let begins = match (is_absolute, file.rfind("/src/"), file.find("/src/")) {
        (true, Some(at), _) if is_known(at) => after_slash(at),
        (true, Some(at), _) => at + 1,
        (true, None, _) => after_slash(file.len()),
        (false, _, Some(at)) if !file.starts_with("src/") => at + 1,
        (false, ..) => 0,
    };
    file[begins..].to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    #[track_caller]
    fn from(message: String) -> Error {
        Error::step(message)
    }
}

impl From<&'static str> for Error {
    #[track_caller]
    fn from(message: &'static str) -> Error {
        Error::step(message)
    }
}

impl From<serde_json::Error> for Error {
    #[track_caller]
    fn from(error: serde_json::Error) -> Error {
        Error::step(format!("JSON: {error}"))
    }
}

impl From<Box<dyn std::error::Error>> for Error {
    #[track_caller]
    fn from(error: Box<dyn std::error::Error>) -> Error {
        Error::from_boxed(error)
    }
}

impl From<std::io::Error> for Error {
    /// An error of this SDK that went through `std::io` comes out as it was.
    #[track_caller]
    fn from(error: std::io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => error.at(Location::caller()),
            Err(error) => Error::step(error.to_string()),
        }
    }
}

macro_rules! from_displayed {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Error {
            #[track_caller]
            fn from(error: $error) -> Error {
                Error::step(error.to_string())
            }
        }
    )+};
}

from_displayed!(
    std::fmt::Error,
    std::num::ParseIntError,
    std::num::ParseFloatError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::time::SystemTimeError,
);

impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        std::io::Error::other(error)
    }
}

impl From<AccessError> for Error {
    #[track_caller]
    fn from(error: AccessError) -> Error {
        let (message, retry) = match error {
            AccessError::NotDeclared(message)
            | AccessError::NotLinked(message)
            | AccessError::NoAccess(message)
            | AccessError::WrongApp(message)
            | AccessError::ReconnectNeeded(message)
            | AccessError::Deleted(message) => (message, false),
            AccessError::Unavailable(message) => (message, true),
        };
        let error = Error::new(ErrorKind::Access, message);
        if retry { error.retryable() } else { error }
    }
}

impl From<FlowError> for Error {
    #[track_caller]
    fn from(error: FlowError) -> Error {
        match error {
            FlowError::InvalidJson(message) | FlowError::Limit(message) | FlowError::OutOfRange(message) => {
                Error::step(message)
            }
        }
    }
}

impl From<DataError> for Error {
    #[track_caller]
    fn from(error: DataError) -> Error {
        match error {
            DataError::NotLinked(message) => Error::input(message),
            DataError::Limit(message) | DataError::Invalid(message) => Error::step(message),
            DataError::Unavailable(message) => Error::step(message).retryable(),
        }
    }
}

impl From<SignError> for Error {
    #[track_caller]
    fn from(error: SignError) -> Error {
        match error {
            SignError::Access(message) => Error::new(ErrorKind::Access, message),
            SignError::NotAllowed(message) => Error::new(ErrorKind::Refused, message),
            SignError::TooLong(message) => Error::step(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_kind_through_io_and_boxes() {
        let refused = || Error::new(ErrorKind::Refused, "keyhole: no").retryable();
        let through_io = Error::from(std::io::Error::from(refused()));
        assert_eq!((through_io.kind(), through_io.retry()), (ErrorKind::Refused, true));
        let through_box = Error::from_boxed(Box::new(refused()));
        assert_eq!(through_box.kind(), ErrorKind::Refused);
    }

    #[test]
    fn a_source_file_is_told_as_its_crate_has_it() {
        for (file, told) in [
            ("src/lib.rs", "src/lib.rs"),
            ("src/a/src/b.rs", "src/a/src/b.rs"),
            ("examples/mail/src/a/b.rs", "src/a/b.rs"),
            ("step.rs", "step.rs"),
            ("/home/ann/.cargo/registry/src/index-1/csv-1.3.0/src/reader.rs", "csv-1.3.0/src/reader.rs"),
            ("/rustc/1a2b/library/core/src/option.rs", "core/src/option.rs"),
            ("/home/ann/secret-plan/src/lib.rs", "src/lib.rs"),
            ("/home/ann/step.rs", "step.rs"),
            ("C:\\Users\\ann\\secret-plan\\src\\a\\b.rs", "src/a/b.rs"),
            ("C:\\Users\\ann\\.cargo\\registry\\src\\index-1\\csv-1.3.0\\src\\reader.rs", "csv-1.3.0/src/reader.rs"),
            ("src\\lib.rs", "src/lib.rs"),
        ] {
            assert_eq!(in_crate(file), told);
        }
    }

    #[test]
    fn the_whole_chain_of_a_foreign_error_is_in_the_message() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bad page number")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let cause = "x".parse::<i32>().expect_err("not a number");
        assert_eq!(
            Error::from_boxed(Box::new(Outer(cause))).message(),
            "bad page number: invalid digit found in string"
        );
    }
}
