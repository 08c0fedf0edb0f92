//! Where placeholders stand in a request, and putting the credentials there.
//!
//! [`survey`] looks into every part of a request, in every reading that a server may plausibly
//! have of it. What stands exactly in a place that the app's definition names is noted; what
//! shows anywhere else is a [`Refusal`]. [`substitute`] then renders those places
//! anew with the credentials. Nothing here sends anything.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use url::Url;

use super::placeholder::{MARKER, MIN_RANDOM, Origin, Table};
use crate::accounts::{Account, AccountId};
use crate::apps::{App, Place, Template};
use crate::vault::Secret;

/// Why a request that carries a placeholder, or what looks like one, is not sent. Holds
/// no placeholder and no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not one of this attempt's, whether of another, guessed, or altered.
    #[error("{place} holds a placeholder that is not one of this run's; take it from $auth in this run")]
    Unknown {
        /// Which part of the request.
        place: String,
    },
    /// Where the definition allows none.
    #[error("{place} holds a credential of {app}, which goes in: {allowed}")]
    Place {
        /// Which part of the request.
        place: String,
        /// The account's app.
        app: String,
        /// The places that its definition names.
        allowed: String,
    },
    /// In a body that was already on its way.
    #[error("the body holds a placeholder; credentials go where the app's definition says, never in a body")]
    Streamed,
    /// Of more than one account.
    #[error("the request carries credentials of two accounts; send one request for each")]
    MixedAccounts,
    /// The same header twice, one of them with a credential.
    #[error("the header {0} is there twice; send it once")]
    Twice(String),
    /// The credential can't stand there.
    #[error("{field} can't be sent in {place}: it has characters that are not allowed there; reconnect the account")]
    Unfit {
        /// The field.
        field: String,
        /// The place.
        place: String,
    },
    /// A credential that the account does not have.
    #[error("the account has no {0}; reconnect it")]
    Missing(String),
}

/// The account whose placeholders a request carries, and where.
pub(super) struct Survey {
    party: Arc<Party>,
    spots: Vec<Spot>,
}

/// An account whose placeholders the table holds, with its app.
pub(super) struct Party {
    pub(super) account: Arc<Account>,
    pub(super) app: Arc<App>,
}

/// One place of a request that is to be rendered anew.
enum Spot {
    Header { name: HeaderName, template: Template },
    Basic { username: Template, password: Template },
    /// `index` counts the query's `&`-separated pairs.
    Query { index: usize, name: String, template: Template },
}

impl Survey {
    pub(super) fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// The secret fields that the places need.
    pub(super) fn fields(&self) -> BTreeSet<&str> {
        let mut fields = BTreeSet::new();
        for spot in &self.spots {
            match spot {
                Spot::Header { template, .. } | Spot::Query { template, .. } => fields.extend(template.fields()),
                Spot::Basic { username, password } => fields.extend(username.fields().chain(password.fields())),
            }
        }
        fields.retain(|field| !self.party.account.plain.contains_key(*field));
        fields
    }
}

/// Finds every placeholder in the request. `body` is none if it streams and is watched.
pub(super) fn survey(
    table: &Table,
    parties: &BTreeMap<AccountId, Arc<Party>>,
    url: &Url,
    headers: &HeaderMap,
    body: Option<&[u8]>,
) -> Result<Option<Survey>, Refusal> {
    let mut found = Found { table, parties, party: None, spots: Vec::new() };
    found.headers(headers)?;
    found.query(url.query().unwrap_or_default())?;
    found.nowhere("the path", url.path().as_bytes())?;
    found.nowhere("the host", url.host_str().unwrap_or_default().as_bytes())?;
    if let Some(body) = body {
        found.body(body)?;
    }
    Ok(found.party.map(|party| Survey { party, spots: found.spots }))
}

struct Found<'t> {
    table: &'t Table,
    parties: &'t BTreeMap<AccountId, Arc<Party>>,
    party: Option<Arc<Party>>,
    spots: Vec<Spot>,
}

impl<'t> Found<'t> {
    /// Whose placeholder shows in any reading of `bytes`. One account for the whole request.
    fn whose(&mut self, place: &str, bytes: &[u8]) -> Result<Option<Arc<Party>>, Refusal> {
        let mut found = None;
        for reading in readings(bytes) {
            for hit in self.table.find(&reading) {
                found = Some(self.one_party(place, hit.origin)?);
            }
        }
        Ok(found)
    }

    fn one_party(&mut self, place: &str, origin: Option<&Origin>) -> Result<Arc<Party>, Refusal> {
        let party = origin.and_then(|origin| self.parties.get(&origin.account));
        let party = party.ok_or_else(|| Refusal::Unknown { place: place.to_owned() })?;
        match &self.party {
            Some(other) if other.account.id != party.account.id => return Err(Refusal::MixedAccounts),
            Some(_) => {}
            None => self.party = Some(party.clone()),
        }
        Ok(party.clone())
    }

    /// A part where no placeholder may stand.
    fn nowhere(&mut self, place: &str, bytes: &[u8]) -> Result<(), Refusal> {
        match self.whose(place, bytes)? {
            None => Ok(()),
            Some(party) => Err(misplaced(place, &party.app)),
        }
    }

    /// A body that was read whole. It is content: what merely looks like a placeholder
    /// counts only where a word begins.
    fn body(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        for reading in readings(bytes) {
            if let Some(hit) = self.table.find_in_content(&reading).next() {
                let party = self.one_party("the body", hit.origin)?;
                return Err(misplaced("the body", &party.app));
            }
        }
        Ok(())
    }

    fn headers(&mut self, headers: &HeaderMap) -> Result<(), Refusal> {
        for name in headers.keys() {
            self.nowhere("a header's name", name.as_str().as_bytes())?;
            for value in headers.get_all(name) {
                let place = format!("the header {name}");
                let Some(party) = self.whose(&place, value.as_bytes())? else { continue };
                if headers.get_all(name).iter().count() > 1 {
                    return Err(Refusal::Twice(name.to_string()));
                }
                let spot = self.header_spot(&party, name, value).ok_or_else(|| misplaced(&place, &party.app))?;
                self.spots.push(spot);
            }
        }
        Ok(())
    }

    /// The place of the definition that this header is, to the letter.
    fn header_spot(&self, party: &Party, name: &HeaderName, value: &HeaderValue) -> Option<Spot> {
        let value = value.to_str().ok()?;
        let pair = (name == header::AUTHORIZATION).then(|| basic_pair(value)).flatten();
        party.app.all_places().find_map(|place| match place {
            Place::Header { name: named, template } if named == name => {
                same_but_for_scheme(&self.expected(party, template)?, value)
                    .then(|| Spot::Header { name: name.clone(), template: template.clone() })
            }
            Place::Basic { username, password } => {
                let (given_username, given_password) = pair.as_ref()?;
                let fits = self.expected(party, username)? == *given_username
                    && self.expected(party, password)? == *given_password;
                fits.then(|| Spot::Basic { username: username.clone(), password: password.clone() })
            }
            _ => None,
        })
    }

    fn query(&mut self, query: &str) -> Result<(), Refusal> {
        for (index, pair) in query.split('&').enumerate() {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.nowhere("a query parameter's name", name.as_bytes())?;
            let name = form_decode(name);
            let place = "the query";
            let Some(party) = self.whose(place, value.as_bytes())? else { continue };
            let value = form_decode(value);
            let spot = party.app.all_places().find_map(|place| match place {
                Place::Query { name: named, template } if named.as_bytes() == &*name => {
                    let fits = self.expected(&party, template)?.as_bytes() == &*value;
                    fits.then(|| Spot::Query { index, name: named.clone(), template: template.clone() })
                }
                _ => None,
            });
            self.spots.push(spot.ok_or_else(|| misplaced(place, &party.app))?);
        }
        Ok(())
    }

    /// What a place holds when the step fills it as it should.
    fn expected(&self, party: &Party, template: &Template) -> Option<String> {
        let account = &party.account;
        template.render(|field| {
            self.table.placeholder_of(&account.id, field).or_else(|| account.plain.get(field).map(String::as_str))
        })
    }
}

/// Puts the credentials where the survey found their placeholders. `secret` gives the
/// fields that [`Survey::fields`] named.
pub(super) fn substitute<'s>(
    survey: &Survey,
    url: &Url,
    headers: &HeaderMap,
    secret: impl Fn(&str) -> Option<&'s Secret>,
) -> Result<(Url, HeaderMap), Refusal> {
    let render = |template: &Template, place: &str| -> Result<String, Refusal> {
        for field in template.fields() {
            let value = secret(field).map(Secret::expose).or_else(|| survey.plain(field));
            let value = value.ok_or_else(|| Refusal::Missing(field.to_owned()))?;
            if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err(Refusal::Unfit { field: field.to_owned(), place: place.to_owned() });
            }
        }
        let value = |field: &str| secret(field).map(Secret::expose).or_else(|| survey.plain(field));
        template.render(value).ok_or_else(|| Refusal::Missing(template.to_string()))
    };
    let mut headers = headers.clone();
    let mut pairs: Vec<Cow<'_, str>> = url.query().unwrap_or_default().split('&').map(Cow::Borrowed).collect();
    let mut rewritten = false;
    for spot in &survey.spots {
        match spot {
            Spot::Header { name, template } => {
                let place = format!("the header {name}");
                headers.insert(name.clone(), sensitive(&render(template, &place)?, template, &place)?);
            }
            Spot::Basic { username, password } => {
                let place = "Authorization: Basic";
                let user = render(username, place)?;
                // RFC 7617, section 2: the first colon ends the user name.
                if user.contains(':') {
                    return Err(Refusal::Unfit { field: username.to_string(), place: place.to_owned() });
                }
                let pair = zeroize::Zeroizing::new(format!("{user}:{}", render(password, place)?));
                let value = format!("Basic {}", general_purpose::STANDARD.encode(pair.as_bytes()));
                headers.insert(header::AUTHORIZATION, sensitive(&value, username, place)?);
            }
            Spot::Query { index, name, template } => {
                let value = render(template, "the query")?;
                let name = utf8_percent_encode(name, QUERY);
                pairs[*index] = Cow::Owned(format!("{name}={}", utf8_percent_encode(&value, QUERY)));
                rewritten = true;
            }
        }
    }
    let mut url = url.clone();
    if rewritten {
        url.set_query(Some(&pairs.join("&")));
    }
    Ok((url, headers))
}

impl Survey {
    fn plain(&self, field: &str) -> Option<&str> {
        self.party.account.plain.get(field).map(String::as_str)
    }
}

/// What RFC 3986 (2.3) leaves unreserved stays; everything else is encoded, so that every
/// server decodes exactly the credential.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn sensitive(value: &str, template: &Template, place: &str) -> Result<HeaderValue, Refusal> {
    let unfit = |_| Refusal::Unfit { field: template.to_string(), place: place.to_owned() };
    let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

fn misplaced(place: &str, app: &App) -> Refusal {
    let places: Vec<String> = app.all_places().map(describe).collect();
    Refusal::Place { place: place.to_owned(), app: app.name.clone(), allowed: places.join("; ") }
}

fn describe(place: &Place) -> String {
    match place {
        Place::Header { name, template } => format!("the header {name} as '{template}'"),
        Place::Basic { username, password } => {
            format!("Authorization: Basic with user '{username}' and password '{password}'")
        }
        Place::Query { name, template } => format!("the query as {name}={template}"),
    }
}

/// Whether two header values are the same, with the authentication scheme in any case (RFC 9110, 11.1).
fn same_but_for_scheme(expected: &str, given: &str) -> bool {
    match (expected.split_once(' '), given.split_once(' ')) {
        (Some((scheme, rest)), Some((given_scheme, given_rest))) => {
            scheme.eq_ignore_ascii_case(given_scheme) && rest == given_rest
        }
        _ => expected == given,
    }
}

/// User name and password of `Authorization: Basic` (RFC 7617).
fn basic_pair(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(decode_base64(encoded.trim().as_bytes())?).ok()?;
    let (username, password) = pair.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

/// The ways in which a server may read these bytes: as they are, percent-decoded once and
/// twice, JSON-unescaped, and each base64 token in them decoded.
fn readings(bytes: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut readings = vec![Cow::Borrowed(bytes)];
    if bytes.contains(&b'%') {
        let once: Vec<u8> = percent_decode(bytes).collect();
        if once.contains(&b'%') {
            readings.push(Cow::Owned(percent_decode(&once).collect()));
        }
        readings.push(Cow::Owned(once));
    }
    if memchr::memmem::find(bytes, b"\\u").is_some() {
        readings.push(Cow::Owned(json_unescape(bytes)));
    }
    // No shorter token can hold a placeholder.
    let shortest = (MARKER.len() + MIN_RANDOM) * 4 / 3;
    for token in bytes.split(|byte| !is_base64(*byte)).filter(|token| token.len() >= shortest) {
        // A token may begin in the middle of a group of four.
        for skip in 0..4 {
            readings.extend(token.get(skip..).and_then(decode_base64).map(Cow::Owned));
        }
    }
    readings
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Both alphabets, with or without padding.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const TEXT: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
    // A group of one character carries no byte.
    let unpadded = text.len() - text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = if unpadded % 4 == 1 { &text[..unpadded - 1] } else { text };
    TEXT.decode(text).or_else(|_| URL.decode(text)).ok()
}

/// `\uXXXX` of ASCII characters decoded; everything else as it is. A placeholder is ASCII.
fn json_unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = rest
            .strip_prefix(b"\\u")
            .and_then(|hex| std::str::from_utf8(hex.get(..4)?).ok())
            .and_then(|hex| u8::try_from(u16::from_str_radix(hex, 16).ok()?).ok());
        match escaped {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[6..];
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

/// `application/x-www-form-urlencoded`: percent-decoded, and `+` is a space.
fn form_decode(text: &str) -> Vec<u8> {
    percent_decode(text.replace('+', " ").as_bytes()).collect()
}

/// Watches a body that streams: a placeholder in it, this attempt's or not, cuts the request.
pub(super) struct BodyWatch {
    table: Table,
    /// The end of what has passed, in which a placeholder may have begun.
    tail: Vec<u8>,
}

impl BodyWatch {
    /// A watch for what `table` holds and what looks like it.
    pub(super) fn new(table: &Table) -> Self {
        Self { table: table.copy(), tail: Vec::new() }
    }

    /// Looks at the next part of the body, before it leaves.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let reach = self.table.longest() - 1;
        let (seam, rest) = chunk.split_at(chunk.len().min(reach));
        self.tail.extend_from_slice(seam);
        if self.table.find_in_content(&self.tail).next().is_some() || self.table.find_in_content(chunk).next().is_some() {
            return Err(Refusal::Streamed);
        }
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(reach)..]);
        self.tail.drain(..self.tail.len().saturating_sub(reach));
        Ok(())
    }
}
