//! Why the vault would not seal or open. No message holds a byte of a key or of a credential.

use std::path::PathBuf;

use crate::store::StoreError;

/// Why the vault failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The credentials in this store were sealed with another master key.
    #[error(
        "wrong master key: this store's credentials are sealed with {expected}, and {got} was given; \
         configure the key that was used before"
    )]
    WrongMasterKey {
        /// Id of the key that the store was set up with.
        expected: String,
        /// Id of the key that was given.
        got: String,
    },

    /// There are credentials, and the key file is gone. No new key is made: it would open none of them.
    #[error(
        "the master key {expected} is missing: it should be in {path}; put it back there from your copy (the \
         credentials in this store can't be opened with any other)"
    )]
    KeyFileMissing {
        /// Where the key was looked for.
        path: PathBuf,
        /// Id of the key that the store was set up with.
        expected: String,
    },

    /// Others than the owner may read the key file.
    #[error("others can read the master key in {path} (mode {mode:03o}); run: chmod 600 {path}")]
    KeyFileOpen {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The key file can't be read or made.
    #[error("the master key file {path}: {reason}")]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What the system said, or what to do.
        reason: String,
    },

    /// What should be a key is none.
    #[error(
        "{from} gives no master key: it must be 32 bytes, in base64 or hex ({reason}); to make one: openssl rand -base64 32"
    )]
    BadKey {
        /// The file, the variable or the command.
        from: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The command that should print the key failed.
    #[error("the master key command failed: {reason}; it said: {said}")]
    Command {
        /// How it ended.
        reason: String,
        /// What it wrote to stderr.
        said: String,
    },

    /// Sealed with a master key that this vault does not hold.
    #[error(
        "the master key {key} is not configured; put it after the one that is used now, and start again what runs already"
    )]
    UnknownKey {
        /// Id of that key.
        key: String,
    },

    /// A rotation needs a key to rotate to.
    #[error(
        "there is no new master key: put one before the one that is used now, with a space between them (to make one: \
         openssl rand -base64 32), start again what runs with this one alone, and rotate again"
    )]
    NoNewKey,

    /// The key can't be forgotten.
    #[error("the master key {key} is needed by {uses} records; run `keyhole vault rotate`, then forget it")]
    InUse {
        /// Id of that key.
        key: String,
        /// How many records are sealed with it; the check record counts.
        uses: usize,
    },

    /// The key file is full.
    #[error("the key file {path} is full of old master keys; forget some: keyhole vault forget KEY")]
    TooManyKeys {
        /// The key file.
        path: PathBuf,
    },

    /// The keys are kept elsewhere.
    #[error("the master keys come from {0}; take the old one away there")]
    NotOurs(&'static str),

    /// The ciphertext was altered, or belongs to another account, field, version or workspace.
    #[error(
        "{what} does not open: it was altered, or put in another's place; restore it from a backup or reconnect the account"
    )]
    NotGenuine {
        /// Which account and field.
        what: String,
    },

    /// There is no such field.
    #[error("the account has no sealed field `{field}`")]
    NoField {
        /// The field that was asked for.
        field: String,
    },

    /// The store has accounts but not the record that tells their master key.
    #[error("the vault's check record is missing or damaged ({reason}); restore the store from a backup")]
    Damaged {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl From<getrandom::Error> for VaultError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error.to_string())
    }
}
