//! OAuth 1.0a: X's API, at a server that verifies with npm `oauth-1.0a`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use keyhole_host_api::accounts::Connect;
use keyhole_host_api::broker::{SendError, Session, Timeouts};
use keyhole_host_api::vault::Secret;
use serde_json::{Value, json};

use crate::connect::new;
use crate::house::who;

const TOKEN: &str = "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb";
const FIELDS: [(&str, &str); 4] = [
    ("consumer_key", "xvz1evFS4wEEPTGEFPHBog"),
    ("consumer_secret", "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw"),
    ("access_token", TOKEN),
    ("access_token_secret", "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE"),
];

async fn send(
    session: &Arc<Session>,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Result<(u16, Value), SendError> {
    let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = session.clone().send(request.body(body).unwrap(), Timeouts::default()).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_signed_over_its_query_and_its_form_where_the_step_put_the_placeholder() {
    let (_dir, _server, house) = new().await;
    let fields: BTreeMap<String, Secret> =
        FIELDS.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect();
    let given = Connect { app: "x".to_owned(), nickname: None, fields, custom: None };
    let prepared = house.accounts.prepare(given).unwrap();
    // Its test request is signed, too.
    let identity = house.oauth().test(&prepared.app, &prepared.plain, &prepared.secrets).await.unwrap().unwrap();
    assert_eq!((identity.uid.as_deref(), identity.nickname.as_deref()), (Some("370773112"), Some("ann")));
    let account = house.accounts.store(&who("alice"), prepared, identity.uid).await.unwrap().account;

    let session = house.session("alice", "x", &account.id);
    let injected = session.account("it").await.unwrap();
    let secrets: Vec<_> = injected.auth.iter().filter(|field| field.secret).collect();
    assert_eq!((secrets.len(), secrets[0].name.as_str()), (1, "access_token"), "no signing key is in $auth");
    let placeholder = secrets[0].value.clone();
    let marker = injected.headers.iter().find(|(name, _)| name == "authorization").unwrap().1.clone();
    assert_eq!(marker, format!("OAuth {placeholder}"));
    let library = format!(
        "OAuth oauth_consumer_key=\"x\", oauth_nonce=\"n\", oauth_signature=\"worthless\", oauth_token=\"{placeholder}\""
    );
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (method, target, more, body) in [
        ("GET", "users/me", None, ""),
        ("GET", "tweets/search/recent?query=caf%C3%A9%20%2B%20%28a%26b%29&max_results=10", None, ""),
        ("POST", "tweets", Some(("content-type", "application/json")), "{\"text\":\"hi\"}"),
        ("POST", "media/upload?x=1", Some(form), "status=Hello+Ladies+%2b+Gentlemen%2c&a=%25"),
    ] {
        for asked in [&marker, &library] {
            let headers: Vec<(&str, &str)> = [("authorization", asked.as_str())].into_iter().chain(more).collect();
            let (status, answer) =
                send(&session, method, &format!("https://api.x.com/2/{target}"), &headers, body).await.unwrap();
            assert_eq!((status, &answer["sent"]), (200, &json!(body)), "{method} {target}: {answer}");
            let shown = answer["header"].as_str().unwrap();
            assert!(shown.contains(&format!("oauth_token=\"{placeholder}\"")) && !shown.contains(TOKEN), "{shown}");
        }
    }
    let me = "https://api.x.com/2/users/me";
    for (headers, url, expected) in [
        (vec![("authorization", format!("Bearer {placeholder}"))], me, "goes in: the header authorization as 'OAuth"),
        (vec![("authorization", format!("OAuth oauth_consumer_key=\"{placeholder}\""))], me, "goes in: the header"),
        (vec![("x-token", marker.clone())], me, "the header x-token holds a credential of x"),
        (
            vec![("authorization", marker.clone())],
            "https://api.github.com/",
            "x credentials don't go to api.github.com",
        ),
        (
            vec![("authorization", marker.clone())],
            "https://api.x.com/oauth/access_token",
            "does not allow steps to call",
        ),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let refused = send(&session, "GET", url, &headers, "").await.unwrap_err();
        assert!(matches!(&refused, SendError::Refused(text) if text.contains(expected)), "{expected}: {refused}");
    }
}
