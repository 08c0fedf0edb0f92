//! JWTs (RFC 7519) in the compact form (RFC 7515, section 7.1), whose every claim an app's
//! definition fixes.
//!
//! `ring`, the provider that TLS has, signs. The crate `jsonwebtoken` would need another
//! provider, or one installed for the whole process: a library's user decides that.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::apps::{Algorithm, JwtDef};
use crate::vault::Secret;

/// How far back a JWT says that it was made, so that a server whose clock is behind takes it.
const BACKDATED: Duration = Duration::from_secs(60);
/// Fewest bytes of a shared key: as many as the hash has (RFC 7518, section 3.2).
const HS256_BYTES: usize = 32;

/// Why a key can't sign. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key between PEM's lines.
    #[error(
        "holds no private key in PEM; give the whole file, from '-----BEGIN … PRIVATE KEY-----' to '-----END … PRIVATE KEY-----'"
    )]
    NoPem,
    /// A service's file with the key somewhere in it.
    #[error("is a JSON file; give the key in it alone, the value of private_key")]
    Json,
    /// A key that only its password opens.
    #[error("is encrypted with a password; decrypt it first: openssl pkey -in FILE")]
    Encrypted,
    /// What everyone may have.
    #[error("holds a public key or a certificate; give the private key")]
    Public,
    /// A form that the signer does not read.
    #[error("is in the old form for elliptic curves; convert it first: openssl pkcs8 -topk8 -nocrypt -in FILE")]
    Sec1,
    /// A key of another kind, or a damaged one.
    #[error("is no {0}")]
    Kind(&'static str),
    /// Too easily guessed.
    #[error("has fewer than {HS256_BYTES} characters, too few for a key of HS256")]
    Short,
}

/// Why no JWT was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// The key is none.
    #[error("{field} {error}; reconnect the account")]
    Key {
        /// The field that holds it.
        field: String,
        /// What is wrong.
        error: KeyError,
    },
    /// A claim without a value.
    #[error("the account has no {0}; reconnect it")]
    Missing(String),
    /// The random source.
    #[error("the system's random source failed, so nothing can be signed")]
    Random,
}

/// A private key, parsed.
enum Key {
    Rsa(Box<RsaKeyPair>),
    Es256(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Hs256(ring::hmac::Key),
}

/// Whether `text` is a key for `algorithm`.
pub(crate) fn check(algorithm: Algorithm, text: &Secret) -> Result<(), KeyError> {
    Key::read(algorithm, text).map(drop)
}

impl Key {
    fn read(algorithm: Algorithm, text: &Secret) -> Result<Self, KeyError> {
        let text = text.expose();
        if algorithm == Algorithm::Hs256 {
            return match text.len() {
                0..HS256_BYTES => Err(KeyError::Short),
                _ => Ok(Self::Hs256(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, text.as_bytes()))),
            };
        }
        let der = der(text)?;
        let wrong = |_| KeyError::Kind(kind(algorithm));
        match (algorithm, &der) {
            (Algorithm::Rs256, PrivateKeyDer::Pkcs1(der)) => {
                Ok(Self::Rsa(Box::new(RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(wrong)?)))
            }
            (Algorithm::Rs256, PrivateKeyDer::Pkcs8(der)) => {
                Ok(Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(wrong)?)))
            }
            (Algorithm::Es256, PrivateKeyDer::Pkcs8(der)) => {
                let random = SystemRandom::new();
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random);
                Ok(Self::Es256(Box::new(key.map_err(wrong)?)))
            }
            (Algorithm::EdDsa, PrivateKeyDer::Pkcs8(der)) => {
                // OpenSSL writes the form without the public key.
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
                Ok(Self::Ed25519(Box::new(key.map_err(wrong)?)))
            }
            (Algorithm::Es256, PrivateKeyDer::Sec1(_)) => Err(KeyError::Sec1),
            _ => Err(KeyError::Kind(kind(algorithm))),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, JwtError> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| JwtError::Random)?;
                Ok(signature)
            }
            Self::Es256(key) => {
                key.sign(&random, message).map(|signature| signature.as_ref().to_vec()).map_err(|_| JwtError::Random)
            }
            Self::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Self::Hs256(key) => Ok(ring::hmac::sign(key, message).as_ref().to_vec()),
        }
    }
}

/// The one private key of a PEM text. Line breaks may be written `\n`, as in the JSON files that services hand out.
fn der(text: &str) -> Result<PrivateKeyDer<'static>, KeyError> {
    if text.trim_start().starts_with('{') {
        return Err(KeyError::Json);
    }
    let lines = Zeroizing::new(text.replace("\\n", "\n"));
    PrivateKeyDer::from_pem_slice(lines.as_bytes()).map_err(|_| {
        let begins = |what: &str| lines.contains(&format!("-----BEGIN {what}-----"));
        if begins("ENCRYPTED PRIVATE KEY") || lines.contains("Proc-Type: 4,ENCRYPTED") {
            KeyError::Encrypted
        } else if begins("PUBLIC KEY") || begins("RSA PUBLIC KEY") || begins("CERTIFICATE") {
            KeyError::Public
        } else {
            KeyError::NoPem
        }
    })
}

fn kind(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rs256 => "RSA private key of at least 2048 bits, which RS256 takes",
        Algorithm::Es256 => "private key on the curve P-256 in PKCS #8, which ES256 takes",
        Algorithm::EdDsa => "Ed25519 private key in PKCS #8, which EdDSA takes",
        Algorithm::Hs256 => "key of HS256",
    }
}

/// A JWT that was just made, and how long from now it is good.
pub(crate) struct Made {
    pub token: Secret,
    pub lifetime: Duration,
}

/// Makes the JWT of the account with these plain fields. `scope` is what the definition has the
/// account ask for: the claim's name, and the scopes as one text.
pub(crate) fn make(
    def: &JwtDef,
    plain: &BTreeMap<String, String>,
    scope: Option<(&str, &str)>,
    key: &Secret,
    now: Timestamp,
) -> Result<Made, JwtError> {
    let key = Key::read(def.algorithm, key).map_err(|error| JwtError::Key { field: def.key.clone(), error })?;
    let text = |template: &crate::apps::Template| {
        let rendered = template.render(|field| plain.get(field).map(String::as_str));
        rendered.map(Value::from).ok_or_else(|| JwtError::Missing(template.to_string()))
    };
    let mut header = Map::new();
    header.insert("alg".into(), def.algorithm.name().into());
    header.insert("typ".into(), "JWT".into());
    if let Some(id) = &def.key_id {
        header.insert("kid".into(), text(id)?);
    }
    let mut claims = Map::new();
    for (name, template) in &def.claims {
        claims.insert(name.clone(), text(template)?);
    }
    if let Some((name, scopes)) = scope {
        claims.insert(name.to_owned(), scopes.into());
    }
    let issued = now.as_second().saturating_sub_unsigned(BACKDATED.as_secs());
    claims.insert("iat".into(), issued.into());
    claims.insert("exp".into(), issued.saturating_add_unsigned(def.lifetime.as_secs()).into());
    if def.unique {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| JwtError::Random)?;
        claims.insert("jti".into(), URL_SAFE_NO_PAD.encode(id).into());
    }
    let part = |members: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(Made {
        token: Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))),
        lifetime: def.lifetime.saturating_sub(BACKDATED),
    })
}

#[cfg(test)]
never_shown!(Key, Made);
