//! Packages that registries' code uses, and services' own SDKs, of the versions that `packages/package-lock.json`
//! holds: many in one component, since each component takes seconds to build.

use keyhole_tests::server::{answer, json};
use serde_json::{Value, json};

use crate::house::{House, all, echo, file};

/// An RSA key pair in PEM, by the Node.js that builds need anyway.
fn rsa_keys() -> (String, String) {
    const MAKE: &str = "const pem = (type) => ({ type, format: 'pem' }); \
        process.stdout.write(JSON.stringify(require('crypto').generateKeyPairSync('rsa', \
        { modulusLength: 2048, privateKeyEncoding: pem('pkcs8'), publicKeyEncoding: pem('spki') })))";
    let made = std::process::Command::new("node").args(["-e", MAKE]).output().expect("node starts");
    let pair: Value = serde_json::from_slice(&made.stdout).expect("a key pair");
    let pem = |name: &str| pair[name].as_str().expect("a PEM").to_owned();
    (pem("privateKey"), pem("publicKey"))
}

#[test]
fn clients_files_and_cryptography_of_packages_work_as_in_node() {
    let mut house = House::new();
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let _server = house.serve(&["api.packages.example"], move |request| match request.target.split('?').next() {
        Some("/text") => answer(200, "text/plain", "plain text"),
        Some("/missing") => json(404, &json!({"error": "missing"})),
        Some("/busy-at-first") if tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 => {
            answer(503, "text/plain", "busy")
        }
        Some("/busy-at-first") => json(200, &json!({"ok": true})),
        Some("/graphql") => {
            let query: Value = serde_json::from_slice(&request.body).expect("a query");
            json(200, &json!({"data": {"echo": query}}))
        }
        _ => echo(request),
    });
    let (key, public) = rsa_keys();
    let (key, public) = (format!("key={key}"), format!("publicKey={public}"));
    let more = ["--allow-host", "api.packages.example", "--timeout", "120s", "--prop", &key, "--prop", &public];
    let found = house.value(&file("packages/requests.mjs"), &more);
    let expected = json!({
        "got": ["/echo?q=1", r#"{"a":1}"#],
        "got_stream_to_tmp": "plain text",
        "got_error": ["HTTPError", 404],
        "ky": r#"{"a":1}"#,
        "superagent": ["Basic dTpw", true],
        "undici": [200, "x"],
        "request": "Bearer t",
        "needle": r#"{"a":1}"#,
        "graphql_request": {"id": 1},
        "axios_retry": {"ok": true},
        "form_data_of_a_package": [true, true],
        "download_and_upload": [true, true, true],
        "upload_of_a_stream": ["put", "put", 3],
        "files": [3, true, true, "hi!", "i", false],
        "files_that_are_not_there": ["ENOENT", "ENOENT", "ENOENT"],
        "files_by_packages": [{"a": 1}, false],
        "relative_paths": ["/tmp", "here"],
        "zip": "zipped",
        "jsonwebtoken": [{"a": 1}, {"a": 2}],
        "jose": {"a": 1},
        "webhook_signature": true,
        "subtle_hmac": [true, false],
        "subtle_aes": ["cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919", true],
        "subtle_elliptic": [[64, true, false], [64, true, false]],
        "derived_keys": ["8da4e775a563c18f", "120fb6cffcf8b32c"],
        "base64url": ["Pz7DvA", "?>ü", true],
        "unicode_properties": ["Ünïcode", true, "-", true],
    });
    all(&found, &expected);
}

#[test]
fn packages_that_parse_and_format_work_as_in_node() {
    let found = House::new().value(&file("packages/data.mjs"), &["--timeout", "120s"]);
    let expected = json!({
        "configuration_error": "ConfigurationError",
        "ajv": true,
        "async_retry": 3,
        "bottleneck": [1, 2],
        "cheerio": "x",
        "csv": [[{"a": "1", "b": "2"}], "1,\"x,y\"\n", [{"a": "1", "b": "2"}], "a\r\n1"],
        "dates": ["2 Jan 2024", "1970-01-02", "2024-01-03", "February 1st 1970"],
        "xml": [{"a": {"c": 2, "@_b": "1"}}, "<a><b>1</b></a>", {"a": {"b": "1"}}],
        "text": ["x!", "a\n\nb", "<p><em>a</em></p>\n", "<h1 id=\"a\">a</h1>", "**a**", "<b>a</b>", "under-score"],
        "encodings": ["é", "a%5B0%5D=1&a%5B1%5D=2&b%5Bc%5D=3", {"a": "1", "b": "2"}, {"a": [1, 2]}, "application/pdf"],
        "checks": ["US", true, false, 1],
        "limits": [[1, 2], 21, false],
        "full_disk": [["ENOSPC", 64], ["ENOSPC", 64]],
    });
    all(&found, &expected);
}

#[test]
fn sealed_services_own_sdks_run_unmodified() {
    const SECRETS: &[(&str, &str, &[&str])] = &[
        ("airtable", "pat.secret1234567890abcdef", &[]),
        ("github", "ghp_secret1234567890abcdef", &[]),
        ("notion", "ntn_secret1234567890abcdef", &[]),
        ("openai", "sk-secret1234567890abcdef", &["api_host=api.openai.com"]),
        ("sendgrid", "SG.secret1234567890abcdef", &["api_host=api.sendgrid.com"]),
        ("stripe", "sk_test_secret1234567890abcdef", &[]),
    ];
    const HOSTS: &[&str] = &[
        "api.airtable.com",
        "api.github.com",
        "api.notion.com",
        "api.openai.com",
        "api.sendgrid.com",
        "api.stripe.com",
    ];
    let mut house = House::new();
    let server = house.serve(HOSTS, |request| {
        if request.target.ends_with("/chat/completions") {
            let event = |text: &str| format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}));
            return answer(200, "text/event-stream", format!("{}{}data: [DONE]\n\n", event("a"), event("b")));
        }
        let echo = request.header("authorization");
        json(200, &json!({"id": "id1", "records": [{"id": "r", "fields": {"Name": "Ada"}}], "echo": echo}))
    });
    let links: Vec<_> =
        SECRETS.iter().map(|(app, secret, others)| format!("{app}={}", house.connect(app, secret, others))).collect();
    let mut more = vec!["--timeout", "120s"];
    for link in &links {
        more.extend(["--link", link]);
    }
    let run = house.run(&file("packages/sdks.mjs"), &json!({}), &more);
    assert_eq!(run["status"], "ok", "{run:#}");
    let expected = json!({
        "stripe": "id1",
        "github": "id1",
        "notion": "id1",
        "sendgrid": 200,
        "openai": ["ab", "id1"],
        "airtable": "Ada",
    });
    assert_eq!(run["return_value"], expected);

    let received = server.received();
    let upload = received.iter().find(|request| request.target == "/v1/files").expect("the file was uploaded");
    let body = String::from_utf8_lossy(&upload.body);
    assert!(body.contains("notes") && body.contains("filename=\"notes.txt\""), "{body}");
    for (app, secret, _) in SECRETS {
        let sent =
            received.iter().filter(|request| request.header("authorization").is_some_and(|it| it.ends_with(secret)));
        assert!(sent.count() > 0, "{app}");
        assert!(!run.to_string().contains(secret), "{app}: {run:#}");
    }
}
