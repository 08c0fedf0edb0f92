//! The step of the tests of workflows: does what its prop says.
use std::time::Duration;

use keyhole_sdk::Reply;
use keyhole_sdk::prelude::*;

#[derive(Props)]
struct Input {
    /// What to do.
    verb: String,
    /// What to do it with.
    value: Option<Value>,
}

#[keyhole_sdk::step(name = "verbs", description = "Does what its prop says")]
fn run(input: Input, ctx: Ctx) -> Result<impl Serialize> {
    let value = input.value.unwrap_or(Value::Null);
    let number = || value.as_u64().unwrap_or_default();
    ctx.info(format!("{} {value}", input.verb));
    match input.verb.as_str() {
        "return" => return Ok(value),
        "steps" => return ctx.steps(),
        "attempt" => return Ok(json!(ctx.attempt())),
        "export" => ctx.export("given", &value)?,
        "fail" => return Err(Error::step(value.as_str().unwrap_or("it failed").to_owned())),
        "fail-before" if u64::from(ctx.attempt()) < number() => return Err(Error::upstream("not yet").retryable()),
        "fail-before" => return Ok(json!(ctx.attempt())),
        "exit" => ctx.exit(value.as_str().unwrap_or("enough")),
        "delay" => ctx.delay(Duration::from_millis(number()))?,
        "respond" => ctx.respond(Reply::json(201, &value)?.header("x-step", "verbs"))?,
        "loop" => loop {
            std::hint::black_box(&value);
        },
        "panic" => panic!("as it was told"),
        other => return Err(Error::input(format!("there is no verb {other}"))),
    }
    Ok(Value::Null)
}
