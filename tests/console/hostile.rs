//! Whatever members, steps and services write is text on every page; and what nobody may see is on none.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyhole_host_api::broker::MARKER;
use keyhole_tests::program::KEY;
use keyhole_tests::served::Served;
use serde_json::json;

use crate::browser::{Answered, Browser, Page};
use crate::house::{CLIENT_SECRET, House, Words, enter};
use crate::secrets::secret;
use crate::visit::{Visit, client, form, posting, send};

/// Markup, a script, what ends an attribute, and what turns the direction of a line; and a word to know it by.
pub fn evil(word: &str) -> String {
    format!("{word}<script>window.pwned=1</script>\"'&<img src=x onerror=window.pwned=1>\u{202e}")
}

/// Where the browser says that it comes from.
const AGENT: &str = "evil-agent\"'><script>window.pwned=1</script><img src=x onerror=window.pwned=1>";

/// What has text that turns the direction of a line, and does not keep it to itself; and of what one presses or reads first,
/// what goes on behind such text.
const TURNED: &str = r"[...document.querySelectorAll('body *')].filter((one) => {
  const texts = [...one.childNodes].filter((node) => node.nodeType === 3 && node.data.includes('\u202e'));
  if (texts.length === 0) return false;
  const goesOn = one.matches('h1, h2, a, button, summary, strong, label') && texts.some((node) => !node.data.trim().endsWith('\u202e'));
  return goesOn || getComputedStyle(one).unicodeBidi !== 'isolate';
}).map((one) => one.outerHTML.slice(0, 300))";

/// Nothing of it became an element, nothing of it ran, and what stands beside it reads as it did.
#[track_caller]
pub fn unharmed(page: &Page, path: &str) {
    assert!(page.evaluate("window.pwned").is_null(), "{path}: a script ran");
    let foreign = "document.querySelectorAll('script:not([src]), img, iframe, object, style, [onerror]').length";
    assert_eq!(page.evaluate(foreign), 0, "{path}: markup became elements");
    assert_eq!(page.evaluate(TURNED), json!([]), "{path}: what stands beside it is turned");
}

#[test]
fn markup_in_what_members_steps_and_services_write_is_text_on_every_page() {
    let Some(browser) = Browser::shared() else { return };
    let words = Words {
        nickname: evil("evil-nickname"),
        description: evil("evil-description"),
        event: evil("evil-event"),
        value: evil("evil-value"),
        failure: evil("evil-failure"),
        reason: evil("evil-reason"),
        token: evil("evil-token"),
        scope: evil("evil-scope"),
        uid: evil("evil-uid"),
        plain: evil("evil-plain"),
        path: evil("evil-path"),
        title: Some(evil("evil-title")),
    };
    let house = House::new(&words);
    // What it was called is in its history.
    for nickname in [&evil("evil-renamed"), &words.nickname] {
        house.served.keyhole.call(&["accounts", "rename", &house.healthy, nickname, "--as", "alice"]).ok();
    }
    let alice = house.alice(&browser, &json!({"userAgent": AGENT}));
    let query = "%3Cscript%3Ewindow.pwned=1%3C/script%3E%22'%3E%3Cimg%20src=x%20onerror=window.pwned=1%3E";
    let reflecting = [
        "/accounts?q=",
        "/accounts/new?q=",
        "/workflows?q=",
        "/runs?workflow=",
        "/runs?status=",
        "/runs?before=",
        "/members?q=",
        "/apps?q=",
        "/audit?account=",
        "/audit?run=",
        "/accounts/",
        "/runs/",
        "/workflows/alice/",
        "/apps/",
        "/oauth/callback?error=",
        "/sign-in/",
        "/connect/",
    ];
    let reflecting = reflecting.map(|before| format!("{before}{query}"));
    let mut all = String::new();
    for path in house.pages().into_iter().chain(reflecting) {
        alice.open(&path);
        unharmed(&alice, &path);
        all += alice.evaluate("document.documentElement.textContent").as_str().unwrap_or_default();
    }
    // It was there to be seen, and whole where it is no value of JSON, in which quotes are escaped.
    let words_of = ["nickname", "description", "event", "value", "failure", "reason", "token", "agent"];
    for word in words_of.into_iter().chain(["scope", "uid", "plain", "path", "title", "renamed"]) {
        assert!(all.contains(&format!("evil-{word}")), "evil-{word} is on no page");
    }
    for whole in [&words.nickname, &words.description, &words.failure, &words.token, &words.uid, &words.plain] {
        assert!(all.contains(whole.as_str()), "{whole} is on no page as it is");
    }
    // What a form gives back, and what another member sees.
    alice.open(&format!("/accounts/{}/name", house.healthy));
    assert_eq!(alice.value("Nickname"), words.nickname);
    alice.open("/members");
    alice.fill("Name", "<img src=x onerror=window.pwned=1>");
    alice.press_button("Add the member");
    alice.sees("cannot be a member's name");
    unharmed(&alice, "a name that is refused");
    alice.open("/workflows/alice/orders");
    alice.click_text("workflow.toml");
    let draft = format!("</textarea>{}", evil("evil-draft"));
    alice.fill("The file", &draft);
    alice.press_button("Deploy");
    alice.sees("What was given can't be taken");
    assert_eq!(alice.value("The file"), draft);
    unharmed(&alice, "a file that is refused");
    answers_to_posts(&alice, &house);
    let bob = enter(&browser, &house.served, "bob", &json!({}));
    bob.sees("evil-nickname");
    bob.open(&format!("/accounts/{}", house.healthy));
    unharmed(&bob, "bob's page of the account");
    bob.open(&format!("/sign-in?next={query}"));
    unharmed(&bob, "the page that asks to sign in");
    // A policy that had to refuse something would have been complained about.
    assert_eq!(alice.complaints(), [""; 0]);
    assert_eq!(bob.complaints(), [""; 0]);
}

/// What is answered to a form has what was typed, and what others said of it.
fn answers_to_posts(alice: &Page, house: &House) {
    alice.open("/accounts/new/custom");
    for label in ["What you call the service (optional)", "Hosts", "Name 1", "Value 1"] {
        alice.fill(label, &evil("evil-custom"));
    }
    // The browser sends nothing there that is no URL at all.
    alice.fill("Where requests start (optional)", &format!("https://api.acme.example/{}", evil("evil-custom")));
    alice.fill("Fields that are no secrets (optional)", &evil("evil-custom"));
    alice.press_button("Continue");
    alice.sees("What is wrong stands beside it.");
    unharmed(alice, "a service of one's own that is refused");
    for (label, text) in [
        ("What you call the service (optional)", evil("evil-custom").as_str()),
        ("Hosts", "api.acme.example"),
        ("Where requests start (optional)", ""),
        ("Name 1", "X-Key"),
        ("Value 1", "{key}"),
        ("Fields that are no secrets (optional)", ""),
    ] {
        alice.fill(label, text);
    }
    alice.press_button("Continue");
    alice.sees("Connect evil-custom");
    unharmed(alice, "a service of one's own that is described");

    let document = json!({
        "openapi": "3.0.0", "info": {"title": evil("evil-api"), "description": evil("evil-api"), "version": "1"}, "paths": {},
        "servers": [{"url": "https://api.weather-of-tests.com/v1", "description": evil("evil-api")}],
        "components": {"securitySchemes": {
            evil("evil-scheme"): {"type": "apiKey", "in": "header", "name": evil("evil-header"), "description": evil("evil-api")},
            "key": {"type": "http", "scheme": "bearer", "description": evil("evil-api")},
        }},
        "security": [{"key": []}, {evil("evil-scheme"): []}],
    });
    for (text, said) in [(evil("evil-api: ["), ", column "), (document.to_string(), "A draft of evil_api")] {
        alice.open("/apps/import");
        alice.fill("Or its text", &text);
        alice.press_button("Draft it");
        alice.sees(said);
        unharmed(alice, said);
    }
    assert!(alice.evaluate("document.body.textContent").as_str().is_some_and(|text| text.contains("evil-scheme")));
    an_app_that_is_added(alice);

    alice.open("/apps/notes");
    alice.fill("Client id", &evil("evil-client"));
    alice.press_button("Set the client");
    alice.sees("the client's secret is not given");
    unharmed(alice, "a client that is refused");
    alice.fill("Client secret", secret("evil-client-secret-4f1b7c2e9d"));
    alice.press_button("Set the client");
    alice.sees("The OAuth client is set");
    unharmed(alice, "a client that is set");
    for path in ["/apps", "/apps/notes/client/forget", "/audit?kind=act"] {
        alice.open(path);
        unharmed(alice, path);
    }

    // What a service says as it sends the browser back, which must be the one that left.
    alice.open("/accounts/new/notes");
    // As the form does, but that the browser stays here.
    let leave = "fetch('/accounts/new/notes', { method: 'POST',\
                 body: new URLSearchParams(new FormData(document.querySelector('form.card'))) }).then((answer) => answer.text())";
    let leads = alice.evaluate(leave);
    assert!(leads.as_str().is_some_and(|page| page.contains("https://auth.acme.example/")), "{leads}");
    let kept = alice.cookies();
    let kept = kept.iter().find(|cookie| cookie["name"] == "keyhole-connect").expect("it was led away");
    let state = kept["value"].as_str().and_then(|value| value.split('.').next()).expect("a state").to_owned();
    let described = evil("evil-said");
    let said = [("state", state.as_str()), ("error", "access_denied"), ("error_description", described.as_str())];
    alice.open(&format!("/oauth/callback?{}&iss=https%3A%2F%2Fauth.acme.example", form(&said)));
    alice.sees("evil-said");
    unharmed(alice, "what a service said");
    alice.open("/audit?kind=act&decision=refused");
    alice.sees("evil-said");
    unharmed(alice, "what a service said, in the audit");

    for path in [format!("/accounts/{}", house.healthy), format!("/accounts/{}", house.dead)] {
        alice.open(&path);
        alice.click_text("Actions");
        alice.press_button("Test");
        alice.arrives("/test$");
        unharmed(alice, "a test");
    }
    alice.open("/workflows/alice/orders");
    alice.click_text("Run it now");
    alice.fill("Event (JSON)", &evil("{evil-event"));
    alice.press_button("Run");
    alice.sees("the event is not JSON");
    unharmed(alice, "an event that is refused");
    alice.open("/settings");
    alice.fill("Name", &evil("evil-once"));
    alice.press_button("Make the token");
    alice.sees("Copy it now");
    unharmed(alice, "a token that is shown once");
}

/// All that the draft which is shown may say of an app.
fn an_app_that_is_added(alice: &Page) {
    // TOML takes JSON's strings.
    let [title, label, help] = ["evil-app", "evil-label", "evil-help"].map(|word| json!(evil(word)).to_string());
    let definition = format!(
        "keyhole = 1\nname = \"evil\"\ntitle = {title}\nbase_url = \"https://api.evil-of-tests.com/\"\n\
         hosts = [\"api.evil-of-tests.com\"]\n\
         [[field]]\nname = \"key\"\nsecret = true\nlabel = {label}\nhelp = {help}\n\
         [[field]]\nname = \"team\"\nlabel = {label}\nhelp = {help}\n\
         [[place]]\nheader = \"Authorization\"\ntemplate = \"Bearer {{key}}\"\n[test]\npath = \"me\"\n"
    );
    alice.fill("The definition", &definition.replace("secret", "sekret"));
    alice.press_button("Add this app");
    alice.sees("sekret");
    unharmed(alice, "an app that is refused");
    alice.fill("The definition", &definition);
    alice.press_button("Add this app");
    alice.arrives("/apps/evil\\?done=added$");
    let mut all = String::new();
    for path in ["/apps/evil", "/apps?q=evil", "/accounts/new?q=evil", "/accounts/new/evil", "/settings"] {
        assert_eq!(alice.open(path), 200, "{path}");
        unharmed(alice, path);
        all += alice.evaluate("document.body.textContent").as_str().unwrap_or_default();
    }
    for word in ["evil-app", "evil-label", "evil-help"].map(evil) {
        assert!(all.contains(&word), "{word} is on no page");
    }
    alice.open("/accounts/new/evil");
    alice.fill_at("input[name=key]", secret("evil_live_aKeyThatTheServiceRefuses"));
    alice.fill_at("input[name=team]", &evil("evil-team"));
    alice.press_button("Connect");
    alice.sees("Store it all the same");
    unharmed(alice, "an account that can't be tested");
    alice.fill_at("input[name=key]", secret("evil_live_aKeyThatTheServiceRefuses"));
    alice.tick("Store it all the same");
    alice.press_button("Connect");
    alice.arrives("/accounts/[^/?]+\\?done=connected$");
    unharmed(alice, "an account of an app that was added");
    alice.open("/accounts");
    unharmed(alice, "its row");
}

#[test]
fn no_credential_and_no_placeholder_is_in_anything_that_a_browser_gets_or_keeps() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    // What a person does with credentials.
    alice.open("/accounts/new/acme");
    alice.fill("Nickname (optional)", "Acme of sales");
    alice.fill("API key", secret("acme_live_aKeyThatTheServiceRefuses"));
    alice.press_button("Connect");
    alice.sees("the service does not take that");
    alice.fill("API key", KEY);
    alice.press_button("Connect");
    alice.sees("The account is connected");
    alice.click_text("Actions");
    alice.follow("Reconnect");
    alice.fill("API key", KEY);
    alice.press_button("Connect");
    alice.sees("The account is reconnected");
    alice.click_text("Actions");
    alice.press_button("Test");
    alice.sees("It works: the service takes its credentials.");
    // A run whose service echoes its credential, watched while it runs.
    alice.open("/workflows/alice/orders");
    alice.click_text("Run it now");
    alice.fill("Event (JSON)", "{\"note\": \"by hand\", \"fail\": false}");
    alice.press_button("Run");
    alice.arrives("/runs/");
    // The page follows the run to its end.
    alice.sees_button("Run again");
    let text = alice.evaluate("document.body.textContent");
    assert!(text.as_str().is_some_and(|text| text.contains("‹acme.api_key›")), "its label stands for it: {text}");
    for path in house.pages() {
        alice.open(&path);
    }
    let files = [&house.ok, &house.failed, &house.waiting].map(|run| format!("/runs/{run}/run.json"));
    let files =
        files.into_iter().chain(["orders", "watch"].map(|name| format!("/workflows/alice/{name}/workflow.toml")));
    let files: Vec<String> = files.collect();
    for file in &files {
        assert_eq!(alice.evaluate(&format!("fetch('{file}').then((answer) => answer.status)")), 200, "{file}");
    }

    let answers = alice.answers();
    let pages = answers.iter().filter(|answer| answer.body.contains("</html>")).count();
    assert!(pages >= house.pages().len(), "only {pages} pages were recorded whole");
    for file in &files {
        let recorded = answers.iter().find(|answer| answer.url.ends_with(file.as_str())).expect("it was downloaded");
        assert!(recorded.body.contains("orders") || recorded.body.contains("watch"), "{file}: {}", recorded.body);
    }
    let session = alice.cookies();
    let names: Vec<&str> = session.iter().filter_map(|cookie| cookie["name"].as_str()).collect();
    let port = url::Url::parse(&house.served.url).expect("a URL").port().expect("a port");
    assert_eq!(names, [format!("keyhole-{port}")], "the session is all that a browser keeps");
    // Keys, tokens and placeholders are looked for as the page is closed.
    for Answered { url, status, body, .. } in &answers {
        let key = session[0]["value"].as_str().expect("text");
        assert!(!body.contains(key) && !url.contains(key), "the session's key in {status} {url}");
    }
    let kept = alice.storage();
    assert_eq!((&kept["origins"], &kept["session"]), (&json!([]), &json!("{}")));
    assert_eq!(alice.complaints(), [""; 0]);
}

#[test]
fn a_secret_or_a_placeholder_that_a_browser_got_is_found_as_its_page_is_closed() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let unlucky = |shown: &str| {
        let page = browser.person(&served.url, &json!({}));
        page.open("/sign-in");
        page.evaluate(&format!("sessionStorage.kept = {}", json!(shown)));
        let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(page)));
        closed.is_err_and(|error| error.downcast_ref::<String>().is_some_and(|said| said.contains("keeps for scripts")))
    };
    assert!(unlucky(KEY), "a key");
    assert!(unlucky(&format!("acme_live_{MARKER}{}", "9fQ2xT7bLm4".repeat(2))), "a placeholder");
    let signed = [r#"{"alg":"RS256"}"#, r#"{"sub":"ann"}"#, "a signature"].map(|part| URL_SAFE_NO_PAD.encode(part));
    assert!(unlucky(&signed.join(".")), "what a provider signed");
    assert!(unlucky(&STANDARD.encode(format!("robot:{CLIENT_SECRET}"))), "a secret in Base64");
    assert!(!unlucky("begins with acme_live_, such as"));
}

#[tokio::test]
async fn a_form_that_is_too_long_is_answered_as_a_page() {
    let served = Served::with_members();
    let alice = Visit::of(&served, "alice").await;
    let long = "x".repeat(257 * 1024);
    let answer = alice.post("/accounts/new/acme", &[("nickname", &long)]).await;
    assert_eq!((answer.status, answer.header("content-type")), (413, "text/html; charset=utf-8"), "{}", answer.text);
    assert!(answer.text.contains("256 KiB") && answer.text.contains("Sign out"), "{}", answer.text);
    let answer = send(posting(&client(1), &format!("{}/sign-in", served.url), &[("token", &long)])).await;
    assert_eq!((answer.status, answer.header("content-type")), (413, "text/html; charset=utf-8"), "{}", answer.text);
}
