//! A service of one's own, described and connected through the pages as a person does it.

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::server::acme;
use serde_json::json;

use crate::browser::Browser;
use crate::house::{deploy, enter, request};

#[test]
fn a_person_describes_a_service_corrects_it_where_it_is_wrong_and_connects_it() {
    let Some(browser) = Browser::shared() else { return };
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    keyhole.member("alice");
    let served = Served::on(keyhole, &[]);
    for script in [true, false] {
        let alice = enter(&browser, &served, "alice", &json!({"javaScriptEnabled": script}));
        alice.open("/accounts/new");
        alice.follow("Connect a service of your own");
        alice.fill("What you call the service (optional)", "Warehouse");
        alice.fill("Hosts", "127.0.0.1");
        alice.fill("Where requests start (optional)", "https://api.acme.example/{v1/");
        alice.fill("Name 1", "X-Key");
        alice.fill("Value 1", "{key");
        alice.press_button("Continue");
        alice.sees("What is wrong stands beside it.");
        assert_eq!((alice.value("Name 1"), alice.value("Value 1")), ("X-Key".to_owned(), "{key".to_owned()));
        let invalid = "[...document.querySelectorAll('[aria-invalid]')].map((one) => one.name)";
        if script {
            assert_eq!(alice.evaluate(invalid), json!(["hosts", "base_url", "name", "template"]));
            alice.judge("a service of one's own that is described wrongly");
        }
        alice.fill("Hosts", "api.acme.example");
        alice.fill("Where requests start (optional)", "https://api.acme.example/v1/");
        alice.fill("Name 1", "Authorization");
        alice.fill("Value 1", "Bearer {key}");
        alice.press_button("Add rows");
        assert_eq!(alice.value("Value 1"), "Bearer {key}", "what was typed is kept");
        alice.select("Place 4", "header");
        alice.fill("Name 4", "X-Team");
        alice.fill("Value 4", "{team}");
        alice.fill("Fields that are no secrets (optional)", "team");
        alice.press_button("Continue");

        alice.sees("Connect Warehouse");
        if script {
            alice.judge("a service of one's own, to be connected");
        }
        alice.press_button("Describe it otherwise");
        assert_eq!(
            (alice.value("Hosts"), alice.value("Value 2")),
            ("api.acme.example".to_owned(), "{team}".to_owned())
        );
        alice.press_button("Continue");
        let nickname = format!("Warehouse, script {script}");
        alice.fill("Nickname (optional)", &nickname);
        alice.fill_at("input[name='field.key']", KEY);
        alice.fill_at("input[name='field.team']", "sales");
        alice.press_button("Connect");
        let at = alice.arrives("/accounts/[^/?]+\\?done=connected$");
        alice.sees("The account is connected");
        alice.sees("sales");
        assert!(!alice.text().contains(KEY));

        let account = at.rsplit_once('/').and_then(|(_, rest)| rest.split('?').next()).expect("an id").to_owned();
        let name = format!("ask-{script}");
        let text = format!("keyhole = 1\nname = {name:?}\n{}", request("ask", "account", &account, "me"));
        deploy(&served.keyhole, &name, &text);
        let flags: Vec<String> = served.keyhole.flags().to_vec();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let args = ["--json", "workflows", "run", &name, "--as", "alice"];
        let ended = served.keyhole.call(&[&args[..], &flags].concat()).json();
        assert_eq!(ended["run"]["status"], "ok", "{ended:#}");
        let received = server.received();
        let last = received.last().expect("a request");
        assert_eq!(last.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
        assert_eq!(last.header("x-team"), Some("sales"));

        // New keys for what was described before.
        alice.click_text("Actions");
        alice.follow("Reconnect");
        alice.fill_at("input[name=key]", KEY);
        alice.press_button("Connect");
        alice.sees("The account is reconnected");
    }
}
