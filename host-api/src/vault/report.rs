//! What was found when everything sealed was opened once.

use std::collections::BTreeMap;

use super::{Binding, Sealed, Sealer, Vault, VaultError};

/// A record that does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its key in the store.
    pub record: String,
    /// Why, and what to do.
    pub reason: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that opened.
    pub opened: usize,
    /// How many of all records need which master key.
    pub keys: BTreeMap<String, usize>,
    /// Those that did not open.
    pub damaged: Vec<Damage>,
}

impl Report {
    /// Opens every field of `sealed`, which is in the record `record`.
    pub(crate) fn look(&mut self, vault: &Vault, record: &str, binding: &Binding<'_>, sealed: &Sealed) {
        *self.keys.entry(sealed.key_id().to_owned()).or_default() += 1;
        let mut fields = sealed.fields();
        match fields.try_for_each(|field| vault.open_field(binding, sealed, field).map(drop)) {
            Ok(()) => self.opened += 1,
            Err(error) => self.damaged.push(Damage { record: record.to_owned(), reason: error.to_string() }),
        }
    }

    /// Notes that `record` does not open.
    pub(crate) fn damaged(&mut self, record: &str, error: &VaultError) {
        self.damaged.push(Damage { record: record.to_owned(), reason: error.to_string() });
    }

    /// Takes in what came of wrapping the data key of `record` anew. What the store says ends it; a record
    /// that does not open must not keep the others from being wrapped.
    pub(crate) fn rewrapped<T>(
        &mut self,
        sealer: &Sealer<'_>,
        record: &str,
        outcome: Result<Option<T>, VaultError>,
    ) -> Result<(), VaultError> {
        match outcome {
            // It was deleted meanwhile.
            Ok(None) => {}
            Ok(Some(_)) => {
                *self.keys.entry(sealer.key_id().to_owned()).or_default() += 1;
                self.opened += 1;
            }
            Err(error @ VaultError::Store(_)) => return Err(error),
            Err(error) => self.damaged.push(Damage { record: record.to_owned(), reason: error.to_string() }),
        }
        Ok(())
    }
}
