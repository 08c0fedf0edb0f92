//! `Authorization: OAuth …` (RFC 5849) over the request that leaves.
//!
//! The crates that make it take a request apart with their own parser and hold keys as
//! plain strings; what RFC 5849 asks for is what stands below.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::hmac;
use crate::apps::{Encoding, Hash, OAuth1Method};
use crate::vault::Secret;

/// RFC 5849, section 3.6.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why no request was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OAuth1Error {
    /// A form whose fields can't be signed.
    #[error("the form's fields are signed, so its body must be known whole; state its length, at most 8 MiB")]
    Body,
    /// A key that no header can have.
    #[error("a key has characters that can't be sent; reconnect the account")]
    Unfit,
    /// The random source.
    #[error("the system's random source failed, so nothing can be signed")]
    Random,
}

/// What signs.
pub(crate) struct Keys<'k> {
    pub consumer_key: &'k str,
    pub consumer_secret: &'k str,
    pub token: &'k str,
    pub token_secret: &'k str,
}

/// A request that is signed.
pub(crate) struct Signable<'r> {
    pub method: &'r Method,
    pub url: &'r Url,
    pub headers: &'r HeaderMap,
    /// The body, if all of it is known.
    pub body: Option<&'r [u8]>,
}

/// The header's value, for now.
pub(crate) fn header(
    method: OAuth1Method,
    keys: &Keys<'_>,
    request: &Signable<'_>,
    now: Timestamp,
) -> Result<HeaderValue, OAuth1Error> {
    let mut nonce = [0; 18];
    getrandom::fill(&mut nonce).map_err(|_| OAuth1Error::Random)?;
    header_with(method, keys, request, &now.as_second().to_string(), &URL_SAFE_NO_PAD.encode(nonce))
}

fn header_with(
    method: OAuth1Method,
    keys: &Keys<'_>,
    request: &Signable<'_>,
    timestamp: &str,
    nonce: &str,
) -> Result<HeaderValue, OAuth1Error> {
    let parameters = [
        ("oauth_consumer_key", keys.consumer_key),
        ("oauth_nonce", nonce),
        ("oauth_signature_method", method.name()),
        ("oauth_timestamp", timestamp),
        ("oauth_token", keys.token),
        ("oauth_version", "1.0"),
    ];
    let key = Zeroizing::new(format!("{}&{}", encode(keys.consumer_secret), encode(keys.token_secret)));
    let signature = match method {
        OAuth1Method::Plaintext => key.to_string(),
        OAuth1Method::HmacSha1 | OAuth1Method::HmacSha256 => {
            let hash = if method == OAuth1Method::HmacSha1 { Hash::Sha1 } else { Hash::Sha256 };
            let base = base_string(request, &parameters)?;
            let tag = hmac::tag_of(hash, key.as_bytes(), base.as_bytes());
            hmac::written(Encoding::Base64, &tag)
        }
    };
    let signature = Zeroizing::new(signature);
    let signed = parameters.into_iter().chain([("oauth_signature", signature.as_str())]);
    let text: Vec<String> = signed.map(|(name, value)| format!("{name}=\"{}\"", encode(value))).collect();
    let text = Zeroizing::new(format!("OAuth {}", text.join(", ")));
    let mut value = HeaderValue::from_str(&text).map_err(|_| OAuth1Error::Unfit)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What is signed (RFC 5849, section 3.4.1).
fn base_string(request: &Signable<'_>, parameters: &[(&str, &str)]) -> Result<String, OAuth1Error> {
    let mut url = request.url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let mut pairs: Vec<(String, String)> =
        parameters.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    let mut add = |form: &[u8]| {
        pairs.extend(form_urlencoded::parse(form).map(|(name, value)| (encode(&name), encode(&value))));
    };
    add(request.url.query().unwrap_or_default().as_bytes());
    if is_form(request.headers) {
        add(request.body.ok_or(OAuth1Error::Body)?);
    }
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let method = request.method.as_str().to_ascii_uppercase();
    Ok(format!("{}&{}&{}", encode(&method), encode(url.as_str()), encode(&pairs.join("&"))))
}

/// Whether the body's fields are signed (RFC 5849, section 3.4.1.3.1).
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let mime = |value: &HeaderValue| value.to_str().ok()?.parse::<mime::Mime>().ok();
    headers
        .get(header::CONTENT_TYPE)
        .and_then(mime)
        .is_some_and(|mime| (mime.type_(), mime.subtype()) == (mime::APPLICATION, mime::WWW_FORM_URLENCODED))
}

/// Whether `value` asks for a header with the token `token`: `OAuth TOKEN`, or what a library made of it,
/// `OAuth …, oauth_token="TOKEN", …`, whose other parts are the host's to fill in.
pub(crate) fn asks_for(value: &str, token: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(' ') else { return false };
    if !scheme.eq_ignore_ascii_case("oauth") {
        return false;
    }
    let named = |part: &str| part.trim().strip_prefix("oauth_token=").map(|value| value.trim_matches('"') == token);
    rest == token || rest.split(',').filter_map(named).eq([true])
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The host's own: a secret of the account, or its plain field.
pub(crate) fn keys<'k>(
    def: &crate::apps::OAuth1Def,
    value: impl Fn(&str) -> Option<&'k str>,
) -> Result<Keys<'k>, String> {
    let of = |field: &str| value(field).ok_or_else(|| field.to_owned());
    Ok(Keys {
        consumer_key: of(&def.consumer_key)?,
        consumer_secret: of(&def.consumer_secret)?,
        token: of(&def.token)?,
        token_secret: of(&def.token_secret)?,
    })
}

/// For the host's own requests, which have no body.
pub(crate) fn sign_own<'k>(
    def: &crate::apps::OAuth1Def,
    method: &Method,
    url: &Url,
    secrets: &'k std::collections::BTreeMap<String, Secret>,
    plain: &'k std::collections::BTreeMap<String, String>,
) -> Option<HeaderValue> {
    let value = |name: &str| secrets.get(name).map(Secret::expose).or_else(|| plain.get(name).map(String::as_str));
    let keys = keys(def, value).ok()?;
    let headers = HeaderMap::new();
    header(def.method, &keys, &Signable { method, url, headers: &headers, body: Some(b"") }, Timestamp::now()).ok()
}

#[cfg(test)]
never_shown!(Keys<'static>);

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> HeaderMap {
        HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        )])
    }

    /// RFC 5849, section 3.4.1.1: the base string.
    #[test]
    fn the_published_base_string_is_made() {
        let url = Url::parse("http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b").unwrap();
        let request = Signable { method: &Method::POST, url: &url, headers: &form(), body: Some(b"c2&a3=2+q") };
        let parameters = [
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
        ];
        assert_eq!(
            base_string(&request, &parameters).unwrap(),
            "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
        );
        let streams = Signable { body: None, ..request };
        assert_eq!(base_string(&streams, &parameters), Err(OAuth1Error::Body));
    }

    /// The worked example of X's documentation, "Creating a signature".
    #[test]
    fn the_published_signature_is_made() {
        let url = Url::parse("https://api.twitter.com/1.1/statuses/update.json?include_entities=true").unwrap();
        let body = b"status=Hello%20Ladies%20%2b%20Gentlemen%2c%20a%20signed%20OAuth%20request%21";
        let request = Signable { method: &Method::POST, url: &url, headers: &form(), body: Some(body) };
        let keys = Keys {
            consumer_key: "xvz1evFS4wEEPTGEFPHBog",
            consumer_secret: "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
            token: "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
            token_secret: "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
        };
        let nonce = "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg";
        let made = header_with(OAuth1Method::HmacSha1, &keys, &request, "1318622958", nonce).unwrap();
        let text = made.to_str().unwrap();
        assert!(text.ends_with("oauth_signature=\"hCtSmYh%2BiHYCEqBWrE7C7hYmtUk%3D\""), "{text}");
        assert!(made.is_sensitive());
        let plain = header_with(OAuth1Method::Plaintext, &keys, &request, "1", "n").unwrap();
        assert!(plain.to_str().unwrap().contains(&format!("{}%26{}", keys.consumer_secret, keys.token_secret)));
    }

    #[test]
    fn only_a_header_with_the_token_asks_for_one() {
        for (value, expected) in [
            ("OAuth khp1", true),
            ("oauth khp1", true),
            ("OAuth oauth_consumer_key=\"x\", oauth_token=\"khp1\", oauth_signature=\"y\"", true),
            ("OAuth oauth_token=\"khp1\"", true),
            ("OAuth oauth_token=\"khp1\", oauth_token=\"other\"", false),
            ("OAuth oauth_consumer_key=\"khp1\"", false),
            ("OAuth khp1 ", false),
            ("Bearer khp1", false),
            ("khp1", false),
        ] {
            assert_eq!(asks_for(value, "khp1"), expected, "{value}");
        }
    }
}
