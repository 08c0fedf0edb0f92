//! The example, as its README's line runs it.

use keyhole_tests::server::{Server, json};
use keyhole_tests::workspace::root;
use serde_json::json;

use crate::rig::{House, turn};

#[test]
fn sealed_the_example_reads_page_by_page() {
    const TOKEN: &str = "ghp_realtokenofalice0123456789abcdefghij";
    let mut house = House::new();
    let server = Server::http(&house.keyhole.authority, &["api.github.com"], |request| {
        let issue = |number: u32, updated: &str| json!({"number": number, "title": "It broke", "html_url": "https://github.com/o/r/issues/1", "updated_at": updated});
        if request.target.contains("page=2") {
            return json(200, &json!([issue(2, "2020-01-02T00:00:00Z"), issue(3, "2999-01-01T00:00:00Z")]));
        }
        let mut first = json(200, &json!([issue(1, "2020-01-01T00:00:00Z")]));
        let next = "<https://api.github.com/repositories/1/issues?page=2>; rel=\"next\"";
        first.headers_mut().insert("link", http::HeaderValue::from_static(next));
        first
    });
    house.keyhole.lead("api.github.com", &server);
    let account = house.connect("github", TOKEN, &[]);
    let example = root().join("examples/python-github-report").display().to_string();
    let link = format!("github={account}");
    let run = {
        let _turn = turn();
        house.run(&example, &json!({}), &["--link", &link, "--prop", "repo=o/r", "--timeout", "60s"])
    };
    assert_eq!(run["status"], "ok", "{run:#}");
    let numbers: Vec<_> = run["return_value"].as_array().expect("issues").iter().map(|one| &one["number"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2)]);
    assert_eq!(run["exports"]["$summary"], "2 stale issues");
    let received = server.received();
    let targets: Vec<_> = received.iter().map(|request| request.target.as_str()).collect();
    let first = "/repos/o/r/issues?state=open&sort=updated&direction=asc&per_page=100";
    assert_eq!(targets, [first, "/repositories/1/issues?page=2"]);
    let bearer = format!("Bearer {TOKEN}");
    assert!(received.iter().all(|request| request.header("authorization") == Some(bearer.as_str())));
    assert!(!run.to_string().contains(TOKEN));
}
