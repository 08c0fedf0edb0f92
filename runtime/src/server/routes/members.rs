//! Who shares the workspace.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use keyhole_host_api::accounts::Access;
use keyhole_host_api::broker::audit;
use keyhole_host_api::members::{Member, MemberError, MemberId};
use keyhole_host_api::tokens::{Purpose as _, SignIn};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, sessions};
use crate::server::Api;
use crate::server::caller::{Act, Caller};
use crate::server::extract::{Body, Path};
use crate::server::model::{AddedMember, Hidden, MemberView, NewMember, Removed, SetRole, Unbound};
use crate::server::problem::Problem;
use crate::workflow::history::{Of, Page, Within};
use crate::workflow::record::WorkflowId;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(set_role, remove))
        .routes(routes!(invite))
        .routes(routes!(unbind))
}

/// List the members
#[utoipa::path(get, path = "/api/members", tag = "members", operation_id = "members_list",
    responses((status = 200, body = [MemberView])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<MemberView>> {
    caller.must(Act::SeeMembers)?;
    Ok(Json(api.members.list().await?.iter().map(|member| MemberView::from(&**member)).collect()))
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
    // Now they have nothing that the link could open.
    let invite = if new.invite { Some(invite_link(&api, &caller, &member).await?) } else { None };
    Ok((StatusCode::CREATED, Json(AddedMember { member: (&member).into(), invite })))
}

async fn invite_link(api: &Api, caller: &Caller, member: &Member) -> Result<Hidden, Problem> {
    Ok(sessions::link(api, caller, &member.id, SignIn { invite: true, ..SignIn::default() }, SignIn::LONGEST)
        .await?
        .url)
}

/// Make the link by which a member comes in anew; those before open nothing any more. Only for a member who has nothing
/// yet. Admins can
#[utoipa::path(post, path = "/api/members/{member}/invite", tag = "members", operation_id = "members_invite",
    params(("member" = String, Path, description = "The member's name")),
    responses((status = 201, body = AddedMember)))]
pub(in crate::server) async fn invite(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(member): Path<String>,
) -> Result<(StatusCode, Json<AddedMember>), Problem> {
    caller.must(Act::ChangeMembers)?;
    let member = known(&api, &member).await?;
    // Before it is looked for what they have: nobody comes in by one in between.
    api.sign_ins.revoke_all(&member.id).await?;
    if let Some(what) = belongings(&api, &member).await? {
        return Err(Problem::conflict(format!(
            "{} has {what}, and whoever has an invite could use that in their name",
            member.id
        ))
        .help(format!("whoever has the data directory makes a link for them: keyhole sign-in --as {}", member.id)));
    }
    let invite = Some(invite_link(&api, &caller, &member).await?);
    api.did(&caller, audit::Act::done("members_invite").about(&member.id)).await?;
    Ok((StatusCode::CREATED, Json(AddedMember { member: (&member).into(), invite })))
}

/// What `member` has that a link would open to its bearer: an admin who made it could use accounts that they may only
/// see. `None` for a member who never came in.
pub(in crate::server) async fn belongings(api: &Api, member: &Member) -> Result<Option<&'static str>, Problem> {
    let id = &member.id;
    let named = |access: &Access| matches!(access, Access::Members(members) if members.contains(id));
    Ok(if let Some(what) = came_in(api, member).await? {
        Some(what)
    } else if api.accounts.rows(id).await?.iter().any(|one| named(one.access())) {
        Some("an account that was opened to them by name")
    } else if !api.workflows.list(Some(id)).await?.is_empty() {
        Some("a workflow")
    } else {
        None
    })
}

/// What only a member has who came in. Not what others may give them while their invite is on its way, nor workflows, which
/// those who bore the name before may have left.
pub(in crate::server) async fn came_in(api: &Api, member: &Member) -> Result<Option<&'static str>, Problem> {
    let id = &member.id;
    Ok(if !api.sessions.list(id).await?.is_empty() {
        Some("a session")
    } else if !api.tokens.list(Some(id)).await?.is_empty() {
        Some("a token")
    } else if !api.passkeys.list(id).await?.is_empty() {
        Some("a passkey")
    } else if api.oidc.bindings().of(id, member.added).await?.is_some() {
        Some("a way in at the OpenID provider")
    } else if api.accounts.rows(id).await?.iter().any(|one| one.owner() == id) {
        Some("an account of theirs")
    } else {
        None
    })
}

/// Give a member another role. Admins can
#[utoipa::path(patch, path = "/api/members/{member}", tag = "members", operation_id = "members_role",
    params(("member" = String, Path, description = "The member's name")), request_body = SetRole,
    responses((status = 200, body = MemberView)))]
pub(in crate::server) async fn set_role(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(member): Path<String>,
    Body(wanted): Body<SetRole>,
) -> Answer<MemberView> {
    caller.must(Act::ChangeMembers)?;
    let member = known(&api, &member).await?;
    let set = api.members.set_role(&member, wanted.role).await?;
    api.did(&caller, audit::Act::done("members_role").about(&set.id).detail(set.role)).await?;
    Ok(Json((&set).into()))
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
    api.members.removable(&member).await?;
    let now = Timestamp::now();
    // First, so that none is begun, wherever this is cut short.
    let off = turn_off(&api, &member, now).await?;
    let (departed, upstream) = match api.oauth().remove_member(&api.members, &member).await {
        Ok(ended) => ended,
        Err(error) => {
            // The other admin went at the same moment, so this one stays.
            if matches!(error, MemberError::LastAdmin(_)) {
                for workflow in &off {
                    api.workflows.enable(workflow, true, Timestamp::now()).await?;
                }
            }
            return Err(error.into());
        }
    };
    api.did(&caller, audit::Act::done("members_remove").about(&member)).await?;
    // Again, after what was under way. No run of theirs goes on, whatever it waits for.
    turn_off(&api, &member, now).await?;
    end_runs(&api, &member, now).await?;
    let mut stopped = api.workflows.list(None).await?;
    stopped.retain(|workflow| {
        workflow.owner == member || departed.deleted.iter().any(|(account, _)| workflow.accounts.contains(account))
    });
    let stopped = stopped.iter().map(|workflow| workflow.id().to_string()).collect();
    Ok(Json(Removed::new(member, departed, upstream, stopped)))
}

/// Turns off what a member deployed before `now`, and says what was on.
async fn turn_off(api: &Api, member: &MemberId, now: Timestamp) -> Result<Vec<WorkflowId>, Problem> {
    let mut off = Vec::new();
    for workflow in api.workflows.list(None).await? {
        if workflow.owner == *member && workflow.enabled && workflow.deployed < now {
            api.workflows.enable(&workflow.id(), false, now).await?;
            off.push(workflow.id());
        }
    }
    Ok(off)
}

/// Ends what was accepted for a member before `now` and has not ended.
async fn end_runs(api: &Api, member: &MemberId, now: Timestamp) -> Result<(), Problem> {
    let page = Page { before: None, limit: usize::MAX, looks: usize::MAX };
    let within = Within { since: None, open: true };
    let of = Of::Owner(member.to_string());
    let open = api.runner.history().list_within(&of, page, within, |run| run.accepted < now).await?;
    for run in open.runs {
        api.runner.cancel(&run.id).await?;
    }
    Ok(())
}

/// The member of this name.
pub(in crate::server) async fn known(api: &Api, name: &str) -> Result<Member, Problem> {
    let there = match name.parse::<MemberId>() {
        Ok(id) => api.members.get(&id).await?,
        // What can't be a name is nobody's.
        Err(_) => None,
    };
    there.ok_or_else(|| Problem::not_there(format!("there is no member {name}")))
}

/// The member of this name, for what takes access away and gives none: they do it to themself, an admin to all.
pub(super) async fn oneself_or_any(api: &Api, caller: &Caller, member: &str) -> Result<Member, Problem> {
    let own = caller.member().is_ok_and(|by| by.as_str() == member);
    if !own {
        caller.must(Act::ChangeMembers)?;
    }
    known(api, member).await
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
