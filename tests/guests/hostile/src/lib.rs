//! One step, many attacks: `event.attack` names one, the rest of the event says how.
//! The modules hold them by what they go for. An attack that is over returns what it
//! found, so that a test sees what it got; one that should never return does not.
//!
//! Text in an event may hold `{field}`: the placeholder of the account linked to
//! `acme`, or with `{field|way}` the placeholder bent that way (see `template`).

mod compute;
mod handles;
mod network;
mod output;
mod secrets;
mod template;

use keyhole_sdk::prelude::*;

#[derive(Props)]
pub struct Input {
    #[prop(app = "acme")]
    acme: Option<Account>,
    store: Option<DataStore>,
}

#[keyhole_sdk::step(name = "hostile", description = "Does whatever harm its event asks for")]
fn run(input: Input, ctx: Ctx) -> Result<Value> {
    let event: Value = ctx.event()?;
    let attack = event["attack"].as_str().unwrap_or_default();
    let size = event["size"].as_u64().unwrap_or(u64::MAX);
    match attack {
        // compute.rs
        "loop" => compute::endless_loop(),
        "loop-host-calls" => compute::endless_host_calls(),
        "sleep" => compute::sleep(event["ms"].as_u64().unwrap_or(u64::MAX)),
        "allocate" => compute::allocate(),
        "grow-memory" => compute::grow_memory(),
        "recurse" => Ok(json!(compute::recurse(0))),
        "trap" => compute::trap(),
        "exit" => std::process::exit(event["code"].as_i64().unwrap_or(0) as i32),
        // output.rs
        "log" => output::log_lines(&ctx, size, text(&input, &event)?),
        "log-large" => output::log_large(&ctx, size),
        "stdout" => output::write_forever(std::io::stdout(), size),
        "stderr" => output::write_forever(std::io::stderr(), size),
        "export" => output::export_many(&ctx, size),
        "export-large" => output::export_large(&ctx, size),
        "export-not-json" => output::export_not_json(),
        "respond-large" => output::respond_large(&ctx, size),
        "delay-too-long" => output::delay_too_long(&ctx),
        "return-large" => Ok(Value::String(output::text_of(size))),
        "return-deep" => output::return_deep(size),
        "fail-large" => Err(Error::step(output::text_of(size))),
        // network.rs
        "request" => network::request(&input, &event),
        "sequence" => network::sequence(&input, &event),
        "open-requests" => network::open_requests(&input, &event),
        "upload-endless" => network::upload_endless(&input, &event),
        "headers-endless" => network::headers_endless(),
        // handles.rs
        "leak-fields" => handles::leak_fields(),
        "leak-pollables" => handles::leak_pollables(),
        "leak-accounts" => handles::leak_accounts(),
        "poll-many" => handles::poll_many(size),
        "random-large" => handles::random_large(size),
        // secrets.rs
        "print" => secrets::print(&text(&input, &event)?),
        "print-error" => secrets::print_error(&text(&input, &event)?),
        "log-text" => secrets::log(&ctx, &text(&input, &event)?),
        "return" => Ok(Value::String(text(&input, &event)?)),
        "return-key" => Ok(json!({ text(&input, &event)?: text(&input, &event)? })),
        "export-text" => secrets::export(&ctx, &text(&input, &event)?),
        "store-key" => secrets::store(&input, &text(&input, &event)?),
        "respond" => secrets::respond(&ctx, &text(&input, &event)?),
        "fail" => Err(Error::step(text(&input, &event)?)),
        "panic" => panic!("{}", text(&input, &event)?),
        "account" => secrets::account(event["prop"].as_str().unwrap_or("acme")),
        "sign" => secrets::sign(&input, &event),
        "input" => secrets::input(&ctx, event),
        // What a well-behaved step does, to see that the run is otherwise in order.
        "none" => Ok(json!("fine")),
        other => Err(Error::input(format!("no attack \"{other}\""))),
    }
}

/// `event.text`, filled in.
fn text(input: &Input, event: &Value) -> Result<String> {
    template::fill(input, event["text"].as_str().unwrap_or("{api_key}"))
}
