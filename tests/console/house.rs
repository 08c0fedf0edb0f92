//! A Keyhole with something on every page: accounts that work and one that must be reconnected, a workflow whose runs
//! went well and failed, one that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::served::Served;
use keyhole_tests::server::{Authority, Server, acme, json as answer};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::routes::routes;

/// An id that nothing has.
pub const NOTHING: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// What the service gave the account that must be reconnected.
pub const TOKEN: &str = "robot_access_5hT0pQz81mXw";
/// Its owner's secret there.
pub const CLIENT_SECRET: &str = "robot-secret-4f1b7c2e9d";

/// What is written where members, steps and services can write.
pub struct Words {
    pub nickname: String,
    pub description: String,
    pub event: String,
    /// A value of a step's, which it logs, too.
    pub value: String,
    /// Why a step fails.
    pub failure: String,
    /// Why the service takes a token no more.
    pub reason: String,
    pub token: String,
    /// A scope that a service grants, who one is there, and a field that is no secret.
    pub scope: String,
    pub uid: String,
    pub plain: String,
    /// A part of an address that a step asks for.
    pub path: String,
    /// What a service of one's own is called, if there is to be one.
    pub title: Option<String>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            nickname: "Acme of marketing".into(),
            description: "Tells the warehouse of each order".into(),
            event: "two boxes of tea".into(),
            value: "an order of tea".into(),
            failure: "the warehouse is closed".into(),
            reason: "the owner left the company".into(),
            token: "alice's laptop".into(),
            scope: "notes.read".into(),
            uid: "robot".into(),
            plain: "robot".into(),
            path: "me".into(),
            title: None,
        }
    }
}

/// The house, and what is in it.
pub struct House {
    pub served: Served,
    /// Alice's account that works, and the one that does not.
    pub healthy: String,
    pub dead: String,
    /// One of a service of her own, if there is one.
    pub custom: Option<String>,
    /// Runs of alice's workflow `orders`, and one of `watch`.
    pub ok: String,
    pub failed: String,
    pub waiting: String,
    _servers: [Server; 2],
}

impl House {
    pub fn new(words: &Words) -> Self {
        let mut keyhole = Keyhole::sharing_code();
        for name in ["alice", "bob", "mallory"] {
            keyhole.member(name);
        }
        // For apps that are added.
        keyhole.own_apps();
        let server = acme(&keyhole.authority, KEY);
        keyhole.lead("api.acme.example", &server);
        let forgot = Arc::new(AtomicBool::new(false));
        let robots = robots(&keyhole.authority, forgot.clone(), words);
        keyhole.lead("auth.acme.example", &robots);

        let flags: Vec<String> = keyhole.flags().to_vec();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let connect = |more: &[&str], secret: &str| {
            let args = ["--json", "accounts", "connect", "--as", "alice", "--stdin"];
            let connected = keyhole.call_with(&[&args[..], more, &flags].concat(), secret).ok().json();
            connected["id"].as_str().expect("an id").to_owned()
        };
        let healthy = connect(&["acme", "--nickname", &words.nickname], KEY);
        let dead = connect(&["robot", "--field", &format!("client_id={}", words.plain)], CLIENT_SECRET);
        let custom = words.title.as_deref().map(|title| {
            let of = ["custom", "--title", title, "--host", "api.acme.example", "--header", "X-Key: {k}", "--no-test"];
            connect(&of, KEY)
        });
        keyhole.call(&["accounts", "access", &healthy, "members", "bob", "--as", "alice"]).ok();
        keyhole.call(&["tokens", "create", "--name", &words.token, "--as", "alice"]).ok();

        let orders = orders(words, &healthy);
        deploy(&keyhole, "orders", &orders);
        let run = |event: &Value| {
            let ended = run_as(&keyhole, "alice", "orders", event);
            (ended["run"]["id"].as_str().expect("a run").to_owned(), ended["run"]["status"].clone())
        };
        let (ok, status) = run(&json!({"note": words.event, "fail": false}));
        assert_eq!(status, "ok");
        let (failed, status) = run(&json!({"note": words.event, "fail": true}));
        assert_eq!(status, "failed");

        // The service forgets what it gave: the run that finds out fails, and later ones wait for the account.
        forgot.store(true, Ordering::SeqCst);
        let watch = format!("keyhole = 1\nname = \"watch\"\n{}", request("look", "account", &dead, "notes"));
        deploy(&keyhole, "watch", &watch);
        let found_out = keyhole.call(&[&["workflows", "run", "watch", "--as", "alice"][..], &flags].concat());
        assert_ne!(found_out.code, 0, "{}", found_out.stdout);
        let served = Served::on(keyhole, &[]);
        let args = ["--json", "workflows", "run", "watch", "--no-wait", "--as", "alice"];
        let started = served.keyhole.call(&args).ok().json();
        let waiting = started["run"].as_str().expect("a run").to_owned();
        let house = Self { served, healthy, dead, custom, ok, failed, waiting, _servers: [server, robots] };
        house.until("the run to wait for its account", || {
            let shown = house.served.keyhole.call(&["--json", "runs", "show", &house.waiting, "--as", "alice"]).json();
            shown["run"]["status"] == "waiting"
        });
        house
    }

    /// Waits until it is so. Fails after 30 s.
    #[track_caller]
    pub fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !so() {
            assert!(Instant::now() < deadline, "{what} did not come about");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The address of a route of the console, with what is in this house for its parameters, and for those that are this
    /// house's own. `link` signs in.
    pub fn address(&self, route: &str, link: &str) -> String {
        let value = |name: &str| match name {
            "account" => self.healthy.clone(),
            "app" if route.starts_with("/apps/") => "notes".to_owned(),
            "app" => "acme".to_owned(),
            "name" | "member" if route.starts_with("/members/") => "bob".to_owned(),
            "owner" => "alice".to_owned(),
            "name" => "orders".to_owned(),
            "run" => self.ok.clone(),
            "dead" => self.dead.clone(),
            "failed" => self.failed.clone(),
            "waiting" => self.waiting.clone(),
            "link" => link.to_owned(),
            "token" | "id" | "session" | "key" | "passkey" => NOTHING.to_owned(),
            other => panic!("say what {{{other}}} of {route} is"),
        };
        let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => value(name),
            None => part.to_owned(),
        };
        route.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// Every page that alice can look at, once each: those that the source names, and what is more to see of some.
    pub fn pages(&self) -> Vec<String> {
        let mine = routes().into_iter().filter(|route| route.is_page() && route.is_closed());
        // But what names nothing that is in this house.
        let pages = mine.filter(|route| route.parameters().all(is_here));
        let pages = pages.map(|route| self.address(&route.path, ""));
        let more = [
            format!("/accounts/{}", self.dead),
            format!("/accounts/{}/reconnect", self.dead),
            "/accounts?q=acme".to_owned(),
            "/accounts?q=nothing-is-called-this".to_owned(),
            "/accounts/new/notes".to_owned(),
            "/apps/acme".to_owned(),
            format!("/runs/{}", self.failed),
            format!("/runs/{}", self.waiting),
            "/runs?status=failed".to_owned(),
            format!("/audit?account={}", self.healthy),
        ];
        let custom = self.custom.iter().flat_map(|id| ["", "/reconnect"].map(|page| format!("/accounts/{id}{page}")));
        pages.chain(more).chain(custom).collect()
    }

    /// Alice in a browser, signed in by a link as a person is.
    pub fn alice(&self, browser: &Arc<Browser>, options: &Value) -> Page {
        enter(browser, &self.served, "alice", options)
    }
}

/// Whether the house has something of this kind for [`House::pages`].
fn is_here(parameter: &str) -> bool {
    !matches!(parameter, "token" | "id" | "session" | "key" | "passkey")
}

/// The path of a new link that signs `member` in.
pub fn sign_in_link(keyhole: &Keyhole, member: &str) -> String {
    let said = keyhole.call(&["sign-in", "--as", member]).ok().stdout;
    let (_, link) = said.split_once("/sign-in/").unwrap_or_else(|| panic!("no link in {said:?}"));
    let end = link.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(link.len());
    format!("/sign-in/{}", &link[..end])
}

/// A person who opens a link of theirs and is signed in.
#[track_caller]
pub fn enter(browser: &Arc<Browser>, served: &Served, member: &str, options: &Value) -> Page {
    let page = browser.person(&served.url, options);
    page.open(&sign_in_link(&served.keyhole, member));
    page.press_button(&format!("Sign in as {member}"));
    page.arrives("/accounts$");
    page
}

/// Deploys a workflow of alice's.
pub fn deploy(keyhole: &Keyhole, name: &str, text: &str) {
    deploy_as(keyhole, "alice", name, text);
}

/// Deploys a workflow of `member`'s.
pub fn deploy_as(keyhole: &Keyhole, member: &str, name: &str, text: &str) {
    let path = keyhole.data.path().join(format!("{name}.toml"));
    std::fs::write(&path, text).expect("the file is written");
    keyhole.call(&["workflows", "deploy", path.to_str().expect("text"), "--as", member]).ok();
}

/// Runs a workflow of `member`'s to its end, and gives what the command shows of it.
pub fn run_as(keyhole: &Keyhole, member: &str, name: &str, event: &Value) -> Value {
    let flags = keyhole.flags().iter().map(String::as_str);
    let args = ["--json", "workflows", "run", name, "--as", member, "--event", "-"].into_iter().chain(flags);
    keyhole.call_with(&args.collect::<Vec<_>>(), &event.to_string()).json()
}

/// A step that asks a service.
pub fn request(name: &str, prop: &str, account: &str, url: &str) -> String {
    // TOML takes JSON's strings.
    let url = json!(url);
    format!(
        "[[steps]]\nname = {name:?}\nuses = \"http-request\"\nlinks = {{ {prop} = {account:?} }}\nprops = {{ url = {url} }}\n"
    )
}

/// Says what it was told, asks the service, and fails if its event says so.
fn orders(words: &Words, account: &str) -> String {
    let verbs = component("verbs").display().to_string();
    // TOML takes JSON's strings.
    let text = |text: &str| json!(text).to_string();
    let verb = |name: &str, verb: &str, value: &str, only: &str| {
        format!(
            "[[steps]]\nname = {name:?}\nuses = {verbs:?}\n{only}props = {{ verb = {verb:?}, value = {} }}\n",
            text(value)
        )
    };
    [
        &format!("keyhole = 1\nname = \"orders\"\ndescription = {}\ntrigger.http = {{}}\n", text(&words.description)),
        &verb("read", "return", &words.value, ""),
        &verb("kept", "export", &words.value, ""),
        &request("ask", "account", account, &format!("v1/{}", words.path)),
        // The service says what it was sent.
        &request("echo", "account", account, "v1/echo"),
        &verb("store", "fail", &words.failure, "if = \"{{ event.fail }}\"\n"),
    ]
    .map(String::as_str)
    .concat()
}

/// A service that gives tokens to who asks for itself, until it has forgotten them all.
fn robots(authority: &Authority, forgot: Arc<AtomicBool>, words: &Words) -> Server {
    let (why, scope, uid) = (words.reason.clone(), words.scope.clone(), words.uid.clone());
    Server::http(authority, &["auth.acme.example"], move |request| {
        let knows = !forgot.load(Ordering::SeqCst);
        match request.target.as_str() {
            "/token" if knows => {
                answer(200, &json!({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600, "scope": scope}))
            }
            "/token" => answer(400, &json!({"error": "invalid_grant", "error_description": why})),
            _ if knows => answer(200, &json!({"client": uid})),
            _ => answer(401, &json!({"error": "invalid_token"})),
        }
    })
}
