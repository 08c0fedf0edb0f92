//! A workflow's file, `workflow.toml`: its keys, their types and what each may hold.
//!
//! What can be judged from the text alone is judged here, with line and column; what needs the components
//! and the accounts is `deploy`'s to say. A file never holds a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use indexmap::IndexMap;
use keyhole_host_api::broker::AllowedHost;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use toml::Spanned;

use super::template::{Template, TemplateError, check_condition};
use super::trigger::{CronTrigger, HttpTrigger};

pub use limits::{Limits, Retry, RetryOn};
pub(super) use place::place_of;
pub(super) use units::{duration, size};

mod limits;
mod place;
mod units;

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
    /// `https` URL that it is posted to, up to four times until it answers.
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
    /// Run it only if this holds: one expression between braces, `{{ event.body.count > 0 }}`.
    #[serde(default, rename = "if")]
    #[schemars(with = "Option<String>")]
    pub condition: Option<Spanned<String>>,
    /// The values of its props. Texts in them may be templates.
    ///
    /// Those of `http-request`: `url` (or a path below the base URL of the account's app), `method`, `headers`,
    /// `query`, `fail_on_error`, `pages`, and one body: `json`, `form`, `text`, `base64`, or `file`, the path of a
    /// file in the folder of this one. That is read when the workflow is deployed, is no template, and may have
    /// 1 MiB, all of a workflow's together 4 MiB; its type is told by its name, unless `headers` has a
    /// `content-type`. With `pages` it returns the `items` of all `pages`, and whether there are `more`.
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
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Option<Duration>,
    /// How much memory it may have, in the place of the workflow's.
    #[serde(default, deserialize_with = "size::optional")]
    #[schemars(schema_with = "size::schema")]
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
        let wrong = |span: Range<usize>, message: &str| Err(FileError::at(text, span.start, message));
        if *self.keyhole.get_ref() != 1 {
            return wrong(self.keyhole.span(), "this version of Keyhole knows format 1 only; write keyhole = 1");
        }
        if !is_name(self.name.get_ref()) {
            return wrong(
                self.name.span(),
                "a workflow's name has lower-case letters, digits and '-', at most 64, and does not begin with '-'",
            );
        }
        let out_of_range = |path: &[&str], message: &str| wrong(place_of(text, path), message);
        if let Some((key, message)) = self.limits.fault() {
            return out_of_range(&["limits", key], message);
        }
        if let Some((key, message)) = self.retry.as_ref().and_then(Retry::fault) {
            return out_of_range(&["retry", key], message);
        }
        if self.steps.is_empty() || self.steps.len() > STEPS {
            return wrong(self.name.span(), "a workflow has 1 to 100 steps: [[steps]]");
        }
        let mut earlier: Vec<&str> = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            let (number, step) = (number.to_string(), step.get_ref());
            let at = ["steps", number.as_str()];
            let name = step.name.get_ref().as_str();
            if !is_step_name(name) {
                return wrong(step.name.span(), "a step's name has letters, digits, '_' and '-', at most 64");
            }
            if earlier.contains(&name) {
                return wrong(step.name.span(), "another step has this name already");
            }
            if let Some((key, message)) = limits::step_fault(step.timeout, step.memory) {
                return out_of_range(&[at[0], at[1], key], message);
            }
            if let Some((key, message)) = step.retry.as_ref().and_then(Retry::fault) {
                return out_of_range(&[at[0], at[1], "retry", key], message);
            }
            if step.retry_requests > MAX_RETRIES {
                return out_of_range(&[at[0], at[1], "retry_requests"], "a request is sent again 10 times at most");
            }
            let template = |source: &str| Template::parse(source).and_then(|template| template.check(&earlier));
            if let Some(condition) = &step.condition {
                template(condition.get_ref())
                    .and_then(|()| check_condition(condition.get_ref()))
                    .map_err(|error| within(text, condition.span(), &error))?;
            }
            for (prop, value) in &step.props {
                let mut path = vec![at[0].to_owned(), at[1].to_owned(), "props".to_owned(), prop.clone()];
                each_text(value.get_ref(), &mut path, &mut |source, path| {
                    let told = |error| {
                        let path: Vec<&str> = path.iter().map(String::as_str).collect();
                        within(text, place_of(text, &path), &error)
                    };
                    template(source).map_err(told)
                })?;
            }
            earlier.push(name);
        }
        Ok(())
    }
}

/// What is wrong with the template that stands at `span`.
fn within(text: &str, span: Range<usize>, error: &TemplateError) -> FileError {
    let offset = text.get(span.clone()).map_or(0, |written| error.place_in(written));
    FileError::at(text, span.start + offset, error)
}

fn each_text<E>(
    value: &toml::Value,
    path: &mut Vec<String>,
    see: &mut impl FnMut(&str, &[String]) -> Result<(), E>,
) -> Result<(), E> {
    match value {
        toml::Value::String(text) => return see(text, path),
        toml::Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                path.push(number.to_string());
                each_text(item, path, see)?;
                path.pop();
            }
        }
        toml::Value::Table(members) => {
            for (key, member) in members {
                path.push(key.clone());
                each_text(member, path, see)?;
                path.pop();
            }
        }
        _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        File::parse(text).unwrap_err().to_string()
    }

    const HEAD: &str = "keyhole = 1\nname = \"w\"\n";

    const STEP: &str = "[[steps]]\nname = \"a\"\nuses = \"x\"\n";

    /// With this line in `[limits]`, and the words that it is found by in another place, too.
    fn limits(line: &str) -> String {
        format!("{HEAD}description = \"queue, timeout\"\n[limits]\n{line}\n{STEP}")
    }

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
                "6:18: there is no `evnt`",
            ),
            (
                &format!(
                    "{HEAD}[[steps]]\nname = \"a\"\nuses = \"x\"\nprops.text = \"{{{{ steps.b.$return_value }}}}\"\n"
                ),
                "6:24: no step before this one is called `b`",
            ),
            (&format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"x\"\nprops.text = \"{{{{ event.body \"\n"), "6:14: "),
            (&format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"x\"\nallow_hosts = [\"*\"]\n"), "6:15: '*'"),
            (&limits("timeout = \"20m\""), "5:11: a step may take up to 750 s"),
            (&limits("memory = \"5GiB\""), "5:10: a step may have up to 4 GiB"),
            (&limits("concurrency = 0"), "5:15: a workflow may have 1 to 10,000 runs at once"),
            (&limits("concurrency = 10001"), "5:15: a workflow may have"),
            (&limits("queue = 0"), "5:9: 1 to 1,000,000 events may wait"),
            (&limits("queue = 1000001"), "5:9: 1 to 1,000,000"),
            (&limits("runs_per_minute = 0"), "5:19: at least one run may begin in a minute"),
            (
                &format!("{HEAD}description = \"retry\"\nretry.attempts = 51\n{STEP}"),
                "4:18: a step may be tried 1 to 50",
            ),
            (
                &format!("{HEAD}{STEP}{STEP}").replacen("\"a\"", "\"b\"", 1).replace("uses", "timeout = 0\nuses"),
                "5:11: ",
            ),
            (&format!("{HEAD}{STEP}memory = 0\n"), "6:10: a step may have up to 4 GiB"),
            (&format!("{HEAD}{STEP}retry = {{ wait = 1, attempts = 0 }}\n"), "6:32: a step may be tried"),
            (&format!("{HEAD}{STEP}retry_requests = 11\n"), "6:18: a request is sent again"),
            (&format!("{HEAD}{STEP}if = \"event.x == 1\"\n"), "6:6: an `if` is one expression between braces"),
            (
                &format!("{HEAD}{STEP}if = \"{{{{ event.x }}}} == 1\"\n"),
                "6:6: an `if` is one expression between braces",
            ),
            (&format!("{HEAD}{STEP}props.list = [\"a\", {{ b = \"{{{{ evnt }}}}\" }}]\n"), "6:30: there is no `evnt`"),
            (&format!("{HEAD}{STEP}[steps.props.headers]\na = \"evnt\"\nb = \"evnt {{{{ evnt }}}}\"\n"), "8:14: "),
            (
                &format!("{HEAD}{STEP}props.text = \"\"\"\nHi {{{{ event.x }}}},\n  {{{{ evnt }}}}\n\"\"\"\n"),
                "8:6: there",
            ),
            (&format!("{HEAD}{STEP}props.text = \"\"\"\nHi,\n  {{{{ event. }}}}\n\"\"\"\n"), "8:1: "),
        ];
        for (text, expected) in cases {
            let said = error(text);
            assert!(said.starts_with(expected), "{text}\nsaid {said}\nand not {expected}");
        }
    }

    #[test]
    fn an_if_that_can_be_worked_out_is_taken() {
        for condition in
            ["{{ event.x }}", " {{ {'a': {'b': 1}}.a == event }} ", "{% if event.x %}true{% endif %}", "{{ '}}' }}"]
        {
            File::parse(&format!("{HEAD}{STEP}if = \"{condition}\"\n")).unwrap();
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
