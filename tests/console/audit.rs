//! The audit's page: requests and acts, whose accounts they were with, who did them and from where.

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::server::acme;
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::house::enter;
use crate::visit::{client, posting, send};

/// What was done, by its name, of those that the flags choose.
pub fn acts(served: &Served, more: &[&str]) -> Vec<Value> {
    let args = ["--json", "audit", "--kind", "act", "-n", "10000"];
    served.keyhole.call(&[&args[..], more].concat()).ok().json().as_array().expect("a list").clone()
}

#[test]
fn the_audit_tells_accounts_of_one_app_apart_and_who_did_what_from_where() {
    let Some(browser) = Browser::shared() else { return };
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    keyhole.member("alice");
    keyhole.member("bob");
    let [sales, support] = ["Acme of sales", "Acme of support"].map(|nickname| {
        let args = ["--json", "accounts", "connect", "acme", "--as", "alice", "--stdin", "--no-test", "--nickname"];
        let connected = keyhole.call_with(&[&args[..], &[nickname]].concat(), KEY).ok().json();
        connected["id"].as_str().expect("an id").to_owned()
    });
    for account in [&sales, &support] {
        let link = format!("acme={account}");
        assert_eq!(
            keyhole.run(&component("echo-key"), &json!({}), &["--as", "alice", "--link", &link])["status"],
            "ok"
        );
    }
    let served = Served::on(keyhole, &[]);
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open("/audit?kind=request");
    alice.sees("Acme of sales");
    alice.sees("Acme of support");
    served.keyhole.call(&["accounts", "delete", &support, "--as", "alice"]).ok();
    alice.reload();
    alice.sees("Acme of sales");
    assert!(!alice.text().contains("Acme of support"));
    alice.sees(&support[support.len() - 6..]);

    alice.open("/audit");
    alice.click_text("Filters");
    alice.select("Kind", "acts: who did what here");
    alice.press_button("Filter");
    alice.arrives("kind=act");
    for told in
        ["members_add", "accounts_connect", "accounts_delete", "sign_in_links_create", "sign_in", "from 127.0.0.1"]
    {
        alice.sees(told);
    }
    assert_eq!(
        alice.evaluate("[...document.querySelectorAll('td')].some((one) => one.innerText.startsWith('run '))"),
        false
    );
    // Bob sees what is his.
    let bob = enter(&browser, &served, "bob", &json!({}));
    bob.open("/audit");
    bob.sees("sign_in");
    let shown = bob.text();
    assert!(!shown.contains("accounts_connect") && !shown.contains("accounts_delete"), "{shown}");
}

#[tokio::test]
async fn who_changes_what_is_recorded_from_where_and_never_with_what_lets_one_in() {
    let served = Served::with_members();
    let (token, id) = served.token("alice", &[]);
    let call = |method: reqwest::Method, path: &str, body: Value| {
        let request = client(7).request(method, format!("{}/api{path}", served.url)).bearer_auth(&token);
        request.header("content-type", "application/json").body(body.to_string())
    };
    let mut texts = vec![token.clone()];
    for (method, path, body, text) in [
        (reqwest::Method::POST, "/members", json!({"name": "carol", "role": "admin", "invite": true}), "invite"),
        (reqwest::Method::POST, "/tokens", json!({"name": "other"}), "token"),
        (reqwest::Method::POST, "/connect-links", json!({"app": "acme"}), "url"),
        (reqwest::Method::POST, "/sign-in-links", json!({}), "url"),
        (reqwest::Method::PATCH, "/members/bob", json!({"role": "admin"}), ""),
        (reqwest::Method::POST, "/members/mallory/invite", json!({}), "invite"),
        (
            reqwest::Method::PUT,
            "/apps/notes/client",
            json!({"client_id": "ours", "client_secret": "not-to-be-told"}),
            "",
        ),
        (reqwest::Method::DELETE, "/members/bob", json!({}), ""),
        (reqwest::Method::POST, "/vault/rotate", json!({}), ""),
    ] {
        let answer = send(call(method, path, body)).await;
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
        let answer: Value = serde_json::from_str(&answer.text).expect("JSON");
        texts.extend(answer[text].as_str().map(|text| text.rsplit('/').next().unwrap_or(text).to_owned()));
    }
    assert_eq!(texts.len(), 6, "{texts:?}");
    let told = acts(&served, &["--member", "alice"]);
    let own = told.iter().filter(|act| act["from"] == "127.0.0.7");
    let own: Vec<&str> = own.map(|act| act["act"].as_str().expect("what")).collect();
    assert_eq!(
        own,
        [
            "members_add",
            "sign_in_links_create",
            "tokens_create",
            "links_create",
            "sign_in_links_create",
            "members_role",
            "sign_in_links_create",
            "members_invite",
            "clients_configure",
            "members_remove",
            "vault_rotate"
        ]
    );
    let added = told.iter().find(|act| act["about"] == "carol").expect("carol was added");
    assert_eq!((&added["by"], &added["detail"]), (&json!(format!("token {id}")), &json!("admin")));
    let everything = served.keyhole.call(&["audit", "export"]).ok().stdout;
    for text in texts.iter().map(String::as_str).chain(["not-to-be-told"]) {
        assert!(!everything.contains(text), "{text} is in the audit");
    }
    assert_eq!(served.keyhole.call(&["--json", "audit", "verify"]).ok().json()["wrong"], 0);
}

#[tokio::test]
async fn failed_sign_ins_are_recorded_and_can_t_fill_the_disk() {
    let served = Served::with_members();
    let page = format!("{}/sign-in", served.url);
    let fail = async |from: u8| {
        let answer = send(posting(&client(from), &page, &[("token", "kht_nobodysTokenAtAll")])).await;
        assert!(matches!(answer.status, 401 | 429), "{}", answer.status);
        answer.status
    };
    assert_eq!(fail(9).await, 401);
    let told = acts(&served, &["--decision", "refused"]);
    assert_eq!(told.len(), 1, "{told:#?}");
    let expected = [json!("sign_in"), json!("token"), json!("127.0.0.9"), Value::Null];
    assert_eq!(["act", "by", "from", "member"].map(|part| told[0][part].clone()), expected);

    let mut failed = 1;
    for from in 10..20 {
        while fail(from).await == 401 {
            failed += 1;
        }
    }
    assert!(failed >= 200, "{failed}");
    let told = acts(&served, &["--decision", "refused"]);
    // Some are let by again while this goes on.
    assert!((60..150).contains(&told.len()), "{} of {failed} are told", told.len());
    let everything = served.keyhole.call(&["audit", "export"]).ok().stdout;
    assert!(!everything.contains("nobodysTokenAtAll"), "what was tried is not kept");
    assert_eq!(served.keyhole.call(&["--json", "audit", "verify"]).ok().json()["wrong"], 0);
}
