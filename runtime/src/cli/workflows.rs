//! `keyhole workflows`: deploying them, and turning them on and off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::{Subcommand, ValueHint};
use comfy_table::{Cell, Color};
use keyhole::engine::Digest;
use keyhole::server::model::{
    ComponentView, DeployedView, NewRun, NewWorkflow, SetWorkflow, StartedRun, WorkflowName, WorkflowView,
};
use keyhole::workflow::file::{self, File, FileError, HTTP_REQUEST, Step, WORKFLOW};
use keyhole::workflow::{DIGEST, DeployError, FILE, FILE_BYTES, check_path};
use reqwest::Method;
use serde_json::Value;

use super::client::{Acting, Client};
use super::error::{Error, Result};
use super::output::{self, Output, style};
use super::run;
use super::runs;
use super::settings::{AsMember, EgressFlags, Settings, read_text};

/// Deploy workflows, look at them, and start them by hand
#[derive(Subcommand, Debug)]
pub enum Workflows {
    /// Check a workflow's file and its components, build what is source, and deploy it
    Deploy {
        /// The workflow's file, or the folder with its workflow.toml
        #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
        file: PathBuf,
        /// Only check it
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// List your workflows
    List {
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Show a workflow
    Show {
        /// Its name, or OWNER/NAME
        name: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Start a workflow by hand, and wait for its end
    Run {
        /// Its name
        name: String,
        /// The event, a JSON file; '-' for standard input [default: an empty object]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        event: Option<PathBuf>,
        /// Print the run's id and don't wait
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        as_member: AsMember,
        #[command(flatten)]
        egress: Box<EgressFlags>,
    },
    /// Turn a workflow's triggers on
    Enable {
        /// Its name, or OWNER/NAME
        name: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Turn a workflow's triggers off
    Disable {
        /// Its name, or OWNER/NAME
        name: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Delete a workflow; runs under way end, and its history stays
    Delete {
        /// Its name, or OWNER/NAME
        name: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Print the JSON Schema of a workflow's file, for editors
    Schema,
}

impl Workflows {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        let egress = match &self {
            Self::Run { egress, .. } => egress.clone(),
            Self::Schema => return out.line(format!("{:#}", file::schema())),
            _ => Box::default(),
        };
        let client = Client::open(settings, &egress).await?;
        match self {
            Self::Deploy { file, check, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let deployed = deploy(&client, &by, settings, &file, check).await?;
                out.either(&deployed, || deployed_text(&deployed))
            }
            Self::List { as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let workflows: Vec<WorkflowView> = client.get(Some(&by), &["workflows"]).await?;
                out.either(&workflows, || list(&workflows))
            }
            Self::Show { name, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let workflow: WorkflowView = client.get(Some(&by), &path(&by, &name).segments()).await?;
                out.either(&workflow, || show(&workflow))
            }
            Self::Run { name, event, no_wait, as_member, .. } => {
                let event: Value = serde_json::from_str(&run::event(event.as_deref())?)?;
                let by = client.acting(&as_member, settings).await?;
                let at = path(&by, &name);
                let mut segments = at.segments().to_vec();
                segments.push("runs");
                let new = NewRun { event: Some(event), wait: !no_wait };
                let started: StartedRun = client.send(Method::POST, Some(&by), &segments, &new).await?;
                if no_wait {
                    return out.either(&started, || format!("started the run {}", started.run));
                }
                runs::show_at_end(&client, &by, &started.run, out).await
            }
            Self::Enable { name, as_member } => set(&client, settings, &as_member, &name, true).await,
            Self::Disable { name, as_member } => set(&client, settings, &as_member, &name, false).await,
            Self::Delete { name, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let at = path(&by, &name);
                let deleted: WorkflowName = client.ask(Method::DELETE, Some(&by), &at.segments()).await?;
                out.either(&deleted, || format!("deleted {}", deleted.name))
            }
            Self::Schema => Ok(()),
        }
    }
}

async fn set(client: &Client, settings: &Settings, as_member: &AsMember, name: &str, enabled: bool) -> Result {
    let by = client.acting(as_member, settings).await?;
    let at = path(&by, name);
    let set = SetWorkflow { enabled };
    let workflow: WorkflowView = client.send(Method::PATCH, Some(&by), &at.segments(), &set).await?;
    let word = if enabled { "on" } else { "off" };
    settings.out.either(&workflow, || format!("the triggers of {} are {word}", workflow.name))
}

/// Where a workflow is in the API.
struct At(String, String);

impl At {
    fn segments(&self) -> [&str; 3] {
        ["workflows", &self.0, &self.1]
    }
}

fn path(by: &Acting, named: &str) -> At {
    let (owner, name) = named.split_once('/').unwrap_or((by.0.as_str(), named));
    At(owner.to_owned(), name.to_owned())
}

/// Builds and hands over the components that the file names, and then the file.
pub async fn deploy(
    client: &Client,
    by: &Acting,
    settings: &Settings,
    path: &Path,
    check: bool,
) -> Result<DeployedView> {
    let (path, text) = read(path)?;
    let mut digests = BTreeMap::new();
    for (uses, bytes) in components(&path, &text, settings.out).await? {
        let digest = Digest::of(&bytes).to_string();
        let there: Result<ComponentView> = client.get(Some(by), &["components", &digest]).await;
        if there.is_err() {
            let pieces = futures_util::stream::once(std::future::ready(Ok(bytes)));
            let _: ComponentView = client.upload(&["components"], &serde_json::json!({}), pieces).await?;
        }
        digests.insert(uses, digest);
    }
    let files = files(&path, &text)?.into_iter().map(|(path, bytes)| (path, STANDARD.encode(bytes))).collect();
    let new = NewWorkflow { file: text, components: digests, files, check };
    let deployed: Result<DeployedView> = client.send(Method::POST, Some(by), &["workflows"], &new).await;
    // The server knows the text, and not where it is from.
    deployed.map_err(|error| error.in_file("workflow.toml", &path))
}

/// The file's path and text.
pub fn read(path: &Path) -> Result<(PathBuf, String)> {
    let path = if path.is_dir() { path.join("workflow.toml") } else { path.to_owned() };
    let text = read_text(&path)?;
    Ok((path, text))
}

/// The file, and the sources and components that it names by their paths.
pub fn sources(path: &Path) -> Vec<PathBuf> {
    let file = if path.is_dir() { path.join("workflow.toml") } else { path.to_owned() };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
    let steps = File::parse(&text).map(|parsed| parsed.steps).unwrap_or_default();
    let uses = steps.iter().map(|step| step.get_ref().uses.get_ref().as_str());
    let uses = uses.filter(|uses| is_path(uses));
    let files = steps.iter().filter_map(|step| attached(step.get_ref())).map(|(path, _)| path);
    let paths: Vec<PathBuf> = uses.chain(files).map(|path| folder.join(path)).collect();
    std::iter::once(file).chain(paths).collect()
}

/// The path of the file that a step's request sends, and where the workflow's file says so.
fn attached(step: &Step) -> Option<(&str, usize)> {
    let given = step.props.get(FILE).filter(|_| step.uses.get_ref() == HTTP_REQUEST)?;
    // A template is refused by who checks the workflow.
    let path = given.get_ref().as_str().filter(|path| !path.contains("{{") && !path.contains("{%"))?;
    Some((path, given.span().start))
}

/// The files that its requests send: each lies in the folder of the workflow's file, links followed.
pub fn files(path: &Path, text: &str) -> Result<BTreeMap<String, Bytes>> {
    let parsed = File::parse(text).map_err(|error| wrong(error.into(), path))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files = BTreeMap::new();
    for (named, at) in parsed.steps.iter().filter_map(|step| attached(step.get_ref())) {
        let refused = |message: String| wrong(FileError::at(text, at, message).into(), path);
        check_path(named).map_err(refused)?;
        let inside = || {
            let (folder, file) = (folder.canonicalize()?, folder.join(named).canonicalize()?);
            let found = std::fs::metadata(&file)?;
            Ok::<_, std::io::Error>((file.starts_with(&folder).then_some(file), found))
        };
        let (file, found) = inside().map_err(|error| refused(format!("the file '{named}' can't be read: {error}")))?;
        let Some(file) = file.filter(|_| found.is_file()) else {
            return Err(refused(format!(
                "'{named}' is no file in the folder of the workflow's file, or a link out of it"
            )));
        };
        if found.len() > FILE_BYTES as u64 {
            return Err(refused(format!("'{named}' has {} bytes; a file may have {FILE_BYTES}", found.len())));
        }
        let bytes =
            std::fs::read(file).map_err(|error| refused(format!("the file '{named}' can't be read: {error}")))?;
        files.insert(named.to_owned(), Bytes::from(bytes));
    }
    Ok(files)
}

fn is_path(uses: &str) -> bool {
    ![HTTP_REQUEST, WORKFLOW].contains(&uses) && !uses.starts_with(DIGEST)
}

/// The components that the file names by their paths, built where they are source.
pub async fn components(path: &Path, text: &str, out: Output) -> Result<Vec<(String, Bytes)>> {
    let parsed = File::parse(text).map_err(|error| wrong(error.into(), path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut components: Vec<(String, Bytes)> = Vec::new();
    for step in &parsed.steps {
        let uses = step.get_ref().uses.get_ref();
        if is_path(uses) && !components.iter().any(|(there, _)| there == uses) {
            components.push((uses.clone(), run::component(&folder.join(uses), out).await?));
        }
    }
    Ok(components)
}

/// What is wrong with the file at `path`.
pub fn wrong(error: DeployError, path: &Path) -> Error {
    match error {
        DeployError::File(error) => {
            Error::usage(error.message.clone()).at(format!("{}:{}:{}", path.display(), error.line, error.column))
        }
        error => Error::new(error.to_string()),
    }
}

/// What a deploy did.
pub fn deployed_text(deployed: &DeployedView) -> String {
    let workflow = &deployed.workflow;
    let warnings: String =
        deployed.warnings.iter().map(|warning| format!("\nwarning: {}", output::visible(warning))).collect();
    if !deployed.deployed {
        return format!("{} is right; nothing was deployed{warnings}", workflow.name);
    }
    let mut text = format!("deployed {}, version {}", workflow.name, workflow.version);
    if let Some(hook) = &workflow.hook {
        text += &format!("\nits address is {}", address(hook));
    }
    if let Some(next) = workflow.next {
        text += &format!("\nit runs next at {}", output::local(next));
    }
    if !workflow.enabled {
        text += &format!("\nits triggers are off; keyhole workflows enable {} turns them on", workflow.name);
    }
    text + &warnings
}

/// The address of an HTTP trigger, as far as it is known.
fn address(hook: &str) -> String {
    match hook.starts_with('/') {
        true => format!("{hook}, below the address of keyhole serve"),
        false => hook.to_owned(),
    }
}

fn list(workflows: &[WorkflowView]) -> String {
    if workflows.is_empty() {
        return format!("{}none yet; deploy one with: keyhole workflows deploy FILE{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["workflow", "owner", "trigger", "version", "deployed", "steps"]);
    for workflow in workflows {
        let trigger = match workflow.enabled {
            true => Cell::new(&workflow.trigger),
            false => Cell::new(format!("{} (off)", workflow.trigger)).fg(Color::Yellow),
        };
        table.add_row([
            Cell::new(&workflow.name),
            Cell::new(&workflow.owner),
            trigger,
            Cell::new(workflow.version),
            Cell::new(output::local(workflow.deployed)),
            Cell::new(output::one_line(&workflow.steps.join(", "), 60)),
        ]);
    }
    output::table_text(&mut table)
}

fn show(workflow: &WorkflowView) -> String {
    let mut pairs = vec![
        ("workflow", workflow.name.clone()),
        ("owner", workflow.owner.clone()),
        ("version", format!("{}, deployed {}", workflow.version, output::local(workflow.deployed))),
        ("trigger", if workflow.enabled { workflow.trigger.clone() } else { format!("{} (off)", workflow.trigger) }),
        ("steps", workflow.steps.join(", ")),
    ];
    if let Some(description) = &workflow.description {
        pairs.push(("description", output::visible(description).into_owned()));
    }
    if let Some(hook) = &workflow.hook {
        pairs.push(("address", address(hook)));
    }
    if let Some(next) = workflow.next {
        pairs.push(("next", output::local(next)));
    }
    if !workflow.accounts.is_empty() {
        pairs.push(("accounts", workflow.accounts.join(", ")));
    }
    output::pairs(&pairs)
}
