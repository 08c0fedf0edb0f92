//! The provider itself: what it says of itself, which is asked for when somebody first needs it and kept for a while, and
//! what it says of people, which is believed only with its signature.
//!
//! A provider that is down must keep nobody from anything but signing in by it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreErrorResponseType,
    CoreGenderClaim, CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreSubjectIdentifierType, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalProviderMetadata, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId,
    ClientSecret, DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenClaims,
    IdTokenFields, IdTokenVerifier, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeVerifier, ProviderMetadata,
    RedirectUrl, RequestTokenError, SignatureVerificationError, StandardErrorResponse, StandardTokenResponse,
    TokenResponse as _, UserInfoClaims, UserInfoError,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::attempt::{Attempt, Came, Keys};
use super::error::{OidcError, WireError, chain, line};
use super::people::{More, Person, Said};
use super::settings::{MemberClaim, OidcSettings};
use super::wire::Wire;
use crate::broker::OwnCalls;
use crate::broker::scrub::Scrubber;
use crate::vault::Secret;

/// How long what the provider says of itself is kept.
const KNOWN: Duration = Duration::from_secs(3600);
/// A signature by a key that is not known has it asked again, but not within this time.
const AGAIN: Duration = Duration::from_secs(30);
/// How long it is not asked again after it could not be: whoever waits in line need not wait for each other's time-out.
const DOWN: Duration = Duration::from_secs(5);

/// How an ID token may be signed: with a key that the provider alone has. So never by a secret that others know, too, and
/// never by none.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What a provider says of itself beside the standard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct MoreMetadata {
    /// RFC 9207, section 3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    /// What it can be asked to have people do (OpenID Connect Prompt Create 1.0, section 4).
    #[serde(default)]
    pub prompt_values_supported: Vec<String>,
}

impl AdditionalProviderMetadata for MoreMetadata {}

pub(super) type Metadata = ProviderMetadata<
    MoreMetadata,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type TokenAnswer = StandardTokenResponse<
    IdTokenFields<
        More,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type TokenRefusal = StandardErrorResponse<CoreErrorResponseType>;

pub(super) type Client = openidconnect::Client<
    More,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    TokenRefusal,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

type Claims = IdTokenClaims<More, CoreGenderClaim>;

/// The operator's provider.
pub(super) struct Provider {
    pub settings: OidcSettings,
    known: Mutex<Option<Asked>>,
}

/// What came of asking it, and when.
struct Asked {
    at: Instant,
    told: Result<Arc<Known>, (Fault, String)>,
}

/// Whose fault it is that it is not known.
#[derive(Clone, Copy)]
enum Fault {
    Unreachable,
    Metadata,
}

/// What it says of itself.
pub(super) struct Known {
    pub metadata: Metadata,
}

impl Known {
    /// How it is asked to have somebody say who they are, though it may know. Only as it says that it can be: others refuse
    /// the whole request.
    pub fn prompt_for_account(&self) -> Option<CoreAuthPrompt> {
        let can = |name: &str| {
            self.metadata.additional_metadata().prompt_values_supported.iter().any(|prompt| prompt == name)
        };
        match (can("select_account"), can("login")) {
            (true, _) => Some(CoreAuthPrompt::SelectAccount),
            (false, true) => Some(CoreAuthPrompt::Login),
            (false, false) => None,
        }
    }

    /// What makes requests to it, and reads its answers.
    pub fn client(&self, settings: &OidcSettings) -> Client {
        let secret = settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let client =
            Client::from_provider_metadata(self.metadata.clone(), ClientId::new(settings.client_id.clone()), secret);
        // Basic is the default of the standard, unless it says what it takes.
        let takes = self.metadata.token_endpoint_auth_methods_supported();
        let basic = takes.is_none_or(|takes| takes.contains(&CoreClientAuthMethod::ClientSecretBasic));
        client.set_auth_type(if basic { AuthType::BasicAuth } else { AuthType::RequestBody })
    }
}

impl Provider {
    pub fn new(settings: OidcSettings) -> Self {
        Self { settings, known: Mutex::default() }
    }

    /// What it says of itself, asked for if it is not known or has been for long.
    pub async fn known(&self, calls: &OwnCalls) -> Result<Arc<Known>, OidcError> {
        self.known_within(calls, KNOWN).await
    }

    async fn known_within(&self, calls: &OwnCalls, age: Duration) -> Result<Arc<Known>, OidcError> {
        let mut asked = self.known.lock().await;
        let fresh = asked.as_ref().filter(|asked| match asked.told {
            Ok(_) => asked.at.elapsed() < age,
            Err(_) => asked.at.elapsed() < DOWN,
        });
        let told = match fresh {
            Some(asked) => asked.told.clone(),
            None => {
                let told = self.discover(calls).await.map(|metadata| Arc::new(Known { metadata }));
                if let Err((_, error)) = &told {
                    tracing::warn!(issuer = self.settings.issuer, error, "the OpenID provider can't be used");
                }
                *asked = Some(Asked { at: Instant::now(), told: told.clone() });
                told
            }
        };
        let label = self.settings.label.clone();
        told.map_err(|(fault, error)| match fault {
            Fault::Unreachable => OidcError::Unreachable { label, error },
            Fault::Metadata => OidcError::Metadata { label, error },
        })
    }

    async fn discover(&self, calls: &OwnCalls) -> Result<Metadata, (Fault, String)> {
        let issuer = IssuerUrl::new(self.settings.issuer.clone());
        let issuer = issuer.map_err(|error| (Fault::Metadata, chain(&error)))?;
        let metadata = Metadata::discover_async(issuer, &Wire(calls)).await.map_err(|error| match error {
            DiscoveryError::Request(error) => (Fault::Unreachable, chain(&error)),
            DiscoveryError::Response(status, _, _) if status.is_server_error() => {
                (Fault::Unreachable, format!("it answered {status}"))
            }
            // Its source quotes what could not be read.
            DiscoveryError::Response(status, _, _) => (Fault::Metadata, format!("it answered {status}")),
            DiscoveryError::Parse(_) => (Fault::Metadata, "its answer can't be read".to_owned()),
            error => (Fault::Metadata, chain(&error)),
        })?;
        // A browser is sent there with what nobody else is to see.
        if metadata.authorization_endpoint().url().scheme() != "https" {
            return Err((Fault::Metadata, "its authorization endpoint is not over TLS".to_owned()));
        }
        if metadata.token_endpoint().is_none() {
            return Err((Fault::Metadata, "it names no token endpoint".to_owned()));
        }
        Ok(metadata)
    }

    /// Who came back.
    pub async fn person(
        &self,
        calls: &OwnCalls,
        came: &Came,
        attempt: &Attempt,
        keys: &Keys,
    ) -> Result<Person, OidcError> {
        let settings = &self.settings;
        let label = || settings.label.clone();
        let known = self.known(calls).await?;
        if known.metadata.additional_metadata().authorization_response_iss_parameter_supported && came.iss.is_none() {
            return Err(OidcError::Issuer(label()));
        }
        let code = came.code.clone().ok_or_else(|| OidcError::NoCode(label()))?;
        let client = known.client(settings);
        let redirect =
            RedirectUrl::new(attempt.redirect.clone()).map_err(|_| OidcError::NotOverTls(attempt.redirect.clone()))?;
        let token_failed = |error: String| OidcError::Token { label: label(), error };
        let answer = client
            .exchange_code(AuthorizationCode::new(code.clone()))
            .map_err(|error| token_failed(chain(&error)))?
            .set_pkce_verifier(PkceCodeVerifier::new(keys.verifier.expose().to_owned()))
            .set_redirect_uri(Cow::Owned(redirect))
            .request_async(&Wire(calls))
            .await
            .map_err(|error| token_failed(self.told(error, code, keys)))?;
        let claims_failed = |error: String| OidcError::Claims { label: label(), error };
        let id_token = answer.id_token().ok_or_else(|| claims_failed("it sent no ID token".to_owned()))?;
        let claims = match verified(id_token, &verifier(settings, &known.metadata), &keys.nonce) {
            // It may have a new key.
            Err(error) if is_unknown_key(&error) => {
                let fresh = self.known_within(calls, AGAIN).await?;
                verified(id_token, &verifier(settings, &fresh.metadata), &keys.nonce)
            }
            done => done,
        };
        let claims = claims.map_err(|error| claims_failed(chain(&error)))?;
        if let Some(expected) = claims.access_token_hash() {
            // The access token is the one that was signed for, or it is somebody else's.
            let verifier = verifier(settings, &self.known(calls).await?.metadata);
            let hash = match (id_token.signing_key(&verifier), id_token.signing_alg()) {
                (Ok(key), Ok(algorithm)) => AccessTokenHash::from_token(answer.access_token(), algorithm, key).ok(),
                _ => None,
            };
            if hash.as_ref() != Some(expected) {
                return Err(claims_failed("the access token is not the one that the ID token is about".to_owned()));
            }
        }
        let by_email = settings.member_claim == MemberClaim::Email;
        let subject = claims.subject();
        let said = Said::signed(claims);
        if said.is_enough(&settings.groups_claim, by_email) || client.user_info_url().is_none() {
            return Ok(Person::of(&settings.issuer, subject, &settings.groups_claim, &[said]));
        }
        let asked = client.user_info(answer.access_token().clone(), Some(subject.clone()));
        let asked = asked.map_err(|error| claims_failed(chain(&error)))?;
        let info: UserInfoClaims<More, CoreGenderClaim> =
            asked.request_async(&Wire(calls)).await.map_err(|error: UserInfoError<WireError>| match error {
                UserInfoError::Request(error) => OidcError::Unreachable { label: label(), error: chain(&error) },
                UserInfoError::Response(status, _, _) => claims_failed(format!("userinfo answered {status}")),
                UserInfoError::Parse(_) => claims_failed("userinfo can't be read".to_owned()),
                error => claims_failed(chain(&error)),
            })?;
        Ok(Person::of(&settings.issuer, subject, &settings.groups_claim, &[said, Said::asked(&info)]))
    }

    /// What the token endpoint said, without what it was sent.
    fn told(&self, error: RequestTokenError<WireError, TokenRefusal>, code: String, keys: &Keys) -> String {
        let sent = [(Secret::new(code), "‹code›"), (keys.verifier.clone(), "‹code_verifier›")];
        let client = self.settings.client_secret.iter().map(|secret| (secret.clone(), "‹client_secret›"));
        let secrets = sent.into_iter().chain(client).map(|(secret, label)| (secret, label.to_owned()));
        let scrubber = Scrubber::new(secrets.collect());
        let text = match &error {
            RequestTokenError::ServerResponse(told) => match told.error_description() {
                Some(text) => format!("{}: {text}", told.error().as_ref()),
                None => told.error().as_ref().to_owned(),
            },
            RequestTokenError::Request(error) => chain(error),
            // It quotes what it could not parse in its source.
            RequestTokenError::Parse(..) => "its answer can't be read".to_owned(),
            RequestTokenError::Other(text) => text.clone(),
        };
        line(&scrubber.scrub_text(&text))
    }
}

/// What checks ID tokens: signature, issuer, audience, expiry and nonce (OpenID Connect Core, section 3.1.3.7).
pub(super) fn verifier<'k>(settings: &OidcSettings, metadata: &Metadata) -> IdTokenVerifier<'k, CoreJsonWebKey> {
    IdTokenVerifier::new_public_client(
        ClientId::new(settings.client_id.clone()),
        metadata.issuer().clone(),
        metadata.jwks().clone(),
    )
    .set_allowed_algs(ALGORITHMS)
}

pub(super) type IdToken =
    openidconnect::IdToken<More, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

pub(super) fn verified<'t>(
    token: &'t IdToken,
    verifier: &IdTokenVerifier<'_, CoreJsonWebKey>,
    nonce: &Nonce,
) -> Result<&'t Claims, ClaimsVerificationError> {
    token.claims(verifier, nonce)
}

fn is_unknown_key(error: &ClaimsVerificationError) -> bool {
    use SignatureVerificationError::{CryptoError, NoMatchingKey};
    // Without an id in the header, an old key is tried and does not fit.
    matches!(error, ClaimsVerificationError::SignatureVerification(NoMatchingKey | CryptoError(_)))
}
