//! Whether a request to a trigger comes from the service that has the secret: HMAC over the body, as GitHub,
//! Stripe and Slack sign their webhooks.
//!
//! The secret is never in the workflow's file, and is compared by `hmac` in constant time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How far a signature's time may be from now, in seconds: Stripe's and Slack's own limit.
const TOLERANCE: i64 = 300;

/// Who signs, and so how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `X-Hub-Signature-256: sha256=<hex>` over the body.
    Github,
    /// `Stripe-Signature: t=<seconds>,v1=<hex>` over `<seconds>.<body>`; at most five minutes old.
    Stripe,
    /// `X-Slack-Signature: v0=<hex>` over `v0:<X-Slack-Request-Timestamp>:<body>`; at most five minutes old.
    Slack,
    /// A header of your own with the HMAC-SHA256 of the body in hex, with or without `sha256=` before it.
    Hmac,
}

/// The check of each request's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who signs.
    pub scheme: Scheme,
    /// The account of the app `webhook` that has the secret, by nickname or id.
    pub secret: String,
    /// For `hmac`: the header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is missing or not of its form.
    #[error("the request carries no signature of the form that this workflow checks")]
    Missing,
    /// It is not by the holder of the secret.
    #[error("the request's signature is wrong")]
    Wrong,
    /// It is right, and for another time.
    #[error("the request's signature is more than five minutes old, or from the future")]
    Stale,
}

impl Signature {
    /// What is wrong with the setting itself, if anything.
    pub fn check(&self) -> Result<(), &'static str> {
        match (self.scheme, &self.header) {
            (Scheme::Hmac, None) => Err("`scheme = \"hmac\"` needs the header's name: header = \"X-Signature\""),
            (Scheme::Hmac, Some(name)) if http::HeaderName::try_from(name).is_err() => {
                Err("`header` is no header's name")
            }
            (Scheme::Hmac, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => Err("`header` goes with `scheme = \"hmac\"`; the others have their own"),
        }
    }

    /// Whether `body` was signed with `secret`.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(
        &self,
        secret: &[u8],
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        let header =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(SignatureError::Missing);
        let fresh = |seconds: &str| -> Result<(), SignatureError> {
            let seconds: i64 = seconds.parse().map_err(|_| SignatureError::Missing)?;
            match (now.as_second() - seconds).abs() <= TOLERANCE {
                true => Ok(()),
                false => Err(SignatureError::Stale),
            }
        };
        match self.scheme {
            Scheme::Github => {
                let given = header("x-hub-signature-256")?.strip_prefix("sha256=").ok_or(SignatureError::Missing)?;
                matches(secret, &[body], given)
            }
            Scheme::Hmac => {
                let given = header(self.header.as_deref().unwrap_or_default())?;
                matches(secret, &[body], given.strip_prefix("sha256=").unwrap_or(given))
            }
            Scheme::Slack => {
                let time = header("x-slack-request-timestamp")?;
                let given = header("x-slack-signature")?.strip_prefix("v0=").ok_or(SignatureError::Missing)?;
                matches(secret, &[b"v0:", time.as_bytes(), b":", body], given)?;
                fresh(time)
            }
            Scheme::Stripe => {
                let parts = || {
                    header("stripe-signature")
                        .map(|text| text.split(',').filter_map(|part| part.trim().split_once('=')))
                };
                let (_, time) = parts()?.find(|(name, _)| *name == "t").ok_or(SignatureError::Missing)?;
                let mut last = Err(SignatureError::Missing);
                // While a secret is being changed there are two.
                for (_, given) in parts()?.filter(|(name, _)| *name == "v1") {
                    last = matches(secret, &[time.as_bytes(), b".", body], given);
                    if last.is_ok() {
                        break;
                    }
                }
                last?;
                fresh(time)
            }
        }
    }
}

fn matches(secret: &[u8], signed: &[&[u8]], given: &str) -> Result<(), SignatureError> {
    let mut expected = [0; 32];
    data_encoding::HEXLOWER_PERMISSIVE
        .decode_len(given.len())
        .ok()
        .filter(|length| *length == expected.len())
        .and_then(|_| data_encoding::HEXLOWER_PERMISSIVE.decode_mut(given.as_bytes(), &mut expected).ok())
        .ok_or(SignatureError::Missing)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| SignatureError::Wrong)?;
    for part in signed {
        mac.update(part);
    }
    mac.verify_slice(&expected).map_err(|_| SignatureError::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn signature(scheme: Scheme, header: Option<&str>) -> Signature {
        Signature { scheme, secret: "hook".to_owned(), header: header.map(str::to_owned) }
    }

    #[test]
    fn githubs_own_example_verifies() {
        // docs.github.com, "Validating webhook deliveries", testing values.
        let (secret, body) = (b"It's a Secret to Everybody", b"Hello, World!");
        let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let now = Timestamp::UNIX_EPOCH;
        let github = signature(Scheme::Github, None);
        assert_eq!(github.verify(secret, &headers(&[("x-hub-signature-256", right)]), body, now), Ok(()));
        let wrong = right.replace('7', "8");
        assert_eq!(
            github.verify(secret, &headers(&[("x-hub-signature-256", &wrong)]), body, now),
            Err(SignatureError::Wrong)
        );
        assert_eq!(github.verify(secret, &headers(&[]), body, now), Err(SignatureError::Missing));
        let own = signature(Scheme::Hmac, Some("X-Sign"));
        assert_eq!(own.verify(secret, &headers(&[("x-sign", &right[7..])]), body, now), Ok(()));
    }

    #[test]
    fn slacks_own_example_verifies_and_an_old_one_does_not() {
        // api.slack.com/authentication/verifying-requests-from-slack, step by step.
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let headers = headers(&[
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ]);
        let slack = signature(Scheme::Slack, None);
        let secret = b"8f742231b10e8888abcd99yyyzzz85a5";
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(slack.verify(secret, &headers, body.as_bytes(), at(1_531_420_317)), Err(SignatureError::Stale));
        assert_eq!(slack.verify(secret, &headers, body.as_bytes(), at(1_531_420_700)), Ok(()));
        assert_eq!(slack.verify(secret, &headers, body.as_bytes(), at(1_531_421_000)), Err(SignatureError::Stale));
        assert_eq!(slack.verify(b"another", &headers, body.as_bytes(), at(1_531_420_700)), Err(SignatureError::Wrong));
    }

    #[test]
    fn one_of_two_signatures_of_stripes_is_enough() {
        let (secret, body, time) = (b"whsec_x", b"{}", "1700000000");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(b"1700000000.{}");
        let right = data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes());
        let stripe = signature(Scheme::Stripe, None);
        let value = format!("t={time},v1={},v1={right}", "00".repeat(32));
        let now = Timestamp::from_second(1_700_000_010).unwrap();
        assert_eq!(stripe.verify(secret, &headers(&[("stripe-signature", &value)]), body, now), Ok(()));
        // Five minutes off is taken, and not a second more: neither of the past nor of the future.
        for (seconds, judged) in [
            (1_700_000_300, Ok(())),
            (1_700_000_301, Err(SignatureError::Stale)),
            (1_699_999_700, Ok(())),
            (1_699_999_699, Err(SignatureError::Stale)),
        ] {
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(
                stripe.verify(secret, &headers(&[("stripe-signature", &value)]), body, now),
                judged,
                "{seconds}"
            );
        }
        let moved = value.replace("t=1700000000", "t=1700000005");
        assert_eq!(
            stripe.verify(secret, &headers(&[("stripe-signature", &moved)]), body, now),
            Err(SignatureError::Wrong)
        );
    }
}
