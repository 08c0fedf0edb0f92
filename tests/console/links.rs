//! Where the pages lead: to nothing that whoever looks can't open.

use std::collections::{BTreeSet, VecDeque};

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::server::acme;
use serde_json::json;

use crate::house::{deploy_as, request, run_as};
use crate::visit::Visit;

/// Every address that a member comes to from the first page by links alone. None of them is nowhere.
async fn walk(visit: &Visit, who: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::from(["/accounts".to_owned()]);
    let mut next: VecDeque<(String, String)> = VecDeque::from([("/accounts".to_owned(), "the start".to_owned())]);
    while let Some((path, from)) = next.pop_front() {
        assert!(seen.len() < 5_000, "{who}: there is no end of pages");
        let answer = visit.get(&path).await;
        assert!(answer.status < 400, "{who}: {} for {path}, which {from} links", answer.status);
        for link in answer.text.split("href=\"").skip(1).filter_map(|link| link.split('"').next()) {
            let link = link.split('#').next().unwrap_or_default().replace("&amp;", "&");
            if link.starts_with('/') && !link.starts_with("/assets/") && seen.insert(link.clone()) {
                next.push_back((link, path.clone()));
            }
        }
    }
    seen
}

#[tokio::test]
async fn no_link_of_any_page_leads_an_admin_an_owner_or_who_was_given_access_to_nowhere() {
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    // Alice is an admin; mallory may use bob's account.
    for name in ["alice", "bob", "mallory"] {
        keyhole.member(name);
    }
    let account = keyhole.connect("bob", KEY);
    keyhole.call(&["accounts", "access", &account, "members", "mallory", "--as", "bob"]).ok();
    let workflow =
        |name: &str| format!("keyhole = 1\nname = {name:?}\n{}", request("look", "account", &account, "v1/me"));
    let mut runs = Vec::new();
    for (member, name) in [("bob", "kept"), ("bob", "gone"), ("mallory", "lent")] {
        deploy_as(&keyhole, member, name, &workflow(name));
        let ran = run_as(&keyhole, member, name, &json!({}));
        assert_eq!(ran["run"]["status"], "ok", "{ran:#}");
        runs.push(ran["run"]["id"].as_str().expect("a run").to_owned());
    }
    keyhole.call(&["workflows", "delete", "gone", "--as", "bob"]).ok();
    // An account that is gone, and is in the audit still.
    let deleted = keyhole.connect("alice", KEY);
    let text = format!("keyhole = 1\nname = \"short\"\n{}", request("look", "account", &deleted, "v1/me"));
    deploy_as(&keyhole, "alice", "short", &text);
    run_as(&keyhole, "alice", "short", &json!({}));
    keyhole.call(&["accounts", "delete", &deleted, "--as", "alice"]).ok();

    let served = Served::on(keyhole, &[]);
    let mut walked = Vec::new();
    for who in ["alice", "bob", "mallory"] {
        walked.push(walk(&Visit::of(&served, who).await, who).await);
    }
    let [alice, bob, mallory] = &walked[..] else { unreachable!("three of them") };
    // What each can open is linked, so that leaving links out would not do.
    let run = |at: usize| format!("/runs/{}", runs[at]);
    let page = format!("/accounts/{account}");
    for (walked, there, not) in [
        (
            alice,
            vec![page.clone(), "/workflows/bob/kept".into(), "/workflows/mallory/lent".into()],
            vec![run(0), run(2)],
        ),
        (
            bob,
            vec![page.clone(), "/workflows/bob/kept".into(), run(0), run(1)],
            vec![run(2), "/workflows/mallory/lent".into()],
        ),
        (mallory, vec![page.clone(), "/workflows/mallory/lent".into(), run(2)], vec![run(0), run(1)]),
    ] {
        for path in &there {
            assert!(walked.contains(path), "{path} is not linked: {walked:#?}");
        }
        for path in &not {
            assert!(!walked.contains(path), "{path} is linked");
        }
    }
    // Bob is told of it all the same.
    let told = Visit::of(&served, "bob").await.get(&page).await.text;
    assert!(told.contains("mallory/lent"), "{told}");
}
