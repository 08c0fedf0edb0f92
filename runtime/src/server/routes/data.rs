//! Data stores, which the whole workspace shares.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use keyhole_host_api::data::{DataError, DataStore, Expected};
use serde_json::value::to_raw_value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::server::Api;
use crate::server::caller::{Act, Caller};
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{Cleared, DataStoreView, EntriesQuery, EntryView, KeyQuery, NewEntry};
use crate::server::problem::Problem;

/// Bytes of a page of entries, the last of which may be over it.
const PAGE_BYTES: usize = 4 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(entries, clear)).routes(routes!(get, set, delete))
}

/// List the data stores that have something in them
#[utoipa::path(get, path = "/api/data", tag = "data", operation_id = "data_list",
    responses((status = 200, body = [DataStoreView])))]
pub(in crate::server) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Vec<DataStoreView>> {
    caller.must(Act::UseData)?;
    Ok(Json(api.data().all().await?.into_iter().map(DataStoreView::from).collect()))
}

/// List entries of a data store, in the order of their keys. A page has up to 4 MiB; none follow an empty one
#[utoipa::path(get, path = "/api/data/{store}", tag = "data", operation_id = "data_entries",
    params(("store" = String, Path, description = "The store's name"), EntriesQuery), responses((status = 200, body = [EntryView])))]
pub(in crate::server) async fn entries(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(store): Path<String>,
    Query(query): Query<EntriesQuery>,
) -> Answer<Vec<EntryView>> {
    let store = open(&api, &caller, &store)?;
    let limit = query.limit.clamp(1, 1000) as usize;
    let found = store.list(&query.prefix, query.after.as_deref(), limit, PAGE_BYTES).await?;
    Ok(Json(found.into_iter().map(EntryView::from).collect()))
}

/// Take all entries of a data store away
#[utoipa::path(delete, path = "/api/data/{store}", tag = "data", operation_id = "data_clear",
    params(("store" = String, Path, description = "The store's name")), responses((status = 200, body = Cleared)))]
pub(in crate::server) async fn clear(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(store): Path<String>,
) -> Answer<Cleared> {
    let entries = open(&api, &caller, &store)?.clear().await?;
    Ok(Json(Cleared { entries }))
}

/// Show an entry of a data store
#[utoipa::path(get, path = "/api/data/{store}/entry", tag = "data", operation_id = "data_get",
    params(("store" = String, Path, description = "The store's name"), KeyQuery), responses((status = 200, body = EntryView)))]
pub(in crate::server) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(store): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Answer<EntryView> {
    let found = open(&api, &caller, &store)?.get(&query.key).await?;
    Ok(Json(found.ok_or_else(|| none(&store)).map(EntryView::from)?))
}

/// Put a value into a data store
#[utoipa::path(put, path = "/api/data/{store}/entry", tag = "data", operation_id = "data_set",
    params(("store" = String, Path, description = "The store's name")), request_body = NewEntry,
    responses((status = 200, body = EntryView)))]
pub(in crate::server) async fn set(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(store): Path<String>,
    Body(new): Body<NewEntry>,
) -> Answer<EntryView> {
    let store = open(&api, &caller, &store)?;
    let expected = match new.revision {
        None => Expected::Anything,
        Some(0) => Expected::Absent,
        Some(revision) => Expected::Revision(revision),
    };
    let value = to_raw_value(&new.value).map_err(|error| Problem::internal(&error))?;
    let ttl = new.ttl.map(|seconds| Duration::from_secs(seconds.into()));
    match store.set(&new.key, value, ttl, expected).await? {
        Some(_) => {
            Ok(Json(store.get(&new.key).await?.ok_or_else(|| none(store.name().as_str())).map(EntryView::from)?))
        }
        None => Err(Problem::conflict("the entry was changed meanwhile").help("read it again and repeat the change")),
    }
}

/// Take an entry of a data store away
#[utoipa::path(delete, path = "/api/data/{store}/entry", tag = "data", operation_id = "data_delete",
    params(("store" = String, Path, description = "The store's name"), KeyQuery), responses((status = 200, body = Cleared)))]
pub(in crate::server) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(store): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Answer<Cleared> {
    match open(&api, &caller, &store)?.delete(&query.key, Expected::Anything).await? {
        true => Ok(Json(Cleared { entries: 1 })),
        false => Err(none(&store)),
    }
}

fn open(api: &Api, caller: &Caller, store: &str) -> Result<DataStore, Problem> {
    caller.must(Act::UseData)?;
    Ok(api
        .data()
        .open(store.parse().map_err(|error: keyhole_host_api::data::NotAName| Problem::wrong(error.to_string()))?))
}

fn none(store: &str) -> Problem {
    Problem::not_there(format!("the data store {store} has no such key")).help("keyhole data entries shows its keys")
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Store(error) => error.into(),
            other => Self::wrong(other.to_string()),
        }
    }
}
