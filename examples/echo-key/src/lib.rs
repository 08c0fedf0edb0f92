//! Reads the account's key, uses it, and returns all that it saw of it.
use keyhole_sdk::prelude::*;

#[derive(Props)]
struct Input {
    /// The account whose key is used.
    #[prop(app = "acme")]
    acme: Account,
}

#[keyhole_sdk::step(name = "echo-key", description = "Shows what a step sees of a key")]
fn run(input: Input, ctx: Ctx) -> Result<impl Serialize> {
    let key = input.acme.auth("api_key")?;
    ctx.info(format!("the key, as this step sees it: {key}"));
    let answer: Value = input.acme.get("v1/me").send()?.error_for_status()?.json()?;
    // The same by hand, as code that was written for a real key does it.
    let echo = http::get("https://api.acme.example/v1/echo").bearer_auth(&key).send()?.error_for_status()?;
    Ok(json!({ "saw": key, "answer": answer, "echo": echo.json::<Value>()? }))
}
