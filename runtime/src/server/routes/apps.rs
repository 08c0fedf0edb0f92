//! The services that one can connect to, and the clients by which members do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use keyhole_host_api::apps::{App, CUSTOM, Catalog, Flow};
use keyhole_host_api::broker::audit;
use keyhole_host_api::oauth::{ClientSummary, NewClient as Configured};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::caller::{Act, Caller};
use crate::server::extract::{Body, Path};
use crate::server::model::{AppSummary, AppView, Forgotten, NewApp, NewClient};
use crate::server::problem::Problem;
use crate::server::{Api, schema};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show))
        .routes(routes!(clients))
        .routes(routes!(configure, unconfigure))
}

/// List the apps
#[utoipa::path(get, path = "/api/apps", tag = "apps", operation_id = "apps_list",
    responses((status = 200, body = [AppSummary])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, _: Caller) -> Json<Vec<AppSummary>> {
    Json(summaries(api.catalog()))
}

/// Add an app by its definition, which is kept in the operator's folder. Admins can
#[utoipa::path(post, path = "/api/apps", tag = "apps", operation_id = "apps_add",
    request_body = NewApp, responses((status = 201, body = AppView)))]
pub(in crate::server) async fn add(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewApp>,
) -> Result<(StatusCode, Json<AppView>), Problem> {
    caller.must(Act::ChangeApps)?;
    let new = api.catalog().prepare(new.definition)?;
    let name = &new.app.name;
    // What was sealed for an app of that name, which is not defined any more, must not go where this one says.
    let sealed = api.accounts.any_of(name).await? || api.oauth().configured().await?.iter().any(|one| one.app == *name);
    if sealed {
        return Err(Problem::conflict(format!("there are credentials for an app {name} that was there before"))
            .help("give this one another name"));
    }
    let catalog = api.catalog().clone();
    let added = tokio::task::spawn_blocking(move || catalog.add(new)).await;
    let added = added.map_err(|error| Problem::internal(&error))??;
    api.did(&caller, audit::Act::done("apps_add").app(&added.name)).await?;
    Ok((StatusCode::CREATED, Json(AppView::from(&*added))))
}

/// Every app of `catalog`, in short.
pub fn summaries(catalog: &Catalog) -> Vec<AppSummary> {
    catalog.iter().map(|app| AppSummary::from(&**app)).collect()
}

/// Show an app: its fields, its hosts, where its secrets go, what steps may not do
#[utoipa::path(get, path = "/api/apps/{app}", tag = "apps", operation_id = "apps_show",
    params(("app" = String, Path, description = "The app's name")), responses((status = 200, body = AppView)))]
pub(in crate::server) async fn show(
    State(api): State<Arc<Api>>,
    _: Caller,
    Path(name): Path<String>,
) -> Answer<AppView> {
    Ok(Json(find(api.catalog(), &name)?))
}

/// The app `name` of `catalog`.
///
/// # Errors
/// A problem that says which was perhaps meant.
pub fn find(catalog: &Catalog, name: &str) -> Result<AppView, Problem> {
    if let Some(app) = catalog.get(name) {
        return Ok(AppView::from(&**app));
    }
    if name == CUSTOM {
        return Err(Problem::not_there(format!("{CUSTOM} has no definition: each account brings its own")).help(format!(
            "name hosts and places as you connect one: keyhole accounts connect {CUSTOM} --help, or \"custom\" in POST /api/accounts"
        )));
    }
    Err(Problem::not_there(format!("there is no app '{name}'")).help(match catalog.nearest(name) {
        Some(near) => format!("did you mean {near}?"),
        None => format!(
            "keyhole apps list shows all; connect any other service with the app {CUSTOM}: keyhole accounts connect {CUSTOM} --help"
        ),
    }))
}

/// Whether an admin sets a client, once for all members, before an account of the app can be connected.
pub(in crate::server) fn needs_client(app: &App) -> bool {
    app.oauth.as_ref().is_some_and(|def| def.flow != Flow::Jwt && def.own_client.is_none())
}

/// Whether accounts of the app can be connected.
pub(in crate::server) async fn is_ready(api: &Api, app: &App) -> Result<bool, Problem> {
    Ok(!needs_client(app) || api.oauth().configured().await?.iter().any(|client| client.app == app.name))
}

/// List the OAuth clients that are configured. Admins can
#[utoipa::path(get, path = "/api/clients", tag = "apps", operation_id = "clients_list",
    responses((status = 200, body = [schema::Client])))]
pub(in crate::server) async fn clients(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<ClientSummary>> {
    caller.must(Act::ChangeApps)?;
    Ok(Json(api.oauth().configured().await?))
}

/// Set the OAuth client by which accounts of an app are connected. Admins can
#[utoipa::path(put, path = "/api/apps/{app}/client", tag = "apps", operation_id = "clients_configure",
    params(("app" = String, Path, description = "The app's name")), request_body = NewClient,
    responses((status = 200, body = schema::Client)))]
pub(in crate::server) async fn configure(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(app): Path<String>,
    Body(new): Body<NewClient>,
) -> Answer<ClientSummary> {
    caller.must(Act::ChangeApps)?;
    let client = Configured { id: new.client_id, secret: new.client_secret.map(|hidden| hidden.0) };
    let set = api.oauth().configure(&app, client).await?;
    api.did(&caller, audit::Act::done("clients_configure").app(&app).detail(&set.client_id)).await?;
    Ok(Json(set))
}

/// Forget the OAuth client of an app. Admins can
#[utoipa::path(delete, path = "/api/apps/{app}/client", tag = "apps", operation_id = "clients_unconfigure",
    params(("app" = String, Path, description = "The app's name")), responses((status = 200, body = Forgotten)))]
pub(in crate::server) async fn unconfigure(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(app): Path<String>,
) -> Answer<Forgotten> {
    caller.must(Act::ChangeApps)?;
    let forgotten = api.catalog().get(&app).is_some() && api.oauth().unconfigure(&app).await?;
    if forgotten {
        api.did(&caller, audit::Act::done("clients_unconfigure").app(&app)).await?;
    }
    Ok(Json(Forgotten { app, forgotten }))
}
