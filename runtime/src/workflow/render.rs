//! Templates worked out in a process of their own, which can be stopped.
//!
//! What a template does with memory and time is its author's: a value that holds another twice, and that twice again, is
//! small until it is written out, compared or hashed, which no count of steps foresees. So one that computes must never
//! run in the host's process where a worker is configured. One that only names values does, within its bound on output.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::record::PlannedStep;
use super::template::{Renderer, TemplateError, is_template, only_names};

/// Most bytes that the templates of one step make together.
pub(super) const OUTPUT: usize = 32 << 20;
/// Seconds of processor time that the templates of one step may take, and at most one more.
const CPU: u64 = 3;
/// How long to wait for a worker. Far longer than that: a machine that has much to do is not the template's fault.
const WITHIN: Duration = Duration::from_secs(15);
/// Bytes of memory that a worker may have.
const MEMORY: u64 = 512 << 20;
/// Steps whose templates a worker works out before another one takes its place: what is left of memory in pieces goes
/// with it.
const STEPS: u32 = 1000;

/// What a step runs with once its templates have values. None if its condition does not hold.
pub(super) type Rendered = Result<Option<Map<String, Value>>, TemplateError>;

/// The program that works out templates: this one, called so that it runs [`worker_main`].
#[derive(Clone, Debug)]
pub struct RenderWorker {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Works out the templates of steps.
pub struct Renderers {
    worker: Option<RenderWorker>,
    idle: Mutex<Vec<Worker>>,
    places: Semaphore,
}

/// What a worker is asked, without a copy of it.
#[derive(Serialize)]
struct Asking<'a, C> {
    context: &'a C,
    condition: Option<&'a str>,
    props: &'a Map<String, Value>,
}

/// The same, as it is read.
#[derive(Deserialize)]
struct Asked {
    context: Box<RawValue>,
    condition: Option<String>,
    props: Map<String, Value>,
}

/// What it says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Props(Option<Map<String, Value>>),
    Wrong(String),
}

/// A process, and how many steps it has done.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    done: u32,
}

/// Why a worker said nothing.
enum Silent {
    /// It could not be started.
    NotThere(std::io::Error),
    /// It ended.
    Ended(ExitStatus),
    /// It took too long, or its end is not known.
    Waiting,
    /// Its answer was too long.
    TooLong,
}

impl Renderers {
    /// In processes of this program.
    pub fn by(worker: RenderWorker) -> Self {
        Self::new(Some(worker))
    }

    /// In this process: for authors who are trusted.
    pub fn here() -> Self {
        Self::new(None)
    }

    fn new(worker: Option<RenderWorker>) -> Self {
        // They compute, and wait for nothing.
        let places = 2 * std::thread::available_parallelism().map_or(1, usize::from);
        Self { worker, idle: Mutex::default(), places: Semaphore::new(places) }
    }

    /// The values of a step's props after what `context` says.
    pub(super) async fn render(&self, context: &impl Serialize, step: &PlannedStep) -> Rendered {
        // Most steps have few templates, and an event may be long.
        if step.condition.is_none() && !step.props.values().any(is_template) {
            return Ok(Some(step.props.clone()));
        }
        let names = step.condition.as_deref().is_none_or(only_names) && each(&step.props, &only_names);
        let Some(worker) = self.worker.as_ref().filter(|_| !names) else {
            return render(&mut Renderer::new(context, OUTPUT)?, step.condition.as_deref(), &step.props);
        };
        let Ok(_place) = self.places.acquire().await else {
            return Err(TemplateError::of_host("nothing is worked out any more"));
        };
        // Only now: an event may be long, and many may wait for a place.
        let asking = Asking { context, condition: step.condition.as_deref(), props: &step.props };
        let asked = serde_json::to_vec(&asking).map_err(|error| TemplateError::new(error.to_string()))?;
        let said = match self.ask(worker, &asked).await {
            Ok(said) => serde_json::from_slice(&said),
            Err(silent) => return Err(silent.told()),
        };
        match said {
            Ok(Said::Props(props)) => Ok(props),
            Ok(Said::Wrong(message)) => Err(TemplateError::new(message)),
            Err(error) => Err(TemplateError::of_host(format!("what works out templates can't be read: {error}"))),
        }
    }

    async fn ask(&self, worker: &RenderWorker, asked: &[u8]) -> Result<Vec<u8>, Silent> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let first = match idle {
            Some(idle) => idle,
            None => Worker::start(worker).map_err(Silent::NotThere)?,
        };
        match self.ask_one(first, asked).await {
            // Whoever looks after the machine may have ended it, or it had no turn for too long. One more, and a new
            // one: what was idle may be gone as well.
            Err(Silent::Waiting) => {}
            Err(Silent::Ended(status)) if !is_templates_fault(status) => {}
            settled => return settled,
        }
        self.ask_one(Worker::start(worker).map_err(Silent::NotThere)?, asked).await
    }

    async fn ask_one(&self, mut one: Worker, asked: &[u8]) -> Result<Vec<u8>, Silent> {
        // A worker that is not done is killed as it is dropped.
        let said = tokio::time::timeout(WITHIN, one.ask(asked)).await.unwrap_or(Err(Silent::Waiting))?;
        if one.done < STEPS {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        }
        Ok(said)
    }
}

/// Whether a worker that ended so did because of what it was asked, and not because somebody ended it.
fn is_templates_fault(status: ExitStatus) -> bool {
    // No memory, no stack, no time; and what Rust exits with where code panics.
    let signals = [Signal::ABORT, Signal::SEGV, Signal::BUS, Signal::XCPU];
    status.code() == Some(101) || signals.iter().any(|signal| status.signal() == Some(signal.as_raw()))
}

impl Silent {
    /// What to say of it, and whose fault it is.
    fn told(self) -> TemplateError {
        match self {
            Self::NotThere(error) => {
                TemplateError::of_host(format!("what works out templates can't be started: {error}"))
            }
            Self::Waiting => TemplateError::of_host(format!(
                "the step's templates were not worked out within {} s; the machine may have too much to do",
                WITHIN.as_secs()
            )),
            Self::Ended(status) if status.signal() == Some(Signal::XCPU.as_raw()) => TemplateError::new(format!(
                "the step's templates took more than {CPU} s of processor time; let them do less"
            )),
            Self::Ended(status) if is_templates_fault(status) => TemplateError::new(format!(
                "the step's templates took more than {} MiB of memory; let them make less",
                MEMORY >> 20
            )),
            Self::Ended(status) => TemplateError::of_host(format!("what works out templates was ended: {status}")),
            Self::TooLong => too_long(),
        }
    }
}

fn too_long() -> TemplateError {
    TemplateError::new(format!("the step's templates make more than {} MiB; let them make less", OUTPUT >> 20))
}

fn render(renderer: &mut Renderer, condition: Option<&str>, props: &Map<String, Value>) -> Rendered {
    if !condition.map_or(Ok(true), |condition| renderer.holds(condition))? {
        return Ok(None);
    }
    let mut rendered = Map::new();
    for (name, value) in props {
        rendered.insert(name.clone(), renderer.value(value)?);
    }
    Ok(Some(rendered))
}

/// Whether each text among `values` is so.
fn each(values: &Map<String, Value>, is: &impl Fn(&str) -> bool) -> bool {
    fn one(value: &Value, is: &impl Fn(&str) -> bool) -> bool {
        match value {
            Value::String(text) => is(text),
            Value::Array(items) => items.iter().all(|item| one(item, is)),
            Value::Object(members) => each(members, is),
            _ => true,
        }
    }
    values.values().all(|value| one(value, is))
}

impl Worker {
    fn start(worker: &RenderWorker) -> std::io::Result<Self> {
        let mut child = Command::new(&worker.program)
            .args(&worker.args)
            // The master key may be in the environment.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is for who waits for it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Self { child, stdin, stdout, done: 0 }),
            _ => Err(std::io::Error::other("no pipes")),
        }
    }

    async fn ask(&mut self, asked: &[u8]) -> Result<Vec<u8>, Silent> {
        let exchange = async {
            self.stdin.write_all(&(asked.len() as u64).to_le_bytes()).await?;
            self.stdin.write_all(asked).await?;
            self.stdin.flush().await?;
            let mut length = [0; 8];
            self.stdout.read_exact(&mut length).await?;
            let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
            if length > OUTPUT {
                return Ok(None);
            }
            let mut said = vec![0; length];
            self.stdout.read_exact(&mut said).await?;
            Ok::<_, std::io::Error>(Some(said))
        };
        match exchange.await {
            Ok(Some(said)) => {
                self.done += 1;
                Ok(said)
            }
            Ok(None) => Err(Silent::TooLong),
            // Before it is killed by us: how it ended tells whose fault it is.
            Err(_) => Err(self.child.wait().await.map_or(Silent::Waiting, Silent::Ended)),
        }
    }
}

/// The worker: reads what is asked and writes what comes of it, until nobody asks any more. For the program's hidden
/// `__render` command, with its standard input and output; it limits its own process.
pub fn worker_main(mut stdin: impl Read, mut stdout: impl Write) -> ExitCode {
    let limit = |value| Rlimit { current: Some(value), maximum: Some(value) };
    if setrlimit(Resource::Data, limit(MEMORY)).is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        let mut length = [0; 8];
        if stdin.read_exact(&mut length).is_err() {
            return ExitCode::SUCCESS;
        }
        // By the kernel: whoever asked may be gone before it could end this.
        if limit_cpu().is_err() {
            return ExitCode::FAILURE;
        }
        let mut asked = Vec::new();
        let length = u64::from_le_bytes(length);
        if (&mut stdin).take(length).read_to_end(&mut asked).is_err() || asked.len() as u64 != length {
            return ExitCode::SUCCESS;
        }
        let said = match work(&asked) {
            Ok(props) => Said::Props(props),
            Err(error) => Said::Wrong(error.to_string()),
        };
        let Ok(said) = serde_json::to_vec(&said) else { return ExitCode::FAILURE };
        let sent = stdout.write_all(&(said.len() as u64).to_le_bytes());
        // Whoever finds it too long reads no more of it.
        if sent.and_then(|()| stdout.write_all(&said)).and_then(|()| stdout.flush()).is_err() {
            return ExitCode::SUCCESS;
        }
    }
}

/// Lets this process compute for what one step may, from now on.
fn limit_cpu() -> rustix::io::Result<()> {
    let used = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
    // The hard limit can't be raised again, and ends what was started with the signal of the soft one ignored.
    let overall = (CPU + 1) * u64::from(STEPS);
    let overall = getrlimit(Resource::Cpu).maximum.map_or(overall, |most| most.min(overall));
    setrlimit(Resource::Cpu, Rlimit { current: Some((used + 1 + CPU).min(overall)), maximum: Some(overall) })
}

fn work(asked: &[u8]) -> Rendered {
    let asked: Asked = serde_json::from_slice(asked).map_err(|error| TemplateError::new(error.to_string()))?;
    render(&mut Renderer::new(&asked.context, OUTPUT)?, asked.condition.as_deref(), &asked.props)
}

/// What counts the bytes of a value, and makes none.
pub(super) struct Counter {
    /// What there is room for.
    left: usize,
}

impl Counter {
    /// Takes what `value` is as JSON off `left`.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn take(left: &mut usize, value: &impl Serialize) -> Result<(), TemplateError> {
        let mut counter = Self { left: *left };
        serde_json::to_writer(&mut counter, value).map_err(|error| match error.is_io() {
            true => too_long(),
            false => TemplateError::new(error.to_string()),
        })?;
        *left = counter.left;
        Ok(())
    }
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| std::io::Error::other("there is no more room"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
