//! A sign-in that is under way: what was asked for, and what must come back. It lies in the store, so that any process can
//! finish it, and is gone the moment one does.
//!
//! The browser that began it has a random value in a cookie, of which the store has only a hash. The nonce and the code
//! verifier are made of that value and nothing else, so who can read the store, or was told another's state, can finish
//! nobody's sign-in, nor have somebody finish theirs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use openidconnect::core::CoreAuthenticationFlow;
use openidconnect::{CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::Oidc;
use super::error::{OidcError, line};
use super::provider::Known;
use super::settings::OidcSettings;
use crate::members::{Member, MemberId};
use crate::oauth::is_redirect_uri;
use crate::store::records::Record;
use crate::tokens::tickets::{Waiting, hash, random};
use crate::vault::Secret;

/// How long somebody has to come back from the provider.
pub const LIFETIME: std::time::Duration = std::time::Duration::from_secs(600);
/// Longest page that is remembered to go on at, in bytes.
const NEXT: usize = 2000;

/// A sign-in under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Attempt {
    /// A hash of what the browser has.
    browser: String,
    issuer: String,
    client_id: String,
    pub redirect: String,
    pub next: Option<String>,
    /// Who is to be bound, if somebody is signed in already.
    pub binds: Option<Binds>,
    expires: Timestamp,
}

/// A member, and since when they are one.
#[derive(Serialize, Deserialize)]
pub(super) struct Binds {
    pub member: MemberId,
    pub since: Timestamp,
}

impl Record for Attempt {
    const FOLDER: &'static str = "oidc-attempts";
    const VERSION: u32 = 1;
}

impl Waiting for Attempt {
    fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// A sign-in that was just begun.
pub struct Begun {
    /// Where the browser goes on.
    pub url: Url,
    /// What this browser alone is to have until it comes back.
    pub browser: Secret,
}

/// What a browser came back with (RFC 6749, section 4.1.2, and RFC 9207).
#[derive(Default, Deserialize)]
pub struct Came {
    pub(super) state: Option<String>,
    pub(super) code: Option<String>,
    pub(super) iss: Option<String>,
    pub(super) error: Option<String>,
    pub(super) error_description: Option<String>,
}

/// What is made of a browser's value.
pub(super) struct Keys {
    pub nonce: Nonce,
    pub verifier: Secret,
}

impl Keys {
    fn of(browser: &str, state: &str) -> Self {
        let one = |context| {
            let mut hash = blake3::Hasher::new_derive_key(context);
            hash.update(browser.as_bytes()).update(b"\0").update(state.as_bytes());
            URL_SAFE_NO_PAD.encode(hash.finalize().as_bytes())
        };
        // 43 of the characters that RFC 7636, section 4.1 has.
        Self {
            nonce: Nonce::new(one("keyhole 2026 OpenID Connect nonce")),
            verifier: Secret::new(one("keyhole 2026 OpenID Connect code verifier")),
        }
    }
}

impl Oidc {
    /// Keeps a new attempt.
    pub(super) async fn keep(
        &self,
        settings: &OidcSettings,
        known: &Known,
        redirect: &Url,
        next: Option<&str>,
        member: Option<&Member>,
    ) -> Result<Begun, OidcError> {
        if !is_redirect_uri(redirect) {
            return Err(OidcError::NotOverTls(redirect.to_string()));
        }
        let redirect_url =
            RedirectUrl::new(redirect.to_string()).map_err(|_| OidcError::NotOverTls(redirect.to_string()))?;
        let random = || random().map_err(|error| OidcError::Random(error.to_string()));
        let (state, browser) = (random()?, random()?);
        let state = state.expose();
        let keys = Keys::of(browser.expose(), state);
        let verifier = PkceCodeVerifier::new(keys.verifier.expose().to_owned());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let client = known.client(settings);
        let (state_to_send, nonce) = (CsrfToken::new(state.to_owned()), keys.nonce);
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state_to_send, || nonce)
            .add_scopes(settings.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .set_redirect_uri(std::borrow::Cow::Owned(redirect_url));
        // Who is signed in there with this browser need not be who is meant.
        if member.is_some()
            && let Some(prompt) = known.prompt_for_account()
        {
            request = request.add_prompt(prompt);
        }
        let (url, _, _) = request.url();
        let attempt = Attempt {
            browser: hash(browser.expose()),
            issuer: settings.issuer.clone(),
            client_id: settings.client_id.clone(),
            redirect: redirect.to_string(),
            next: next.filter(|next| next.len() <= NEXT).map(str::to_owned),
            binds: member.map(|member| Binds { member: member.id.clone(), since: member.added }),
            expires: Timestamp::now() + LIFETIME,
        };
        self.attempts.keep(state, &attempt).await?;
        Ok(Begun { url, browser })
    }

    /// The attempt that a browser came back with, which is over with that.
    pub(super) async fn take(
        &self,
        settings: &OidcSettings,
        came: &Came,
        browser: Option<&str>,
    ) -> Result<(Attempt, Keys), OidcError> {
        let state = came.state.as_deref().ok_or(OidcError::NotUnderWay)?;
        let (attempt, seen) = self.attempts.look(state).await?.ok_or(OidcError::NotUnderWay)?;
        let browser = browser.ok_or(OidcError::OtherBrowser)?;
        // Whoever only knows of it must not be able to end it, either.
        if !bool::from(hash(browser).as_bytes().ct_eq(attempt.browser.as_bytes())) {
            return Err(OidcError::OtherBrowser);
        }
        if !self.attempts.take(state, seen).await? {
            return Err(OidcError::NotUnderWay);
        }
        // The operator set up another one meanwhile.
        if attempt.issuer != settings.issuer || attempt.client_id != settings.client_id {
            return Err(OidcError::NotUnderWay);
        }
        if came.iss.as_ref().is_some_and(|iss| *iss != settings.issuer) {
            return Err(OidcError::Issuer(settings.label.clone()));
        }
        if let Some(error) = &came.error {
            let told = match &came.error_description {
                Some(text) => format!("{error}: {text}"),
                None => error.clone(),
            };
            return Err(OidcError::Refused { label: settings.label.clone(), told: line(&told) });
        }
        let keys = Keys::of(browser, state);
        Ok((attempt, keys))
    }
}

#[cfg(test)]
never_shown!(Begun, Keys);
