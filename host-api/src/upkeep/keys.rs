//! Exchanging the master key, over all that is sealed.

use crate::accounts::Accounts;
use crate::broker::audit::Keys;
use crate::oauth::OAuth;
use crate::store::StoreError;
use crate::vault::{Report, Rotation, VaultError};

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The exchange of the key.
    pub rotation: Rotation,
    /// What became of the records.
    pub report: Report,
}

/// Makes another master key the one that seals, and wraps the data key of every account and every OAuth
/// client anew. Broken off at any point, all still opens, and rotating again does the rest.
///
/// The old key stays where it came from: backups need it, and connections that were under way. See [`forget`].
///
/// # Errors
/// What the vault or the store says. A record that does not open is no error: it is in the report.
pub async fn rotate(accounts: &Accounts, oauth: &OAuth) -> Result<Rotated, VaultError> {
    let (vault, workspace) = accounts.vault();
    let rotation = vault.rotate().await?;
    let mut report = Report::default();
    Keys::new(vault, workspace).keep(&mut report).await?;
    accounts.rewrap(&mut report).await?;
    oauth.rewrap(&mut report).await?;
    Ok(Rotated { rotation, report })
}

/// Opens everything that is sealed.
///
/// # Errors
/// Whatever the store says. A record that does not open is no error: it is in the report.
pub async fn check(accounts: &Accounts, oauth: &OAuth) -> Result<Report, StoreError> {
    let mut report = Report::default();
    accounts.check(&mut report).await?;
    oauth.check(&mut report).await?;
    let (vault, workspace) = accounts.vault();
    Keys::new(vault, workspace).check(&mut report).await?;
    Ok(report)
}

/// Takes the old master key `id` out of the key file, once nothing in the store needs it. Backups that
/// were made before the rotation can't be restored without it.
///
/// # Errors
/// [`VaultError::InUse`] if something does; as [`Vault::forget_key`](crate::vault::Vault::forget_key).
pub async fn forget(accounts: &Accounts, oauth: &OAuth, id: &str) -> Result<(), VaultError> {
    if let Some(uses) = check(accounts, oauth).await?.keys.get(id) {
        return Err(VaultError::InUse { key: id.to_owned(), uses: *uses });
    }
    let (vault, workspace) = accounts.vault();
    // A rotation may have been cut short before it got here.
    Keys::new(vault, workspace).keep(&mut Report::default()).await?;
    vault.forget_key(id).await
}
