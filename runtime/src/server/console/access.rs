//! Who may use an account. What would stop is said before anything is taken away, and what somebody else changed
//! meanwhile is not written over.
//!
//! The form sends what is to change, not the whole access: of the members that it showed, who is chosen, and of the
//! others, who was chosen or left out on a page before.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use keyhole_host_api::accounts::{Access, ChangeError};
use keyhole_host_api::members::{Member, MemberId};
use maud::{Markup, html};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::account::{NAMED, found};
use super::frame::{self, Part, Wrong, alert};
use super::parts::matches;
use super::session::{Posted, Visitor, with_next};
use crate::server::Api;
use crate::server::extract::{Body, Path, Query};
use crate::server::model::{AccountView, SetAccess};
use crate::server::problem::Problem;
use crate::server::routes;

/// Longest query that brings back what was chosen, in bytes: what is longer has to be chosen again.
const BROUGHT: usize = 1_000;

/// Members that the page shows. Where there are more, it shows those who were chosen, or who are searched for.
const SHOWN: usize = 50;

/// What can be chosen: the word for it, its name, and what it means.
const KINDS: [(&str, &str, &str); 3] = [
    ("private", "Private", "Only your own workflows use it."),
    ("workspace", "The whole workspace", "Workflows of every member use it, of those who join later, too."),
    ("members", "Members by name", "Workflows of those whom you choose here use it."),
];

/// What is wanted, as far as it is filled in.
#[derive(PartialEq, Eq)]
struct Wanted {
    /// The word of one of [`KINDS`].
    kind: &'static str,
    /// Who is chosen by name. It counts where that is the kind.
    members: BTreeSet<MemberId>,
}

impl Wanted {
    fn as_is(access: &Access) -> Self {
        let kind = match access {
            Access::Private => "private",
            Access::Workspace => "workspace",
            Access::Members(_) => "members",
        };
        Self { kind, members: granted(access) }
    }

    /// What was chosen before the visitor went to prove that the account is theirs.
    fn brought(chosen: &Chosen) -> Option<Self> {
        let (kind, ..) = KINDS.into_iter().find(|(kind, ..)| chosen.access.as_deref() == Some(*kind))?;
        let names = chosen.members.as_deref().unwrap_or("").split(',').filter(|name| !name.is_empty());
        Some(Self { kind, members: names.map(str::parse).collect::<Result<_, _>>().ok()? })
    }

    /// The page of the account at `at` on which it is chosen.
    fn page(&self, at: &str) -> String {
        let members = self.members.iter().map(MemberId::as_str).collect::<Vec<_>>().join(",");
        let mut query = Serializer::new(String::new());
        query.append_pair("access", self.kind);
        if !members.is_empty() {
            query.append_pair("members", &members);
        }
        match query.finish() {
            query if query.len() <= BROUGHT => format!("{at}/access?{query}"),
            _ => format!("{at}/access"),
        }
    }

    fn access(&self) -> Result<Access, Problem> {
        match self.kind {
            "private" => Ok(Access::Private),
            "workspace" => Ok(Access::Workspace),
            _ if self.members.is_empty() => Err(Problem::wrong("no member is chosen").help("choose some, or Private")),
            _ => Ok(Access::Members(self.members.clone())),
        }
    }

    /// The fields of a form that say of all members but those `shown` what is to change.
    fn changes(&self, access: &Access, shown: &[&Arc<Member>]) -> Markup {
        let granted = granted(access);
        let unseen = |id: &&MemberId| !shown.iter().any(|member| member.id == **id);
        html! {
            input type="hidden" name="was" value=(mark(access));
            @for id in self.members.difference(&granted).filter(unseen) { input type="hidden" name="add" value=(id); }
            @for id in granted.difference(&self.members).filter(unseen) { input type="hidden" name="drop" value=(id); }
        }
    }
}

/// Who is named by `access`.
fn granted(access: &Access) -> BTreeSet<MemberId> {
    match access {
        Access::Members(members) => members.clone(),
        Access::Private | Access::Workspace => BTreeSet::new(),
    }
}

/// What tells an access from any other, in short.
fn mark(access: &Access) -> String {
    blake3::hash(access.to_string().as_bytes()).to_hex()[..32].to_owned()
}

/// What is chosen before anything is.
#[derive(Deserialize)]
pub(super) struct Chosen {
    access: Option<String>,
    members: Option<String>,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(chosen): Query<Chosen>,
) -> Result<Response, Wrong> {
    let one = own(&api, &visitor, &id).await?;
    let wanted = Wanted::brought(&chosen).unwrap_or_else(|| Wanted::as_is(&one.access));
    let content = Choice::of(&api, &visitor, &one).await?.form(&wanted, "", None);
    Ok(frame::page(&visitor, Part::Accounts, "Manage access", content))
}

async fn own(api: &Arc<Api>, visitor: &Visitor, id: &str) -> Result<AccountView, Problem> {
    let one = found(api, visitor, id).await?;
    if one.owner != visitor.member.id {
        return Err(Problem::not_allowed(format!("only its owner, {}, says who may use it", one.owner)));
    }
    Ok(one)
}

/// The page on which it is chosen.
struct Choice<'a> {
    visitor: &'a Visitor,
    one: &'a AccountView,
    others: Vec<Arc<Member>>,
}

impl<'a> Choice<'a> {
    async fn of(api: &Api, visitor: &'a Visitor, one: &'a AccountView) -> Result<Self, Problem> {
        let mut others = api.members.list().await?;
        others.retain(|member| member.id != one.owner);
        Ok(Self { visitor, one, others })
    }

    fn has_search(&self) -> bool {
        self.others.len() > SHOWN
    }

    /// Those who are searched for, or else those who are chosen, or were.
    fn found(&self, wanted: &Wanted, search: &str) -> Vec<&Arc<Member>> {
        let granted = granted(&self.one.access);
        let fits = |member: &&Arc<Member>| match (self.has_search(), search.trim().is_empty()) {
            (false, _) => true,
            (true, true) => wanted.members.contains(&member.id) || granted.contains(&member.id),
            (true, false) => matches(search, &[member.id.as_str()]),
        };
        self.others.iter().filter(fits).collect()
    }

    fn form(&self, wanted: &Wanted, search: &str, problem: Option<&Problem>) -> Markup {
        let (visitor, one) = (self.visitor, self.one);
        let at = format!("/accounts/{}", one.id);
        let found = self.found(wanted, search);
        let shown = &found[..found.len().min(SHOWN)];
        html! {
            p .crumb { a href=(at) { (one.nickname) } }
            div .head { h1 { "Who may use " bdi { (one.nickname) } "?" } }
            @if let Some(problem) = problem {
                (alert(problem))
                @if problem.is("proof-needed") {
                    @let back = wanted.page(&at);
                    p {
                        a .button href=(with_next(&format!("{at}/reconnect"), Some(&back))) { "Reconnect it" }
                        " and come back to what you have chosen here: that proves that it is yours."
                    }
                }
            }
            // Also where a link that somebody else made has chosen it.
            @if *wanted != Wanted::as_is(&one.access) {
                p .notice .wait role="status" { "What is chosen here is not saved yet." }
            }
            form .card method="post" {
                (visitor.key())
                (wanted.changes(&one.access, shown))
                fieldset {
                    legend { "Access" }
                    @for (kind, name, meaning) in KINDS {
                        label .choice {
                            input type="radio" name="access" value=(kind) checked[wanted.kind == kind];
                            span { strong { (name) } br; (meaning) }
                        }
                    }
                }
                fieldset {
                    legend { "Members" }
                    @if self.others.is_empty() { p .soft { "You are the only member." } }
                    @if self.has_search() { (self.search(wanted, search, found.len())) }
                    @for member in shown {
                        input type="hidden" name="shown" value=(member.id);
                        label .choice {
                            input type="checkbox" name="member" value=(member.id) checked[wanted.members.contains(&member.id)];
                            span { (member.id) }
                        }
                    }
                    @if found.len() > shown.len() {
                        p .soft { "and " (found.len() - shown.len()) " more. Search by name to see them." }
                    }
                }
                p .soft { "Nobody is shown its keys, whatever you choose. A change holds from the next request on, of runs under way, too." }
                div .buttons { button .act { "Save" } a href=(at) { "Cancel" } }
            }
        }
    }

    /// It sends the form, so that what was chosen is kept while others are looked for. It is the form's first button, so
    /// that Enter in its field searches.
    fn search(&self, wanted: &Wanted, search: &str, found: usize) -> Markup {
        html! {
            div .line {
                div .search {
                    label for="q" { "Search" }
                    input #q name="q" type="search" value=(search) placeholder="name" autocomplete="off" autocapitalize="none"
                        spellcheck="false";
                }
                button name="find" value="yes" { "Search" }
            }
            p .soft role="status" {
                "Chosen: " (wanted.members.len()) " of " (self.others.len()) " members. "
                @if search.trim().is_empty() {
                    @if found == 0 { "Search for others, and choose them." } @else { "Search for others to choose them, too." }
                } @else if found == 1 { "1 has such a name." } @else { (found) " have such a name." }
            }
        }
    }

    fn again(&self, wanted: &Wanted, problem: &Problem) -> Response {
        frame::again(self.visitor, Part::Accounts, problem, "Manage access", self.form(wanted, "", Some(problem)))
    }
}

pub(super) async fn set(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let visitor = &posted.visitor;
    let one = own(&api, visitor, &id).await?;
    let choice = Choice::of(&api, visitor, &one).await?;
    // What is to change is said of the access that the form was made for.
    if posted.raw("was") != Some(mark(&one.access).as_str()) {
        return Ok(choice.again(&Wanted::as_is(&one.access), &ChangeError::AccessChanged.into()));
    }
    let wanted = match asked(&posted, &one.access) {
        Ok(wanted) => wanted,
        Err(problem) => return Ok(choice.again(&Wanted::as_is(&one.access), &problem)),
    };
    if posted.one("find").is_some() {
        let content = choice.form(&wanted, posted.one("q").unwrap_or(""), None);
        return Ok(frame::page(visitor, Part::Accounts, "Manage access", content));
    }
    let access = match wanted.access() {
        Ok(access) => access,
        Err(problem) => return Ok(choice.again(&wanted, &problem)),
    };
    let stops = stopped(&api, &one, &access).await?;
    if !stops.is_empty() && posted.one("sure").is_none() {
        return Ok(frame::page(visitor, Part::Accounts, "Manage access", confirm(visitor, &one, &wanted, &stops)));
    }
    let set = Body(SetAccess { access, was: Some(one.access.clone()) });
    match routes::accounts::access(State(api.clone()), visitor.caller.clone(), Path(id.clone()), set).await {
        Ok(_) => Ok(Redirect::to(&format!("/accounts/{}?done=access", one.id)).into_response()),
        // Since it was looked at here.
        Err(problem) if problem.is("conflict") => {
            let one = own(&api, visitor, &id).await?;
            Ok(Choice::of(&api, visitor, &one).await?.again(&Wanted::as_is(&one.access), &problem))
        }
        Err(problem) if problem.code().is_server_error() => Err(problem.into()),
        Err(problem) => Ok(choice.again(&wanted, &problem)),
    }
}

/// What the form asks for, of an account whose access is `access`.
fn asked(posted: &Posted, access: &Access) -> Result<Wanted, Problem> {
    let kind = KINDS.map(|(kind, ..)| kind).into_iter().find(|kind| posted.one("access") == Some(*kind));
    let kind = kind.ok_or_else(|| Problem::wrong("nothing is chosen"))?;
    let named = |field: &str| {
        let names: Result<Vec<MemberId>, _> = posted.all(field).map(str::parse).collect();
        names.map_err(|_| Problem::wrong("there is no such member"))
    };
    let mut members = granted(access);
    for gone in named("shown")?.iter().chain(&named("drop")?) {
        members.remove(gone);
    }
    members.extend(named("member")?);
    members.extend(named("add")?);
    Ok(Wanted { kind, members })
}

/// The workflows of others that use it now and could not any more.
async fn stopped(api: &Api, one: &AccountView, wanted: &Access) -> Result<Vec<String>, Problem> {
    let using = api.workflows.using(&one.id).await?;
    let stops = using.into_iter().filter(|workflow| {
        workflow.owner != one.owner && one.access.includes(&workflow.owner) && !wanted.includes(&workflow.owner)
    });
    Ok(stops.map(|workflow| workflow.id().to_string()).collect())
}

fn confirm(visitor: &Visitor, one: &AccountView, wanted: &Wanted, stops: &[String]) -> Markup {
    html! {
        p .crumb { a href=(format!("/accounts/{}", one.id)) { (one.nickname) } }
        div .head { h1 { "This stops workflows" } }
        form .card method="post" {
            (visitor.key())
            (wanted.changes(&one.access, &[]))
            input type="hidden" name="sure" value="yes";
            input type="hidden" name="access" value=(wanted.kind);
            p { "Without access to " bdi { (one.nickname) } " these can't go on:" }
            ul {
                @for workflow in stops.iter().take(NAMED) { li { (workflow) } }
                @if stops.len() > NAMED { li { "and " (stops.len() - NAMED) " more" } }
            }
            div .buttons {
                button .bad { "Take the access away" }
                a href=(format!("/accounts/{}/access", one.id)) { "Cancel" }
            }
        }
    }
}
