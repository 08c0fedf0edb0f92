//! What keeps a workspace going: members, tokens, links, apps, the audit and the vault, through the pages.

use keyhole_tests::program::KEY;
use keyhole_tests::served::Served;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use crate::browser::{Browser, Page};
use crate::house::{House, Words, enter};
use crate::secrets::secret;
use crate::visit::{Answer, Visit, client, send};

/// What the page gives to be copied: a link or a token.
fn copied(page: &Page) -> String {
    page.evaluate("document.querySelector('.copy code').textContent").as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_admin_invites_a_member_by_a_link_and_removes_them_and_a_member_can_do_neither() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.follow("Members");
    alice.fill("Name", "Carol");
    alice.press_button("Add the member");
    alice.sees("cannot be a member's name");
    alice.judge("a member's name that is refused");
    assert_eq!(alice.value("Name"), "Carol");
    alice.fill("Name", "carol");
    alice.press_button("Add the member");
    alice.sees("carol is added");
    let link = copied(&alice);
    alice.judge("a member who was added");

    let carol = browser.person(&served.url, &json!({}));
    carol.open(&link);
    carol.press_button("Sign in as carol");
    carol.arrives("/accounts$");
    carol.follow("Members");
    assert_eq!(carol.count("button", Some("Add the member")), 0);
    assert_eq!(carol.open("/members/alice/remove"), 403);

    alice.follow("Go to the members");
    alice.type_in("Search", "car");
    alice.sees("1 member");
    alice.follow("Remove carol");
    alice.sees("They own no account.");
    alice.press_button("Remove carol");
    alice.sees("carol is removed");
    alice.judge("a member who was removed");
    carol.open("/accounts");
    carol.arrives("/sign-in\\?next=");
    assert_eq!(carol.open(&link), 404);
}

#[test]
fn an_admin_changes_roles_and_the_only_one_is_told_why_not() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.follow("Members");
    alice.follow("alice");
    alice.select("Role", "member");
    alice.press_button("Change the role");
    alice.sees("alice is the only admin");
    alice.open("/members/bob");
    alice.select("Role", "admin");
    alice.press_button("Change the role");
    alice.sees("The role is changed.");

    let bob = enter(&browser, &served, "bob", &json!({}));
    bob.open("/members/alice");
    bob.select("Role", "member");
    bob.press_button("Change the role");
    bob.sees("The role is changed.");
    assert_eq!(alice.open("/members/bob"), 403);
}

#[test]
fn an_invite_that_was_lost_is_made_anew_for_who_never_came_in() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open("/members");
    alice.fill("Name", "carol");
    alice.press_button("Add the member");
    alice.sees("carol is added");
    let lost = copied(&alice);
    alice.follow("Go to the members");
    alice.follow("carol");
    alice.press_button("Invite again");
    alice.sees("carol is invited again");
    alice.judge("somebody who is invited again");
    let again = copied(&alice);

    let carol = browser.person(&served.url, &json!({}));
    assert_eq!(carol.open(&lost), 404);
    carol.open(&again);
    carol.press_button("Sign in as carol");
    carol.arrives("/accounts$");
    alice.open("/members/carol");
    alice.sees_button("Change the role");
    assert_eq!(alice.count("button", Some("Invite again")), 0);
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_is_revoked() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open("/settings");
    alice.fill("Name", "laptop");
    alice.press_button("Make the token");
    alice.sees("Copy it now");
    let token = copied(&alice);
    alice.judge("a token that is shown once");
    let me = || client(1).get(format!("{}/api/me", served.url)).bearer_auth(&token);
    assert_eq!(send(me()).await.status, 200);
    alice.open("/settings");
    alice.sees("laptop");
    assert!(!alice.text().contains(&token), "it is not shown again");
    let revoke = alice.evaluate("document.querySelector('[aria-label^=\"Revoke laptop\"]').ariaLabel");
    alice.press_button(revoke.as_str().expect("a button"));
    alice.sees("The token is revoked.");
    assert_eq!(send(me()).await.status, 401);

    // Another's, among everyone's.
    let (bobs, _) = served.token("bob", &["--name", "bob's phone"]);
    let bob = || client(1).get(format!("{}/api/me", served.url)).bearer_auth(&bobs);
    assert_eq!(send(bob()).await.status, 200);
    alice.open("/settings/tokens");
    alice.type_in("Search", "nobody has this");
    alice.sees("0 tokens");
    alice.fill("Search", "");
    alice.type_in("Search", "phone");
    alice.sees("1 token");
    alice.press_button(
        alice.evaluate("document.querySelector('[aria-label^=\"Revoke bob\"]').ariaLabel").as_str().expect("a button"),
    );
    alice.sees("The token is revoked.");
    assert_eq!(send(bob()).await.status, 401);
}

#[test]
fn a_session_elsewhere_is_ended_by_itself() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let alice = enter(&browser, &served, "alice", &json!({"userAgent": "desk"}));
    let phone = enter(&browser, &served, "alice", &json!({"userAgent": "phone"}));
    alice.open("/settings");
    alice.sees("desk");
    alice.sees("phone");
    let end = alice.evaluate("document.querySelector('[aria-label^=\"End the session\"]').ariaLabel");
    alice.press_button(end.as_str().expect("a button"));
    alice.sees("The session is ended.");
    alice.sees_no_more("phone");
    phone.open("/accounts");
    phone.arrives("/sign-in\\?next=");
    alice.follow("Accounts");
    alice.sees("No accounts yet");
}

#[test]
fn somebody_without_a_login_connects_an_account_by_a_link_that_was_made_in_the_settings() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    alice.open("/settings");
    alice.select("App", "Acme");
    alice.press_button("Make the link");
    alice.sees("Send it to who has the key");
    let link = copied(&alice);
    alice.judge("a link that is shown once");
    let stranger = browser.person(&house.served.url, &json!({}));
    stranger.open(&link);
    stranger.sees("The account will belong to alice");
    assert_eq!(stranger.count("navigation", None), 0, "it shows just this");
    stranger.fill("API key", KEY);
    stranger.press_button("Connect");
    stranger.sees("now belongs to alice");
    stranger.judge("what was connected by a link");
    assert_eq!(stranger.open(&link), 404);
    alice.open("/accounts");
    alice.sees("3 accounts");

    // One that is taken back opens nothing.
    alice.open("/settings");
    alice.select("App", "Acme");
    alice.press_button("Make the link");
    alice.sees("Send it to who has the key");
    let link = copied(&alice);
    alice.open("/settings");
    let revoke = alice.evaluate("document.querySelector('[aria-label^=\"Revoke the link for Acme\"]').ariaLabel");
    alice.press_button(revoke.as_str().expect("a button"));
    alice.sees("The link is taken back.");
    assert_eq!(stranger.open(&link), 404);
}

/// Where a document is chosen.
const DOCUMENT: &str = "OpenAPI 3 or Swagger 2 document, as a JSON or YAML file";

/// Gives a document as a file, as the page of it does (RFC 7578).
async fn upload(visit: &Visit, document: &[u8]) -> Answer {
    let parts = [("form_key", visit.form_key.as_bytes()), ("upload", document)].map(|(name, value)| {
        let head = format!("--cut\r\nContent-Disposition: form-data; name={name:?}\r\n\r\n");
        [head.as_bytes(), value, b"\r\n"].concat()
    });
    let kind = "multipart/form-data; boundary=cut".parse().expect("a header");
    let request = visit.posting("/apps/import", &[]).headers([(CONTENT_TYPE, kind)].into_iter().collect());
    send(request.body([parts.concat(), b"--cut--\r\n".to_vec()].concat())).await
}

#[tokio::test]
async fn a_long_document_is_taken_from_who_may_add_apps_and_as_a_text_alone() {
    let served = Served::with_members();
    let (mut alice, bob) = (Visit::of(&served, "alice").await, Visit::of(&served, "bob").await);
    let long = vec![b' '; 1 << 20];
    assert_eq!(upload(&bob, &long[..64 << 10]).await.status, 403);
    let answer = upload(&alice, &long).await;
    assert!(answer.status == 422 && answer.text.contains("there is no document"), "{} {}", answer.status, answer.text);
    let answer = upload(&alice, b"openapi: \xff").await;
    assert!(answer.status == 422 && answer.text.contains("no text in UTF-8"), "{} {}", answer.status, answer.text);
    alice.form_key.clone_from(&bob.form_key);
    assert_eq!(upload(&alice, &long).await.status, 403, "of another session's page");
}

#[tokio::test]
async fn a_document_that_takes_more_than_it_may_ends_with_what_reads_it_and_the_server_goes_on() {
    let served = Served::with_members();
    let alice = Visit::of(&served, "alice").await;
    // Each entry is a hundred times as long in memory.
    let bomb = format!("[{}0]", "{\"\":0},".repeat((15 << 20) / 7));
    let answer = upload(&alice, bomb.as_bytes()).await;
    assert!(answer.status == 422 && answer.text.contains("MiB of memory"), "{} {}", answer.status, answer.text);
    // What one part of it would be repeated for by the other.
    let (host, schemes) = ("a".repeat(1 << 20), vec!["https"; 100_000]);
    let long = json!({"swagger": "2.0", "host": host, "schemes": schemes, "info": {"title": "Long"}}).to_string();
    let answer = upload(&alice, long.as_bytes()).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(!answer.text.contains("MiB of memory"), "{}", answer.text);
    let scopes: serde_json::Map<String, serde_json::Value> =
        (0..200_000).map(|one| (format!("s{one}"), json!(""))).collect();
    let many = json!({
        "openapi": "3.0.0", "info": {"title": "Many"}, "servers": [{"url": "https://api.many-of-tests.com/"}], "paths": {},
        "components": {"securitySchemes": {"o": {"type": "oauth2", "flows": {"authorizationCode": {
            "authorizationUrl": "https://api.many-of-tests.com/auth", "tokenUrl": "https://api.many-of-tests.com/token", "scopes": scopes,
        }}}}},
        "security": [{"o": []}],
    });
    let answer = upload(&alice, many.to_string().as_bytes()).await;
    assert!(answer.status == 200 && answer.text.contains("A draft of many"), "{} {}", answer.status, answer.text);
    assert_eq!(alice.get("/accounts").await.status, 200);
}

#[test]
fn an_admin_sets_a_client_drafts_and_adds_an_app_filters_the_audit_and_checks_the_vault() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    alice.follow("Apps");
    alice.type_in("Search", "notes");
    alice.arrives("q=notes$");
    alice.follow("Notes");
    alice.fill("Client id", "our-client");
    alice.press_button("Set the client");
    alice.sees("the client's secret is not given");
    alice.fill("Client secret", secret("a-client-secret-4f1b7c2e9d"));
    alice.press_button("Set the client");
    alice.sees("The OAuth client is set");
    let page = alice.evaluate("document.documentElement.outerHTML").to_string();
    assert!(page.contains("our-client") && !page.contains("a-client-secret"), "{page}");
    alice.follow("Forget the client");
    alice.sees("Its secret is erased here.");
    alice.press_button("Forget the client");
    alice.sees("The OAuth client is forgotten.");
    assert!(!alice.text().contains("our-client"));

    alice.open("/apps/import");
    alice.press_button("Draft it");
    alice.sees("there is no document");
    alice.fill("Or its text", "openapi: [");
    alice.press_button("Draft it");
    alice.sees(", column ");
    assert_eq!(alice.value("Or its text"), "openapi: [");
    alice.judge("a document that is none");
    let document = json!({
        "openapi": "3.0.0", "info": {"title": "Weather", "version": "1"}, "paths": {},
        "servers": [{"url": "https://api.weather-of-tests.com/v1"}],
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    });
    // As long as they can be.
    for (mib, said) in [(17, "the document has more than 16 MiB"), (15, "A draft of weather")] {
        let long = format!("{}{document}", " ".repeat(mib << 20));
        alice.attach(DOCUMENT, "weather.json", &long);
        alice.press_button("Draft it");
        alice.sees(said);
    }
    assert!(alice.value("The definition").contains("api.weather-of-tests.com"));
    alice.judge("a draft");
    alice.press_button("Add this app");
    alice.arrives("/apps/weather\\?done=added$");
    alice.judge("an app that was added");
    alice.open("/apps?q=weather");
    alice.follow("Weather");
    alice.arrives("/apps/weather$");
    alice.sees("api.weather-of-tests.com");

    alice.follow("Audit");
    let all = alice.count("row", None);
    assert!(all > 3, "{all}");
    alice.click_text("Filters");
    alice.fill("Answer", "401");
    alice.press_button("Filter");
    alice.arrives("status=401");
    let some = alice.count("row", None);
    assert!(1 < some && some < all, "{some} of {all}");
    alice.judge("an audit that is filtered");
    alice.press_button("Verify");
    alice.sees("The audit is whole");
    alice.judge("an audit that was verified");

    alice.open("/settings");
    alice.press_button("Check the vault");
    alice.sees("records open.");
    alice.judge("a vault that was checked");
    alice.open("/settings/vault/rotate");
    alice.press_button("Rotate the master key");
    alice.sees("seals from now on");
    alice.judge("a master key that was rotated");
    alice.open(&format!("/accounts/{}", house.healthy));
    alice.click_text("Actions");
    alice.press_button("Test");
    alice.sees("It works: the service takes its credentials.");
}
