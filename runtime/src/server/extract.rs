//! How requests are read: as axum does, with our own words when they can't be, and never
//! with a part of the body in them, which may be a secret.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::guard;
use super::problem::Problem;

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim();
        // Also keeps forms of other sites' pages out, which can't send this type unasked.
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "The body is of another type",
                "the body must be JSON",
            )
            .help("send Content-Type: application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => guard::too_long(),
            _ => not_whole(),
        })?;
        // A list would be taken for the values of an object's members, in their order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(
                malformed("the body is not a JSON object").help("GET /api/openapi.json says what the body is like")
            );
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            match error.classify() {
                serde_json::error::Category::Data => Problem::wrong(told(&error.to_string())),
                _ => malformed("the body is not JSON"),
            }
            .at(place)
            .help("GET /api/openapi.json says what the body is like")
        })
    }
}

/// A body whose sender went away.
pub(super) fn not_whole() -> Problem {
    malformed("the body did not come whole")
}

fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", "The request can't be read", detail)
}

/// What serde says, unless it quotes what was given.
fn told(message: &str) -> String {
    let quotes_only_names = ["missing field `", "duplicate field `"].iter().any(|start| message.starts_with(start));
    let end = message.rfind(" at line ").unwrap_or(message.len());
    match quotes_only_names {
        true => message[..end].to_owned(),
        false => "the body has a member that is unknown, or of another kind than it must be".to_owned(),
    }
}

/// A query.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(malformed(&rejection.body_text())
                .at("the query")
                .help("GET /api/openapi.json says what the query may hold")),
        }
    }
}

/// The variable part of a path. What can't be one names nothing that there is.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(_) => Err(Problem::not_there("there is nothing at this address").at(parts.uri.path())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_body_held_is_not_in_what_is_said_of_it() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        struct Wanted {
            count: u32,
        }
        for body in [r#"{"count": "sk_live_secret"}"#, r#"{"sk_live_secret": 1}"#, r#"["sk_live_secret"]"#] {
            let error = serde_json::from_str::<Wanted>(body).unwrap_err().to_string();
            assert!(!told(&error).contains("sk_live"), "{error}");
        }
        let error = serde_json::from_str::<Wanted>("{}").unwrap_err().to_string();
        assert_eq!(told(&error), "missing field `count`");
    }
}
