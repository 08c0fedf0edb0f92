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
    /// Where to keep something.
    store: Option<DataStore>,
}

fn store(store: &Option<DataStore>) -> Result<&DataStore> {
    store.as_ref().ok_or(Error::input("no store"))
}

fn key(value: &Value) -> String {
    value["key"].as_str().unwrap_or_default().to_owned()
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
        "export-as" => ctx.export(&key(&value), &value["value"])?,
        "fail" => return Err(Error::step(value.as_str().unwrap_or("it failed").to_owned())),
        "fail-before" if u64::from(ctx.attempt()) < number() => return Err(Error::upstream("not yet").retryable()),
        "fail-before" => return Ok(json!(ctx.attempt())),
        "exit" => ctx.exit(value.as_str().unwrap_or("enough")),
        "delay" => ctx.delay(Duration::from_millis(number()))?,
        "suspend" => {
            let urls = ctx.suspend(Duration::from_millis(number()))?;
            ctx.export("urls", &json!([urls.resume_url, urls.cancel_url]))?;
        }
        // As often as `value.times`, `value.of` at most; then it gives what it finds.
        "rerun" if u64::from(ctx.runs()) <= value["times"].as_u64().unwrap_or(0) => {
            let kept = format!("run {}", ctx.runs());
            let wait = Duration::from_millis(value["wait"].as_u64().unwrap_or(0));
            let urls = ctx.rerun(wait, &kept, value["of"].as_u64().unwrap_or(10) as u32)?;
            store(&input.store)?.set("resume_url", &urls.resume_url)?;
        }
        "rerun" => {
            let kept: Option<String> = ctx.rerun_value()?;
            return Ok(json!({ "runs": ctx.runs(), "kept": kept, "resumed": ctx.resumed() }));
        }
        "count" => return Ok(json!(store(&input.store)?.increment("n", number() as i64)?)),
        "put" => store(&input.store)?.set(&key(&value), &value["value"])?,
        "get" => return Ok(store(&input.store)?.get(&key(&value))?.unwrap_or(Value::Null)),
        "entries" => {
            let entries: Result<Vec<_>> = store(&input.store)?.entries(key(&value))?.collect();
            return Ok(entries?.into_iter().map(|entry| json!([entry.key, entry.value])).collect());
        }
        // Until the host has had enough of it.
        "put-endless" => {
            let store = store(&input.store)?;
            for n in 0.. {
                store.set(&format!("{n:06}"), &"x".repeat(number() as usize))?;
            }
        }
        "respond" => ctx.respond(Reply::json(201, &value)?.header("x-step", "verbs"))?,
        "respond-now" => {
            ctx.respond(Reply::json(201, &value)?.immediate())?;
            loop {
                std::hint::black_box(&value);
            }
        }
        // Asks each address, and tells of each answer.
        "ask" => {
            for url in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                let answer = http::request("GET", url).send()?;
                ctx.info(format!("{} from {url}", answer.status().as_u16()));
            }
        }
        // So many MiB.
        "hold" => return Ok(json!(std::hint::black_box(vec![1_u8; (number() as usize) << 20]).len())),
        "loop" => loop {
            std::hint::black_box(&value);
        },
        // Until it is broken off so often; then it gives the attempt.
        "loop-before" => {
            while u64::from(ctx.attempt()) < number() {
                std::hint::black_box(&value);
            }
            return Ok(json!(ctx.attempt()));
        }
        "panic" => panic!("as it was told"),
        other => return Err(Error::input(format!("there is no verb {other}"))),
    }
    Ok(Value::Null)
}
