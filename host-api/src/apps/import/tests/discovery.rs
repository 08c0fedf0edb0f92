use super::*;
use crate::apps::import::discovery;

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
