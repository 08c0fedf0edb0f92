//! `keyhole apps import`: drafts that the program takes itself, from files and from servers.

use http::Response;
use keyhole_host_api::apps::Catalog;
use keyhole_tests::program::{Ended, Keyhole};
use keyhole_tests::server::{Body, Server, answer, json as json_answer};
use serde_json::{Value, json};

const DOCUMENT: &str = "\
openapi: 3.0.3
info: {title: Notes, version: '1'}
servers:
  - url: https://{tenant}.notes-service.com/v1
paths:
  /notes: {get: {responses: {200: {description: fine}}}}
  /oauth/token: {post: {responses: {200: {description: fine}}}}
components:
  securitySchemes:
    key: {type: apiKey, in: header, name: X-Notes-Key, description: Ask an admin}
security: [{key: []}]
";

/// Writes a file beside the data directory and gives its path.
fn file(keyhole: &Keyhole, name: &str, text: &str) -> String {
    let path = keyhole.data.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

/// Calls `apps import` with what leads to the servers.
fn import(keyhole: &Keyhole, args: &[&str]) -> Ended {
    let mut all = vec!["apps", "import"];
    all.extend(args);
    all.extend(keyhole.flags().iter().map(String::as_str));
    keyhole.call(&all)
}

#[test]
fn a_draft_is_a_definition_that_the_program_takes() {
    let keyhole = Keyhole::default();
    let document = file(&keyhole, "openapi.yaml", DOCUMENT);
    let apps = keyhole.data.path().join("apps");
    std::fs::create_dir(&apps).unwrap();
    let folder = apps.display().to_string();

    let ended = keyhole.call(&["apps", "import", "openapi", &document, "--out", &folder]).ok();
    let path = apps.join("notes.toml").display().to_string();
    says(&ended.stdout, &[&path, "a draft of the app notes"]);
    says(&ended.stderr, &["check", "this is part of the host", "keyhole apps check", "apps list"]);
    keyhole.call(&["apps", "check", &path]).ok();
    let catalog = Catalog::embedded().with_dir(&apps).unwrap();
    let app = catalog.get("notes").unwrap();
    assert_eq!(app.hosts[0].to_string(), "{tenant}.notes-service.com");
    assert_eq!(app.deny.len(), 1);

    // It is never written over, and nothing is left of the attempt.
    let before = std::fs::read_to_string(&path).unwrap();
    for to in [&path, &folder] {
        let said = keyhole.call(&["apps", "import", "openapi", &document, "--out", to, "--quiet"]).failed(2);
        says(&said, &["the file is there already", &path]);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(&apps).unwrap().count(), 1);

    let nowhere = format!("{folder}/none/");
    let said = keyhole.call(&["apps", "import", "openapi", &document, "--out", &nowhere]).failed(2);
    says(&said, &["there is no such folder", &nowhere]);

    // The same on standard output, from standard input, and as JSON.
    let printed = keyhole.call_with(&["apps", "import", "openapi", "-"], DOCUMENT).ok();
    assert_eq!(printed.stdout, before);
    let ended = keyhole.call(&["--json", "apps", "import", "openapi", &document, "--name", "mine"]).ok();
    assert_eq!(ended.stderr, "");
    let draft = ended.json();
    assert_eq!((&draft["name"], &draft["usable"]), (&json!("mine"), &json!(true)));
    says(draft["definition"].as_str().unwrap(), &["name = \"mine\"", "header = \"X-Notes-Key\""]);
    assert!(draft["notes"].as_array().unwrap().len() >= 2, "{draft:#}");
    assert!(!keyhole.data_dir().exists(), "a draft needs no data directory");
}

#[test]
fn a_document_that_gives_no_draft_is_one_clear_error() {
    let keyhole = Keyhole::default();
    let json = file(&keyhole, "bad.json", "{\n  \"openapi\": 3.0.3\n}");
    let yaml = file(&keyhole, "bad.yaml", "openapi: 3.0.3\nservers: [\n");
    let other = file(&keyhole, "other.json", "{\"name\": \"x\"}");
    let http = file(&keyhole, "http.yaml", &DOCUMENT.replace("https://{tenant}.", "http://api."));
    let relative = file(&keyhole, "relative.yaml", &DOCUMENT.replace("https://{tenant}.notes-service.com", ""));
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&["openapi", &json], 1, &["this is not JSON", &format!("at {json}:2:17")]),
        (&["openapi", &yaml], 1, &["this is not YAML", &format!("at {yaml}:")]),
        (&["openapi", &other], 1, &["no OpenAPI document", &format!("at {other}")]),
        (&["openapi", &http], 1, &["plain HTTP alone (api.notes-service.com)", "--base-url"]),
        (&["openapi", &relative], 1, &["relative", "--base-url"]),
        (&["openapi", "nowhere.json"], 2, &["there is no such file"]),
        (&["openapi", &http, "--name", "My App"], 2, &["'My App' cannot be an app's name"]),
        (&["openapi", &http, "--base-url", "http://a.example/"], 2, &["the base URL http://a.example/ can't be used"]),
        (&["discovery", "http://id.acme.example"], 2, &["'http://id.acme.example' cannot be an issuer"]),
    ];
    for (args, code, parts) in cases {
        // The name is looked at first where a server is given.
        let mut all = vec!["apps", "import"];
        all.extend(args);
        if args.contains(&"My App") {
            all.extend(["--base-url", "https://api.notes-service.com/"]);
        }
        says(&keyhole.call(&all).failed(code), parts);
    }
    keyhole.call(&["apps", "import", "openapi", &relative, "--base-url", "https://api.notes-service.com/v1"]).ok();
    assert!(!keyhole.data_dir().exists());
}

#[test]
fn a_document_is_fetched_where_requests_may_go_and_its_servers_are_relative_to_it() {
    let mut keyhole = Keyhole::default();
    let document = DOCUMENT.replace("https://{tenant}.notes-service.com/v1", "../v2");
    let server =
        Server::http(&keyhole.authority, &["notes-service.com"], move |request| match request.target.as_str() {
            "/docs/openapi.yaml" => answer(200, "application/yaml", document.clone()),
            "/latest" => moved("/docs/openapi.yaml"),
            "/plain" => moved("http://notes-service.com/docs/openapi.yaml"),
            "/round" => moved("/round"),
            _ => answer(404, "text/plain", "nothing"),
        });
    keyhole.lead("notes-service.com", &server);
    let at = |path: &str| format!("https://notes-service.com{path}");
    let drafted = import(&keyhole, &["openapi", &at("/latest"), "--json"]).ok().json();
    says(drafted["definition"].as_str().unwrap(), &["base_url = \"https://notes-service.com/", "v2/\""]);
    assert!(server.received().iter().all(|request| request.header("authorization").is_none()));

    says(&import(&keyhole, &["openapi", &at("/none")]).failed(1), &["status 404"]);
    says(&import(&keyhole, &["openapi", &at("/round")]).failed(1), &["redirect"]);
    says(&import(&keyhole, &["openapi", &at("/plain")]).failed(2), &["http://notes-service.com", "https"]);
    // The guard of every other request holds: without --allow-range, loopback is closed.
    let resolve = server.resolve("notes-service.com");
    let before = server.accepted();
    let closed = keyhole.call(&["apps", "import", "openapi", &at("/latest"), "--resolve", &resolve]).failed(1);
    says(&closed, &["127.0.0.1"]);
    assert_eq!(server.accepted(), before);
}

fn moved(to: &str) -> Response<Body> {
    let mut moved = answer(302, "text/plain", "");
    moved.headers_mut().insert("location", to.parse().unwrap());
    moved
}

#[test]
fn an_issuers_metadata_gives_its_oauth_table() {
    let mut keyhole = Keyhole::default();
    let server = Server::http(&keyhole.authority, &["id.acme.example"], |request| match request.target.as_str() {
        "/one/.well-known/openid-configuration" => json_answer(200, &metadata("https://id.acme.example/one")),
        "/.well-known/oauth-authorization-server/two" => json_answer(200, &metadata("https://id.acme.example/one")),
        // As many servers do for every address.
        "/.well-known/oauth-authorization-server/one" => answer(200, "text/html", "<!doctype html><p>Welcome"),
        _ => json_answer(404, &json!({"error": "not found"})),
    });
    keyhole.lead("id.acme.example", &server);
    let path = keyhole.data.path().join("acme.toml").display().to_string();
    let ended = import(&keyhole, &["discovery", "https://id.acme.example/one", "--out", &path]).ok();
    says(&ended.stderr, &["which API takes them", "keyhole --apps DIR apps configure acme --client-id ID"]);
    let checked = keyhole.call(&["--json", "apps", "check", &path]).ok().json();
    assert_eq!(checked["app"]["name"], "acme");
    let definition = std::fs::read_to_string(&path).unwrap();
    says(
        &definition,
        &["token_url = \"https://id.acme.example/one/token\"", "issuer = \"https://id.acme.example/one\"", "/one/me"],
    );

    // Another issuer's metadata is not taken (RFC 8414, section 3.3).
    let said = import(&keyhole, &["discovery", "https://id.acme.example/two"]).failed(1);
    says(&said, &["of the issuer 'https://id.acme.example/one'", "oauth-authorization-server/two"]);
    let said = import(&keyhole, &["discovery", "https://id.acme.example/three"]).failed(1);
    says(&said, &["publishes no metadata", "/three/.well-known/openid-configuration"]);
    assert!(!keyhole.data_dir().exists());
}

fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/me"),
        "scopes_supported": ["openid", "email", "notes.read"],
        "code_challenge_methods_supported": ["S256"],
    })
}
