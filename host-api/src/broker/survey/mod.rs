//! Where placeholders stand in a request, and putting the credentials there.
//!
//! [`survey`] looks into every part of a request, in every reading that a server may plausibly
//! have of it. What stands exactly in a place that the app's definition names is noted; what
//! shows anywhere else is a [`Refusal`]. [`substitute`] then renders those places
//! anew with the credentials. Nothing here sends anything.

mod body;
mod readings;
mod substitute;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode};
use url::Url;

use super::placeholder::{Origin, Table};
use crate::accounts::{Account, AccountId};
use crate::apps::{App, Encoded, OAuth1Def, Place, SigV4Def, Template};
use crate::sign::oauth1::asks_for;
use crate::sign::sigv4::{Claim, is_signed};
use crate::sign::{ClaimError, OAuth1Error};
use body::Writing;
use readings::{decode_base64, readings};

pub(super) use body::Format;
pub(super) use substitute::{Substituted, substitute};
pub(super) use watch::BodyWatch;

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
    #[error(
        "the body holds a placeholder, and was on its way already; state its length, at most 8 MiB, where the app takes credentials in a body"
    )]
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
    /// A signature made with placeholders that is not made again.
    #[error("not signed for {app}: {error}")]
    Signature {
        /// The account's app.
        app: String,
        /// What is wrong with it.
        error: ClaimError,
    },
    /// A request that can't be signed.
    #[error("not signed for {app}: {error}")]
    OAuth1 {
        /// The account's app.
        app: String,
        /// Why.
        error: OAuth1Error,
    },
    /// A signature in a URL works for whoever has the URL.
    #[error(
        "the query holds a credential of {0}, as in a presigned URL; such URLs are not made, send the request itself"
    )]
    Presigned(String),
    /// A session token without a signature.
    #[error("the header {0} goes with a signature alone; let an AWS SDK sign the request")]
    Unsigned(String),
    /// A credential that the account does not have.
    #[error("the account has no {0}; reconnect it")]
    Missing(String),
}

/// Where a session token goes with a signature.
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The account whose placeholders a request carries, and where.
pub(super) struct Survey {
    party: Arc<Party>,
    spots: Vec<Spot>,
    signature: Option<Claim>,
    /// Whether it asks for a signature by OAuth 1.0a.
    oauth1: bool,
}

/// An account whose placeholders the table holds, with its app.
pub(super) struct Party {
    pub(super) account: Arc<Account>,
    pub(super) app: Arc<App>,
}

/// One place of a request that is to be rendered anew.
enum Spot {
    Header {
        name: HeaderName,
        template: Template,
    },
    Encoded {
        name: HeaderName,
        value: Encoded,
    },
    Basic {
        username: Template,
        password: Template,
    },
    /// `index` counts the path's `/`-separated parts; that before the first slash is 0.
    Segment {
        index: usize,
        template: Template,
    },
    /// `index` counts the query's `&`-separated pairs.
    Query {
        index: usize,
        name: String,
        template: Template,
    },
    /// In ascending order, and apart.
    Body {
        span: Range<usize>,
        writing: Writing,
        template: Template,
    },
}

impl Spot {
    fn is(&self, header: &HeaderName) -> bool {
        matches!(self, Self::Header { name, .. } if name == header)
    }
}

impl Survey {
    pub(super) fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// The signature that an SDK made with placeholders.
    pub(super) fn signature(&self) -> Option<(&SigV4Def, &Claim)> {
        Some((self.party.app.sigv4.as_ref()?, self.signature.as_ref()?))
    }

    /// The signature that the step asks for.
    pub(super) fn oauth1(&self) -> Option<&OAuth1Def> {
        self.party.app.oauth1.as_ref().filter(|_| self.oauth1)
    }

    /// The refusal of that signature.
    pub(super) fn not_signed(&self, error: ClaimError) -> Refusal {
        Refusal::Signature { app: self.party.app.name.clone(), error }
    }

    /// The secret fields that the places and the signature need.
    pub(super) fn fields(&self) -> BTreeSet<&str> {
        let mut fields = BTreeSet::new();
        for spot in &self.spots {
            match spot {
                Spot::Header { template, .. }
                | Spot::Segment { template, .. }
                | Spot::Query { template, .. }
                | Spot::Body { template, .. } => fields.extend(template.fields()),
                Spot::Encoded { value, .. } => fields.extend(value.template().fields()),
                Spot::Basic { username, password } => fields.extend(username.fields().chain(password.fields())),
            }
        }
        if let Some((def, _)) = self.signature() {
            fields.extend([def.access_key_id.as_str(), &def.secret_access_key]);
        }
        if let Some(def) = self.oauth1() {
            fields.extend(def.fields());
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
    let mut found = Found { table, parties, party: None, spots: Vec::new(), signature: None, oauth1: false };
    found.headers(headers)?;
    found.query(url.query().unwrap_or_default())?;
    found.path(url.path())?;
    found.nowhere("the host", url.host_str().unwrap_or_default().as_bytes())?;
    if let Some(body) = body {
        found.body(headers, body)?;
    }
    if let (Some(party), None) = (&found.party, &found.signature)
        && party.app.sigv4.is_some()
        && let Some(Spot::Header { name, .. }) = found.spots.iter().find(|spot| spot.is(&SECURITY_TOKEN))
    {
        return Err(Refusal::Unsigned(name.to_string()));
    }
    let Found { party, spots, signature, oauth1, .. } = found;
    Ok(party.map(|party| Survey { party, spots, signature, oauth1 }))
}

struct Found<'t> {
    table: &'t Table,
    parties: &'t BTreeMap<AccountId, Arc<Party>>,
    party: Option<Arc<Party>>,
    spots: Vec<Spot>,
    signature: Option<Claim>,
    oauth1: bool,
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

    fn path(&mut self, path: &str) -> Result<(), Refusal> {
        let place = "the path";
        let mut rest: Vec<&str> = Vec::new();
        for (index, segment) in path.split('/').enumerate() {
            rest.push(segment);
            let Some(party) = self.whose(place, segment.as_bytes())? else { continue };
            let read: Vec<u8> = percent_decode(segment.as_bytes()).collect();
            let template = party.app.all_places().find_map(|place| match place {
                Place::Segment { index: named, template } if *named == index => {
                    (self.expected(&party, template)?.as_bytes() == read).then(|| template.clone())
                }
                _ => None,
            });
            let template = template.ok_or_else(|| misplaced(place, &party.app))?;
            self.spots.push(Spot::Segment { index, template });
            rest.pop();
        }
        // A placeholder may show only when all of it is read at once.
        self.nowhere(place, rest.join("/").as_bytes())
    }

    /// A body that was read whole. It is content: what merely looks like a placeholder
    /// counts only where a word begins.
    fn body(&mut self, headers: &HeaderMap, bytes: &[u8]) -> Result<(), Refusal> {
        let Some(party) = self.whose_content(bytes)? else { return Ok(()) };
        let mut spots: Vec<(Range<usize>, Writing, &Template)> = Vec::new();
        if let Some(format) = Format::of(headers) {
            for place in party.app.all_places().filter(|place| format.has(place)) {
                let (Place::Json { template, .. } | Place::Form { template, .. } | Place::Part { template, .. }) =
                    place
                else {
                    continue;
                };
                let Some(expected) = self.expected(&party, template) else { continue };
                let values = format.values(place, bytes).into_iter().filter(|value| value.read == expected.as_bytes());
                spots.extend(values.map(|value| (value.span, value.writing, template)));
            }
        }
        spots.sort_by_key(|(span, ..)| span.start);
        spots.dedup_by_key(|(span, ..)| span.start);
        let mut rest = Vec::with_capacity(bytes.len());
        let mut done = 0;
        for (span, ..) in &spots {
            rest.extend_from_slice(&bytes[done..span.start]);
            // So that what stood on both sides of it does not become one word.
            rest.push(b' ');
            done = span.end;
        }
        rest.extend_from_slice(&bytes[done..]);
        if self.whose_content(&rest)?.is_some() {
            return Err(misplaced("the body", &party.app));
        }
        self.spots.extend(spots.into_iter().map(|(span, writing, template)| Spot::Body {
            span,
            writing,
            template: template.clone(),
        }));
        Ok(())
    }

    fn whose_content(&mut self, bytes: &[u8]) -> Result<Option<Arc<Party>>, Refusal> {
        let mut found = None;
        for reading in readings(bytes) {
            for hit in self.table.find_in_content(&reading) {
                found = Some(self.one_party("the body", hit.origin)?);
            }
        }
        Ok(found)
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
                if name == header::AUTHORIZATION && party.app.sigv4.is_some() && is_signed(headers) {
                    self.signature = Some(self.claim(&party, value)?);
                    continue;
                }
                if name == header::AUTHORIZATION
                    && let Some(def) = &party.app.oauth1
                {
                    let token = self.table.placeholder_of(&party.account.id, &def.token);
                    let asked = token.zip(value.to_str().ok()).is_some_and(|(token, value)| asks_for(value, token));
                    if !asked {
                        return Err(misplaced(&place, &party.app));
                    }
                    self.oauth1 = true;
                    continue;
                }
                let spot = self.header_spot(&party, name, value).ok_or_else(|| misplaced(&place, &party.app))?;
                self.spots.push(spot);
            }
        }
        Ok(())
    }

    /// The signature that an SDK made, which names this account's access key. What it is over is
    /// judged once the whole request is known.
    fn claim(&self, party: &Party, value: &HeaderValue) -> Result<Claim, Refusal> {
        let of_this = |error| Refusal::Signature { app: party.app.name.clone(), error };
        let claim = value.to_str().map_err(|_| ClaimError::Form).and_then(Claim::parse).map_err(of_this)?;
        let def = party.app.sigv4.as_ref().ok_or_else(|| of_this(ClaimError::Form))?;
        match self.table.placeholder_of(&party.account.id, &def.access_key_id) {
            Some(placeholder) if placeholder == claim.access_key_id => Ok(claim),
            _ => Err(of_this(ClaimError::OtherKey)),
        }
    }

    /// The place of the definition that this header is, to the letter.
    fn header_spot(&self, party: &Party, name: &HeaderName, value: &HeaderValue) -> Option<Spot> {
        let value = value.to_str().ok()?;
        if let Some(token) = party.app.sigv4.as_ref().and_then(|def| def.session_token.as_ref())
            && *name == SECURITY_TOKEN
            && self.table.placeholder_of(&party.account.id, token) == Some(value)
        {
            return Some(Spot::Header { name: name.clone(), template: Template::of_field(token) });
        }
        let pair = (name == header::AUTHORIZATION).then(|| basic_pair(value)).flatten();
        party.app.all_places().find_map(|place| match place {
            Place::Header { name: named, template } if named == name => {
                same_but_for_scheme(&self.expected(party, template)?, value)
                    .then(|| Spot::Header { name: name.clone(), template: template.clone() })
            }
            Place::Encoded { name: named, value: encoded } if named == name => {
                let given = decode_base64(encoded.encoded_in(value)?.as_bytes())?;
                (given == self.expected(party, encoded.template())?.as_bytes())
                    .then(|| Spot::Encoded { name: name.clone(), value: encoded.clone() })
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
            let refused = || match party.app.sigv4 {
                Some(_) if name.to_ascii_lowercase().starts_with(b"x-amz-") => {
                    Refusal::Presigned(party.app.name.clone())
                }
                _ => misplaced(place, &party.app),
            };
            self.spots.push(spot.ok_or_else(refused)?);
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

impl Survey {
    fn plain(&self, field: &str) -> Option<&str> {
        self.party.account.plain.get(field).map(String::as_str)
    }
}

/// What RFC 3986 (2.3) leaves unreserved stays; everything else is encoded, so that every
/// server decodes exactly the credential.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn misplaced(place: &str, app: &App) -> Refusal {
    let signed = app.sigv4.as_ref().map(|_| "the signature that an AWS SDK makes with it".to_owned());
    let places: Vec<String> = app.all_places().map(describe).chain(signed).collect();
    Refusal::Place { place: place.to_owned(), app: app.name.clone(), allowed: places.join("; ") }
}

fn describe(place: &Place) -> String {
    match place {
        Place::Header { name, template } => format!("the header {name} as '{template}'"),
        Place::Encoded { name, value } => format!("the header {name} as '{value}'"),
        Place::Basic { username, password } => {
            format!("Authorization: Basic with user '{username}' and password '{password}'")
        }
        Place::Query { name, template } => format!("the query as {name}={template}"),
        Place::Segment { index, template } => format!("part {index} of the path as '{template}'"),
        Place::Json { pointer, template } => format!("a JSON body at {pointer} as '{template}'"),
        Place::Form { name, template } => format!("a form's field {name} as '{template}'"),
        Place::Part { name, template } => format!("a multipart field {name} as '{template}'"),
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

/// `application/x-www-form-urlencoded`: percent-decoded, and `+` is a space.
fn form_decode(text: &str) -> Vec<u8> {
    percent_decode(text.replace('+', " ").as_bytes()).collect()
}
