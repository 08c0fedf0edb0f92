//! `keyhole test`: a workflow from its file, once, step by step, without deploying it.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use keyhole::server::model::StepView;
use keyhole::workflow::record::{StepRecord, WorkflowId};
use keyhole::workflow::{Deploy, Turn, Who};
use keyhole_host_api::broker::Spent;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::LocalWorkflows;
use super::error::{Error, Result};
use super::settings::{AsMember, EgressFlags, Settings};
use super::{run, runs, workflows};

/// Run a workflow from its file once, printing each step; nothing is deployed and no run is kept
#[derive(Args, Debug)]
pub struct Test {
    /// The workflow's file, or the folder with its workflow.toml
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    file: PathBuf,

    /// The event, a JSON file; '-' for standard input [default: an empty object]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    event: Option<PathBuf>,

    #[command(flatten)]
    as_member: AsMember,

    #[command(flatten)]
    egress: EgressFlags,
}

impl Test {
    /// Runs it. Fails if a step did.
    pub async fn run(self, settings: &Settings) -> Result {
        let event = RawValue::from_string(run::event(self.event.as_deref())?)?;
        let LocalWorkflows { member, workflows } =
            LocalWorkflows::open(settings, &self.egress, &self.as_member).await?;
        let (path, text) = workflows::read(&self.file)?;
        let mut components = std::collections::BTreeMap::new();
        for (uses, bytes) in workflows::components(&path, &text, settings.out).await? {
            let (component, _) = workflows
                .work()
                .components
                .add(bytes)
                .await
                .map_err(|error| Error::new(error.to_string()).at(format!("{uses}, in {}", path.display())))?;
            components.insert(uses, component.digest);
        }
        let files = workflows::files(&path, &text)?;
        let deploy = Deploy { file: text, components, files };
        let checked = workflows.check(&member, &deploy).await;
        let (file, version, _) = checked.map_err(|error| workflows::wrong(error, &path))?;
        workflows.keep_files(&deploy, &version).await?;
        let id = WorkflowId::new(&member, file.name.get_ref());
        let run = ulid::Ulid::generate().to_string();
        let books = workflows.work().broker.books(Spent::default());
        let who = Who { run: &run, workflow: &id, member: &member, books, observer: None };
        let mut done: Vec<StepRecord> = Vec::new();
        let mut failed = None;
        for step in &version.steps {
            let attempted = tokio::select! {
                attempted = workflows.work().attempt(&who, step, &event, &done, Turn::default()) => attempted,
                () = super::interrupt() => return Err(Error::interrupted()),
            };
            let error = attempted.record.error.clone();
            done.push(attempted.record.clone());
            if !settings.out.json {
                settings.out.line(runs::step_text(&StepView::from(attempted.record)))?;
            }
            if let Some(pause) = &attempted.flow.pause {
                settings.out.note(format!("the workflow would now {}", run::pause(pause)));
            }
            if let Some(asked) = &attempted.calls {
                settings.out.note(format!("the workflow would start {} here", super::output::visible(&asked.name)));
            }
            if let Some(error) = error {
                failed = Some(error);
                break;
            }
            if let Some(reason) = attempted.flow.exit {
                settings.out.note(format!("the workflow ends here: {}", super::output::visible(&reason)));
                break;
            }
        }
        workflows.work().broker.settle().await?;
        if settings.out.json {
            let steps: Vec<StepView> = done.into_iter().map(StepView::from).collect();
            let status = if failed.is_none() { "ok" } else { "failed" };
            settings.out.document(&json!({ "status": status, "steps": steps, "error": failed }))?;
        }
        match failed {
            None => Ok(()),
            Some(_) if settings.out.json => Err(Error::said()),
            Some(error) => Err(Error::new(error.message).at(format!("the step {}", error.step.unwrap_or_default()))),
        }
    }
}
