//! The step without code: what it sends, what it gives back, and what the broker lets it do.

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Received, Server, json as answer};
use serde_json::{Value, json};

use crate::rig::*;

struct House {
    keyhole: Keyhole,
    server: Server,
    account: String,
}

fn house(respond: impl Fn(&Received) -> http::Response<keyhole_tests::server::Body> + Send + Sync + 'static) -> House {
    let mut keyhole = keyhole();
    let server = Server::http(&keyhole.authority, &["api.acme.example"], respond);
    keyhole.lead("api.acme.example", &server);
    let account = keyhole.connect("alice", KEY);
    House { keyhole, server, account }
}

impl House {
    fn run(&self, props: &str, event: &Value) -> Value {
        let text = format!(
            "{HEAD}[[steps]]\nname = \"a\"\nuses = \"http-request\"\nlinks = {{ account = {:?} }}\nprops = {{ {props} }}\n",
            self.account
        );
        deploy(&self.keyhole, &text).ok();
        run(&self.keyhole, "w", event)
    }
}

fn echo(request: &Received) -> http::Response<keyhole_tests::server::Body> {
    let body = String::from_utf8_lossy(&request.body);
    answer(
        200,
        &json!({"method": request.method, "target": request.target, "body": body, "auth": request.header("authorization")}),
    )
}

#[test]
fn the_account_goes_with_it_and_the_credential_never_comes_back() {
    let house = house(echo);
    let run = house.run(
        "url = \"v1/items/{{ event.id }}\", query = { q = \"a b\", n = [1, 2] }, json = { x = \"{{ event.id }}\" }",
        &json!({"id": 5}),
    );
    assert_eq!(run["run"]["status"], "ok", "{run:#}");
    let received = &house.server.received()[0];
    assert_eq!(received.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!((received.method.as_str(), received.body.as_slice()), ("POST", &b"{\"x\":5}"[..]));
    let body = &returned(&run)["a"]["body"];
    assert_eq!(body["auth"], "Bearer ‹acme.api_key›", "{run:#}");
    assert!(body["target"].as_str().unwrap().starts_with("/v1/items/5?"), "{run:#}");
    assert!(!run.to_string().contains(KEY));
    assert_eq!(returned(&run)["a"]["status"], 200);
}

#[test]
fn the_broker_judges_it_like_any_step() {
    let house = house(echo);
    let run = house.run("url = \"https://elsewhere.example/v1\"", &json!({}));
    assert_eq!(run["run"]["error"]["kind"], "refused", "{run:#}");
    assert!(house.server.received().is_empty());
    let run = house.run("url = \"http://169.254.169.254/latest/meta-data/\"", &json!({}));
    assert_eq!(run["run"]["error"]["kind"], "refused", "{run:#}");
}

#[test]
fn an_answer_of_400_or_more_is_the_steps_failure_unless_told_otherwise() {
    let house = house(|_| answer(422, &json!({"error": "no such field"})));
    let run = house.run("url = \"v1/x\"", &json!({}));
    assert_eq!(
        (&run["run"]["status"], &run["run"]["error"]["kind"]),
        (&json!("failed"), &json!("upstream")),
        "{run:#}"
    );
    assert!(run["run"]["error"]["message"].as_str().unwrap().contains("422"), "{run:#}");
    let run = house.run("url = \"v1/x\", fail_on_error = false", &json!({}));
    assert_eq!(returned(&run)["a"]["status"], 422, "{run:#}");
}

#[test]
fn a_list_in_pages_is_one_list() {
    let house = house(|request| {
        let page: u32 = request.target.rsplit_once("cursor=c").map_or(0, |(_, page)| page.parse().unwrap());
        let next = (page < 3).then(|| format!("c{}", page + 1));
        answer(200, &json!({"items": [page * 2, page * 2 + 1], "meta": {"next": next}}))
    });
    let run = house.run(
        "url = \"v1/list\", pages = { cursor = \"/meta/next\", parameter = \"cursor\", items = \"/items\" }",
        &json!({}),
    );
    assert_eq!(returned(&run)["a"], json!({"items": [0, 1, 2, 3, 4, 5, 6, 7], "pages": 4, "more": false}), "{run:#}");
    let run = house.run(
        "url = \"v1/list\", pages = { cursor = \"/meta/next\", parameter = \"cursor\", items = \"/items\", max = 2 }",
        &json!({}),
    );
    assert_eq!(returned(&run)["a"], json!({"items": [0, 1, 2, 3], "pages": 2, "more": true}), "{run:#}");
}

#[test]
fn the_next_page_of_a_link_header_is_followed_whatever_stands_in_its_url() {
    let house = house(|request| {
        let page: u32 = request.target.rsplit_once("page=").map_or(1, |(_, page)| page.parse().unwrap());
        let mut page_of = answer(200, &json!([page]));
        let links = match page {
            // Below the host, of a comma and a semicolon in the query, and after another.
            1 => {
                "<https://api.acme.example/v1/list?fields=a,b;c&page=1>; rel=\"self\", </v1/list?fields=a,b;c&page=2>; title=\"2, <x>\"; rel=\"next last\""
            }
            2 => "<?page=3>;rel=next",
            _ => "</v1/list?page=2>; rel=prev",
        };
        page_of.headers_mut().insert("link", links.parse().unwrap());
        page_of
    });
    let run = house.run("url = \"v1/list\", query = { fields = \"a,b\" }, pages = { link = true }", &json!({}));
    assert_eq!(returned(&run)["a"], json!({"items": [1, 2, 3], "pages": 3, "more": false}), "{run:#}");
    let targets: Vec<_> = house.server.received().iter().map(|received| received.target.clone()).collect();
    assert_eq!(targets[1..], ["/v1/list?fields=a,b;c&page=2", "/v1/list?page=3"]);
    let run = house.run("url = \"v1/list\", pages = { link = true, max = 2 }", &json!({}));
    assert_eq!(returned(&run)["a"], json!({"items": [1, 2], "pages": 2, "more": true}), "{run:#}");
}

#[test]
fn a_next_page_at_no_url_fails_only_what_would_go_there() {
    let house = house(|_| {
        let mut page = answer(200, &json!([1]));
        page.headers_mut().insert("link", "<https://[>; rel=next".parse().unwrap());
        page
    });
    let run = house.run("url = \"v1/list\", pages = { link = true, max = 1 }", &json!({}));
    assert_eq!(returned(&run)["a"], json!({"items": [1], "pages": 1, "more": true}), "{run:#}");
    let run = house.run("url = \"v1/list\", pages = { link = true }", &json!({}));
    assert!(run["run"]["error"]["message"].as_str().unwrap().contains("the next page is at no URL"), "{run:#}");
}

/// The bodies that a step without code sends, and what it makes of those that it is answered.
#[test]
fn each_kind_of_body_is_sent_as_it_is_and_an_answer_is_read_by_its_type() {
    use keyhole_tests::server::answer as whole;
    let house = house(|request| match request.target.split('?').next().unwrap_or_default() {
        "/v1/text" => whole(200, "text/plain", "{\"a\":1}"),
        "/v1/json" => whole(200, "application/problem+json; charset=utf-8", "{\"a\":1}"),
        "/v1/bytes" => whole(200, "application/octet-stream", vec![0xff, 0x00, 0xfe]),
        _ => whole(204, "text/plain", ""),
    });
    for (body, kind, sent) in [
        ("form = { a = \"{{ event.a }}\", n = 1 }", "application/x-www-form-urlencoded", &b"a=x+%26+y&n=1"[..]),
        ("text = \"<{{ event.a }}>\"", "text/plain; charset=utf-8", &b"<x & y>"[..]),
        ("base64 = \"/wD+\"", "application/octet-stream", &[0xff, 0x00, 0xfe][..]),
        ("json = [\"{{ event.a }}\"]", "application/json", &b"[\"x & y\"]"[..]),
    ] {
        let run = house.run(&format!("url = \"v1/x\", {body}"), &json!({"a": "x & y"}));
        assert_eq!(run["run"]["status"], "ok", "{run:#}");
        let received = house.server.received().pop().unwrap();
        assert_eq!((received.method.as_str(), received.header("content-type")), ("POST", Some(kind)));
        assert_eq!(received.body, sent, "{body}");
    }
    for (path, read) in [("text", json!("{\"a\":1}")), ("json", json!({"a": 1})), ("bytes", json!({"base64": "/wD+"}))]
    {
        let run = house.run(&format!("url = \"v1/{path}\""), &json!({}));
        assert_eq!(returned(&run)["a"]["body"], read, "{run:#}");
    }
}

#[test]
fn bounded_the_operators_limits_on_a_run_hold_over_all_its_steps_and_attempts() {
    let house = house(|request| answer(if request.target.starts_with("/v1/a") { 200 } else { 503 }, &json!({})));
    let config = house.keyhole.data.path().join("keyhole.toml");
    std::fs::write(&config, "[limits.run]\nrequests = 3\n").unwrap();
    let step = |name: &str| {
        let links = format!("links = {{ account = {:?} }}", house.account);
        format!("[[steps]]\nname = {name:?}\nuses = \"http-request\"\n{links}\nprops = {{ url = \"v1/{name}\" }}\n")
    };
    let retry = "retry = { attempts = 9, wait = \"10ms\" }\n";
    deploy(&house.keyhole, &[HEAD, &step("a"), &step("b"), retry].concat()).ok();
    let mut flags = vec!["--config", config.to_str().unwrap(), "--json", "workflows", "run", "w", "--as", "alice"];
    flags.extend(house.keyhole.flags().iter().map(String::as_str));
    let run = || house.keyhole.call(&flags).json();
    let ended = run();
    assert_eq!(ended["run"]["error"]["kind"], "refused", "{ended:#}");
    assert!(ended["run"]["error"]["message"].as_str().unwrap().contains("a run may send 3 requests"), "{ended:#}");
    assert_eq!(ended["steps"][1]["attempts"], 3, "the third was refused: {ended:#}");
    assert_eq!(house.server.received().len(), 3);
    run();
    assert_eq!(house.server.received().len(), 6, "the next run begins anew");
}

/// A workflow whose request sends the file `named` beside it.
fn sends(account: &str, named: &str, more: &str) -> String {
    let links = format!("links = {{ account = {account:?} }}");
    let props = format!("props = {{ url = \"v1/files\", file = {named:?}{more} }}");
    format!("{HEAD}[[steps]]\nname = \"a\"\nuses = \"http-request\"\n{links}\n{props}\n")
}

#[test]
fn a_file_beside_the_workflow_is_sent_as_it_was_when_it_was_deployed() {
    let house = house(|_| answer(200, &json!({})));
    let folder = house.keyhole.data.path().join("reports");
    std::fs::create_dir(&folder).unwrap();
    // What is no text, and longer than one piece of what it is kept in.
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(folder.join("report.pdf"), &bytes).unwrap();
    deploy(&house.keyhole, &sends(&house.account, "reports/report.pdf", "")).ok();
    // It is the deployed one that counts.
    std::fs::remove_file(folder.join("report.pdf")).unwrap();
    for _ in 0..2 {
        assert_eq!(run(&house.keyhole, "w", &json!({}))["run"]["status"], "ok");
    }
    for received in house.server.received() {
        assert_eq!(received.method, "POST");
        assert_eq!(received.header("content-type"), Some("application/pdf"));
        assert!(received.body == bytes, "the bytes are the file's");
    }
    // Of another type, by the step's word; and tried without a deploy.
    std::fs::write(folder.join("x.csv"), "a,b\n").unwrap();
    let text =
        sends(&house.account, "./reports/x.csv", ", method = \"PUT\", headers = { content-type = \"text/plain\" }");
    let path = file(&house.keyhole, &text);
    let mut args = vec!["test", path.to_str().unwrap(), "--as", "alice"];
    args.extend(house.keyhole.flags().iter().map(String::as_str));
    house.keyhole.call(&args).ok();
    let received = house.server.received().pop().unwrap();
    assert_eq!((received.method.as_str(), received.body.as_slice()), ("PUT", &b"a,b\n"[..]));
    assert_eq!(received.header("content-type"), Some("text/plain"));
}

#[test]
fn bounded_a_file_that_is_too_long_missing_or_elsewhere_is_not_deployed() {
    let house = house(|_| answer(200, &json!({})));
    let folder = house.keyhole.data.path();
    std::fs::write(folder.join("long.bin"), vec![0; (1 << 20) + 1]).unwrap();
    std::fs::write(folder.join("one.bin"), vec![0; 1 << 20]).unwrap();
    std::fs::create_dir_all(folder.join("config")).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.join("link.txt")).unwrap();
    let absolute = outside.path().to_str().unwrap();
    for (named, told) in [
        ("long.bin", "1048577 bytes; a file may have 1048576"),
        ("not-there.txt", "can't be read"),
        ("link.txt", "a link out of it"),
        ("../etc/passwd", "is not in the folder"),
        (absolute, "is not in the folder"),
        ("config", "is no file"),
        ("{{ event.name }}", "no template"),
    ] {
        let said = deploy_text(&house.keyhole, &sends(&house.account, named, ""));
        assert!(said.contains(told), "{named}: {said}");
        assert!(said.contains("workflow.toml:7:"), "{said}");
    }
    let said = deploy_text(&house.keyhole, &sends(&house.account, "one.bin", ", text = \"x\""));
    assert!(said.contains("a request has one body"), "{said}");
    // One whose template gives a second body is found out in the run.
    deploy(&house.keyhole, &sends(&house.account, "one.bin", ", text = \"{{ event.x }}\"")).ok();
    let run = run(&house.keyhole, "w", &json!({"x": "y"}));
    assert_eq!(run["run"]["error"]["kind"], "input", "{run:#}");
    assert!(house.server.received().is_empty());
}

fn deploy_text(keyhole: &Keyhole, text: &str) -> String {
    let path = file(keyhole, text);
    keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "alice"]).failed(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_to_a_server_with_its_workflow_and_the_server_takes_none_of_elsewhere() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let House { keyhole, server, account } = house(|_| answer(200, &json!({})));
    let text = sends(&account, "a.csv", "");
    let path = file(&keyhole, &text);
    std::fs::write(path.with_file_name("a.csv"), "x".repeat(1 << 20)).unwrap();
    let served = keyhole_tests::served::Served::on(keyhole, &[]);
    let (token, _) = served.token("alice", &[]);
    let remotely = |args: &[&str]| {
        keyhole_tests::program::Ended::from(served.remotely(&token, args).output().expect("keyhole starts"))
    };
    remotely(&["workflows", "deploy", path.to_str().unwrap()]).ok();
    remotely(&["workflows", "run", "w"]).ok();
    let received = server.received().pop().unwrap();
    assert_eq!((received.body.len(), received.header("content-type")), (1 << 20, Some("text/csv; charset=utf-8")));

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    for (named, given, length, told) in [
        ("../a", "../a", 1, "is not in the folder"),
        ("/etc/passwd", "/etc/passwd", 1, "is not in the folder"),
        ("a", "b", 1, "was not given"),
        ("a", "a", (1 << 20) + 1, "a file may have 1048576"),
    ] {
        let files = json!({ given: STANDARD.encode("x".repeat(length)) });
        let new = json!({ "file": sends(&account, named, ""), "files": files });
        let sent = client.post(format!("{}/api/workflows", served.url)).bearer_auth(&token).json(&new).send();
        let answer = sent.await.unwrap();
        assert_eq!(answer.status(), 422, "{named}");
        let said = answer.text().await.unwrap();
        assert!(said.contains(told) && said.contains("workflow.toml:7:"), "{said}");
    }
}
