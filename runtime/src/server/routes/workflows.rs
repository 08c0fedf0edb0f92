//! Workflows. Each is its owner's; an admin sees that it exists, can turn it off and delete it, and sees nothing
//! of what it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyhole_host_api::members::MemberId;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::Api;
use crate::server::caller::{self, Act, Caller};
use crate::server::extract::{Body, Path};
use crate::server::model::{ComponentView, DeployedView, NewWorkflow, SetWorkflow, WorkflowName, WorkflowView};
use crate::server::problem::Problem;
use crate::workflow::record::{Workflow, WorkflowId};
use crate::workflow::{Component, Deploy, FILES_BYTES, file, scopes};

/// Longest component, in bytes; the engine's own limit is lower.
const COMPONENT: usize = 128 << 20;
/// Longest deploy, in bytes: its files in base64, its own file as JSON has it, and what is around them.
const DEPLOY: usize = (FILES_BYTES / 3 + 1) * 4 + 4 * file::FILE_BYTES;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, set, delete)).routes(routes!(component))
}

/// Calls that need no token.
pub(super) fn open() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(file_schema))
}

/// Calls whose bodies may be long.
pub(super) fn long() -> OpenApiRouter<Arc<Api>> {
    let component = OpenApiRouter::new().routes(routes!(add_component)).layer(DefaultBodyLimit::max(COMPONENT));
    component.merge(OpenApiRouter::new().routes(routes!(deploy)).layer(DefaultBodyLimit::max(DEPLOY)))
}

/// The JSON Schema of a workflow's file, for editors
#[utoipa::path(get, path = "/api/workflow.schema.json", tag = "workflows", operation_id = "workflow_schema",
    responses((status = 200, body = Object)))]
pub(in crate::server) async fn file_schema() -> Json<Value> {
    Json(file::schema())
}

/// List your workflows; for an admin, that others' exist
#[utoipa::path(get, path = "/api/workflows", tag = "workflows", operation_id = "workflows_list",
    responses((status = 200, body = [WorkflowView])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<WorkflowView>> {
    let found = heads(&api, &caller).await?;
    Ok(Json(views(&api, &caller, &found)?))
}

/// The workflows that the caller may see.
pub(in crate::server) async fn heads(api: &Api, caller: &Caller) -> Result<Vec<Arc<Workflow>>, Problem> {
    let member = caller.bearer(api).await?;
    if !caller.may(Act::KeepWorkflows) {
        return Ok(api.workflows.list(Some(&member.id)).await?);
    }
    let mut all = api.workflows.list(None).await?;
    // What somebody of the same name left is none of theirs.
    all.retain(|one| one.owner != member.id || one.is_of(&member));
    Ok(all)
}

/// What the caller may see of those.
pub(in crate::server) fn views(
    api: &Api,
    caller: &Caller,
    heads: &[Arc<Workflow>],
) -> Result<Vec<WorkflowView>, Problem> {
    let (member, now) = (caller.member()?, Timestamp::now());
    Ok(heads.iter().map(|head| view(api, Workflow::clone(head), head.owner == *member, now)).collect())
}

/// Deploy a workflow of yours. It takes the place of the version before; runs under way end on that one
#[utoipa::path(post, path = "/api/workflows", tag = "workflows", operation_id = "workflows_deploy",
    request_body = NewWorkflow, responses((status = 200, body = DeployedView)))]
pub(in crate::server) async fn deploy(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewWorkflow>,
) -> Answer<DeployedView> {
    // The body may have been long in coming.
    let caller = caller.again(&api).await?.ok_or_else(caller::unknown)?;
    let owner = caller.member()?;
    let now = Timestamp::now();
    let mut files = BTreeMap::new();
    for (path, encoded) in new.files {
        let bytes = STANDARD.decode(encoded);
        let bytes = bytes.map_err(|error| Problem::wrong(format!("the file '{path}' is not base64: {error}")))?;
        files.insert(path, Bytes::from(bytes));
    }
    let deploy = Deploy { file: new.file, components: new.components, files };
    if !new.check {
        let workflow = api.workflows.deploy(owner, &deploy).await?;
        let warnings = warnings(&api, &workflow).await?;
        return Ok(Json(DeployedView { workflow: view(&api, workflow, true, now), deployed: true, warnings }));
    }
    let (file, version, accounts) = api.workflows.check(owner, &deploy).await?;
    let before = api.workflows.get(&WorkflowId::new(owner, file.name.get_ref())).await?;
    let workflow = Workflow {
        owner: owner.clone(),
        name: file.name.get_ref().clone(),
        description: file.description,
        version: before.as_ref().map_or(0, |before| before.version),
        deployed: before.as_ref().map_or(now, |before| before.deployed),
        enabled: before.is_none_or(|before| before.enabled),
        on_since: None,
        hook: String::new(),
        trigger: file.trigger,
        limits: file.limits,
        accounts,
        scopes: version.scopes(),
        steps: version.steps.into_iter().map(|step| step.name).collect(),
    };
    let warnings = warnings(&api, &workflow).await?;
    Ok(Json(DeployedView { workflow: WorkflowView::new(workflow, false, now), deployed: false, warnings }))
}

/// What the owner of a workflow should know of its accounts.
async fn warnings(api: &Api, workflow: &Workflow) -> Result<Vec<String>, Problem> {
    if workflow.scopes.is_empty() {
        return Ok(Vec::new());
    }
    Ok(scopes::warnings(workflow, &api.accounts.rows(&workflow.owner).await?))
}

/// Show a workflow; its file to its owner
#[utoipa::path(get, path = "/api/workflows/{owner}/{name}", tag = "workflows", operation_id = "workflows_show",
    params(("owner" = String, Path, description = "The workflow's owner"), ("name" = String, Path, description = "The workflow's name")),
    responses((status = 200, body = WorkflowView)))]
pub(in crate::server) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(at): Path<(String, String)>,
) -> Answer<WorkflowView> {
    let workflow = visible(&api, &caller, at).await?;
    let own = workflow.owner == *caller.member()?;
    let version = if own { api.workflows.version(&workflow.id(), workflow.version).await? } else { None };
    let mut view = view(&api, workflow, own, Timestamp::now());
    view.file = version.map(|version| version.file.clone());
    Ok(Json(view))
}

/// Turn a workflow's triggers on or off. Its owner can, and an admin
#[utoipa::path(patch, path = "/api/workflows/{owner}/{name}", tag = "workflows", operation_id = "workflows_set",
    params(("owner" = String, Path, description = "The workflow's owner"), ("name" = String, Path, description = "The workflow's name")),
    request_body = SetWorkflow, responses((status = 200, body = WorkflowView)))]
pub(in crate::server) async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(at): Path<(String, String)>,
    Body(set): Body<SetWorkflow>,
) -> Answer<WorkflowView> {
    let workflow = visible(&api, &caller, at).await?;
    let own = workflow.owner == *caller.member()?;
    let now = Timestamp::now();
    let changed = api.workflows.enable(&workflow.id(), set.enabled, now).await?.ok_or_else(|| none(&workflow.id()))?;
    Ok(Json(view(&api, changed, own, now)))
}

/// Delete a workflow. Runs under way end; its history stays. Its owner can, and an admin
#[utoipa::path(delete, path = "/api/workflows/{owner}/{name}", tag = "workflows", operation_id = "workflows_delete",
    params(("owner" = String, Path, description = "The workflow's owner"), ("name" = String, Path, description = "The workflow's name")),
    responses((status = 200, body = WorkflowName)))]
pub(in crate::server) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(at): Path<(String, String)>,
) -> Answer<WorkflowName> {
    let workflow = visible(&api, &caller, at).await?;
    api.workflows.delete(&workflow.id()).await?;
    Ok(Json(WorkflowName { name: workflow.name, owner: workflow.owner.to_string() }))
}

/// Check a component, and keep it for workflows to use
#[utoipa::path(post, path = "/api/components", tag = "workflows", operation_id = "components_add",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = ComponentView)))]
pub(in crate::server) async fn add_component(
    State(api): State<Arc<Api>>,
    caller: Caller,
    bytes: Bytes,
) -> Answer<ComponentView> {
    caller.must(Act::AddComponents)?;
    let (component, _) = api.workflows.work().components.add(bytes).await?;
    Ok(Json(component.into()))
}

/// Whether a component was deployed
#[utoipa::path(get, path = "/api/components/{digest}", tag = "workflows", operation_id = "components_show",
    params(("digest" = String, Path, description = "The component's digest")),
    responses((status = 200, body = ComponentView)))]
pub(in crate::server) async fn component(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Answer<ComponentView> {
    caller.must(Act::AddComponents)?;
    let found = api.workflows.work().components.get(&digest).await?;
    found
        .map(|component| Json(component.into()))
        .ok_or_else(|| Problem::not_there(format!("there is no component {digest}")))
}

/// A workflow as its owner sees it, or somebody else.
fn view(api: &Api, workflow: Workflow, as_owner: bool, now: Timestamp) -> WorkflowView {
    let mut view = WorkflowView::new(workflow, as_owner, now);
    view.hook = view.hook.map(|path| api.address_of(&path).map_or(path, String::from));
    view
}

impl From<Component> for ComponentView {
    fn from(component: Component) -> Self {
        let Component { digest, bytes, name, version, .. } = component;
        Self { digest, bytes, name, version }
    }
}

/// The workflow, if the caller may know of it.
async fn visible(api: &Api, caller: &Caller, (owner, name): (String, String)) -> Result<Workflow, Problem> {
    let id = WorkflowId(format!("{owner}/{name}"));
    let found = if owner == caller.member()?.as_str() {
        api.workflows.get(&id).await?
    } else if caller.may(Act::KeepWorkflows) {
        api.workflows.get_anyones(&id).await?
    } else {
        None
    };
    found.ok_or_else(|| none(&id))
}

/// The workflow, if it is the caller's own.
pub(super) async fn own(api: &Api, member: &MemberId, named: &str) -> Result<Workflow, Problem> {
    let (owner, name) = named.split_once('/').unwrap_or((member.as_str(), named));
    let id = WorkflowId(format!("{owner}/{name}"));
    match if owner == member.as_str() { api.workflows.get(&id).await? } else { None } {
        Some(workflow) => Ok(workflow),
        None => Err(none(&id)),
    }
}

pub(super) fn none(id: &WorkflowId) -> Problem {
    Problem::not_there(format!("there is no workflow {id}")).help("keyhole workflows list shows yours")
}
