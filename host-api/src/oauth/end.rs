//! The end of an account: revoked at the service (RFC 7009), then erased here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::OAuth;
use super::error::OAuthError;
use super::wire::{Server, access_token, refresh_token};
use crate::accounts::{Account, AccountId, ChangeError, Departed, Renewed};
use crate::apps::{App, OAuthDef, REFRESH_TOKEN};
use crate::members::{MemberError, MemberId, Members};
use crate::store::Expect;

/// How long the service has: a member who deletes an account waits for it.
const LIMIT: Duration = Duration::from_secs(10);
/// How many services are asked at a time when a member is removed.
const AT_ONCE: usize = 16;
/// How long all of them have then: whoever removes the member waits for it, and is told of the rest.
const ALL: Duration = Duration::from_secs(60);

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
    /// accounts at the services, for a minute at most. What became of each, by the account's id.
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
        let mut ended = BTreeMap::new();
        let mut calls = Vec::new();
        for account in theirs {
            if self.revocable(&account).is_none() {
                ended.insert(account.id, Upstream::NotPossible);
                continue;
            }
            let late = "the services took so long that there was no time left for this one".to_owned();
            ended.insert(account.id.clone(), Upstream::Failed(late));
            calls.push(async move {
                let upstream = self.revoke(&account).await.unwrap_or_else(|error| Upstream::Failed(error.to_string()));
                (account.id, upstream)
            });
        }
        ended.extend(in_time(calls, ALL).await);
        Ok((departed, ended))
    }

    /// The app of `account`, if that has a way to revoke its tokens.
    fn revocable(&self, account: &Account) -> Option<Arc<App>> {
        let app = account.app(self.accounts.catalog())?;
        let can = account.oauth.is_some() && app.oauth.as_ref().is_some_and(|def| def.revocation.is_some());
        can.then_some(app)
    }

    /// Revokes the tokens of `account`.
    async fn revoke(&self, account: &Account) -> Result<Upstream, OAuthError> {
        let Some(app) = self.revocable(account) else { return Ok(Upstream::NotPossible) };
        let def = self.def(&app)?;
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

/// What came of those of `calls` that were done within `limit`, which holds for all of them together.
async fn in_time<T>(calls: Vec<impl Future<Output = T>>, limit: Duration) -> Vec<T> {
    stream::iter(calls).buffer_unordered(AT_ONCE).take_until(tokio::time::sleep(limit)).collect().await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::Either;

    use super::*;

    #[tokio::test]
    async fn services_that_never_answer_end_with_the_time_that_all_have_and_take_nothing_of_the_others() {
        let calls = |silent: usize| {
            (0..100).map(move |number| match number < silent {
                true => Either::Left(pending()),
                false => Either::Right(ready(number)),
            })
        };
        let limit = Duration::from_millis(50);
        let asked = in_time(calls(AT_ONCE - 1).collect(), limit).await;
        assert_eq!(asked.len(), 100 - (AT_ONCE - 1));
        assert!(in_time(calls(AT_ONCE).collect(), limit).await.is_empty());
    }
}
