//! What pages say when something does not go: that it can be done on a page, and leads on from there.

use keyhole_tests::program::{KEY, Keyhole};
use serde_json::json;

use crate::browser::Browser;
use crate::house::{House, NOTHING, Words};
use crate::routes::routes;
use crate::visit::{Answer, Visit};

/// Pages that lead to a terminal, since nobody is there yet who could be asked.
const FIRST_SET_UP: [&str; 2] = ["/set-up/{key}", "/sign-in"];

/// What a page says of a problem: its alert, or all of a page that has none.
fn told(page: &str) -> String {
    let from = ["role=\"alert\">", "<main"].into_iter().find_map(|mark| page.split_once(mark)).expect("a page").1;
    let end = from.find("</div>").unwrap_or(from.len());
    from[..end].to_owned()
}

/// A command, a flag or a call of the API in `text`. `commands` are the program's.
fn command_in(text: &str, commands: &[String]) -> Option<String> {
    let after = |mark: &str, fits: &dyn Fn(&str) -> bool| {
        let after = text.split(mark).skip(1).find(|after| fits(after))?;
        Some(format!("{mark}{}", after.chars().take(30).collect::<String>()))
    };
    let is_command = |after: &str| commands.iter().any(|command| after.starts_with(command.as_str()));
    let is_flag = |after: &str| after.starts_with(|c: char| c.is_ascii_lowercase());
    after("keyhole ", &is_command)
        .or_else(|| after(" --", &is_flag))
        .or_else(|| after("`--", &is_flag))
        .or_else(|| after("/api/", &is_flag))
}

/// The program's commands, as it tells of them.
fn commands(keyhole: &Keyhole) -> Vec<String> {
    let help = keyhole.call(&["--help"]).ok().stdout;
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    let names = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let names: Vec<String> = names.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert!(names.len() > 20 && names.contains(&"sign-in".to_owned()), "{names:?}");
    names
}

fn without_commands(what: &str, answer: &Answer, commands: &[String]) {
    if answer.status >= 400 && answer.header("content-type").starts_with("text/html") {
        let told = told(&answer.text);
        assert_eq!(command_in(&told, commands), None, "{what}, {}: {told}", answer.status);
    }
}

#[test]
fn a_command_is_found_where_there_is_one() {
    let commands = commands(&Keyhole::default());
    for text in ["see `keyhole members list`", "store it: --no-test", "GET /api/members lists them"] {
        assert!(command_in(text, &commands).is_some(), "{text}");
    }
    for text in ["Keyhole failed -- ask who runs it, at https://keyhole.example/apps", "keyhole is missing"] {
        assert_eq!(command_in(text, &commands), None);
    }
}

#[tokio::test]
async fn no_problem_that_a_page_tells_of_asks_for_a_terminal() {
    let house = House::new(&Words::default());
    let (alice, mallory) = (Visit::of(&house.served, "alice").await, Visit::of(&house.served, "mallory").await);
    let (commands, mut problems) = (commands(&house.served.keyhole), 0);
    let mut look = |what: &str, answer: &Answer| {
        problems += usize::from(answer.status >= 400);
        without_commands(what, answer, &commands);
    };
    let all = routes();
    let is_asked = |path: &str| !FIRST_SET_UP.contains(&path) && !path.starts_with("/assets");
    let all: Vec<_> = all.iter().filter(|route| is_asked(&route.path)).collect();
    for route in &all {
        let nothing = |part: &str| if part.starts_with('{') { NOTHING.to_owned() } else { part.to_owned() };
        let nowhere = route.path.split('/').map(nothing).collect::<Vec<_>>().join("/");
        let there = house.address(&route.path, NOTHING);
        if route.get && !route.path.ends_with("/events") {
            for path in [&nowhere, &there] {
                look(path, &alice.get(path).await);
                look(path, &mallory.get(path).await);
            }
        }
        // What does what it says at once comes to no problem.
        let at_once = ["/sign-out", "/settings/vault/rotate"].iter().any(|path| route.path.starts_with(path));
        if route.post && route.is_closed() && !at_once {
            for path in [&nowhere, &there] {
                look(path, &mallory.post(path, &[("access", "members"), ("member", "no body"), ("event", "{")]).await);
            }
            look(&nowhere, &alice.post(&nowhere, &[("access", "members"), ("event", "{"), ("link_days", "1")]).await);
        }
    }
    // What is most often wrong with what is given.
    let account = format!("/accounts/{}", house.healthy);
    for (path, fields) in [
        ("/accounts/new/acme", &[("api_key", "acme_live_aKeyThatNobodyGave000000")][..]),
        ("/accounts/new/acme", &[]),
        ("/accounts/new/notes", &[]),
        (&format!("{account}/name"), &[("nickname", "a\nb")]),
        (&format!("{account}/access"), &[("access", "members"), ("member", "nobody")]),
        ("/members", &[("name", "alice"), ("role", "member")]),
        ("/members/alice/remove", &[]),
        ("/settings/links", &[("link_app", "notes"), ("link_days", "1")]),
        ("/settings/links", &[("link_app", "nothing"), ("link_days", "1")]),
        ("/apps/notes/client", &[("client_id", "x")]),
        ("/apps/acme/client", &[("client_id", "x"), ("public", "yes")]),
        ("/workflows/alice/orders/file", &[("file", "keyhole = 1\nname = \"orders\"\nnonsense = 1\n")]),
    ] {
        let answer = alice.post(path, fields).await;
        assert!((400..500).contains(&answer.status), "{path} with {fields:?}: {} {}", answer.status, answer.text);
        look(path, &answer);
    }
    assert!(problems > 60, "only {problems} problems were looked at");
}

#[tokio::test]
async fn an_address_that_takes_forms_alone_leads_a_browser_to_the_page_above_it() {
    let house = House::new(&Words::default());
    let alice = Visit::of(&house.served, "alice").await;
    let forms: Vec<_> = routes().into_iter().filter(|route| route.post && !route.get).collect();
    assert!(forms.len() > 10, "{}", forms.len());
    for form in forms {
        let path = house.address(&form.path, NOTHING);
        // A program is told as ever.
        let told = alice.get(&path).await;
        assert_eq!((told.status, told.header("content-type")), (405, "application/problem+json"), "{path}");
        let mut at = path.clone();
        let page = loop {
            let answer = alice.look(&at).await;
            if answer.status != 303 {
                break answer;
            }
            let to = answer.header("location").to_owned();
            assert!(to.len() < at.len() || to == "/accounts", "{at} leads to {to}");
            at = to;
        };
        assert_eq!(page.status, 200, "{path} led to {at}");
        assert!(page.header("content-type").starts_with("text/html"), "{path} led to {at}");
    }
    // What is no page's stays as it is.
    assert_eq!(alice.look("/api/oauth/begin").await.status, 405);
}

#[test]
fn a_form_that_comes_after_the_session_ended_gives_back_what_was_typed_and_leads_back_to_its_page() {
    let Some(browser) = Browser::shared() else { return };
    let house = House::new(&Words::default());
    let (alice, desk) = (house.alice(&browser, &json!({})), house.alice(&browser, &json!({})));
    let draft = "keyhole = 1\nname = \"orders\"\n# what took an hour <to> write\n";
    alice.open("/workflows/alice/orders");
    alice.click_text("workflow.toml");
    alice.fill("The file", draft);
    desk.open("/settings");
    desk.press_button("Sign out everywhere");
    desk.arrives("/sign-in$");

    alice.press_button("Deploy");
    alice.sees("You are signed out");
    alice.judge("a form that came too late");
    assert_eq!(alice.value("The workflow’s file"), draft);
    alice.follow("Sign in again");
    alice.arrives("/sign-in\\?next=%2Fworkflows%2Falice%2Forders%2Ffile$");
    let (token, _) = house.served.token("alice", &[]);
    alice.fill("Or sign in with a token", &token);
    alice.press_button("Sign in");
    alice.arrives("/workflows/alice/orders$");

    // A key that was typed is not given back.
    alice.open("/accounts/new/acme");
    alice.fill("API key", KEY);
    let other = house.alice(&browser, &json!({}));
    other.open("/settings");
    other.press_button("Sign out everywhere");
    other.arrives("/sign-in$");
    alice.press_button("Connect");
    alice.sees("You are signed out");
    assert!(!alice.evaluate("document.documentElement.outerHTML").to_string().contains(KEY));
}
