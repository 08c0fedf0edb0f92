//! Drafts of definitions for the console, each made in a process of its own, which can be stopped. A document is a
//! stranger's text, and what it costs to read is its author's: it must never be read in the server's process.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use keyhole_host_api::apps::import::{self, Draft, Given};
use rustix::process::{Resource, Rlimit, Signal, nice, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use url::Url;

use super::problem::Problem;

/// Seconds of processor time that a draft may take.
const CPU: u64 = 20;
/// Bytes of memory: read, a document has many times its length.
const MEMORY: u64 = 1 << 30;
/// How long to wait for one. Within what a request may take.
const WITHIN: Duration = Duration::from_secs(60);
/// Longest answer, in bytes.
const OUTPUT: u64 = 4 << 20;

/// Makes drafts, one at a time.
pub struct Drafts {
    program: PathBuf,
    args: Vec<OsString>,
    turn: Semaphore,
}

/// What a draft is made of.
#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    pub name: Option<String>,
    pub base_url: Option<Url>,
    pub text: String,
}

/// What comes of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Draft(Draft),
    Wrong { message: String, help: Option<String> },
}

impl Drafts {
    /// By this program, called so that it runs [`worker_main`].
    pub fn by(program: PathBuf, args: Vec<OsString>) -> Self {
        Self { program, args, turn: Semaphore::new(1) }
    }

    /// Drafts a definition. Who waits no more for it ends it.
    pub(super) async fn draft(&self, asked: &Asked) -> Result<Draft, Problem> {
        let _turn = self.turn.acquire().await.map_err(|closed| Problem::internal(&closed))?;
        let ended = tokio::time::timeout(WITHIN, self.ask(asked)).await;
        let (status, said) = match ended {
            Ok(ended) => ended.map_err(|error| Problem::internal(&error))?,
            Err(_) => return Err(too_much()),
        };
        match serde_json::from_slice(&said) {
            Ok(Said::Draft(draft)) => Ok(draft),
            Ok(Said::Wrong { message, help }) => {
                let problem = Problem::wrong(message);
                Err(match help {
                    Some(help) => problem.help(help),
                    None => problem,
                })
            }
            Err(_) if is_documents_fault(status) => Err(too_much()),
            Err(_) => {
                Err(Problem::internal(&std::io::Error::other(format!("what drafts definitions was ended: {status}"))))
            }
        }
    }

    async fn ask(&self, asked: &Asked) -> std::io::Result<(ExitStatus, Vec<u8>)> {
        let mut child = Command::new(&self.program)
            .args(&self.args)
            // The master key may be in the environment.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("no pipes"));
        };
        let asked = serde_json::to_vec(asked)?;
        let feed = async move {
            // One that ended has said why, by how it ended.
            let _ = stdin.write_all(&asked).await;
        };
        let mut said = Vec::new();
        let mut stdout = stdout.take(OUTPUT);
        let ((), read) = tokio::join!(feed, stdout.read_to_end(&mut said));
        read?;
        drop(stdout);
        Ok((child.wait().await?, said))
    }
}

/// Whether it ended for want of memory, stack or time, or as code that panics does.
fn is_documents_fault(status: ExitStatus) -> bool {
    let signals = [Signal::ABORT, Signal::SEGV, Signal::BUS, Signal::XCPU, Signal::KILL];
    status.code() == Some(101) || signals.iter().any(|signal| status.signal() == Some(signal.as_raw()))
}

fn too_much() -> Problem {
    Problem::wrong(format!("to read the document takes more than {CPU} s or {} MiB of memory", MEMORY >> 20))
        .help("describe the service by what its own pages say")
}

/// The worker: reads what is asked and writes what comes of it. For the program's hidden `__draft` command, with its
/// standard input and output; it limits its own process.
pub fn worker_main(mut stdin: impl Read, mut stdout: impl Write) -> ExitCode {
    let limit = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let confined = setrlimit(Resource::Data, limit(MEMORY)).and_then(|()| setrlimit(Resource::Cpu, limit(CPU)));
    if confined.is_err() || nice(10).is_err() {
        return ExitCode::FAILURE;
    }
    let mut asked = Vec::new();
    if stdin.read_to_end(&mut asked).is_err() {
        return ExitCode::FAILURE;
    }
    let Ok(asked) = serde_json::from_slice::<Asked>(&asked) else { return ExitCode::FAILURE };
    let said = serde_json::to_vec(&drafted(&asked));
    match said.map_err(std::io::Error::from).and_then(|said| stdout.write_all(&said)).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn drafted(asked: &Asked) -> Said {
    let document = match import::parse(&asked.text) {
        Ok(document) => document,
        Err(error) => {
            let message = format!("line {}, column {}: {}", error.line, error.column, error.message);
            return Said::Wrong { message, help: Some("an OpenAPI document is JSON or YAML".to_owned()) };
        }
    };
    let given = Given { name: asked.name.clone(), base_url: asked.base_url.clone(), document: None };
    match import::openapi(&document, &given) {
        Ok(draft) => Said::Draft(draft),
        Err(error) => {
            // Its words are the command line's: what to do comes last, with a flag where a page has a field.
            let said = error.to_string().replace("--base-url ", "");
            match said.rsplit_once("; ") {
                Some((message, help)) => Said::Wrong { message: message.to_owned(), help: Some(help.to_owned()) },
                None => Said::Wrong { message: said, help: None },
            }
        }
    }
}
