//! `keyhole dev`: an author's loop. Serves a workflow, builds and deploys it again with each change to its files,
//! and shows its runs as they go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueHint};
use keyhole::server::listen::{Listen, Server};
use keyhole::server::model::{DeployedView, NewRun, RunDetail, RunView, RunsQuery, StartedRun};
use keyhole::server::router;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::client::{Acting, Client};
use super::error::{Error, Result};
use super::output::{self, Output, style};
use super::runs::{Printed, took};
use super::serve::{Begun, begin, on_a_directory, told};
use super::settings::{AsMember, EgressFlags, Settings};
use super::{run, workflows};

/// How often it looks at the files and at the runs.
const LOOK: Duration = Duration::from_millis(300);
/// How long what runs may go on when it is stopped.
const GRACE: Duration = Duration::from_secs(5);
/// Most runs that are followed at a time.
const FOLLOWED: u32 = 50;
/// Folders that builds write to.
const BUILT: [&str; 4] = ["target", "node_modules", "dist", "__pycache__"];

/// Work on a workflow: serve it, build and deploy it again with each change, and show its runs
///
/// Triggers act as under keyhole serve. What was deployed last stays deployed when this ends.
#[derive(Args, Debug)]
pub struct Dev {
    /// The workflow's file, or the folder that has a workflow.toml
    #[arg(value_hint = ValueHint::AnyPath)]
    workflow: PathBuf,

    /// Run it with this event after each change, a JSON file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    event: Option<PathBuf>,

    /// The address to listen on for its trigger, on this machine; port 0 takes any that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    #[command(flatten)]
    as_member: AsMember,

    #[command(flatten)]
    egress: EgressFlags,
}

impl Dev {
    /// Goes on until someone asks it to stop.
    pub async fn run(self, settings: &Settings) -> Result {
        if let Some(remote) = &settings.remote {
            return Err(on_a_directory("dev", &remote.url));
        }
        if !self.listen.ip().is_loopback() {
            return Err(Error::usage("keyhole dev listens on this machine alone")
                .at(self.listen)
                .help("keyhole serve is for others"));
        }
        // What is not there will not come to be there by an edit.
        workflows::read(&self.workflow)?;
        let listen = Listen { address: self.listen, tls: None, insecure: false };
        let server = Server::bind(&listen).map_err(told)?;
        let url = format!("http://{}/", server.address());
        let egress = settings.egress(&self.egress)?;
        let Begun { home, api, .. } = begin(settings, egress, vec![server.address()], Url::parse(&url)?, None).await?;
        let member = home.member(&self.as_member, settings).await?;
        let client = Client::here(home, api.clone());
        let stopped = Arc::new(tokio::sync::Notify::new());
        let stop = stopped.clone();
        let serving = tokio::spawn(server.run(router(api.clone()), async move { stop.notified().await }));
        settings.out.note(format!("keyhole serves on {url}; it stops with Ctrl-C"));

        let mut author = Author { dev: &self, settings, client, by: Acting(member), name: None, runs: BTreeMap::new() };
        let mut files = Files::default();
        let ended = loop {
            let now = Files::of(&self.workflow, &settings.data_dir);
            if now != files {
                files = now;
                tokio::select! {
                    deployed = author.deploy() => if let Err(error) = deployed { break Err(error) },
                    () = super::interrupt() => break Ok(()),
                }
            }
            tokio::select! {
                followed = author.follow() => if let Err(error) = followed { break Err(error) },
                () = super::interrupt() => break Ok(()),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = super::interrupt() => break Ok(()),
            }
        };
        api.stop();
        stopped.notify_one();
        api.runner.stop(GRACE).await;
        let _ = serving.await;
        api.broker.settle().await?;
        ended
    }
}

/// Who works on the workflow, and what they were shown.
struct Author<'d> {
    dev: &'d Dev,
    settings: &'d Settings,
    client: Client,
    by: Acting,
    /// The workflow, once it was deployed.
    name: Option<String>,
    /// What was printed of each run, until it has ended.
    runs: BTreeMap<String, Option<Printed>>,
}

impl Author<'_> {
    /// Builds and deploys it. What is wrong with it is said, and no reason to end.
    async fn deploy(&mut self) -> Result {
        let out = self.settings.out;
        let deployed = workflows::deploy(&self.client, &self.by, self.settings, &self.dev.workflow, false).await;
        let deployed: DeployedView = match deployed {
            Ok(deployed) => deployed,
            Err(error) => {
                let _ = error.report(out.json);
                out.note("it is deployed when that is put right; what was deployed before stays");
                return Ok(());
            }
        };
        match out.json {
            true => out.line(json!({ "deployed": deployed.workflow }).to_string())?,
            false => out.line(workflows::deployed_text(&deployed))?,
        }
        let name = deployed.workflow.name;
        if self.name.as_ref() != Some(&name) {
            // Those that there were before are not this session's.
            for run in self.recent(&name).await? {
                self.runs.insert(run.id, None);
            }
        }
        self.name = Some(name.clone());
        let Some(path) = &self.dev.event else { return Ok(()) };
        match run::event(Some(path)) {
            Ok(event) => {
                let event: Value = serde_json::from_str(&event)?;
                let owner = self.by.0.to_string();
                let new = NewRun { event: Some(event), wait: false };
                let path = ["workflows", &owner, &name, "runs"];
                let started: Result<StartedRun> = self.client.send(Method::POST, Some(&self.by), &path, &new).await;
                if let Err(error) = started {
                    let _ = error.report(out.json);
                }
            }
            Err(error) => drop(error.report(out.json)),
        }
        Ok(())
    }

    async fn recent(&self, name: &str) -> Result<Vec<RunView>> {
        let workflow = Some(name.to_owned());
        let query = RunsQuery { workflow, status: None, since: None, until: None, before: None, limit: FOLLOWED };
        self.client.query(Some(&self.by), &["runs"], &query).await
    }

    /// Shows what is new of its runs.
    async fn follow(&mut self) -> Result {
        let Some(name) = &self.name else { return Ok(()) };
        let out = self.settings.out;
        let mut recent = self.recent(name).await?;
        recent.reverse();
        for run in recent {
            let begun = !self.runs.contains_key(&run.id);
            let printed = self.runs.entry(run.id.clone()).or_insert_with(|| Some(Printed::default()));
            let Some(so_far) = printed else { continue };
            if begun {
                told_of(&run, "begun", out)?;
            }
            let detail: RunDetail = self.client.get(Some(&self.by), &["runs", &run.id]).await?;
            so_far.more(&detail, out)?;
            if detail.run.ended.is_some() {
                *printed = None;
                told_of(&detail.run, &detail.run.status, out)?;
            }
        }
        Ok(())
    }
}

/// Says that a run has begun or ended.
fn told_of(run: &RunView, status: &str, out: Output) -> Result {
    if out.json {
        return out.line(json!({ "run": run, "status": status }).to_string());
    }
    let id = format!("{}run {}{:#}", style::BOLD, run.id, style::BOLD);
    match &run.error {
        None if status == "begun" => out.line(format!("{id} by {}", run.cause)),
        None => out.line(format!("{id} {status} in {}", took(run))),
        Some(error) => {
            let at = error.step.as_ref().map(|step| format!(" in {step}")).unwrap_or_default();
            let trace = error.trace.as_deref().unwrap_or_default();
            let frames: String = trace.lines().map(|frame| format!("\n  {}", output::visible(frame))).collect();
            out.line(format!("{id} {status}{at}: {}{frames}", output::visible(&error.message)))
        }
    }
}

/// The files that a workflow is made of, and how they are: compared, not read.
#[derive(Default, PartialEq)]
struct Files {
    found: BTreeMap<PathBuf, (u64, Option<SystemTime>)>,
    data_dir: Option<PathBuf>,
}

impl Files {
    /// Without what is in `data_dir`, which changes with each run.
    fn of(workflow: &Path, data_dir: &Path) -> Self {
        let mut files = Self { data_dir: data_dir.canonicalize().ok(), ..Self::default() };
        for source in workflows::sources(workflow) {
            // A step in a file may import what lies beside it.
            match source.extension().is_some_and(|extension| extension != "wasm" && extension != "toml") {
                true => files.add(source.parent().filter(|folder| *folder != "").unwrap_or(Path::new(".")), 0),
                false => files.add(&source, 0),
            }
        }
        files
    }

    fn add(&mut self, path: &Path, depth: usize) {
        let Ok(found) = path.metadata() else { return };
        if !found.is_dir() {
            self.found.insert(path.to_owned(), (found.len(), found.modified().ok()));
            return;
        }
        if self.data_dir.is_some() && path.canonicalize().ok() == self.data_dir {
            return;
        }
        let Ok(entries) = std::fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Links could lead in circles.
            if depth < 32 && !name.starts_with('.') && !BUILT.contains(&&*name) {
                self.add(&entry.path(), depth + 1);
            }
        }
    }
}
