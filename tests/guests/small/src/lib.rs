//! The step that `cargo bench` runs: what most steps do, without a request.
use keyhole_sdk::prelude::*;

#[derive(Props)]
struct Input {
    #[prop(app = "acme")]
    acme: Account,
    #[prop(default = "world")]
    name: String,
}

#[keyhole_sdk::step(name = "small", description = "One app prop, a little JSON")]
fn run(input: Input, ctx: Ctx) -> Result<impl Serialize> {
    let event: Value = ctx.event()?;
    let key = input.acme.auth("api_key")?;
    Ok(json!({ "hello": input.name, "event": event, "key_length": key.len() }))
}
