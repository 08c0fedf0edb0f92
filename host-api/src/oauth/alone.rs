//! Access tokens that no member is asked for: those of client credentials (RFC 6749,
//! section 4.4), and those that an account's key makes or is exchanged for (RFC 7523).
//!
//! They are kept, and made anew before they expire, as tokens are that a member allowed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::OAuth;
use super::answer::Extra;
use super::error::OAuthError;
use super::wire::{ClientKeys, Granted, Server};
use crate::apps::{App, Flow, JwtDef, OAuthDef};
use crate::sign::jwt;
use crate::vault::Secret;

impl OAuth {
    /// An access token for an account with these fields.
    pub(super) async fn granted_alone(
        &self,
        app: &App,
        def: &OAuthDef,
        plain: &BTreeMap<String, String>,
        scopes: &[String],
        secret: impl Fn(&str) -> Result<Option<Secret>, OAuthError>,
    ) -> Result<Granted, OAuthError> {
        match (def.flow, &def.jwt) {
            (Flow::ClientCredentials, _) => {
                let keys = self.keys(app, def, plain, secret).await?;
                Server::new(&self.calls, def, plain, &keys)?.client_credentials(scopes).await
            }
            (Flow::Jwt, Some(jwt)) => {
                let key = secret(&jwt.key)?.ok_or_else(|| jwt::JwtError::Missing(jwt.key.clone()))?;
                self.granted_by_jwt(def, jwt, plain, scopes, &key).await
            }
            (Flow::Member | Flow::Jwt, _) => {
                Err(OAuthError::NoEndpoint { app: app.name.clone(), what: "flow that asks no member" })
            }
        }
    }

    async fn granted_by_jwt(
        &self,
        def: &OAuthDef,
        jwt: &JwtDef,
        plain: &BTreeMap<String, String>,
        scopes: &[String],
        key: &Secret,
    ) -> Result<Granted, OAuthError> {
        let asked = (!scopes.is_empty()).then(|| scopes.join(&def.scope_separator));
        let claim = def.scope_parameter.as_deref().unwrap_or("scope");
        let made = jwt::make(jwt, plain, asked.as_deref().map(|scopes| (claim, scopes)), key, Timestamp::now())?;
        if def.token.is_some() {
            let nobody = ClientKeys { id: String::new(), secret: None };
            return Server::new(&self.calls, def, plain, &nobody)?.jwt(&made.token, jwt.send).await;
        }
        Ok(Granted {
            access: made.token,
            refresh: None,
            lifetime: Some(made.lifetime),
            scopes: None,
            extra: Extra::default(),
        })
    }
}
