//! Passkeys, of a virtual authenticator in Chromium: added, used, removed, and what does not get by.

use std::net::TcpListener;
use std::sync::Arc;

use keyhole_tests::program::Keyhole;
use keyhole_tests::served::Served;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::hostile::{evil, unharmed};
use crate::house::sign_in_link;

/// A Keyhole at a name, which passkeys need: `localhost`, where TLS is not.
struct House {
    served: Served,
    browser: Arc<Browser>,
    /// Where the browser finds it.
    url: String,
}

impl House {
    /// None where there is no Chromium.
    fn new() -> Option<Self> {
        let browser = Browser::shared()?;
        let keyhole = Keyhole::default();
        for name in ["alice", "bob"] {
            keyhole.member(name);
        }
        // Given back at once: the public URL has the port, and is said before the server listens.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://localhost:{}", address.port());
        let listen = address.to_string();
        let flags = ["--listen", &listen, "--public-url", &url, "--metrics", "127.0.0.1:0"];
        let served = Served::on(keyhole, &flags);
        Some(Self { served, browser, url })
    }

    /// A member with a device, who is signed in by a link.
    #[track_caller]
    fn enter(&self, member: &str) -> Page {
        let page = self.browser.person(&self.url, &json!({}));
        page.device();
        page.open(&sign_in_link(&self.served.keyhole, member));
        page.press_button(&format!("Sign in as {member}"));
        page.arrives("/accounts$");
        page
    }

    /// Their passkeys, as the command line has them.
    fn passkeys(&self, member: &str) -> Value {
        self.served.keyhole.call(&["--json", "passkeys", "list", "--as", member]).ok().json()
    }
}

#[track_caller]
fn add(page: &Page, name: &str) {
    page.open("/settings");
    page.fill("Name of the passkey", name);
    page.press_button("Add a passkey");
    page.sees("The passkey is added.");
}

/// What a page's script has an authenticator answer to the challenge `options`, as the form would send it.
fn answer(options: &Value) -> String {
    format!(
        "navigator.credentials.get({{ publicKey: asked({options}) }}).then(answered, (error) => `failed: ${{error.name}}`)"
    )
}

/// The same without the script of our pages.
fn answer_elsewhere(options: &Value) -> String {
    let source = include_str!("../../runtime/src/server/console/assets/console.js");
    let begin = source.find("const bytes = ").expect("the beginning of its helpers");
    let end = source.find("for (const form of document.querySelectorAll('form[data-passkey]'))").expect("their end");
    format!("(() => {{ {} return {}; }})()", &source[begin..end], answer(options))
}

/// Asks for a challenge on the sign-in page.
const BEGIN: &str =
    "fetch('/sign-in/passkey/begin', { method: 'POST', body: new URLSearchParams() }).then((answer) => answer.json())";

/// Sends an answer as the form does, and says where that led.
fn send(answer: &str) -> String {
    let body = json!(answer);
    format!(
        "fetch('/sign-in/passkey', {{ method: 'POST', body: new URLSearchParams({{ answer: {body} }}) }})\
         .then((answer) => `${{answer.status}} ${{new URL(answer.url).pathname}}`)"
    )
}

#[test]
fn the_name_of_a_passkey_is_text() {
    let Some(house) = House::new() else { return };
    let alice = house.enter("alice");
    add(&alice, &evil("evil-passkey"));
    alice.sees("evil-passkey");
    unharmed(&alice, "the settings");
}

#[test]
fn a_passkey_is_added_signs_in_without_a_name_and_ends_its_sessions_when_it_is_removed() {
    let Some(house) = House::new() else { return };
    let alice = house.enter("alice");
    add(&alice, "laptop");
    alice.sees("laptop");
    alice.judge("settings with passkeys");
    assert_eq!(house.passkeys("alice")[0]["name"], "laptop");
    assert_eq!(house.passkeys("bob"), json!([]));
    // The device has one of hers, and says so.
    alice.fill("Name of the passkey", "again");
    alice.press_button("Add a passkey");
    alice.sees("This device has a passkey of yours already.");

    alice.press_button("Sign out");
    alice.arrives("/sign-in$");
    alice.open("/runs?status=failed");
    alice.arrives("/sign-in\\?next=");
    alice.judge("signing in with a passkey");
    alice.press_button("Sign in with a passkey");
    alice.arrives("/runs\\?status=failed$");
    let used = house.passkeys("alice");
    assert!(used[0]["last_used"].is_string(), "{used:#}");
    let cookies = alice.cookies();
    assert_eq!(cookies.len(), 1, "what was needed on the way is gone: {cookies:?}");

    // Removed by the command line: what it began is over, and it signs nobody in.
    let id = used[0]["id"].as_str().unwrap().to_owned();
    assert!(house.served.keyhole.call(&["passkeys", "remove", &id, "--as", "bob"]).code != 0, "it is not bob's");
    house.served.keyhole.call(&["passkeys", "remove", &id, "--as", "alice"]).ok();
    alice.open("/accounts");
    alice.arrives("/sign-in\\?next=");
    alice.press_button("Sign in with a passkey");
    alice.sees("this passkey does not sign in");
    alice.open("/accounts");
    alice.arrives("/sign-in\\?next=");
    assert_eq!(alice.complaints(), [""; 0]);
}

#[test]
fn a_passkey_is_removed_in_the_settings_and_with_its_member() {
    let Some(house) = House::new() else { return };
    let bob = house.enter("bob");
    add(&bob, "phone");
    bob.press_button("Remove phone");
    bob.sees("The passkey is removed.");
    assert_eq!(house.passkeys("bob"), json!([]));
    add(&bob, "phone");
    bob.press_button("Sign out");
    bob.press_button("Sign in with a passkey");
    bob.arrives("/accounts$");
    house.served.keyhole.call(&["members", "remove", "bob"]).ok();
    house.served.keyhole.member("bob");
    bob.open("/accounts");
    bob.arrives("/sign-in\\?next=");
    bob.press_button("Sign in with a passkey");
    bob.sees("this passkey does not sign in");
    assert_eq!(house.passkeys("bob"), json!([]), "another bob has none");
}

#[test]
fn an_answer_counts_once_and_only_for_who_was_asked_at_our_own_origin() {
    let Some(house) = House::new() else { return };
    let alice = house.enter("alice");
    add(&alice, "laptop");
    alice.press_button("Sign out");
    alice.arrives("/sign-in$");

    // The same answer once more, while its session goes on.
    let begun = alice.evaluate(BEGIN);
    let ticket = alice.cookies();
    let answered = alice.evaluate(&answer(&begun["publicKey"]));
    let answered = answered.as_str().unwrap();
    assert!(answered.starts_with('{'), "{answered}");
    assert_eq!(alice.evaluate(&send(answered)), "200 /accounts");
    alice.open("/settings");
    alice.press_button("Sign out");
    alice.arrives("/sign-in$");
    alice.give(&ticket);
    assert_eq!(alice.evaluate(&send(answered)), "403 /sign-in/passkey");
    alice.open("/accounts");
    alice.arrives("/sign-in\\?next=");

    // An answer to what another browser was asked.
    let thief = house.browser.person(&house.url, &json!({}));
    thief.open("/sign-in");
    let begun = alice.evaluate(BEGIN);
    let answered = alice.evaluate(&answer(&begun["publicKey"]));
    thief.evaluate(BEGIN);
    assert_eq!(thief.evaluate(&send(answered.as_str().unwrap())), "403 /sign-in/passkey");

    // Another origin of the same host, where browsers give away the same passkeys.
    let begun = alice.evaluate(BEGIN);
    let metrics = house.served.metrics.as_ref().expect("an address").replace("127.0.0.1", "localhost");
    assert_eq!(alice.open(&metrics), 200);
    let answered = alice.evaluate(&answer_elsewhere(&begun["publicKey"]));
    let answered = answered.as_str().unwrap().to_owned();
    assert!(answered.starts_with('{'), "{answered}");
    alice.open("/sign-in");
    assert_eq!(alice.evaluate(&send(&answered)), "403 /sign-in/passkey");
    // And the passkey itself is as good as before.
    alice.press_button("Sign in with a passkey");
    alice.arrives("/accounts$");
}

#[test]
fn without_a_script_the_pages_say_that_passkeys_need_one_and_at_an_address_there_are_none() {
    let Some(house) = House::new() else { return };
    let alice = house.browser.person(&house.url, &json!({"javaScriptEnabled": false}));
    alice.open("/sign-in");
    // What is there for browsers without a script is no text that the driver looks for.
    assert!(alice.text().contains("Signing in with a passkey needs a script"), "{}", alice.text());
    assert_eq!(alice.count("button", Some("Sign in with a passkey")), 0);
    alice.open(&sign_in_link(&house.served.keyhole, "alice"));
    alice.press_button("Sign in as alice");
    alice.open("/settings");
    assert!(alice.text().contains("Adding a passkey needs a script"), "{}", alice.text());
    let served = Served::with_members();
    let bob = crate::house::enter(&house.browser, &served, "bob", &json!({}));
    bob.open("/settings");
    bob.sees("Browsers have passkeys for a Keyhole that has a name and TLS");
}
