//! `count` requests to `url`, one after the other, straight through `wasi:http`, so
//! that a benchmark compares brokers and not SDKs. Bodies are read and let go.
//! With the account linked, each request carries its headers.
use keyhole_sdk::__private::bindings::keyhole::step::accounts;
use keyhole_sdk::__private::bindings::wasi::http::outgoing_handler::handle;
use keyhole_sdk::__private::bindings::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use keyhole_sdk::__private::bindings::wasi::io::streams::StreamError;
use keyhole_sdk::prelude::*;

#[derive(Deserialize)]
struct Event {
    /// `https://host:port/path`, or `http://..`.
    url: String,
    #[serde(default = "one")]
    count: u64,
    /// Send the headers of the account of the prop `acme`.
    #[serde(default)]
    account: bool,
}

fn one() -> u64 {
    1
}

#[derive(Props)]
struct Input {
    #[prop(app = "acme")]
    #[allow(dead_code, reason = "declared here, asked for by the event")]
    acme: Option<Account>,
}

#[keyhole_sdk::step(name = "fetch", description = "Many requests through wasi:http")]
fn run(_input: Input, ctx: Ctx) -> Result<impl Serialize> {
    // A trigger's event has it in its body.
    let event: Value = ctx.event()?;
    let event: Event =
        keyhole_sdk::serde_json::from_value(if event["body"].is_object() { event["body"].clone() } else { event })?;
    let (scheme, rest) = match event.url.strip_prefix("http://") {
        Some(rest) => (Scheme::Http, rest),
        None => (Scheme::Https, event.url.strip_prefix("https://").ok_or("url: http:// or https://")?),
    };
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    let path = if path.is_empty() { "/" } else { path };
    let headers: Vec<(String, Vec<u8>)> = match event.account {
        true => {
            let account = accounts::linked("acme").map_err(Error::from)?;
            account.request().headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect()
        }
        false => Vec::new(),
    };

    let mut statuses = Vec::new();
    let mut bytes = 0;
    for _ in 0..event.count {
        let request = OutgoingRequest::new(Fields::from_list(&headers).map_err(|_| "a header is not valid")?);
        request
            .set_scheme(Some(&scheme))
            .and_then(|()| request.set_authority(Some(authority)))
            .and_then(|()| request.set_path_with_query(Some(path)))
            .map_err(|()| "the URL is not valid")?;
        let answer = handle(request, None).map_err(|code| code.to_string())?;
        answer.subscribe().block();
        let response = answer.get().and_then(Result::ok).ok_or("no answer")?.map_err(|code| code.to_string())?;
        statuses.push(response.status());
        let body = response.consume().map_err(|()| "no body")?;
        let stream = body.stream().map_err(|()| "no body")?;
        loop {
            match stream.blocking_read(64 * 1024) {
                Ok(chunk) => bytes += chunk.len() as u64,
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string().into()),
            }
        }
    }
    Ok(json!({ "statuses": statuses, "bytes": bytes }))
}
