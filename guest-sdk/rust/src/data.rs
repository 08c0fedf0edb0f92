//! Data stores: values by key that outlive the run, shared by the whole workspace. Nothing that is for one
//! person alone belongs there.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::keyhole::step::data;
use crate::error::placed;
use crate::{Error, Result};

pub use crate::bindings::keyhole::step::data::Expect;

/// A data store that the workflow named in one of the step's props.
///
/// ```no_run
/// # fn f(seen: keyhole_sdk::DataStore) -> keyhole_sdk::Result<()> {
/// use std::time::Duration;
///
/// // Once a day for each of them.
/// let day = Duration::from_secs(24 * 3600);
/// if seen.set_if("order/17", &true, Some(day), keyhole_sdk::Expect::Absent)?.is_none() {
///     return Ok(());
/// }
/// let orders = seen.increment("orders", 1)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DataStore {
    prop: String,
    handle: OnceCell<data::Store>,
}

/// A value of a data store, and what is known of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Another one after each change.
    pub revision: u64,
    /// When it goes.
    pub expires: Option<SystemTime>,
}

impl DataStore {
    /// The data store that the prop `prop` names. A field of this type in the step's props does this by itself;
    /// call it for props that `configure` added.
    pub fn of(prop: impl Into<String>) -> DataStore {
        DataStore { prop: prop.into(), handle: OnceCell::new() }
    }

    /// The value at `key`, if there is one.
    ///
    /// # Errors
    /// If it is not of `T`'s shape, or the host can't read it.
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        placed(|| {
            let Some(found) = self.handle()?.get(key)? else { return Ok(None) };
            let read = serde_json::from_slice(found.value.as_bytes());
            read.map(Some).map_err(|error| Error::step(format!("the value at \"{key}\": {error}")))
        })
    }

    /// The value at `key` with its revision, if there is one.
    ///
    /// # Errors
    /// If the host can't read it.
    #[track_caller]
    pub fn entry(&self, key: &str) -> Result<Option<Entry>> {
        placed(|| self.handle()?.get(key)?.map(Entry::of).transpose())
    }

    /// Puts `value` at `key`, for good. It is on disk when this returns.
    ///
    /// # Errors
    /// If there is no room for it, or the host can't write it.
    #[track_caller]
    pub fn set(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<()> {
        placed(|| self.set_if(key, value, None, Expect::Anything).map(drop))
    }

    /// Puts `value` at `key` for so long.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    #[track_caller]
    pub fn set_for(&self, key: &str, value: &(impl Serialize + ?Sized), ttl: Duration) -> Result<()> {
        placed(|| self.set_if(key, value, Some(ttl), Expect::Anything).map(drop))
    }

    /// Puts `value` at `key`, if what is there is what was expected. Gives its revision, or `None` if it was not.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    #[track_caller]
    pub fn set_if(
        &self,
        key: &str,
        value: &(impl Serialize + ?Sized),
        ttl: Option<Duration>,
        expect: Expect,
    ) -> Result<Option<u64>> {
        placed(|| Ok(self.handle()?.set(key, &serde_json::to_string(value)?, ttl.map(milliseconds), expect)?))
    }

    /// Takes `key` away. Whether it was there.
    ///
    /// # Errors
    /// If the host can't write.
    #[track_caller]
    pub fn delete(&self, key: &str) -> Result<bool> {
        placed(|| self.delete_if(key, Expect::Anything))
    }

    /// Takes `key` away, if what is there is what was expected. Whether it was.
    ///
    /// # Errors
    /// If the host can't write.
    #[track_caller]
    pub fn delete_if(&self, key: &str, expect: Expect) -> Result<bool> {
        placed(|| Ok(self.handle()?.delete(key, expect)?))
    }

    /// Adds `by` to the integer at `key`, 0 if there is none, and gives the sum. Two that count at once both count.
    ///
    /// # Errors
    /// If something else is there, or the host can't write.
    #[track_caller]
    pub fn increment(&self, key: &str, by: i64) -> Result<i64> {
        placed(|| Ok(self.handle()?.increment(key, by, None)?))
    }

    /// The same; a key that this makes goes after so long, one that is there when it would have.
    ///
    /// # Errors
    /// As for [`increment`](Self::increment).
    #[track_caller]
    pub fn increment_for(&self, key: &str, by: i64, ttl: Duration) -> Result<i64> {
        placed(|| Ok(self.handle()?.increment(key, by, Some(milliseconds(ttl)))?))
    }

    /// The entries whose keys begin with `prefix`, in the order of their keys. Read as they are asked for.
    ///
    /// # Errors
    /// If the prop names no store.
    #[track_caller]
    pub fn entries(&self, prefix: impl Into<String>) -> Result<Entries<'_>> {
        placed(|| {
            let store = self.handle()?;
            Ok(Entries { store, prefix: prefix.into(), after: None, page: VecDeque::new(), over: false })
        })
    }

    /// Takes all entries away.
    ///
    /// # Errors
    /// If the host can't write.
    #[track_caller]
    pub fn clear(&self) -> Result<()> {
        placed(|| Ok(self.handle()?.clear()?))
    }

    fn handle(&self) -> Result<&data::Store> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle);
        }
        let opened = data::open(&self.prop)?;
        Ok(self.handle.get_or_init(|| opened))
    }
}

/// See [`DataStore::entries`].
#[derive(Debug)]
pub struct Entries<'s> {
    store: &'s data::Store,
    prefix: String,
    after: Option<String>,
    page: VecDeque<data::Entry>,
    over: bool,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.page.is_empty() && !self.over {
            match self.store.entries(&self.prefix, self.after.as_deref(), u32::MAX) {
                Ok(page) => {
                    self.over = page.is_empty();
                    self.after = page.last().map(|entry| entry.key.clone());
                    self.page = page.into();
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error.into()));
                }
            }
        }
        self.page.pop_front().map(Entry::of)
    }
}

impl Entry {
    fn of(entry: data::Entry) -> Result<Entry> {
        let data::Entry { key, value, revision, expires } = entry;
        let expires = expires.map(|at| SystemTime::UNIX_EPOCH + Duration::from_millis(at));
        Ok(Entry { key, value: serde_json::from_slice(value.as_bytes())?, revision, expires })
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
