//! `Authorization: AWS4-HMAC-SHA256 …` as an SDK made it with placeholders: whether it is
//! what it should be, and the same with the real keys.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use subtle::ConstantTimeEq as _;

use super::chunks::Chunks;
use super::{ALGORITHM, CredentialScope, Signable, SigningKey, sha256};

/// How far a signature's time may be from the host's, as with AWS itself.
const SKEW: Duration = Duration::from_secs(5 * 60);
/// Most headers that a signature may name.
const HEADERS: usize = 64;

/// Headers that the client sets itself, so that they can't be signed before.
const THE_CLIENTS: [&str; 5] = ["accept-encoding", "content-length", "connection", "te", "user-agent"];

/// Why a request that an SDK signed with placeholders is not signed again. Nothing left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// No signature that anybody could verify.
    #[error(
        "the header authorization is no AWS4-HMAC-SHA256 signature with Credential, SignedHeaders and Signature; let an AWS SDK make it"
    )]
    Form,
    /// Another access key than the account's.
    #[error("the signature names another access key than it is made with; take both from $auth of one account")]
    OtherKey,
    /// No time, or one in no form.
    #[error("the request has no x-amz-date in the form 20260131T235959Z, on the day that its signature names")]
    Time,
    /// A signature that is kept for later.
    #[error("the signature's time is more than five minutes from now; sign each request when it is sent")]
    Skew,
    /// Another region than the account's.
    #[error("the signature is for the region {got}, and this account is for {wanted}; give the SDK that region")]
    Region {
        /// What is signed for.
        got: String,
        /// The account's.
        wanted: String,
    },
    /// A service that the definition does not list.
    #[error("the signature is for the service {got}; this account's requests are signed for: {listed}")]
    Service {
        /// What is signed for.
        got: String,
        /// The definition's.
        listed: String,
    },
    /// A service elsewhere.
    #[error("{service} is not at {host}, so nothing is signed for it there")]
    Host {
        /// What is signed for.
        service: String,
        /// The request's host.
        host: String,
    },
    /// A signature that would hold for any host.
    #[error("the signature does not cover the host; name host among SignedHeaders")]
    NoHost,
    /// A header that was not sent.
    #[error("the signature covers the header {0}, which the request does not have")]
    Missing(String),
    /// A body that nobody can tell the hash of.
    #[error("the body's hash is not known; state x-amz-content-sha256, or the body's length, at most 8 MiB")]
    NoPayload,
    /// A body in a form that is not signed again.
    #[error("x-amz-content-sha256 is {0}, which is not signed again; use a hash, UNSIGNED-PAYLOAD or a streaming form")]
    Payload(String),
    /// Another body than the one that was signed.
    #[error("the body is not the one that x-amz-content-sha256 is the hash of")]
    OtherBody,
    /// Not made with the placeholders, or not over this request.
    #[error(
        "the signature is not the one that this account's placeholders make over this request; give the SDK both from $auth, and send what it signed as it is"
    )]
    Signature,
}

/// Whether an SDK has signed the request, rightly or not.
pub(crate) fn is_signed(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| value.as_bytes().starts_with(b"AWS4-"))
}

/// What `x-amz-content-sha256` says of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Its SHA-256.
    Hash(String),
    /// Nothing: it is not signed.
    Unsigned(&'static str),
    /// It comes in chunks that are signed one by one.
    Chunks {
        /// Whether signed trailers follow.
        trailers: bool,
    },
}

impl Payload {
    /// `None` without the header.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ClaimError> {
        let Some(value) = headers.get("x-amz-content-sha256") else { return Ok(None) };
        let text = value.to_str().unwrap_or_default();
        Ok(Some(match text {
            "UNSIGNED-PAYLOAD" => Self::Unsigned("UNSIGNED-PAYLOAD"),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Self::Unsigned("STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Self::Chunks { trailers: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Self::Chunks { trailers: true },
            hash if hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Self::Hash(hash.to_owned())
            }
            other => return Err(ClaimError::Payload(other.chars().take(64).collect())),
        }))
    }

    fn text(&self) -> &str {
        match self {
            Self::Hash(hash) => hash,
            Self::Unsigned(text) => text,
            Self::Chunks { trailers: false } => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Self::Chunks { trailers: true } => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        }
    }
}

/// A signature, taken apart.
#[derive(Clone)]
pub(crate) struct Claim {
    /// The access key that it names.
    pub access_key_id: String,
    pub scope: CredentialScope,
    /// In the order in which they are signed.
    signed: Vec<String>,
    signature: String,
}

/// A claim that holds for the request.
pub(crate) struct Verified {
    time: String,
    payload: Payload,
    given: SigningKey,
}

impl Claim {
    /// Parses the value of `Authorization`.
    pub(crate) fn parse(value: &str) -> Result<Self, ClaimError> {
        let rest = value.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')).ok_or(ClaimError::Form)?;
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or(ClaimError::Form)?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return Err(ClaimError::Form),
            };
            if slot.replace(value).is_some() {
                return Err(ClaimError::Form);
            }
        }
        let (Some(credential), Some(signed), Some(signature)) = (credential, signed, signature) else {
            return Err(ClaimError::Form);
        };
        let parts: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = parts[..] else { return Err(ClaimError::Form) };
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let signed: Vec<String> = signed.split(';').map(str::to_owned).collect();
        let header = |name: &String| !name.is_empty() && header::HeaderName::from_lowercase(name.as_bytes()).is_ok();
        let in_order = signed.is_sorted_by(|one, next| one < next);
        if !word(region) || !word(service) || signed.len() > HEADERS || !signed.iter().all(header) || !in_order {
            return Err(ClaimError::Form);
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            scope: CredentialScope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() },
            signed,
            signature: signature.to_owned(),
        })
    }

    /// Whether the signature is the one that `secret` makes over `request`, now.
    pub(crate) fn verify(&self, request: Signable<'_>, secret: &str, now: Timestamp) -> Result<Verified, ClaimError> {
        let time = request.header("x-amz-date").ok_or(ClaimError::Time)?;
        let at = DateTime::strptime("%Y%m%dT%H%M%SZ", &time).and_then(|at| TimeZone::UTC.to_timestamp(at));
        let at = at.map_err(|_| ClaimError::Time)?;
        if time.len() != 16 || !time.starts_with(&self.scope.date) || self.scope.date.len() != 8 {
            return Err(ClaimError::Time);
        }
        if at.duration_since(now).unsigned_abs() > SKEW {
            return Err(ClaimError::Skew);
        }
        if !self.signed.iter().any(|name| name == "host") {
            return Err(ClaimError::NoHost);
        }
        let payload = match (Payload::of(request.headers)?, request.body) {
            (Some(Payload::Hash(hash)), Some(body)) if hash != sha256(body) => return Err(ClaimError::OtherBody),
            (Some(payload), _) => payload,
            (None, Some(body)) => Payload::Hash(sha256(body)),
            (None, None) => return Err(ClaimError::NoPayload),
        };
        let signed: Vec<&str> = self.signed.iter().map(String::as_str).collect();
        let canonical = request.canonical(&self.scope.service, &signed, payload.text())?;
        let given = SigningKey::new(secret, &self.scope);
        let expected = given.sign(ALGORITHM, &time, &self.scope, &sha256(canonical.as_bytes()));
        match bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            true => Ok(Verified { time, payload, given }),
            false => Err(ClaimError::Signature),
        }
    }

    /// The header that the real keys make over `request`, and what signs its chunks again if it
    /// comes in such. The headers are those that were signed before, as far as they are sent.
    pub(crate) fn again(
        &self,
        verified: Verified,
        request: Signable<'_>,
        access_key_id: &str,
        secret: &str,
    ) -> Result<(HeaderValue, Option<Chunks>), ClaimError> {
        let Verified { time, payload, given } = verified;
        let signed: Vec<&str> =
            self.signed.iter().map(String::as_str).filter(|name| !THE_CLIENTS.contains(name)).collect();
        let canonical = request.canonical(&self.scope.service, &signed, payload.text())?;
        let key = SigningKey::new(secret, &self.scope);
        let signature = key.sign(ALGORITHM, &time, &self.scope, &sha256(canonical.as_bytes()));
        let header = format!(
            "{ALGORITHM} Credential={access_key_id}/{}, SignedHeaders={}, Signature={signature}",
            self.scope,
            signed.join(";")
        );
        let mut header = HeaderValue::from_str(&header).map_err(|_| ClaimError::Form)?;
        header.set_sensitive(true);
        let chunks = match payload {
            Payload::Chunks { trailers } => {
                Some(Chunks::new(time, self.scope.clone(), (given, self.signature.clone()), (key, signature), trailers))
            }
            Payload::Hash(_) | Payload::Unsigned(_) => None,
        };
        Ok((header, chunks))
    }
}
