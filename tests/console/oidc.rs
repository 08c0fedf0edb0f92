//! Signing in with an OpenID provider: oidc-provider, in the person's own browser.

use std::sync::Arc;

use keyhole_tests::oidc::Oidc;
use keyhole_tests::program::Keyhole;
use keyhole_tests::served::Served;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::hostile::{evil, unharmed};
use crate::house::{deploy_as, request, sign_in_link};
use crate::secrets::secret;
use crate::visit::send;

/// Where the browser and the provider find Keyhole.
const PUBLIC: &str = "https://keyhole.example";
/// The provider.
const ISSUER: &str = "https://auth.acme.example";
/// What proves to it that Keyhole asks.
const SECRET: &str = "keyhole-sign-in-secret-4f1b7c2e9d";

const SETTINGS: &str = r#"
[sign_in.oidc]
issuer = "https://auth.acme.example"
client_id = "keyhole-sign-in"
client_secret_file = "oidc.secret"
label = "Acme"
roles = { "keyhole admins" = "admin", staff = "member" }
"#;

/// A Keyhole with the admin root, whose members sign in with the provider, and browsers that find both.
struct House {
    served: Served,
    browser: Arc<Browser>,
    /// Someone who changes what the provider says.
    desk: Page,
    service: Option<Oidc>,
    _dir: tempfile::TempDir,
}

impl House {
    /// None where there is no Chromium.
    fn new(settings: &str) -> Option<Self> {
        Self::with(settings, true)
    }

    fn with(settings: &str, up: bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut keyhole = Keyhole::default();
        let service = up.then(|| Oidc::start(&keyhole.authority, dir.path()));
        // Nobody listens on port 1.
        let at = service.as_ref().map_or(1, |service| service.port);
        keyhole.lead_to("auth.acme.example", at);
        keyhole.call(&["members", "add", "root", "--role", "admin"]).ok();
        keyhole.member("bob");
        let (certificate, key) = keyhole.authority.issue_pem(&["keyhole.example"]);
        for (name, text) in [
            ("keyhole.pem", &*certificate),
            ("keyhole.key", &*key),
            ("oidc.secret", secret(SECRET)),
            ("config.toml", settings),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (cert, key, config) = (path("keyhole.pem"), path("keyhole.key"), path("config.toml"));
        keyhole.call(&["--config", &config, "config", "check"]).ok();
        let flags = ["--tls-cert", &cert, "--tls-key", &key, "--public-url", PUBLIC, "--config", &config];
        let served = Served::on(keyhole, &flags);
        let port = served.url.rsplit(':').next().unwrap().parse().unwrap();
        let browser = Browser::leading(&[("keyhole.example", port), ("auth.acme.example", at)])?;
        let desk = browser.person(ISSUER, &json!({}));
        if up {
            desk.open("/test/counters");
        }
        Some(Self { served, browser, desk, service, _dir: dir })
    }

    /// From now on the provider says this of people.
    fn people(&self, people: &Value) {
        self.tell("people", people);
    }

    fn tell(&self, what: &str, value: &Value) {
        let body = json!(value.to_string());
        let script =
            format!("fetch('/test/{what}', {{ method: 'POST', body: {body} }}).then((answer) => answer.status)");
        assert_eq!(self.desk.evaluate(&script), 200);
    }

    /// Somebody who goes to the provider from the sign-in page and says there who they are.
    #[track_caller]
    fn comes_as(&self, name: &str) -> Page {
        let page = self.browser.person(PUBLIC, &json!({}));
        page.open("/sign-in");
        page.follow("Sign in with Acme");
        says(&page, name);
        page
    }

    /// The tokens that the provider gave Keyhole, asked for where no browser sees it.
    async fn given(&self) -> Vec<String> {
        let at = self.service.as_ref().expect("the provider is up").port;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trusted = reqwest::Certificate::from_pem(self.served.keyhole.authority.pem.as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]);
        let client = client.resolve("auth.acme.example", ([127, 0, 0, 1], at).into()).build().unwrap();
        let told = send(client.get(format!("{ISSUER}:{at}/test/tokens"))).await.text;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let given: Vec<String> = serde_json::from_value(told["given"].clone()).expect("tokens");
        assert!(given.iter().any(|token| told["taken"] == **token), "{told}");
        given
    }

    fn role(&self, member: &str) -> Value {
        let members = self.served.keyhole.call(&["--json", "members", "list"]).ok().json();
        let all = members.as_array().expect("a list");
        all.iter().find(|one| one["name"] == member).map_or(Value::Null, |one| one["role"].clone())
    }
}

/// Signs in at the provider.
#[track_caller]
fn says(page: &Page, name: &str) {
    page.arrives("^https://auth.acme.example/interaction/");
    page.fill_at("input[name=login]", name);
    page.fill_at("input[name=password]", "x");
    page.press_button("Sign-in");
    page.press_button("Continue");
    page.arrives("^https://keyhole.example/");
}

/// The state of the attempt that the page began last.
fn state(page: &Page) -> String {
    let led = page
        .answers()
        .into_iter()
        .rev()
        .find(|answer| answer.url.contains("/sign-in/oidc?") || answer.url.ends_with("/sign-in/oidc"));
    let led = led.expect("it was led away").headers["location"].as_str().expect("an address").to_owned();
    let url = url::Url::parse(&led).expect("an address");
    url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned()
}

#[test]
fn a_person_signs_in_by_their_groups_and_the_role_follows_them() {
    let Some(house) = House::new(SETTINGS) else { return };
    house.people(&json!({"ann": {"groups": ["staff", "chess"]}, "eve": {"groups": ["chess"]}}));
    let ann = house.browser.person(PUBLIC, &json!({}));
    ann.open("/runs?status=failed");
    ann.arrives("/sign-in\\?next=");
    ann.judge("signing in with a provider");
    ann.follow("Sign in with Acme");
    says(&ann, "ann");
    ann.arrives("^https://keyhole.example/runs\\?status=failed$");
    assert_eq!(house.role("ann"), "member");
    ann.open("/settings");
    ann.sees("You sign in with Acme as");
    ann.sees("ann@acme.example");
    ann.judge("settings of who signs in with a provider");
    let cookies: Vec<Value> = ann.cookies().iter().filter(|one| one["domain"] == "keyhole.example").cloned().collect();
    assert_eq!(cookies.len(), 1, "what was needed on the way is gone: {cookies:?}");
    assert_eq!((&cookies[0]["name"], &cookies[0]["httpOnly"]), (&json!("__Host-keyhole"), &json!(true)));

    // Who is in no group of ours is told, and nobody.
    let eve = house.comes_as("eve");
    eve.sees("you are in no group of Acme that may use Keyhole");
    eve.judge("a sign-in that came to nothing");
    assert_eq!(house.role("eve"), Value::Null);
    eve.open("/accounts");
    eve.arrives("/sign-in\\?next=");

    // Other groups, another role: from the next sign-in on. The name at the provider counts no more.
    let again = || {
        ann.open("/accounts");
        ann.press_button("Sign out");
        ann.arrives("/sign-in$");
        ann.follow("Sign in with Acme");
    };
    house.people(&json!({"ann": {"groups": ["keyhole admins"], "preferred_username": "root"}}));
    again();
    ann.arrives("^https://keyhole.example/accounts$");
    assert_eq!(house.role("ann"), "admin");
    house.tell("knobs", &json!({"sparse": true}));
    house.people(&json!({"ann": {"groups": ["staff"]}}));
    again();
    ann.arrives("^https://keyhole.example/accounts$");
    assert_eq!(house.role("ann"), "member", "userinfo says it where the token does not");
    house.people(&json!({"ann": {"groups": []}}));
    again();
    ann.sees("you are in no group of Acme");
    assert_eq!(ann.count("link", Some("Sign in with Acme")), 1);

    // An admin forgets who somebody is there, and what they began with it is over.
    house.tell("knobs", &json!({}));
    house.people(&json!({"ann": {"groups": ["staff"]}}));
    ann.follow("Sign in with Acme");
    ann.arrives("^https://keyhole.example/accounts$");
    house.served.keyhole.call(&["members", "unbind", "ann"]).ok();
    ann.open("/accounts");
    ann.arrives("/sign-in\\?next=");
    ann.follow("Sign in with Acme");
    ann.sees("there is a member ann already");
    let ours = |complaint: &String| complaint.starts_with(PUBLIC);
    assert_eq!(ann.complaints().into_iter().filter(ours).collect::<Vec<_>>(), [""; 0]);
    let stored = house.served.keyhole.stored_bytes();
    assert!(!stored.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()));
}

#[test]
fn a_member_that_there_is_says_themselves_who_they_are_there() {
    let Some(house) = House::new(SETTINGS) else { return };
    house.people(&json!({"bob": {"groups": ["keyhole admins"]}, "robert": {"groups": ["staff"]}}));
    // Whoever is called bob there is not bob for that.
    let thief = house.comes_as("bob");
    thief.sees("there is a member bob already");

    let bob = house.browser.person(PUBLIC, &json!({}));
    bob.open(&sign_in_link(&house.served.keyhole, "bob"));
    bob.press_button("Sign in as bob");
    bob.open("/settings");
    bob.press_button("Connect Acme");
    bob.sees("signs in as bob");
    bob.judge("connecting a provider");
    bob.follow("Go to Acme");
    says(&bob, "robert");
    bob.arrives("/settings\\?done=oidc$");
    bob.sees("It is connected.");
    bob.sees("robert@acme.example");
    bob.press_button("Sign out");
    bob.follow("Sign in with Acme");
    bob.arrives("^https://keyhole.example/accounts$");
    assert_eq!(house.role("robert"), Value::Null);
    assert_eq!(house.role("bob"), "member");

    // They can undo it. What was begun with it is over, this session, too, and who they are there is nobody yet.
    bob.open("/settings");
    bob.press_button("Disconnect Acme");
    bob.arrives("/sign-in$");
    bob.follow("Sign in with Acme");
    bob.arrives("^https://keyhole.example/accounts$");
    assert_eq!(house.role("robert"), "member", "somebody new");
}

#[test]
fn nobody_is_signed_in_by_what_another_browser_began_nor_led_there_by_another_site() {
    let Some(house) = House::new(SETTINGS) else { return };
    house.people(&json!({"mallory": {"groups": ["staff"]}, "vic": {"groups": ["staff"]}}));
    let mallory = house.browser.person(PUBLIC, &json!({}));
    mallory.open("/sign-in");
    mallory.follow("Sign in with Acme");
    mallory.arrives("^https://auth.acme.example/interaction/");
    let theirs = state(&mallory);
    // The victim is sent to finish what mallory began, and would be mallory.
    let victim = house.browser.person(PUBLIC, &json!({}));
    assert_eq!(victim.open(&format!("/sign-in/oidc/callback?state={theirs}&code=anything&iss={ISSUER}")), 403);
    victim.sees("was not begun with this browser");
    victim.judge("a sign-in that another browser began");
    // Not with an attempt of the victim's own under way, either.
    victim.open("/sign-in");
    victim.follow("Sign in with Acme");
    let own = victim.arrives("^https://auth.acme.example/interaction/");
    victim.open(&format!("/sign-in/oidc/callback?state={theirs}&code=anything&iss={ISSUER}"));
    victim.sees("was not begun with this browser");
    victim.open("/accounts");
    victim.arrives("/sign-in\\?next=");

    // Nor is that attempt over by it.
    victim.open(&own);
    says(&victim, "vic");
    victim.arrives("^https://keyhole.example/accounts$");
    assert_eq!(house.role("vic"), "member");

    // And mallory can go on: whoever knew of it has not ended it.
    says(&mallory, "mallory");
    mallory.arrives("^https://keyhole.example/accounts$");
    // It is over then.
    assert_eq!(mallory.open(&format!("/sign-in/oidc/callback?state={theirs}&code=anything&iss={ISSUER}")), 403);
    mallory.sees("this sign-in is over");

    // From another site's page a link leads to the sign-in page alone.
    let led = house.browser.person(PUBLIC, &json!({}));
    led.open(&format!("{ISSUER}/test/counters"));
    led.evaluate(&format!("location.assign('{PUBLIC}/sign-in/oidc?next=//evil.example/'), 0"));
    led.arrives("^https://keyhole.example/sign-in/oidc");
    led.sees("Sign in to Keyhole");
    led.judge("a sign-in that a site led to");
    assert!(led.cookies().iter().all(|cookie| cookie["domain"] != "keyhole.example"), "nothing was begun");
}

#[test]
fn what_the_provider_says_of_an_error_is_text() {
    let Some(house) = House::new(SETTINGS) else { return };
    let ann = house.browser.person(PUBLIC, &json!({}));
    ann.open("/sign-in");
    ann.follow("Sign in with Acme");
    ann.arrives("^https://auth.acme.example/interaction/");
    let state = state(&ann);
    let said = "<img src=x onerror=alert(1)><b>no</b>";
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("state", &*state), ("error", "access_denied"), ("error_description", said)])
        .finish();
    assert_eq!(ann.open(&format!("/sign-in/oidc/callback?{query}")), 403);
    ann.sees(said);
    assert_eq!(ann.evaluate("document.querySelectorAll('main img, main b').length"), 0);
    // What it says of a person, too.
    let email = evil("evil-email");
    house.people(&json!({"ann": {"groups": ["staff"], "email": email, "name": evil("evil-name")}}));
    let known = house.comes_as("ann");
    known.open("/settings");
    known.sees("evil-email");
    unharmed(&known, "settings of who signs in with a provider");
    house.people(&json!({"eve": {"groups": ["staff"], "preferred_username": evil("evil-username")}}));
    let eve = house.comes_as("eve");
    eve.sees("evil-username");
    unharmed(&eve, "a name that is none");
    assert_eq!(house.role("eve"), Value::Null);
    // Who says no there is told so here.
    ann.follow("Sign in with Acme");
    ann.arrives("^https://auth.acme.example/interaction/");
    ann.follow("[ Cancel ]");
    ann.arrives("^https://keyhole.example/sign-in/oidc/callback");
    ann.sees("Acme did not allow it: access_denied");
}

#[test]
fn a_provider_that_is_down_keeps_nobody_from_anything_else() {
    let Some(house) = House::with(SETTINGS, false) else { return };
    let root = house.browser.person(PUBLIC, &json!({}));
    root.open("/sign-in");
    root.follow("Sign in with Acme");
    root.sees("Acme can't be asked");
    let (token, _) = house.served.token("root", &[]);
    root.fill("Or sign in with a token", &token);
    root.press_button("Sign in");
    root.arrives("/accounts$");
}

#[tokio::test]
async fn no_browser_gets_a_token_that_the_provider_gave_though_the_service_echoes_one() {
    let Some(house) = House::new(SETTINGS) else { return };
    house.people(&json!({"ann": {"groups": ["staff"]}}));
    let configure = ["apps", "configure", "notes", "--client-id", "keyhole", "--stdin"];
    house.served.keyhole.call_with(&configure, secret("keyhole-secret-4f1b7c2e9d")).ok();
    let ann = house.comes_as("ann");
    ann.open("/accounts/new/notes");
    ann.press_button("Go to Notes");
    ann.press_button("Continue");
    let at = ann.arrives("^https://keyhole.example/accounts/[^/?]+\\?done=connected$");
    let account = at.rsplit('/').next().and_then(|last| last.split('?').next()).expect("an id");
    let text = format!("keyhole = 1\nname = \"look\"\n{}", request("look", "account", account, "notes"));
    deploy_as(&house.served.keyhole, "ann", "look", &text);
    ann.open("/workflows/ann/look");
    ann.click_text("Run it now");
    ann.press_button("Run");
    ann.arrives("/runs/");
    ann.sees_button("Run again");
    let said = ann.evaluate("document.body.textContent");
    let label = "‹notes.oauth_access_token›";
    assert!(said.as_str().is_some_and(|said| said.contains(label)), "its label stands for it: {said}");
    // All that the browser got is searched as its page is closed.
    let given = house.given().await;
    // To sign in, and for the account: an access token and a refresh token each, or an ID token.
    assert!(given.len() >= 4, "{}", given.len());
    for token in given {
        assert!(secret(token.leak()).len() > 20);
    }
}
