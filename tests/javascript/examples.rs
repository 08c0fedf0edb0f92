//! The examples, each as its README's line runs it.

use keyhole_tests::server::{answer, json};
use keyhole_tests::workspace::root;
use serde_json::json;

use crate::house::House;

const MARKER: &str = keyhole_host_api::broker::MARKER;

#[test]
fn sealed_code_for_slacks_own_package_runs_unmodified() {
    const TOKEN: &str = "xoxb-1234567890-realtokenofalice";
    let mut house = House::new();
    let server = house.serve(&["slack.com"], |request| {
        let authorized = request.header("authorization") == Some("Bearer xoxb-1234567890-realtokenofalice");
        if request.target != "/api/chat.postMessage" || !authorized {
            return json(200, &json!({"ok": false, "error": "not_authed"}));
        }
        let body = String::from_utf8_lossy(&request.body).into_owned();
        json(200, &json!({"ok": true, "channel": "C1", "ts": "1.5", "message": {"text": body}, "echo": request.header("authorization")}))
    });
    let account = house.connect("slack", TOKEN, &[]);
    let run = house.run(&root().join("examples/slack-hello"), &json!({}), &["--link", &format!("slack={account}")]);
    assert_eq!(run["status"], "ok", "{run:#}");
    assert_eq!(run["return_value"]["ok"], true);
    assert_eq!(run["return_value"]["message"]["text"], "text=Hello%2C%20world!&channel=%23general");
    assert_eq!(run["return_value"]["echo"], "Bearer ‹slack.oauth_access_token›", "a placeholder, shown by its label");
    assert_eq!(server.received().len(), 1);
    assert_eq!(server.received()[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let text = run.to_string();
    assert!(!text.contains(TOKEN) && !text.contains(MARKER), "{text}");

    // The example is the code of the documentation, to the letter.
    let source = std::fs::read_to_string(root().join("examples/slack-hello/slack-hello.mjs")).unwrap();
    assert!(
        source.contains("new WebClient(this.slack.$auth.oauth_access_token)\n    return await web.chat.postMessage("),
        "{source}"
    );
}

#[test]
fn sealed_slacks_package_tells_an_error_as_it_does_elsewhere() {
    let mut house = House::new();
    let _server = house.serve(&["slack.com"], |_| json(200, &json!({"ok": false, "error": "channel_not_found"})));
    let account = house.connect("slack", "xoxb-1234567890-realtokenofalice", &[]);
    let run = house.run(&root().join("examples/slack-hello"), &json!({}), &["--link", &format!("slack={account}")]);
    assert_eq!(run["status"], "failed");
    let error = &run["error"];
    assert!(error["message"].as_str().is_some_and(|text| text.contains("channel_not_found")), "{error:#}");
    assert!(error["trace"].as_str().is_some_and(|trace| trace.contains("slack-hello.mjs:7:")), "{error:#}");
}

#[test]
fn sealed_the_sendgrid_example_sends_a_mail() {
    const KEY: &str = "SG.realkeyofalice.0123456789";
    let mut house = House::new();
    let server = house.serve(&["api.sendgrid.com"], |_| {
        let mut accepted = answer(202, "text/plain", "");
        accepted.headers_mut().insert("x-message-id", http::HeaderValue::from_static("m-1"));
        accepted
    });
    let account = house.connect("sendgrid", KEY, &["api_host=api.sendgrid.com"]);
    let link = format!("sendgrid={account}");
    let more = [
        "--link",
        &link,
        "--prop",
        "from=a@example.com",
        "--prop",
        "to=b@example.com",
        "--prop",
        "subject=Hello",
        "--prop",
        "text=Hello, world!",
    ];
    let run = house.run(&root().join("examples/sendgrid-mail"), &json!({}), &more);
    assert_eq!((&run["status"], &run["return_value"]), (&json!("ok"), &json!({"id": "m-1"})), "{run:#}");
    let received = &server.received()[0];
    assert_eq!(
        (received.target.as_str(), received.header("authorization")),
        ("/v3/mail/send", Some(format!("Bearer {KEY}").as_str()))
    );
    let body: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(body["personalizations"][0]["to"][0]["email"], "b@example.com");
}

#[test]
fn sealed_the_typescript_example_asks_for_the_weather() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let mut house = House::new();
    let server = house.serve(&["api.openweathermap.org"], |_| {
        json(200, &json!({"name": "Rome", "weather": [{"description": "clear sky"}], "main": {"temp": 21.5}}))
    });
    let account = house.connect("openweather", KEY, &[]);
    let link = format!("openweather={account}");
    let value = house.value(&root().join("examples/typescript-weather"), &["--link", &link, "--prop", "city=Rome"]);
    assert_eq!(value, json!({"city": "Rome", "temperature": 21.5, "summary": "Rome: clear sky, 21.5°"}));
    assert_eq!(server.received()[0].target, format!("/data/2.5/weather?q=Rome&units=metric&appid={KEY}"));
}
