//! What the list of accounts tells of each, and an account's page: the scopes that its workflows need of it, and what
//! happened to it.

use keyhole_tests::program::Keyhole;
use keyhole_tests::served::Served;
use keyhole_tests::server::{Server, json as answer};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::house::{CLIENT_SECRET, House, TOKEN, Words, enter};

/// A service that grants the scopes that it is asked for, and `notes.read` to who asks for none.
fn generous(keyhole: &mut Keyhole) -> Server {
    let server = Server::http(&keyhole.authority, &["auth.acme.example"], |request| match request.target.as_str() {
        "/token" => {
            let mut given = url::form_urlencoded::parse(&request.body);
            let asked = given.find(|(name, _)| name == "scope").map(|(_, scopes)| scopes.into_owned());
            let scope = asked.unwrap_or_else(|| "notes.read".to_owned());
            answer(200, &json!({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600, "scope": scope}))
        }
        _ => answer(200, &json!({"client": "robot"})),
    });
    keyhole.lead("auth.acme.example", &server);
    server
}

#[test]
fn an_account_tells_which_scopes_its_workflows_lack_and_a_reconnect_asks_for_them() {
    let mut keyhole = Keyhole::default();
    let _server = generous(&mut keyhole);
    keyhole.member("alice");
    keyhole.member("bob");
    let flags: Vec<String> = keyhole.flags().to_vec();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let connect = ["--json", "accounts", "connect", "robot", "--as", "alice", "--stdin", "--field", "client_id=robot"];
    let connected = keyhole.call_with(&[&connect[..], &flags].concat(), CLIENT_SECRET).ok().json();
    let account = connected["id"].as_str().expect("an id").to_owned();

    let file = keyhole.data.path().join("watch.toml");
    let step = |scopes: &str| {
        format!(
            "keyhole = 1\nname = \"watch\"\n[[steps]]\nname = \"look\"\nuses = \"http-request\"\n\
             links = {{ account = {account:?} }}\nscopes = {{ {scopes} }}\nprops = {{ url = \"notes\" }}\n"
        )
    };
    let deploy = |scopes: &str, more: &[&str]| {
        std::fs::write(&file, step(scopes)).expect("the file is written");
        let args = ["--json", "workflows", "deploy", file.to_str().expect("text"), "--as", "alice"];
        keyhole.call(&[&args[..], more].concat())
    };
    for (scopes, why) in [
        ("acme = [\"notes.read\"]", "app prop 'acme'"),
        ("account = [\"notes.read notes.write\"]", "list scopes one by one"),
    ] {
        let refused = deploy(scopes, &[]);
        assert!(refused.code != 0 && refused.stderr.contains(why), "{}", refused.stderr);
    }
    let both = "account = [\"notes.read\", \"notes.write\"]";
    for more in [&["--check"][..], &[]] {
        let deployed = deploy(both, more).ok().json();
        let warning = deployed["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.contains("notes.write") && !warning.contains("notes.read"), "{deployed:#}");
        assert!(warning.contains(&format!("keyhole accounts reconnect {account}")), "{warning}");
    }
    let served = Served::on(keyhole, &[]);
    let shown =
        |member: &str| served.keyhole.call(&["--json", "accounts", "show", &account, "--as", member]).ok().json();
    let needs = |granted: bool| {
        let need =
            |scope: &str, granted: bool| json!({"scope": scope, "workflows": ["alice/watch"], "granted": granted});
        json!([need("notes.read", true), need("notes.write", granted)])
    };
    assert_eq!(shown("alice")["needs"], needs(false));

    let Some(browser) = Browser::shared() else { return };
    let alice = enter(&browser, &served, "alice", &json!({}));
    alice.open("/workflows/alice/watch");
    alice.sees("not granted");
    alice.follow("see the account");
    alice.sees("not granted");
    alice.follow("Reconnect to grant them");
    alice.fill_at("input[name=client_secret]", CLIENT_SECRET);
    alice.press_button("Connect");
    alice.sees("The account is reconnected");
    alice.sees_no_more("not granted");
    alice.sees("reconnected");
    assert_eq!(shown("alice")["needs"], needs(true));

    served.keyhole.call(&["accounts", "access", &account, "workspace", "--as", "alice"]).ok();
    let happened = |member: &str| -> Vec<(String, Value)> {
        let shown = shown(member);
        let history = shown["history"].as_array().expect("a history").iter();
        history.map(|event| (event["what"].as_str().expect("what").to_owned(), event["by"].clone())).collect()
    };
    let by_alice = |what: &str| (what.to_owned(), json!("alice"));
    assert_eq!(happened("alice"), [by_alice("connected"), by_alice("reconnected"), by_alice("access")]);
    assert_eq!(
        happened("bob"),
        [by_alice("connected"), by_alice("reconnected")],
        "who may use it is its owner's to know"
    );
    alice.reload();
    alice.sees("access changed from private to workspace");
    let told = served.keyhole.call(&["accounts", "show", &account, "--as", "alice"]).ok().stdout;
    assert!(told.contains("reconnected by alice") && told.contains("notes.write for alice/watch"), "{told}");
}

/// What each row of the list says.
const ROWS: &str = "[...document.querySelectorAll('.rows > li')].map((row) => {
  const says = (part) => row.querySelector(part)?.textContent ?? null;
  return {
    icon: says('.icon'), nickname: says('.what a'), of: says('.what small'), used: row.querySelector('.facts time')?.dateTime ?? null,
    use: says('.facts > small'), marks: [...row.querySelectorAll('.mark')].map((one) => one.textContent), why: says('.why'),
  };
})";

#[test]
fn an_account_to_be_reconnected_stands_first_and_says_why_and_a_row_tells_whose_it_is_and_who_uses_it() {
    let Some(browser) = Browser::shared() else { return };
    let words = Words { nickname: "A name before all others".to_owned(), ..Words::default() };
    let house = House::new(&words);
    let shown = |id: &str| house.served.keyhole.call(&["--json", "accounts", "show", id, "--as", "alice"]).ok().json();
    let (dead, healthy) = (shown(&house.dead), shown(&house.healthy));
    let alice = house.alice(&browser, &json!({}));
    let rows = alice.evaluate(ROWS);
    let [first, second] = rows.as_array().expect("a list").as_slice() else { panic!("two accounts: {rows:#}") };
    let marks = json!(["private", "reconnect needed"]);
    assert_eq!(
        (&first["nickname"], &first["of"], &first["marks"]),
        (&dead["nickname"], &json!("Robot · yours"), &marks)
    );
    assert!(first["why"].as_str().is_some_and(|why| why.contains(&words.reason)), "{first:#}");
    let use_of = second["use"].as_str().expect("how it is used");
    assert!(use_of.starts_with("used ") && use_of.ends_with(" · 1 workflow"), "{use_of}");
    let told = json!({
        "icon": "A", "nickname": words.nickname, "of": "Acme · yours", "used": healthy["last_used"], "use": use_of,
        "marks": ["1 member", "works"], "why": null,
    });
    assert_eq!(*second, told);
    let bob = enter(&browser, &house.served, "bob", &json!({}));
    assert_eq!(bob.evaluate(ROWS)[0]["of"], "Acme · alice");

    alice.click_label(&format!("Actions for {}", words.nickname));
    alice.follow("See activity");
    alice.arrives(&format!("/accounts/{}#activity$", house.healthy));
    assert_eq!(alice.evaluate("document.querySelector(':target')?.textContent"), "Activity");
}
