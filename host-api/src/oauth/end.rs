//! The end of an account: revoked at the service (RFC 7009), then erased here.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::OAuth;
use super::error::OAuthError;
use super::wire::{Server, access_token, refresh_token};
use crate::accounts::{Account, AccountId, ChangeError, Departed, Renewed};
use crate::apps::{OAuthDef, REFRESH_TOKEN};
use crate::members::{MemberError, MemberId, Members};
use crate::store::Expect;

/// How long the service has: a member who deletes an account waits for it.
const LIMIT: Duration = Duration::from_secs(10);
/// How many services are asked at a time.
const AT_ONCE: usize = 8;

/// What became of the tokens at the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// They were revoked.
    Revoked,
    /// The app has no way to: they have to be ended on the service's own pages.
    NotPossible,
    /// The service did not do it, and said why: as [`Upstream::NotPossible`].
    Failed(String),
}

impl OAuth {
    /// Deletes the account `id`, by OAuth or not: its owner can, and an admin. Its tokens
    /// are revoked at the service first, where the app can; the account is erased even if
    /// that fails.
    ///
    /// # Errors
    /// Who may not, or whatever the store says.
    pub async fn delete(&self, by: &MemberId, id: &AccountId) -> Result<Upstream, ChangeError> {
        let account = self.accounts.deletable(by, id).await?;
        let upstream = match self.revoke(&account).await {
            Ok(upstream) => upstream,
            Err(error) => Upstream::Failed(error.to_string()),
        };
        self.accounts.delete(by, id).await?;
        self.leases.delete(id.as_str(), Expect::Any).await?;
        Ok(upstream)
    }

    /// Removes the member `id` from `members`, as [`Members::remove`] does, and then revokes the tokens of their
    /// accounts at the services. What became of each, by the account's id.
    ///
    /// # Errors
    /// As [`Members::remove`].
    pub async fn remove_member(
        &self,
        members: &Members,
        id: &MemberId,
    ) -> Result<(Departed, BTreeMap<AccountId, Upstream>), MemberError> {
        // Before they are erased; and asked of the services after it, since nobody waits for a service to lock
        // someone out.
        let theirs = self.accounts.of(id).await?;
        let departed = members.remove(id).await?;
        let ended = theirs.into_iter().map(|account| async move {
            let upstream = self.revoke(&account).await.unwrap_or_else(|error| Upstream::Failed(error.to_string()));
            (account.id, upstream)
        });
        let ended = stream::iter(ended).buffer_unordered(AT_ONCE).collect().await;
        Ok((departed, ended))
    }

    /// Revokes the tokens of `account`.
    async fn revoke(&self, account: &Account) -> Result<Upstream, OAuthError> {
        let Some(app) = account.app(self.accounts.catalog()) else { return Ok(Upstream::NotPossible) };
        let (Some(def), Some(_)) = (&app.oauth, &account.oauth) else { return Ok(Upstream::NotPossible) };
        if def.revocation.is_none() {
            return Ok(Upstream::NotPossible);
        }
        let secret = |name: &str| match account.secret_fields().any(|field| field == name) {
            true => self.accounts.secret(account, name).map(Some).map_err(OAuthError::from),
            false => Ok(None),
        };
        let keys = self.keys(&app, def, &account.plain, secret).await?;
        let server = Server::new(&self.calls, def, &account.plain, &keys)?;
        let (refresh, access) = (secret(REFRESH_TOKEN)?, secret(&def.access_token)?);
        if let Some(refresh) = &refresh {
            server.revoke(refresh_token(refresh), LIMIT).await?;
        }
        if let Some(access) = &access {
            let revoked = server.revoke(access_token(access), LIMIT).await;
            // It went with the refresh token at most services, and some then no longer know it.
            if refresh.is_none() {
                revoked?;
            }
        }
        Ok(Upstream::Revoked)
    }

    /// Revokes tokens that came for an account that was deleted meanwhile, as well as it can be done.
    pub(super) async fn revoke_unkept(&self, def: &OAuthDef, account: &Account, renewed: &Renewed) {
        if def.revocation.is_none() {
            return;
        }
        let revoke = async {
            let secret = |name: &str| match account.secret_fields().any(|field| field == name) {
                true => self.accounts.secret(account, name).map(Some).map_err(OAuthError::from),
                false => Ok(None),
            };
            let keys = self.keys(&renewed.app, def, &account.plain, secret).await?;
            let server = Server::new(&self.calls, def, &account.plain, &keys)?;
            match renewed.secrets.get(REFRESH_TOKEN) {
                Some(refresh) => server.revoke(refresh_token(refresh), LIMIT).await,
                None => Ok(()),
            }
        };
        if let Err(error) = revoke.await {
            tracing::warn!(account = %account.id, %error, "the tokens of a deleted account could not be revoked");
        }
    }
}
