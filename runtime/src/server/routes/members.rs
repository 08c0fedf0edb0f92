//! Who shares the workspace.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhole_host_api::broker::audit;
use keyhole_host_api::members::{Member, MemberId};
use keyhole_host_api::tokens::{Purpose as _, SignIn};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, sessions};
use crate::server::Api;
use crate::server::caller::{Act, Caller};
use crate::server::extract::{Body, Path};
use crate::server::model::{AddedMember, MemberView, NewMember, Removed, Unbound};
use crate::server::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove)).routes(routes!(unbind))
}

/// List the members
#[utoipa::path(get, path = "/api/members", tag = "members", operation_id = "members_list",
    responses((status = 200, body = [MemberView])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<MemberView>> {
    caller.must(Act::SeeMembers)?;
    Ok(Json(api.members.list().await?.into_iter().map(MemberView::from).collect()))
}

/// Add a member, and make the link by which they come in if one is wanted. Admins can
#[utoipa::path(post, path = "/api/members", tag = "members", operation_id = "members_add", request_body = NewMember,
    responses((status = 201, body = AddedMember)))]
pub(in crate::server) async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewMember>,
) -> Result<(StatusCode, Json<AddedMember>), Problem> {
    caller.must(Act::ChangeMembers)?;
    let name: MemberId = new
        .name
        .parse()
        .map_err(|error: keyhole_host_api::members::MemberIdError| Problem::wrong(error.to_string()))?;
    let member = api.members.add(name, new.role).await?;
    api.did(&caller, audit::Act::done("members_add").about(&member.id).detail(member.role)).await?;
    // Here and nowhere else: now they have nothing that the link could open. A link for a member who is there already
    // would let an admin use that member's accounts.
    let invite = match new.invite {
        true => Some(sessions::link(&api, &caller, &member.id, SignIn::default(), SignIn::LONGEST).await?.url),
        false => None,
    };
    Ok((StatusCode::CREATED, Json(AddedMember { member: member.into(), invite })))
}

/// Remove a member: their accounts are deleted and revoked at the services, their tokens too, and grants to them
/// end. Admins can
#[utoipa::path(delete, path = "/api/members/{member}", tag = "members", operation_id = "members_remove",
    params(("member" = String, Path, description = "The member's name")), responses((status = 200, body = Removed)))]
pub(in crate::server) async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(member): Path<String>,
) -> Answer<Removed> {
    caller.must(Act::ChangeMembers)?;
    // What can't be a name is nobody's.
    let member: MemberId = member
        .parse()
        .map_err(|_| Problem::not_there(format!("there is no member {member}; see `keyhole members list`")))?;
    let (departed, upstream) = api.oauth().remove_member(&api.members, &member).await?;
    let mut stopped = Vec::new();
    for workflow in api.workflows.list(None).await? {
        let theirs = workflow.owner == member;
        if theirs {
            api.workflows.enable(&workflow.id(), false).await?;
        }
        if theirs || departed.deleted.iter().any(|(account, _)| workflow.accounts.contains(account)) {
            stopped.push(workflow.id().to_string());
        }
    }
    api.did(&caller, audit::Act::done("members_remove").about(&member)).await?;
    Ok(Json(Removed::new(member, departed, upstream, stopped)))
}

/// The member of this name, for what takes access away and gives none: they do it to themself, an admin to all.
pub(super) async fn oneself_or_any(api: &Api, caller: &Caller, member: &str) -> Result<Member, Problem> {
    let own = caller.member().is_ok_and(|by| by.as_str() == member);
    if !own {
        caller.must(Act::ChangeMembers)?;
    }
    let there = match member.parse::<MemberId>() {
        Ok(id) => api.members.get(&id).await?,
        // What can't be a name is nobody's.
        Err(_) => None,
    };
    there.ok_or_else(|| Problem::not_there(format!("there is no member {member}")))
}

/// Forget who a member is at the OpenID provider: what they are signed in by with it ends. Admins can, and the
/// member themself
#[utoipa::path(delete, path = "/api/members/{member}/binding", tag = "members", operation_id = "members_unbind",
    params(("member" = String, Path, description = "The member's name")), responses((status = 200, body = Unbound)))]
pub(in crate::server) async fn unbind(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(member): Path<String>,
) -> Answer<Unbound> {
    // It takes access away. Whoever comes next is bound by their own hand, or as the operator's settings say.
    let there = oneself_or_any(&api, &caller, &member).await?;
    match api.oidc.bindings().remove(&there.id).await? {
        Some(binding) => {
            api.did(&caller, audit::Act::done("members_unbind").about(&there.id)).await?;
            Ok(Json(binding.into()))
        }
        None => Err(Problem::not_there(format!("{member} is bound to nobody at an OpenID provider"))),
    }
}
