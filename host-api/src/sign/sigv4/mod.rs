//! AWS Signature Version 4: judging a signature that an SDK made with placeholders, and
//! making the real one over the request that leaves.
//!
//! What AWS publishes of it:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//! The crate `aws-sigv4` signs what it is given and verifies nothing, chooses itself which
//! headers count, and reads the URL with another parser than the broker's; so it is what
//! the tests compare with.

mod chunks;
mod claim;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use url::Url;
use zeroize::Zeroizing;

use super::hex;
use super::hmac::sha256 as hmac_sha256;
use crate::apps::SigV4Def;
use crate::vault::Secret;

pub use chunks::ChunkError;
pub(crate) use chunks::Chunks;
pub use claim::ClaimError;
pub(crate) use claim::{Claim, Payload, is_signed};

/// The one algorithm. The asymmetric one, `AWS4-ECDSA-P256-SHA256`, is for keys of several regions.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What RFC 3986 (2.3) leaves unreserved stays as it is; AWS has everything else encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// A request as it is signed.
#[derive(Clone, Copy)]
pub(crate) struct Signable<'r> {
    pub method: &'r Method,
    pub url: &'r Url,
    pub headers: &'r HeaderMap,
    /// The body, if all of it is known.
    pub body: Option<&'r [u8]>,
}

impl Signable<'_> {
    /// The value of a header as it is signed: blanks at the ends and in a row do not count. `None` if there is none.
    fn header(&self, name: &str) -> Option<String> {
        if name == "host" {
            let host = self.url.host_str()?;
            return Some(self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")));
        }
        let values = self.headers.get_all(name).iter().map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        });
        let values: Vec<String> = values.collect();
        match (values.is_empty(), name, self.body) {
            (false, ..) => Some(values.join(",")),
            // The step's side states it by the body's own length.
            (true, "content-length", Some(body)) => Some(body.len().to_string()),
            (true, ..) => None,
        }
    }

    /// The canonical request over these headers, whose values are there.
    fn canonical(&self, service: &str, signed: &[&str], payload: &str) -> Result<String, ClaimError> {
        let mut text = format!("{}\n{}\n{}\n", self.method, self.path(service), self.query());
        for name in signed {
            let value = self.header(name).ok_or_else(|| ClaimError::Missing((*name).to_owned()))?;
            let _ = writeln!(text, "{name}:{value}");
        }
        let _ = write!(text, "\n{}\n{payload}", signed.join(";"));
        Ok(text)
    }

    /// S3 has each character of a path encoded once, whatever was written; everyone else has what was
    /// written encoded once more.
    fn path(&self, service: &str) -> String {
        match service {
            "s3" => {
                let again = |part: &str| {
                    let decoded: Vec<u8> = percent_decode_str(part).collect();
                    percent_encode(&decoded, UNRESERVED).to_string()
                };
                self.url.path().split('/').map(again).collect::<Vec<_>>().join("/")
            }
            _ => utf8_percent_encode(self.url.path(), PATH).to_string(),
        }
    }

    fn query(&self) -> String {
        let encode = |text: &str| {
            let decoded: Vec<u8> = percent_decode_str(text).collect();
            percent_encode(&decoded, UNRESERVED).to_string()
        };
        let pairs = self.url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<(String, String)> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (encode(name), encode(value))
            })
            .collect();
        pairs.sort();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

/// What a signature is good for: a day, a region and a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CredentialScope {
    pub date: String,
    pub region: String,
    pub service: String,
}

impl std::fmt::Display for CredentialScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// A key for one scope. As good as the secret access key for as long as a day, so it is wiped.
#[derive(Clone)]
struct SigningKey(Zeroizing<[u8; 32]>);

impl SigningKey {
    fn new(secret: &str, scope: &CredentialScope) -> Self {
        let first = Zeroizing::new(format!("AWS4{secret}"));
        let date = Zeroizing::new(hmac_sha256(first.as_bytes(), scope.date.as_bytes()));
        let region = Zeroizing::new(hmac_sha256(&*date, scope.region.as_bytes()));
        let service = Zeroizing::new(hmac_sha256(&*region, scope.service.as_bytes()));
        Self(Zeroizing::new(hmac_sha256(&*service, b"aws4_request")))
    }

    /// The signature of a request or of a part of its body, whose text begins with `kind`.
    fn sign(&self, kind: &str, time: &str, scope: &CredentialScope, rest: &str) -> String {
        hex(&hmac_sha256(&*self.0, format!("{kind}\n{time}\n{scope}\n{rest}").as_bytes()))
    }
}

/// Signs a request of the host's own, without a body, and adds what it needs to its headers. `None` if the
/// account lacks a key.
pub(crate) fn sign_own(
    def: &SigV4Def,
    service: &str,
    (method, url, headers): (&Method, &Url, &mut HeaderMap),
    plain: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, Secret>,
    now: Timestamp,
) -> Option<()> {
    let of = |field: &str| secrets.get(field).map(Secret::expose);
    let sensitive = |text: &str| {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    };
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    headers.insert("x-amz-date", HeaderValue::from_str(&time).ok()?);
    let mut signed = vec!["host", "x-amz-date"];
    if let Some(token) = def.session_token.as_deref().and_then(of) {
        headers.insert("x-amz-security-token", sensitive(token)?);
        signed.push("x-amz-security-token");
    }
    let region = def.region.render(|field| plain.get(field).map(String::as_str))?;
    let scope = CredentialScope { date: time.get(..8)?.to_owned(), region, service: service.to_owned() };
    let canonical =
        Signable { method, url, headers, body: Some(b"") }.canonical(service, &signed, &sha256(b"")).ok()?;
    let key = SigningKey::new(of(&def.secret_access_key)?, &scope);
    let signature = key.sign(ALGORITHM, &time, &scope, &sha256(canonical.as_bytes()));
    let (id, signed) = (of(&def.access_key_id)?, signed.join(";"));
    let header = format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}");
    headers.insert(header::AUTHORIZATION, sensitive(&header)?);
    Some(())
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
never_shown!(SigningKey);

#[cfg(test)]
mod tests;
