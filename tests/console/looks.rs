//! Whether everybody can use the pages: by eye, in light and dark, at a desk and on a phone; by keyboard alone; by what
//! reads them aloud.

use std::sync::Arc;

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::workspace::root;
use serde_json::json;

use crate::browser::{Browser, Page};
use crate::house::{House, Words, deploy_as, enter, request, run_as, sign_in_link};
use crate::routes::routes;

const DESK: u32 = 1280;
const PHONE: u32 = 390;
/// Every rule.
const ALL: &[&str] = &[];
/// What depends on how a page looks. What does not is looked for once a width.
const OF_LOOKS: &[&str] = &["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"];

impl Page {
    /// Looks at what it shows as every page is looked at, for what only the answer to a form shows. It stays as it was.
    #[track_caller]
    pub fn judge(&self, at: &str) {
        let mut wrong = Vec::new();
        judge(self, at, &mut wrong);
        assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// What is wrong with the page that it shows.
fn judge(page: &Page, at: &str, wrong: &mut Vec<String>) {
    // The other two differ in what the four rules of looks see alone.
    let ways = [(DESK, "light", ALL), (PHONE, "dark", ALL), (DESK, "dark", OF_LOOKS), (PHONE, "light", OF_LOOKS)];
    let short = if std::env::var_os("KEYHOLE_LONG").is_some() { ways.len() } else { 2 };
    for (width, scheme, rules) in ways.into_iter().take(short) {
        page.size(width, scheme);
        let found = page.violations(rules);
        wrong.extend(found.iter().map(|one| format!("{at}, {width} px, {scheme}: {one:#}")));
        wrong.extend(page.overflow().iter().map(|one| format!("{at}, {width} px: it scrolls sideways: {one}")));
    }
    page.size(DESK, "light");
    wrong.extend(page.unreached().iter().map(|one| format!("{at}: {one}")));
}

#[test]
fn axe_finds_no_violation_tab_reaches_everything_and_nothing_scrolls_sideways_on_any_page() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let pages = house.pages();
    assert!(pages.len() > 25, "{pages:?}");
    let half = |half: usize| pages.iter().skip(half).step_by(2).cloned().collect();
    // Two windows of alice's, since there is more than one core; one of a plain member's, and one of who has nothing yet.
    let windows: [(&str, Vec<String>); 4] = [
        ("alice", half(0)),
        ("alice", half(1)),
        ("bob", of_a_member(&house)),
        ("mallory", ["/accounts", "/workflows", "/runs"].map(str::to_owned).into()),
    ];
    let mut wrong: Vec<String> = std::thread::scope(|scope| {
        let judged = windows.map(|(member, pages)| {
            let window = enter(&browser, &house.served, member, &json!({}));
            scope.spawn(move || {
                let mut wrong = Vec::new();
                for path in &pages {
                    assert_eq!(window.open(path), 200, "{member}: {path}");
                    judge(&window, &format!("{member}: {path}"), &mut wrong);
                }
                wrong
            })
        });
        judged.into_iter().flat_map(|one| one.join().expect("the pages are judged")).collect()
    });
    let alice = house.alice(&browser, &json!({}));
    assert_eq!(alice.open("/workflows/alice/nothing"), 404);
    judge(&alice, "/workflows/alice/nothing", &mut wrong);
    wrong.extend(before_one_is_signed_in(&house, &browser));
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// What bob, who is no admin, sees otherwise than alice, or alone.
fn of_a_member(house: &House) -> Vec<String> {
    let keyhole = &house.served.keyhole;
    let own = keyhole.connect("bob", KEY);
    let text = format!("keyhole = 1\nname = \"ask\"\n{}", request("ask", "account", &own, "v1/me"));
    deploy_as(keyhole, "bob", "ask", &text);
    let ran = run_as(keyhole, "bob", "ask", &json!({}));
    let run = ran["run"]["id"].as_str().expect("a run");
    let pages = ["/accounts", "/accounts/new", "/accounts/new/notes", "/workflows", "/workflows/bob/ask", "/runs"];
    let more = ["/members", "/apps", "/apps/notes", "/audit", "/settings"];
    let accounts = [&house.healthy, &own].map(|account| format!("/accounts/{account}"));
    let ones = [format!("/accounts/{own}/access"), format!("/runs/{run}")];
    pages.into_iter().chain(more).map(str::to_owned).chain(accounts).chain(ones).collect()
}

/// The same of the pages for who is not, or need not be.
fn before_one_is_signed_in(house: &House, browser: &Arc<Browser>) -> Vec<String> {
    let mut wrong = Vec::new();
    let keyhole = &house.served.keyhole;
    let made = keyhole.call(&["--json", "accounts", "links", "create", "acme", "--as", "bob"]).ok().json();
    let stranger = browser.person(&house.served.url, &json!({}));
    let link = sign_in_link(keyhole, "bob");
    for (path, status) in [
        ("/sign-in", 200),
        (link.as_str(), 200),
        (made["url"].as_str().expect("a link"), 200),
        ("/sign-in/nothing", 404),
        ("/connect/nothing", 404),
        ("/nothing", 404),
    ] {
        assert_eq!(stranger.open(path), status, "{path}");
        judge(&stranger, path, &mut wrong);
    }
    let fresh = Served::on(Keyhole::default(), &[]);
    assert_eq!(stranger.open(fresh.set_up.as_deref().expect("a link, while there is no member")), 200);
    judge(&stranger, "/set-up", &mut wrong);
    wrong
}

#[test]
fn a_keyboard_alone_opens_a_menu_goes_through_it_and_closes_it() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    served.keyhole.connect("alice", KEY);
    let alice = enter(&browser, &served, "alice", &json!({}));
    let focused = || alice.evaluate("document.activeElement.innerText.trim()");
    alice.press("Tab");
    assert_eq!(focused(), "Skip to the content");
    alice.press("Enter");
    while alice.evaluate("document.activeElement.matches('.menu > summary')") != true {
        alice.press("Tab");
        assert_ne!(alice.evaluate("document.activeElement === document.body"), true, "Tab never came to the menu");
    }
    alice.press("Enter");
    alice.sees("Manage access");
    alice.press("Tab");
    assert_eq!(focused(), "Manage access");
    alice.press("Escape");
    alice.sees_no_more("Manage access");
    assert_eq!(alice.evaluate("document.activeElement.matches('.menu > summary')"), true, "the focus is where it was");
    alice.press("Enter");
    alice.press("Tab");
    alice.press("Enter");
    alice.arrives("/access$");
}

#[test]
fn a_keyboard_alone_chooses_who_may_use_an_account() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    let account = served.keyhole.connect("alice", KEY);
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open(&format!("/accounts/{account}/access"));
    let tab_to = |css: &str| {
        for _ in 0..100 {
            if alice.evaluate(&format!("document.activeElement.matches({css:?})")) == true {
                return;
            }
            alice.press("Tab");
        }
        panic!("Tab never came to {css}");
    };
    tab_to("input[type=radio]");
    assert!(alice.is_chosen("radio", "Private"), "as it is");
    while !alice.is_chosen("radio", "Members by name") {
        alice.press("ArrowDown");
    }
    tab_to("input[type=checkbox][value=mallory]");
    alice.press(" ");
    assert!(alice.is_chosen("checkbox", "mallory"));
    alice.press("Enter");
    alice.sees("Who may use it is changed.");
    let shown = served.keyhole.call(&["--json", "accounts", "show", &account, "--as", "alice"]).ok().json();
    assert_eq!(shown["access"], json!({"members": ["mallory"]}));
}

#[test]
fn what_is_shown_once_is_copied_by_a_button() {
    let Some(browser) = Browser::shared() else { return };
    let served = Served::with_members();
    for (may, says) in [(json!(["clipboard-read", "clipboard-write"]), "Copied"), (json!([]), "Copy")] {
        let alice = enter(&browser, &served, "alice", &json!({"permissions": may}));
        alice.open("/settings");
        alice.fill("Name", "laptop");
        alice.press_button("Make the token");
        alice.sees("Copy it now");
        if says == "Copy" {
            // As where a browser's user has forbidden it.
            alice.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('no')), 1");
        }
        let shown = alice.evaluate("document.querySelector('.copy code').textContent");
        alice.press_button("Copy");
        alice.sees_button(says);
        let has = if says == "Copied" { "navigator.clipboard.readText()" } else { "getSelection().toString()" };
        assert_eq!(alice.evaluate(has), shown, "{says}");
        assert_eq!(alice.complaints(), [""; 0]);
    }
}

/// What alice's pages of a house are called in docs/screenshots, and their routes, see [`House::address`].
const PICTURES: [(&str, &str); 28] = [
    ("accounts", "/accounts"),
    ("account", "/accounts/{account}"),
    ("account-to-reconnect", "/accounts/{dead}"),
    ("access", "/accounts/{account}/access"),
    ("rename", "/accounts/{account}/name"),
    ("reconnect", "/accounts/{account}/reconnect"),
    ("delete", "/accounts/{account}/delete"),
    ("connect", "/accounts/new"),
    ("connect-app", "/accounts/new/{app}"),
    ("connect-not-set-up", "/accounts/new/notes"),
    ("connect-custom", "/accounts/new/custom"),
    ("workflows", "/workflows"),
    ("workflow", "/workflows/{owner}/{name}"),
    ("workflow-delete", "/workflows/{owner}/{name}/delete"),
    ("runs", "/runs"),
    ("run", "/runs/{failed}"),
    ("run-ok", "/runs/{run}"),
    ("run-waiting", "/runs/{waiting}"),
    ("members", "/members"),
    ("member", "/members/{member}"),
    ("member-remove", "/members/{member}/remove"),
    ("apps", "/apps"),
    ("app", "/apps/{app}"),
    ("app-import", "/apps/import"),
    ("audit", "/audit"),
    ("settings", "/settings"),
    ("tokens", "/settings/tokens"),
    ("vault-rotate", "/settings/vault/rotate"),
];
/// The same of what is there once an app has a client.
const FORGET: (&str, &str) = ("app-client-forget", "/apps/notes/client/forget");

#[test]
fn every_page_has_a_picture() {
    let fits = |route: &str, path: &str| {
        let (parts, of_path) = (route.split('/'), path.split('/'));
        route.split('/').count() == path.split('/').count()
            && parts.zip(of_path).all(|(part, of_path)| part == of_path || part.starts_with('{'))
    };
    let pages = routes().into_iter().filter(|route| route.is_page() && route.is_closed());
    let without: Vec<String> = pages
        .map(|route| route.path)
        .filter(|route| !PICTURES.iter().chain([&FORGET]).any(|(_, path)| fits(route, path)))
        .collect();
    assert_eq!(without, [""; 0]);
}

#[test]
fn screenshots_of_the_pages_are_taken_for_the_docs() {
    if std::env::var_os("KEYHOLE_LONG").is_none() {
        eprintln!("skipped: the screenshots are taken with --long");
        return;
    }
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let folder = root().join("docs/screenshots");
    // What is no page any more has no picture.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder is made");
    let alice = house.alice(&browser, &json!({}));
    let mut all = Pictures { folder, bytes: 0 };
    for (name, route) in PICTURES {
        assert_eq!(alice.open(&house.address(route, "")), 200, "{route}");
        all.take(&alice, name);
    }
    // Once there is a client to forget.
    house.served.keyhole.call(&["apps", "configure", "notes", "--client-id", "our-client", "--public"]).ok();
    let (name, path) = FORGET;
    assert_eq!(alice.open(path), 200);
    all.take(&alice, name);
    let made = house.served.keyhole.call(&["--json", "accounts", "links", "create", "acme", "--as", "bob"]).ok().json();
    let stranger = browser.person(&house.served.url, &json!({}));
    let link = sign_in_link(&house.served.keyhole, "bob");
    for (name, path) in [
        ("sign-in", "/sign-in"),
        ("sign-in-link", link.as_str()),
        ("connect-link", made["url"].as_str().expect("a link")),
        ("not-there", "/nothing"),
    ] {
        let status = if name == "not-there" { 404 } else { 200 };
        assert_eq!(stranger.open(path), status, "{path}");
        all.take(&stranger, name);
    }
    let fresh = Served::on(Keyhole::default(), &[]);
    assert_eq!(stranger.open(fresh.set_up.as_deref().expect("a link, while there is no member")), 200);
    all.take(&stranger, "set-up");
    assert!(all.bytes < 3_000_000, "the screenshots have {} bytes", all.bytes);
}

/// Where screenshots go, and how long they are together.
struct Pictures {
    folder: std::path::PathBuf,
    bytes: u64,
}

impl Pictures {
    /// Takes what the page shows, in light and dark, at a desk and on a phone.
    #[track_caller]
    fn take(&mut self, page: &Page, name: &str) {
        for scheme in ["light", "dark"] {
            for width in [DESK, PHONE] {
                page.size(width, scheme);
                let file = page.screenshot(&self.folder.join(format!("{name}-{scheme}-{width}")));
                let size = std::fs::metadata(&file).expect("the file was written").len();
                assert!(size < 60_000, "{file} has {size} bytes");
                self.bytes += size;
            }
        }
        page.size(DESK, "light");
    }
}
