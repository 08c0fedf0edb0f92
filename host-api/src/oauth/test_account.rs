//! Whether an account works: its test, with credentials as fresh as a step's request would have them. It must never say of
//! an account that it does not work because an access token has expired that can be refreshed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Identity, Need, OAuth, RefreshError, TestError};
use crate::accounts::{Account, AccountId, UseError};
use crate::members::MemberId;
use crate::vault::VaultError;

/// Why an account did not pass its test, or could not be tested.
#[derive(Debug, thiserror::Error)]
pub enum TestAccountError {
    /// The member may not use it, or nobody can.
    #[error(transparent)]
    Use(#[from] UseError),
    /// The catalog has its app no more.
    #[error("the app {0} of this account is no longer defined")]
    NotDefined(String),
    /// Its credentials can't be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Its access token has expired, and there is no other now.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// The service does not take its credentials, or did not answer.
    #[error(transparent)]
    Test(#[from] TestError),
}

impl OAuth {
    /// Sends the test request of an account that `member` may use. Whose it is at the service, as far as that says;
    /// `None` if its definition has no test.
    ///
    /// # Errors
    /// Why it does not work, or why that can't be said.
    pub async fn test_account(
        self: &Arc<Self>,
        id: &AccountId,
        member: &MemberId,
    ) -> Result<Option<Identity>, TestAccountError> {
        let mut account = self.accounts.usable(id, member).await?;
        if self.fresh(&account, Need::Expiry).await? {
            account = self.accounts.usable(id, member).await?;
        }
        let outcome = self.checked(&account).await;
        // Once: the tokens that come of it are fresh, so a second refusal is the service's word.
        if let Err(TestAccountError::Test(TestError::Refused { status: 401, .. })) = outcome
            && self.fresh(&account, Need::Refusal).await?
        {
            account = self.accounts.usable(id, member).await?;
            return self.checked(&account).await;
        }
        outcome
    }

    async fn checked(&self, account: &Account) -> Result<Option<Identity>, TestAccountError> {
        let app = account.app(self.accounts.catalog());
        let app = app.ok_or_else(|| TestAccountError::NotDefined(account.app.clone()))?;
        let mut secrets = BTreeMap::new();
        for field in account.secret_fields() {
            secrets.insert(field.to_owned(), self.accounts.secret(account, field)?);
        }
        Ok(self.test(&app, &account.plain, &secrets).await?)
    }
}
