//! Data stores, as the API has them.

use jiff::Timestamp;
use keyhole_host_api::data::{Entry, Size};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// A data store that has something in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DataStoreView {
    /// Its name.
    pub name: String,
    /// How many entries it has.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl From<Size> for DataStoreView {
    fn from(size: Size) -> Self {
        Self { name: size.name.to_string(), entries: size.entries, bytes: size.bytes }
    }
}

/// An entry of a data store.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// Its key.
    pub key: String,
    /// Its value.
    #[schema(value_type = Value)]
    pub value: Box<RawValue>,
    /// Another one after each change.
    pub revision: u64,
    /// When it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub expires: Option<Timestamp>,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self { key: entry.key, value: entry.value, revision: entry.revision, expires: entry.expires }
    }
}

/// Which entries to list.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EntriesQuery {
    /// Only those whose keys begin so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[param(default = "")]
    pub prefix: String,
    /// Only those after this key, for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(nullable = false)]
    pub after: Option<String>,
    /// At most so many, 1 to 1000.
    #[serde(default = "hundred")]
    #[param(default = 100, minimum = 1, maximum = 1000)]
    pub limit: u32,
}

fn hundred() -> u32 {
    100
}

/// Which entry.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyQuery {
    /// Its key.
    pub key: String,
}

/// A value to be put into a data store.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEntry {
    /// Its key.
    pub key: String,
    /// Any JSON.
    #[schema(value_type = Value)]
    pub value: Value,
    /// For so many seconds; for good if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, nullable = false)]
    pub ttl: Option<u32>,
    /// Only if the entry still has this revision; 0 if there is to be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub revision: Option<u64>,
}

/// What was taken away.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Cleared {
    /// So many entries.
    pub entries: u64,
}
