//! The one way in which the program says what went wrong: what, where, what to do.
//!
//! A message never holds a credential: what is put in here was meant for a person's eyes.

use std::fmt::Write as _;
use std::process::ExitCode;

use keyhole::server::problem::Problem;
use serde_json::json;

use super::output::{self, style};

/// What a command's function returns.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// What went wrong, for a person.
///
/// It is deliberately no `std::error::Error`, so that any of those turns into one with `?`.
#[derive(Debug)]
pub struct Error {
    message: String,
    place: Option<String>,
    help: Option<String>,
    kind: Kind,
    /// Further errors of the same attempt, each with its own place.
    also: Vec<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The command was understood and did not work out. Exit code 1.
    Failed,
    /// The command line or a file of settings says something that makes no sense. Exit code 2.
    Usage,
    /// Whoever read the output has gone. Nothing to say.
    Quiet,
    /// Everything is said already. Exit code 1.
    Said,
    /// Someone pressed Ctrl-C. Exit code 130, as shells have it.
    Interrupted,
}

impl Error {
    /// The command did not work out.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, help: None, kind: Kind::Failed, also: Vec::new() }
    }

    /// The command makes no sense as it was given.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, ..Self::new(message) }
    }

    /// What the API did not do, in its own words.
    pub fn of(problem: Problem) -> Self {
        Self { place: problem.place, help: problem.help, ..Self::new(problem.detail) }
    }

    /// The same, as something that makes no sense as it was given.
    pub fn into_usage(self) -> Self {
        Self { kind: Kind::Usage, ..self }
    }

    /// The command failed and has already shown how.
    pub fn said() -> Self {
        Self { kind: Kind::Said, ..Self::new("") }
    }

    /// Ctrl-C.
    pub fn interrupted() -> Self {
        Self { kind: Kind::Interrupted, ..Self::new("interrupted") }
    }

    /// Where it is: a file with line and column, a folder, an account.
    pub fn at(mut self, place: impl ToString) -> Self {
        self.place.get_or_insert(place.to_string());
        self
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert(help.into());
        self
    }

    /// Puts what was being done before the reason why it did not work.
    pub fn doing(mut self, what: impl std::fmt::Display) -> Self {
        if self.kind == Kind::Failed {
            self.message = format!("{what}: {}", self.message);
        }
        self
    }

    /// Several errors that one attempt found, such as those of a file.
    pub fn several(errors: impl IntoIterator<Item = Self>) -> Self {
        let mut errors = errors.into_iter();
        let first = errors.next().unwrap_or_else(|| Self::new("it did not work, and nothing says why"));
        Self { also: errors.collect(), ..first }
    }

    /// The same, with the path of the file that its place calls `name`.
    pub fn in_file(mut self, name: &str, path: &std::path::Path) -> Self {
        if let Some(rest) = self.place.as_deref().and_then(|place| place.strip_prefix(name)) {
            self.place = Some(format!("{}{rest}", path.display()));
            self.kind = Kind::Usage;
        }
        self
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Prints it and says with which code to exit.
    pub fn report(self, json: bool) -> ExitCode {
        let code = match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Quiet => return ExitCode::SUCCESS,
            Kind::Said => return ExitCode::from(1),
            Kind::Interrupted => 130,
        };
        if json {
            let mut error = self.to_json();
            if !self.also.is_empty() {
                error["also"] = self.also.iter().map(Self::to_json).collect();
            }
            output::stderr_line(&format!("{:#}", json!({ "error": error })));
        } else {
            for error in std::iter::once(&self).chain(&self.also) {
                output::stderr_line(error.to_text().trim_end());
            }
        }
        ExitCode::from(code)
    }

    fn to_json(&self) -> serde_json::Value {
        json!({"message": self.message, "where": self.place, "help": self.help})
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        let indented = |s: &str, by: &str| output::visible(s).trim_end().replace('\n', &format!("\n{by}"));
        let _ = writeln!(text, "{}error:{:#} {}", style::ERROR, style::ERROR, indented(&self.message, "       "));
        if let Some(place) = &self.place {
            let _ = writeln!(text, "  {}at {}{:#}", style::DIM, indented(place, "  "), style::DIM);
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "  {}help:{:#} {}", style::HELP, style::HELP, indented(help, "        "));
        }
        text
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            messages.push(cause.to_string());
            source = cause.source();
        }
        Self::new(chain(messages.into_iter()))
    }
}

/// Joins a chain of causes, leaving out those that the message before already quotes.
fn chain(messages: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for message in messages {
        if text.is_empty() {
            text = message;
        } else if !text.contains(message.trim()) {
            text = format!("{}: {message}", text.trim_end_matches(['.', ':', ' ']));
        }
    }
    text
}

/// For results: what was being done, where, and what to do about it.
pub trait Context<T> {
    /// Puts what was being done before the reason.
    fn doing(self, what: impl std::fmt::Display) -> Result<T>;
    /// Says where it is.
    fn at(self, place: impl ToString) -> Result<T>;
    /// Says what to do about it.
    fn help(self, help: &str) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn doing(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().doing(what))
    }

    fn at(self, place: impl ToString) -> Result<T> {
        self.map_err(|error| error.into().at(place))
    }

    fn help(self, help: &str) -> Result<T> {
        self.map_err(|error| error.into().help(help))
    }
}

/// Writing to whoever reads us: that they have gone is no error of ours.
pub fn written(result: std::io::Result<()>) -> Result {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(Error { kind: Kind::Quiet, ..Error::new("") })
        }
        Err(error) => Err(Error::from(error).doing("writing the output")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Outer(#[from] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("inner broke")]
    struct Inner;
    #[derive(Debug, thiserror::Error)]
    #[error("reading it")]
    struct Other(#[source] Inner);

    #[test]
    fn a_cause_that_the_message_quotes_is_not_said_twice() {
        assert_eq!(Error::from(Outer(Inner)).message, "outer: inner broke");
        assert_eq!(Error::from(Other(Inner)).message, "reading it: inner broke");
    }

    #[test]
    fn an_error_says_what_where_and_what_to_do() {
        let text =
            anstream::adapter::strip_str(&Error::new("no").at("f.toml:3:7").help("say yes").to_text()).to_string();
        assert_eq!(text, "error: no\n  at f.toml:3:7\n  help: say yes\n");
    }
}
