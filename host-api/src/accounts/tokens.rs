//! What an account keeps of OAuth beside the sealed tokens, and how a refresh replaces
//! them. A refresh must never overwrite credentials other than those it was made with.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::connect::{ConnectError, shapes};
use super::{Account, AccountId, Accounts, Entry, Health, What};
use crate::apps::{App, REFRESH_TOKEN};
use crate::vault::{Sealer, Secret};

/// What may be known of an account's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// The scopes that the service granted.
    pub scopes: Vec<String>,
    /// When the access token was given out.
    pub obtained: Timestamp,
    /// When it expires, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// How often it was refreshed since the account was connected.
    #[serde(default)]
    pub refreshes: u64,
}

impl Tokens {
    /// Tokens that were given out now.
    pub fn now(scopes: Vec<String>, lifetime: Option<Duration>) -> Self {
        let obtained = Timestamp::now();
        let expires = lifetime.and_then(|lifetime| obtained.checked_add(lifetime).ok());
        Self { scopes, obtained, expires, refreshes: 0 }
    }
}

/// What a refresh brought.
pub(crate) struct Renewed {
    pub app: std::sync::Arc<App>,
    /// Secret fields with new values, the access token among them.
    pub secrets: BTreeMap<String, Secret>,
    /// Plain fields with new values.
    pub plain: BTreeMap<String, String>,
    pub tokens: Tokens,
}

impl Account {
    /// Whether it has a refresh token.
    pub fn has_refresh_token(&self) -> bool {
        self.shapes.contains_key(REFRESH_TOKEN)
    }
}

impl Accounts {
    /// Puts the refreshed tokens in the place of those of `version`, and returns the
    /// account once that is on disk. `None` if it has other credentials by now, or is gone.
    pub(crate) async fn renew(
        &self,
        id: &AccountId,
        version: u64,
        renewed: &Renewed,
    ) -> Result<Option<Account>, ConnectError> {
        enum Stop {
            Gone,
            Failed(ConnectError),
        }
        impl From<crate::store::StoreError> for Stop {
            fn from(error: crate::store::StoreError) -> Self {
                Self::Failed(error.into())
            }
        }
        let sealer = self.vault.sealer().await?;
        let changed = self
            .records
            .try_update(id.as_str(), |entry: &mut Entry| {
                let account = entry.account.as_mut().filter(|account| account.version == version).ok_or(Stop::Gone)?;
                self.put_renewed(account, renewed, &sealer).map_err(Stop::Failed)
            })
            .await;
        match changed {
            Ok(changed) => Ok(changed.and_then(|(entry, _)| entry.account)),
            Err(Stop::Gone) => Ok(None),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn put_renewed(&self, account: &mut Account, renewed: &Renewed, sealer: &Sealer<'_>) -> Result<(), ConnectError> {
        let mut secrets: BTreeMap<String, Secret> = BTreeMap::new();
        for name in account.shapes.keys() {
            let secret = match renewed.secrets.get(name) {
                Some(secret) => secret.clone(),
                None => self.secret(account, name)?,
            };
            secrets.insert(name.clone(), secret);
        }
        for (name, secret) in &renewed.secrets {
            secrets.entry(name.clone()).or_insert_with(|| secret.clone());
        }
        let version = account.version + 1;
        account.plain.extend(renewed.plain.clone());
        account.sealed = sealer.seal(&self.binding(&account.id, version, &account.terms()), &secrets)?;
        account.version = version;
        account.shapes = shapes(&renewed.app, &secrets);
        account.health = Health::Ok;
        let refreshes = account.oauth.as_ref().map_or(0, |tokens| tokens.refreshes);
        account.oauth = Some(Tokens { refreshes: refreshes + 1, ..renewed.tokens.clone() });
        account.note(None, What::Refreshed { rotated: renewed.secrets.contains_key(REFRESH_TOKEN) });
        Ok(())
    }
}

#[cfg(test)]
never_shown!(Renewed);
