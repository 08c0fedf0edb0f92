//! Answers of token endpoints, made what RFC 6749 says they are: the `oauth2` crate
//! parses strictly, and servers are not. What is odd about one is in its definition.
//!
//! An answer may hold tokens, so no error may quote it beyond its error code and text.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::apps::{AnswerMap, Part, first, first_text};

/// Longest error code and error text that is kept, in characters.
const CODE: usize = 100;
const TEXT: usize = 300;
/// Longest life of an access token that is believed: ten years.
const LIFETIME: u64 = 10 * 366 * 86_400;

/// What an answer says besides what RFC 6749 has a place for. It may hold secrets.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Extra {
    /// What identifies the account at the service.
    #[serde(default)]
    pub uid: Option<String>,
    /// What a person would recognise it by.
    #[serde(default)]
    pub nickname: Option<String>,
    /// Fields of the account.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extra").field("fields", &self.fields.keys()).finish_non_exhaustive()
    }
}

/// [`Extra`], as the `oauth2` crate takes it: in a member that no server uses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ExtraMember {
    #[serde(default)]
    pub keyhole: Extra,
}

impl oauth2::ExtraTokenFields for ExtraMember {}

/// What is asked for: it decides what an answer must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A token.
    Token,
    /// A device code (RFC 8628, section 3.2).
    Device,
    /// A revocation (RFC 7009, section 2.2).
    Revocation,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A status without an OAuth error, or one of a server in trouble.
    #[error("it answered {status}{}", .said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Status {
        /// The status.
        status: u16,
        /// The error's code and text, if it has them.
        said: Option<String>,
        /// When it said that one should ask again.
        retry_after: Option<Duration>,
    },
    /// A redirect is no answer to a request with a credential.
    #[error("it answered with a redirect ({0}), which is not followed; correct the URL in the app's definition")]
    Redirect(u16),
    /// Neither JSON nor a form.
    #[error("it answered neither JSON nor a form")]
    Garbage,
    /// No token where the definition says that there is one.
    #[error("its answer has no access token at {0}; see [oauth.answer] in the app's definition")]
    NoToken(String),
}

/// What `oauth2` is given in the place of `answer`.
pub(super) fn normalise(
    answer: Response<Bytes>,
    map: &AnswerMap,
    asked: Asked,
) -> Result<Response<Vec<u8>>, AnswerError> {
    let status = answer.status();
    if status.is_redirection() {
        return Err(AnswerError::Redirect(status.as_u16()));
    }
    let value = parse(&answer);
    let error = value.as_ref().and_then(|value| error(value, map, status.is_success()));
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || (!status.is_success() && error.is_none())
    {
        let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(AnswerError::Status {
            status: status.as_u16(),
            said: error.map(|error| error.to_string()),
            retry_after: retry_after.map(Duration::from_secs),
        });
    }
    if let Some(error) = error {
        return Ok(json_answer(
            StatusCode::BAD_REQUEST,
            &json!({"error": error.code, "error_description": error.text}),
        ));
    }
    match asked {
        Asked::Revocation => Ok(json_answer(StatusCode::OK, &json!({}))),
        Asked::Device => Ok(json_answer(StatusCode::OK, &device(value.ok_or(AnswerError::Garbage)?))),
        Asked::Token => Ok(json_answer(StatusCode::OK, &token(&value.ok_or(AnswerError::Garbage)?, map)?)),
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Vec<u8>> {
    let mut answer = Response::new(value.to_string().into_bytes());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// The answer's body as an object: JSON, whatever it calls itself, or a form.
fn parse(answer: &Response<Bytes>) -> Option<Value> {
    let body = answer.body().trim_ascii();
    if let Ok(value @ Value::Object(_)) = serde_json::from_slice(body) {
        return Some(value);
    }
    let text = std::str::from_utf8(body).ok()?;
    // A page of HTML is a form, too, to a parser that takes what it is given.
    let named = |name: &str| text.split('&').any(|pair| pair.split('=').next() == Some(name));
    if !named("access_token") && !named("error") && !named("device_code") {
        return None;
    }
    let pairs = form_urlencoded::parse(text.as_bytes());
    Some(Value::Object(
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect::<Map<_, _>>(),
    ))
}

/// An error that a server told.
struct Told {
    code: String,
    text: Option<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{}: {text}", self.code),
            None => f.write_str(&self.code),
        }
    }
}

fn error(value: &Value, map: &AnswerMap, success: bool) -> Option<Told> {
    let failed = map.ok.as_ref().is_some_and(|ok| !ok.holds(value));
    let found = first(&map.error, value);
    if success && !failed && found.is_none_or(|found| *found == Value::Bool(false)) {
        return None;
    }
    let text = first_text(&map.error_description, value);
    let (code, text) = match found {
        Some(Value::String(code)) => (code.clone(), text),
        // Some wrap it: {"error": {"code": …, "message": …}}.
        Some(Value::Object(inner)) => {
            let of = |name: &str| first_text(&[format!("/{name}")], &Value::Object(inner.clone()));
            let code = of("status").or_else(|| of("type")).or_else(|| of("code"));
            (code.unwrap_or_else(|| "error".to_owned()), text.or_else(|| of("message")))
        }
        _ if failed => ("error".to_owned(), text),
        _ => return None,
    };
    // The code as the standard has it, with the server's own in the text.
    Some(if map.invalid_grant.contains(&code) {
        let text = text.map_or_else(|| code.clone(), |text| format!("{code}: {text}"));
        Told { code: "invalid_grant".to_owned(), text: Some(line(&text, TEXT)) }
    } else {
        Told { code: line(&code, CODE), text: text.map(|text| line(&text, TEXT)) }
    })
}

/// One short line of text that can be shown.
pub(crate) fn line(text: &str, most: usize) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = words.char_indices().nth(most) {
        words.truncate(cut);
        words.push('…');
    }
    words
}

fn token(value: &Value, map: &AnswerMap) -> Result<Value, AnswerError> {
    let access =
        first_text(&map.access_token, value).ok_or_else(|| AnswerError::NoToken(map.access_token.join(" or ")))?;
    let mut token = Map::new();
    token.insert("access_token".into(), access.into());
    // The definition's places say how it is sent.
    token.insert("token_type".into(), "bearer".into());
    if let Some(seconds) = first(&map.expires_in, value).and_then(seconds) {
        token.insert("expires_in".into(), seconds.into());
    }
    if let Some(refresh) = first_text(&map.refresh_token, value) {
        token.insert("refresh_token".into(), refresh.into());
    }
    if let Some(scopes) = first(&map.scope, value).and_then(scopes) {
        token.insert("scope".into(), scopes.join(" ").into());
    }
    let extra = Extra {
        uid: first_text(&map.uid, value),
        nickname: first_text(&map.nickname, value),
        fields: map
            .fields
            .iter()
            .filter_map(|(name, field)| {
                let text = first_text(std::slice::from_ref(&field.pointer), value)?;
                let text = match field.part {
                    Part::Whole => text,
                    Part::Host => url::Url::parse(&text).ok()?.host_str()?.to_owned(),
                };
                Some((name.clone(), text))
            })
            .collect(),
    };
    token.insert("keyhole".into(), json!(extra));
    Ok(Value::Object(token))
}

/// Numbers that came as text or with a fraction, and times. Zero and less say nothing.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().parse::<jiff::Timestamp>() {
            // Some say when, not in how long.
            Ok(at) => at.duration_since(jiff::Timestamp::now()).as_secs_f64(),
            Err(_) => text.trim().parse().ok()?,
        },
        _ => return None,
    };
    // A cast from a float saturates.
    (seconds >= 1.0).then_some((seconds as u64).min(LIFETIME))
}

/// A text with blanks or commas between scopes, or a list.
fn scopes(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => {
            Some(text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
        }
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// Numbers that a form, or a careless server, has as text.
fn device(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        for name in ["expires_in", "interval"] {
            match members.get(name).and_then(seconds) {
                Some(number) => drop(members.insert(name.to_owned(), number.into())),
                None => drop(members.remove(name)),
            }
        }
        // Required by RFC 8628; half an hour is the longest that anyone waits.
        members.entry("expires_in").or_insert_with(|| 1800.into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::{AnswerField, OkCheck};

    fn map() -> AnswerMap {
        let at = |pointer: &str| vec![pointer.to_owned()];
        AnswerMap {
            access_token: at("/access_token"),
            refresh_token: at("/refresh_token"),
            expires_in: at("/expires_in"),
            scope: at("/scope"),
            ok: None,
            error: at("/error"),
            error_description: at("/error_description"),
            invalid_grant: Vec::new(),
            uid: Vec::new(),
            nickname: Vec::new(),
            fields: BTreeMap::new(),
        }
    }

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    /// The status and JSON that `oauth2` would see.
    fn seen(status: u16, body: &str, map: &AnswerMap) -> Result<(u16, Value), AnswerError> {
        let answer = normalise(answer(status, body), map, Asked::Token)?;
        Ok((answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap()))
    }

    #[test]
    fn tokens_are_read_however_they_are_written() {
        for body in [
            r#"{"access_token":"t","scope":"a b","expires_in":60}"#,
            r#"{"access_token":"t","scope":"a,b","expires_in":"60"}"#,
            r#"  {"access_token":"t","scope":["a","b"],"expires_in":60.9}"#,
            "access_token=t&scope=a%2Cb&expires_in=60&token_type=bearer",
            r#"{"access_token":"t","scope":"a b","expires_in":60,"error":null,"token_type":"user"}"#,
        ] {
            let (status, token) = seen(200, body, &map()).unwrap();
            assert_eq!(status, 200, "{body}");
            assert_eq!(
                (&token["access_token"], &token["scope"], &token["expires_in"]),
                (&json!("t"), &json!("a b"), &json!(60)),
                "{body}"
            );
        }
        for none in [r#"{"access_token":"t","expires_in":0}"#, r#"{"access_token":"t","expires_in":null}"#] {
            assert!(seen(200, none, &map()).unwrap().1.get("expires_in").is_none(), "{none}");
        }
    }

    #[test]
    fn a_nested_token_and_fields_are_found_where_the_definition_says() {
        let mut map = map();
        map.access_token = vec!["/authed_user/access_token".into(), "/access_token".into()];
        map.uid = vec!["/authed_user/id".into()];
        map.fields.insert("team".into(), AnswerField { pointer: "/team/id".into(), part: Part::Whole });
        map.fields.insert("host".into(), AnswerField { pointer: "/instance_url".into(), part: Part::Host });
        let body = r#"{"ok":true,"authed_user":{"id":"U1","access_token":"xoxp"},"team":{"id":"T1"},
                       "instance_url":"https://acme.my.example.com/x"}"#;
        let (_, token) = seen(200, body, &map).unwrap();
        assert_eq!(token["access_token"], "xoxp");
        assert_eq!(token["keyhole"]["uid"], "U1");
        assert_eq!(token["keyhole"]["fields"], json!({"team": "T1", "host": "acme.my.example.com"}));
        let (_, token) = seen(200, r#"{"ok":true,"access_token":"later"}"#, &map).unwrap();
        assert_eq!(token["access_token"], "later");
    }

    #[test]
    fn an_error_is_an_error_whatever_its_status() {
        let mut slack = map();
        slack.ok = Some(OkCheck { pointer: "/ok".into(), equals: Some(true.into()) });
        slack.invalid_grant = vec!["invalid_refresh_token".into()];
        let table = [
            (400, r#"{"error":"invalid_grant","error_description":"gone"}"#, "invalid_grant", Some("gone")),
            (200, r#"{"error":"bad_verification_code"}"#, "bad_verification_code", None),
            (
                200,
                "error=incorrect_client_credentials&error_description=The+client",
                "incorrect_client_credentials",
                Some("The client"),
            ),
            (200, r#"{"ok":false,"error":"invalid_refresh_token"}"#, "invalid_grant", Some("invalid_refresh_token")),
            (200, r#"{"ok":false}"#, "error", None),
            (401, r#"{"error":{"status":"UNAUTHENTICATED","message":"no"}}"#, "UNAUTHENTICATED", Some("no")),
        ];
        for (status, body, code, text) in table {
            let map = if body.contains("ok") && !body.contains("token=") { &slack } else { &map() };
            let (status, error) = seen(status, body, map).unwrap();
            assert_eq!((status, &error["error"]), (400, &json!(code)), "{body}");
            assert_eq!(error["error_description"].as_str(), text, "{body}");
        }
    }

    #[test]
    fn a_server_in_trouble_is_no_verdict() {
        let (status, body) = (503, r#"{"error":"invalid_grant"}"#);
        assert!(matches!(seen(status, body, &map()), Err(AnswerError::Status { status: 503, .. })));
        for (status, body) in [(500, "oops"), (429, ""), (404, "<html>"), (400, "<html>error=1</html>")] {
            assert!(matches!(seen(status, body, &map()), Err(AnswerError::Status { .. })), "{status} {body}");
        }
        for body in ["", "<html>", "null", "[1]", "\u{0}"] {
            assert_eq!(seen(200, body, &map()), Err(AnswerError::Garbage), "{body}");
        }
        assert!(matches!(seen(302, "", &map()), Err(AnswerError::Redirect(302))));
        assert!(matches!(seen(200, "{}", &map()), Err(AnswerError::NoToken(_))));
    }

    #[test]
    fn what_a_server_says_becomes_one_short_line() {
        let long = "x".repeat(1000);
        let body = json!({"error": "a\u{1b}[31m\nb", "error_description": long}).to_string();
        let (_, error) = seen(400, &body, &map()).unwrap();
        assert_eq!(error["error"], "a [31m b");
        assert_eq!(error["error_description"].as_str().unwrap().chars().count(), TEXT + 1);
    }
}
