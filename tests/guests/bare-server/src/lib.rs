//! What `wasmtime serve` runs in the benchmark, beside Keyhole's workflows: the same work behind HTTP, without an
//! account, a check, a record or a queue. `/accept` does what the step `small` does and answers 202; `/call` sends
//! one request to the body's `url`, as the step `fetch` does, and answers with what came.

use serde_json::{Value, json};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

struct Server;

wasip2::http::proxy::export!(Server);

impl Guest for Server {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let body = read(request.consume().expect("a body"));
        let event: Value = serde_json::from_slice(&body).expect("JSON");
        let (status, answer) = match path.as_str() {
            "/call" => (200, call(event["url"].as_str().expect("a url"))),
            _ => (202, json!({ "hello": "world", "event": event, "key_length": 41 })),
        };
        respond(out, status, &answer.to_string());
    }
}

fn call(url: &str) -> Value {
    let (scheme, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (Scheme::Https, rest),
        (None, Some(rest)) => (Scheme::Http, rest),
        (None, None) => panic!("{url}: neither https nor http"),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).expect("a scheme");
    request.set_authority(Some(authority)).expect("an authority");
    request.set_path_with_query(Some(path)).expect("a path");
    let answer = handle(request, None).expect("it is sent");
    answer.subscribe().block();
    let response = answer.get().expect("an answer").expect("once").expect("it is answered");
    let body = read(response.consume().expect("a body"));
    json!({ "statuses": [response.status()], "bytes": body.len() })
}

fn read(body: IncomingBody) -> Vec<u8> {
    let stream = body.stream().expect("once");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => return bytes,
            Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
        }
    }
}

fn respond(out: ResponseOutparam, status: u16, text: &str) {
    let headers = Fields::from_list(&[("content-type".to_owned(), b"application/json".to_vec())]).expect("headers");
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("once");
    for chunk in text.as_bytes().chunks(4096) {
        stream.blocking_write_and_flush(chunk).expect("it is read");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("it is whole");
}
