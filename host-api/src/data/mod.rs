//! Data stores: what steps keep between runs, by key, in stores that the whole workspace shares.
//!
//! Whoever holds a store's name may use it: who may name one is the caller's business. What is put in here is
//! read by others, so it must hold neither credentials nor placeholders; this can't tell.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::store::records::{Record, Records};
use crate::store::{Expect, Revision, Store, StoreError};

/// Longest key, in bytes.
pub const KEY_BYTES: usize = 400;
/// Longest value, in bytes of JSON.
pub const VALUE_BYTES: usize = 256 << 10;
/// Most bytes of keys and values in one store, if the operator does not say otherwise.
pub const STORE_BYTES: u64 = 256 << 20;
/// Most data stores that have something in them.
pub const STORES: usize = 1000;
/// Longest time for which a value is kept, unless it is for good.
pub const MAX_TTL: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Entries that are read at a time: with the largest values, 4 MiB.
const PAGE: usize = 16;
/// How often a change is tried that others make, too. Each failed try is somebody's success.
const MAX_TRIES: usize = 1000;
/// A store that is full is not measured again before.
const MEASURE_AGAIN: Duration = Duration::from_secs(10);

/// The name of a data store: 1 to 64 of `a-z`, `0-9`, `_` and `-`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreName(String);

impl StoreName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is no name of a data store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a data store's name is 1 to 64 characters of a-z, 0-9, '_' and '-', and begins with a letter or a digit")]
pub struct NotAName;

impl FromStr for StoreName {
    type Err = NotAName;

    fn from_str(name: &str) -> Result<Self, NotAName> {
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let all = name.bytes().all(|byte| plain(&byte) || byte == b'_' || byte == b'-');
        match all && name.len() <= 64 && name.as_bytes().first().is_some_and(plain) {
            true => Ok(Self(name.to_owned())),
            false => Err(NotAName),
        }
    }
}

impl TryFrom<String> for StoreName {
    type Error = NotAName;

    fn try_from(name: String) -> Result<Self, NotAName> {
        name.parse()
    }
}

impl From<StoreName> for String {
    fn from(name: StoreName) -> Self {
        name.0
    }
}

/// Why a data store did not do what it was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It may not be that long.
    #[error("a key has 1 to {KEY_BYTES} bytes, this one {0}")]
    Key(usize),
    /// It may not be of that.
    #[error("a key has no control characters, such as line ends, in it")]
    Control,
    /// It may not be that long.
    #[error(
        "a value has {VALUE_BYTES} bytes of JSON at most, this one {0}; split it, or keep it elsewhere and store where"
    )]
    Value(usize),
    /// It may not be that long or short.
    #[error("a value is kept from 1 ms to {} s", MAX_TTL.as_secs())]
    Ttl,
    /// There is no room.
    #[error(
        "the data store {name} is full: its keys and values may have {most} bytes; delete some, or store with a ttl"
    )]
    Full {
        /// Which one.
        name: StoreName,
        /// How many bytes it may have.
        most: u64,
    },
    /// There are too many.
    #[error("{STORES} data stores have something in them, as many as there may be; clear one")]
    TooMany,
    /// A value that is counted with is something else.
    #[error("the value at the key is no integer from -2^63 to 2^63 - 1, or would not be one")]
    NotAnInteger,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A value, and what is known of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// JSON.
    pub value: Box<RawValue>,
    /// Another one after each change.
    pub revision: Revision,
    /// When it goes.
    pub expires: Option<Timestamp>,
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything or nothing.
    Anything,
    /// Nothing.
    Absent,
    /// The value of this revision.
    Revision(Revision),
}

/// A data store, for a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name.
    pub name: StoreName,
    /// How many entries it has.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// A value on disk, at `<store>/<key>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Datum {
    value: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

impl Record for Datum {
    const FOLDER: &'static str = "data";
    const VERSION: u32 = 1;
}

impl Datum {
    fn is_over(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn entry(self, key: &str, revision: Revision) -> Entry {
        Entry { key: key.to_owned(), value: self.value, revision, expires: self.expires }
    }
}

/// All data stores of a workspace.
pub struct DataStores {
    records: Records<Datum>,
    most: AtomicU64,
    /// The bytes in each store: what was measured, and what this process added and took away since.
    sizes: Mutex<HashMap<StoreName, (u64, Instant)>>,
    /// Held by who measures: the others want to know the same.
    measuring: tokio::sync::Mutex<()>,
}

impl DataStores {
    /// Those in `store`.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            records: Records::new(store),
            most: AtomicU64::new(STORE_BYTES),
            sizes: Mutex::default(),
            measuring: Default::default(),
        })
    }

    /// From now on each store may have so many bytes of keys and values. What is there stays.
    pub fn set_most(&self, bytes: u64) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    /// One of them. It is there when something is in it.
    pub fn open(self: &Arc<Self>, name: StoreName) -> DataStore {
        DataStore { stores: self.clone(), name }
    }

    /// Those that have something in them.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn all(self: &Arc<Self>) -> Result<Vec<Size>, StoreError> {
        let mut all: Vec<Size> = Vec::new();
        for name in self.names().await? {
            all.push(self.open(name).measure().await?);
        }
        Ok(all)
    }

    async fn names(&self) -> Result<Vec<StoreName>, StoreError> {
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        while let Some((id, ..)) = self.records.list(after.as_deref(), 1).await?.into_iter().next() {
            let Some(name) = id.split_once('/').and_then(|(name, _)| name.parse::<StoreName>().ok()) else {
                after = Some(id);
                continue;
            };
            // '0' follows '/'.
            after = Some(format!("{name}0"));
            names.push(name);
        }
        Ok(names)
    }

    /// Takes away what is not to be kept any longer. Gives how many entries that were.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        self.sweep_in("").await
    }

    async fn sweep_in(&self, prefix: &str) -> Result<usize, StoreError> {
        let (mut gone, mut after, now) = (0, None, Timestamp::now());
        loop {
            let page = self.records.list_in(prefix, after.as_deref(), PAGE).await?;
            let Some((last, ..)) = page.last() else { return Ok(gone) };
            after = Some(last.clone());
            for (id, datum, revision) in page {
                if datum.is_over(now) {
                    match self.records.delete(&id, Expect::Revision(revision)).await {
                        Ok(()) => gone += 1,
                        Err(StoreError::Conflict { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

/// One data store. Clones are the same one.
#[derive(Clone)]
pub struct DataStore {
    stores: Arc<DataStores>,
    name: StoreName,
}

impl DataStore {
    /// Its name.
    pub fn name(&self) -> &StoreName {
        &self.name
    }

    /// The value at `key`, if there is one and its time is not over.
    ///
    /// # Errors
    /// If the key is too long, or the store fails.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, DataError> {
        let found = self.found(key).await?;
        Ok(found
            .filter(|(datum, _)| !datum.is_over(Timestamp::now()))
            .map(|(datum, revision)| datum.entry(key, revision)))
    }

    /// Puts `value` at `key`, for so long or for good. Gives its revision, or None if `expected` did not hold.
    ///
    /// # Errors
    /// If there is no room for it, or the store fails.
    pub async fn set(
        &self,
        key: &str,
        value: Box<RawValue>,
        ttl: Option<Duration>,
        expected: Expected,
    ) -> Result<Option<Revision>, DataError> {
        let bytes = value.get().len();
        if bytes > VALUE_BYTES {
            return Err(DataError::Value(bytes));
        }
        let datum = Datum { value, expires: expires(ttl)? };
        for _ in 0..MAX_TRIES {
            let found = self.found(key).await?;
            if !holds(expected, found.as_ref()) {
                return Ok(None);
            }
            if let Some(revision) = self.put(key, found.as_ref(), &datum).await? {
                return Ok(Some(revision));
            }
        }
        Err(self.contended(key))
    }

    /// Takes `key` away. Whether there was something to take, and `expected` held.
    ///
    /// # Errors
    /// If the key is too long, or the store fails.
    pub async fn delete(&self, key: &str, expected: Expected) -> Result<bool, DataError> {
        for _ in 0..MAX_TRIES {
            let Some(Entry { revision, value, .. }) = self.get(key).await? else { return Ok(false) };
            match expected {
                Expected::Anything => {}
                Expected::Revision(wanted) if wanted == revision => {}
                Expected::Revision(_) | Expected::Absent => return Ok(false),
            }
            match self.stores.records.delete(&self.id(key), Expect::Revision(revision)).await {
                Ok(()) => {
                    self.freed((key.len() + value.get().len()) as u64);
                    return Ok(true);
                }
                // Somebody changed it meanwhile.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(self.contended(key))
    }

    /// Adds `by` to the integer at `key`, 0 if there is none. `ttl` is for one that this makes.
    ///
    /// # Errors
    /// If something else is there, there is no room, or the store fails.
    pub async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, DataError> {
        let fresh = expires(ttl)?;
        for _ in 0..MAX_TRIES {
            let found = self.found(key).await?;
            let live = found.as_ref().filter(|(datum, _)| !datum.is_over(Timestamp::now()));
            let (before, expires) = match live {
                None => (0, fresh),
                Some((datum, _)) => {
                    (datum.value.get().parse::<i64>().map_err(|_| DataError::NotAnInteger)?, datum.expires)
                }
            };
            let sum = before.checked_add(by).ok_or(DataError::NotAnInteger)?;
            let value = RawValue::from_string(sum.to_string()).map_err(|_| DataError::NotAnInteger)?;
            if self.put(key, found.as_ref(), &Datum { value, expires }).await?.is_some() {
                return Ok(sum);
            }
        }
        Err(self.contended(key))
    }

    /// Up to `limit` entries in the order of their keys: those that begin with `prefix`, after the key `after`.
    /// They may be fewer at a time, so that they are not many more bytes than `bytes`; none follow an empty list.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut after = after.map(|key| self.id(key));
        let (folder, now) = (self.name.0.len() + 1, Timestamp::now());
        let (mut found, mut so_far) = (Vec::new(), 0);
        while found.len() < limit.max(1) && so_far < bytes {
            let most = PAGE.min(limit.max(1) - found.len());
            let page = self.stores.records.list_in(&self.id(prefix), after.as_deref(), most).await?;
            let Some((last, ..)) = page.last() else { break };
            after = Some(last.clone());
            for (id, datum, revision) in page {
                if !datum.is_over(now) && so_far < bytes {
                    so_far += id.len() + datum.value.get().len();
                    found.push(datum.entry(&id[folder..], revision));
                }
            }
        }
        Ok(found)
    }

    /// Takes everything away that is there.
    ///
    /// # Errors
    /// Whatever the store says. Some of it may be gone.
    pub async fn clear(&self) -> Result<u64, StoreError> {
        let mut gone = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.stores.records.list_in(&self.id(""), after.as_deref(), PAGE).await?;
            let Some((last, ..)) = page.last() else {
                self.stores.sizes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
                return Ok(gone);
            };
            after = Some(last.clone());
            gone += page.len() as u64;
            let all = page.iter().map(|(id, ..)| self.stores.records.delete(id, Expect::Any));
            futures_util::future::try_join_all(all).await?;
        }
    }

    /// What is on disk, with what is over and not yet taken away.
    async fn measure(&self) -> Result<Size, StoreError> {
        let (mut bytes, mut entries, mut after) = (0, 0, None::<String>);
        let folder = self.id("");
        loop {
            let page = self.stores.records.list_in(&folder, after.as_deref(), PAGE).await?;
            let Some((last, ..)) = page.last() else { break };
            after = Some(last.clone());
            entries += page.len() as u64;
            let of = |(id, datum, _): &(String, Datum, _)| (id.len() - folder.len() + datum.value.get().len()) as u64;
            bytes += page.iter().map(of).sum::<u64>();
        }
        Ok(Size { name: self.name.clone(), entries, bytes })
    }

    /// Counts so many bytes more, if there is room.
    async fn make_room(&self, bytes: u64) -> Result<(), DataError> {
        let most = self.stores.most.load(Ordering::Relaxed);
        let sizes = || self.stores.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || DataError::Full { name: self.name.clone(), most };
        // Whether it fits, if that is known.
        let known = || match sizes().get_mut(&self.name) {
            Some((size, _)) if *size + bytes <= most => {
                *size += bytes;
                Some(true)
            }
            Some((_, measured)) if measured.elapsed() < MEASURE_AGAIN => Some(false),
            _ => None,
        };
        if let Some(fits) = known() {
            return if fits { Ok(()) } else { Err(full()) };
        }
        let _measuring = self.stores.measuring.lock().await;
        if let Some(fits) = known() {
            return if fits { Ok(()) } else { Err(full()) };
        }
        if sizes().contains_key(&self.name) {
            self.stores.sweep_in(&self.id("")).await?;
        }
        let size = self.measure().await?;
        if size.entries == 0 && self.stores.names().await?.len() >= STORES {
            return Err(DataError::TooMany);
        }
        let fits = size.bytes + bytes <= most;
        sizes().insert(self.name.clone(), (size.bytes + if fits { bytes } else { 0 }, Instant::now()));
        if fits { Ok(()) } else { Err(full()) }
    }

    /// Counts so many bytes less.
    fn freed(&self, bytes: u64) {
        let mut sizes = self.stores.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((size, _)) = sizes.get_mut(&self.name) {
            *size = size.saturating_sub(bytes);
        }
    }

    /// Puts `datum` in the place of what was found. None if something else is there by now.
    async fn put(
        &self,
        key: &str,
        found: Option<&(Datum, Revision)>,
        datum: &Datum,
    ) -> Result<Option<Revision>, DataError> {
        let bytes = |datum: &Datum| (key.len() + datum.value.get().len()) as u64;
        let (before, after) = (found.map_or(0, |(datum, _)| bytes(datum)), bytes(datum));
        let expect = found.map_or(Expect::Absent, |(_, revision)| Expect::Revision(*revision));
        // Never refused: what gets smaller.
        if after > before {
            self.make_room(after - before).await?;
        }
        let put = self.stores.records.put(&self.id(key), expect, datum).await;
        self.freed(if put.is_ok() { before.saturating_sub(after) } else { after.saturating_sub(before) });
        match put {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn found(&self, key: &str) -> Result<Option<(Datum, Revision)>, DataError> {
        self.check(key)?;
        Ok(self.stores.records.get(&self.id(key)).await?)
    }

    fn check(&self, key: &str) -> Result<(), DataError> {
        match key.len() {
            1..=KEY_BYTES if key.contains(char::is_control) => Err(DataError::Control),
            1..=KEY_BYTES => Ok(()),
            other => Err(DataError::Key(other)),
        }
    }

    fn id(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    fn contended(&self, key: &str) -> DataError {
        StoreError::Conflict { key: Records::<Datum>::key(&self.id(key)) }.into()
    }
}

/// Whether what was found is what was expected.
fn holds(expected: Expected, found: Option<&(Datum, Revision)>) -> bool {
    let live = found.filter(|(datum, _)| !datum.is_over(Timestamp::now()));
    match (expected, live) {
        (Expected::Anything, _) | (Expected::Absent, None) => true,
        (Expected::Revision(wanted), Some((_, revision))) => wanted == *revision,
        _ => false,
    }
}

fn expires(ttl: Option<Duration>) -> Result<Option<Timestamp>, DataError> {
    let Some(ttl) = ttl else { return Ok(None) };
    if ttl.is_zero() || ttl > MAX_TTL {
        return Err(DataError::Ttl);
    }
    Timestamp::now().checked_add(ttl).map(Some).map_err(|_| DataError::Ttl)
}

#[cfg(test)]
mod tests;
