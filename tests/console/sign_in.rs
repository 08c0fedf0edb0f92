//! The way in: the first member of a fresh install, one-time links, tokens, and where one is led.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use keyhole_tests::program::Keyhole;
use keyhole_tests::served::Served;
use serde_json::json;

use crate::browser::Browser;
use crate::house::{enter, sign_in_link};
use crate::visit::{client, posting, send};

#[test]
fn a_fresh_install_prints_a_link_that_makes_the_first_admin_and_is_dead_afterwards() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::on(Keyhole::default(), &[]);
    let set_up = served.set_up.clone().expect("a link, while there is no member");
    let alice = browser.person(&served.url, &json!({}));
    assert_eq!(alice.open(&format!("{}/set-up/{}", served.url, "A".repeat(43))), 404, "not any link");
    assert_eq!(alice.open(&set_up), 200);
    // A slip of the hand does not cost the link.
    alice.fill("Your name", "Alice Smith");
    alice.press_button("Begin");
    alice.sees("cannot be a member's name");
    assert_eq!(alice.value("Your name"), "Alice Smith");
    alice.fill("Your name", "alice");
    alice.press_button("Begin");
    alice.arrives("/accounts$");
    alice.sees("No accounts yet");
    let members = served.keyhole.call(&["--json", "members", "list"]).ok().json();
    assert_eq!((&members[0]["name"], &members[0]["role"]), (&json!("alice"), &json!("admin")), "{members:#}");
    assert_eq!(members.as_array().map(Vec::len), Some(1));

    let mallory = browser.person(&served.url, &json!({}));
    assert_eq!(mallory.open(&set_up), 404);
    mallory.sees("Keyhole has its first member");
    assert!(Served::with_members().set_up.is_none(), "nor is there one where there are members");
}

#[test]
fn on_a_terminal_the_link_stands_where_a_person_reads() {
    let keyhole = Keyhole::default();
    let mut serve = keyhole.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut child = serve.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find_map(|line| Some(line.split_once("set Keyhole up here: ")?.1.to_owned()));
    let _ = child.kill();
    let _ = child.wait();
    let link = said.expect("a line with the link");
    assert!(link.starts_with("http://127.0.0.1:") && link.contains("/set-up/"), "{link}");
}

#[test]
fn a_link_signs_in_once_and_a_look_does_not_use_it_up() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let link = sign_in_link(&served.keyhole, "alice");
    let alice = browser.person(&served.url, &json!({}));
    for _ in 0..3 {
        assert_eq!(alice.open(&link), 200);
        alice.sees("signs you in as alice");
    }
    assert!(alice.cookies().is_empty(), "a look signs nobody in");
    alice.press_button("Sign in as alice");
    alice.arrives("/accounts$");
    alice.sees("No accounts yet");

    let again = browser.person(&served.url, &json!({}));
    assert_eq!(again.open(&link), 404);
    assert_eq!(again.count("button", None), 0, "there is nothing to press");
    again.open("/accounts");
    again.arrives("/sign-in\\?next=");
}

#[tokio::test]
async fn a_link_that_two_open_at_once_signs_one_of_them_in() {
    let served = Served::with_members();
    let link = format!("{}{}", served.url, sign_in_link(&served.keyhole, "alice"));
    let client = client(1);
    let answers = futures_util::future::join_all((0..8).map(|_| send(posting(&client, &link, &[])))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    let cookies = answers.iter().filter(|answer| !answer.header("set-cookie").is_empty()).count();
    assert_eq!(cookies, 1);
}

#[test]
fn a_token_signs_in_and_a_wrong_one_is_told() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let (token, id) = served.token("bob", &[]);
    let bob = browser.person(&served.url, &json!({}));
    bob.open("/sign-in");
    bob.fill("Or sign in with a token", &format!("{token}x"));
    bob.press_button("Sign in");
    bob.sees("This token does not sign in");
    assert_eq!(bob.value("Or sign in with a token"), "", "what was typed does not come back");
    bob.fill("Or sign in with a token", &token);
    bob.press_button("Sign in");
    bob.arrives("/accounts$");
    assert_eq!(bob.count("button", Some("Sign out")), 1);
    bob.press_button("Sign out");
    bob.arrives("/sign-in$");
    bob.open("/accounts");
    bob.arrives("/sign-in\\?next=");

    served.keyhole.call(&["tokens", "revoke", &id]).ok();
    bob.fill("Or sign in with a token", &token);
    bob.press_button("Sign in");
    bob.sees("This token does not sign in");
}

#[test]
fn whoever_signs_in_is_led_to_the_page_that_they_asked_for_and_never_to_another_site() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let (token, _) = served.token("alice", &[]);
    let elsewhere = [
        "/sign-in?next=https://evil.example/",
        "/sign-in?next=//evil.example/",
        "/sign-in?next=/%5Cevil.example/",
        "/sign-in?next=/%09/evil.example/",
        "/sign-in?next=%00//evil.example",
        "/sign-in?next=javascript:alert(1)",
    ];
    let ours = ("/accounts/new?q=acme", "/accounts/new\\?q=acme$");
    for (asked, lands) in elsewhere.map(|asked| (asked, "/accounts$")).into_iter().chain([ours]) {
        let alice = browser.person(&served.url, &json!({}));
        alice.open(asked);
        alice.fill("Or sign in with a token", &token);
        alice.press_button("Sign in");
        let at = alice.arrives(lands);
        assert!(at.starts_with(&served.url), "{asked} led to {at}");
        drop(alice);
    }
    // Nor is who is signed in already.
    let alice = enter(&browser, &served, "alice", &json!({}));
    for asked in elsewhere {
        alice.open(asked);
        assert!(alice.address().starts_with(&served.url), "{asked} led to {}", alice.address());
    }
}

#[tokio::test]
async fn no_other_sites_page_signs_a_browser_in() {
    let served = Served::with_members();
    let (token, _) = served.token("mallory", &[]);
    let link = sign_in_link(&served.keyhole, "mallory");
    for (path, fields) in [
        ("/sign-in", &[("token", token.as_str())][..]),
        (link.as_str(), &[][..]),
        ("/sign-in/passkey", &[][..]),
        ("/sign-in/passkey/begin", &[][..]),
    ] {
        for site in ["cross-site", "same-site"] {
            let request = posting(&client(1), &format!("{}{path}", served.url), fields);
            let answer = send(request.header("sec-fetch-site", site)).await;
            assert_eq!(answer.status, 403, "{path} from {site}: {}", answer.text);
            assert_eq!(answer.header("set-cookie"), "");
        }
    }
}
