//! The operator's OAuth client for an app: what the service knows this Keyhole by. The
//! secret is sealed like any credential, and never shown again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OAuth;
use super::error::OAuthError;
use super::wire::ClientKeys;
use crate::accounts::ConnectError;
use crate::store::records::{Record, Records};
use crate::store::{Expect, StoreError};
use crate::vault::{Binding, Report, Sealed, Secret, VaultError};

const SECRET: &str = "client_secret";
/// Longest client id and secret, in bytes.
const LONGEST: usize = 4096;

/// A client as an operator registered it with the service.
pub struct NewClient {
    /// Its id.
    pub id: String,
    /// Its secret. None for a public client.
    pub secret: Option<Secret>,
}

/// What may be seen of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSummary {
    /// The app.
    pub app: String,
    /// The client's id.
    pub client_id: String,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// When it was configured.
    pub configured: Timestamp,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Client {
    client_id: String,
    /// Raised by each `configure`: what was sealed for another version does not open.
    version: u64,
    configured: Timestamp,
    sealed: Sealed,
}

impl Record for Client {
    const FOLDER: &'static str = "oauth-clients";
    const VERSION: u32 = 1;
}

impl Client {
    fn has_secret(&self) -> bool {
        self.sealed.fields().any(|field| field == SECRET)
    }

    /// What its secret is sealed for: a request with another id must not carry it.
    fn binding<'a>(&'a self, workspace: &'a str, account: &'a str) -> Binding<'a> {
        Binding { workspace, account, version: self.version, terms: self.client_id.as_bytes() }
    }

    fn summary(self, app: String) -> ClientSummary {
        let has_secret = self.has_secret();
        ClientSummary { app, client_id: self.client_id, has_secret, configured: self.configured }
    }
}

impl OAuth {
    /// Sets the client by which accounts of `app` are connected, in the place of the one
    /// before. Accounts that were connected by another client have to be reconnected.
    /// Whether the caller may is for it to check.
    ///
    /// # Errors
    /// If the app is not connected by an operator's client, or the client is none.
    pub async fn configure(&self, app: &str, client: NewClient) -> Result<ClientSummary, OAuthError> {
        let found = self.accounts.catalog().get(app).ok_or_else(|| self.unknown(app))?;
        if self.def(found)?.own_client.is_some() {
            return Err(OAuthError::Client(
                "the accounts of this app bring a client of their own; nothing to configure",
            ));
        }
        let fits = |text: &str| !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
        if !fits(&client.id) {
            return Err(OAuthError::Client(
                "a client id is one line of text; copy it from the service's page for your app",
            ));
        }
        if client.secret.as_ref().is_some_and(|secret| !fits(secret.expose())) {
            return Err(OAuthError::Client("a client secret is one line of text; leave it out for a public client"));
        }
        let secrets: BTreeMap<String, Secret> =
            client.secret.map(|secret| (SECRET.to_owned(), secret)).into_iter().collect();
        loop {
            let before = self.clients.get(app).await?;
            let version = before.as_ref().map_or(1, |(client, _)| client.version + 1);
            let (vault, workspace) = self.accounts.vault();
            let account = binding(app);
            let bound = Binding { workspace, account: &account, version, terms: client.id.as_bytes() };
            let sealed = vault.sealer().await?.seal(&bound, &secrets)?;
            let client = Client { client_id: client.id.clone(), version, configured: Timestamp::now(), sealed };
            let expect = before.map_or(Expect::Absent, |(_, revision)| Expect::Revision(revision));
            match self.clients.put(app, expect, &client).await {
                Ok(_) => return Ok(client.summary(app.to_owned())),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Every client that is configured, by app.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn configured(&self) -> Result<Vec<ClientSummary>, StoreError> {
        let all = self.clients.all().await?;
        Ok(all.into_iter().map(|(app, client, _)| client.summary(app)).collect())
    }

    /// Forgets the client for `app`. Its accounts work until their tokens expire. Whether
    /// there was one.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn unconfigure(&self, app: &str) -> Result<bool, StoreError> {
        let there = self.clients.get(app).await?.is_some();
        if there {
            self.clients.delete(app, Expect::Any).await?;
        }
        Ok(there)
    }

    /// Wraps the data keys of clients anew, under the master key that seals now.
    pub(crate) async fn rewrap(&self, report: &mut Report) -> Result<(), VaultError> {
        let (vault, workspace) = self.accounts.vault();
        for (app, ..) in self.clients.all().await? {
            let sealer = vault.sealer().await?;
            let account = binding(&app);
            let change = |client: &mut Client| {
                client.sealed = sealer.rewrap(&client.binding(workspace, &account), &client.sealed)?;
                Ok(())
            };
            let rewrapped = self.clients.try_update(&app, change).await;
            report.rewrapped(&sealer, &Records::<Client>::key(&app), rewrapped)?;
        }
        Ok(())
    }

    /// Opens everything that clients and connections under way have sealed.
    pub(crate) async fn check(&self, report: &mut Report) -> Result<(), StoreError> {
        let (vault, workspace) = self.accounts.vault();
        for (app, client, _) in self.clients.all().await? {
            let account = binding(&app);
            let record = Records::<Client>::key(&app);
            report.look(vault, &record, &client.binding(workspace, &account), &client.sealed);
        }
        self.check_attempts(report).await
    }

    pub(super) async fn operators_client(&self, app: &str) -> Result<ClientKeys, OAuthError> {
        let (client, _) = self.clients.get(app).await?.ok_or_else(|| OAuthError::NotConfigured(app.to_owned()))?;
        let (vault, workspace) = self.accounts.vault();
        let account = binding(app);
        let secret = match client.has_secret() {
            true => Some(vault.open_field(&client.binding(workspace, &account), &client.sealed, SECRET)?),
            false => None,
        };
        Ok(ClientKeys { id: client.client_id, secret })
    }

    pub(super) fn unknown(&self, app: &str) -> OAuthError {
        let nearest = self.accounts.catalog().nearest(app).map(str::to_owned);
        ConnectError::UnknownApp { name: app.to_owned(), nearest }.into()
    }
}

/// What a client's secret is sealed for: no account has an id with a slash.
fn binding(app: &str) -> String {
    format!("oauth-client/{app}")
}

#[cfg(test)]
never_shown!(NewClient);
