//! Where everything that must survive is kept: records by key.
//!
//! The trait is small so that an implementation across machines can stand beside
//! [`redb`]: reads by key, ordered scans by prefix, and writes that compare and swap
//! **one** key. Nothing above it may rely on a lock that only this process sees.
//! [`records`] is the typed layer that the rest of Keyhole uses.

mod behind;
mod error;
pub mod records;
pub mod redb;

use async_trait::async_trait;

pub use behind::WriteBehind;
pub use error::StoreError;

/// The number of a key's current value. Every write to a key raises it, also across a
/// delete: a key that comes back has a higher one than it ever had.
pub type Revision = u64;

/// A value with the revision it was read at.
#[derive(Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The revision to pass to [`Expect::Revision`].
    pub revision: Revision,
    /// The bytes that were written.
    pub value: Vec<u8>,
}

/// What a write demands of the key's present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Write whatever is there.
    Any,
    /// The key must not exist.
    Absent,
    /// The key must be at this revision.
    Revision(Revision),
}

/// Ends once a value that was handed over is on disk, or with the reason why it is not.
pub type Durable = futures_util::future::BoxFuture<'static, Result<(), StoreError>>;

/// Records by key. Keys are paths, such as `accounts/01J…`; a prefix scan lists a folder.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The value of `key`, or `None`. Never waits for a writer, and never misses a write
    /// that was acknowledged before the call, by whichever process.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// The values of several keys, each as [`Store::get`] gives it. A store may read them at
    /// less cost than one by one.
    async fn get_each(&self, keys: &[&str]) -> Result<Vec<Option<Versioned>>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.get(key).await?);
        }
        Ok(found)
    }

    /// Up to `limit` records whose key starts with `prefix`, in key order, after the
    /// key `after` if one is given.
    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError>;

    /// What [`Store::scan`] gives, without the values: whoever made something of a value needs it again only
    /// once its revision is another one.
    async fn revisions(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Revision)>, StoreError> {
        let found = self.scan(prefix, after, limit).await?;
        Ok(found.into_iter().map(|(key, found)| (key, found.revision)).collect())
    }

    /// Up to `limit` records whose key starts with `prefix`, in falling key order, before the
    /// key `before` if one is given.
    async fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError>;

    /// What [`Store::scan_back`] gives, without the values.
    async fn revisions_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Revision)>, StoreError> {
        let found = self.scan_back(prefix, before, limit).await?;
        Ok(found.into_iter().map(|(key, found)| (key, found.revision)).collect())
    }

    /// The revision of the latest write to any key. What is written later has a higher one.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Puts `value` at `key`, or deletes it for `None`, if `expect` holds. Returns once
    /// it is on disk. Concurrent writes share one commit.
    async fn write(&self, key: &str, expect: Expect, value: Option<Vec<u8>>) -> Result<Revision, StoreError>;

    /// Puts `value` at `key` within 50 ms, without waiting. When such a write fails, it is
    /// kept and tried again, and until it is on disk every later call fails.
    fn write_soon(&self, key: &str, value: Vec<u8>) -> Result<(), StoreError>;

    /// Puts each value at its key, or deletes what is there for `None`, as [`Store::write_soon`] writes. Whoever reads
    /// sees all of it or nothing, also after a kill.
    ///
    /// # Errors
    /// As [`Store::write_soon`].
    fn write_all_soon(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError>;

    /// Puts `value` at `key`. Taken over, in the order of the calls, before this returns;
    /// on disk once the future it returns has ended. When that fails, it is kept and tried again as
    /// with [`Store::write_soon`], so that what follows never stands without it. (The audit's chain
    /// needs the order, and no gap.)
    ///
    /// # Errors
    /// It was not taken over: also if an earlier write is still to be tried again.
    fn append(&self, key: &str, value: Vec<u8>) -> Result<Durable, StoreError>;

    /// Puts `records` in the place of all that there are, at once: whoever reads sees the ones or the
    /// others. What has one of the prefixes `kept` and is not among `records` stays.
    async fn replace(&self, records: Vec<(String, Vec<u8>)>, kept: &'static [&'static str]) -> Result<(), StoreError>;

    /// Returns once everything handed to [`Store::write_soon`] and [`Store::append`] before is on disk.
    async fn flush(&self) -> Result<(), StoreError>;
}
