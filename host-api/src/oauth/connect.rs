//! Connecting an account in a browser (RFC 6749, section 4.1, with RFC 7636 and 9207), or
//! as a client that asks for itself; and what all ways have in common at their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use oauth2::{CsrfToken, PkceCodeChallenge, RedirectUrl};
use url::Url;

use super::OAuth;
use super::answer::line;
use super::attempt::{Attempt, LIFETIME, NewAttempt, Way};
use super::error::OAuthError;
use super::identity::OAUTH_UID;
use super::wire::{ClientKeys, Granted, Server, is_redirect_uri};
use crate::accounts::{AccountId, Connect, ConnectError, Connected, Prepared, Tokens};
use crate::apps::{App, CUSTOM, OAuthDef, REFRESH_TOKEN};
use crate::members::MemberId;
use crate::tokens::KeyId;
use crate::vault::Secret;

const VERIFIER: &str = "code_verifier";

/// What a member wants to connect.
#[derive(Clone, Default)]
pub struct Start {
    /// The app. May be empty for an account that is there.
    pub app: String,
    /// What to call the account; else what the service says, or a name that is made up.
    pub nickname: Option<String>,
    /// The fields that the definition asks for and the service does not give, such as a
    /// subdomain. Those of an account that is there are kept unless others are given.
    pub fields: BTreeMap<String, Secret>,
    /// The scopes to ask for, instead of the definition's.
    pub scopes: Option<Vec<String>>,
    /// The account to connect anew. Its id, links, nickname and access stay.
    pub account: Option<AccountId>,
    /// Whether it may come to belong to another identity at the service.
    pub other_identity: bool,
    /// Whether to store the account without asking the service whose it is (`--no-test`).
    pub untested: bool,
    /// The connect link by which a new account is begun. It is used up when there is one, and not before.
    pub link: Option<KeyId>,
    /// Where the browser goes on afterwards: for [`OAuth::origin`], and nothing else.
    pub next: Option<Secret>,
}

impl Start {
    /// A new account for `app`.
    pub fn of(app: impl Into<String>) -> Self {
        Self { app: app.into(), ..Self::default() }
    }

    /// The account `id`, anew.
    pub fn again(id: AccountId) -> Self {
        Self { account: Some(id), ..Self::default() }
    }
}

/// A connection that goes on in the browser.
#[derive(Clone)]
pub struct Begun {
    /// Where to send the member.
    pub url: Url,
    /// What the answer will carry. A server that sets it in the browser as a cookie, and
    /// compares, knows that the browser is the one that began.
    pub state: String,
    /// Until when the member has time.
    pub expires: Timestamp,
}

/// A start that was checked.
pub(super) struct Ready {
    member_since: Timestamp,
    pub app: Arc<App>,
    pub plain: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
    pub scopes: Vec<String>,
    pub keys: ClientKeys,
    start: Start,
}

impl Ready {
    pub(super) fn def(&self) -> Result<&OAuthDef, OAuthError> {
        self.app.oauth.as_ref().ok_or_else(|| OAuthError::NotByOAuth(self.app.name.clone()))
    }

    pub(super) fn attempt(self, by: &MemberId, way: Way, lifetime: std::time::Duration) -> NewAttempt {
        NewAttempt {
            member: by.clone(),
            member_since: self.member_since,
            app: self.app.name.clone(),
            nickname: self.start.nickname,
            account: self.start.account,
            other_identity: self.start.other_identity,
            untested: self.start.untested,
            link: self.start.link,
            next: self.start.next,
            scopes: self.scopes,
            plain: self.plain,
            secrets: self.secrets,
            way,
            lifetime,
            ours: None,
        }
    }
}

/// A connection whose tokens were given out.
pub(super) struct Ending {
    pub app: Arc<App>,
    pub nickname: Option<String>,
    pub account: Option<AccountId>,
    pub other_identity: bool,
    pub untested: bool,
    pub link: Option<KeyId>,
    pub scopes: Vec<String>,
    pub plain: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret>,
}

impl Ending {
    /// The end of an attempt that was consumed.
    pub(super) fn of(app: Arc<App>, attempt: Attempt, secrets: BTreeMap<String, Secret>) -> Self {
        let Attempt { nickname, account, other_identity, untested, link, scopes, plain, .. } = attempt;
        Self { app, nickname, account, other_identity, untested, link, scopes, plain, secrets }
    }
}

impl OAuth {
    /// Begins to connect an account in `by`'s browser, which is to come back to
    /// `redirect_uri`: exactly the one that is registered with the service.
    ///
    /// # Errors
    /// What is wrong with the fields, or that no client is configured for the app.
    pub async fn begin(&self, by: &MemberId, start: Start, redirect_uri: &str) -> Result<Begun, OAuthError> {
        let wrong = || OAuthError::RedirectUri(redirect_uri.to_owned());
        let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| wrong())?;
        if !is_redirect_uri(redirect.url()) {
            return Err(wrong());
        }
        let ready = self.ready(by, start).await?;
        let def = ready.def()?;
        let server = Server::new(&self.calls, def, &ready.plain, &ready.keys)?;
        let state = CsrfToken::new_random_len(32);
        let mut request = server
            .client()
            .authorize_url(|| state.clone())
            .map_err(|_| OAuthError::NoEndpoint { app: ready.app.name.clone(), what: "authorization_url" })?
            .set_redirect_uri(std::borrow::Cow::Owned(redirect));
        let mut verifier = None;
        if def.pkce {
            let (challenge, secret) = PkceCodeChallenge::new_random_sha256();
            request = request.set_pkce_challenge(challenge);
            verifier = Some((VERIFIER, Secret::new(secret.into_secret())));
        }
        if let Some(scope) = server.scope(&ready.scopes) {
            request = match &def.scope_parameter {
                Some(parameter) => request.add_extra_param(parameter.clone(), scope.to_string()),
                None => request.add_scope(scope),
            };
        }
        for (name, value) in server.parameters(&def.authorize_parameters) {
            request = request.add_extra_param(name, value);
        }
        let (url, state) = request.url();
        drop(server);
        let way = Way::Browser { redirect_uri: redirect_uri.to_owned() };
        let attempt = NewAttempt { ours: verifier, ..ready.attempt(by, way, LIFETIME) };
        let state = state.into_secret();
        let expires = self.keep(&state, attempt).await?;
        Ok(Begun { url, state, expires })
    }

    /// Finishes what [`OAuth::begin`] began: `callback` is the URL at which the browser of
    /// `by` came back, its query included. It can be done once.
    ///
    /// # Errors
    /// If the answer belongs to nothing under way, is an error, or gives no token; or if
    /// the tokens are someone else's than those that they were to replace.
    pub async fn finish(&self, by: &MemberId, callback: &Url) -> Result<Connected, OAuthError> {
        let parameter = |name: &'static str| -> Result<Option<String>, OAuthError> {
            let mut values = callback.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            match (values.next(), values.next()) {
                (_, Some(_)) => Err(OAuthError::Answer("a parameter twice")),
                (value, None) => Ok(value),
            }
        };
        let state = parameter("state")?.ok_or(OAuthError::Answer("no state"))?;
        let under_way = self.under_way(by, &state).await?;
        let Way::Browser { redirect_uri } = &under_way.attempt.way else { return Err(OAuthError::NotUnderWay) };
        let same =
            |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port(), url.path().to_owned());
        let asked_for = Url::parse(redirect_uri).map_err(|_| OAuthError::RedirectUri(redirect_uri.clone()))?;
        if same(&asked_for) != same(callback) {
            return Err(OAuthError::OtherRedirect);
        }
        self.consume(&under_way).await?;

        let app = self.app(&under_way.attempt.app)?;
        let def = self.def(&app)?;
        // Before the code is shown to anyone: a code from one server sent to another is an attack's whole point.
        if let Some(expected) = &def.issuer {
            let got = parameter("iss")?;
            if got.as_ref().map_or(def.require_iss, |got| got != expected) {
                let got = got.map(|got| line(&got, 200));
                return Err(OAuthError::Issuer { expected: expected.clone(), got });
            }
        }
        if let Some(error) = parameter("error")? {
            let text = parameter("error_description")?.map(|text| format!(": {text}")).unwrap_or_default();
            return Err(OAuthError::Refused(line(&format!("{error}{text}"), 300)));
        }
        let code = parameter("code")?.filter(|code| !code.is_empty()).ok_or(OAuthError::Answer("no code"))?;
        // Before the service gives out what would not be kept.
        if let Some(link) = &under_way.attempt.link {
            self.links.look_by_id(link).await?;
        }

        let verifier = self.ours(&under_way, VERIFIER)?.map(|verifier| verifier.expose().to_owned());
        let (attempt, secrets) = (under_way.attempt, under_way.secrets);
        let keys = self.keys(&app, def, &attempt.plain, |name| Ok(secrets.get(name).cloned())).await?;
        let granted = {
            let server = Server::new(&self.calls, def, &attempt.plain, &keys)?;
            let Way::Browser { redirect_uri } = &attempt.way else { return Err(OAuthError::NotUnderWay) };
            server.exchange(code, verifier, redirect_uri).await?
        };
        let ending = Ending::of(app, attempt, secrets);
        self.settle(by, ending, granted).await
    }

    /// Connects an account of an app that asks no member: its client asks for itself (RFC 6749, section 4.4), or
    /// the account's key makes a JWT (RFC 7523).
    ///
    /// # Errors
    /// As the other ways.
    pub async fn connect_client(&self, by: &MemberId, start: Start) -> Result<Connected, OAuthError> {
        let ready = self.ready(by, start).await?;
        let def = ready.def()?;
        let secret = |name: &str| Ok(ready.secrets.get(name).cloned());
        let granted = self.granted_alone(&ready.app, def, &ready.plain, &ready.scopes, secret).await?;
        let Ready { app, plain, secrets, scopes, start, .. } = ready;
        let Start { nickname, account, other_identity, untested, link, .. } = start;
        let ending = Ending { app, nickname, account, other_identity, untested, link, scopes, plain, secrets };
        self.settle(by, ending, granted).await
    }

    /// Checks what a member wants before anyone else hears of it.
    pub(super) async fn ready(&self, by: &MemberId, mut start: Start) -> Result<Ready, OAuthError> {
        let member = self.accounts.members().get(by).await?.ok_or_else(|| ConnectError::NotMember(by.clone()))?;
        if let Some(id) = &start.account {
            let account = self.accounts.owned(by, id).await?;
            if !start.app.is_empty() && start.app != account.app {
                return Err(crate::accounts::ChangeError::OtherApp { id: id.clone(), app: account.app }.into());
            }
            start.app.clone_from(&account.app);
            start.nickname = None;
            let app = self.app(&account.app)?;
            let def = self.def(&app)?;
            let ours = |name: &str| def.supplies(name) || name == REFRESH_TOKEN || name == OAUTH_UID;
            for (name, value) in account.plain.iter().filter(|(name, _)| !ours(name) && app.field(name).is_some()) {
                start.fields.entry(name.clone()).or_insert_with(|| Secret::new(value.clone()));
            }
            for name in account.secret_fields().filter(|name| !ours(name) && app.field(name).is_some()) {
                if !start.fields.contains_key(name) {
                    start.fields.insert(name.to_owned(), self.accounts.secret(&account, name)?);
                }
            }
        }
        if start.app == CUSTOM {
            return Err(OAuthError::NotByOAuth(start.app));
        }
        let app = self.app(&start.app)?;
        let def = self.def(&app)?;
        let given = Connect {
            app: start.app.clone(),
            nickname: start.nickname.clone(),
            fields: std::mem::take(&mut start.fields),
            custom: None,
        };
        let later = |name: &str| def.supplies(name) || name == OAUTH_UID;
        let Prepared { plain, secrets, .. } = self.accounts.prepare_all_but(given, &later)?;
        let scopes = start.scopes.clone().unwrap_or_else(|| def.scopes.clone());
        let keys = self.keys(&app, def, &plain, |name| Ok(secrets.get(name).cloned())).await?;
        Ok(Ready { member_since: member.added, app, plain, secrets, scopes, keys, start })
    }

    pub(super) fn app(&self, name: &str) -> Result<Arc<App>, OAuthError> {
        self.accounts.catalog().get(name).cloned().ok_or_else(|| self.unknown(name))
    }

    /// Stores the account that the tokens belong to, once it is known whose they are.
    ///
    /// Tokens that are not stored are not revoked: at some services that would end every
    /// token of that person and client, those of an account that works among them.
    pub(super) async fn settle(
        &self,
        by: &MemberId,
        ending: Ending,
        granted: Granted,
    ) -> Result<Connected, OAuthError> {
        let Ending { app, nickname, account, other_identity, untested, link, scopes, plain, secrets } = ending;
        let def = self.def(&app)?;
        let mut fields = secrets;
        fields.extend(plain.into_iter().map(|(name, value)| (name, Secret::new(value))));
        fields.extend(granted.extra.fields.into_iter().map(|(name, value)| (name, Secret::new(value))));
        fields.insert(def.access_token.clone(), granted.access);
        let given = Connect { app: app.name.clone(), nickname, fields, custom: None };
        let mut prepared = self.accounts.prepare(given)?;

        let (mut uid, mut hint) = (granted.extra.uid, granted.extra.nickname);
        if uid.is_none() && !untested {
            let found = self.identify(&app, def, &prepared.plain, &prepared.secrets).await;
            let found = found.map_err(|error| OAuthError::Identity(error.to_string()))?;
            uid = found.uid;
            hint = hint.or(found.nickname);
        }
        if let (Some(uid), Some(field)) = (&uid, app.field(OAUTH_UID))
            && !field.secret
        {
            prepared.plain.insert(OAUTH_UID.to_owned(), uid.clone());
        }
        let lifetime = granted.lifetime.or(def.expires_in);
        let tokens = Tokens::now(granted.scopes.unwrap_or(scopes), lifetime);
        let prepared = prepared.with_tokens(tokens, granted.refresh, hint.as_deref());
        let Some(id) = account else {
            // All that the service and the member can do wrong is behind us. Of several who come here by one link, one
            // goes on.
            if let Some(link) = &link {
                self.links.redeem_by_id(link).await?;
            }
            return Ok(self.accounts.store(by, prepared, uid).await?);
        };
        if uid.is_none() && !other_identity && self.accounts.owned(by, &id).await?.uid.is_some() {
            let unknown = "the service did not say; try again, or say that another identity is meant";
            return Err(OAuthError::Identity(unknown.to_owned()));
        }
        let connected = self.accounts.replace(by, &id, prepared.of_another_identity(other_identity), uid).await?;
        self.forget_failures(&id).await?;
        Ok(connected)
    }
}

#[cfg(test)]
never_shown!(Start, Begun, Ready, Ending);
