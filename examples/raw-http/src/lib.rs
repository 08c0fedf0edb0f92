//! A step without an SDK: what `wit/` says, and `wasi:http`, are enough. It gets
//! `/v1/me` of the account's service and returns status and body. Read this one
//! before you write an SDK for another language.

mod world {
    #![allow(missing_docs, clippy::all)]
    wit_bindgen::generate!({ path: "../../wit", world: "step", generate_all });
}

use serde_json::json;
use world::keyhole::step::accounts::{self, AccessError, Account};
use world::keyhole::step::types::{Failure, FailureKind, Input};
use world::wasi::http::outgoing_handler;
use world::wasi::http::types::{ErrorCode, Fields, OutgoingRequest, Scheme};
use world::wasi::io::streams::StreamError;

struct Step;

impl world::Guest for Step {
    fn definition() -> String {
        json!({
            "name": "raw-http",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "props": { "acme": { "type": "app", "app": "acme" } },
        })
        .to_string()
    }

    fn configure(_prop: String, _state: String) -> Result<String, Failure> {
        Err(failure(FailureKind::Input, "this step has nothing to configure"))
    }

    fn run(_input: Input) -> Result<String, Failure> {
        let account = accounts::linked("acme").map_err(access)?;
        let (status, body) = get(&account, "v1/me")?;
        Ok(json!({ "status": status, "body": String::from_utf8_lossy(&body) }).to_string())
    }
}

/// A `GET` to `path` under the account's base URL, with its headers: what they
/// hold of the credential is a placeholder.
fn get(account: &Account, path: &str) -> Result<(u16, Vec<u8>), Failure> {
    let template = account.request();
    let base = template.base_url.ok_or_else(|| failure(FailureKind::Step, "the app has no base URL"))?;
    let url = base.strip_prefix("https://").ok_or_else(|| failure(FailureKind::Step, "the base URL is not https"))?;
    let (authority, base_path) = url.split_once('/').unwrap_or((url, ""));
    let path = format!("/{base_path}{path}");

    let headers: Vec<_> = template.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    let headers = Fields::from_list(&headers).map_err(|_| failure(FailureKind::Step, "a header is not valid"))?;
    let request = OutgoingRequest::new(headers);
    request
        .set_scheme(Some(&Scheme::Https))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(&path)))
        .map_err(|()| failure(FailureKind::Step, "the URL is not valid"))?;

    let answer = outgoing_handler::handle(request, None).map_err(refused_or_failed)?;
    answer.subscribe().block();
    let response = answer
        .get()
        .and_then(Result::ok)
        .ok_or_else(|| failure(FailureKind::Step, "the answer is not there"))?
        .map_err(refused_or_failed)?;

    let body = response.consume().map_err(|()| failure(FailureKind::Step, "the body is taken"))?;
    let stream = body.stream().map_err(|()| failure(FailureKind::Step, "the body is taken"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => return Ok((response.status(), bytes)),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(failure(FailureKind::Upstream, &error.to_debug_string()));
            }
        }
    }
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { message: message.to_owned(), kind, retry: false, trace: None }
}

fn access(error: AccessError) -> Failure {
    let retry = matches!(error, AccessError::Unavailable(_));
    let (AccessError::NotDeclared(message)
    | AccessError::NotLinked(message)
    | AccessError::NoAccess(message)
    | AccessError::WrongApp(message)
    | AccessError::ReconnectNeeded(message)
    | AccessError::Deleted(message)
    | AccessError::Unavailable(message)) = error;
    Failure { retry, ..failure(FailureKind::Access, &message) }
}

/// The broker's refusals are internal errors whose message begins with `keyhole:`.
fn refused_or_failed(code: ErrorCode) -> Failure {
    match code {
        ErrorCode::InternalError(Some(message)) if message.starts_with("keyhole:") => {
            failure(FailureKind::Refused, &message)
        }
        other => failure(FailureKind::Upstream, &format!("{other:?}")),
    }
}

world::export!(Step with_types_in world);
