//! Signatures over a whole request, made with the real keys as the last thing before it
//! leaves: where an SDK signed with placeholders, or where a step asks for one.
//!
//! It must never sign what the account's definition does not list, nor anything but the
//! request that leaves.

use std::collections::BTreeMap;

use http::header::{self, HeaderMap};
use jiff::Timestamp;
use url::Url;

use super::survey::{Refusal, Substituted, Survey};
use super::{SendError, policy};
use crate::accounts::Account;
use crate::apps::OAuth1Def;
use crate::sign::sigv4::{self, Signable};
use crate::sign::{ClaimError, oauth1};
use crate::vault::Secret;

/// A request as the step made it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'r> {
    pub parts: &'r http::request::Parts,
    pub url: &'r Url,
    /// The headers before the broker took out its own, if an SDK signed them.
    pub as_signed: Option<&'r HeaderMap>,
}

/// Whether the body must be known whole for the signature that these headers are signed with: the hash that was
/// signed can be told only from the body itself. What is wrong with the headers is told later.
pub(super) fn needs_whole_body(as_signed: &HeaderMap) -> bool {
    matches!(sigv4::Payload::of(as_signed), Ok(None))
}

/// Puts the signature that the real keys make into `leaving`, if the step has one coming. `placeholder` gives
/// that of a field of the account.
pub(super) fn sign(
    survey: &Survey,
    asked: Asked<'_>,
    body: Option<&[u8]>,
    account: &Account,
    secrets: &BTreeMap<String, Secret>,
    placeholder: impl FnOnce(&str) -> Option<String>,
    leaving: &mut Substituted,
) -> Result<(), SendError> {
    if let Some(def) = survey.oauth1() {
        return oauth1(survey, def, asked.parts, body, account, secrets, leaving);
    }
    let Some((def, claim)) = survey.signature() else { return Ok(()) };
    let refused = |error: ClaimError| SendError::from(survey.not_signed(error));
    let missing = |field: &str| SendError::from(Refusal::Missing(field.to_owned()));
    let Asked { parts, url, as_signed } = asked;
    policy::scope_fits(def, &claim.scope, url, &account.plain).map_err(refused)?;
    let secret = placeholder(&def.secret_access_key).ok_or_else(|| missing(&def.secret_access_key))?;
    let request = Signable { method: &parts.method, url, headers: as_signed.unwrap_or(&parts.headers), body };
    let verified = claim.verify(request, &secret, Timestamp::now()).map_err(refused)?;
    let of = |field: &str| secrets.get(field).map(Secret::expose).ok_or_else(|| missing(field));
    let request = Signable { method: &parts.method, url: &leaving.url, headers: &leaving.headers, body };
    let (header, chunks) =
        claim.again(verified, request, of(&def.access_key_id)?, of(&def.secret_access_key)?).map_err(refused)?;
    leaving.headers.insert(header::AUTHORIZATION, header);
    leaving.chunks = chunks;
    Ok(())
}

fn oauth1(
    survey: &Survey,
    def: &OAuth1Def,
    parts: &http::request::Parts,
    body: Option<&[u8]>,
    account: &Account,
    secrets: &BTreeMap<String, Secret>,
    leaving: &mut Substituted,
) -> Result<(), SendError> {
    let value =
        |name: &str| secrets.get(name).map(Secret::expose).or_else(|| account.plain.get(name).map(String::as_str));
    let keys = oauth1::keys(def, value).map_err(Refusal::Missing)?;
    let request = oauth1::Signable {
        method: &parts.method,
        url: &leaving.url,
        headers: &leaving.headers,
        body: leaving.body.as_deref().or(body),
    };
    let header = oauth1::header(def.method, &keys, &request, Timestamp::now());
    let header = header.map_err(|error| Refusal::OAuth1 { app: survey.party().app.name.clone(), error })?;
    leaving.headers.insert(header::AUTHORIZATION, header);
    Ok(())
}
