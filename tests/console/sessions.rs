//! Sessions: stolen, ended, another member's; and forms that are not of one's own pages.

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::store::redb::RedbStore;
use keyhole_host_api::store::{Expect, Store};
use keyhole_tests::program::KEY;
use keyhole_tests::served::Served;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::house::{House, NOTHING, Words, enter, sign_in_link};
use crate::routes::routes;
use crate::visit::{Visit, client, posting, send};

#[test]
fn a_stolen_cookie_works_until_its_owner_signs_out_everywhere() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let alice = house.alice(&browser, &json!({}));
    let phone = house.alice(&browser, &json!({}));
    let thief = browser.person(&house.served.url, &json!({}));
    thief.give(&alice.cookies());
    thief.open("/accounts");
    thief.sees("Acme of marketing");

    alice.follow("Settings");
    alice.press_button("Sign out everywhere");
    alice.arrives("/sign-in$");
    assert!(alice.cookies().is_empty(), "{:?}", alice.cookies());
    for other in [&thief, &phone] {
        other.open("/accounts");
        other.arrives("/sign-in\\?next=%2Faccounts$");
        assert!(!other.text().contains("Acme of marketing"));
    }
}

#[test]
fn what_is_one_members_alone_is_not_there_for_another() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let mallory = enter(&browser, &house.served, "mallory", &json!({}));
    let account = format!("/accounts/{}", house.healthy);
    for path in [
        account.clone(),
        format!("{account}/access"),
        format!("{account}/name"),
        format!("{account}/delete"),
        format!("{account}/reconnect"),
        format!("/runs/{}", house.ok),
        format!("/runs/{}", house.waiting),
        "/workflows/alice/orders".to_owned(),
        "/workflows/alice/orders/delete".to_owned(),
    ] {
        assert_eq!(mallory.open(&path), 404, "{path}");
        let told = mallory.text();
        assert!(!told.contains("Acme of marketing") && !told.contains("order of tea"), "{path}: {told}");
        // What is another's reads like what is not there at all.
        let (at, id) = path.rsplit_once(&*house.healthy).unwrap_or_else(|| path.rsplit_once('/').expect("a path"));
        if !id.is_empty() && path.starts_with("/accounts") {
            assert_eq!(mallory.open(&format!("{at}{NOTHING}{id}")), 404);
            let nothing = mallory.text().replace(NOTHING, &house.healthy);
            assert_eq!(nothing, told, "{path}");
        }
    }
    for path in ["/accounts", "/workflows", "/runs", "/audit", "/accounts?q=acme", "/runs?workflow=alice/orders"] {
        mallory.open(path);
        let told = mallory.text();
        assert!(!told.contains("Acme of marketing") && !told.contains("orders"), "{path}: {told}");
    }
    // Of those who may use it, none may change it.
    let bob = enter(&browser, &house.served, "bob", &json!({}));
    assert_eq!(bob.open(&account), 200);
    for page in ["access", "reconnect"] {
        assert_eq!(bob.open(&format!("{account}/{page}")), 403, "{page}");
    }
}

/// What any form could take, all at once.
fn anything() -> Vec<(&'static str, &'static str)> {
    vec![
        ("access", "workspace"),
        ("member", "mallory"),
        ("sure", "yes"),
        ("nickname", "stolen"),
        ("api_key", KEY),
        ("untested", "yes"),
        ("enabled", "no"),
        ("event", "{}"),
        ("file", "keyhole = 1\nname = \"orders\"\n"),
        ("name", "eve"),
        ("role", "admin"),
        ("client_id", "theirs"),
        ("client_secret", "theirs"),
        ("token_name", "theirs"),
        ("token_days", "1"),
        ("link_app", "acme"),
        ("link_days", "1"),
        ("document", "openapi: 3.0.0"),
    ]
}

/// All that a form of the console could have changed.
fn state(house: &House) -> Value {
    let keyhole = &house.served.keyhole;
    let list = |what: &[&str]| keyhole.call(&[&["--json"][..], what, &["--as", "alice"]].concat()).ok().json();
    // When something was used last is noted when there is time.
    let unused = |mut all: Value| {
        for one in all.as_array_mut().expect("a list") {
            one["last_used"] = Value::Null;
            one["uses"] = Value::Null;
        }
        all
    };
    json!({
        "accounts": unused(list(&["accounts", "list"])),
        "workflows": list(&["workflows", "list"]),
        "runs": list(&["runs", "list"]),
        "tokens": unused(list(&["tokens", "list"])),
        "members": keyhole.call(&["--json", "members", "list"]).ok().json(),
        "links": list(&["accounts", "links", "list"]),
    })
}

#[tokio::test]
async fn no_form_is_taken_that_is_not_of_a_page_of_the_same_session() {
    let house = House::new(&Words::default());
    let (alice, desk, mallory) = (
        Visit::of(&house.served, "alice").await,
        Visit::of(&house.served, "alice").await,
        Visit::of(&house.served, "mallory").await,
    );
    assert!(alice.form_key != desk.form_key && alice.form_key != mallory.form_key);
    let before = state(&house);
    let forms: Vec<_> = routes().into_iter().filter(|route| route.post && route.is_closed()).collect();
    assert!(forms.len() >= 14, "{}", forms.len());
    for form in &forms {
        let path = house.address(&form.path, NOTHING);
        for key in [None, Some(""), Some("x"), Some(&*desk.form_key), Some(&*mallory.form_key)] {
            let mut fields = anything();
            fields.extend(key.map(|key| ("form_key", key)));
            let answer = send(alice.posting(&path, &fields)).await;
            assert_eq!(answer.status, 403, "{path} with {key:?}: {}", answer.text);
            assert_eq!(answer.header("set-cookie"), "", "{path}");
        }
        let mut fields = anything();
        fields.push(("form_key", &alice.form_key));
        for site in ["cross-site", "same-site"] {
            let answer = send(alice.posting(&path, &fields).header("sec-fetch-site", site)).await;
            assert_eq!(answer.status, 403, "{path} from {site}: {}", answer.text);
        }
        let stranger = send(posting(&client(1), &format!("{}{path}", house.served.url), &fields)).await;
        assert_eq!(stranger.status, 401, "{path} of nobody: {}", stranger.text);
        // In the address it is no form's.
        let in_address = send(alice.posting(&format!("{path}?form_key={}", alice.form_key), &anything())).await;
        assert_eq!(in_address.status, 403, "{path}: {}", in_address.text);
    }
    assert_eq!(state(&house), before);
    assert_eq!(alice.get("/accounts").await.status, 200, "nobody was signed out");
    // And one that is, is.
    let renamed = alice.post(&format!("/accounts/{}/name", house.healthy), &[("nickname", "Acme of sales")]).await;
    assert_eq!(renamed.status, 303, "{}", renamed.text);
    assert_ne!(state(&house), before);
}

/// What a browser may do with each page: forms lead to Keyhole alone, whatever the page is for.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[tokio::test]
async fn every_page_is_for_who_is_signed_in_and_tells_browsers_to_keep_and_frame_nothing() {
    let house = House::new(&Words::default());
    let alice = Visit::of(&house.served, "alice").await;
    let link = sign_in_link(&house.served.keyhole, "alice");
    let link = link.trim_start_matches("/sign-in/");
    for route in routes().iter().filter(|route| route.get && !route.path.starts_with("/assets")) {
        let path = house.address(&route.path, link);
        let stranger = send(client(1).get(format!("{}{path}", house.served.url))).await;
        if route.is_closed() {
            assert_eq!(stranger.status, 303, "{path}: {}", stranger.text);
            assert!(stranger.header("location").starts_with("/sign-in?next=%2F"), "{path}");
        }
        let mut answers = vec![stranger];
        if !route.path.ends_with("/events") {
            answers.push(alice.get(&path).await);
        }
        for answer in answers {
            assert!(answer.status < 500, "{path}: {}", answer.text);
            // A page's forms say where they are from, and no other site learns that.
            let (policy, referrer) = match answer.header("content-type").starts_with("text/html") {
                true => (POLICY, "same-origin"),
                false => ("default-src 'none'; frame-ancestors 'none'", "no-referrer"),
            };
            for (name, value) in [
                ("cache-control", "no-store"),
                ("x-frame-options", "DENY"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", referrer),
                ("content-security-policy", policy),
            ] {
                assert_eq!(answer.header(name), value, "{name} of {path}");
            }
            assert!(!answer.text.contains("<script>") && !answer.text.contains(" onclick="), "{path}");
            assert!(!answer.text.contains(" style="), "{path}");
        }
    }
    let (token, _) = house.served.token("alice", &[]);
    let signed_in = send(posting(&client(1), &format!("{}/sign-in", house.served.url), &[("token", &token)])).await;
    let cookie = signed_in.header("set-cookie");
    for part in ["keyhole-", "; Path=/;", "HttpOnly", "SameSite=Lax"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    // A session is no token, and a token no session.
    let key = cookie.split([';', '=']).nth(1).expect("a key");
    let me = client(1).get(format!("{}/api/me", house.served.url)).bearer_auth(key);
    assert_eq!(send(me).await.status, 401);
    let page = client(1).get(format!("{}/accounts", house.served.url)).header("cookie", format!("keyhole={token}"));
    assert_eq!(send(page).await.status, 303);
}

#[tokio::test]
async fn pages_that_lead_to_a_service_let_forms_lead_no_further_than_others_do() {
    let house = House::new(&Words::default());
    let configure = ["apps", "configure", "notes", "--client-id", "keyhole", "--public"];
    house.served.keyhole.call(&configure).ok();
    let alice = Visit::of(&house.served, "alice").await;
    let made =
        house.served.keyhole.call(&["--json", "accounts", "links", "create", "notes", "--as", "alice"]).ok().json();
    let link = made["url"].as_str().and_then(|url| url.strip_prefix(&*house.served.url)).expect("an address of ours");
    for path in ["/accounts/new/notes", "/accounts/new/acme", &format!("/accounts/{}/reconnect", house.dead), link] {
        let page = alice.get(path).await;
        assert_eq!((page.status, page.header("content-security-policy")), (200, POLICY), "{path}");
    }
    // The form's answer is a page that leads on by itself: no redirect, which the policy would have to allow, each of
    // those that the service makes of it included.
    for path in ["/accounts/new/notes", link] {
        let page = alice.post(path, &[]).await;
        assert_eq!((page.status, page.header("content-security-policy")), (200, POLICY), "{path}: {}", page.text);
        assert_eq!(page.header("location"), "");
        let to = page.header("refresh").strip_prefix("0; url=").expect("where it leads");
        assert!(to.starts_with("https://auth.acme.example/auth?"), "{to}");
        assert!(page.text.contains("href=\"https://auth.acme.example/auth?"), "{}", page.text);
    }
}

#[tokio::test]
async fn settings_show_twenty_of_each_list_at_a_time_and_where_the_master_key_is_from() {
    let served = Served::with_members();
    let alice = Visit::of(&served, "alice").await;
    for number in 0..22 {
        let name = format!("laptop {number}");
        let made = alice.post("/settings/tokens", &[("token_name", name.as_str()), ("token_days", "1")]).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }
    let rows = |page: &str| page.matches("aria-label=\"Revoke ").count();
    let first = alice.get("/settings").await.text;
    assert_eq!(rows(&first), 20);
    assert!(first.contains("laptop 21") && first.contains("href=\"/settings?tokens=2#tokens\""), "{first}");
    assert!(first.len() < 60_000, "{} bytes", first.len());
    // The one that signed in is among them.
    let second = alice.get("/settings?tokens=2").await.text;
    assert_eq!(rows(&second), 3);
    assert!(second.contains("laptop 0<") && second.contains("href=\"/settings?tokens=1#tokens\""), "{second}");
    assert_eq!(rows(&alice.get("/settings?tokens=99").await.text), 3, "a page that there is");
    assert!(first.contains("file of the server’s"), "{first}");
    let bob = Visit::of(&served, "bob").await;
    assert!(!bob.get("/settings").await.text.contains("Master key"), "for admins");
}

#[test]
fn a_script_of_the_page_can_not_read_the_session() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let alice = enter(&browser, &served, "alice", &json!({}));
    assert_eq!(alice.evaluate("document.cookie"), "");
    let cookies = alice.cookies();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!((&cookies[0]["httpOnly"], &cookies[0]["sameSite"]), (&json!(true), &json!("Lax")), "{cookies:?}");
}

#[tokio::test]
async fn whoever_is_removed_is_signed_out_at_once() {
    let served = Served::with_members();
    let bob = Visit::of(&served, "bob").await;
    served.keyhole.call(&["members", "remove", "bob"]).ok();
    assert_eq!(bob.get("/accounts").await.status, 303);
    // One of the same name who comes later is another.
    served.keyhole.member("bob");
    assert_eq!(bob.get("/accounts").await.status, 303);
    assert_eq!(bob.post("/sign-out/everywhere", &[]).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_whose_session_has_expired_keeps_what_was_typed_and_comes_back_to_its_page() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    served.keyhole.connect("alice", KEY);
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open("/apps/import");
    alice.fill("Or its text", "openapi: 3.0.0");
    age(&served, "sessions/", "/expires", SignedDuration::from_hours(24 * 7)).await;
    alice.press_button("Draft it");
    alice.sees("Your session has ended, and nothing was changed.");
    assert_eq!(alice.value("The OpenAPI document"), "openapi: 3.0.0");
    alice.judge("a form that came after its session");
    alice.follow("Sign in again");
    alice.arrives("/sign-in\\?next=%2Fapps%2Fimport$");
    let (token, _) = served.token("alice", &[]);
    alice.fill("Or sign in with a token", &token);
    alice.press_button("Sign in");
    alice.arrives("/apps/import$");
    // A list that follows what is typed follows no more; the next page says why.
    alice.open("/accounts");
    age(&served, "sessions/", "/expires", SignedDuration::from_hours(24 * 7)).await;
    let list = alice.evaluate("document.querySelector('#list').textContent");
    alice.type_in("Search", "nothing is called this");
    assert_eq!(alice.evaluate("document.querySelector('#list').textContent"), list);
    alice.follow("Members");
    alice.arrives("/sign-in\\?next=%2Fmembers$");
    assert_eq!(alice.count("navigation", None), 0);
}

/// Puts a time of what `folder` keeps of the one session into the past, as if so long had passed.
async fn age(served: &Served, folder: &str, time: &str, by: SignedDuration) {
    let store = RedbStore::open(&served.keyhole.data_dir()).expect("the store opens");
    let mut found = store.scan(folder, None, 2).await.expect("the store is read");
    let (Some((key, kept)), true) = (found.pop(), found.is_empty()) else { panic!("one session in {folder}") };
    let mut record: Value = serde_json::from_slice(&kept.value).expect("JSON");
    let at = record.pointer_mut(time).unwrap_or_else(|| panic!("no {time} in {folder}"));
    let before: Timestamp = at.as_str().expect("a time").parse().expect("a time");
    *at = (before - by).to_string().into();
    let bytes = serde_json::to_vec(&record).expect("JSON");
    store.write(&key, Expect::Revision(kept.revision), Some(bytes)).await.expect("it is written");
    store.flush().await.expect("it is on disk");
}

#[tokio::test]
async fn an_hour_old_key_is_replaced_by_the_next_page_and_ends_the_session_if_it_comes_again_after_its_grace() {
    let served = Served::with_members();
    let mut alice = Visit::of(&served, "alice").await;
    assert_eq!(alice.get("/accounts").await.header("set-cookie"), "", "a key that is new stays");
    age(&served, "sessions/", "/since", SignedDuration::from_hours(1)).await;
    let page = alice.get("/accounts").await;
    let renewed = page.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    let name = |cookie: &str| cookie.split('=').next().unwrap_or_default().to_owned();
    assert_eq!((page.status, name(&renewed)), (200, name(&alice.cookie)));
    let old = std::mem::replace(&mut alice.cookie, renewed);
    assert_ne!(old, alice.cookie);
    let with_old = async || send(client(1).get(format!("{}/accounts", served.url)).header("cookie", &old)).await;

    let page = alice.get("/accounts").await;
    assert_eq!((page.status, page.header("set-cookie")), (200, ""), "the new key works, and stays");
    assert!(page.text.contains(&alice.form_key), "its forms are those of the same session");
    assert_eq!(with_old().await.status, 200, "what the browser had asked before it had the new key");
    age(&served, "sessions/", "/before/until", SignedDuration::from_secs(60)).await;
    let refused = with_old().await;
    assert_eq!((refused.status, refused.header("location")), (303, "/sign-in?next=%2Faccounts"));
    assert_eq!(alice.get("/accounts").await.status, 303, "two had it");
}

#[tokio::test]
async fn a_session_that_lasted_a_week_or_was_not_used_for_a_day_leads_to_the_sign_in_page() {
    let (day, moment) = (SignedDuration::from_hours(24), SignedDuration::from_mins(5));
    for (folder, time, after) in [("sessions/", "/expires", 7 * day), ("session-uses/", "/at", day)] {
        let served = Served::with_members();
        let alice = Visit::of(&served, "alice").await;
        age(&served, folder, time, after - moment).await;
        assert_eq!(alice.get("/runs?status=failed").await.status, 200, "{folder}");
        age(&served, folder, time, moment).await;
        let page = alice.get("/runs?status=failed").await;
        let to = "/sign-in?next=%2Fruns%3Fstatus%3Dfailed";
        assert_eq!((page.status, page.header("location")), (303, to), "{folder}");
        assert_eq!(alice.post("/settings/tokens", &[("token_name", "late"), ("token_days", "1")]).await.status, 401);
    }
}
