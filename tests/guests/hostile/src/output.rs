//! Attacks by saying too much. `size` counts bytes or pieces; without it there is no end.

use std::io::Write;
use std::time::Duration;

use keyhole_sdk::__private::bindings::keyhole::step::flow;
use keyhole_sdk::Reply;
use keyhole_sdk::prelude::*;

pub fn text_of(size: u64) -> String {
    "x".repeat(usize::try_from(size).unwrap_or(usize::MAX))
}

pub fn log_lines(ctx: &Ctx, lines: u64, text: String) -> Result<Value> {
    for line in 0..lines {
        ctx.info(format!("line {line}: {text}"));
    }
    Ok(json!({ "lines": lines }))
}

pub fn log_large(ctx: &Ctx, size: u64) -> Result<Value> {
    ctx.info(text_of(size));
    Ok(json!({ "logged": size }))
}

pub fn write_forever(mut to: impl Write, size: u64) -> Result<Value> {
    let chunk = [b'x'; 4096];
    let mut left = size;
    while left > 0 {
        let length = left.min(chunk.len() as u64);
        to.write_all(&chunk[..length as usize])?;
        left -= length;
    }
    Ok(json!({ "written": size }))
}

/// A new name each time. Returns how far it came.
pub fn export_many(ctx: &Ctx, count: u64) -> Result<Value> {
    let value = "x".repeat(1024);
    for number in 0..count {
        if let Err(error) = ctx.export(&format!("export-{number}"), &value) {
            return Ok(json!({ "exported": number, "refused": error.message() }));
        }
    }
    Ok(json!({ "exported": count }))
}

pub fn export_large(ctx: &Ctx, size: u64) -> Result<Value> {
    Ok(refused(ctx.export("large", &text_of(size)).err()))
}

pub fn export_not_json() -> Result<Value> {
    Ok(refused(flow::export("broken", "{\"a\": ").err().map(Error::from)))
}

pub fn respond_large(ctx: &Ctx, size: u64) -> Result<Value> {
    Ok(refused(ctx.respond(Reply::new(200).body(text_of(size))).err()))
}

pub fn delay_too_long(ctx: &Ctx) -> Result<Value> {
    Ok(refused(ctx.delay(Duration::from_secs(3600 * 24 * 367)).err()))
}

/// Lists in lists: a reader that recurses overflows its stack.
pub fn return_deep(depth: u64) -> Result<Value> {
    let mut value = json!(0);
    for _ in 0..depth {
        value = Value::Array(vec![value]);
    }
    Ok(value)
}

fn refused(error: Option<Error>) -> Value {
    match error {
        Some(error) => json!({ "refused": error.message() }),
        None => json!("taken"),
    }
}
