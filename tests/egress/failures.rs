//! Whose failure it is that a request got no answer, as the run tells it: the broker's refusal, which stands, or the
//! network's and the service's, which may pass.

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Server, json};
use keyhole_tests::workspace;
use serde_json::{Value, json};

/// A step of the Rust SDK and the built-in one, each asking for alice's account.
fn both(keyhole: &Keyhole, flags: &[&str]) -> [Value; 2] {
    let account = keyhole.connect("alice", KEY);
    let link = format!("acme={account}");
    let mut more = vec!["--as", "alice", "--link", &link];
    more.extend(flags);
    let own = keyhole.run(&workspace::component("echo_key"), &json!({}), &more);
    let text = format!(
        "keyhole = 1\nname = \"w\"\n[[steps]]\nname = \"a\"\nuses = \"http-request\"\n\
         props = {{ url = \"v1/me\" }}\nlinks = {{ account = {account:?} }}\n"
    );
    let folder = keyhole.data.path().join("w");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("workflow.toml"), text).unwrap();
    let folder = folder.display().to_string();
    let mut args = vec!["--json", "test", &folder, "--as", "alice"];
    args.extend(keyhole.flags().iter().map(String::as_str));
    args.extend(flags);
    let built_in = keyhole.call(&args).json();
    [own["error"].clone(), built_in["steps"][0]["error"].clone()]
}

fn expect(errors: [Value; 2], kind: &str, retry: bool, message: &str) {
    // Whether a retry makes sense, the step's own word says; of the built-in one, its kind does.
    assert_eq!(errors[0]["retry"], json!(retry), "{:#}", errors[0]);
    for error in errors {
        assert_eq!(error["kind"], json!(kind), "{error:#}");
        assert!(error["message"].as_str().is_some_and(|said| said.contains(message)), "{error:#}");
    }
}

#[test]
fn a_connection_that_nobody_takes_is_the_services_failure_and_may_be_tried_again() {
    let mut keyhole = Keyhole::default();
    keyhole.member("alice");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    keyhole.lead_to("api.acme.example", free);
    expect(both(&keyhole, &[]), "upstream", true, "no connection");
}

#[test]
fn a_name_that_nobody_knows_is_so_too() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    expect(both(&keyhole, &["--name-server", "127.0.0.1:1"]), "upstream", true, "can't be resolved");
}

#[test]
fn what_the_broker_refuses_stays_refused() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let server = Server::http(&keyhole.authority, &["api.acme.example"], |_| json(200, &json!({})));
    let port = server.port;
    let resolve = format!("api.acme.example:443:10.0.0.1:{port}");
    expect(both(&keyhole, &["--resolve", &resolve]), "refused", false, "10.0.0.1");
    assert!(server.received().is_empty());
}
