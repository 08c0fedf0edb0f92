//! The apps that people connect first, on the wire: what each vendor's server receives of a request as the account's
//! template has it. What is expected stands in here letter by letter, from the vendor's documentation and not from the
//! definition, so that a definition that is wrong is seen.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyhole_host_api::broker::Egress;
use keyhole_tests::host::{Host, request, scope, send};
use keyhole_tests::server::{Authority, Server, answer};

/// A step's own `Authorization`, made of a placeholder, in place of the template's.
type Own = fn(&str) -> String;

/// One account, one request with it, and what arrives.
struct Sent {
    app: &'static str,
    /// What the member enters.
    fields: &'static [(&'static str, &'static str)],
    own: Option<Own>,
    /// What the step asks for, below the template's base URL.
    path: &'static str,
    host: &'static str,
    target: &'static str,
    /// The header lines that say who asks, and for what.
    headers: &'static [&'static str],
}

/// What the host's client adds, where the app's definition has no such header.
const ADDED: [&str; 2] = ["accept-encoding: gzip, br, deflate", "accept: */*"];

const SENT: [Sent; 13] = [
    // https://docs.slack.dev/apis/web-api/#post-bodies
    Sent {
        app: "slack",
        fields: &[("oauth_access_token", "xoxb-1234567890-keyhole4Wq8ZtN2")],
        own: None,
        path: "conversations.list",
        host: "slack.com",
        target: "/api/conversations.list",
        headers: &["authorization: Bearer xoxb-1234567890-keyhole4Wq8ZtN2"],
    },
    // https://docs.github.com/en/rest/using-the-rest-api/getting-started-with-the-rest-api
    Sent {
        app: "github",
        fields: &[("oauth_access_token", "github_pat_11KEYHOLE_4Wq8ZtN2bVx6Rm")],
        own: None,
        path: "user/repos",
        host: "api.github.com",
        target: "/user/repos",
        headers: &[
            "authorization: Bearer github_pat_11KEYHOLE_4Wq8ZtN2bVx6Rm",
            "accept: application/vnd.github+json",
            "x-github-api-version: 2022-11-28",
            "user-agent: keyhole",
        ],
    },
    // The same of a classic token, as Octokit has it.
    Sent {
        app: "github",
        fields: &[("oauth_access_token", "ghp_keyhole4Wq8ZtN2bVx6RmT1sLp9")],
        own: Some(|token| format!("token {token}")),
        path: "user/repos",
        host: "api.github.com",
        target: "/user/repos",
        headers: &[
            "authorization: token ghp_keyhole4Wq8ZtN2bVx6RmT1sLp9",
            "accept: application/vnd.github+json",
            "x-github-api-version: 2022-11-28",
            "user-agent: keyhole",
        ],
    },
    // https://www.twilio.com/docs/sendgrid/for-developers/sending-email/authentication
    Sent {
        app: "sendgrid",
        fields: &[("api_key", "SG.keyhole4Wq8ZtN2.bVx6RmT1sLp9")],
        own: None,
        path: "templates",
        host: "api.sendgrid.com",
        target: "/v3/templates",
        headers: &["authorization: Bearer SG.keyhole4Wq8ZtN2.bVx6RmT1sLp9"],
    },
    // https://platform.openai.com/docs/api-reference/authentication
    Sent {
        app: "openai",
        fields: &[
            ("api_key", "sk-proj-keyhole4Wq8ZtN2bVx6Rm"),
            ("organization", "org-Keyhole4Wq8"),
            ("project", "proj_Keyhole4Wq8"),
        ],
        own: None,
        path: "models",
        host: "api.openai.com",
        target: "/v1/models",
        headers: &[
            "authorization: Bearer sk-proj-keyhole4Wq8ZtN2bVx6Rm",
            "openai-organization: org-Keyhole4Wq8",
            "openai-project: proj_Keyhole4Wq8",
        ],
    },
    // https://developers.notion.com/reference/authentication
    Sent {
        app: "notion",
        fields: &[("oauth_access_token", "ntn_keyhole4Wq8ZtN2bVx6Rm")],
        own: None,
        path: "users",
        host: "api.notion.com",
        target: "/v1/users",
        headers: &["authorization: Bearer ntn_keyhole4Wq8ZtN2bVx6Rm", "notion-version: 2022-06-28"],
    },
    // https://airtable.com/developers/web/api/authentication
    Sent {
        app: "airtable",
        fields: &[("oauth_access_token", "patKeyhole4Wq8ZtN.2bVx6RmT1sLp9")],
        own: None,
        path: "meta/bases",
        host: "api.airtable.com",
        target: "/v0/meta/bases",
        headers: &["authorization: Bearer patKeyhole4Wq8ZtN.2bVx6RmT1sLp9"],
    },
    // https://docs.stripe.com/api/authentication
    Sent {
        app: "stripe",
        fields: &[("api_key", "rk_test_keyhole4Wq8ZtN2bVx6Rm")],
        own: None,
        path: "v1/charges",
        host: "api.stripe.com",
        target: "/v1/charges",
        headers: &["authorization: Bearer rk_test_keyhole4Wq8ZtN2bVx6Rm"],
    },
    // The key as the user, and no password: `rk_test_keyhole4Wq8ZtN2bVx6Rm:`, as curl -u has it there.
    Sent {
        app: "stripe",
        fields: &[("api_key", "rk_test_keyhole4Wq8ZtN2bVx6Rm")],
        own: Some(|key| format!("Basic {}", STANDARD.encode(format!("{key}:")))),
        path: "v1/charges",
        host: "api.stripe.com",
        target: "/v1/charges",
        headers: &["authorization: Basic cmtfdGVzdF9rZXlob2xlNFdxOFp0TjJiVng2Um06"],
    },
    // https://www.twilio.com/docs/usage/requests-to-twilio: ACCOUNT_SID:AUTH_TOKEN
    Sent {
        app: "twilio",
        fields: &[
            ("account_sid", "AC0123456789abcdef0123456789abcdef"),
            ("auth_token", "fedcba9876543210fedcba9876543210"),
        ],
        own: None,
        path: "Messages.json",
        host: "api.twilio.com",
        target: "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json",
        headers: &[
            "authorization: Basic QUMwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjpmZWRjYmE5ODc2NTQzMjEwZmVkY2JhOTg3NjU0MzIxMA==",
        ],
    },
    // API_KEY_SID:API_KEY_SECRET, which come first where a member has entered both.
    Sent {
        app: "twilio",
        fields: &[
            ("account_sid", "AC0123456789abcdef0123456789abcdef"),
            ("auth_token", "fedcba9876543210fedcba9876543210"),
            ("api_key_sid", "SK89abcdef0123456789abcdef01234567"),
            ("api_key_secret", "kEyHoLe4Wq8ZtN2bVx6RmT1sLp9cD3fG"),
        ],
        own: None,
        path: "Messages.json",
        host: "api.twilio.com",
        target: "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json",
        headers: &[
            "authorization: Basic U0s4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2NzprRXlIb0xlNFdxOFp0TjJiVng2Um1UMXNMcDljRDNmRw==",
        ],
    },
    // https://documentation.mailgun.com/docs/mailgun/api-reference/mg-auth: api:YOUR_API_KEY
    Sent {
        app: "mailgun",
        fields: &[("api_key", "0123456789abcdef0123456789abcdef-01234567-89abcdef")],
        own: None,
        path: "acme.example/events",
        host: "api.mailgun.net",
        target: "/v3/acme.example/events",
        headers: &["authorization: Basic YXBpOjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmLTAxMjM0NTY3LTg5YWJjZGVm"],
    },
    // https://developer.zendesk.com/api-reference/introduction/security-and-auth/: EMAIL/token:API_TOKEN
    Sent {
        app: "zendesk",
        fields: &[
            ("subdomain", "acme"),
            ("email", "agent@acme.example"),
            ("api_token", "kEyHoLe4Wq8ZtN2bVx6RmT1sLp9cD3fGhJ5kM7n"),
        ],
        own: None,
        path: "tickets.json",
        host: "acme.zendesk.com",
        target: "/api/v2/tickets.json",
        headers: &[
            "authorization: Basic YWdlbnRAYWNtZS5leGFtcGxlL3Rva2VuOmtFeUhvTGU0V3E4WnROMmJWeDZSbVQxc0xwOWNEM2ZHaEo1a003bg==",
        ],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_vendor_receives_the_credential_as_its_documentation_has_it() {
    let (host, authority) = (Host::new().await, Authority::default());
    let server = Server::http(&authority, &SENT.map(|sent| sent.host), |_| answer(200, "application/json", "{}"));
    let broker = host.broker(&authority, &SENT.map(|sent| (sent.host, &server)), Egress::default());
    for Sent { app, fields, own, path, host: to, target, headers } in SENT {
        let account = host.connect("alice", app, fields).await;
        let session = broker.session(scope("alice", &[(app, app, Some(&account))]));
        let mut template = session.account(app).await.unwrap();
        let (_, authorization) =
            template.headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("authorization")).expect(app);
        if let Some(own) = own {
            *authorization = own(&template.auth.iter().find(|field| field.secret).expect(app).value);
        }
        // What the step holds is a placeholder, and not yet what arrives.
        assert!(!headers.contains(&format!("authorization: {authorization}").as_str()), "{app}");
        assert!(template.query.is_empty(), "{app}");

        let url = format!("{}{path}", template.base_url.expect(app));
        let lines: Vec<_> = template.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answered =
            send(&session, request("GET", &url, &lines, "")).await.unwrap_or_else(|no| panic!("{app}: {no}"));
        assert_eq!(answered.status, 200, "{app}");

        let received = server.received().pop().expect(app);
        assert_eq!((received.method.as_str(), received.target.as_str()), ("GET", target), "{app}");
        let mut seen: Vec<_> = received.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        seen.sort();
        let is_given = |line: &str| headers.iter().any(|given| given.split(':').next() == line.split(':').next());
        let added = ADDED.into_iter().filter(|line| !is_given(line)).map(str::to_owned);
        let mut expected: Vec<_> = headers.iter().map(|line| (*line).to_owned()).chain(added).collect();
        expected.push(format!("host: {to}"));
        expected.sort();
        assert_eq!(seen, expected, "{app}");
    }
    assert_eq!(server.received().len(), SENT.len());
}
