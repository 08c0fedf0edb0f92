//! Connect links, as the person has them who was sent one: a page in a browser, once.

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::acme;
use serde_json::json;

use crate::rig::{Served, call, client_at};

#[tokio::test]
async fn a_link_connects_one_account_for_its_member_and_no_second() {
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    keyhole.member("alice");
    keyhole.member("bob");
    let served = Served::on(keyhole, &["--public-url", "https://keyhole.example"]);
    let made = served.keyhole.call(&["--json", "accounts", "links", "create", "acme", "--as", "bob"]).ok().json();
    let path = made["url"].as_str().unwrap().strip_prefix("https://keyhole.example").expect("the server's public URL");
    let url = format!("{}{path}", served.url);

    let page = call(&client_at(1), "get", &url, None, None).await.ok();
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    assert!(page.text.contains("Acme") && page.text.contains("<b>bob</b>"), "{}", page.text);
    assert!(page.text.contains("type=\"password\"") && page.text.contains("name=\"api_key\""), "{}", page.text);

    let post = async |key: &str| {
        let form = format!("api_key={key}&owner=alice");
        let request = client_at(1).post(&url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    // A slip of the hand does not cost the link.
    let (status, text) = post("").await;
    assert_eq!(status, 422, "{text}");
    let (status, text) = post(KEY).await;
    assert!(status == 200 && text.contains("Connected") && !text.contains(KEY), "{status} {text}");
    let (status, text) = post(KEY).await;
    assert!(status == 404 && text.contains("can be used once"), "{status} {text}");

    let accounts = served.keyhole.call(&["--json", "accounts", "list", "--as", "bob"]).ok().json();
    let accounts = accounts.as_array().unwrap();
    assert_eq!(accounts.len(), 1);
    assert_eq!((&accounts[0]["owner"], &accounts[0]["access"]), (&json!("bob"), &json!("private")));
    // The key was tried with the service before it was stored.
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn no_text_but_the_links_own_opens_it() {
    let served = Served::with_members();
    let made = served.keyhole.call(&["--json", "accounts", "links", "create", "acme", "--as", "bob"]).ok().json();
    let url = made["url"].as_str().unwrap();
    let (token, _) = served.token("bob", &[]);
    let id = made["id"].as_str().unwrap();
    for other in [
        format!("{}/connect/{id}", served.url),
        format!("{}/connect/khl_{id}_{}", served.url, "A".repeat(43)),
        format!("{}/connect/{token}", served.url),
        altered(url),
        format!("{}/connect/%00", served.url),
    ] {
        let answer = call(&client_at(1), "get", &other, None, None).await;
        assert_eq!(answer.status, 404, "{other}: {}", answer.text);
        // Nor is it a token.
        let link_as_token = format!("Bearer {}", url.rsplit('/').next().unwrap());
        let me = format!("{}/api/me", served.url);
        call(&client_at(2), "get", &me, Some(&link_as_token), None).await.problem(401);
    }
    call(&client_at(1), "get", url, None, None).await.ok();
    served.keyhole.call(&["members", "remove", "bob"]).ok();
    assert_eq!(call(&client_at(1), "get", url, None, None).await.status, 404);
}

#[tokio::test]
async fn a_browser_that_began_nothing_finishes_nothing() {
    let served = Served::with_members();
    let callback = format!("{}/oauth/callback?state=abc&code=def", served.url);
    for cookie in
        ["", "keyhole-connect=", "keyhole-connect=xyz.alice", "keyhole-connect=abc.alice", "keyhole-connect=abc"]
    {
        let answer = client_at(1).get(&callback).header("cookie", cookie).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{cookie}");
        assert!(answer.text().await.unwrap().contains("begin again"), "{cookie}");
    }
}

/// The same but for one letter of its random part.
fn altered(url: &str) -> String {
    let (head, tail) = url.split_at(url.len() - 20);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    format!("{head}{other}{}", &tail[1..])
}
