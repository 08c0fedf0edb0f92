//! The host's side of data stores in wit/step.wit.
//!
//! What goes into a store is read by other runs: nothing may get there with a placeholder in it.

use std::time::Duration;

use jiff::Timestamp;
use keyhole_host_api::data::{DataError, DataStore, Entry, Expected, VALUE_BYTES};
use serde_json::value::RawValue;
use wasmtime::component::Resource;

use super::bindings::keyhole::step::data;
use super::json::Json;
use super::state::State;

/// Calls of one attempt.
const CALLS: u64 = 10_000;
/// Bytes of a list of entries, the last of which may be over it.
const LIST_BYTES: usize = 1 << 20;

type Answer<T> = wasmtime::Result<Result<T, data::DataError>>;

impl data::Host for State {
    fn open(&mut self, prop: String) -> Answer<Resource<DataStore>> {
        let Some(store) = self.host.data(&prop) else {
            return Ok(Err(data::DataError::NotLinked(format!(
                "the prop {prop} names no data store: declare it with the type data_store, and give it a name"
            ))));
        };
        Ok(Ok(self.table.push(store)?))
    }
}

impl data::HostStore for State {
    async fn get(&mut self, store: Resource<DataStore>, key: String) -> Answer<Option<data::Entry>> {
        let (store, key) = match self.call(&store, key)? {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        Ok(store.get(&key).await.map(|found| found.map(entry)).map_err(refused))
    }

    async fn set(
        &mut self,
        store: Resource<DataStore>,
        key: String,
        value: String,
        ttl: Option<u64>,
        expect: data::Expect,
    ) -> Answer<Option<u64>> {
        let (store, key) = match self.call(&store, key)? {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        // Before it is looked at more closely.
        if value.len() > VALUE_BYTES {
            return Ok(Err(refused(DataError::Value(value.len()))));
        }
        let value = match Json::parse(value).map(|value| value.redacted(|text| self.host.redact(text)).into_string()) {
            Ok(value) => RawValue::from_string(value),
            Err(error) => Err(error),
        };
        let value = match value {
            Ok(value) => value,
            Err(error) => return Ok(Err(data::DataError::Invalid(format!("the value is not JSON: {error}")))),
        };
        Ok(store.set(&key, value, ttl.map(Duration::from_millis), expected(expect)).await.map_err(refused))
    }

    async fn delete(&mut self, store: Resource<DataStore>, key: String, expect: data::Expect) -> Answer<bool> {
        let (store, key) = match self.call(&store, key)? {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        Ok(store.delete(&key, expected(expect)).await.map_err(refused))
    }

    async fn increment(&mut self, store: Resource<DataStore>, key: String, by: i64, ttl: Option<u64>) -> Answer<i64> {
        let (store, key) = match self.call(&store, key)? {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        Ok(store.increment(&key, by, ttl.map(Duration::from_millis)).await.map_err(refused))
    }

    async fn entries(
        &mut self,
        store: Resource<DataStore>,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Answer<Vec<data::Entry>> {
        let (store, prefix) = match self.call(&store, prefix)? {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        let found = store.list(&prefix, after.as_deref(), limit as usize, LIST_BYTES).await;
        Ok(found.map(|found| found.into_iter().map(entry).collect()).map_err(|error| refused(error.into())))
    }

    async fn clear(&mut self, store: Resource<DataStore>) -> Answer<()> {
        let (store, _) = match self.call(&store, String::new())? {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        Ok(store.clear().await.map(drop).map_err(|error| refused(error.into())))
    }

    fn drop(&mut self, store: Resource<DataStore>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

impl State {
    /// Counts a call, and gives the store, and the key as it may be kept.
    fn call(&mut self, store: &Resource<DataStore>, key: String) -> Answer<(DataStore, String)> {
        self.data_calls += 1;
        if self.data_calls > CALLS {
            return Ok(Err(data::DataError::Limit(format!("a run of a step may call data stores {CALLS} times"))));
        }
        let store = self.table.get(store)?.clone();
        Ok(Ok((store, self.host.redact(&key).into_owned())))
    }
}

fn expected(expect: data::Expect) -> Expected {
    match expect {
        data::Expect::Anything => Expected::Anything,
        data::Expect::Absent => Expected::Absent,
        data::Expect::Revision(revision) => Expected::Revision(revision),
    }
}

fn entry(entry: Entry) -> data::Entry {
    let Entry { key, value, revision, expires } = entry;
    let milliseconds = |at: Timestamp| u64::try_from(at.as_millisecond()).unwrap_or(0);
    data::Entry { key, value: String::from(Box::<str>::from(value)), revision, expires: expires.map(milliseconds) }
}

fn refused(error: DataError) -> data::DataError {
    let text = error.to_string();
    match error {
        DataError::Key(_)
        | DataError::Control
        | DataError::Value(_)
        | DataError::Ttl
        | DataError::Full { .. }
        | DataError::TooMany => data::DataError::Limit(text),
        DataError::NotAnInteger => data::DataError::Invalid(text),
        DataError::Store(error) => {
            // Where it is, and what is wrong with the disk, is the operator's to know.
            tracing::error!(%error, "a data store failed");
            data::DataError::Unavailable("the host could not read or write its store; try again later".to_owned())
        }
    }
}
