//! Connecting accounts through the pages: with a key, by OAuth and back, and without a script.

use keyhole_tests::oidc::Oidc;
use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::server::{Server, acme};
use serde_json::{Value, json};

use crate::audit::acts;
use crate::browser::Browser;
use crate::house::{deploy, enter, request, sign_in_link};
use crate::secrets::secret;
use crate::visit::{Visit, client, posting, send};
use crate::workflows::optional;

const WRONG: &str = "acme_live_aKeyThatNobodyGave000000";

/// Alice and bob, and the service.
fn workspace() -> (Served, Server) {
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    keyhole.member("alice");
    keyhole.member("bob");
    (Served::on(keyhole, &[]), server)
}

#[test]
fn a_person_connects_tests_renames_shares_and_deletes_an_account_with_a_key() {
    let Some(browser) = Browser::shared() else { return };
    let (served, server) = workspace();
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.sees("No accounts yet");
    alice.follow("Connect your first account");
    assert!(alice.text().contains("Slack"));
    alice.type_in("App", "acme");
    // The list follows what is typed, and so does the address.
    alice.arrives("/accounts/new\\?q=acme$");
    assert!(!alice.text().contains("Slack"));
    alice.follow("Acme");

    alice.fill("Nickname (optional)", "Acme of sales");
    alice.fill("API key", secret(WRONG));
    alice.press_button("Connect");
    alice.sees("the service does not take that");
    assert_eq!(alice.value("Nickname (optional)"), "Acme of sales");
    assert_eq!(alice.value("API key"), "", "a secret is not filled in again");
    alice.judge("a form with an error");
    assert!(!alice.evaluate("document.documentElement.outerHTML").to_string().contains(WRONG));
    alice.fill("API key", KEY);
    alice.press_button("Connect");
    let at = alice.arrives("/accounts/[^/?]+\\?done=connected$");
    alice.sees("The account is connected");
    assert_eq!(server.received().len(), 2, "each key was tried once");
    let account = at.rsplit_once('/').and_then(|(_, rest)| rest.split('?').next()).expect("an id").to_owned();
    let watch = request("look", "account", &account, "v1/me");
    deploy(&served.keyhole, "watch", &format!("keyhole = 1\nname = \"watch\"\n{watch}"));

    alice.click_text("Actions");
    alice.press_button("Test");
    alice.sees("It works: the service takes its credentials.");
    alice.judge("the result of a test");

    alice.click_text("Actions");
    alice.follow("Rename");
    assert_eq!(alice.value("Nickname"), "Acme of sales");
    alice.fill("Nickname", "Acme of support");
    alice.press_button("Rename");
    alice.sees("The account has its new nickname.");

    alice.click_text("Actions");
    alice.follow("Manage access");
    assert!(alice.is_chosen("radio", "Private"));
    alice.choose("Members by name");
    alice.tick("bob");
    alice.press_button("Save");
    alice.sees("Who may use it is changed.");
    let bob = enter(&browser, &served, "bob", &json!({}));
    bob.sees("Acme of support");
    bob.click_label("Actions for Acme of support");
    bob.press_button("Test");
    bob.sees("It works: the service takes its credentials.");
    bob.click_text("Actions");
    assert_eq!((bob.count("link", Some("Delete")), bob.count("link", Some("Rename"))), (0, 0));

    alice.follow("Accounts");
    alice.sees("1 workflow");
    alice.click_label("Actions for Acme of support");
    alice.follow("Delete");
    alice.sees("These workflows stop working:");
    alice.sees("alice/watch");
    alice.follow("Cancel");
    alice.click_text("Actions");
    alice.follow("Delete");
    alice.press_button("Delete the account");
    alice.sees("The account is deleted.");
    bob.open("/accounts");
    bob.sees("No accounts yet");
    assert_eq!(bob.open(&format!("/accounts/{account}")), 404);

    // Whoever knows better has it stored all the same, and nobody asks the service.
    alice.open("/accounts/new/acme");
    alice.fill("API key", WRONG);
    alice.press_button("Connect");
    alice.sees("the service does not take that");
    let asked = server.received().len();
    alice.fill("API key", WRONG);
    alice.tick("Store it all the same");
    alice.press_button("Connect");
    alice.sees("The account is connected");
    assert_eq!(server.received().len(), asked);

    // A key of several lines is hidden like one of a single line.
    alice.open("/accounts/new/app_store_connect");
    alice.fill("Private key", "-----BEGIN PRIVATE KEY-----");
    let shown = "getComputedStyle(document.querySelector('textarea')).webkitTextSecurity";
    assert_eq!(alice.evaluate(shown), "disc");
}

/// The address under which the browser and the service know Keyhole.
const PUBLIC: &str = "https://keyhole.example";

/// Served under [`PUBLIC`], where `notes` is an app that is set up.
fn behind_tls(dir: &std::path::Path) -> (Served, Oidc) {
    let mut keyhole = Keyhole::default();
    let service = Oidc::start(&keyhole.authority, dir);
    keyhole.lead_to("auth.acme.example", service.port);
    keyhole.member("alice");
    keyhole.member("bob");
    let (certificate, key) = keyhole.authority.issue_pem(&["keyhole.example"]);
    let (cert_file, key_file) = (dir.join("keyhole.pem"), dir.join("keyhole.key"));
    std::fs::write(&cert_file, certificate).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let (cert_file, key_file) = (cert_file.to_str().unwrap(), key_file.to_str().unwrap());
    let tls = ["--tls-cert", cert_file, "--tls-key", key_file, "--public-url", PUBLIC];
    (Served::on(keyhole, &tls), service)
}

/// The accounts as their owner sees them.
fn accounts(keyhole: &Keyhole, member: &str) -> Value {
    keyhole.call(&["--json", "accounts", "list", "--as", member]).ok().json()
}

#[test]
fn a_person_connects_by_oauth_and_comes_back_signed_in_to_the_accounts_page() {
    let dir = tempfile::tempdir().unwrap();
    let (served, service) = behind_tls(dir.path());
    let port = served.url.rsplit(':').next().unwrap().parse().unwrap();
    let hosts = [("keyhole.example", port), ("auth.acme.example", service.port)];
    let Some(browser) = Browser::leading(&hosts) else { return };

    let enter = |member: &str| {
        let page = browser.person(PUBLIC, &json!({}));
        page.open(&sign_in_link(&served.keyhole, member));
        page.press_button(&format!("Sign in as {member}"));
        page.arrives("/accounts$");
        page
    };
    let alice = enter("alice");
    // Whoever can set the app up is told how, and who can't is told whom to ask.
    alice.open("/accounts/new/notes");
    alice.sees("Notes is not set up yet.");
    for asked in ["https://keyhole.example/oauth/callback", "openid", "offline_access", "notes.read"] {
        alice.sees(asked);
    }
    let bob = enter("bob");
    bob.open("/accounts/new/notes");
    bob.sees("Ask alice.");
    assert_eq!(bob.count("button", Some("Go to Notes")), 0);
    let configure = ["apps", "configure", "notes", "--client-id", "keyhole", "--stdin"];
    served.keyhole.call_with(&configure, secret("keyhole-secret-4f1b7c2e9d")).ok();

    alice.reload();
    alice.press_button("Go to Notes");
    alice.arrives("^https://auth.acme.example/interaction/");
    alice.fill_at("input[name=login]", "ann");
    alice.fill_at("input[name=password]", "x");
    alice.press_button("Sign-in");
    alice.press_button("Continue");
    alice.arrives("^https://keyhole.example/accounts/[^/?]+\\?done=connected$");
    alice.sees("The account is connected");
    alice.sees("ann@acme.example");
    assert_eq!(alice.count("button", Some("Sign out")), 1, "signed in still");
    let session: Vec<String> = alice
        .cookies()
        .iter()
        .filter(|cookie| cookie["domain"] == "keyhole.example")
        .map(|cookie| format!("{} {} {} {}", cookie["name"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"]))
        .collect();
    assert_eq!(session, ["\"__Host-keyhole\" true true \"Lax\""], "what was needed on the way is gone");
    alice.click_text("Actions");
    alice.press_button("Test");
    alice.sees("It works: the service takes its credentials.");
    // The service forgets what it gave: what is renewed for that is in the account's history.
    let desk = browser.person("https://auth.acme.example", &json!({}));
    desk.open("/test/counters");
    assert_eq!(desk.evaluate("fetch('/test/forget', { method: 'POST' }).then((answer) => answer.status)"), 200);
    alice.click_text("Actions");
    alice.press_button("Test");
    alice.sees("It works: the service takes its credentials.");
    let connected = accounts(&served.keyhole, "alice");
    alice.open(&format!("{PUBLIC}/accounts/{}", connected[0]["id"].as_str().expect("an id")));
    alice.sees("access and refresh token renewed");
    assert_eq!((&connected[0]["owner"], &connected[0]["uid"]), (&json!("alice"), &json!("ann")), "{connected:#}");
    assert_eq!(connected[0]["access"], "private");

    // The same again, for the account that is there.
    alice.click_text("Actions");
    alice.follow("Reconnect");
    alice.press_button("Go to Notes");
    alice.press_button("Continue");
    alice.arrives("^https://keyhole.example/accounts/[^/?]+\\?done=reconnected$");
    alice.sees("The account is reconnected");
    let reconnected = accounts(&served.keyhole, "alice");
    assert_eq!((reconnected.as_array().map(Vec::len), &reconnected[0]["id"]), (Some(1), &connected[0]["id"]));

    // Who says no at the service is back, and told.
    alice.open("/accounts/new/notes?next=/apps/notes");
    alice.press_button("Go to Notes");
    alice.follow("[ Cancel ]");
    alice.arrives("^https://keyhole.example/");
    alice.sees("Nothing was connected");
    alice.judge("a connection that came to nothing");
    alice.sees("access_denied");
    assert_eq!(alice.count("button", Some("Sign out")), 1, "signed in still");
    alice.follow("Try again");
    alice.arrives("/accounts/new/notes\\?next=%2Fapps%2Fnotes$");
    alice.press_button("Go to Notes");
    alice.follow("[ Cancel ]");
    alice.follow("Back");
    alice.arrives("/apps/notes$");
    assert_eq!(accounts(&served.keyhole, "alice").as_array().map(Vec::len), Some(1));
    assert_eq!(accounts(&served.keyhole, "bob"), json!([]));

    // Who comes from a page is back there.
    alice.open("/accounts/new/notes?next=/apps/notes");
    alice.press_button("Go to Notes");
    alice.press_button("Continue");
    alice.arrives("^https://keyhole.example/apps/notes$");
    assert_eq!(accounts(&served.keyhole, "alice").as_array().map(Vec::len), Some(2));
    alice.open(&format!("/accounts/{}/reconnect?next=/accounts/new", connected[0]["id"].as_str().unwrap()));
    alice.press_button("Go to Notes");
    alice.press_button("Continue");
    alice.arrives("^https://keyhole.example/accounts/new$");

    // A service that can't be reached revokes nothing, and that is said.
    let account = connected[0]["id"].as_str().expect("an id");
    drop(service);
    alice.open(&format!("{PUBLIC}/accounts/{account}/delete"));
    alice.press_button("Delete the account");
    alice.sees("Deleted here, and not revoked");
    alice.judge("an account that was not revoked");
    assert_eq!(accounts(&served.keyhole, "alice").as_array().map(Vec::len), Some(1));
    let ours = |complaint: &String| complaint.starts_with(PUBLIC);
    assert_eq!(alice.complaints().into_iter().filter(ours).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn whoever_has_a_link_and_says_no_at_the_service_can_use_it_again_until_it_has_connected() {
    let dir = tempfile::tempdir().unwrap();
    let (served, service) = behind_tls(dir.path());
    let port = served.url.rsplit(':').next().unwrap().parse().unwrap();
    let hosts = [("keyhole.example", port), ("auth.acme.example", service.port)];
    let Some(browser) = Browser::leading(&hosts) else { return };

    // There is none for what can't be connected: who is sent it could do nothing about it.
    let make = ["--json", "accounts", "links", "create", "notes", "--as", "alice"];
    let refused = served.keyhole.call(&make).json_error();
    assert!(refused["message"].as_str().is_some_and(|said| said.contains("no OAuth client")), "{refused}");
    let configure = ["apps", "configure", "notes", "--client-id", "keyhole", "--stdin"];
    served.keyhole.call_with(&configure, secret("keyhole-secret-4f1b7c2e9d")).ok();
    let link = served.keyhole.call(&make).ok().json()["url"].as_str().unwrap().to_owned();
    let at = link.strip_prefix(PUBLIC).expect("an address of this Keyhole");

    let ann = browser.person(PUBLIC, &json!({}));
    ann.open(at);
    ann.sees("Go on only if you expected this.");
    ann.press_button("Go to Notes");
    ann.arrives("^https://auth.acme.example/interaction/");
    ann.fill_at("input[name=login]", "ann");
    ann.fill_at("input[name=password]", "x");
    ann.press_button("Sign-in");
    ann.follow("[ Cancel ]");
    ann.arrives("^https://keyhole.example/oauth/callback");
    ann.sees("access_denied");
    ann.sees("Your link is not used up. If you did not expect this, ask alice");
    ann.judge("a link that came to nothing");
    assert_eq!(accounts(&served.keyhole, "alice"), json!([]));

    // While an admin has taken the client away, it says whom to ask.
    served.keyhole.call(&["apps", "configure", "notes", "--forget"]).ok();
    ann.follow("Try again");
    ann.sees("Ask alice");
    assert!(!ann.text().contains("keyhole apps"), "{}", ann.text());
    served.keyhole.call_with(&configure, secret("keyhole-secret-4f1b7c2e9d")).ok();
    ann.reload();
    ann.press_button("Go to Notes");
    ann.press_button("Continue");
    ann.arrives("^https://keyhole.example/oauth/callback");
    ann.sees("now belongs to alice");
    assert_eq!(accounts(&served.keyhole, "alice").as_array().map(Vec::len), Some(1));
    assert_eq!(connecting_by_link(&served), ["refused", "allowed"]);
    assert_eq!(ann.open(at), 404, "it is used up");
}

#[tokio::test]
async fn a_wrong_secret_does_not_cost_a_link_and_the_right_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut keyhole = Keyhole::default();
    let service = Oidc::start(&keyhole.authority, dir.path());
    keyhole.lead_to("auth.acme.example", service.port);
    keyhole.member("alice");
    let served = Served::on(keyhole, &[]);
    let made = served.keyhole.call(&["--json", "accounts", "links", "create", "robot", "--as", "alice"]).ok().json();
    let link = made["url"].as_str().expect("an address").to_owned();
    let give = async |secret: &str| {
        send(posting(&client(1), &link, &[("client_id", "robot"), ("client_secret", secret)])).await
    };

    let refused = give("a-wrong-secret").await;
    assert_eq!(refused.status, 424, "{}", refused.text);
    for there in ["invalid_client", "name=\"client_secret\"", "value=\"robot\"", "ask alice"] {
        assert!(refused.text.contains(there), "no {there} in {}", refused.text);
    }
    assert!(!refused.text.contains("a-wrong-secret"), "a secret is not filled in again");
    assert_eq!(accounts(&served.keyhole, "alice"), json!([]));

    // Of two who have it right at once, one connects.
    let (one, other) = tokio::join!(give("robot-secret-4f1b7c2e9d"), give("robot-secret-4f1b7c2e9d"));
    let mut ended = [one.status, other.status];
    ended.sort_unstable();
    assert_eq!(ended, [200, 404], "{} {}", one.text, other.text);
    assert_eq!(accounts(&served.keyhole, "alice").as_array().map(Vec::len), Some(1));
    assert_eq!(give("robot-secret-4f1b7c2e9d").await.status, 404);
    assert_eq!(connecting_by_link(&served), ["allowed"]);
}

/// What the audit tells of connecting by a link: that somebody has it, and not that they are a member.
fn connecting_by_link(served: &Served) -> Vec<String> {
    let told = acts(served, &[]).into_iter().filter(|act| act["act"] == "accounts_connect");
    let decision = |act: Value| {
        assert!(act["by"].as_str().is_some_and(|by| by.starts_with("link ")) && act["member"].is_null(), "{act:#}");
        assert_eq!(act["about"], "alice");
        act["decision"].as_str().expect("a decision").to_owned()
    };
    told.map(decision).collect()
}

#[tokio::test]
async fn who_connects_goes_on_where_they_came_from_and_nowhere_else() {
    let (served, _server) = workspace();
    let alice = Visit::of(&served, "alice").await;
    let back = "/accounts/new/acme?next=%2Fworkflows%2Falice%2Forders%3Fpage%3D2";
    let page = alice.get(back).await;
    assert!(page.text.contains("href=\"/workflows/alice/orders?page=2\""), "Cancel leads there: {}", page.text);
    let connected = alice.post(back, &[("api_key", KEY)]).await;
    assert_eq!((connected.status, connected.header("location")), (303, "/workflows/alice/orders?page=2"));
    let account = accounts(&served.keyhole, "alice")[0]["id"].as_str().expect("an id").to_owned();
    let access = format!("/accounts/{account}/access");
    let again = alice.post(&format!("/accounts/{account}/reconnect?next={access}"), &[("api_key", KEY)]).await;
    assert_eq!((again.status, again.header("location")), (303, access.as_str()));
    for away in ["https://evil.example/", "//evil.example/", "/%5Cevil.example/", ""] {
        let away = format!("/accounts/{account}/reconnect?next={away}");
        let again = alice.post(&away, &[("api_key", KEY)]).await;
        assert_eq!(again.header("location"), format!("/accounts/{account}?done=reconnected"), "{away}");
        assert!(!alice.get(&away).await.text.contains("evil.example"), "{away}");
    }
    // Where a step is to have another account, that is what one comes back to.
    deploy(&served.keyhole, "fetch", &optional("fetch", &account));
    let workflow = alice.get("/workflows/alice/fetch").await;
    let connect = "/accounts/new/acme?next=%2Fworkflows%2Falice%2Ffetch";
    assert!(workflow.text.contains(&format!("href=\"{connect}\"")), "{}", workflow.text);
    let connected = alice.post(connect, &[("api_key", KEY), ("nickname", "Another")]).await;
    assert_eq!((connected.status, connected.header("location")), (303, "/workflows/alice/fetch"));
    assert!(alice.get("/workflows/alice/fetch").await.text.contains("Another"));
    // The way from the list of apps to one of them keeps it.
    let list = alice.get("/accounts/new?q=acme&next=%2Fworkflows").await;
    assert!(list.text.contains("href=\"/accounts/new/acme?next=%2Fworkflows\""), "{}", list.text);
}

#[test]
fn without_a_script_accounts_are_listed_and_one_is_connected() {
    let Some(browser) = Browser::shared() else { return };
    let (served, _server) = workspace();
    let alice = enter(&browser, &served, "alice", &json!({"javaScriptEnabled": false}));
    alice.follow("Connect your first account");
    alice.fill("App", "acme");
    alice.press_button("Search");
    alice.arrives("/accounts/new\\?q=acme$");
    alice.follow("Acme");
    alice.fill("Nickname (optional)", "Acme of sales");
    alice.fill("API key", KEY);
    alice.press_button("Connect");
    alice.sees("The account is connected");
    alice.follow("Accounts");
    alice.sees("Acme of sales");
    alice.fill("Search", "nothing is called this");
    alice.press_button("Search");
    alice.sees("0 accounts");
    alice.open("/accounts");
    alice.click_label("Actions for Acme of sales");
    alice.follow("Manage access");
    alice.choose("The whole workspace");
    alice.press_button("Save");
    alice.sees("Who may use it is changed.");
    assert_eq!(accounts(&served.keyhole, "alice")[0]["access"], "workspace");
}
