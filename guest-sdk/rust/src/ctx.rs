//! The run that the step is part of: its event, what earlier steps gave, and
//! what this step tells it.

use std::cell::OnceCell;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bindings::keyhole::step::flow;
use crate::bindings::keyhole::step::types::Input;
use crate::error::placed;
use crate::http::Headers;
use crate::props::{self, PropType};
use crate::{Error, Result};

pub use crate::bindings::keyhole::step::flow::{Callbacks, Level};

/// One attempt at a run, given to the step.
#[derive(Debug)]
pub struct Ctx {
    event: String,
    steps: String,
    context: String,
    // Read on demand: most steps ask for none of it.
    parsed: OnceCell<Context>,
    /// Values of props that the step did not declare in its type.
    pub(crate) additional: Map<String, Value>,
}

/// The `context` of `keyhole:step/types.input`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    run: String,
    step: String,
    attempt: u32,
    member: String,
    deadline_ms: u64,
    runs: u32,
    rerun: Option<Value>,
    resumed: Option<Value>,
}

impl Ctx {
    /// Splits the props off the input.
    pub(crate) fn new(input: Input) -> (Ctx, String) {
        let Input { event, steps, props, context } = input;
        (Ctx { event, steps, context, parsed: OnceCell::new(), additional: Map::new() }, props)
    }

    /// The event that started the run. Any `T` that serde can read it into;
    /// [`serde_json::Value`] for all of it.
    ///
    /// ```no_run
    /// # fn f(ctx: keyhole_sdk::Ctx) -> keyhole_sdk::Result<()> {
    /// #[derive(serde::Deserialize)]
    /// struct Order { id: u64, total: f64 }
    /// let order: Order = ctx.event()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) if the event has another shape; the message says where.
    #[track_caller]
    pub fn event<T: DeserializeOwned>(&self) -> Result<T> {
        placed(|| {
            serde_json::from_slice(self.event.as_bytes()).map_err(|error| Error::input(format!("event: {error}")))
        })
    }

    /// What earlier steps exported and returned: an object by step name, whose
    /// values are objects of exports, with the return value as `$return_value`.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) if it is not of `T`'s shape.
    #[track_caller]
    pub fn steps<T: DeserializeOwned>(&self) -> Result<T> {
        placed(|| {
            serde_json::from_slice(self.steps.as_bytes()).map_err(|error| Error::input(format!("steps: {error}")))
        })
    }

    /// The value of a prop that `configure` added; `Option<T>` where it may be
    /// without. An added app prop is read with [`Account::linked`](crate::Account::linked).
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) if it is missing or of another type.
    #[track_caller]
    pub fn prop<T: PropType>(&self, name: &str) -> Result<T> {
        placed(|| props::read(name, self.additional.get(name).cloned(), None))
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        &self.context().run
    }

    /// This step's name in the workflow.
    pub fn step_name(&self) -> &str {
        &self.context().step
    }

    /// 1 for the first attempt.
    pub fn attempt(&self) -> u32 {
        self.context().attempt
    }

    /// 1, and one more each time that the step asked to [run again](Ctx::rerun).
    pub fn runs(&self) -> u32 {
        self.context().runs.max(1)
    }

    /// What the step gave when it asked to [run again](Ctx::rerun). `None` the first time.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) if it is not of `T`'s shape.
    #[track_caller]
    pub fn rerun_value<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        placed(|| {
            let Some(value) = &self.context().rerun else { return Ok(None) };
            T::deserialize(value)
                .map(Some)
                .map_err(|error| Error::input(format!("what was kept for this run: {error}")))
        })
    }

    /// The request that had the step [run again](Ctx::rerun): `method`, `headers`, `query`, `body`. `None` if its
    /// time came first.
    pub fn resumed(&self) -> Option<&Value> {
        self.context().resumed.as_ref()
    }

    /// The member on whose behalf the step runs.
    pub fn member(&self) -> &str {
        &self.context().member
    }

    /// How long this call may take, from its start.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.context().deadline_ms)
    }

    /// Records `value` under `name`; later steps read it as `steps.<step>.<name>`.
    /// A second call with the same name replaces the first.
    ///
    /// # Errors
    /// If `value` does not serialize, or the run's limit on exports is reached.
    #[track_caller]
    pub fn export(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<()> {
        placed(|| Ok(flow::export(name, &serde_json::to_string(value)?)?))
    }

    /// Writes one line to the run's log. So do `println!` and `eprintln!`.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        flow::log(level, message.as_ref());
    }

    /// Logs at level `debug`.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message);
    }

    /// Logs at level `info`.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message);
    }

    /// Logs at level `warn`.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message);
    }

    /// Logs at level `error`. The step goes on; return an [`Error`] to fail.
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message);
    }

    /// Answers whoever called the workflow's trigger. The first answer of a run
    /// counts; later ones are ignored.
    ///
    /// # Errors
    /// If the status is not one of 200 to 599, or the answer is over the limit.
    #[track_caller]
    pub fn respond(&self, reply: Reply) -> Result<()> {
        placed(|| Ok(flow::respond(&reply.0)?))
    }

    /// Ends the workflow successfully after this step returns: no later step runs.
    pub fn exit(&self, reason: impl AsRef<str>) {
        flow::exit(reason.as_ref());
    }

    /// Has the workflow wait between this step's return and the next step. At most one year.
    ///
    /// # Errors
    /// If it is longer than that.
    #[track_caller]
    pub fn delay(&self, wait: Duration) -> Result<()> {
        placed(|| Ok(flow::delay(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))?))
    }

    /// Has the workflow wait after this step's return until the resume URL is called, at most so long. Later steps
    /// read the request that came as `steps.<step>.$resume_data`, null if none did.
    ///
    /// # Errors
    /// If it is longer than a year.
    #[track_caller]
    pub fn suspend(&self, wait: Duration) -> Result<Callbacks> {
        placed(|| Ok(flow::suspend(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))?))
    }

    /// Has this step run again after so long, or when the resume URL is called, at most `times` times: asked once
    /// more, the run fails. The next time finds `value` in [`rerun_value`](Ctx::rerun_value). What this call
    /// returns and exports is dropped.
    ///
    /// # Errors
    /// If it is longer than a year, or `value` than 64 KiB.
    #[track_caller]
    pub fn rerun(&self, wait: Duration, value: &(impl Serialize + ?Sized), times: u32) -> Result<Callbacks> {
        placed(|| {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            Ok(flow::rerun(wait, &serde_json::to_string(value)?, times)?)
        })
    }

    fn context(&self) -> &Context {
        self.parsed.get_or_init(|| serde_json::from_slice(self.context.as_bytes()).unwrap_or_default())
    }
}

/// An HTTP answer for whoever called the workflow's trigger.
///
/// ```
/// # fn f(ctx: keyhole_sdk::Ctx) -> keyhole_sdk::Result<()> {
/// use keyhole_sdk::Reply;
/// ctx.respond(Reply::json(201, &serde_json::json!({ "id": 7 }))?.header("x-order", "7").immediate())?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reply(flow::Response);

impl Reply {
    /// An answer with this status (200 to 599) and no body.
    pub fn new(status: u16) -> Reply {
        Reply(flow::Response { status, headers: Vec::new(), body: Vec::new(), immediate: false })
    }

    /// An answer whose body is `value` as JSON.
    ///
    /// # Errors
    /// If `value` does not serialize.
    #[track_caller]
    pub fn json(status: u16, value: &(impl Serialize + ?Sized)) -> Result<Reply> {
        placed(|| Ok(Reply::new(status).header("content-type", "application/json").body(serde_json::to_vec(value)?)))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Reply {
        self.0.headers.push((name.into(), value.into()));
        self
    }

    /// Adds headers, such as those of a service's answer. Values that are not text are left out.
    #[must_use]
    pub fn headers(mut self, headers: &Headers) -> Reply {
        for (name, value) in headers.iter() {
            if let Ok(value) = std::str::from_utf8(value) {
                self.0.headers.push((name.to_owned(), value.to_owned()));
            }
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.0.body = body.into();
        self
    }

    /// Sends it now, rather than when the workflow ends.
    #[must_use]
    pub fn immediate(mut self) -> Reply {
        self.0.immediate = true;
        self
    }
}
