//! `keyhole apps import` and `apps new`: drafts that the program takes itself, from files, from servers and from people.

use http::Response;
use keyhole_host_api::apps::Catalog;
use keyhole_tests::program::{Ended, KEY, Keyhole};
use keyhole_tests::server::{Body, Server, acme, answer, json as json_answer};
use keyhole_tests::workspace::component;
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

#[test]
fn an_app_that_the_catalog_lacks_is_named_drafted_connected_and_used() {
    let mut keyhole = Keyhole::default();
    keyhole.member("alice");
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    std::fs::remove_file(keyhole.own_apps().join("acme.toml")).unwrap();

    let step = component("echo-key").display().to_string();
    let said = keyhole.call(&["run", &step, "--as", "alice", "--link", "acme=mine"]).failed(2);
    says(&said, &["the catalog has no app acme", "at prop acme", "keyhole apps new acme"]);
    let unlinked = keyhole.call(&["run", &step, "--as", "alice"]);
    says(&unlinked.stderr, &["the catalog has no app acme", "keyhole apps new acme"]);

    let draft = ["apps", "new", "acme", "--host", "api.acme.example", "--base-url", "https://api.acme.example/"];
    let place = ["--header", "Authorization: Bearer {api_key}"];
    let drafted = keyhole.call(&[&draft[..], &place].concat()).ok();
    says(&drafted.stdout, &["acme.toml", "defines the app acme"]);
    says(&drafted.stderr, &["next: keyhole accounts connect acme"]);
    // It is there now, and stays as it is.
    let again = keyhole.call(&[&draft[..], &["--header", "x-key: {api_key}"]].concat()).failed(2);
    says(&again, &["there is an app acme already", "--out"]);

    let link = format!("acme={}", keyhole.connect("alice", KEY));
    let run = keyhole.run(&component("echo-key"), &json!({}), &["--as", "alice", "--link", &link]);
    assert_eq!(run["status"], "ok", "{run:#}");
    assert!(server.received().iter().any(|request| request.header("authorization") == Some(&format!("Bearer {KEY}"))));
    assert!(!run.to_string().contains(KEY));
}

#[test]
fn every_place_that_a_credential_can_have_is_drafted() {
    let keyhole = Keyhole::default();
    let out = keyhole.data.path().join("wiki.toml").display().to_string();
    let flags = [
        "--host",
        "{subdomain}.wiki-service.com",
        "--title",
        "Wiki",
        "--plain",
        "email",
        "--out",
        &out,
        "--header",
        "X-Client: {email}",
        "--header",
        "Authorization: Token {token}",
        "--basic",
        "{email}/token:{token}",
        "--query",
        "key={token}",
        "--segment",
        "2=bot{token}",
        "--json-body",
        "/auth/key={token}",
        "--form",
        "key={token}",
    ];
    let drafted = keyhole.call(&[&["apps", "new", "wiki"][..], &flags].concat()).ok();
    says(&drafted.stderr, &[&format!("keyhole apps add {out}")]);
    let app = keyhole.call(&["--json", "apps", "check", &out]).ok().json()["app"].clone();
    assert_eq!(app["title"], "Wiki");
    let places = app["places"].to_string();
    says(&places, &["Token {token}", "{email}/token", "key", "bot{token}", "/auth/key"]);
    let secret = |name: &str| {
        app["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap()["secret"].clone()
    };
    assert_eq!([secret("token"), secret("email"), secret("subdomain")], [json!(true), json!(false), json!(false)]);

    // The same as a document, on standard output if there is nowhere to put it.
    let document = json!({
        "hosts": ["api.notes-service.com"],
        "fields": [{"name": "api_key", "secret": true}],
        "places": [{"header": {"name": "x-key", "template": "{api_key}"}}],
    });
    let kept = keyhole.data.path().join("notes.toml").display().to_string();
    let new = ["--json", "apps", "new", "notes", "--stdin", "--out", &kept];
    let said = keyhole.call_with(&new, &document.to_string()).ok().json();
    assert_eq!(said, json!({"path": kept, "name": "notes"}));
    let text = std::fs::read_to_string(&kept).unwrap();
    let again = keyhole.call_with(&new, &document.to_string());
    assert_eq!(again.code, 2);
    assert_eq!(again.json_error()["message"], "the file is there already, and is not written over");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
}

#[test]
fn a_draft_that_would_be_no_good_is_not_written() {
    let keyhole = Keyhole::default();
    let out = keyhole.data.path().join("a.toml").display().to_string();
    let new = |flags: &[&str]| keyhole.call(&[&["apps", "new", "a", "--out", &out][..], flags].concat()).failed(2);
    let header = ["--header", "x-key: {key}"];
    let with = |host: &'static str| [&header[..], &["--host", host]].concat();
    for (flags, part) in [
        // Without a terminal nobody is asked.
        (vec![], "there is no terminal to ask on"),
        (header.to_vec(), "no host is named"),
        (vec!["--host", "api.example.com"], "nothing says where the app's credentials go"),
        (with("co.uk"), "is a public suffix"),
        (with("{any}.com"), "is a public suffix"),
        (with("10.0.0.1"), "is an IP address"),
        (with("{key}.example.com"), "nothing says where"),
        (with("{url.host}.example.com"), "cannot be a field's name"),
        ([&with("api.example.com")[..], &["--header", "cookie: {key}"]].concat(), "the broker's to set"),
    ] {
        says(&new(&flags), &[part]);
        assert!(!std::path::Path::new(&out).exists(), "{flags:?}");
    }
    let said = keyhole.call_with(&["apps", "new", "a", "--stdin"], "{\"hosts\": 1}").failed(2);
    says(&said, &["this does not describe an app", "at standard input"]);
    says(&keyhole.call(&["apps", "new", "slack", "--host", "a.example"]).failed(2), &["there is an app slack already"]);
}

#[test]
fn an_app_that_takes_no_account_needs_no_link_and_opens_no_host() {
    let mut keyhole = Keyhole::default();
    keyhole.member("alice");
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    std::fs::remove_file(keyhole.own_apps().join("acme.toml")).unwrap();
    let new = ["apps", "new", "acme", "--no-account", "--base-url", "https://api.acme.example/"];
    let drafted = keyhole.call(&[&new[..], &["--host", "api.acme.example"]].concat()).ok();
    says(&drafted.stderr, &["steps use acme without an account"]);
    // What only helps with texts has no host either.
    keyhole.call(&["apps", "new", "texts", "--no-account"]).ok();
    keyhole.call(&["apps", "show", "texts"]).ok();

    let step = component("raw-http");
    let run = keyhole.run(&step, &json!({}), &["--as", "alice"]);
    assert_eq!(run["error"]["kind"], "refused", "{run:#}");
    let run = keyhole.run(&step, &json!({}), &["--as", "alice", "--allow-host", "api.acme.example"]);
    assert_eq!(run["return_value"]["status"], 401, "{run:#}");
    assert_eq!(server.received()[0].header("authorization"), None);
    let text = format!(
        "keyhole = 1\nname = \"plain\"\ntrigger.http = {{ respond = \"workflow\" }}\n[[steps]]\nname = \"a\"\nuses = {:?}\n",
        step.display().to_string()
    );
    let workflow = file(&keyhole, "plain.toml", &text);
    keyhole.call(&["workflows", "deploy", &workflow, "--as", "alice"]).ok();
}
