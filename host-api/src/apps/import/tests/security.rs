use super::*;

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
    for path in ["token", "token/"] {
        let url = format!("https://api.acme.com/{path}").parse().unwrap();
        assert!(app.denied(&http::Method::POST, &url).is_some(), "steps get no token at {path}");
    }
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
    // Of two that are used alike, the one that a member connects.
    let flow = json!({"authorizationUrl": "https://acme.com/a", "tokenUrl": "https://acme.com/t", "scopes": {}});
    let (_, app) = drafted(json!({"security": [{"x": []}, {"y": []}, {"z": []}], "components": {"securitySchemes": {
        "x": {"type": "oauth2", "flows": {"clientCredentials": flow}}, "y": {"type": "oauth2", "flows": {"authorizationCode": flow}},
        "z": {"type": "http", "scheme": "basic"}}}}));
    assert_eq!(app.oauth.unwrap().flow, Flow::Member);
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
