//! Connect links and the way back from a service, in hands that they were not meant for.

use keyhole_tests::program::Keyhole;
use keyhole_tests::served::Served;

use crate::audit::acts;
use crate::visit::{Answer, Visit, client, posting, send};

/// Alice, an admin, and bob, who can connect `notes`.
fn workspace() -> Served {
    let keyhole = Keyhole::default();
    for name in ["alice", "bob"] {
        keyhole.member(name);
    }
    keyhole.call(&["apps", "configure", "notes", "--client-id", "keyhole", "--public"]).ok();
    Served::on(keyhole, &[])
}

/// A link by which `notes` is connected for alice.
fn link(served: &Served) -> String {
    let made = served.keyhole.call(&["--json", "accounts", "links", "create", "notes", "--as", "alice"]).ok().json();
    made["url"].as_str().expect("an address").to_owned()
}

/// The cookie of the browser that is led to the service by `answer`.
fn leaving(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.header("set-cookie").split(';').next().expect("a cookie").to_owned()
}

/// Comes back with these cookies and the service's no to what the first of them began.
async fn told_no(served: &Served, x: u8, cookies: &[&str]) -> Answer {
    let (state, _) = cookies[0].split_once('=').and_then(|(_, value)| value.split_once('.')).expect("a state");
    let said = format!("state={state}&error=access_denied&iss=https%3A%2F%2Fauth.acme.example");
    let back = client(x).get(format!("{}/oauth/callback?{said}", served.url));
    send(back.header("cookie", cookies.join("; "))).await
}

#[tokio::test]
async fn no_other_sites_page_connects_by_a_link() {
    let served = workspace();
    let link = link(&served);
    let from = async |header: &str, site: &str| send(posting(&client(1), &link, &[]).header(header, site)).await;
    for (header, site) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let answer = from(header, site).await;
        assert_eq!(answer.status, 403, "{header}: {site}: {}", answer.text);
        assert_eq!((answer.header("set-cookie"), answer.header("refresh")), ("", ""), "{header}: {site}");
    }
    // Our own page does.
    for (header, site) in [("sec-fetch-site", "same-origin"), ("origin", served.url.as_str())] {
        let answer = from(header, site).await;
        assert!(answer.header("refresh").contains("https://auth.acme.example/auth?"), "{header}: {}", answer.text);
    }
}

#[tokio::test]
async fn whoever_is_signed_in_by_now_does_not_finish_what_another_began_in_the_same_browser() {
    let served = workspace();
    let (alice, bob) = (Visit::of(&served, "alice").await, Visit::of(&served, "bob").await);
    let began = leaving(&alice.post("/accounts/new/notes", &[]).await);
    let theirs = told_no(&served, 1, &[&began, &bob.cookie]).await;
    assert_eq!(theirs.status, 403, "{}", theirs.text);
    assert!(theirs.text.contains("alice began this connection"), "{}", theirs.text);
    // It is under way still, and alice's.
    let own = told_no(&served, 1, &[&began, &alice.cookie]).await;
    assert!(own.status == 424 && own.text.contains("access_denied"), "{} {}", own.status, own.text);
}

#[tokio::test]
async fn what_comes_to_nothing_by_a_link_is_counted_as_a_failed_attempt() {
    let served = workspace();
    let link = link(&served);
    let mut answers = Vec::new();
    // Some are given back while this goes on.
    while answers.len() < 40 && answers.last() != Some(&429) {
        let began = leaving(&send(posting(&client(9), &link, &[])).await);
        answers.push(told_no(&served, 9, &[&began]).await.status);
    }
    assert_eq!(answers.pop(), Some(429), "{answers:?}");
    assert!(answers.len() >= 20 && answers.iter().all(|status| *status == 424), "{answers:?}");
}

#[tokio::test]
async fn however_many_connections_come_to_nothing_a_failed_sign_in_is_told_of() {
    let served = workspace();
    let alice = Visit::of(&served, "alice").await;
    for _ in 0..80 {
        let began = leaving(&alice.post("/accounts/new/notes", &[]).await);
        assert_eq!(told_no(&served, 1, &[&began, &alice.cookie]).await.status, 424);
    }
    let wrong = send(posting(&client(9), &format!("{}/sign-in", served.url), &[("token", "kht_wrong")])).await;
    assert_eq!(wrong.status, 401, "{}", wrong.text);
    let told = acts(&served, &[]);
    let refused = |act: &str| told.iter().filter(|one| one["act"] == act && one["decision"] == "refused").count();
    assert_eq!(refused("sign_in"), 1);
    assert!(refused("accounts_connect") < 80, "those are within a limit, too");
}
