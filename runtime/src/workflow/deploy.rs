//! Workflows as they are deployed: a file is checked against its components, the owner's accounts and its own
//! templates, and then takes the place of the version before, at once. Runs under way end on the version that
//! they began with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use indexmap::IndexMap;
use jiff::Timestamp;
use keyhole_host_api::accounts::{AccountId, FindError, Row};
use keyhole_host_api::members::{Member, MemberId};
use keyhole_host_api::store::records::{Kept, Listing, Records};
use keyhole_host_api::store::{Expect, Store, StoreError};
use serde_json::{Map, Value};
use toml::Spanned;
use url::Url;

use super::attempt::Work;
use super::components::ComponentError;
use super::file::{File, FileError, HTTP_REQUEST, Limits, Retry, Step, WORKFLOW, is_name, place_of};
use super::files::{self, PlannedFile};
use super::record::{PlannedLink, PlannedStep, Version, Workflow, WorkflowId};
use super::template::is_template;
use super::trigger::CronError;
use super::{call, http_request, scopes};
use crate::engine::Definition;

/// What a digest in a file begins with.
pub const DIGEST: &str = "blake3:";
/// Says that some workflow was changed, without having to look at all.
const CHANGED: &str = "workflows-changed";
/// Tries to be the one whose version is next.
const TRIES: u32 = 100;

/// What is deployed.
pub struct Deploy {
    /// The file's text.
    pub file: String,
    /// The digest of the component that each path in the file led to.
    pub components: BTreeMap<String, String>,
    /// The files beside it that its requests send, by their paths.
    pub files: BTreeMap<String, Bytes>,
}

/// Why a workflow was not deployed. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The file, and where.
    #[error("{0}")]
    File(#[from] FileError),
    /// Somebody else deployed it over and over.
    #[error("the workflow is being deployed by others at the same time; try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The workflows of one data directory.
pub struct Workflows {
    store: Arc<dyn Store>,
    pub(super) heads: Records<Workflow>,
    listing: Listing<Arc<Workflow>>,
    kept_heads: Kept<Arc<Workflow>>,
    pub(super) versions: Records<Version>,
    kept_versions: Kept<Arc<Version>>,
    work: Arc<Work>,
    /// Since when this process has known that a workflow is deleted.
    pub(super) gone: Mutex<BTreeMap<WorkflowId, Timestamp>>,
}

impl Workflows {
    /// Those in `store`, checked against what `work` has.
    pub fn new(store: Arc<dyn Store>, work: Arc<Work>) -> Self {
        let (heads, versions) = (Records::new(store.clone()), Records::new(store.clone()));
        Self {
            heads,
            listing: Listing::default(),
            kept_heads: Kept::default(),
            versions,
            kept_versions: Kept::default(),
            store,
            work,
            gone: Mutex::default(),
        }
    }

    /// What they are run with.
    pub fn work(&self) -> &Arc<Work> {
        &self.work
    }

    /// The workflow with this id, if the member who deployed it is one still: nobody else has it run, or sees it by
    /// bearing their name.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn get(&self, id: &WorkflowId) -> Result<Option<Workflow>, StoreError> {
        let Some(workflow) = self.get_anyones(id).await? else { return Ok(None) };
        let owner = self.member(&workflow.owner).await?;
        Ok(owner.is_some_and(|owner| workflow.is_of(&owner)).then_some(workflow))
    }

    /// The same, whoever deployed it.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn get_anyones(&self, id: &WorkflowId) -> Result<Option<Workflow>, StoreError> {
        let found = self.store.get(&Records::<Workflow>::key(&id.0)).await?;
        Ok(Records::kept(&id.0, found, &self.kept_heads, Arc::new)?.map(Arc::unwrap_or_clone))
    }

    async fn member(&self, id: &MemberId) -> Result<Option<Member>, StoreError> {
        self.work.accounts.members().get(id).await
    }

    /// On whose behalf the version runs: nobody's, if who deployed it is no member any more.
    ///
    /// # Errors
    /// Whatever the store says.
    pub(super) async fn owner(&self, id: &WorkflowId, version: &Version) -> Result<Option<MemberId>, StoreError> {
        let Ok(named) = id.parts().0.parse() else { return Ok(None) };
        let owner = self.member(&named).await?.filter(|member| version.is_of(member));
        Ok(owner.map(|owner| owner.id))
    }

    /// The version `number` of it.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn version(&self, id: &WorkflowId, number: u64) -> Result<Option<Arc<Version>>, StoreError> {
        let id = version_key(id, number);
        let found = self.store.get(&Records::<Version>::key(&id)).await?;
        Records::kept(&id, found, &self.kept_versions, Arc::new)
    }

    /// All, by owner and name; if a member is given, those alone that they deployed.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(&self, owner: Option<&MemberId>) -> Result<Vec<Arc<Workflow>>, StoreError> {
        let all = self.heads.listed(&self.listing, Arc::<Workflow>::new).await?;
        let all = all.iter().map(|(.., workflow)| workflow);
        let Some(owner) = owner else { return Ok(all.cloned().collect()) };
        let Some(owner) = self.member(owner).await? else { return Ok(Vec::new()) };
        Ok(all.filter(|workflow| workflow.is_of(&owner)).cloned().collect())
    }

    /// Those whose steps use the account.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn using(&self, account: &AccountId) -> Result<Vec<Arc<Workflow>>, StoreError> {
        let mut all = self.list(None).await?;
        all.retain(|workflow| workflow.accounts.contains(account));
        Ok(all)
    }

    /// A token that is another one after any workflow was changed, by whichever process.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn changed(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.store.get(CHANGED).await?.map(|found| found.revision))
    }

    async fn note_change(&self) -> Result<(), StoreError> {
        self.store.write(CHANGED, Expect::Any, Some(b"{\"v\":1}".to_vec())).await.map(drop)
    }

    /// Checks what `owner` deploys. What comes back is ready to run.
    ///
    /// # Errors
    /// What is wrong with it, and where in the file.
    pub async fn check(
        &self,
        owner: &MemberId,
        deploy: &Deploy,
    ) -> Result<(File, Version, Vec<AccountId>), DeployError> {
        // Before anything of the owner's is looked at: who bears the name by the end may be another.
        let deployed = Some(Timestamp::now());
        let text = deploy.file.as_str();
        let mut file = File::parse(text)?;
        let wrong = |span: Range<usize>, message: String| DeployError::from(FileError::at(text, span.start, message));
        if let Some(named) = &file.owner
            && named.get_ref() != owner.as_str()
        {
            return Err(wrong(
                named.span(),
                format!(
                    "a workflow runs on behalf of whoever deploys it, and that is {owner}; leave `owner` out, or let {} deploy it",
                    named.get_ref()
                ),
            ));
        }
        if let Some(cron) = &file.trigger.cron {
            cron.next(Timestamp::now()).map_err(|error| {
                let key = if matches!(error, CronError::TimeZone(_)) { "time_zone" } else { "schedule" };
                wrong(place_of(text, &["trigger", "cron", key]), error.to_string())
            })?;
        }
        let mut used =
            Used { owner, accounts: None, work: &self.work, found: Vec::new(), deploy, files: BTreeMap::new() };
        if let Some(http) = &mut file.trigger.http {
            let place = |key| place_of(text, &["trigger", "http", "signature", key]);
            if let Some(signature) = &mut http.signature {
                signature.check().map_err(|message| wrong(place("header"), message.to_owned()))?;
                let account = used.account(&signature.secret, Some("webhook")).await?;
                // From here on by its id: another account may come to have the nickname, another member's even.
                signature.secret = account.map_err(|message| wrong(place("secret"), message))?.id().to_string();
            }
            if http.body_limit == 0 || http.body_limit > 8 << 20 {
                return Err(wrong(
                    place_of(text, &["trigger", "http", "body_limit"]),
                    "a body may have up to 8 MiB".to_owned(),
                ));
            }
        }
        if let Some(on_error) = &file.on_error
            && told(on_error.get_ref()).is_none()
        {
            let name = on_error.get_ref();
            if !is_name(name) {
                let message = "`on_error` is the name of another of your workflows, or an https URL".to_owned();
                return Err(wrong(on_error.span(), message));
            }
            self.has(owner, name, &file).await?.map_err(|message| wrong(on_error.span(), message))?;
        }
        let mut steps = Vec::with_capacity(file.steps.len());
        for step in &file.steps {
            let planned = self.step(step.get_ref(), &file, &mut used).await?;
            steps.push(planned.map_err(|(span, message)| wrong(span, message))?);
        }
        let on_error = file.on_error.as_ref().map(|name| name.get_ref().clone());
        Ok((file, Version { file: deploy.file.clone(), steps, on_error, deployed }, used.found))
    }

    /// Whether `owner` has the workflow `name`, once this file is deployed.
    async fn has(&self, owner: &MemberId, name: &str, file: &File) -> Result<Result<(), String>, StoreError> {
        let is_there = name == file.name.get_ref() || self.get(&WorkflowId::new(owner, name)).await?.is_some();
        Ok(if is_there { Ok(()) } else { Err(format!("{owner} has no workflow '{name}'; deploy that one first")) })
    }

    async fn step(
        &self,
        step: &Step,
        file: &File,
        used: &mut Used<'_>,
    ) -> Result<Result<PlannedStep, (Range<usize>, String)>, DeployError> {
        let uses = step.uses.get_ref().as_str();
        let (mut links, mut attached) = (BTreeMap::<String, PlannedLink>::new(), None);
        let uses = if uses == HTTP_REQUEST {
            if let Err(wrong) = check_http_request(step) {
                return Ok(Err(wrong));
            }
            for (prop, named) in &step.links {
                if prop != http_request::ACCOUNT {
                    let message =
                        format!("{HTTP_REQUEST} has no app prop '{prop}'; it has '{}'", http_request::ACCOUNT);
                    return Ok(Err((named.span(), message)));
                }
                let account = match used.account(named.get_ref(), None).await? {
                    Ok(account) => account,
                    Err(message) => return Ok(Err((named.span(), message))),
                };
                let (app, account) = (account.app().to_owned(), Some(account.id().clone()));
                links.insert(prop.clone(), PlannedLink { app, account, optional: false, scopes: BTreeSet::new() });
            }
            attached = match used.file(step) {
                Ok(attached) => attached,
                Err(wrong) => return Ok(Err(wrong)),
            };
            HTTP_REQUEST.to_owned()
        } else if uses == WORKFLOW {
            if let Err(wrong) = check_call(step) {
                return Ok(Err(wrong));
            }
            if let Some((prop, named)) = step.links.iter().next() {
                return Ok(Err((named.span(), format!("{WORKFLOW} has no app prop '{prop}'"))));
            }
            if let Some((name, span)) = called(step)
                && let Err(message) = self.has(used.owner, name, file).await?
            {
                return Ok(Err((span, message)));
            }
            WORKFLOW.to_owned()
        } else {
            let digest = match uses.strip_prefix(DIGEST) {
                Some(digest) => digest.to_owned(),
                None => match used.deploy.components.get(uses) {
                    Some(digest) => digest.clone(),
                    None => {
                        let message = format!(
                            "no component was given for '{uses}'; deploy with `keyhole workflows deploy`, or name one by its digest, {DIGEST}…"
                        );
                        return Ok(Err((step.uses.span(), message)));
                    }
                },
            };
            // Before it is looked at, so that nobody takes it away before the version that needs it is there.
            if self.work.components.touch(&digest).await?.is_none() {
                return Ok(Err((step.uses.span(), ComponentError::NotThere(digest).to_string())));
            }
            let loaded = match self.work.components.step(&digest).await {
                Ok(loaded) => loaded,
                Err(ComponentError::Store(error)) => return Err(error.into()),
                Err(error) => return Ok(Err((step.uses.span(), error.to_string()))),
            };
            if let Err(wrong) = check_props(step, &loaded.definition) {
                return Ok(Err(wrong));
            }
            for (prop, app, required) in loaded.definition.app_props() {
                let known = self.work.accounts.catalog().get(app);
                let required = required && known.is_none_or(|app| app.takes_account());
                let account = match step.links.get(prop) {
                    Some(named) => match used.account(named.get_ref(), Some(app)).await? {
                        Ok(account) => Some(account.id().clone()),
                        Err(message) => return Ok(Err((named.span(), message))),
                    },
                    None if required => {
                        let message = format!(
                            "the app prop '{prop}' takes an account for {app}; add links.{prop} = \"NICKNAME\""
                        );
                        return Ok(Err((step.name.span(), message)));
                    }
                    None => None,
                };
                let scopes = loaded.definition.props[prop].scopes.iter().cloned().collect();
                links
                    .insert(prop.to_owned(), PlannedLink { app: app.to_owned(), account, optional: !required, scopes });
            }
            if let Some((prop, named)) = step.links.iter().find(|(prop, _)| !links.contains_key(*prop)) {
                let names: Vec<_> = loaded.definition.app_props().map(|(name, ..)| name).collect();
                let message = match names.as_slice() {
                    [] => format!("{} takes no account", loaded.definition.name),
                    names => {
                        format!("{} has no app prop '{prop}'; it has {}", loaded.definition.name, names.join(", "))
                    }
                };
                return Ok(Err((named.span(), message)));
            }
            digest
        };
        if let Err(wrong) = scopes::add(step, &mut links) {
            return Ok(Err(wrong));
        }
        let timeout = step.timeout.unwrap_or(file.limits.timeout);
        let (memory, most) = (step.memory.unwrap_or(file.limits.memory), self.work.components.most_memory());
        // What nobody asked for is cut down where it is too much.
        if memory > most.max(Limits::default().memory) {
            let most = most >> 20;
            let message = format!(
                "a step may have up to {most} MiB of memory here; its operator may allow more (runs.most_memory)"
            );
            return Ok(Err((step.name.span(), message)));
        }
        Ok(Ok(PlannedStep {
            name: step.name.get_ref().clone(),
            uses,
            condition: step.condition.as_ref().map(|condition| condition.get_ref().clone()),
            props: values(&step.props),
            links,
            allow_hosts: step.allow_hosts.iter().map(|host| host.get_ref().0.clone()).collect(),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            memory,
            retry: step.retry.clone().or_else(|| file.retry.clone()),
            retry_requests: step.retry_requests,
            file: attached,
        }))
    }

    /// Keeps the files of a version that was checked. On disk when this returns.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn keep_files(&self, deploy: &Deploy, version: &Version) -> Result<(), StoreError> {
        let files = version.steps.iter().filter_map(|step| step.file.as_ref());
        let by_path: BTreeMap<_, _> = files.map(|file| (&file.path, file)).collect();
        for (path, file) in by_path {
            if let Some(bytes) = deploy.files.get(path) {
                self.work.files.put(file, bytes).await?;
            }
        }
        Ok(())
    }

    /// Checks it, and lets it take the place of the version before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn deploy(&self, owner: &MemberId, deploy: &Deploy) -> Result<Workflow, DeployError> {
        let (file, version, accounts) = self.check(owner, deploy).await?;
        // Before what refers to them.
        self.keep_files(deploy, &version).await?;
        let id = WorkflowId::new(owner, file.name.get_ref());
        for _ in 0..TRIES {
            let before = self.heads.get(&id.0).await?;
            let mut number = match &before {
                Some((workflow, _)) => workflow.version + 1,
                // After those of one that was deleted: in the place of one that is gone it would look as old.
                None => self.last_version(&id).await? + 1,
            };
            // What somebody of the same name left gives the number, and nothing else.
            let owned = match &before {
                Some((workflow, _)) if self.member(owner).await?.is_some_and(|owner| workflow.is_of(&owner)) => {
                    Some(workflow)
                }
                _ => None,
            };
            // A version that was written and never became the head, or one of a workflow that was deleted.
            while let Err(error) = self.versions.put(&version_key(&id, number), Expect::Absent, &version).await {
                match error {
                    StoreError::Conflict { .. } => number += 1,
                    other => return Err(other.into()),
                }
            }
            let workflow = Workflow {
                owner: owner.clone(),
                name: file.name.get_ref().clone(),
                description: file.description.clone(),
                version: number,
                deployed: version.deployed.unwrap_or_else(Timestamp::now),
                enabled: owned.is_none_or(|workflow| workflow.enabled),
                on_since: None,
                hook: match owned {
                    Some(workflow) => workflow.hook.clone(),
                    None => unguessable()?,
                },
                trigger: file.trigger.clone(),
                limits: file.limits.clone(),
                accounts: accounts.clone(),
                scopes: version.scopes(),
                steps: version.steps.iter().map(|step| step.name.clone()).collect(),
            };
            let expect = before.map_or(Expect::Absent, |(_, revision)| Expect::Revision(revision));
            match self.heads.put(&id.0, expect, &workflow).await {
                Ok(_) => {
                    self.note_change().await?;
                    return Ok(workflow);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DeployError::Busy)
    }

    /// The last version that there is, whether or not it is, or was, in use. 0 if there is none.
    async fn last_version(&self, id: &WorkflowId) -> Result<u64, StoreError> {
        let folder = Records::<Version>::key(&format!("{id}/"));
        let last = self.store.revisions_back(&folder, None, 1).await?.pop();
        Ok(last.and_then(|(key, _)| key[folder.len()..].parse().ok()).unwrap_or(0))
    }

    /// Turns its triggers on or off. None if there is no such workflow.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn enable(&self, id: &WorkflowId, enabled: bool, now: Timestamp) -> Result<Option<Workflow>, StoreError> {
        let turn = |workflow: &mut Workflow| {
            if enabled && !workflow.enabled {
                workflow.on_since = Some(now);
            }
            workflow.enabled = enabled;
        };
        let changed = self.heads.update(&id.0, turn).await?;
        self.note_change().await?;
        Ok(changed.map(|(workflow, _)| workflow))
    }

    /// Deletes it. Runs under way end on the version that they have; its history stays.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn delete(&self, id: &WorkflowId) -> Result<(), StoreError> {
        self.heads.delete(&id.0, Expect::Any).await?;
        self.note_change().await
    }
}

pub(super) fn version_key(id: &WorkflowId, number: u64) -> String {
    format!("{id}/{number:010}")
}

/// 128 bits and more of the system's random source, as what stands in an address.
fn unguessable() -> Result<String, StoreError> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Failed(format!("no random numbers: {error}")))?;
    Ok(data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

/// The name of the step that tells a URL of a failure.
const ON_ERROR: &str = "on_error";

/// The accounts and files that a workflow's steps use, looked up once.
struct Used<'d> {
    owner: &'d MemberId,
    accounts: Option<Vec<Row>>,
    work: &'d Work,
    found: Vec<AccountId>,
    deploy: &'d Deploy,
    files: BTreeMap<String, PlannedFile>,
}

impl Used<'_> {
    /// The file that the step's request sends, if it sends one.
    fn file(&mut self, step: &Step) -> Result<Option<PlannedFile>, (Range<usize>, String)> {
        let Some(given) = step.props.get(http_request::FILE) else { return Ok(None) };
        let wrong = |message: String| Err((given.span(), message));
        let Some(path) = given.get_ref().as_str().filter(|path| !is_template(&Value::String((*path).to_owned())))
        else {
            return wrong(
                "props.file is the path of a file beside this one, and no template: it is read at deploy".to_owned(),
            );
        };
        if let Err(message) = files::check_path(path) {
            return wrong(message);
        }
        if let Some(file) = self.files.get(path) {
            return Ok(Some(file.clone()));
        }
        let Some(bytes) = self.deploy.files.get(path) else {
            return wrong(format!(
                "the file '{path}' was not given; deploy with `keyhole workflows deploy`, which reads it"
            ));
        };
        let all = self.files.values().map(|file| file.bytes).sum::<usize>() + bytes.len();
        if bytes.len() > files::ONE || all > files::ALL {
            return wrong(format!(
                "'{path}' has {} bytes; a file may have {}, and all of a workflow's together {}",
                bytes.len(),
                files::ONE,
                files::ALL
            ));
        }
        let file = PlannedFile::new(path, bytes);
        self.files.insert(path.to_owned(), file.clone());
        Ok(Some(file))
    }

    /// The account that the owner means, if they may use it and it is for `app`.
    async fn account(&mut self, named: &str, app: Option<&str>) -> Result<Result<Row, String>, StoreError> {
        let all = match &mut self.accounts {
            Some(all) => all,
            none => none.insert(self.work.accounts.rows(self.owner).await?),
        };
        let mut fitting = all.iter().filter(|account| account.id().as_str() == named || account.nickname() == named);
        let account = match (fitting.next(), fitting.next()) {
            (Some(one), None) => one.clone(),
            (Some(_), Some(_)) => {
                let called = all.iter().filter(|account| account.nickname() == named);
                let ids = called.map(|account| account.id().clone()).collect();
                return Ok(Err(FindError::Ambiguous { name: named.to_owned(), ids }.to_string()));
            }
            (None, _) => return Ok(Err(FindError::NotThere(named.to_owned()).to_string())),
        };
        if !account.usable {
            return Ok(Err(format!(
                "{} may not use the account '{named}'; ask its owner, {}",
                self.owner,
                account.owner()
            )));
        }
        if let Some(app) = app
            && account.app() != app
        {
            return Ok(Err(format!("the prop takes an account for {app}, and '{named}' is for {}", account.app())));
        }
        if !self.found.contains(account.id()) {
            self.found.push(account.id().clone());
        }
        Ok(Ok(account))
    }
}

fn values(props: &IndexMap<String, Spanned<toml::Value>>) -> Map<String, Value> {
    let json = |value: &toml::Value| serde_json::to_value(value).unwrap_or(Value::Null);
    props.iter().map(|(name, value)| (name.clone(), json(value.get_ref()))).collect()
}

/// Checks what can be checked before templates have values.
fn check_props(step: &Step, definition: &Definition) -> Result<(), (Range<usize>, String)> {
    // `configure` may add props; they are checked in the run.
    let more = definition.props.values().any(|prop| prop.configure);
    for (name, value) in &step.props {
        let json = serde_json::to_value(value.get_ref()).unwrap_or(Value::Null);
        match definition.props.get(name) {
            Some(prop) if prop.app.is_some() => {
                return Err((value.span(), format!("prop '{name}' takes an account: links.{name} = \"NICKNAME\"")));
            }
            Some(prop) if !is_template(&json) => {
                prop.check(&json).map_err(|fault| (value.span(), format!("prop '{name}' {fault}")))?;
            }
            Some(_) => {}
            None if more => {}
            None => {
                let names: Vec<_> = definition.props.keys().map(String::as_str).collect();
                let message = format!("{} has no prop '{name}'; it has {}", definition.name, names.join(", "));
                return Err((value.span(), message));
            }
        }
    }
    // It may also say then that one is not needed.
    let reloads = definition.props.values().any(|prop| prop.reload);
    for (name, prop) in &definition.props {
        let given = step.props.contains_key(name) || prop.app.is_some() || reloads;
        if !given && !prop.optional && prop.default.is_none() {
            let message = format!("prop '{name}' ({}) has no value and is not optional: props.{name} = …", prop.kind);
            return Err((step.name.span(), message));
        }
    }
    Ok(())
}

/// The step that tells an `on_error` that is a URL.
pub(super) fn told(on_error: &str) -> Option<PlannedStep> {
    let url = Url::parse(on_error).ok().filter(|url| url.scheme() == "https" && url.username().is_empty())?;
    let host = url.host_str()?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Some(PlannedStep {
        name: ON_ERROR.to_owned(),
        uses: HTTP_REQUEST.to_owned(),
        condition: None,
        props: Map::from_iter([("url".to_owned(), url.as_str().into()), ("json".to_owned(), "{{ event }}".into())]),
        links: BTreeMap::new(),
        allow_hosts: vec![host],
        timeout_ms: 30_000,
        memory: 0,
        // What is down for a moment should hear of it, too.
        retry: Some(Retry { attempts: 4, ..Retry::default() }),
        retry_requests: 0,
        file: None,
    })
}

fn check_call(step: &Step) -> Result<(), (Range<usize>, String)> {
    for (name, value) in &step.props {
        if !call::PROPS.contains(&name.as_str()) {
            let message = format!("{WORKFLOW} has no prop '{name}'; it has {}", call::PROPS.join(", "));
            return Err((value.span(), message));
        }
    }
    match step.props.get("name") {
        Some(name) if name.get_ref().is_str() => Ok(()),
        Some(name) => Err((name.span(), "props.name is the name of another of your workflows".to_owned())),
        None => Err((step.name.span(), format!("{WORKFLOW} needs the name of one: props.name = \"…\""))),
    }
}

/// The workflow that the step starts, if the file says which.
fn called(step: &Step) -> Option<(&str, Range<usize>)> {
    let name = step.props.get("name")?;
    let text = name.get_ref().as_str()?;
    (!is_template(&Value::String(text.to_owned()))).then(|| (text, name.span()))
}

fn check_http_request(step: &Step) -> Result<(), (Range<usize>, String)> {
    let has_account = step.links.contains_key(http_request::ACCOUNT);
    http_request::check(&values(&step.props), has_account).map_err(|(prop, message)| {
        let prop = prop.and_then(|prop| step.props.get(&prop));
        (prop.map_or_else(|| step.name.span(), Spanned::span), message)
    })
}
