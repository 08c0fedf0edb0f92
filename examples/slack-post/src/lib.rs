//! Posts a message to Slack.
use keyhole_sdk::prelude::*;

#[derive(Props)]
struct Input {
    #[prop(app = "slack", scopes = ["chat:write"])]
    slack: Account,
    #[prop(default = "#general", description = "Where to post.")]
    channel: String,
    #[prop(description = "What to post.")]
    text: String,
}

#[keyhole_sdk::step(name = "slack-post", description = "Posts a message to Slack")]
fn run(input: Input) -> Result<impl Serialize> {
    let message = json!({ "channel": input.channel, "text": input.text });
    input.slack.post("chat.postMessage").json(&message).send()?.error_for_status()?.json::<Value>()
}
