//! What each role may do over the API, fresh proof of ownership, and what a revoke ends.

use keyhole_tests::program::KEY;
use serde_json::{Value, json};

use crate::rig::{Served, by, call, client_at};

#[tokio::test]
async fn an_admin_sees_and_deletes_what_they_may_not_use_and_speaks_for_nobody() {
    let served = Served::with_members();
    let account = served.keyhole.connect("bob", KEY);
    let (admin, _) = served.token("alice", &[]);
    let (bobs, bobs_id) = served.token("bob", &[]);
    let at = |path: &str| format!("{}/api{path}", served.url);
    let one = format!("/accounts/{account}");

    let seen = by(&admin, "get", &at(&one), None).await.ok().json();
    assert_eq!((seen["usable"].as_bool(), &seen["plain"]), (Some(false), &json!({})));
    by(&admin, "post", &at(&format!("{one}/test")), None).await.problem(403);
    by(&admin, "patch", &at(&one), Some(&json!({"nickname": "mine"}))).await.problem(403);
    by(&admin, "put", &at(&format!("{one}/access")), Some(&json!({"access": "workspace"}))).await.problem(403);
    by(&admin, "post", &at(&format!("{one}/grants")), Some(&json!({"member": "alice"}))).await.problem(403);
    let new = json!({"fields": {"api_key": KEY}, "test": false});
    by(&admin, "put", &at(&format!("{one}/credentials")), Some(&new)).await.problem(403);

    // A member manages neither members nor others' tokens.
    by(&bobs, "post", &at("/members"), Some(&json!({"name": "eve"}))).await.problem(403);
    by(&bobs, "get", &at("/tokens?all=true"), None).await.problem(403);
    by(&bobs, "get", &at("/clients"), None).await.problem(403);
    // Who they are at the OpenID provider is their own to undo, and nobody else's but an admin's.
    by(&bobs, "delete", &at("/members/alice/binding"), None).await.problem(403);
    by(&bobs, "delete", &at("/members/nobody/binding"), None).await.problem(403);
    by(&bobs, "delete", &at("/members/bob/binding"), None).await.problem(404);
    by(&admin, "delete", &at("/members/bob/binding"), None).await.problem(404);

    // An admin sees tokens, never their texts, and revokes them.
    let all = by(&admin, "get", &at("/tokens?all=true"), None).await.ok();
    assert!(all.text.contains(&bobs_id) && !all.text.contains(&bobs[31..]), "{}", all.text);
    by(&admin, "delete", &at(&format!("/tokens/{bobs_id}")), None).await.ok();
    by(&bobs, "get", &at("/me"), None).await.problem(401);

    by(&admin, "delete", &at(&one), None).await.ok();
    by(&admin, "get", &at(&one), None).await.problem(404);
}

#[tokio::test]
async fn a_removed_member_is_out_at_the_next_request() {
    let served = Served::with_members();
    let (admin, _) = served.token("alice", &[]);
    let (bobs, _) = served.token("bob", &[]);
    let account = served.keyhole.connect("bob", KEY);
    let at = |path: &str| format!("{}/api{path}", served.url);
    by(&bobs, "get", &at("/me"), None).await.ok();
    let removed = by(&admin, "delete", &at("/members/bob"), None).await.ok().json();
    assert_eq!(removed["deleted"][0]["id"], account.as_str());
    by(&bobs, "get", &at("/me"), None).await.problem(401);
    by(&admin, "post", &at("/members"), Some(&json!({"name": "bob"}))).await.ok();
    by(&bobs, "get", &at("/me"), None).await.problem(401);
    by(&admin, "delete", &at("/members/alice"), None).await.problem(409);
}

#[tokio::test]
async fn a_link_that_signs_in_is_ones_own_and_an_invite_comes_with_adding_alone() {
    let served = Served::with_members();
    let (admin, _) = served.token("alice", &[]);
    let (bobs, _) = served.token("bob", &[]);
    let at = |path: &str| format!("{}/api{path}", served.url);
    let open = async |link: &str| {
        let kind = "application/x-www-form-urlencoded";
        client_at(1).post(link).header("content-type", kind).send().await.unwrap().status().as_u16()
    };

    let new = json!({"name": "dave", "invite": true});
    let added = by(&admin, "post", &at("/members"), Some(&new)).await.ok().json();
    let invite = added["invite"].as_str().unwrap();
    assert!(added["name"] == "dave" && invite.contains("/sign-in/khi_"), "{added}");
    assert_eq!((open(invite).await, open(invite).await), (303, 404), "once");
    let there = by(&admin, "post", &at("/members"), Some(&json!({"name": "bob", "invite": true}))).await;
    there.problem(409);
    assert!(!there.text.contains("khi_"), "{}", there.text);
    let plain = by(&admin, "post", &at("/members"), Some(&json!({"name": "erin"}))).await.ok().json();
    assert!(plain.get("invite").is_none(), "{plain}");

    by(&admin, "post", &at("/sign-in-links"), Some(&json!({"member": "bob"}))).await.problem(422);
    by(&bobs, "post", &at("/sign-in-links"), Some(&json!({"expires_in": 8 * 24 * 3600}))).await.problem(422);
    let own = by(&bobs, "post", &at("/sign-in-links"), Some(&json!({}))).await.ok().json();
    assert_eq!(own["member"], "bob");
    assert_eq!(open(own["url"].as_str().unwrap()).await, 303);
    let sessions = by(&bobs, "get", &at("/sessions"), None).await.ok().json();
    assert_eq!((sessions.as_array().unwrap().len(), &sessions[0]["current"]), (1, &json!(false)));
    let session = at(&format!("/sessions/{}", sessions[0]["id"].as_str().unwrap()));
    by(&admin, "delete", &session, None).await.problem(404);
    by(&bobs, "delete", &session, None).await.ok();
    assert_eq!(by(&bobs, "get", &at("/sessions"), None).await.ok().json(), json!([]));
    // An admin ends all of them, which takes access away and gives none; nobody else's are a member's to end.
    by(&bobs, "post", &at("/members/alice/sign-out"), None).await.problem(403);
    by(&bobs, "post", &at("/members/nobody/sign-out"), None).await.problem(403);
    assert_eq!(by(&admin, "post", &at("/members/bob/sign-out"), None).await.ok().json()["ended"], 0);
    by(&bobs, "post", &at("/members/bob/sign-out"), None).await.ok();
}

#[tokio::test]
async fn a_role_holds_from_the_next_request_on_and_the_only_admin_stays_one() {
    let served = Served::with_members();
    let (alices, _) = served.token("alice", &[]);
    let (bobs, _) = served.token("bob", &[]);
    let at = |path: &str| format!("{}/api{path}", served.url);
    let (admin, member) = (json!({"role": "admin"}), json!({"role": "member"}));
    by(&bobs, "patch", &at("/members/bob"), Some(&admin)).await.problem(403);
    by(&bobs, "patch", &at("/members/nobody"), Some(&admin)).await.problem(403);
    by(&alices, "patch", &at("/members/nobody"), Some(&admin)).await.problem(404);
    let only = by(&alices, "patch", &at("/members/alice"), Some(&member)).await.problem(409);
    assert!(only["detail"].as_str().unwrap().contains("is the only admin"), "{only}");

    let changed = by(&alices, "patch", &at("/members/bob"), Some(&admin)).await.ok().json();
    assert_eq!((&changed["name"], &changed["role"]), (&json!("bob"), &json!("admin")));
    by(&bobs, "patch", &at("/members/alice"), Some(&member)).await.ok();
    by(&alices, "get", &at("/clients"), None).await.problem(403);
    let said = served.keyhole.call(&["members", "role", "bob", "member"]).failed(1);
    assert!(said.contains("keyhole members role NAME admin"), "{said}");
    served.keyhole.call(&["members", "role", "alice", "admin"]).ok();
    by(&alices, "get", &at("/clients"), None).await.ok();
}

#[tokio::test]
async fn who_has_nothing_yet_is_invited_again_and_nobody_else() {
    let served = Served::with_members();
    let (admin, _) = served.token("alice", &[]);
    let at = |path: &str| format!("{}/api{path}", served.url);
    let open = async |link: &str| {
        let kind = "application/x-www-form-urlencoded";
        client_at(1).post(link).header("content-type", kind).send().await.unwrap().status().as_u16()
    };
    let invite = async |name: &str| by(&admin, "post", &at(&format!("/members/{name}/invite")), None).await;
    let refused = async |name: &str, what: &str| {
        let answer = invite(name).await;
        let problem = answer.problem(409);
        assert!(problem["detail"].as_str().unwrap().contains(what) && !answer.text.contains("khi_"), "{problem}");
    };

    let new = json!({"name": "dave", "invite": true});
    let first = by(&admin, "post", &at("/members"), Some(&new)).await.ok().json();
    let again = invite("dave").await.ok().json();
    let link = |made: &Value| made["invite"].as_str().expect("a link").to_owned();
    assert_eq!((open(&link(&first)).await, open(&link(&again)).await), (404, 303), "the one before is over");
    refused("dave", "has a session").await;

    let (bobs, _) = served.token("bob", &[]);
    refused("bob", "has a token").await;
    by(&bobs, "post", &at("/members/mallory/invite"), None).await.problem(403);
    by(&bobs, "post", &at("/members/nobody/invite"), None).await.problem(403);
    invite("nobody").await.problem(404);

    let account = served.keyhole.connect("alice", KEY);
    served.keyhole.call(&["accounts", "access", &account, "members", "mallory", "--as", "alice"]).ok();
    refused("mallory", "opened to them by name").await;
    served.keyhole.call(&["accounts", "access", &account, "private", "--as", "alice"]).ok();
    let said = served.keyhole.call(&["members", "invite", "mallory"]).ok();
    assert!(said.stdout.contains("/sign-in/khi_"), "{}", said.stdout);
    served.keyhole.connect("mallory", KEY);
    refused("mallory", "an account of theirs").await;
}

#[tokio::test]
async fn an_invite_is_over_once_its_member_has_come_in_another_way() {
    let served = Served::with_members();
    let (admin, _) = served.token("alice", &[]);
    let invite = async |name: &str| {
        let new = json!({"name": name, "invite": true});
        let added = by(&admin, "post", &format!("{}/api/members", served.url), Some(&new)).await.ok().json();
        added["invite"].as_str().expect("a link").to_owned()
    };
    let open = async |link: &str| {
        let kind = "application/x-www-form-urlencoded";
        client_at(1).post(link).header("content-type", kind).send().await.unwrap().status().as_u16()
    };

    // A token, and it stays so when that is gone.
    let link = invite("dave").await;
    let (_, token) = served.token("dave", &[]);
    served.keyhole.call(&["tokens", "revoke", &token]).ok();
    assert_eq!(open(&link).await, 404);
    // An account.
    let link = invite("erin").await;
    served.keyhole.connect("erin", KEY);
    let page = call(&client_at(1), "get", &link, None, None).await;
    assert!(page.status == 404 && page.text.contains("erin has an account"), "{}", page.text);
    assert_eq!(open(&link).await, 404);
    let link = invite("frank").await;
    served.keyhole.connect("frank", KEY);
    assert_eq!(open(&link).await, 404, "nor does it open without a look at it first");

    // What others give somebody who is yet to come in takes nothing away.
    let link = invite("grace").await;
    let account = served.keyhole.connect("alice", KEY);
    served.keyhole.call(&["accounts", "access", &account, "members", "grace", "--as", "alice"]).ok();
    assert_eq!(open(&link).await, 303);
    // Nor does a token take away the link that the operator makes.
    let made = served.keyhole.call(&["--json", "sign-in", "--as", "bob"]).ok().json();
    served.token("bob", &[]);
    assert_eq!(open(&format!("{}{}", served.url, path_of(made["url"].as_str().expect("a link")))).await, 303);
}

/// The path of an address, or of what is one already.
fn path_of(address: &str) -> &str {
    address.find("/sign-in/").map_or(address, |at| &address[at..])
}

#[tokio::test]
async fn opening_an_account_asks_for_proof_no_older_than_15_minutes() {
    let served = Served::with_members();
    let account = served.keyhole.connect("alice", KEY);
    let (token, _) = served.token("alice", &[]);
    let at = |path: &str| format!("{}/api/accounts/{account}{path}", served.url);
    let (bob, mallory) = (json!({"member": "bob"}), json!({"member": "mallory"}));

    served.keyhole.was_proved_before(&account, 14).await;
    by(&token, "post", &at("/grants"), Some(&bob)).await.ok();
    served.keyhole.was_proved_before(&account, 16).await;
    let refused = by(&token, "post", &at("/grants"), Some(&mallory)).await.problem(403);
    assert_eq!(refused["type"], "urn:keyhole:problem:proof-needed");
    assert!(
        refused["detail"].as_str().unwrap().contains(&format!("keyhole accounts reconnect {account}")),
        "{refused}"
    );
    by(&token, "put", &at("/access"), Some(&json!({"access": "workspace"}))).await.problem(403);
    // What opens nothing needs none.
    by(&token, "post", &at("/grants"), Some(&bob)).await.ok();
    by(&token, "put", &at("/access"), Some(&json!({"access": {"members": ["bob"]}}))).await.ok();
    by(&token, "put", &at("/access"), Some(&json!({"access": "private"}))).await.ok();
    by(&token, "post", &at("/grants"), Some(&bob)).await.problem(403);
    // Renaming is no proof; neither is proof of the future.
    by(&token, "patch", &at(""), Some(&json!({"nickname": "other"}))).await.ok();
    by(&token, "post", &at("/grants"), Some(&bob)).await.problem(403);
    served.keyhole.was_proved_before(&account, -5).await;
    by(&token, "post", &at("/grants"), Some(&bob)).await.problem(403);

    // What the message says to do, as a person does it.
    let said = served.keyhole.call(&["accounts", "access", &account, "workspace", "--as", "alice"]).failed(1);
    assert!(said.contains("reconnect it and try again"), "{said}");
    let reconnect = ["accounts", "reconnect", &account, "--as", "alice", "--stdin", "--no-test"];
    served.keyhole.call_with(&reconnect, KEY).ok();
    served.keyhole.call(&["accounts", "access", &account, "workspace", "--as", "alice"]).ok();
}

#[tokio::test]
async fn two_processes_on_one_directory_lose_none_of_each_others_changes() {
    let served = Served::with_members();
    let account = served.keyhole.connect("alice", KEY);
    let (token, _) = served.token("alice", &[]);
    let names: Vec<String> = (0..12).map(|number| format!("m{number}")).collect();
    for name in &names {
        served.keyhole.member(name);
    }
    let (here, there) = names.split_at(6);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for name in here {
                served.keyhole.call(&["accounts", "access", &account, "--grant", name, "--as", "alice"]).ok();
            }
        });
        threads.spawn(|| {
            for name in there {
                let granted = served.remotely(&token, &["accounts", "access", &account, "--grant", name]).output();
                assert!(granted.unwrap().status.success());
            }
        });
    });
    let url = format!("{}/api/accounts/{account}", served.url);
    let access = by(&token, "get", &url, None).await.ok().json()["access"]["members"].clone();
    let mut wanted = names.clone();
    wanted.sort();
    assert_eq!(access, json!(wanted));
    // What one process takes back, the other does not give.
    served.keyhole.call(&["accounts", "delete", &account, "--as", "alice"]).ok();
    by(&token, "get", &url, None).await.problem(404);
}
