//! Sends what its event asks for by the SDK's client, each request with the account's key as a bearer token.

mod streams;

use keyhole_sdk::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// One after the other. Gives their statuses.
    Requests(Vec<Asked>),
    /// See [`streams::download`].
    Download { from: String, seen: String },
    /// See [`streams::relay`].
    Relay { from: String, to: String },
    /// See [`streams::upload`].
    Upload { to: String, arrived: String, length: usize },
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
}

#[derive(Props)]
struct Input {
    #[prop(app = "acme")]
    acme: Account,
}

#[keyhole_sdk::step(name = "client", description = "Requests by the SDK's client")]
fn run(input: Input, ctx: Ctx) -> Result<Value> {
    let event: Event = ctx.event()?;
    let key = input.acme.auth("api_key")?;
    match event {
        Event::Requests(requests) => one_by_one(&key, requests),
        Event::Download { from, seen } => streams::download(&key, &from, &seen),
        Event::Relay { from, to } => streams::relay(&key, &from, &to),
        Event::Upload { to, arrived, length } => streams::upload(&key, &to, &arrived, length),
    }
}

fn one_by_one(key: &str, requests: Vec<Asked>) -> Result<Value> {
    let mut statuses = Vec::new();
    for asked in requests {
        let mut request = http::request(asked.method.as_str(), &asked.url).bearer_auth(key);
        for (name, value) in asked.headers {
            request = request.header(name, value);
        }
        if let Some(body) = asked.body {
            request = request.body(body);
        }
        statuses.push(request.send()?.status().as_u16());
    }
    Ok(json!(statuses))
}
