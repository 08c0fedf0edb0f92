//! Attacks that carry a placeholder to where it should not be, and ask for accounts
//! that they should not have.

use keyhole_sdk::Reply;
use keyhole_sdk::prelude::*;

use crate::{Input, template};

pub fn print(text: &str) -> Result<Value> {
    println!("{text}");
    // In two pieces: what looks at one write at a time sees neither half.
    let (half, rest) = text.split_at(text.len() / 2);
    print!("{half}");
    std::io::Write::flush(&mut std::io::stdout())?;
    println!("{rest}");
    Ok(json!("printed"))
}

pub fn print_error(text: &str) -> Result<Value> {
    eprintln!("{text}");
    Ok(json!("printed"))
}

pub fn log(ctx: &Ctx, text: &str) -> Result<Value> {
    for level in [Ctx::debug, Ctx::info, Ctx::warn, Ctx::error] {
        level(ctx, text);
    }
    Ok(json!("logged"))
}

pub fn store(input: &Input, text: &str) -> Result<Value> {
    let store = input.store.as_ref().ok_or(Error::input("no store"))?;
    store.set(text, &json!({ text: [text] }))?;
    Ok(json!("stored"))
}

pub fn export(ctx: &Ctx, text: &str) -> Result<Value> {
    ctx.export("plain", text)?;
    ctx.export("deep", &json!({ "list": [{ text: [text] }] }))?;
    // As the name, too.
    Ok(match ctx.export(text, "x") {
        Ok(()) => json!("exported"),
        Err(error) => json!({ "refused": error.message() }),
    })
}

pub fn respond(ctx: &Ctx, text: &str) -> Result<Value> {
    ctx.respond(Reply::new(200).header("x-text", text).body(text))?;
    ctx.exit(text);
    Ok(json!("responded"))
}

/// What the account of a prop shows, or why there is none.
pub fn account(prop: &str) -> Result<Value> {
    let account = Account::linked(prop.to_owned())?;
    Ok(json!({ "app": account.app(), "nickname": account.nickname(), "auth": account.auth_fields() }))
}

pub fn sign(input: &Input, event: &Value) -> Result<Value> {
    let account = input.acme.as_ref().ok_or("link acme")?;
    let purpose = event["purpose"].as_str().unwrap_or_default();
    let message = template::fill(input, event["message"].as_str().unwrap_or_default())?;
    Ok(json!({ "signature": account.sign(purpose, message)? }))
}

/// All that the host gave.
pub fn input(ctx: &Ctx, event: Value) -> Result<Value> {
    Ok(json!({
        "event": event,
        "steps": ctx.steps::<Value>()?,
        "run": ctx.run_id(),
        "step": ctx.step_name(),
        "attempt": ctx.attempt(),
        "member": ctx.member(),
        "deadline_ms": ctx.deadline().as_millis() as u64,
    }))
}
