//! Typed records on top of a [`Store`]: JSON with a format version, one folder a type.
//!
//! It must never put a record's content into an error: those are logged.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Expect, Revision, Store, StoreError, Versioned};

/// How often [`Records::update`] tries before it gives up. Each failed try means that someone
/// else's change was written, so this is never reached unless something is wrong.
const MAX_TRIES: usize = 1000;
/// Records that [`Records::all`] reads at a time.
const PAGE: usize = 1000;
/// Records that are read by their keys before it is given way to other tasks.
const STRIDE: usize = 256;

/// When so many values are in a [`Kept`], or their records have so many bytes, all are dropped.
const MAX_KEPT: usize = 4096;
const MAX_KEPT_BYTES: usize = 8 << 20;

/// What records were made into when they were last read, with the revision they had: reading
/// the store is cheap, and making sense of what it holds need be done once a revision only.
pub struct Kept<V>(RwLock<KeptValues<V>>);

struct KeptValues<V> {
    values: HashMap<String, (Revision, V)>,
    /// Of their records, and of those that they took the place of.
    bytes: usize,
}

impl<V> Default for Kept<V> {
    fn default() -> Self {
        Self(RwLock::new(KeptValues { values: HashMap::new(), bytes: 0 }))
    }
}

impl<V: Clone> Kept<V> {
    fn get(&self, id: &str, now: Revision) -> Option<V> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.values.get(id).filter(|(revision, _)| *revision == now).map(|(_, value)| value.clone())
    }

    fn put(&self, id: &str, now: Revision, value: &V, bytes: usize) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += bytes;
        if kept.values.len() >= MAX_KEPT || kept.bytes > MAX_KEPT_BYTES {
            kept.values.clear();
            kept.bytes = bytes;
        }
        kept.values.insert(id.to_owned(), (now, value.clone()));
    }
}

/// What each record of one type was made into when all of them were last listed, by id and with the revisions they
/// had. It is never taken for true: each time the store is asked for the revisions first, so that what any process
/// has written since is read anew, and the rest is not.
pub struct Listing<V>(RwLock<Arc<Listed<V>>>);

/// Ids, revisions and what was made of the records, in the order of the ids.
pub type Listed<V> = Vec<(String, Revision, V)>;

impl<V> Default for Listing<V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// A type that is kept in the store, as a JSON object.
///
/// On disk it has one more member, `v`, so the type itself must have none of that name and must
/// not deny unknown fields.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What its keys start with, before the `/`.
    const FOLDER: &'static str;
    /// The version of its format. Raise it when the JSON changes its meaning.
    const VERSION: u32;

    /// Turns the JSON of version `from`, which is below [`Record::VERSION`], into the present one.
    ///
    /// # Errors
    /// The reason, without any of the content, if `value` is not of that version.
    fn upgrade(from: u32, value: Value) -> Result<Value, String> {
        let _ = from;
        Ok(value)
    }
}

/// All records of one type in one store.
pub struct Records<T> {
    store: Arc<dyn Store>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Records<T> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), of: PhantomData }
    }
}

impl<T: Record> Records<T> {
    /// The records of type `T` in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, of: PhantomData }
    }

    /// The key of the record `id`.
    pub fn key(id: &str) -> String {
        format!("{}/{id}", T::FOLDER)
    }

    /// The record `id` and its revision.
    ///
    /// # Errors
    /// [`StoreError::NewerVersion`] or [`StoreError::Corrupt`] if it can't be read as a `T`.
    pub async fn get(&self, id: &str) -> Result<Option<(T, Revision)>, StoreError> {
        let key = Self::key(id);
        let Some(Versioned { revision, value }) = self.store.get(&key).await? else { return Ok(None) };
        Ok(Some((decode(&key, &value)?, revision)))
    }

    /// The record of each id.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub async fn get_each(&self, ids: &[&str]) -> Result<Vec<Option<T>>, StoreError> {
        let mut records = Vec::with_capacity(ids.len());
        for some in ids.chunks(STRIDE) {
            let keys: Vec<String> = some.iter().map(|id| Self::key(id)).collect();
            let found = self.store.get_each(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            for (key, found) in keys.iter().zip(found) {
                records.push(found.map(|found| decode(key, &found.value)).transpose()?);
            }
            tokio::task::yield_now().await;
        }
        Ok(records)
    }

    /// What `make` makes of the record `id`, `found` being what the store has there now.
    /// `kept` must be used with one `make` only.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub fn kept<V: Clone>(
        id: &str,
        found: Option<Versioned>,
        kept: &Kept<V>,
        make: impl FnOnce(T) -> V,
    ) -> Result<Option<V>, StoreError> {
        let Some(Versioned { revision, value }) = found else { return Ok(None) };
        if let Some(made) = kept.get(id, revision) {
            return Ok(Some(made));
        }
        let made = make(decode(&Self::key(id), &value)?);
        kept.put(id, revision, &made, value.len());
        Ok(Some(made))
    }

    /// What `make` makes of every record, as the store has them now. `D` is what it needs of a record: it may read
    /// less than there is. `listing` must be used with one `make` only.
    ///
    /// # Errors
    /// As [`Records::list`].
    pub async fn listed<D: DeserializeOwned, V: Clone>(
        &self,
        listing: &Listing<V>,
        make: impl Fn(D) -> V,
    ) -> Result<Arc<Listed<V>>, StoreError> {
        let last = Arc::clone(&listing.0.read().unwrap_or_else(PoisonError::into_inner));
        let now = self.store.revisions(&Self::key(""), None, usize::MAX).await?;
        let mut known = last.iter().peekable();
        let mut listed: Vec<(String, Revision, Option<V>)> = Vec::with_capacity(now.len());
        for (key, revision) in now {
            let id = key[T::FOLDER.len() + 1..].to_owned();
            while known.next_if(|(other, ..)| *other < id).is_some() {}
            let made = known.next_if(|(other, at, _)| *other == id && *at == revision).map(|(.., made)| made.clone());
            listed.push((id, revision, made));
        }
        let count = listed.len();
        let mut news: Vec<_> = listed.iter_mut().filter(|(.., made)| made.is_none()).collect();
        if news.is_empty() && count == last.len() {
            return Ok(last);
        }
        for some in news.chunks_mut(STRIDE) {
            let keys: Vec<String> = some.iter().map(|(id, ..)| Self::key(id)).collect();
            let found = self.store.get_each(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            for ((new, key), found) in some.iter_mut().zip(&keys).zip(found) {
                // One that was deleted meanwhile is left out below.
                let Some(found) = found else { continue };
                new.1 = found.revision;
                new.2 = Some(make(decode_as::<T, D>(key, &found.value)?));
            }
            tokio::task::yield_now().await;
        }
        let listed = listed.into_iter().filter_map(|(id, revision, made)| Some((id, revision, made?)));
        let listed = Arc::new(listed.collect());
        *listing.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&listed);
        Ok(listed)
    }

    /// The store that holds them.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Writes the record `id` if `expect` holds.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it does not.
    pub async fn put(&self, id: &str, expect: Expect, record: &T) -> Result<Revision, StoreError> {
        self.put_encoded(id, expect, Self::encode(id, record)?).await
    }

    /// The record `id` as it is written, for one whose size matters.
    ///
    /// # Errors
    /// If it can't be written as a JSON object.
    pub fn encode(id: &str, record: &T) -> Result<Vec<u8>, StoreError> {
        encode(&Self::key(id), record)
    }

    /// Writes what [`Records::encode`] gave.
    ///
    /// # Errors
    /// As [`Records::put`].
    pub async fn put_encoded(&self, id: &str, expect: Expect, encoded: Vec<u8>) -> Result<Revision, StoreError> {
        self.store.write(&Self::key(id), expect, Some(encoded)).await
    }

    /// Changes the record `id`, over again if someone else changed it meanwhile. `None` if there is none.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn update(
        &self,
        id: &str,
        mut change: impl FnMut(&mut T) + Send,
    ) -> Result<Option<(T, Revision)>, StoreError> {
        self.try_update(id, |record| {
            change(record);
            Ok::<(), StoreError>(())
        })
        .await
    }

    /// Like [`Records::update`], for a change that may be refused: then nothing is written.
    ///
    /// # Errors
    /// The change's own error, or whatever the store says.
    pub async fn try_update<E: From<StoreError>>(
        &self,
        id: &str,
        mut change: impl FnMut(&mut T) -> Result<(), E> + Send,
    ) -> Result<Option<(T, Revision)>, E> {
        let mut conflict = None;
        for _ in 0..MAX_TRIES {
            let Some((mut record, revision)) = self.get(id).await? else { return Ok(None) };
            change(&mut record)?;
            match self.put(id, Expect::Revision(revision), &record).await {
                Ok(revision) => return Ok(Some((record, revision))),
                Err(error @ StoreError::Conflict { .. }) => conflict = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(conflict.unwrap_or_else(|| StoreError::Conflict { key: Self::key(id) }).into())
    }

    /// Deletes the record `id` if `expect` holds.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it does not.
    pub async fn delete(&self, id: &str, expect: Expect) -> Result<(), StoreError> {
        self.store.write(&Self::key(id), expect, None).await?;
        Ok(())
    }

    /// Deletes the record `id` if it is one that is to `go`, over again if someone else changed it meanwhile.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub async fn delete_if(&self, id: &str, go: impl Fn(&T) -> bool + Send) -> Result<(), StoreError> {
        let mut conflict = None;
        for _ in 0..MAX_TRIES {
            let Some((record, revision)) = self.get(id).await? else { return Ok(()) };
            if !go(&record) {
                return Ok(());
            }
            match self.delete(id, Expect::Revision(revision)).await {
                Err(error @ StoreError::Conflict { .. }) => conflict = Some(error),
                ended => return ended,
            }
        }
        Err(conflict.unwrap_or_else(|| StoreError::Conflict { key: Self::key(id) }))
    }

    /// Up to `limit` records in the order of their ids, after `after` if it is given.
    ///
    /// # Errors
    /// As [`Records::get`]; one unreadable record fails the whole page.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, T, Revision)>, StoreError> {
        self.list_in("", after, limit).await
    }

    /// The same of those whose ids begin with `prefix`.
    ///
    /// # Errors
    /// As [`Records::list`].
    pub async fn list_in(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, T, Revision)>, StoreError> {
        let after = after.map(Self::key);
        let page = self.store.scan(&Self::key(prefix), after.as_deref(), limit).await?;
        page.into_iter().map(Self::decoded).collect()
    }

    /// Up to `limit` records against the order of their ids, before `before` if it is given.
    ///
    /// # Errors
    /// As [`Records::list`].
    pub async fn list_back(
        &self,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, T, Revision)>, StoreError> {
        let before = before.map(Self::key);
        let page = self.store.scan_back(&Self::key(""), before.as_deref(), limit).await?;
        page.into_iter().map(Self::decoded).collect()
    }

    fn decoded((key, Versioned { revision, value }): (String, Versioned)) -> Result<(String, T, Revision), StoreError> {
        let record = decode(&key, &value)?;
        Ok((key[T::FOLDER.len() + 1..].to_owned(), record, revision))
    }

    /// Every record, each as it could be read: where one that can't be must not stand in the way of the others.
    ///
    /// # Errors
    /// Whatever the store says of reading at all.
    pub async fn each(&self) -> Result<Vec<(String, Result<T, StoreError>)>, StoreError> {
        let (mut each, mut last) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.scan(&Self::key(""), last.as_deref(), PAGE).await?;
            let ended = page.len() < PAGE;
            for (key, found) in page {
                each.push((key[T::FOLDER.len() + 1..].to_owned(), decode(&key, &found.value)));
                last = Some(key);
            }
            if ended {
                return Ok(each);
            }
        }
    }

    /// Every record, in the order of their ids.
    ///
    /// # Errors
    /// As [`Records::list`].
    pub async fn all(&self) -> Result<Vec<(String, T, Revision)>, StoreError> {
        let mut all: Vec<(String, T, Revision)> = Vec::new();
        loop {
            let page = self.list(all.last().map(|(id, ..)| id.as_str()), PAGE).await?;
            let ended = page.len() < PAGE;
            all.extend(page);
            if ended {
                return Ok(all);
            }
        }
    }
}

fn encode<T: Record>(key: &str, record: &T) -> Result<Vec<u8>, StoreError> {
    let failed = || StoreError::Failed(format!("`{key}` can't be written as a JSON object"));
    let json = serde_json::to_vec(record).map_err(|_| failed())?;
    let members = json.strip_prefix(b"{").ok_or_else(failed)?;
    let mut envelope = format!("{{\"v\":{}", T::VERSION).into_bytes();
    envelope.reserve(members.len() + 1);
    if members != b"}" {
        envelope.push(b',');
    }
    envelope.extend_from_slice(members);
    Ok(envelope)
}

fn decode<T: Record>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    decode_as::<T, T>(key, value)
}

/// What a `D` has of a record that is a `T`.
fn decode_as<T: Record, D: DeserializeOwned>(key: &str, value: &[u8]) -> Result<D, StoreError> {
    #[derive(Deserialize)]
    struct Envelope {
        v: u32,
    }
    // What serde_json says may quote the content; where it was is enough.
    let corrupt = |error: serde_json::Error| StoreError::Corrupt {
        place: key.to_owned(),
        reason: format!("{:?} error at byte {} of the record", error.classify(), error.column()),
    };
    // As `encode` begins it; anything else that is right in JSON is read all the same.
    if value.starts_with(format!("{{\"v\":{},", T::VERSION).as_bytes()) {
        return serde_json::from_slice(value).map_err(corrupt);
    }
    let Envelope { v } = serde_json::from_slice(value).map_err(corrupt)?;
    if v > T::VERSION {
        return Err(StoreError::NewerVersion { place: key.to_owned(), found: v.into(), known: T::VERSION.into() });
    }
    if v == T::VERSION {
        return serde_json::from_slice(value).map_err(corrupt);
    }
    let old = serde_json::from_slice(value).map_err(corrupt)?;
    let upgraded = T::upgrade(v, old).map_err(|reason| StoreError::Corrupt { place: key.to_owned(), reason })?;
    serde_json::from_value(upgraded).map_err(corrupt)
}
