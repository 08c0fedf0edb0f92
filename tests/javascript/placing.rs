//! Actions in the shape of Pipedream's registry, `components/<app>/actions/<name>/<name>.mjs`
//! beside their app files, in each style of placing a credential that such code uses.

use std::path::PathBuf;

use serde_json::json;

use crate::house::{House, echo, file};

/// What every secret of these tests holds.
const SECRET: &str = "s3cretK3yOfTheTests0123456789";

/// An action, and where its secret must arrive.
struct Case {
    app: &'static str,
    action: &'static str,
    /// The app prop.
    prop: &'static str,
    host: &'static str,
    /// Fields that are no secret.
    fields: &'static [&'static str],
    props: &'static [&'static str],
    arrives: Place,
    /// How the run shows what stands there.
    shown: &'static str,
}

enum Place {
    Header(&'static str, fn(&str) -> String),
    Query(&'static str),
}
use Place::{Header, Query};

fn basic(user: &str, secret: &str) -> String {
    use std::fmt::Write as _;
    // RFC 4648, for a test's few bytes.
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Basic ");
    for chunk in format!("{user}:{secret}").as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let shown =
                if digit <= chunk.len() { char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]) } else { '=' };
            let _ = write!(text, "{shown}");
        }
    }
    text
}

const CASES: &[Case] = &[
    Case {
        app: "bearer_crm",
        action: "update-contact",
        prop: "app",
        host: "api.bearer-crm.example",
        fields: &[],
        props: &["contactId=42", "name=Ada"],
        arrives: Header("authorization", |secret| format!("Bearer {secret}")),
        shown: "Bearer ‹bearer_crm.oauth_access_token›",
    },
    Case {
        app: "header_mail",
        action: "send",
        prop: "mail",
        host: "api.header-mail.example",
        fields: &[],
        props: &[],
        arrives: Header("x-api-key", str::to_owned),
        shown: "‹header_mail.api_key›",
    },
    Case {
        app: "raw_tasks",
        action: "list-boards",
        prop: "tasks",
        host: "api.raw-tasks.example",
        fields: &[],
        props: &[],
        arrives: Header("authorization", str::to_owned),
        shown: "‹raw_tasks.api_key›",
    },
    Case {
        app: "token_desk",
        action: "list-tickets",
        prop: "desk",
        host: "api.token-desk.example",
        fields: &[],
        props: &[],
        arrives: Header("authorization", |secret| format!("Token {secret}")),
        shown: "Token ‹token_desk.api_token›",
    },
    Case {
        app: "zoho_books",
        action: "list-invoices",
        prop: "zohoBooks",
        host: "api.zoho-books.example",
        fields: &[],
        props: &[],
        arrives: Header("authorization", |secret| format!("Zoho-oauthtoken {secret}")),
        shown: "Zoho-oauthtoken ‹zoho_books.oauth_access_token›",
    },
    Case {
        app: "query_maps",
        action: "geocode",
        prop: "maps",
        host: "api.query-maps.example",
        fields: &[],
        props: &["address=1 Main Street"],
        arrives: Query("key"),
        shown: "key=‹query_maps.api_key›",
    },
    Case {
        app: "basic_pay",
        action: "charge",
        prop: "pay",
        host: "api.basic-pay.example",
        fields: &["account=acct-1"],
        props: &[],
        arrives: Header("authorization", |secret| basic("acct-1", secret)),
        shown: "Basic ",
    },
    Case {
        app: "composed_jobs",
        action: "list-jobs",
        prop: "jobs",
        host: "api.composed-jobs.example",
        fields: &["email=ada@example.com"],
        props: &[],
        arrives: Header("authorization", |secret| basic("ada@example.com", secret)),
        shown: "Basic ",
    },
    Case {
        app: "tenant_wiki",
        action: "search",
        prop: "wiki",
        host: "acme.tenant-wiki.example",
        fields: &["domain=acme"],
        props: &[],
        arrives: Header("authorization", |secret| format!("Bearer {secret}")),
        shown: "Bearer ‹tenant_wiki.api_key›",
    },
];

/// An action's file, which is in either of the registry's two languages.
fn source(app: &str, action: &str) -> PathBuf {
    let of = |kind: &str| file(&format!("components/{app}/actions/{action}/{action}.{kind}"));
    ["mjs", "ts"].map(of).into_iter().find(|path| path.exists()).expect("an action")
}

#[test]
fn sealed_registry_actions_place_credentials_that_they_never_hold() {
    let mut house = House::new();
    let hosts: Vec<_> = CASES.iter().map(|case| case.host).collect();
    let server = house.serve(&hosts, echo);
    for (index, case) in CASES.iter().enumerate() {
        let Case { app, action, .. } = case;
        let account = house.connect(app, SECRET, case.fields);
        let link = format!("{}={account}", case.prop);
        let mut more = vec!["--link", &link];
        for prop in case.props {
            more.extend(["--prop", prop]);
        }
        let source = source(app, action);
        let run = house.run(&source, &json!({}), &more);
        assert_eq!(run["status"], "ok", "{app}: {run:#}");
        let text = run.to_string();
        assert!(!text.contains(SECRET), "{app}: {text}");
        for user in case.fields.iter().filter_map(|field| field.split('=').nth(1)) {
            // What the server echoed is the placeholder's Basic again.
            assert!(!text.contains(&basic(user, SECRET)), "{app}: {text}");
        }
        assert!(text.contains(case.shown), "{app}: {text}");

        let received = server.received();
        assert_eq!(received.len(), index + 1, "{app}: one request each");
        let request = &received[index];
        match &case.arrives {
            Header(name, value) => {
                assert_eq!(request.header(name), Some(value(SECRET).as_str()), "{app}: {request:?}");
            }
            Query(name) => assert!(request.target.contains(&format!("{name}={SECRET}")), "{app}: {request:?}"),
        }
    }
    // What an action takes for wrong is for who gave it to correct, and nothing is asked for.
    let account = house.connect("query_maps", SECRET, &[]);
    let link = format!("maps={account}");
    let wrong = house.run(&source("query_maps", "geocode"), &json!({}), &["--link", &link, "--prop", "address= "]);
    let error = wrong["error"]["message"].as_str();
    assert!(wrong["status"] == "failed" && error.is_some_and(|said| said.contains("Give an address")), "{wrong:#}");

    let received = server.received();
    assert_eq!(received.len(), CASES.len());
    assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("PATCH", "/v1/contacts/42"));
    assert_eq!(received[0].body, br#"{"name":"Ada"}"#, "what is undefined is left out");
    assert_eq!(received[4].target, "/books/v3/invoices?organization_id=7");
    assert_eq!(received[6].body, b"amount=100");
    assert!(!house.keyhole.stored_bytes().windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()));
}

#[test]
fn sealed_registry_actions_place_credentials_in_bodies_paths_and_user_names() {
    let mut house = House::new();
    let server = house.serve(&["api.odd-places.example"], echo);
    let account = house.connect("odd_places", SECRET, &[]);
    let source = file("components/odd_places/actions/send-everywhere/send-everywhere.mjs");
    let run = house.run(&source, &json!({}), &["--link", &format!("app={account}"), "--prop", "text=hello"]);
    assert_eq!(run["status"], "ok", "{run:#}");
    assert_eq!(run["exports"]["$summary"], r#"Sent "hello" in 6 ways"#);

    let received = server.received();
    let seen: Vec<_> = received
        .iter()
        .map(|request| (request.target.clone(), String::from_utf8(request.body.clone()).expect("a text")))
        .collect();
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(seen[0], ("/search".into(), format!(r#"{{"auth":{{"api_key":"{SECRET}"}},"text":"hello"}}"#)));
    assert_eq!(seen[1], ("/sms".into(), format!("text=hello&api_key={SECRET}")));
    let part = format!("name=\"api_key\"\r\n\r\n{SECRET}\r\n--");
    assert!(seen[2].0 == "/upload" && seen[2].1.contains(&part) && seen[2].1.contains("hello"), "{:?}", seen[2]);
    assert_eq!(seen[3], (format!("/bot{SECRET}/sendMessage"), r#"{"text":"hello"}"#.into()));
    for (at, path) in [(4, "/user"), (5, "/encoded-user")] {
        assert_eq!(seen[at].0, path);
        assert_eq!(received[at].header("authorization"), Some(basic(SECRET, "").as_str()), "{path}");
    }
    for (request, (_, body)) in received.iter().zip(&seen) {
        assert_eq!(request.header("content-length"), Some(body.len().to_string().as_str()), "{request:?}");
    }

    // The server echoed each of them.
    let text = run.to_string();
    assert!(!text.contains(SECRET) && !text.contains(&basic(SECRET, "")), "{text}");
    let answers = run["return_value"].to_string();
    assert_eq!(answers.matches("‹odd_places.api_key›").count(), 4, "{answers}");
    assert!(!house.keyhole.stored_bytes().windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()));
}
