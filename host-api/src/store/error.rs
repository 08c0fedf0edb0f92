//! Why the store could not do what it was asked. Each message is one line that says
//! what to do next; none quotes a value, which might be a member's.

/// Why the store failed. It is `Clone` because everyone who waited for one commit gets its error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The key was not in the state that [`Expect`](super::Expect) demanded. Read it again and retry.
    #[error("`{key}` was changed meanwhile by someone else; read it again and repeat the change")]
    Conflict {
        /// The key that was to be written.
        key: String,
    },

    /// No space is left. Everything acknowledged before is intact.
    #[error("no space left for the store in {place}; free some and try again (nothing acknowledged is lost)")]
    Full {
        /// The data directory.
        place: String,
    },

    /// The file system or the store file can't be written.
    #[error("{place} is read-only; make it writable, or pass another --data-dir")]
    ReadOnly {
        /// The data directory or the file in it.
        place: String,
    },

    /// The directory does not exist.
    #[error("the data directory {place} does not exist; create it, or pass another --data-dir")]
    NoDirectory {
        /// The data directory.
        place: String,
    },

    /// This process's user may not open the store.
    #[error("permission denied for {place}; run as its owner, or change its owner or mode")]
    Denied {
        /// The data directory or the file in it.
        place: String,
    },

    /// The store file is damaged. It was left as it is.
    #[error("{place} is damaged ({reason}); it was left as it is: restore it from a backup")]
    Corrupt {
        /// The store file, or the key of a damaged record.
        place: String,
        /// What does not hold.
        reason: String,
    },

    /// A newer Keyhole wrote this.
    #[error("{place} was written by a newer Keyhole (format {found}, this one knows up to {known}); upgrade Keyhole")]
    NewerVersion {
        /// The store file, or the key of the record.
        place: String,
        /// The format version that was found.
        found: u64,
        /// The newest one that this program reads.
        known: u64,
    },

    /// Another process has the store open in a way that excludes this one.
    #[error("{place} is held by {holder}; stop it, or pass another --data-dir")]
    Held {
        /// The store file.
        place: String,
        /// Which process, as well as it can be told.
        holder: String,
    },

    /// A key that the store does not take: empty, too long, or with a control character.
    #[error("`{key}` can't be a key: {reason}")]
    BadKey {
        /// The key, escaped.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// Anything else, among it an earlier failure of [`Store::write_soon`](super::Store::write_soon).
    #[error("the store failed: {0}")]
    Failed(String),
}
