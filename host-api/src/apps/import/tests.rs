use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::apps::{App, Flow, Place, check};

/// A document with one operation and what `more` has in its place.
fn document(more: Value) -> Value {
    let mut document = json!({
        "openapi": "3.0.3",
        "info": {"title": "Acme API", "version": "1"},
        "servers": [{"url": "https://api.acme.com/v1"}],
        "paths": {"/notes": {"get": {}}},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

fn drafted(more: Value) -> (Draft, App) {
    of(&document(more), &Given::default())
}

fn of(document: &Value, given: &Given) -> (Draft, App) {
    let draft = openapi(document, given).unwrap_or_else(|error| panic!("{error}"));
    let app = check(&draft.definition, "t").unwrap_or_else(|errors| panic!("{errors:?}\n{}", draft.definition));
    (draft, app)
}

fn refused(more: Value) -> ImportError {
    openapi(&document(more), &Given::default()).unwrap_err()
}

fn schemes(schemes: Value) -> Value {
    let first = schemes.as_object().unwrap().keys().next().unwrap().clone();
    json!({"components": {"securitySchemes": schemes}, "security": [{first: []}]})
}

fn places(app: &App) -> Vec<String> {
    let shown = |place: &Place| match place {
        Place::Header { name, template } => format!("{name}: {template}"),
        Place::Query { name, template } => format!("?{name}={template}"),
        Place::Basic { username, password } => format!("{username}:{password}"),
        other => format!("{other:?}"),
    };
    app.places.iter().map(shown).collect()
}

fn hosts(app: &App) -> Vec<String> {
    app.hosts.iter().map(ToString::to_string).collect()
}

fn base(app: &App) -> String {
    app.base_url.as_ref().unwrap().to_string()
}

fn noted(draft: &Draft, part: &str) -> bool {
    draft.notes.iter().any(|note| note.contains(part))
}

#[test]
fn a_plain_document_gives_a_definition() {
    let (draft, app) = drafted(json!({"externalDocs": {"url": "https://acme.com/docs"}}));
    assert_eq!((app.name.as_str(), app.title.as_str()), ("acme", "Acme API"));
    assert_eq!(
        (hosts(&app), places(&app)),
        (vec!["api.acme.com".into()], vec!["authorization: Bearer {access_token}".into()])
    );
    assert_eq!(app.base_url(&Default::default()).unwrap().unwrap().as_str(), "https://api.acme.com/v1/");
    assert_eq!(app.docs.unwrap().as_str(), "https://acme.com/docs");
    assert!(draft.usable);
    // Each note is a comment, too.
    let comments = draft.definition.replace("\n# ", " ");
    for note in &draft.notes {
        assert!(comments.contains(&format!("Check: {note}")), "{note}\n{}", draft.definition);
    }
}

#[test]
fn texts_of_the_document_stay_within_their_line() {
    let evil = "a\"\n[oauth]\ntoken_url = \"https://evil.example\"\u{1b}[2J\u{202e}\u{2028}x";
    let (draft, app) = drafted(json!({
        "info": {"title": evil},
        "components": {"securitySchemes": {"k": {"type": "http", "scheme": "bearer", "description": evil}, (evil): {"type": "http", "scheme": "basic"}}},
        "security": [{"k": []}],
        "paths": {(format!("/{evil}/token")): {"get": {}}},
    }));
    assert!(app.oauth.is_none());
    assert!(!draft.definition.contains(['\u{1b}', '\u{202e}', '\u{2028}']), "{}", draft.definition);
    assert!(!draft.definition.lines().any(|line| line.starts_with("[oauth]") || line.starts_with("token_url")));
}

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

#[test]
fn schemes_come_to_places() {
    let table = [
        (json!({"type": "http", "scheme": "Bearer"}), "authorization: Bearer {access_token}"),
        (json!({"type": "http", "scheme": "basic"}), "{username}:{password}"),
        (
            json!({"type": "http", "scheme": "basic", "description": "API key as the username, password blank"}),
            "{api_key}:",
        ),
        (json!({"type": "apiKey", "in": "header", "name": "X-Api-Key"}), "x-api-key: {api_key}"),
        (json!({"type": "apiKey", "in": "query", "name": "appid"}), "?appid={appid}"),
        (json!({"type": "apiKey", "in": "header", "name": "Authorization"}), "authorization: {api_key}"),
        (
            json!({"type": "apiKey", "in": "header", "name": "Authorization", "description": "'Bearer ' and the token"}),
            "authorization: Bearer {api_key}",
        ),
        (
            json!({"type": "openIdConnect", "openIdConnectUrl": "https://id.acme.com/.well-known/openid-configuration"}),
            "authorization: Bearer {oauth_access_token}",
        ),
        (
            json!({"type": "oauth2", "flows": {"implicit": {"authorizationUrl": "https://acme.com/auth", "scopes": {}}}}),
            "authorization: Bearer {oauth_access_token}",
        ),
        (
            json!({"type": "oauth2", "flows": {"password": {"tokenUrl": "https://acme.com/token", "scopes": {}}}}),
            "authorization: Bearer {oauth_access_token}",
        ),
    ];
    for (scheme, place) in table {
        let (draft, app) = drafted(schemes(json!({"it": scheme})));
        assert_eq!(places(&app), [place], "{}", draft.definition);
        assert!(app.oauth.is_none() && draft.usable);
    }
    let (draft, _) = drafted(schemes(json!({"it": {"type": "openIdConnect",
        "openIdConnectUrl": "https://id.acme.com/.well-known/openid-configuration"}})));
    assert!(noted(&draft, "keyhole apps import discovery https://id.acme.com'"));
    let (draft, _) = drafted(schemes(
        json!({"it": {"type": "oauth2", "flows": {"implicit": {"authorizationUrl": "https://acme.com/auth"}}}}),
    ));
    assert!(noted(&draft, "implicit"));
}

#[test]
fn a_scheme_without_a_place_is_a_reason() {
    for (scheme, part) in [
        (json!({"type": "apiKey", "in": "cookie", "name": "sid"}), "cookie 'sid'"),
        (json!({"type": "apiKey", "in": "header", "name": "Cookie"}), "cookie"),
        (json!({"type": "apiKey", "in": "header", "name": "Two Words"}), "no header"),
        (json!({"type": "apiKey", "in": "header", "name": "Host"}), "no header"),
        (
            json!({"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4"}),
            "signed",
        ),
        (json!({"type": "http", "scheme": "digest"}), "'digest'"),
        (json!({"type": "mutualTLS"}), "certificate"),
        (json!({"type": "magic"}), "'magic'"),
        (json!({}), "no kind"),
    ] {
        let error = refused(schemes(json!({"it": scheme}))).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn oauth_tables_are_drafted_from_flows() {
    let flow = json!({"authorizationUrl": "https://acme.com/authorize", "tokenUrl": "https://acme.com/token/",
        "refreshUrl": "https://acme.com/refresh", "scopes": {"read write": "", "a,b": "", "admin": ""}});
    let (draft, app) = drafted(schemes(json!({"it": {"type": "oauth2", "flows": {"authorizationCode": flow}}})));
    let oauth = app.oauth.as_ref().unwrap();
    assert_eq!(
        (oauth.flow, &oauth.scopes[..]),
        (Flow::Member, &["admin".to_owned(), "read".into(), "write".into()][..])
    );
    assert!(oauth.pkce && noted(&draft, "https://acme.com/refresh"));
    // Swagger's names for the same.
    let swagger = |flow: &str| {
        json!({"swagger": "2.0", "host": "api.acme.com", "basePath": "/v1", "schemes": ["http", "https"], "info": {"title": "Acme"},
            "paths": {}, "securityDefinitions": {"it": {"type": "oauth2", "flow": flow,
            "authorizationUrl": "https://acme.com/authorize", "tokenUrl": "https://acme.com/token", "scopes": {"a": ""}}}})
    };
    for (name, flow) in [
        ("accessCode", Some(Flow::Member)),
        ("application", Some(Flow::ClientCredentials)),
        ("implicit", None),
        ("password", None),
    ] {
        let (_, app) = of(&swagger(name), &Given::default());
        assert_eq!(
            (app.oauth.as_ref().map(|oauth| oauth.flow), base(&app)),
            (flow, "https://api.acme.com/v1/".into()),
            "{name}"
        );
    }
    // What no table can have is pasted, and why is said.
    for token_url in [
        "http://acme.com/token",
        "https://10.0.0.1/token",
        "https://{tenant}.acme.com/token",
        "https://acme.com/a%2Fb",
        "nonsense",
        "",
    ] {
        let flow = json!({"authorizationUrl": "https://acme.com/authorize", "tokenUrl": token_url, "scopes": {}});
        let (draft, app) = drafted(schemes(json!({"it": {"type": "oauth2", "flows": {"authorizationCode": flow}}})));
        let relative = token_url == "nonsense";
        assert_eq!(app.oauth.is_some(), relative, "{token_url}");
        assert!(draft.usable && (relative || noted(&draft, "paste an access token")), "{token_url}: {:?}", draft.notes);
    }
    let many: serde_json::Map<String, Value> = (0..30).map(|n| (format!("scope{n}"), json!(""))).collect();
    let flow = json!({"authorizationUrl": "https://acme.com/a", "tokenUrl": "https://acme.com/t", "scopes": many});
    let (draft, app) = drafted(schemes(json!({"it": {"type": "oauth2", "flows": {"authorizationCode": flow}}})));
    assert!(app.oauth.unwrap().scopes.is_empty() && noted(&draft, "the document has 30: scope0 "));
}

#[test]
fn of_several_schemes_the_most_used_is_taken_and_the_others_are_named() {
    let both = json!({"securitySchemes": {
        "a": {"type": "apiKey", "in": "header", "name": "X-A"},
        "b": {"type": "apiKey", "in": "header", "name": "X-B"},
        "c": {"type": "apiKey", "in": "cookie", "name": "c"},
    }});
    let used = |security: [Value; 3]| {
        let paths: serde_json::Map<String, Value> =
            security.into_iter().enumerate().map(|(n, s)| (format!("/{n}"), json!({"get": {"security": s}}))).collect();
        drafted(json!({"components": both, "security": [], "paths": paths}))
    };
    let (draft, app) = used([json!([{"a": []}]), json!([{"b": []}]), json!([{"b": []}, {}])]);
    assert_eq!(places(&app), ["x-b: {b}"]);
    assert!(noted(&draft, "a (the header X-A)") && noted(&draft, "c (the cookie c)"), "{:?}", draft.notes);
    // One that cannot be is not taken, however often it is used.
    let (_, app) = used([json!([{"c": []}]), json!([{"c": []}]), json!([{"a": []}])]);
    assert_eq!(places(&app), ["x-a: {a}"]);
    // Both at once.
    let (_, app) = used([json!([{"a": [], "b": []}]), json!([{"a": [], "b": []}]), json!([{"a": []}])]);
    assert_eq!(places(&app), ["x-a: {a}", "x-b: {b}"]);
    // Two flows of one server are one token.
    let flow = json!({"authorizationUrl": "https://acme.com/a", "tokenUrl": "https://acme.com/t", "scopes": {}});
    let (_, app) = drafted(json!({"security": [{"x": [], "y": []}], "components": {"securitySchemes": {
        "x": {"type": "oauth2", "flows": {"implicit": flow}}, "y": {"type": "oauth2", "flows": {"authorizationCode": flow}}}}}));
    assert_eq!(places(&app), ["authorization: Bearer {oauth_access_token}"]);
    assert!(app.oauth.is_some());
}

#[test]
fn a_reference_within_the_document_is_followed_and_no_other() {
    let (_, app) = drafted(json!({"components": {"securitySchemes": {"key": {"$ref": "#/x-schemes/k"}}},
        "x-schemes": {"k": {"type": "apiKey", "in": "query", "name": "k"}}}));
    assert_eq!(places(&app), ["?k={k}"]);
    let error =
        refused(json!({"components": {"securitySchemes": {"key": {"$ref": "https://evil.example/scheme.json"}}}}));
    assert!(matches!(error, ImportError::Credentials(_)));
    let endless = json!({"components": {"securitySchemes": {"key": {"$ref": "#/components/securitySchemes/key"}}}});
    assert!(matches!(refused(endless), ImportError::Credentials(_)));
}

#[test]
fn a_document_without_schemes_is_searched_for_a_key() {
    let parameter = json!({"in": "header", "name": "X-API-Key"});
    let (draft, app) = drafted(json!({"components": {}, "paths": {"/a": {"get": {"parameters": [parameter]}}}}));
    assert_eq!((places(&app), draft.usable), (vec!["x-api-key: {api_key}".into()], true));
    assert!(noted(&draft, "guess"));
    let (draft, app) =
        drafted(json!({"components": {}, "paths": {"/a": {"get": {"parameters": [{"in": "query", "name": "page"}]}}}}));
    assert_eq!((places(&app).len(), draft.usable), (0, false));
    assert!(noted(&draft, "names no credential"));
}

#[test]
fn paths_that_give_out_tokens_and_keys_are_denied() {
    let paths = [
        "/oauth/token",
        "/oauth/revoke",
        "/users/{id}/apiKeys/{key}",
        "/auth.revoke",
        "/introspect",
        "/me",
        "/keys",
        "/things/delta(token='{t}')",
        "/app/{id}.access_tokens",
        "/v1/clientSecrets",
        "/#Action=GetToken",
    ];
    let paths: serde_json::Map<String, Value> =
        paths.iter().map(|path| ((*path).to_owned(), json!({"get": {}}))).collect();
    let (draft, app) = drafted(json!({"paths": paths}));
    let denied: Vec<String> = app.deny.iter().map(|deny| deny.path.to_string()).collect();
    assert_eq!(
        denied,
        [
            "/v1/app/*.access_tokens",
            "/v1/auth.revoke",
            "/v1/introspect",
            "/v1/oauth/**",
            "/v1/users/*/apiKeys/**",
            "/v1/v1/clientSecrets"
        ]
    );
    assert!(noted(&draft, "guesses"));
}

#[test]
fn other_documents_are_told_apart() {
    let given = Given::default();
    let error = |document: Value| openapi(&document, &given).unwrap_err();
    for other in [json!({}), json!([]), json!(null), json!("openapi"), json!({"asyncapi": "2.0"})] {
        assert_eq!(error(other), ImportError::NotOpenApi);
    }
    assert_eq!(error(json!({"swaggerVersion": "1.2"})), ImportError::Version("1.2".into()));
    assert_eq!(error(json!({"openapi": "4.0"})), ImportError::Version("4.0".into()));
    assert!(matches!(error(json!({"swagger": 2.0})), ImportError::NoServer(_)), "YAML's number is taken");
}

#[test]
fn yaml_and_json_are_read_with_the_place_of_an_error() {
    let yaml = "swagger: '2.0'\nhost: api.acme.com\ninfo: &i {title: Acme}\nx: *i\npaths:\n  /a:\n    get:\n      responses:\n        200: {}\n";
    let document = parse(yaml).unwrap();
    assert_eq!(document["x"]["title"], "Acme");
    assert_eq!(document["paths"]["/a"]["get"]["responses"]["200"], json!({}));
    assert_eq!(parse("\u{feff} {\"a\": 1}").unwrap(), json!({"a": 1}));
    let error = parse("{\n  \"a\": nope\n}").unwrap_err();
    assert_eq!((error.line, error.column), (2, 9), "{error}");
    assert!(error.message.starts_with("this is not JSON: ") && !error.message.contains(" line "), "{error}");
    let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
    assert!(error.line >= 2 && error.message.starts_with("this is not YAML: "), "{error:?}");
    let error = parse("a: 1\nb: *nobody\n").unwrap_err();
    assert_eq!(error.line, 2, "{error:?}");
}

#[test]
fn a_few_lines_of_yaml_cannot_stand_for_terabytes() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let of = format!("*a{}, ", level - 1).repeat(9);
        bomb += &format!("a{level}: &a{level} [{}]\n", of.trim_end_matches(", "));
    }
    let began = std::time::Instant::now();
    assert!(parse(&bomb).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&format!("a: {}", "[".repeat(100_000))).is_err());
    assert!(parse(&"- ".repeat(100_000)).is_err());
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

fn metadata(more: Value) -> Value {
    let mut metadata = json!({
        "issuer": "https://id.acme.com/t1",
        "authorization_endpoint": "https://id.acme.com/t1/authorize",
        "token_endpoint": "https://id.acme.com/t1/token",
        "code_challenge_methods_supported": ["S256"],
    });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    metadata
}

fn discovered(more: Value) -> (Draft, App) {
    let draft =
        discovery(&metadata(more), "https://id.acme.com/t1", &Given::default()).unwrap_or_else(|e| panic!("{e}"));
    let app = check(&draft.definition, "t").unwrap();
    (draft, app)
}

#[test]
fn metadata_is_looked_for_where_both_standards_have_it() {
    let urls = |issuer: &str| discovery_urls(issuer).map(|urls| urls.into_iter().map(String::from).collect::<Vec<_>>());
    assert_eq!(
        urls("https://id.acme.com/t1/").unwrap(),
        [
            "https://id.acme.com/.well-known/oauth-authorization-server/t1",
            "https://id.acme.com/t1/.well-known/openid-configuration"
        ]
    );
    assert_eq!(
        urls("https://id.acme.com").unwrap(),
        [
            "https://id.acme.com/.well-known/oauth-authorization-server",
            "https://id.acme.com/.well-known/openid-configuration"
        ]
    );
    for bad in [
        "http://id.acme.com",
        "id.acme.com",
        "https://id.acme.com/?a",
        "https://id.acme.com/#a",
        "https://u:p@id.acme.com/",
        "",
    ] {
        assert!(matches!(urls(bad), Err(ImportError::Issuer(_))), "{bad}");
    }
}

#[test]
fn metadata_gives_an_oauth_table() {
    let (draft, app) = discovered(json!({
        "revocation_endpoint": "https://id.acme.com/t1/revoke",
        "introspection_endpoint": "https://id.acme.com/t1/introspect",
        "userinfo_endpoint": "https://id.acme.com/t1/me",
        "scopes_supported": ["openid", "email", "notes.read"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        "device_authorization_endpoint": "https://id.acme.com/t1/device",
        "authorization_response_iss_parameter_supported": true,
    }));
    let oauth = app.oauth.as_ref().unwrap();
    assert_eq!(oauth.issuer.as_deref(), Some("https://id.acme.com/t1"));
    assert!(oauth.require_iss && oauth.pkce && oauth.device.is_some() && oauth.revocation.is_some());
    assert_eq!(oauth.client_auth, crate::apps::ClientAuth::Body);
    assert_eq!((oauth.scopes.join(" "), oauth.userinfo.is_some()), ("openid email".into(), true));
    assert!(noted(&draft, "notes.read") && noted(&draft, "which API takes them"), "{:?}", draft.notes);
    assert_eq!(hosts(&app), ["id.acme.com"]);
    for path in ["/t1/introspect", "/t1/token", "/t1/revoke"] {
        let url = format!("https://id.acme.com{path}").parse().unwrap();
        assert!(app.denied(&http::Method::POST, &url).is_some(), "{path}");
    }
}

#[test]
fn what_a_server_does_not_say_has_the_meaning_of_the_standards() {
    let (draft, app) = discovered(json!({"code_challenge_methods_supported": null}));
    assert!(app.oauth.unwrap().pkce && noted(&draft, "PKCE"));
    let (draft, app) = discovered(json!({"code_challenge_methods_supported": ["plain"]}));
    assert!(!app.oauth.unwrap().pkce && noted(&draft, "S256"));
    let (_, app) = discovered(json!({"grant_types_supported": ["client_credentials"]}));
    assert_eq!(app.oauth.unwrap().flow, Flow::ClientCredentials);
    let (draft, _) = discovered(json!({"token_endpoint_auth_methods_supported": ["none"]}));
    assert!(noted(&draft, "--public"));
}

#[test]
fn metadata_that_nobody_can_connect_by_is_a_reason() {
    let error =
        |more: Value| discovery(&metadata(more), "https://id.acme.com/t1", &Given::default()).unwrap_err().to_string();
    for (more, part) in [
        (json!({"issuer": "https://id.acme.com/t2"}), "of the issuer 'https://id.acme.com/t2'"),
        (json!({"issuer": "https://id.acme.com/t1/"}), "as it is written"),
        (json!({"issuer": null}), "no issuer"),
        (json!({"token_endpoint": null}), "no token_endpoint"),
        (json!({"token_endpoint": "http://id.acme.com/token"}), "no token_endpoint"),
        (json!({"authorization_endpoint": null}), "no authorization_endpoint"),
        (json!({"grant_types_supported": ["implicit"]}), "one of the grants implicit"),
        (json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}), "private_key_jwt"),
        (json!({"token_endpoint": "https://10.0.0.1/token"}), "not allowed"),
    ] {
        let error = error(more);
        assert!(error.contains(part), "{error}");
    }
}

/// Values such as a document has, in places where it does not have them.
fn value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "/",
        "https://api.acme.com/{a}",
        "https://{a}.{b}.acme.com:{c}/{d}",
        "{a}",
        "{",
        "}",
        "{}://{}",
        "//x",
        "http",
        "bearer",
        "basic",
        "oauth2",
        "apiKey",
        "header",
        "query",
        "cookie",
        "Authorization",
        "#/components/securitySchemes/a",
        "a b\n\u{0}\"'''\\",
        "é\u{202e}",
        "https://acme.com/token",
        "3.0.0",
        "2.0",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "openapi",
        "swagger",
        "servers",
        "url",
        "variables",
        "a",
        "b",
        "c",
        "d",
        "enum",
        "default",
        "components",
        "securitySchemes",
        "securityDefinitions",
        "security",
        "type",
        "scheme",
        "in",
        "name",
        "flows",
        "flow",
        "authorizationCode",
        "tokenUrl",
        "authorizationUrl",
        "scopes",
        "paths",
        "/oauth/{x",
        "get",
        "parameters",
        "$ref",
        "info",
        "title",
        "x-origin",
        "x-providerName",
        "host",
        "basePath",
        "schemes",
        "issuer",
        "token_endpoint",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

/// Every place in a document.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{}", escaped(key)), into))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| pointers(value, &format!("{at}/{n}"), into))
        }
        _ => {}
    }
}

/// A document that has something of everything.
fn full() -> Value {
    let flow =
        json!({"authorizationUrl": "https://acme.com/a", "tokenUrl": "https://acme.com/t", "scopes": {"s": "x"}});
    json!({
        "openapi": "3.0.3", "info": {"title": "Acme", "x-providerName": "acme.com", "x-origin": [{"url": "https://acme.com/o.json"}]},
        "servers": [{"url": "https://{a}.{b}.acme.com:{c}/{d}", "variables": {"b": {"enum": ["x", "y"]}, "c": {"default": "443"}, "d": {"default": "v1"}}}],
        "paths": {"/oauth/{x}": {"get": {"security": [{"a": [], "b": []}], "parameters": [{"in": "header", "name": "token"}]}}},
        "components": {"securitySchemes": {"a": {"type": "oauth2", "flows": {"authorizationCode": flow}}, "b": {"type": "apiKey", "in": "query", "name": "k"}}},
        "security": [{"a": []}],
    })
}

fn survives(document: &Value) -> Result<(), TestCaseError> {
    let base = Some("https://acme.com/docs/".parse().unwrap());
    for given in [Given::default(), Given { document: base, ..Given::default() }] {
        match openapi(document, &given) {
            Ok(draft) => prop_assert!(check(&draft.definition, "t").is_ok()),
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control), "{error}"),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_document_is_too_odd(document in value()) {
        survives(&document)?;
        let _ = discovery(&document, "https://id.acme.com/t1", &Given::default());
    }

    #[test]
    fn no_change_to_a_document_is_too_odd(at in any::<prop::sample::Index>(), change in value()) {
        let mut document = full();
        let mut places = Vec::new();
        pointers(&document, "", &mut places);
        *document.pointer_mut(at.get::<String>(&places)).unwrap() = change;
        survives(&document)?;
    }

    #[test]
    fn no_text_is_too_odd(text in ".{0,200}", cut in any::<prop::sample::Index>()) {
        let _ = parse(&text);
        let whole = full().to_string();
        let _ = parse(&whole[..cut.index(whole.len())]);
        let _ = parse(&format!("a: &x [*x, {text}]"));
    }
}
