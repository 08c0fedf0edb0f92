//! Sends `requests` by the SDK's client, one after the other, each with the account's key as a bearer token.

use keyhole_sdk::prelude::*;

#[derive(Deserialize)]
struct Event {
    requests: Vec<Asked>,
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
fn run(input: Input, ctx: Ctx) -> Result<impl Serialize> {
    let event: Event = ctx.event()?;
    let key = input.acme.auth("api_key")?;
    let mut statuses = Vec::new();
    for asked in event.requests {
        let mut request = http::request(asked.method.as_str(), &asked.url).bearer_auth(&key);
        for (name, value) in asked.headers {
            request = request.header(name, value);
        }
        if let Some(body) = asked.body {
            request = request.body(body);
        }
        statuses.push(request.send()?.status().as_u16());
    }
    Ok(statuses)
}
