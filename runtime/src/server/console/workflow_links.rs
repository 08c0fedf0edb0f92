//! Which account each app prop of a workflow uses, to be chosen from those that its owner may use. What is chosen is
//! put into the file, and that is deployed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use keyhole_host_api::accounts::{AccountId, Health, Row};
use maud::{Markup, html};
use toml_edit::{DocumentMut, Item, Value};

use super::frame::Wrong;
use super::parts::title_of;
use super::room::{Room, brief};
use super::session::{Posted, Visitor, with_next};
use super::workflow_file::{deploy, must_be_of, parsed};
use super::workflows::{address, owned};
use crate::server::Api;
use crate::server::extract::Path;
use crate::server::model::WorkflowView;
use crate::server::problem::Problem;
use crate::workflow::record::{PlannedLink, PlannedStep, Version};
use crate::workflow::scopes;

/// Accounts that the choices of one workflow list in all. Where there are more, one is named, and some are suggested.
const CHOICES: usize = 100;
/// Bytes of the accounts that are suggested, and of the steps with their choices.
const SUGGESTED: usize = 8_000;
const SHOWN: usize = 14_000;
/// Characters of the scopes that an account lacks.
const LACKING: usize = 200;
/// Apps of which another account can be connected from here.
const CONNECTED: usize = 10;

/// What the accounts are that one may choose from.
struct Choices<'a> {
    api: &'a Api,
    visitor: &'a Visitor,
    accounts: &'a [Row],
    /// How many accounts have a nickname.
    called: HashMap<&'a str, usize>,
    /// Those that fit an app.
    fitting: BTreeMap<&'a str, Vec<&'a Row>>,
    /// Whether they are so many that one is named.
    are_many: bool,
}

impl<'a> Choices<'a> {
    fn new(api: &'a Api, visitor: &'a Visitor, version: &'a Version, accounts: &'a [Row]) -> Self {
        let mut called = HashMap::new();
        for one in accounts {
            *called.entry(one.nickname()).or_default() += 1;
        }
        let props = || version.steps.iter().flat_map(|step| step.links.values());
        let mut fitting: BTreeMap<&str, Vec<&Row>> = props().map(|link| (link.app.as_str(), Vec::new())).collect();
        for one in accounts.iter().filter(|one| one.usable) {
            if let Some(fitting) = fitting.get_mut(one.app()) {
                fitting.push(one);
            }
        }
        let are_many = props().map(|link| fitting[link.app.as_str()].len() + 1).sum::<usize>() > CHOICES;
        Self { api, visitor, accounts, called, fitting, are_many }
    }

    /// What names the account: its nickname, unless others have it, too.
    fn name(&self, one: &'a Row) -> &'a str {
        match self.called.get(one.nickname()) {
            Some(1) => one.nickname(),
            _ => one.id().as_str(),
        }
    }

    /// What else is to be known of it.
    fn about(&self, one: &Row) -> Markup {
        html! {
            @if *one.owner() != self.visitor.member.id { " (" (one.owner()) "’s)" }
            @if *one.health() != Health::Ok { " – reconnect needed" }
        }
    }

    fn find(&self, id: &AccountId) -> Option<&'a Row> {
        self.accounts.iter().find(|one| one.id() == id)
    }

    /// The accounts that are suggested to who names one.
    fn suggested(&self) -> Vec<Markup> {
        let mut room = Room::new(SUGGESTED);
        let lists = self.fitting.iter().filter(|_| self.are_many);
        let lists = lists.map_while(|(app, fitting)| {
            room.part(|room| {
                let options = room.rows(SUGGESTED, fitting, |one| {
                    html! { option value=(self.name(one)) { (one.nickname()) (self.about(one)) } }
                });
                html! { datalist id=(format!("accounts-{app}")) { @for one in &options { (one) } } }
            })
        });
        lists.collect()
    }

    /// The choice of one account.
    fn field(&self, id: &str, name: &str, link: &PlannedLink) -> Markup {
        let linked = link.account.as_ref().and_then(|id| self.find(id));
        if self.are_many {
            let value = linked.map(|one| self.name(one)).or(link.account.as_ref().map(AccountId::as_str));
            return html! {
                input id=(id) name=(name) value=[value] list=(format!("accounts-{}", link.app)) autocomplete="off"
                    spellcheck="false" placeholder=(if link.optional { "nickname, or nothing" } else { "nickname" });
            };
        }
        let fitting = &self.fitting[link.app.as_str()];
        html! {
            select id=(id) name=(name) {
                @if link.optional || link.account.is_none() { option value="" selected[link.account.is_none()] { "none" } }
                @if let Some(id) = link.account.as_ref().filter(|id| !fitting.iter().any(|one| one.id() == *id)) {
                    option value=(id) selected { (id) " (you may not use it)" }
                }
                @for one in fitting {
                    option value=(one.id()) selected[link.account.as_ref() == Some(one.id())] {
                        (one.nickname()) (self.about(one))
                    }
                }
            }
        }
    }

    fn prop(&self, at: usize, prop: &str, link: &PlannedLink) -> Markup {
        let id = format!("link-{at}-{prop}");
        let linked = link.account.as_ref().and_then(|id| self.find(id));
        let lacking = linked.map(|one| scopes::lacking(&link.scopes, one.scopes())).unwrap_or_default();
        html! {
            label for=(id) { (prop) " " span .soft { "(" (title_of(self.api, &link.app)) ")" } }
            (self.field(&id, &format!("{at}.{prop}"), link))
            @if let Some(account) = linked.filter(|_| !lacking.is_empty()) {
                p {
                    span .mark .wait { "not granted" } " " (brief(&lacking.join(", "), LACKING)) " – "
                    a href=(format!("/accounts/{}", account.id())) { "see the account" }
                }
            }
        }
    }

    fn step(&self, at: usize, step: &PlannedStep, room: &mut Room) -> Markup {
        let props = room.rows(SHOWN, &step.links, |(prop, link)| self.prop(at, prop, link));
        html! {
            li {
                strong { (step.name) } " " span .soft { (short(&step.uses)) }
                @for prop in &props { (prop) }
                @if props.len() < step.links.len() { p .soft { "and " (step.links.len() - props.len()) " more: change them in the file" } }
            }
        }
    }
}

/// The steps, and which account each of their app props uses.
pub(super) fn form(api: &Api, visitor: &Visitor, one: &WorkflowView, version: &Version, accounts: &[Row]) -> Markup {
    let choices = Choices::new(api, visitor, version, accounts);
    let mut room = Room::new(SHOWN);
    let steps: Vec<Markup> = version
        .steps
        .iter()
        .enumerate()
        .map_while(|(at, step)| room.part(|room| choices.step(at, step, room)))
        .collect();
    html! {
        form .card method="post" action=(format!("{}/links", address(one))) {
            (visitor.key())
            input type="hidden" name="version" value=(one.version);
            ol { @for step in &steps { (step) } }
            @if steps.len() < version.steps.len() {
                p .soft { "and " (version.steps.len() - steps.len()) " more, which stand " a href="#file" { "in the file" } }
            }
            @for list in choices.suggested() { (list) }
            @if choices.fitting.is_empty() { p .soft { "No step uses an account." } }
            @else {
                div .buttons {
                    button .act { "Save and deploy" }
                    @for app in choices.fitting.keys().filter_map(|app| api.catalog().get(app)).take(CONNECTED) {
                        a href=(with_next(&format!("/accounts/new/{}", app.name), Some(&address(one)))) {
                            "Connect another account of " (app.title)
                        }
                    }
                }
            }
        }
    }
}

/// A component's digest as far as a person can tell it from another.
fn short(uses: &str) -> &str {
    match uses.len() {
        64.. => &uses[..12],
        _ => uses,
    }
}

/// Puts the accounts that were chosen into the file, and deploys it.
pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Path(at): Path<(String, String)>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let (one, version) = owned(&api, &posted.visitor, &at).await?;
    must_be_of(&posted, &one)?;
    let mut file = parsed(&version.file)?;
    let accounts = api.accounts.rows(&posted.visitor.member.id).await?;
    for (number, step) in version.steps.iter().enumerate() {
        for (prop, link) in &step.links {
            // What is not there had no room on the page.
            let Some(chosen) = posted.raw(&format!("{number}.{prop}")).map(str::trim) else { continue };
            let chosen = meant(&accounts, chosen);
            if chosen == link.account.as_ref().map_or("", |id| id.as_str()) {
                continue;
            }
            let links = links_of(&mut file, number)?;
            match chosen {
                "" => links.take_out(prop)?,
                account => *links.get(prop)? = account.into(),
            }
        }
    }
    deploy(&api, &posted, &at, &version, file.to_string()).await
}

/// The id of the account that a person means who writes `text`, or the text itself if that is not one account's.
fn meant<'a>(accounts: &'a [Row], text: &'a str) -> &'a str {
    let mut named = accounts.iter().filter(|one| one.nickname() == text || one.id().as_str() == text);
    match (named.next(), named.next()) {
        (Some(one), None) => one.id().as_str(),
        _ => text,
    }
}

/// The table `links` of a step.
struct Links<'f>(&'f mut Item);

impl<'f> Links<'f> {
    fn take_out(self, prop: &str) -> Result<(), Problem> {
        self.0.as_table_like_mut().ok_or_else(odd)?.remove(prop);
        Ok(())
    }

    fn get(self, prop: &str) -> Result<&'f mut Item, Problem> {
        let table = self.0.as_table_like_mut().ok_or_else(odd)?;
        if table.get(prop).is_none() {
            table.insert(prop, Item::Value(Value::from("")));
        }
        let Self(item) = self;
        item.get_mut(prop).ok_or_else(odd)
    }
}

fn links_of(file: &mut DocumentMut, step: usize) -> Result<Links<'_>, Problem> {
    let step = file.get_mut("steps").and_then(|steps| steps.get_mut(step)).ok_or_else(odd)?;
    let table = step.as_table_like_mut().ok_or_else(odd)?;
    if table.get("links").is_none() {
        table.insert("links", Item::Value(Value::InlineTable(toml_edit::InlineTable::new())));
    }
    step.get_mut("links").map(Links).ok_or_else(odd)
}

fn odd() -> Problem {
    Problem::conflict("the file has its links in a form that is not changed here").help("change the file itself")
}
