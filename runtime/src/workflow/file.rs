//! A workflow's file, `workflow.toml`: its keys, their types and what each may hold.
//!
//! What can be judged from the text alone is judged here, with line and column; what needs the components
//! and the accounts is `deploy`'s to say. A file never holds a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indexmap::IndexMap;
use keyhole_host_api::broker::AllowedHost;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use toml::Spanned;

use super::template::Template;
use super::trigger::{CronTrigger, HttpTrigger};
use crate::engine::MAX_DEADLINE;

/// Most steps of one workflow.
const STEPS: usize = 100;
/// Most bytes of a file.
pub const FILE_BYTES: usize = 256 * 1024;
/// Most times that one request is sent again.
pub const MAX_RETRIES: u32 = 10;
/// What `uses` says for the step that needs no component.
pub const HTTP_REQUEST: &str = "http-request";

/// What it says for the step that starts another workflow.
pub const WORKFLOW: &str = "workflow";

/// A workflow: a trigger, and steps in the order in which they run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The format of this file: 1.
    #[schemars(range(min = 1, max = 1))]
    #[schemars(with = "u32")]
    pub keyhole: Spanned<u32>,
    /// The workflow's name, unique among its owner's: lower-case letters, digits and `-`, at most 64.
    #[schemars(with = "String", regex(pattern = r"^[a-z0-9][a-z0-9-]{0,63}$"))]
    pub name: Spanned<String>,
    /// The member on whose behalf it runs: whoever deploys it.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub owner: Option<Spanned<String>>,
    /// What it does, for a person.
    #[serde(default)]
    pub description: Option<String>,
    /// What starts it. Each workflow can also be started by hand, and by another workflow.
    #[serde(default)]
    pub trigger: Trigger,
    /// What its runs may take.
    #[serde(default)]
    pub limits: Limits,
    /// When a step that failed is tried again.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// What is told when a run fails: the owner's workflow that is started with the failure as its event, or an
    /// `https` URL that it is posted to.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub on_error: Option<Spanned<String>>,
    /// The steps.
    #[schemars(with = "Vec<Step>")]
    pub steps: Vec<Spanned<Step>>,
}

/// What starts a workflow.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// A request to an address of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTrigger>,
    /// The clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<CronTrigger>,
}

/// What the runs of a workflow may take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Runs at once; of one workflow at most 750 in one process, so that others run, too.
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: u32,
    /// Runs that may begin in a minute: so many at once after a quiet one, and from then on evenly. What goes on after
    /// a wait is not counted. No limit if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub runs_per_minute: Option<u32>,
    /// Events that may wait, runs that an account holds among them. What comes beyond is refused (429).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue: u32,
    /// How long each step may take: `30s`, `2m`; at most 750 s.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// How much memory each step may have: `256MiB`; at most 4 GiB.
    #[serde(with = "size")]
    #[schemars(with = "String")]
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let one = crate::engine::Limits::default();
        Self {
            concurrency: 32,
            runs_per_minute: None,
            queue: 100_000,
            timeout: one.deadline,
            memory: one.memory as u64,
        }
    }
}

/// When a step that failed is tried again. A breach of a limit never is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all.
    #[schemars(range(min = 1, max = 50))]
    pub attempts: u32,
    /// Before the second attempt. Each further wait is twice the one before, plus or minus a quarter by chance.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub wait: Duration,
    /// The longest wait.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub max_wait: Duration,
    /// Which failures. If left out, those that the step or the host says may pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<RetryOn>>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, wait: Duration::from_secs(1), max_wait: Duration::from_secs(300), on: None }
    }
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The step's own code decided so, or threw.
    Step,
    /// The service answered with an error, or not at all.
    Upstream,
    /// An account could not be used.
    Access,
    /// The host could not make the call.
    Host,
}

/// One step.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name in this workflow: letters, digits, `_` and `-`, at most 64. Later steps read `steps.<name>`.
    #[schemars(with = "String", regex(pattern = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"))]
    pub name: Spanned<String>,
    /// `http-request`, a component or the folder or file to build one from (relative to this file), or
    /// `blake3:` and the digest of one that was deployed before.
    #[schemars(with = "String")]
    pub uses: Spanned<String>,
    /// Run it only if this holds: a template that gives true or false.
    #[serde(default, rename = "if")]
    #[schemars(with = "Option<String>")]
    pub condition: Option<Spanned<String>>,
    /// The values of its props. Texts in them may be templates.
    ///
    /// Those of `http-request`: `url` (or a path below the base URL of the account's app), `method`, `headers`,
    /// `query`, `fail_on_error`, `pages`, and one body: `json`, `form`, `text`, `base64`, or `file`, the path of a
    /// file in the folder of this one. That is read when the workflow is deployed, is no template, and may have
    /// 1 MiB, all of a workflow's together 4 MiB; its type is told by its name, unless `headers` has a
    /// `content-type`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub props: IndexMap<String, Spanned<toml::Value>>,
    /// The accounts of its app props, by nickname or id.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub links: IndexMap<String, Spanned<String>>,
    /// The scopes that the account of an app prop must have been granted, besides those that its component names.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub scopes: BTreeMap<String, Spanned<Vec<String>>>,
    /// Hosts that it may send requests without a credential to: `HOST`, `HOST:PORT` or `http://HOST`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub allow_hosts: Vec<Spanned<AllowedHostText>>,
    /// How long it may take, in the place of the workflow's.
    #[serde(default, deserialize_with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// How much memory it may have, in the place of the workflow's.
    #[serde(default, deserialize_with = "size::optional")]
    #[schemars(with = "Option<String>")]
    pub memory: Option<u64>,
    /// When it is tried again, in the place of the workflow's.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// How often one of its requests is sent again by itself if the service asks for that (429, 502, 503, 504) or
    /// can't be reached: GET, HEAD, PUT, DELETE and OPTIONS with at most 64 KiB, within the time for an answer.
    #[serde(default)]
    #[schemars(range(max = 10))]
    pub retry_requests: u32,
}

/// A host that is opened, as it was written.
#[derive(Clone, Debug)]
pub struct AllowedHostText(pub String);

impl<'de> Deserialize<'de> for AllowedHostText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<AllowedHost>().map_err(|error| de::Error::custom(format!("'{text}': {error}")))?;
        Ok(Self(text))
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{line}:{column}: {message}")]
pub struct FileError {
    /// The line, from 1.
    pub line: usize,
    /// The character of that line, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl FileError {
    /// At a byte of the text.
    pub fn at(text: &str, byte: usize, message: impl fmt::Display) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.to_string(),
        }
    }
}

impl File {
    /// Reads and judges `text`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        if text.len() > FILE_BYTES {
            return Err(FileError::at(text, 0, format_args!("the file has more than {FILE_BYTES} bytes")));
        }
        let file: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            FileError::at(text, at, error.message().trim().replace('\n', ", "))
        })?;
        file.check(text)?;
        Ok(file)
    }

    fn check(&self, text: &str) -> Result<(), FileError> {
        let wrong = |span: std::ops::Range<usize>, message: &str| Err(FileError::at(text, span.start, message));
        if *self.keyhole.get_ref() != 1 {
            return wrong(self.keyhole.span(), "this version of Keyhole knows format 1 only; write keyhole = 1");
        }
        if !is_name(self.name.get_ref()) {
            return wrong(
                self.name.span(),
                "a workflow's name has lower-case letters, digits and '-', at most 64, and does not begin with '-'",
            );
        }
        check_limits(self.limits.timeout, self.limits.memory, self.retry.as_ref()).or_else(|m| wrong(0..0, m))?;
        if self.steps.is_empty() || self.steps.len() > STEPS {
            return wrong(self.name.span(), "a workflow has 1 to 100 steps: [[steps]]");
        }
        let mut earlier: Vec<&str> = Vec::new();
        for step in &self.steps {
            let at = step.span();
            let step = step.get_ref();
            let name = step.name.get_ref().as_str();
            if !is_step_name(name) {
                return wrong(step.name.span(), "a step's name has letters, digits, '_' and '-', at most 64");
            }
            if earlier.contains(&name) {
                return wrong(step.name.span(), "another step has this name already");
            }
            check_limits(
                step.timeout.unwrap_or(self.limits.timeout),
                step.memory.unwrap_or(self.limits.memory),
                step.retry.as_ref(),
            )
            .or_else(|m| wrong(at.clone(), m))?;
            if step.retry_requests > MAX_RETRIES {
                return wrong(at, "a request is sent again 10 times at most");
            }
            let template = |source: &str, span: std::ops::Range<usize>| {
                Template::parse(source)
                    .and_then(|template| template.check(&earlier))
                    .map_err(|error| FileError::at(text, span.start, error))
            };
            if let Some(condition) = &step.condition {
                template(condition.get_ref(), condition.span())?;
            }
            for value in step.props.values() {
                each_text(value.get_ref(), &mut |source| template(source, value.span()))?;
            }
            earlier.push(name);
        }
        Ok(())
    }
}

fn each_text<E>(value: &toml::Value, see: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    match value {
        toml::Value::String(text) => see(text),
        toml::Value::Array(items) => items.iter().try_for_each(|item| each_text(item, see)),
        toml::Value::Table(members) => members.values().try_for_each(|member| each_text(member, see)),
        _ => Ok(()),
    }
}

fn check_limits(timeout: Duration, memory: u64, retry: Option<&Retry>) -> Result<(), &'static str> {
    if timeout.is_zero() || timeout > MAX_DEADLINE {
        return Err("a step may take up to 750 s");
    }
    if memory == 0 || memory > 4 << 30 {
        return Err("a step may have up to 4 GiB of memory");
    }
    if retry.is_some_and(|retry| !(1..=50).contains(&retry.attempts)) {
        return Err("a step may be tried 1 to 50 times");
    }
    Ok(())
}

/// Whether `name` can be a workflow's.
pub fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(letters)
}

fn is_step_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The JSON Schema of a workflow's file, for editors.
pub fn schema() -> Value {
    schemars::schema_for!(File).to_value()
}

pub(super) mod duration {
    //! `30s`, `1m 30s`, `500ms`; a number means seconds.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Seconds(u32),
        Text(String),
    }

    impl Given {
        fn read<E: de::Error>(self) -> Result<Duration, E> {
            match self {
                Self::Seconds(seconds) => Ok(Duration::from_secs(seconds.into())),
                Self::Text(text) => text
                    .parse::<jiff::SignedDuration>()
                    .ok()
                    .and_then(|signed| Duration::try_from(signed).ok())
                    .ok_or_else(|| E::custom(format!("'{text}' is not a length of time; write 30s, 500ms or 2m"))),
            }
        }
    }

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", duration.as_millis()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Given::deserialize(deserializer)?.read()
    }

    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        deserialize(deserializer).map(Some)
    }
}

pub(super) mod size {
    //! `256MiB`; a number means bytes.

    use bytesize::ByteSize;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Bytes(u64),
        Text(String),
    }

    impl Given {
        fn read<E: de::Error>(self) -> Result<u64, E> {
            match self {
                Self::Bytes(bytes) => Ok(bytes),
                Self::Text(text) => text
                    .parse::<ByteSize>()
                    .map(|size| size.as_u64())
                    .map_err(|_| E::custom(format!("'{text}' is not a size; write 64MiB or 1GiB"))),
            }
        }
    }

    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        Given::deserialize(deserializer)?.read()
    }

    pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        File::parse(text).unwrap_err().to_string()
    }

    const HEAD: &str = "keyhole = 1\nname = \"w\"\n";

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        let cases = [
            ("name = \"w\"\n[[steps]]\nname = \"a\"\nuses = \"x\"\n", "1:1: missing field `keyhole`"),
            ("keyhole = 2\nname = \"w\"\n[[steps]]\nname = \"a\"\nuses = \"x\"\n", "1:11: this version of Keyhole"),
            (&format!("{HEAD}steps = []\n"), "2:8: a workflow has 1 to 100 steps"),
            (&format!("{HEAD}[[steps]]\nname = \"a\"\nuse = \"x\"\n"), "5:1: unknown field `use`"),
            (&format!("{HEAD}[limits]\ntimeout = \"soon\"\n"), "4:11: 'soon' is not a length of time"),
            (
                &format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"x\"\nprops.text = \"{{{{ evnt.body }}}}\"\n"),
                "6:14: there is no `evnt`",
            ),
            (
                &format!(
                    "{HEAD}[[steps]]\nname = \"a\"\nuses = \"x\"\nprops.text = \"{{{{ steps.b.$return_value }}}}\"\n"
                ),
                "6:14: no step before this one is called `b`",
            ),
            (&format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"x\"\nprops.text = \"{{{{ event.body \"\n"), "6:14: "),
            (&format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"x\"\nallow_hosts = [\"*\"]\n"), "6:15: '*'"),
        ];
        for (text, expected) in cases {
            let said = error(text);
            assert!(said.starts_with(expected), "{text}\nsaid {said}\nand not {expected}");
        }
    }

    #[test]
    fn the_schema_names_every_key() {
        let schema = schema().to_string();
        for key in ["keyhole", "trigger", "allow_hosts", "schedule", "runs_per_minute", "\"if\""] {
            assert!(schema.contains(key), "{key}");
        }
    }
}
