//! E2: what a step could win by signatures that an account's keys make.

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::SignableBody;
use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::{Broker, Egress, MARKER, Session};
use keyhole_tests::aws::{Key, Signed, verify};
use keyhole_tests::host::{Answer, Host, audit_text, scope, send};
use keyhole_tests::server::{Authority, Received, Server, answer, json};
use serde_json::json;

use crate::rig::*;

const REAL: Key<'_> = Key { id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
const BUCKET: &str = "notes.s3.eu-west-3.amazonaws.com";
const QUEUE: &str = "sqs.eu-west-3.amazonaws.com";
const STS: &str = "sts.eu-west-3.amazonaws.com";
const OTHER_REGION: &str = "notes.s3.us-east-1.amazonaws.com";

/// Alice's account at AWS, and one run of hers.
struct Cloud {
    host: Host,
    server: Server,
    broker: std::sync::Arc<Broker>,
    account: AccountId,
    session: std::sync::Arc<Session>,
    id: String,
    secret: String,
}

/// What a step has signed, and then sends.
struct Request<'r> {
    method: &'r str,
    host: &'r str,
    target: &'r str,
    service: &'r str,
    region: &'r str,
    body: &'r str,
    headers: Vec<(String, String)>,
    age: Duration,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            method: "PUT",
            host: BUCKET,
            target: "/a%20note?x=1",
            service: "s3",
            region: "eu-west-3",
            body: "hello",
            headers: vec![("x-amz-meta-kind".to_owned(), "a  note".to_owned())],
            age: Duration::ZERO,
        }
    }
}

impl Cloud {
    async fn new() -> Self {
        let authority = Authority::default();
        let hosts = [BUCKET, QUEUE, STS, OTHER_REGION];
        let server = Server::http(&authority, &hosts, |request: &Received| {
            if request.header("host") == Some(STS) {
                return match verify(request, STS, REAL) {
                    Ok(_) => json(
                        200,
                        &json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": {"UserId": "AIDA"}}}),
                    ),
                    Err(_) => json(403, &json!({"Error": {"Code": "SignatureDoesNotMatch"}})),
                };
            }
            let shown = request.header("authorization").unwrap_or_default().to_owned();
            answer(200, "text/plain", format!("{shown} {}", REAL.secret))
        });
        let host = Host::new().await;
        let broker = host.broker(&authority, &hosts.map(|name| (name, &server)), Egress::default());
        let fields = [("region", "eu-west-3"), ("access_key_id", REAL.id), ("secret_access_key", REAL.secret)];
        let account = host.connect("alice", "aws", &fields).await;
        let session = broker.session(scope("alice", &[("aws", "aws", Some(&account))]));
        let injected = session.account("aws").await.expect("the account");
        let of = |name: &str| injected.auth.iter().find(|field| field.name == name).expect("a field").value.clone();
        let (id, secret) = (of("access_key_id"), of("secret_access_key"));
        // As code knows them that was written elsewhere.
        assert_eq!((of("accessKeyId"), of("secretAccessKey")), (id.clone(), secret.clone()));
        assert!(id.starts_with("AKIAkhp1") && secret.starts_with(MARKER) && secret.len() == 40, "{id} {secret}");
        Self { host, server, broker, account, session, id, secret }
    }

    fn key(&self) -> Key<'_> {
        Key { id: &self.id, secret: &self.secret }
    }

    /// The request as an SDK signs it with `key`.
    fn signed(&self, request: &Request<'_>, key: Key<'_>) -> Vec<(String, String)> {
        let made = Signed {
            method: request.method,
            url: &format!("https://{}{}", request.host, request.target),
            service: request.service,
            region: request.region,
            headers: &request.headers,
            body: SignableBody::Bytes(request.body.as_bytes()),
            time: SystemTime::now() - request.age,
        };
        request.headers.iter().cloned().chain(made.by(key)).collect()
    }

    async fn send(
        &self,
        sent: &Request<'_>,
        headers: &[(String, String)],
    ) -> Result<Answer, keyhole_host_api::broker::SendError> {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let url = format!("https://{}{}", sent.host, sent.target);
        send(&self.session, request(sent.method, &url, &headers, sent.body)).await
    }

    /// Signs with the placeholders, and sends.
    async fn call(&self, request: &Request<'_>) -> Result<Answer, keyhole_host_api::broker::SendError> {
        self.send(request, &self.signed(request, self.key())).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_signature_made_with_placeholders_is_made_again_for_the_accounts_own_services() {
    let cloud = Cloud::new().await;
    let sqs = Request { host: QUEUE, service: "sqs", method: "POST", target: "/", body: "{}", ..Request::default() };
    for request in [Request::default(), sqs] {
        let answer = cloud.call(&request).await.expect("it is sent");
        let text = seen(&answer);
        assert!(!text.contains(REAL.id) && !text.contains(REAL.secret), "both are taken out of the answer: {text}");
        assert!(text.contains(&cloud.id) && text.contains(&cloud.secret), "{text}");
        let received = cloud.server.received().pop().expect("it arrived");
        let scope = verify(&received, request.host, REAL).expect("the signature that the real key makes");
        assert_eq!(scope, format!("eu-west-3/{}", request.service));
        assert_eq!(received.body, request.body.as_bytes());
        assert!(!format!("{received:?}").contains(MARKER), "no placeholder left");
    }
    let audit = audit_text(cloud.broker.audit()).await;
    assert!(!audit.contains(MARKER) && !audit.contains(REAL.id) && !audit.contains("Signature"), "{audit}");
}

/// `accounts test`, and the test before an account is stored: a request that the host signs and no step can send.
#[tokio::test(flavor = "multi_thread")]
async fn e2_whose_the_keys_are_is_asked_by_the_host_alone() {
    let cloud = Cloud::new().await;
    let account =
        cloud.host.accounts.usable(&cloud.account, &keyhole_tests::host::member("alice")).await.expect("hers");
    let app = cloud.host.accounts.catalog().get("aws").expect("the app").clone();
    let secret = |secret: &str| keyhole_host_api::vault::Secret::new(secret.to_owned());
    let mut secrets = std::collections::BTreeMap::from([
        ("access_key_id".to_owned(), secret(REAL.id)),
        ("secret_access_key".to_owned(), secret(REAL.secret)),
    ]);
    let found =
        cloud.broker.oauth().test(&app, &account.plain, &secrets).await.expect("AWS says").expect("it is asked");
    assert_eq!(found.uid.as_deref(), Some("AIDA"));
    let received = cloud.server.received().pop().expect("it arrived");
    assert_eq!(verify(&received, STS, REAL).as_deref(), Ok("eu-west-3/sts"));
    secrets.insert("secret_access_key".to_owned(), secret("another secret, which makes other signatures"));
    let error = cloud.broker.oauth().test(&app, &account.plain, &secrets).await.expect_err("another key").to_string();
    assert!(error.contains("answered 403: SignatureDoesNotMatch"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_nothing_is_signed_for_another_service_region_host_or_time() {
    let cloud = Cloud::new().await;
    let of = Request::default;
    let minute = Duration::from_secs(60);
    let table = [
        // Where temporary credentials are given out.
        (Request { host: STS, service: "sts", ..of() }, "aws credentials don't go to sts.eu-west-3.amazonaws.com"),
        (Request { service: "sts", ..of() }, "is for the service sts; this account's requests are signed for: athena,"),
        (Request { service: "iam", ..of() }, "is for the service iam"),
        // A service of the account's at the host of another.
        (Request { service: "sqs", ..of() }, "sqs is not at notes.s3.eu-west-3.amazonaws.com"),
        (Request { host: OTHER_REGION, region: "us-east-1", ..of() }, "credentials don't go to notes.s3.us-east-1"),
        (Request { region: "us-east-1", ..of() }, "for the region us-east-1, and this account is for eu-west-3"),
        (Request { host: EVIL, ..of() }, "aws credentials don't go to evil.example"),
        (Request { age: 6 * minute, ..of() }, "more than five minutes from now"),
    ];
    for (request, expected) in &table {
        let reason = refused(expected, cloud.call(request).await);
        assert!(reason.contains(expected), "{reason}");
        assert!(!reason.contains(MARKER), "{reason}");
    }
    assert!(cloud.server.received().is_empty(), "nothing left");
    cloud.broker.settle().await.expect("the audit is written");
    Scene::all_refused(&cloud.broker.audit().uses(None).await.expect("the audit"), table.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_signature_that_is_not_over_this_request_is_not_made_again() {
    let cloud = Cloud::new().await;
    let good = Request::default();
    let headers = cloud.signed(&good, cloud.key());
    let with = |name: &str, value: &str| {
        let mut headers = headers.clone();
        let found = headers.iter_mut().find(|(named, _)| named == name).expect("the header");
        found.1 = value.to_owned();
        headers
    };
    let authorization = &headers.iter().find(|(name, _)| name == "authorization").expect("a signature").1;
    let other_key = cloud.signed(&good, Key { id: &cloud.id, secret: "a guess" });
    let guessed_id = cloud.signed(&good, Key { id: &cloud.secret, secret: &cloud.secret });
    let cut = authorization.replace("host;", "");
    let no_form = authorization.replace("SignedHeaders", "Headers");
    let over = "not the one that this account's placeholders make over this request";
    let table = [
        (other_key, over),
        (guessed_id, "names another access key"),
        (with("x-amz-meta-kind", "another note"), over),
        (with("authorization", &cut), "does not cover the host"),
        (with("authorization", &no_form), "is no AWS4-HMAC-SHA256 signature"),
        (with("x-amz-content-sha256", &"0".repeat(64)), "the body is not the one"),
        (with("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-EVENTS"), "which is not signed again"),
        (with("authorization", &format!("Bearer {}", cloud.id)), "goes in: the signature that an AWS SDK makes"),
        (with("authorization", &format!("Bearer {}", cloud.secret)), "goes in: the signature that an AWS SDK makes"),
    ];
    for (headers, expected) in table {
        let reason = refused(expected, cloud.send(&good, &headers).await);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let elsewhere = Request { target: "/another", ..Request::default() };
    let reason = refused("another path", cloud.send(&elsewhere, &headers).await);
    assert!(reason.contains(over), "{reason}");
    // A URL that works for whoever has it.
    let target = format!(
        "/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F20260301%2Feu-west-3%2Fs3%2Faws4_request&X-Amz-Signature=00",
        cloud.id
    );
    let presigned = Request { method: "GET", target: &target, body: "", ..Request::default() };
    let reason = refused("a presigned URL", cloud.send(&presigned, &[]).await);
    assert!(reason.contains("as in a presigned URL; such URLs are not made"), "{reason}");
    assert!(cloud.server.received().is_empty(), "nothing left");

    // Revoked: what is signed rightly is not made again either.
    cloud.host.accounts.delete(&keyhole_tests::host::member("alice"), &cloud.account).await.expect("it is deleted");
    refused("a deleted account", cloud.send(&good, &headers).await);
    assert!(cloud.server.received().is_empty());
}
