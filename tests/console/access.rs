//! Who may use an account, changed by one browser while another looks.

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::server::{Server, acme};
use serde_json::json;

use crate::browser::Browser;
use crate::house::{enter, request};

/// Alice, bob and mallory, and alice's account of the service.
fn workspace() -> (Served, Server, String) {
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    for name in ["alice", "bob", "mallory"] {
        keyhole.member(name);
    }
    let account = keyhole.connect("alice", KEY);
    (Served::on(keyhole, &[]), server, account)
}

fn access(served: &Served, account: &str) -> String {
    let shown = served.keyhole.call(&["--json", "accounts", "show", account, "--as", "alice"]).ok().json();
    shown["access"].to_string()
}

#[test]
fn an_access_page_that_is_out_of_date_changes_nothing_and_says_so() {
    let Some(browser) = Browser::shared() else { return };
    let (served, _server, account) = workspace();
    let page = format!("/accounts/{account}/access");
    let desk = enter(&browser, &served, "alice", &json!({}));
    desk.open(&page);
    desk.choose("Members by name");
    desk.tick("mallory");

    let phone = enter(&browser, &served, "alice", &json!({"viewport": {"width": 390, "height": 844}}));
    phone.open(&page);
    phone.choose("Members by name");
    phone.tick("bob");
    phone.press_button("Save");
    phone.sees("Who may use it is changed.");
    let now = access(&served, &account);
    assert!(now.contains("bob"), "{now}");

    desk.press_button("Save");
    desk.sees("its access was changed in the meantime");
    assert_eq!(access(&served, &account), now);
    // It shows how things are, and can be sent again.
    assert!(desk.is_chosen("checkbox", "bob") && !desk.is_chosen("checkbox", "mallory"));
    desk.tick("mallory");
    desk.press_button("Save");
    desk.sees("Who may use it is changed.");
    let now = access(&served, &account);
    assert!(now.contains("bob") && now.contains("mallory"), "{now}");

    // A name that was ticked and none that is: told, and nothing is lost.
    desk.open(&page);
    desk.choose("Private");
    desk.press_button("Save");
    desk.sees("Who may use it is changed.");
    assert_eq!(access(&served, &account), "\"private\"");
    desk.open(&page);
    desk.choose("Members by name");
    desk.press_button("Save");
    desk.sees("no member is chosen");
    assert_eq!(access(&served, &account), "\"private\"");
}

#[tokio::test]
async fn in_a_large_workspace_members_are_searched_for_and_what_was_chosen_before_is_kept() {
    let Some(browser) = Browser::shared() else { return };
    let (served, _server, account) = workspace();
    served.keyhole.many_members(200).await;
    let page = format!("/accounts/{account}/access");
    // The page needs no script for it.
    let alice = enter(&browser, &served, "alice", &json!({"javaScriptEnabled": false}));
    alice.open(&page);
    assert_eq!(alice.count("checkbox", None), 0, "nobody is chosen, and nobody searched for");
    alice.choose("Members by name");
    alice.fill("Search", "bob");
    alice.press("Enter");
    alice.sees("1 has such a name.");
    alice.tick("bob");
    alice.fill("Search", "m0000");
    alice.press_button("Search");
    alice.sees("10 have such a name.");
    alice.tick("m00007");
    alice.press_button("Save");
    alice.sees("Who may use it is changed.");
    assert_eq!(access(&served, &account), "{\"members\":[\"bob\",\"m00007\"]}");

    // Those who may use it are shown, and one goes while another comes.
    alice.open(&page);
    assert!(alice.is_chosen("checkbox", "bob") && alice.is_chosen("checkbox", "m00007"));
    assert_eq!(alice.count("checkbox", None), 2);
    alice.click_label("bob");
    alice.fill("Search", "m00008");
    alice.press_button("Search");
    alice.sees("Chosen: 1 of 202 members.");
    alice.tick("m00008");
    alice.press_button("Save");
    alice.sees("Who may use it is changed.");
    assert_eq!(access(&served, &account), "{\"members\":[\"m00007\",\"m00008\"]}");
}

#[test]
fn another_member_sees_the_account_come_and_go_and_what_would_stop_is_said_before() {
    let Some(browser) = Browser::shared() else { return };
    let (served, _server, account) = workspace();
    let page = format!("/accounts/{account}");
    let alice = enter(&browser, &served, "alice", &json!({}));
    let bob = enter(&browser, &served, "bob", &json!({}));
    bob.sees("No accounts yet");
    assert_eq!(bob.open(&page), 404);

    alice.open(&format!("{page}/access"));
    alice.choose("The whole workspace");
    alice.press_button("Save");
    alice.sees("Who may use it is changed.");
    bob.open("/accounts");
    bob.sees("alice's Acme");
    assert_eq!(bob.open(&page), 200);
    bob.sees("No workflow uses it.");
    assert_eq!(bob.open(&format!("{page}/access")), 403, "only its owner says who may use it");

    let path = served.keyhole.data.path().join("fetch.toml");
    let text = format!("keyhole = 1\nname = \"fetch\"\n{}", request("look", "account", &account, "v1/me"));
    std::fs::write(&path, text).unwrap();
    served.keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "bob"]).ok();
    bob.open(&page);
    bob.sees("bob/fetch");

    alice.open(&format!("{page}/access"));
    alice.choose("Private");
    alice.press_button("Save");
    alice.sees("This stops workflows");
    alice.sees("bob/fetch");
    alice.judge("access that is to be taken away");
    alice.follow("Cancel");
    assert_eq!(access(&served, &account), "\"workspace\"");
    alice.choose("Private");
    alice.press_button("Save");
    alice.press_button("Take the access away");
    alice.sees("Who may use it is changed.");
    assert_eq!(access(&served, &account), "\"private\"");

    // Bob has the page open still, from before.
    bob.click_text("Actions");
    bob.press_button("Test");
    bob.sees("There is no such thing");
    bob.open("/accounts");
    bob.sees("No accounts yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_prove_that_an_account_is_theirs_comes_back_to_what_they_have_chosen() {
    let Some(browser) = Browser::shared() else { return };
    let (served, _server, account) = workspace();
    served.keyhole.was_proved_before(&account, 16).await;
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open(&format!("/accounts/{account}/access"));
    alice.choose("Members by name");
    alice.tick("mallory");
    alice.press_button("Save");
    alice.sees("that proves that it is yours");
    assert_eq!(access(&served, &account), "\"private\"");
    alice.follow("Reconnect it");
    alice.fill("API key", KEY);
    alice.press_button("Connect");
    alice.arrives("/access\\?access=members&members=mallory$");
    alice.sees("What is chosen here is not saved yet.");
    assert!(alice.is_chosen("radio", "Members by name"));
    assert!(alice.is_chosen("checkbox", "mallory") && !alice.is_chosen("checkbox", "bob"));
    alice.press_button("Save");
    alice.sees("Who may use it is changed.");
    let now = access(&served, &account);
    assert!(now.contains("mallory") && !now.contains("bob"), "{now}");
    // What nobody can choose is not chosen, and takes nothing away.
    for nonsense in ["access=everyone", "access=members&members=b%20ob", "members=bob", "access="] {
        alice.open(&format!("/accounts/{account}/access?{nonsense}"));
        assert!(alice.is_chosen("checkbox", "mallory"), "{nonsense}");
    }
}
