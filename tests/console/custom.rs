//! A service of one's own, described and connected through the pages as a person does it; and an app for all, which an admin adds.

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::server::acme;
use serde_json::json;

use crate::audit::acts;
use crate::browser::Browser;
use crate::house::{deploy, enter, request};
use crate::visit::Visit;

#[test]
fn a_person_describes_a_service_corrects_it_where_it_is_wrong_and_connects_it() {
    let Some(browser) = Browser::shared() else { return };
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    keyhole.member("alice");
    let served = Served::on(keyhole, &[]);
    for script in [true, false] {
        let alice = enter(&browser, &served, "alice", &json!({"javaScriptEnabled": script}));
        alice.open("/accounts/new");
        alice.follow("Connect a service of your own");
        alice.fill("What you call the service (optional)", "Warehouse");
        alice.fill("Hosts", "127.0.0.1");
        alice.fill("Where requests start (optional)", "https://api.acme.example/{v1/");
        alice.fill("Name 1", "X-Key");
        alice.fill("Value 1", "{key");
        alice.press_button("Continue");
        alice.sees("What is wrong stands beside it.");
        assert_eq!((alice.value("Name 1"), alice.value("Value 1")), ("X-Key".to_owned(), "{key".to_owned()));
        let invalid = "[...document.querySelectorAll('[aria-invalid]')].map((one) => one.name)";
        if script {
            assert_eq!(alice.evaluate(invalid), json!(["hosts", "base_url", "name", "template"]));
            alice.judge("a service of one's own that is described wrongly");
        }
        alice.fill("Hosts", "api.acme.example");
        alice.fill("Where requests start (optional)", "https://api.acme.example/v1/");
        alice.fill("Name 1", "Authorization");
        alice.fill("Value 1", "Bearer {key}");
        alice.press_button("Add rows");
        assert_eq!(alice.value("Value 1"), "Bearer {key}", "what was typed is kept");
        alice.select("Place 4", "header");
        alice.fill("Name 4", "X-Team");
        alice.fill("Value 4", "{team}");
        alice.fill("Fields that are no secrets (optional)", "team");
        alice.press_button("Continue");

        alice.sees("Connect Warehouse");
        if script {
            alice.judge("a service of one's own, to be connected");
        }
        alice.press_button("Describe it otherwise");
        assert_eq!(
            (alice.value("Hosts"), alice.value("Value 2")),
            ("api.acme.example".to_owned(), "{team}".to_owned())
        );
        alice.press_button("Continue");
        let nickname = format!("Warehouse, script {script}");
        alice.fill("Nickname (optional)", &nickname);
        alice.fill_at("input[name='field.key']", KEY);
        alice.fill_at("input[name='field.team']", "sales");
        alice.press_button("Connect");
        let at = alice.arrives("/accounts/[^/?]+\\?done=connected$");
        alice.sees("The account is connected");
        alice.sees("sales");
        assert!(!alice.text().contains(KEY));

        let account = at.rsplit_once('/').and_then(|(_, rest)| rest.split('?').next()).expect("an id").to_owned();
        let name = format!("ask-{script}");
        let text = format!("keyhole = 1\nname = {name:?}\n{}", request("ask", "account", &account, "me"));
        deploy(&served.keyhole, &name, &text);
        let flags: Vec<String> = served.keyhole.flags().to_vec();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let args = ["--json", "workflows", "run", &name, "--as", "alice"];
        let ended = served.keyhole.call(&[&args[..], &flags].concat()).json();
        assert_eq!(ended["run"]["status"], "ok", "{ended:#}");
        let received = server.received();
        let last = received.last().expect("a request");
        assert_eq!(last.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
        assert_eq!(last.header("x-team"), Some("sales"));

        // New keys for what was described before.
        alice.click_text("Actions");
        alice.follow("Reconnect");
        alice.fill_at("input[name=key]", KEY);
        alice.press_button("Connect");
        alice.sees("The account is reconnected");
    }
}

/// A definition of an app of the service's.
fn definition(name: &str, host: &str) -> String {
    format!(
        "keyhole = 1\nname = {name:?}\ntitle = \"Parcels\"\nbase_url = \"https://{host}/v1/\"\nhosts = [{host:?}]\n\
         [[field]]\nname = \"key\"\nsecret = true\n[[place]]\nheader = \"Authorization\"\ntemplate = \"Bearer {{key}}\"\n\
         [test]\npath = \"me\"\n"
    )
}

#[tokio::test]
async fn an_app_that_an_admin_adds_is_connected_at_once_and_there_after_the_next_start() {
    let mut keyhole = Keyhole::default();
    let server = acme(&keyhole.authority, KEY);
    keyhole.lead("api.acme.example", &server);
    let folder = keyhole.own_apps().to_owned();
    keyhole.member("alice");
    keyhole.member("bob");
    let served = Served::on(keyhole, &[]);
    let (alice, bob) = (Visit::of(&served, "alice").await, Visit::of(&served, "bob").await);
    let parcels = definition("parcels", "api.acme.example");

    // What is wrong is said with what was written, and a member adds nothing.
    let wrong = alice.post("/apps", &[("definition", &parcels.replace("secret", "sekret"))]).await;
    assert_eq!(wrong.status, 422, "{}", wrong.text);
    assert!(wrong.text.contains("sekret") && wrong.text.contains("name = &quot;parcels&quot;"), "{}", wrong.text);
    assert_eq!(bob.post("/apps", &[("definition", &parcels)]).await.status, 403);
    assert!(!folder.join("parcels.toml").exists());

    let added = alice.post("/apps", &[("definition", &parcels)]).await;
    assert_eq!((added.status, added.header("location")), (303, "/apps/parcels?done=added"), "{}", added.text);
    assert_eq!(std::fs::read_to_string(folder.join("parcels.toml")).unwrap(), parcels);
    // Whoever is about to give it a credential is told where that goes.
    let made = served.keyhole.call(&["--json", "accounts", "links", "create", "parcels", "--as", "bob"]).ok().json();
    let link = made["url"].as_str().and_then(|url| url.strip_prefix(&*served.url)).expect("an address of ours");
    for path in ["/accounts/new/parcels", link] {
        let page = bob.get(path).await.text;
        assert!(page.contains("did not come with Keyhole") && page.contains("<code>api.acme.example</code>"), "{page}");
    }
    for path in ["/accounts/new?q=parcels", "/apps?q=parcels"] {
        let page = bob.get(path).await.text;
        assert!(page.contains("added here, for api.acme.example"), "{page}");
    }
    for path in ["/accounts/new/sendgrid", "/accounts/new?q=sendgrid", "/apps?q=sendgrid"] {
        let page = bob.get(path).await.text;
        assert!(!page.contains("did not come with") && !page.contains("added here"), "{page}");
    }
    let connected = bob.post("/accounts/new/parcels", &[("key", KEY)]).await;
    assert!(connected.header("location").ends_with("?done=connected"), "{} {}", connected.status, connected.text);
    assert!(alice.get("/apps?q=parcels").await.text.contains("1 app<"));
    // Another process finds it in the folder.
    let shown = served.keyhole.call(&["--json", "apps", "show", "parcels"]).ok().json();
    assert_eq!(shown["hosts"], json!(["api.acme.example"]));
    let told = acts(&served, &["--app", "parcels", "--member", "alice"]);
    assert_eq!((told.len(), &told[0]["act"]), (1, &json!("apps_add")), "{told:#?}");
}

#[tokio::test]
async fn no_app_is_added_that_would_lead_the_credentials_of_another_elsewhere() {
    let mut keyhole = Keyhole::default();
    let folder = keyhole.own_apps().to_owned();
    keyhole.member("alice");
    std::fs::write(folder.join("parcels.toml"), definition("parcels", "api.acme.example")).unwrap();
    let connect = ["accounts", "connect", "parcels", "--as", "alice", "--no-test", "--stdin"];
    keyhole.call_with(&connect, KEY).ok();
    // It is not defined any more, and its account is there.
    std::fs::remove_file(folder.join("parcels.toml")).unwrap();
    let served = Served::on(keyhole, &[]);
    let alice = Visit::of(&served, "alice").await;
    let before = std::fs::read_dir(&folder).unwrap().count();
    for (name, host) in
        [("acme", "evil.acme-of-tests.com"), ("slack", "evil.acme-of-tests.com"), ("parcels", "evil.acme-of-tests.com")]
    {
        let refused = alice.post("/apps", &[("definition", &definition(name, host))]).await;
        assert_eq!(refused.status, 409, "{name}: {}", refused.text);
    }
    let lookalike = definition("post", "evil.acme-of-tests.com").replace("Parcels", "SLACK ");
    assert_eq!(alice.post("/apps", &[("definition", &lookalike)]).await.status, 409);
    let loose =
        definition("loose", "api.loose-of-tests.com").replace("keyhole = 1\n", "keyhole = 1\ninsecure_http = true\n");
    assert_eq!(alice.post("/apps", &[("definition", &loose)]).await.status, 403);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), before, "nothing was written");
}
