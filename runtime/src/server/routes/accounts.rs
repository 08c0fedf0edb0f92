//! Members' accounts. A path names one by its id, or by its nickname among those that the
//! caller may see.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhole_host_api::accounts::{AccountId, ChangeError, Connect, Prepared, Row, Summary, UseError};
use keyhole_host_api::broker::audit;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::oauth::{RefreshError, TestAccountError, TestError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answer, account};
use crate::server::caller::{Act, Caller};
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{
    AccessView, AccountView, AccountsQuery, ConnectedView, Deleted, Grant, Named, Need, NewAccount, NewCredentials,
    Rename, SetAccess, Tested, secrets,
};
use crate::server::problem::Problem;
use crate::server::{Api, acts, schema};
use crate::workflow::record::Workflow;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, connect))
        .routes(routes!(show, rename, delete))
        .routes(routes!(reconnect))
        .routes(routes!(test))
        .routes(routes!(access))
        .routes(routes!(grant))
        .routes(routes!(revoke))
}

/// List the accounts that you may see
#[utoipa::path(get, path = "/api/accounts", tag = "accounts", operation_id = "accounts_list", params(AccountsQuery),
    responses((status = 200, body = [schema::Account])))]
pub(in crate::server) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(query): Query<AccountsQuery>,
) -> Answer<Vec<AccountView>> {
    let mut found = api.accounts.rows(caller.member()?).await?;
    found.retain(|account| query.app.as_ref().is_none_or(|app| app == account.app()));
    Ok(Json(views(&api, &caller, &found).await?))
}

/// What the caller, for whom `rows` were listed, may see of them.
pub(in crate::server) async fn views(api: &Api, caller: &Caller, rows: &[Row]) -> Result<Vec<AccountView>, Problem> {
    let accounts = api.accounts.summaries(caller.member()?, rows).await?;
    let mut using: HashMap<&AccountId, Vec<&Workflow>> = rows.iter().map(|row| (row.id(), Vec::new())).collect();
    let workflows = api.workflows.list(None).await?;
    for workflow in &workflows {
        for account in &workflow.accounts {
            if let Some(using) = using.get_mut(account) {
                using.push(workflow);
            }
        }
    }
    let one = |account: Summary| {
        let using = using.remove(&account.id).unwrap_or_default();
        view(account, caller, using)
    };
    accounts.into_iter().map(one).collect()
}

/// What the caller may see of an account, which the workflows in `using` use.
fn view<'w>(
    account: Summary,
    caller: &Caller,
    using: impl IntoIterator<Item = &'w Workflow>,
) -> Result<AccountView, Problem> {
    let member = caller.member()?;
    let all = account.owner == *member || caller.may(Act::KeepWorkflows);
    let workflows = using
        .into_iter()
        .filter(|workflow| all || workflow.owner == *member)
        .map(|workflow| workflow.id().to_string())
        .collect();
    Ok(AccountView { account, workflows, needs: Vec::new(), history: Vec::new() })
}

/// Show an account. Its secrets are never shown
#[utoipa::path(get, path = "/api/accounts/{account}", tag = "accounts", operation_id = "accounts_show",
    params(("account" = String, Path, description = "The account's id or nickname")),
    responses((status = 200, body = schema::Account)))]
pub(in crate::server) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
) -> Answer<AccountView> {
    let found = account(&api, &caller, &named).await?;
    let workflows = api.workflows.using(&found.id).await?;
    let history = api.accounts.history(caller.member()?, &found.id).await?;
    let view = view(found, &caller, workflows.iter().map(AsRef::as_ref))?;
    let needs = needs(&view, &workflows);
    Ok(Json(AccountView { needs, history, ..view }))
}

/// The scopes that those of `workflows` need which the caller is shown.
fn needs(account: &AccountView, workflows: &[Arc<Workflow>]) -> Vec<Need> {
    let mut needs: BTreeMap<&String, Vec<String>> = BTreeMap::new();
    for workflow in workflows {
        let id = workflow.id().to_string();
        if account.workflows.contains(&id) {
            for scope in workflow.scopes.get(&account.id).into_iter().flatten() {
                needs.entry(scope).or_default().push(id.clone());
            }
        }
    }
    let granted = account.oauth.as_ref().map(|tokens| &tokens.scopes).filter(|granted| !granted.is_empty());
    let need = |(scope, workflows): (&String, Vec<String>)| Need {
        scope: scope.clone(),
        workflows,
        granted: granted.map(|granted| granted.contains(scope)),
    };
    needs.into_iter().map(need).collect()
}

/// Connect an account with its keys. It is yours, and private
#[utoipa::path(post, path = "/api/accounts", tag = "accounts", operation_id = "accounts_connect",
    request_body = NewAccount, responses((status = 201, body = ConnectedView)))]
pub(in crate::server) async fn connect(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<ConnectedView>), Problem> {
    let owner = caller.member()?;
    let given = Connect { app: new.app, nickname: new.nickname, fields: secrets(new.fields), custom: new.custom };
    let prepared = api.accounts.prepare(given)?;
    let uid = if new.test { tested(&api, &prepared).await? } else { None };
    let connected = api.accounts.store(owner, prepared, uid).await?;
    api.did(&caller, acts::connected(&connected)).await?;
    Ok((StatusCode::CREATED, Json(connected.into())))
}

/// Asks the service whether it takes what was prepared, and whose it is: for the API and for
/// connect links.
pub(in crate::server) async fn tested(api: &Api, prepared: &Prepared) -> Result<Option<String>, Problem> {
    match api.oauth().test(&prepared.app, &prepared.plain, &prepared.secrets).await {
        Ok(identity) => Ok(identity.and_then(|identity| identity.uid)),
        Err(error @ TestError::Call(_)) => Err(Problem::upstream(format!("nothing was stored: {error}"))
            .help("try again later, or store it without a test: --no-test, \"test\": false")),
        Err(error) => Err(Problem::wrong(format!("the service does not take that, so nothing was stored: {error}"))
            .help("check what you gave, or store it without a test: --no-test, \"test\": false")),
    }
}

/// Give an account another nickname. Its owner can
#[utoipa::path(patch, path = "/api/accounts/{account}", tag = "accounts", operation_id = "accounts_rename",
    params(("account" = String, Path, description = "The account's id or nickname")), request_body = Rename,
    responses((status = 200, body = Named)))]
pub(in crate::server) async fn rename(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
    Body(to): Body<Rename>,
) -> Answer<Named> {
    let found = account(&api, &caller, &named).await?;
    let renamed = api.accounts.rename(caller.member()?, &found.id, &to.nickname).await?;
    api.did(&caller, done("accounts_rename", &found)).await?;
    Ok(Json(Named { id: renamed.id, nickname: renamed.nickname }))
}

/// Delete an account and its credentials, after revoking them at the service if it can. Its owner can, and an admin
#[utoipa::path(delete, path = "/api/accounts/{account}", tag = "accounts", operation_id = "accounts_delete",
    params(("account" = String, Path, description = "The account's id or nickname")),
    responses((status = 200, body = Deleted)))]
pub(in crate::server) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
) -> Answer<Deleted> {
    let found = account(&api, &caller, &named).await?;
    let using = api.workflows.using(&found.id).await?;
    let upstream = api.oauth().delete(caller.member()?, &found.id).await?;
    api.did(&caller, done("accounts_delete", &found)).await?;
    let using = using.iter().map(|workflow| workflow.id().to_string()).collect();
    Ok(Json(Deleted::new(found.id, found.nickname, upstream, using)))
}

/// Replace the keys of an account. Its id, links, nickname and access stay. Its owner can
#[utoipa::path(put, path = "/api/accounts/{account}/credentials", tag = "accounts", operation_id = "accounts_reconnect",
    params(("account" = String, Path, description = "The account's id or nickname")), request_body = NewCredentials,
    responses((status = 200, body = ConnectedView)))]
pub(in crate::server) async fn reconnect(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
    Body(new): Body<NewCredentials>,
) -> Answer<ConnectedView> {
    let by = caller.member()?;
    let found = account(&api, &caller, &named).await?;
    let prepared = api.accounts.prepare_again(by, &found.id, secrets(new.fields)).await?;
    let uid = if new.test { tested(&api, &prepared).await? } else { None };
    let prepared = prepared.of_another_identity(new.other_identity);
    let connected = api.accounts.replace(by, &found.id, prepared, uid).await?;
    api.did(&caller, acts::connected(&connected)).await?;
    Ok(Json(connected.into()))
}

/// Ask the service whether an account's credentials work. Whoever may use it can
#[utoipa::path(post, path = "/api/accounts/{account}/test", tag = "accounts", operation_id = "accounts_test",
    params(("account" = String, Path, description = "The account's id or nickname")),
    responses((status = 200, body = Tested)))]
pub(in crate::server) async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
) -> Answer<Tested> {
    let found = account(&api, &caller, &named).await?;
    let (works, reason) = match api.oauth().test_account(&found.id, caller.member()?).await {
        Ok(Some(_)) => (Some(true), None),
        Ok(None) => (None, Some(format!("the definition of {} has no test", found.app))),
        Err(TestAccountError::Use(UseError::Store(error)) | TestAccountError::Refresh(RefreshError::Store(error))) => {
            return Err(error.into());
        }
        Err(TestAccountError::Vault(error)) => return Err(error.into()),
        Err(error @ TestAccountError::NotDefined(_)) => {
            return Err(Problem::conflict(error.to_string()).help("give its definition back with --apps DIR"));
        }
        Err(error @ TestAccountError::Refresh(RefreshError::Unable(_))) => {
            return Err(Problem::conflict(error.to_string()).help("an admin has to look at the app's client"));
        }
        Err(error @ (TestAccountError::Refresh(_) | TestAccountError::Test(TestError::Call(_)))) => {
            return Err(Problem::upstream(error.to_string()).help("try again later"));
        }
        Err(TestAccountError::Use(error)) if !matches!(error, UseError::ReconnectNeeded { .. }) => {
            return Err(Problem::not_allowed(error.to_string()));
        }
        Err(error) => (Some(false), Some(error.to_string())),
    };
    Ok(Json(Tested { id: found.id, nickname: found.nickname, works, reason }))
}

/// Say who may use an account. Its owner can, with fresh proof of ownership where this opens it
#[utoipa::path(put, path = "/api/accounts/{account}/access", tag = "accounts", operation_id = "accounts_access",
    params(("account" = String, Path, description = "The account's id or nickname")), request_body = SetAccess,
    responses((status = 200, body = AccessView)))]
pub(in crate::server) async fn access(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
    Body(wanted): Body<SetAccess>,
) -> Answer<AccessView> {
    let found = account(&api, &caller, &named).await?;
    let SetAccess { access, was } = wanted;
    let changed = api.accounts.change_access(caller.member()?, &found.id, was.as_ref(), access).await?;
    api.did(&caller, done("accounts_access", &found).detail(&changed.access)).await?;
    Ok(Json(changed.into()))
}

/// Let one member more use an account. Its owner can, with fresh proof of ownership
#[utoipa::path(post, path = "/api/accounts/{account}/grants", tag = "accounts", operation_id = "accounts_grant",
    params(("account" = String, Path, description = "The account's id or nickname")), request_body = Grant,
    responses((status = 200, body = AccessView)))]
pub(in crate::server) async fn grant(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(named): Path<String>,
    Body(to): Body<Grant>,
) -> Answer<AccessView> {
    let found = account(&api, &caller, &named).await?;
    let nobody = |_| Problem::wrong(format!("there is no member {}; see `keyhole members list`", to.member));
    let to: MemberId = to.member.parse().map_err(nobody)?;
    let changed = api.accounts.grant(caller.member()?, &found.id, &to).await?;
    api.did(&caller, done("accounts_grant", &found).detail(&changed.access)).await?;
    Ok(Json(changed.into()))
}

/// End a member's grant. It holds from the next request of a run on. The account's owner can
#[utoipa::path(delete, path = "/api/accounts/{account}/grants/{member}", tag = "accounts",
    operation_id = "accounts_revoke",
    params(
        ("account" = String, Path, description = "The account's id or nickname"),
        ("member" = String, Path, description = "The member's name"),
    ),
    responses((status = 200, body = AccessView)))]
pub(in crate::server) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((named, member)): Path<(String, String)>,
) -> Answer<AccessView> {
    let found = account(&api, &caller, &named).await?;
    let by = caller.member()?;
    // What can't be a name has no grant, so ending it changes nothing: but the owner alone is told so.
    let account = match member.parse::<MemberId>() {
        Ok(member) => api.accounts.revoke(by, &found.id, &member).await?,
        Err(_) if found.owner == *by => {
            return Ok(Json(AccessView { id: found.id, nickname: found.nickname, access: found.access }));
        }
        Err(_) => return Err(ChangeError::NotOwner { id: found.id, owner: found.owner }.into()),
    };
    api.did(&caller, done("accounts_revoke", &found).detail(&account.access)).await?;
    Ok(Json(account.into()))
}

fn done(act: &str, account: &Summary) -> audit::Act {
    audit::Act::done(act).account(&account.id, &account.app).about(&account.owner)
}
