//! The `oauth2` crate on our wire: its requests leave by the host's own calls, and it
//! parses what [`answer::normalise`] made of the answers. Whatever goes wrong comes out
//! scrubbed of the secrets that were sent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header;
use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient as _, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret,
    DeviceAuthorizationUrl, EndpointMaybeSet, EndpointNotSet, EndpointSet, ErrorResponse, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl, Scope, StandardDeviceAuthorizationResponse,
    StandardErrorResponse, StandardRevocableToken, StandardTokenResponse, TokenResponse as _, TokenUrl,
};
use url::Url;

use super::answer::{self, AnswerError, Asked, Extra, ExtraMember};
use super::error::{OAuthError, TokenError};
use crate::apps::{ClientAuth, OAuthDef, SendJwt};
use crate::broker::scrub::Scrubber;
use crate::broker::{CallError, OwnCalls, TransportError};
use crate::vault::Secret;

/// RFC 7523, section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How long a token endpoint has for a whole answer.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

type TokenResponse = StandardTokenResponse<ExtraMember, BasicTokenType>;
pub(super) type Client = oauth2::Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointMaybeSet,
    EndpointMaybeSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointSet,
>;

/// The client that asks: the operator's, or the account's own.
#[derive(Clone)]
pub(super) struct ClientKeys {
    pub id: String,
    pub secret: Option<Secret>,
}

/// What a token endpoint gave.
pub(super) struct Granted {
    pub access: Secret,
    pub refresh: Option<Secret>,
    /// None if the answer does not say.
    pub lifetime: Option<Duration>,
    /// None if they are those that were asked for (RFC 6749, section 5.1).
    pub scopes: Option<Vec<String>>,
    pub extra: Extra,
}

/// One app's authorization server, as one account's fields and client have it.
pub(super) struct Server<'a> {
    calls: &'a OwnCalls,
    pub def: &'a OAuthDef,
    plain: &'a BTreeMap<String, String>,
    keys: &'a ClientKeys,
    client: Client,
}

/// A way to poll once: what came of it.
pub(super) enum Polled {
    /// Ask again after so long.
    Pending(Duration),
    Granted(Granted),
}

impl<'a> Server<'a> {
    pub fn new(
        calls: &'a OwnCalls,
        def: &'a OAuthDef,
        plain: &'a BTreeMap<String, String>,
        keys: &'a ClientKeys,
    ) -> Result<Self, OAuthError> {
        let token = def.token.as_ref().ok_or(OAuthError::NoTokenEndpoint)?;
        let url = |endpoint: &Option<crate::apps::Endpoint>| endpoint.as_ref().map(|e| e.url(plain)).transpose();
        let mut client = oauth2::Client::new(ClientId::new(keys.id.clone())).set_auth_type(match def.client_auth {
            ClientAuth::Basic => AuthType::BasicAuth,
            ClientAuth::Body => AuthType::RequestBody,
        });
        if let Some(secret) = &keys.secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
        }
        let client = client
            .set_auth_uri_option(url(&def.authorization)?.map(AuthUrl::from_url))
            .set_device_authorization_url_option(url(&def.device)?.map(DeviceAuthorizationUrl::from_url))
            .set_revocation_url_option(url(&def.revocation)?.map(RevocationUrl::from_url))
            .set_token_uri(TokenUrl::from_url(token.url(plain)?));
        Ok(Self { calls, def, plain, keys, client })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the token endpoint is called in errors.
    fn token_endpoint(&self) -> String {
        let mut url = self.client.token_uri().url().clone();
        url.set_query(None);
        url.into()
    }

    /// `scopes` as the server wants them in one parameter.
    pub fn scope(&self, scopes: &[String]) -> Option<Scope> {
        (!scopes.is_empty()).then(|| Scope::new(scopes.join(&self.def.scope_separator)))
    }

    /// Parameters of the definition, filled with the account's fields. One whose field is missing is left out.
    pub fn parameters(&self, of: &[(String, crate::apps::Template)]) -> Vec<(String, String)> {
        let value = |name: &str| self.plain.get(name).map(String::as_str);
        of.iter().filter_map(|(name, template)| Some((name.clone(), template.render(value)?))).collect()
    }

    fn token_parameters(&self) -> Vec<(String, String)> {
        self.parameters(&self.def.token_parameters)
    }

    fn wire(&self, asked: Asked, limit: Duration) -> Wire<'_> {
        Wire { calls: self.calls, def: self.def, asked, limit, failed: Mutex::default() }
    }

    pub async fn exchange(
        &self,
        code: String,
        verifier: Option<String>,
        redirect: &str,
    ) -> Result<Granted, OAuthError> {
        let redirect_url =
            RedirectUrl::new(redirect.to_owned()).map_err(|_| OAuthError::RedirectUri(redirect.to_owned()))?;
        let secrets = [Some(code.clone()), verifier.clone()];
        let mut request =
            self.client.exchange_code(AuthorizationCode::new(code)).set_redirect_uri(Cow::Owned(redirect_url));
        if let Some(verifier) = verifier {
            request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier));
        }
        for (name, value) in self.token_parameters() {
            request = request.add_extra_param(name, value);
        }
        let answer = request.request_async(&self.wire(Asked::Token, LIMIT)).await;
        self.granted(answer, &secrets)
    }

    pub async fn client_credentials(&self, scopes: &[String]) -> Result<Granted, OAuthError> {
        let mut request = self.client.exchange_client_credentials();
        request = request.add_scopes(self.scope(scopes));
        for (name, value) in self.token_parameters() {
            request = request.add_extra_param(name, value);
        }
        let answer = request.request_async(&self.wire(Asked::Token, LIMIT)).await;
        self.granted(answer, &[])
    }

    /// Exchanges a JWT for an access token: as a form (RFC 7523, section 2.1), or as the services have it
    /// that take it for a bearer token.
    pub async fn jwt(&self, jwt: &Secret, send: SendJwt) -> Result<Granted, OAuthError> {
        let mut pairs = self.token_parameters();
        if send == SendJwt::Assertion {
            pairs.push(("grant_type".to_owned(), JWT_BEARER.to_owned()));
            pairs.push(("assertion".to_owned(), jwt.expose().to_owned()));
        }
        let mut request =
            http::Request::post(self.client.token_uri().as_str()).header(header::ACCEPT, "application/json");
        if send == SendJwt::Bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", jwt.expose()));
        }
        let mut body = Vec::new();
        if !pairs.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes();
        }
        let failed = |error| self.failed::<BasicErrorResponseType>(error, &[Some(jwt.expose().to_owned())]);
        let request = request.body(body).map_err(|error| failed(RequestTokenError::Other(error.to_string())))?;
        let wire = self.wire(Asked::Token, LIMIT);
        let answer = wire.call(request).await.map_err(|error| failed(RequestTokenError::Request(error)))?;
        let garbage = |_| failed(RequestTokenError::Request(AnswerError::Garbage.into()));
        match answer.status().is_success() {
            true => serde_json::from_slice(answer.body()).map(|token| granted(&token)).map_err(garbage),
            false => {
                let told: BasicErrorResponse = serde_json::from_slice(answer.body()).map_err(garbage)?;
                Err(failed(RequestTokenError::ServerResponse(told)))
            }
        }
    }

    pub async fn refresh(&self, token: &Secret) -> Result<Granted, OAuthError> {
        let refresh = RefreshToken::new(token.expose().to_owned());
        let mut request = self.client.exchange_refresh_token(&refresh);
        for (name, value) in self.token_parameters() {
            request = request.add_extra_param(name, value);
        }
        let answer = request.request_async(&self.wire(Asked::Token, LIMIT)).await;
        self.granted(answer, &[Some(token.expose().to_owned())])
    }

    pub async fn device(&self, scopes: &[String]) -> Result<StandardDeviceAuthorizationResponse, OAuthError> {
        let mut request = self.client.exchange_device_code().map_err(|_| self.no_device())?;
        request = request.add_scopes(self.scope(scopes));
        let answer = request.request_async(&self.wire(Asked::Device, LIMIT)).await;
        answer.map_err(|error| self.failed(error, &[]))
    }

    fn no_device(&self) -> OAuthError {
        OAuthError::NoEndpoint { app: self.token_endpoint(), what: "device_url" }
    }

    /// Asks once whether the member has entered the code.
    pub async fn poll(&self, device: &StandardDeviceAuthorizationResponse) -> Result<Polled, OAuthError> {
        let mut request = self.client.exchange_device_access_token(device);
        for (name, value) in self.token_parameters() {
            request = request.add_extra_param(name, value);
        }
        // `oauth2` asks until it has an answer. To ask once, it is left when it wants to wait.
        let (wants, mut waits) = tokio::sync::mpsc::unbounded_channel();
        let wire = self.wire(Asked::Token, LIMIT);
        let wait = move |interval| {
            let _ = wants.send(interval);
            std::future::pending()
        };
        tokio::select! {
            answer = request.request_async(&wire, wait, None) => match answer {
                Ok(token) => Ok(Polled::Granted(granted(&token))),
                Err(error) => match error {
                    RequestTokenError::ServerResponse(told) if told.error().as_ref() == "expired_token" => Err(OAuthError::Expired),
                    RequestTokenError::ServerResponse(told) if told.error().as_ref() == "access_denied" => {
                        Err(OAuthError::Refused("access_denied".to_owned()))
                    }
                    error => Err(self.failed(error, &[Some(device.device_code().secret().clone())])),
                },
            },
            Some(interval) = waits.recv() => match wire.lasting_failure() {
                Some(error) => Err(self.failed::<BasicErrorResponseType>(RequestTokenError::Request(error), &[])),
                None => Ok(Polled::Pending(interval)),
            },
        }
    }

    /// Revokes a token (RFC 7009). The server says the same of one that it does not know.
    pub async fn revoke(&self, token: StandardRevocableToken, limit: Duration) -> Result<(), OAuthError> {
        let secret = match &token {
            StandardRevocableToken::AccessToken(token) => token.secret().clone(),
            StandardRevocableToken::RefreshToken(token) => token.secret().clone(),
            _ => String::new(),
        };
        let request = self.client.revoke_token(token).map_err(|error| OAuthError::Token {
            endpoint: self.token_endpoint(),
            error: TokenError::Request(error.to_string()),
        })?;
        let answer = request.request_async(&self.wire(Asked::Revocation, limit)).await;
        answer.map_err(|error| self.failed(error, &[Some(secret)]))
    }

    fn granted(
        &self,
        answer: Result<TokenResponse, RequestTokenError<TokenError, BasicErrorResponse>>,
        secrets: &[Option<String>],
    ) -> Result<Granted, OAuthError> {
        match answer {
            Ok(token) => Ok(granted(&token)),
            Err(error) => Err(self.failed(error, secrets)),
        }
    }

    fn failed<T: oauth2::ErrorResponseType + std::fmt::Display>(
        &self,
        error: RequestTokenError<TokenError, StandardErrorResponse<T>>,
        secrets: &[Option<String>],
    ) -> OAuthError
    where
        StandardErrorResponse<T>: ErrorResponse + 'static,
    {
        let secrets = secrets.iter().flatten().map(|secret| (Secret::new(secret.clone()), "‹secret›".to_owned()));
        let client = self.keys.secret.iter().map(|secret| (secret.clone(), "‹client_secret›".to_owned()));
        let scrubber = Scrubber::new(secrets.chain(client).collect());
        let scrub = |text: &str| scrubber.scrub_text(text).into_owned();
        let error = match error {
            RequestTokenError::ServerResponse(told) => TokenError::Server {
                code: scrub(&told.error().to_string()),
                text: told.error_description().map(|text| scrub(text)),
            },
            RequestTokenError::Request(TokenError::Answer(AnswerError::Status { status, said, retry_after })) => {
                let said = said.map(|said| scrub(&said));
                AnswerError::Status { status, said, retry_after }.into()
            }
            RequestTokenError::Request(error) => error,
            // It quotes what it could not parse in its source, which is not shown.
            RequestTokenError::Parse(..) => AnswerError::Garbage.into(),
            RequestTokenError::Other(text) => TokenError::Request(answer::line(&text, 200)),
        };
        OAuthError::Token { endpoint: self.token_endpoint(), error }
    }
}

fn granted(token: &TokenResponse) -> Granted {
    Granted {
        access: Secret::new(token.access_token().secret().clone()),
        refresh: token.refresh_token().map(|token| Secret::new(token.secret().clone())),
        lifetime: token.expires_in(),
        scopes: token.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
        extra: token.extra_fields().keyhole.clone(),
    }
}

/// An access token to be revoked.
pub(super) fn access_token(token: &Secret) -> StandardRevocableToken {
    AccessToken::new(token.expose().to_owned()).into()
}

/// A refresh token to be revoked.
pub(super) fn refresh_token(token: &Secret) -> StandardRevocableToken {
    RefreshToken::new(token.expose().to_owned()).into()
}

/// One request of the `oauth2` crate.
struct Wire<'a> {
    calls: &'a OwnCalls,
    def: &'a OAuthDef,
    asked: Asked,
    limit: Duration,
    /// `oauth2` takes a poll that failed for one that has to wait.
    failed: Mutex<Option<TokenError>>,
}

impl Wire<'_> {
    /// What went wrong, if asking again would not help.
    fn lasting_failure(&self) -> Option<TokenError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        match failed {
            TokenError::Answer(AnswerError::Status { .. }) => None,
            TokenError::Call(CallError::Transport(
                TransportError::Timeout | TransportError::Connect(_) | TransportError::Protocol(_),
            )) => None,
            lasting => Some(lasting),
        }
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for Wire<'_> {
    type Error = TokenError;
    type Future = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, TokenError>> + Send + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = match self.calls.send(request, self.limit).await {
                Ok(answer) => answer::normalise(answer, &self.def.answer, self.asked).map_err(TokenError::from),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = &answer {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }
            answer
        })
    }
}

/// Whether `url` can be where a browser comes back to: over TLS, or not off this machine
/// (RFC 8252, section 7.3).
pub(crate) fn is_redirect_uri(url: &Url) -> bool {
    let local = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && local);
    scheme && url.fragment().is_none() && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
never_shown!(ClientKeys, Granted, Server<'static>, Polled, Wire<'static>);
