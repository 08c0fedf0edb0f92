//! A dead account stops its workflow with `reconnect needed`, and all goes on by itself when it is reconnected.

use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::store::{Expect, Store as _};
use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::acme;
use serde_json::{Value, json};

use crate::rig::*;

/// As the service's answer to a refresh leaves it.
async fn die(keyhole: &Keyhole, account: &str) {
    let store = RedbStore::open(&keyhole.data_dir()).unwrap();
    let key = format!("accounts/{account}");
    let found = store.get(&key).await.unwrap().expect("the account");
    let mut record: Value = serde_json::from_slice(&found.value).unwrap();
    record["account"]["health"] = json!({"reconnect_needed": {"reason": "token_revoked"}});
    let bytes = serde_json::to_vec(&record).unwrap();
    store.write(&key, Expect::Revision(found.revision), Some(bytes)).await.unwrap();
}

#[tokio::test]
async fn what_a_dead_account_holds_goes_on_in_order_when_it_is_reconnected_also_after_a_kill() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut keyhole = keyhole();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    let asks = format!(
        "[[steps]]\nname = \"me\"\nuses = \"http-request\"\nlinks = {{ account = {account:?} }}\nprops = {{ url = \"v1/me\" }}\n"
    );
    let steps = [stored("before", "count", "1"), asks, stored("after", "count", "100")].concat();
    let limits = "trigger.http = {}\nlimits = { concurrency = 1, queue = 2 }\n";
    deploy(&keyhole, &[HEAD, limits, &steps].concat()).ok();
    deploy(&keyhole, &format!("keyhole = 1\nname = \"other\"\n{}", verb("a", "return", "1"))).ok();
    die(&keyhole, &account).await;
    let serving = Serving::on(&keyhole);
    let url = format!("{}{}", serving.url, hook(&keyhole, "w"));
    let client = reqwest::Client::new();
    let post = async || client.post(&url).body("{}").send().await.unwrap();
    let run = async || post().await.json::<Value>().await.unwrap()["run"].as_str().expect("a run").to_owned();
    let first = run().await;
    let held = until("it to be held", || {
        Some(show(&keyhole, &first)).filter(|shown| shown["run"]["waits_for"] == account.as_str())
    });
    assert_eq!((&held["run"]["status"], &held["run"]["error"]["step"]), (&json!("waiting"), &json!("me")), "{held:#}");
    for said in [["runs", "list"].as_slice(), &["runs", "show", &first]] {
        let said = keyhole.call(&[said, &["--as", "alice"]].concat()).ok().stdout;
        assert!(said.contains("reconnect needed"), "{said}");
    }
    // What comes behind it does not get as far, however long it has.
    let second = run().await;
    let other = start(&keyhole, "other");
    until_status(&keyhole, &other, "ok");
    assert_eq!(show(&keyhole, &second)["run"]["status"], "queued");
    assert_eq!(keyhole.call(&["data", "get", "kept", "n"]).ok().stdout.trim(), "1");
    // And both wait, of two that may.
    assert_eq!(post().await.status(), 429);

    serving.kill();
    let _serving = Serving::on(&keyhole);
    let other = start(&keyhole, "other");
    until_status(&keyhole, &other, "ok");
    assert_eq!(keyhole.call(&["data", "get", "kept", "n"]).ok().stdout.trim(), "1");
    keyhole.call_with(&["accounts", "reconnect", &account, "--as", "alice", "--stdin", "--no-test"], KEY).ok();
    let (first, second) = (until_status(&keyhole, &first, "ok"), until_status(&keyhole, &second, "ok"));
    // The first one goes on where it was; the second one begins when that has ended.
    let count = |run: &Value, step: &str| returned(run)[step].clone();
    assert_eq!((count(&first, "before"), count(&first, "after")), (json!(1), json!(101)), "{first:#}");
    assert_eq!((count(&second, "before"), count(&second, "after")), (json!(102), json!(202)), "{second:#}");
    assert_eq!(first["steps"][1]["earlier"][0]["error"]["kind"], "access", "{first:#}");
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn what_an_account_holds_is_let_go_with_it_whatever_becomes_of_the_others() {
    let mut keyhole = keyhole();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let [account, other] = ["one", "other"].map(|nickname| {
        let args = ["--json", "accounts", "connect", "acme", "--as", "alice", "--stdin", "--no-test"];
        let connected = keyhole.call_with(&[args.as_slice(), &["--nickname", nickname]].concat(), KEY);
        connected.ok().json()["id"].as_str().expect("an id").to_owned()
    });
    let asks = |name: &str, account: &str, more: &str| {
        let links = format!("links = {{ account = {account:?} }}");
        format!("[[steps]]\nname = {name:?}\nuses = \"http-request\"\n{more}{links}\nprops = {{ url = \"v1/me\" }}\n")
    };
    let steps = asks("asks", &account, "") + &asks("never", &other, "if = \"{{ run.id == 'x' }}\"\n");
    deploy(&keyhole, &[HEAD, "limits = { concurrency = 1 }\n", &steps].concat()).ok();
    die(&keyhole, &account).await;
    die(&keyhole, &other).await;
    let _serving = Serving::on(&keyhole);
    let held = |run: &str| {
        until("it to be held", || {
            Some(show(&keyhole, run)).filter(|shown| shown["run"]["waits_for"] == account.as_str())
        })
    };
    let first = start(&keyhole, "w");
    held(&first);
    let [second, third] = [start(&keyhole, "w"), start(&keyhole, "w")];
    // With nothing held any more, the next one finds out.
    keyhole.call(&["runs", "cancel", &first, "--as", "alice"]).ok();
    held(&second);
    assert_eq!(show(&keyhole, &third)["run"]["status"], "queued");
    keyhole.call_with(&["accounts", "reconnect", &account, "--as", "alice", "--stdin", "--no-test"], KEY).ok();
    until_status(&keyhole, &second, "ok");
    until_status(&keyhole, &third, "ok");
}
