use serde_json::json;

use super::*;

#[test]
fn servers_come_to_hosts_and_a_base_url() {
    let table = [
        (json!({"url": "https://api.acme.com"}), "https://api.acme.com/", vec!["api.acme.com"]),
        (json!({"url": "//api.acme.com:8443//v2?x=1#y"}), "https://api.acme.com:8443/v2/", vec!["api.acme.com:8443"]),
        (json!({"url": "https://api.acme.com:443/"}), "https://api.acme.com/", vec!["api.acme.com"]),
        (
            json!({"url": "https://{tenant}.acme.com/", "variables": {"tenant": {"default": "demo"}}}),
            "https://{tenant}.acme.com/",
            vec!["{tenant}.acme.com"],
        ),
        (
            json!({"url": "https://api-{region}.acme.com/", "variables": {"region": {"enum": ["us", "eu"], "default": "eu"}}}),
            "https://api-{region}.acme.com/",
            vec!["api-{region}.acme.com"],
        ),
        (
            json!({"url": "https://acme.{tld}/", "variables": {"tld": {"enum": ["com", "de"], "default": "de"}}}),
            "https://acme.{tld}/",
            vec!["acme.com", "acme.de"],
        ),
        (
            json!({"url": "https://{env}api.acme.com/", "variables": {"env": {"enum": ["", "dev-"], "default": ""}}}),
            "https://api.acme.com/",
            vec!["api.acme.com", "dev-api.acme.com"],
        ),
        (
            json!({"url": "{scheme}://{host}/{base}", "variables": {
                "scheme": {"enum": ["http", "https"], "default": "http"}, "host": {"default": "api.acme.com"}, "base": {"default": "v3"}}}),
            "https://api.acme.com/v3/",
            vec!["api.acme.com"],
        ),
        (
            json!({"url": "https://{host}:{port}/", "variables": {"host": {"default": "localhost"}, "port": {"default": "8443"}}}),
            "https://{host}:8443/",
            vec!["{host}:8443"],
        ),
        (
            json!({"url": "{endpoint}/v1", "variables": {"endpoint": {"default": "none"}}}),
            "https://{endpoint}/v1/",
            vec!["{endpoint}"],
        ),
        (
            json!({"url": "https://{h}/", "variables": {"h": {"enum": ["a.acme.com", "b.acme.com"], "default": "a.acme.com"}}}),
            "https://{h}/",
            vec!["a.acme.com", "b.acme.com"],
        ),
        (
            json!({"url": "https://api.acme.com{path}", "variables": {"path": {"default": "/v2"}}}),
            "https://api.acme.com/v2/",
            vec!["api.acme.com"],
        ),
        (json!({"url": "https://api.acme.com/{account}/x"}), "https://api.acme.com/{account}/x/", vec!["api.acme.com"]),
        (json!({"url": "https://api.acme.com/{apiKey}/x"}), "https://api.acme.com/", vec!["api.acme.com"]),
        (
            json!({"url": "https://api.yourmembership.com"}),
            "https://api.yourmembership.com/",
            vec!["api.yourmembership.com"],
        ),
        (json!({"url": "https://api.acme.com/{odd"}), "https://api.acme.com/%7Bodd/", vec!["api.acme.com"]),
    ];
    for (server, url, expected) in table {
        let (draft, app) = drafted(json!({"servers": [server]}));
        assert_eq!(
            (base(&app).as_str(), hosts(&app)),
            (url, expected.iter().map(ToString::to_string).collect()),
            "{}",
            draft.definition
        );
    }
}

#[test]
fn a_tenant_has_no_default_and_a_region_has() {
    let (_, app) = drafted(json!({"servers": [{"url": "https://{tenant}.{region}.acme.com/", "variables": {
        "tenant": {"default": "demo"}, "region": {"default": "eu", "enum": ["eu", "us"]}}}]}));
    assert_eq!(app.field("tenant").unwrap().default, None, "another tenant would be sent the credential");
    assert!(!app.field("tenant").unwrap().optional);
    assert_eq!(app.field("region").unwrap().default.as_deref(), Some("eu"));
}

#[test]
fn a_server_that_no_definition_can_have_is_a_reason() {
    for (url, part) in [
        ("http://api.acme.com/", "plain HTTP alone (api.acme.com)"),
        ("https://github.io/", "public suffix"),
        ("https://{x}.com/", "public suffix"),
        ("https://x{any}.acme.com/", "'any' may be anything"),
        ("https://192.0.2.1/", "no public host"),
        ("https://8.8.8.8/", "IP address"),
        ("https://localhost/", "no public host"),
        ("https://api.example.com/", "no public host"),
        ("https://your-tenant.acme.com/", "no public host"),
        ("https://yourcompany.acme.com/", "no public host"),
        ("https://user:word@api.acme.com/", "user name"),
        ("wss://api.acme.com/", "not HTTPS"),
        ("/v1", "relative"),
        ("", "relative"),
    ] {
        let error = refused(json!({"servers": [{"url": url}]})).to_string();
        let said = error.contains(part) || url.contains("192.0.2.1") && error.contains("IP address");
        assert!(said && error.contains("--base-url"), "{url}: {error}");
    }
    // HTTP beside HTTPS is passed over.
    let servers = json!({"servers": [{"url": "http://api.acme.com/"}, {"url": "https://api.acme.com/"}]});
    assert_eq!(hosts(&drafted(servers).1), ["api.acme.com"]);
}

#[test]
fn what_the_operator_says_comes_before_the_document() {
    let given = |base: &str| Given { base_url: Some(base.parse().unwrap()), name: Some("mine".into()), document: None };
    let (_, app) = of(&document(json!({"servers": [{"url": "/v1"}]})), &given("https://api.acme.com:8443/v2"));
    assert_eq!((base(&app).as_str(), app.name.as_str()), ("https://api.acme.com:8443/v2/", "mine"));
    for bad in [
        "http://api.acme.com/",
        "https://u@api.acme.com/",
        "https://api.acme.com/?q",
        "https://10.0.0.1/",
        "https://github.io/",
    ] {
        let error = openapi(&document(json!({})), &given(bad)).unwrap_err();
        assert!(matches!(error, ImportError::BaseUrl { .. }), "{bad}: {error}");
    }
    for bad in ["", "Acme", "custom", "a b", &"x".repeat(65)] {
        let given = Given { name: Some(bad.into()), ..Given::default() };
        assert!(matches!(openapi(&document(json!({})), &given), Err(ImportError::Name(_))), "{bad}");
    }
    // A relative server is where the document is.
    let from = Given { document: Some("https://acme.com/docs/openapi.json".parse().unwrap()), ..Given::default() };
    let relative = |url: &str| base(&of(&document(json!({"servers": [{"url": url}]})), &from).1);
    assert_eq!(relative("/v1"), "https://acme.com/v1/");
    assert_eq!(relative("v1"), "https://acme.com/docs/v1/");
    assert_eq!(relative("./v1"), "https://acme.com/docs/v1/");
    assert_eq!(relative("../v1/{account}"), "https://acme.com/v1/{account}/");
    assert_eq!(relative("."), "https://acme.com/docs/");
}

#[test]
fn further_servers_add_hosts_and_one_for_tests_comes_last() {
    let (draft, app) = drafted(json!({
        "servers": [{"url": "https://sandbox.acme.com/"}, {"url": "https://api.acme.com/"}],
        "paths": {"/files": {"servers": [{"url": "https://files.acme.com"}], "post": {"servers": [{"url": "https://{x}.acme.com"}]}}},
    }));
    assert_eq!(base(&app), "https://api.acme.com/");
    assert_eq!(hosts(&app), ["api.acme.com", "sandbox.acme.com", "files.acme.com"], "none with a field of its own");
    assert!(noted(&draft, "credentials may go to each of these"));
}
