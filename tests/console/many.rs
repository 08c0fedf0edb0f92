//! A workspace with many accounts and members: 1,000 of each, and 10,000 with KEYHOLE_LONG=1. One with many runs: 6,000,
//! and 1,000,000.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use keyhole::workflow::history::History;
use keyhole::workflow::record::{Cause, Details, Pending, Run, RunStatus, WorkflowId};
use keyhole_host_api::store::Store;
use keyhole_host_api::store::redb::RedbStore;
use keyhole_tests::program::{KEY, many_member};
use keyhole_tests::served::Served;
use serde_json::json;
use serde_json::value::RawValue;

use crate::house::{House, Words};
use crate::visit::{Answer, Visit, client, send};

/// The most that a page may have in all, with its stylesheet and script.
pub const MOST: usize = 100_000;

/// The middle of some looks at a page.
async fn look(visit: &Visit, path: &str) -> (Duration, Answer) {
    let mut looks = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let answer = visit.get(path).await;
        looks.push((began.elapsed(), answer));
    }
    looks.sort_by_key(|(took, _)| *took);
    looks.swap_remove(2)
}

/// The most that a page may take that took `before` with next to nothing in the store: what each request costs grows
/// with what else the machine does, and what a list of everything would cost on top is far more than this.
fn bound(before: Duration) -> Duration {
    before * 10 + Duration::from_millis(30)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn is_long() -> bool {
    std::env::var_os("KEYHOLE_LONG").is_some()
}

/// How many accounts and members there are.
fn many() -> usize {
    if is_long() { 10_000 } else { 1_000 }
}

#[tokio::test]
async fn with_many_accounts_and_members_every_page_is_small_and_their_lists_have_pages_that_hold_them_all() {
    let count = many();
    let house = House::new(&Words::default());
    let (alice, bob) = (Visit::of(&house.served, "alice").await, Visit::of(&house.served, "bob").await);
    let access = format!("/accounts/{}/access", house.healthy);
    // An admin who sees all accounts, and a member who sees one.
    let lists = [
        (&alice, "/accounts"),
        (&bob, "/accounts"),
        (&alice, "/accounts?q=acme"),
        (&alice, "/members/bob/remove"),
        (&alice, "/members"),
        (&bob, "/members?q=admin"),
        (&bob, "/accounts/new/notes"),
        (&alice, access.as_str()),
    ];
    let mut before = Vec::new();
    for (visit, path) in lists {
        before.push(look(visit, path).await.0);
    }
    house.served.keyhole.many_members(count).await;
    connect(&house.served, count).await;
    for ((visit, path), before) in lists.into_iter().zip(before) {
        // The first look reads what is new.
        visit.get(path).await;
        let (took, answer) = look(visit, path).await;
        println!("{path}: {:.1} ms with next to nothing there, {:.1} ms with {count} of each", ms(before), ms(took));
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(took < bound(before), "{path} took {took:?} with {count} of each, and {before:?} before");
    }

    let lists = [
        "/accounts?page=3",
        "/accounts?q=number-002",
        "/accounts?q=Acme&page=2",
        "/members?page=3",
        "/members?q=m002",
        "/members/m00299",
    ];
    let pages = house.pages().into_iter().chain(lists.map(str::to_owned));
    small(&alice, pages, assets(&alice).await).await;
    assert_eq!(listed(&alice, "/accounts").await, count + 2, "each is on one page");
    assert_eq!(listed(&alice, "/members").await, count + 3, "each is on one page");
    for (path, one) in [("/accounts?q=number-00299", ">1 account<"), ("/members?q=m00299", ">1 member<")] {
        let found = alice.get(path).await.text;
        assert!(found.contains(one), "{found}");
    }
}

#[tokio::test]
async fn an_access_of_many_members_is_told_in_short_and_changed_by_what_is_to_change() {
    let count = many();
    let house = House::new(&Words::default());
    house.served.keyhole.many_members(count).await;
    let (token, _) = house.served.token("alice", &[]);
    let account = format!("{}/api/accounts/{}", house.served.url, house.healthy);
    let all: Vec<String> = (0..count).map(many_member).collect();
    let wanted = json!({"access": {"members": all}});
    let set = client(1).put(format!("{account}/access")).bearer_auth(&token).json(&wanted);
    assert_eq!(send(set).await.status, 200);

    let alice = Visit::of(&house.served, "alice").await;
    let (page, access) = (format!("/accounts/{}", house.healthy), format!("/accounts/{}/access", house.healthy));
    small(&alice, [page.clone(), access.clone(), "/accounts".to_owned()], assets(&alice).await).await;
    let more = format!("and {} more", count - 50);
    assert!(alice.get(&page).await.text.contains(&more));
    let shown = alice.get(&access).await.text;
    assert!(shown.contains(&more), "{shown}");
    assert_eq!(shown.matches("type=\"checkbox\"").count(), 50);

    // As the page sends it when one of those that it shows is left out and bob is chosen, whom it does not show.
    let (_, was) = shown.split_once("name=\"was\" value=\"").expect("what the page is about");
    let was = was.split('"').next().unwrap_or_default();
    let change = [("was", was), ("access", "members"), ("shown", "m00000"), ("add", "bob")];
    assert_eq!(alice.post(&access, &change).await.status, 303);
    let now = send(client(1).get(&account).bearer_auth(&token)).await.text;
    let now: serde_json::Value = serde_json::from_str(&now).expect("JSON");
    let members = now["access"]["members"].as_array().expect("a list");
    // Bob came, m00000 went, and the others are as they were.
    assert_eq!((members.len(), &members[0], &members[1]), (count, &json!("bob"), &json!("m00001")));
    assert_eq!(alice.post(&access, &change).await.status, 409, "it was said of the access before");
}

/// The most that a page may take, whatever there is in the store.
const SOON: Duration = Duration::from_millis(50);

/// Fails if one of the pages is not small, or does not come soon where there are as many as a workspace may have.
async fn small(visit: &Visit, pages: impl IntoIterator<Item = String>, assets: usize) {
    let mut wrong = Vec::new();
    println!("{assets} bytes of assets\n{:>9} {:>7}  page", "median ms", "bytes");
    for path in pages {
        let (took, answer) = look(visit, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let size = answer.text.len() + assets;
        println!("{:>9.1} {size:>7}  {path}", ms(took));
        if size >= MOST {
            wrong.push(format!("{path} has {size} bytes"));
        }
        // Otherwise told alone: how fast it is depends on what else the machine does.
        if is_long() && took >= SOON {
            wrong.push(format!("{path} took {took:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Bytes of what each page loads.
pub async fn assets(visit: &Visit) -> usize {
    let mut assets = 0;
    let first = visit.get("/accounts").await.text;
    for name in ["console.css", "console.js"] {
        let (before, _) = first.split_once(&format!("/{name}\"")).expect("the page names it");
        let (_, at) = before.rsplit_once('"').expect("an address");
        let asset = visit.get(&format!("{at}/{name}")).await;
        assert!(asset.status == 200 && asset.header("cache-control").contains("immutable"), "{name}");
        assets += asset.text.len();
    }
    assets
}

/// Accounts of alice's, by the API: sixteen at a time.
pub async fn connect(served: &Served, count: usize) {
    let (token, _) = served.token("alice", &[]);
    let (client, url) = (client(1), format!("{}/api/accounts", served.url));
    let connect = |number: usize| {
        let nickname = format!("number-{number:05}");
        let new = json!({"app": "acme", "nickname": nickname, "fields": {"api_key": KEY}, "test": false});
        let request = client.post(&url).bearer_auth(&token).timeout(Duration::from_secs(60)).json(&new);
        async move {
            let answer = send(request).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
    };
    futures_util::stream::iter((0..count).map(connect)).buffer_unordered(16).collect::<Vec<()>>().await;
}

/// How many all pages of the list at `list` have together.
async fn listed(visit: &Visit, list: &str) -> usize {
    let mut ids = std::collections::BTreeSet::new();
    let mut next = Some(list.to_owned());
    while let Some(path) = next {
        let page = visit.get(&path).await.text;
        let row = format!("<div class=\"what\"><a href=\"{list}/");
        let rows = page.split(&row).skip(1);
        ids.extend(rows.filter_map(|row| row.split('"').next().map(str::to_owned)));
        let link = page.split("<a href=\"").skip(1).find(|link| link.contains("rel=\"next\""));
        next = link.map(|link| link.split('"').next().unwrap_or_default().replace("&amp;", "&"));
    }
    ids.len()
}

#[tokio::test]
async fn a_page_of_runs_costs_what_it_shows_however_many_runs_others_have() {
    let count = if is_long() { 1_000_000 } else { 6_000 };
    let house = House::new(&Words::default());
    for name in ["alice", "bob"] {
        house.served.keyhole.has_long_been(name).await;
    }
    let (alice, bob) = (Visit::of(&house.served, "alice").await, Visit::of(&house.served, "bob").await);
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&house.served.keyhole.data_dir()).expect("the store"));
    let history = History::new(store);
    // Bob's are the oldest.
    let begun = Timestamp::now() - SignedDuration::from_hours(24 * 20);
    fill(&history, "bob/rarely", begun, 3).await;
    let lists = [
        (&alice, "/runs", 50),
        (&bob, "/runs", 3),
        (&bob, "/runs?workflow=rarely", 3),
        (&bob, "/runs?status=failed", 0),
    ];
    let mut before = Vec::new();
    for (visit, path, _) in lists {
        before.push(look(visit, path).await.0);
    }
    fill(&history, "alice/often", begun + SignedDuration::from_hours(1), count).await;
    let rows = |page: &str| page.matches("<td><a href=\"/runs/").count();
    for ((visit, path, there), before) in lists.into_iter().zip(before) {
        let (took, answer) = look(visit, path).await;
        println!("{path}: {:.1} ms with next to no runs, {:.1} ms with {count}", ms(before), ms(took));
        assert_eq!(rows(&answer.text), there, "{path}");
        assert!(took < bound(before), "{path} took {took:?} with {count} runs, and {before:?} before");
    }

    // Of those of one status a page looks at so many only, and says so: none is passed over on the way.
    let (mut next, mut found, mut pages) = (Some("/runs?status=failed".to_owned()), 0, 0);
    while let Some(path) = next.filter(|_| pages < 10) {
        let page = alice.get(&path).await.text;
        found += rows(&page);
        pages += 1;
        let link = page.split("<a href=\"").skip(1).find(|link| link.contains("rel=\"next\""));
        next = link.map(|link| link.split('"').next().unwrap_or_default().replace("&amp;", "&"));
    }
    assert!(found >= 1 && pages >= 3, "{found} on {pages} pages");
}

/// Runs of a workflow that ended well, one a second.
pub async fn fill(history: &History, workflow: &str, begun: Timestamp, count: usize) {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
    let one = |number: usize| async move {
        let at = begun + SignedDuration::from_secs(i64::try_from(number).expect("a number"));
        let millis = u64::try_from(at.as_millisecond()).expect("after 1970");
        let run = Run {
            id: ulid::Ulid::from_parts(millis, number as u128).to_string(),
            workflow: WorkflowId(workflow.to_owned()),
            version: 1,
            cause: Cause::Http,
            status: RunStatus::Ok,
            accepted: at,
            started: Some(at),
            ended: Some(at),
            steps: 0,
            bytes: 0,
            error: None,
            waits: None,
        };
        let pending = json!({
            "workflow": run.workflow, "version": 1, "cause": "http", "accepted": at, "instance": "many", "event": {},
        });
        let pending: Pending = serde_json::from_str(&pending.to_string()).expect("a run that is pending");
        history.accept(&run.id, &pending).await.expect("it is accepted");
        let details = Details { event: raw("{}"), steps: Vec::new(), tried: Vec::new(), exit: None };
        history.end(&run, &details).await.expect("it ends");
    };
    futures_util::stream::iter((0..count).map(one)).buffer_unordered(8_000).collect::<Vec<()>>().await;
}
