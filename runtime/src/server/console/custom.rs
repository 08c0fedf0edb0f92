//! Connecting an account of a service that has no definition: its hosts and where its secrets go are described first, and
//! what it takes is given then. What is described holds no secret; it comes along in the second form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use keyhole_host_api::apps::{App, CUSTOM, CustomApp, CustomPart, CustomPlace, Template};
use keyhole_host_api::vault::Secret;
use maud::{Markup, html};

use super::connect::finished;
use super::connect_link::asked;
use super::frame::{self, Part, Wrong, alert};
use super::parts::field;
use super::session::{Posted, Visitor, with_next};
use super::sign_in::Next;
use crate::server::Api;
use crate::server::extract::{Body, Query};
use crate::server::model::{FieldView, NewAccount, hidden};
use crate::server::problem::Problem;
use crate::server::routes;

/// Rows for places that an empty form has, and that are added at a time.
const ROWS: usize = 2;
/// Most rows of one form.
const MOST: usize = CustomApp::MOST;

/// The kinds of places: what a form sends, and what it is called.
const KINDS: [(&str, &str); 6] = [
    ("header", "header"),
    ("basic", "user name and password"),
    ("query", "query parameter"),
    ("segment", "part of the path"),
    ("json", "value in a JSON body"),
    ("form", "field of a form body"),
];

/// What was typed to describe a service.
#[derive(Default)]
struct Typed {
    title: String,
    hosts: String,
    base_url: String,
    plain: String,
    rows: Vec<Row>,
}

/// One place as it was typed.
#[derive(Clone, Default)]
struct Row {
    kind: String,
    name: String,
    template: String,
}

impl Row {
    fn is_empty(&self) -> bool {
        self.name.trim().is_empty() && self.template.trim().is_empty()
    }

    fn place(&self) -> Result<CustomPlace, String> {
        let (name, template) = (self.name.trim().to_owned(), self.template.trim().to_owned());
        Ok(match self.kind.as_str() {
            "header" => CustomPlace::Header { name, template },
            "basic" => CustomPlace::Basic { username: name, password: template },
            "query" => CustomPlace::Query { name, template },
            "json" => CustomPlace::Json { pointer: name, template },
            "form" => CustomPlace::Form { name, template },
            "segment" => {
                let wrong = |_| format!("'{name}' is not the number of a part; the part after the first '/' is 1");
                CustomPlace::Segment { index: name.parse().map_err(wrong)?, template }
            }
            _ => return Err("no place is chosen".to_owned()),
        })
    }

    fn of(place: &CustomPlace) -> Self {
        let (kind, name, template) = match place {
            CustomPlace::Header { name, template } => ("header", name.clone(), template),
            CustomPlace::Basic { username, password } => ("basic", username.clone(), password),
            CustomPlace::Query { name, template } => ("query", name.clone(), template),
            CustomPlace::Segment { index, template } => ("segment", index.to_string(), template),
            CustomPlace::Json { pointer, template } => ("json", pointer.clone(), template),
            CustomPlace::Form { name, template } => ("form", name.clone(), template),
        };
        Self { kind: kind.to_owned(), name, template: template.clone() }
    }
}

/// What is wrong with what was typed, beside where it was typed.
#[derive(Default)]
struct Faults {
    title: Vec<String>,
    hosts: Vec<String>,
    base_url: Vec<String>,
    plain: Vec<String>,
    /// By the number of the row.
    rows: BTreeMap<usize, Vec<String>>,
    rest: Vec<String>,
}

impl Faults {
    fn any(&self) -> bool {
        let Self { title, hosts, base_url, plain, rows, rest } = self;
        ![title, hosts, base_url, plain, rest].iter().all(|list| list.is_empty()) || !rows.is_empty()
    }
}

impl Typed {
    fn of(posted: &Posted) -> Self {
        let text = |name: &str| posted.raw(name).unwrap_or("").to_owned();
        let rows = posted.all("kind").zip(posted.all("name")).zip(posted.all("template")).take(MOST);
        let rows = rows.map(|((kind, name), template)| Row {
            kind: kind.to_owned(),
            name: name.to_owned(),
            template: template.to_owned(),
        });
        Self {
            title: text("title"),
            hosts: text("hosts"),
            base_url: text("base_url"),
            plain: text("plain"),
            rows: rows.collect(),
        }
    }

    /// What leads to `custom` again.
    fn again(custom: &CustomApp) -> Self {
        let headers = custom.headers.iter();
        let headers = headers.map(|(name, value)| CustomPlace::Header { name: name.clone(), template: value.clone() });
        let places: Vec<CustomPlace> = custom.places.iter().cloned().chain(headers).collect();
        let plain = custom.fields.iter().filter(|field| !field.secret).map(|field| field.name.as_str());
        Self {
            title: custom.title.clone(),
            hosts: custom.hosts.join("\n"),
            base_url: custom.base_url.clone().unwrap_or_default(),
            plain: plain.collect::<Vec<_>>().join(" "),
            rows: places.iter().map(Row::of).collect(),
        }
    }

    /// The definition that it makes, and its app.
    fn checked(&self) -> Result<(CustomApp, App), Faults> {
        let mut faults = Faults::default();
        let hosts: Vec<String> = self.hosts.split_whitespace().map(str::to_owned).collect();
        if hosts.is_empty() {
            faults.hosts.push("a custom app needs a host; write one such as api.example.com".to_owned());
        }
        let plain: Vec<String> = self.plain.split([' ', ',', '\n', '\r', '\t']).map(str::to_owned).collect();
        let plain: Vec<String> = plain.into_iter().filter(|name| !name.is_empty()).collect();
        // First, and alone: the rest takes time that grows with them.
        for (count, what, list) in
            [(hosts.len(), "hosts", &mut faults.hosts), (plain.len(), "names", &mut faults.plain)]
        {
            if count > MOST {
                list.push(format!("a custom app has at most {MOST} {what}; take some away"));
            }
        }
        if hosts.len().max(plain.len()) > MOST {
            return Err(faults);
        }
        let known: BTreeSet<&str> = plain.iter().map(String::as_str).collect();
        // The rows that the places of the definition, and its headers, were typed in.
        let (mut places, mut typed_in, mut headers) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (at, row) in self.rows.iter().enumerate().filter(|(_, row)| !row.is_empty()) {
            match row.place() {
                Err(wrong) => faults.rows.entry(at).or_default().push(wrong),
                Ok(place) => {
                    let is_plain = |template: &str| {
                        let template = Template::parse(template);
                        template.is_ok_and(|one| one.fields().all(|field| known.contains(field)))
                    };
                    match &place {
                        CustomPlace::Header { name, template } if is_plain(template) => {
                            headers.insert(name.clone(), at);
                        }
                        _ => typed_in.push(at),
                    }
                    places.push(place);
                }
            }
        }
        let base_url = Some(self.base_url.trim().to_owned()).filter(|url| !url.is_empty());
        let custom = CustomApp::gather(self.title.trim().to_owned(), hosts, places, &plain);
        let custom = CustomApp { base_url, ..custom };
        let problems = match custom.checked() {
            Ok(app) if !faults.any() => return Ok((custom, app)),
            Ok(_) => Vec::new(),
            Err(problems) => problems,
        };
        for (part, line) in problems {
            let row = match &part {
                Some(CustomPart::Place(number)) => typed_in.get(*number),
                Some(CustomPart::Header(name)) => headers.get(name),
                _ => None,
            };
            let list = match (part, row) {
                (_, Some(row)) => faults.rows.entry(*row).or_default(),
                (Some(CustomPart::Title), _) => &mut faults.title,
                (Some(CustomPart::Host(_)), _) => &mut faults.hosts,
                (Some(CustomPart::BaseUrl), _) => &mut faults.base_url,
                (Some(CustomPart::Field(number)), _) if known.contains(custom.fields[number].name.as_str()) => {
                    &mut faults.plain
                }
                // Said of the hosts above, in other words.
                (None, _) if custom.hosts.is_empty() && line.contains("host") => continue,
                _ => &mut faults.rest,
            };
            if !list.contains(&line) {
                list.push(line);
            }
        }
        Err(faults)
    }
}

/// Asks what the service is like.
pub(super) async fn ask(visitor: Visitor, Query(next): Query<Next>) -> Response {
    let typed = Typed { rows: vec![Row::default(); ROWS], ..Typed::default() };
    let content = describe(&visitor, &typed, &Faults::default(), next.local());
    frame::page(&visitor, Part::Accounts, "Connect a service of your own", content)
}

/// Takes the description, or what is given for what was described.
pub(super) async fn connect(
    State(api): State<Arc<Api>>,
    Query(next): Query<Next>,
    posted: Posted,
) -> Result<Response, Wrong> {
    let next = next.local();
    let Some(definition) = posted.raw("definition") else { return Ok(described(&posted, next)) };
    let custom: CustomApp = serde_json::from_str(definition)
        .map_err(|_| Problem::wrong("what the service is like did not come whole").help("describe it again"))?;
    let visitor = &posted.visitor;
    if posted.one("do") == Some("back") {
        let content = describe(visitor, &Typed::again(&custom), &Faults::default(), next);
        return Ok(frame::page(visitor, Part::Accounts, "Connect a service of your own", content));
    }
    let app = custom.app().map_err(|error| Problem::wrong(error.to_string()).help("describe it again"))?;
    let fields = asked(&app);
    let given = |field: &FieldView| {
        let value = posted.raw(&input_of(&field.name)).filter(|value| !value.is_empty())?;
        Some((field.name.clone(), Secret::new(value.to_owned())))
    };
    let new = NewAccount {
        app: CUSTOM.to_owned(),
        nickname: posted.one("nickname").map(str::to_owned),
        fields: hidden(fields.iter().filter_map(given).collect()),
        custom: Some(custom.clone()),
        test: true,
    };
    match routes::accounts::connect(State(api.clone()), visitor.caller.clone(), Body(new)).await {
        Ok((_, connected)) => Ok(finished(visitor, &connected.0, "connected", next)),
        Err(problem) if problem.code().is_server_error() => Err(problem.into()),
        Err(problem) => {
            let content = keys(visitor, &custom, &app, Some((&posted, &problem)), next);
            Ok(frame::again(visitor, Part::Accounts, &problem, "Connect a service of your own", content))
        }
    }
}

fn described(posted: &Posted, next: Option<&str>) -> Response {
    let (visitor, mut typed) = (&posted.visitor, Typed::of(posted));
    let title = "Connect a service of your own";
    if posted.one("do") == Some("more") {
        let more = (typed.rows.len() + ROWS).min(MOST);
        typed.rows.resize(more, Row::default());
        return frame::page(visitor, Part::Accounts, title, describe(visitor, &typed, &Faults::default(), next));
    }
    match typed.checked() {
        Ok((custom, app)) => frame::page(visitor, Part::Accounts, title, keys(visitor, &custom, &app, None, next)),
        Err(faults) => {
            let problem = Problem::wrong("the service can't be reached as it is described");
            frame::again(visitor, Part::Accounts, &problem, title, describe(visitor, &typed, &faults, next))
        }
    }
}

fn describe(visitor: &Visitor, typed: &Typed, faults: &Faults, next: Option<&str>) -> Markup {
    let up = with_next("/accounts/new", next);
    html! {
        p .crumb { a href=(up) { "Choose another app" } }
        div .head { h1 { "Connect a service of your own" } }
        @if faults.any() {
            div .notice .bad role="alert" {
                p { strong { "It can’t be used as it is described." } }
                @if faults.rest.is_empty() { p { "What is wrong stands beside it." } }
                @for line in &faults.rest { p { (line) } }
            }
        }
        form .card method="post" autocomplete="off" {
            (visitor.key())
            label for="title" { "What you call the service (optional)" }
            input #title name="title" maxlength="100" value=(typed.title) aria-describedby=[described_by("title", &faults.title)]
                aria-invalid=[invalid(&faults.title)];
            (wrong("title", &faults.title))
            label for="hosts" { "Hosts" }
            textarea #hosts name="hosts" rows="2" spellcheck="false" required aria-describedby=(helped_by("hosts", &faults.hosts))
                aria-invalid=[invalid(&faults.hosts)] { (typed.hosts) }
            small #hosts-help { "The only ones that its secrets may go to, one a line: " code { "api.example.com" } ", or "
                code { "*.example.com" } " for all below." }
            (wrong("hosts", &faults.hosts))
            label for="base_url" { "Where requests start (optional)" }
            input #base_url name="base_url" type="url" value=(typed.base_url) placeholder="https://api.example.com/v1/"
                aria-describedby=[described_by("base_url", &faults.base_url)] aria-invalid=[invalid(&faults.base_url)];
            (wrong("base_url", &faults.base_url))
            fieldset {
                legend { "Where its secrets go" }
                p .soft { "What stands in braces, such as " code { "{token}" } ", is a field: its value is asked for on the next \
                     page. For a header write " code { "Authorization" } " and " code { "Bearer {token}" } "; for a part of the \
                     path its number, from 1; for a JSON body a pointer such as " code { "/api_key" } "; for HTTP Basic the user \
                     name and the password." }
                div .scroll {
                    table {
                        thead { tr { th scope="col" { "Place" } th scope="col" { "Name" } th scope="col" { "Value" } } }
                        tbody { @for (at, row) in typed.rows.iter().enumerate() { (row_of(at, row, faults.rows.get(&at))) } }
                    }
                }
            }
            label for="plain" { "Fields that are no secrets (optional)" }
            input #plain name="plain" value=(typed.plain) spellcheck="false" aria-describedby=(helped_by("plain", &faults.plain))
                aria-invalid=[invalid(&faults.plain)];
            small #plain-help { "Their names with blanks between them, such as " code { "user" } ". All others are secrets." }
            (wrong("plain", &faults.plain))
            div .buttons {
                // The first button is the one that Enter presses.
                button .act { "Continue" }
                @if typed.rows.len() < MOST { button name="do" value="more" formnovalidate { "Add rows" } }
                a href=(next.unwrap_or(&up)) { "Cancel" }
            }
        }
    }
}

fn row_of(at: usize, row: &Row, faults: Option<&Vec<String>>) -> Markup {
    let (number, id) = (at + 1, format!("row-{at}"));
    let about = faults.map(|_| format!("{id}-wrong"));
    html! {
        tr {
            td {
                select name="kind" aria-label=(format!("Place {number}")) {
                    @for (kind, title) in KINDS { option value=(kind) selected[row.kind == kind] { (title) } }
                }
            }
            td {
                input name="name" aria-label=(format!("Name {number}")) value=(row.name) spellcheck="false"
                    aria-describedby=[about.as_deref()] aria-invalid=[faults.map(|_| "true")];
            }
            td {
                input name="template" aria-label=(format!("Value {number}")) value=(row.template) spellcheck="false"
                    aria-describedby=[about.as_deref()] aria-invalid=[faults.map(|_| "true")];
                @if let Some(faults) = faults { (wrong(&id, faults)) }
            }
        }
    }
}

fn described_by(id: &str, faults: &[String]) -> Option<String> {
    (!faults.is_empty()).then(|| format!("{id}-wrong"))
}

fn helped_by(id: &str, faults: &[String]) -> String {
    let wrong = described_by(id, faults).map(|wrong| format!(" {wrong}"));
    format!("{id}-help{}", wrong.unwrap_or_default())
}

fn invalid(faults: &[String]) -> Option<&'static str> {
    (!faults.is_empty()).then_some("true")
}

/// What is wrong with the field `id`.
fn wrong(id: &str, faults: &[String]) -> Markup {
    html! {
        @if !faults.is_empty() { div .wrong id=(format!("{id}-wrong")) { @for line in faults { p { (line) } } } }
    }
}

/// The name of the input for a field, which is none of the form's own.
fn input_of(name: &str) -> String {
    format!("field.{name}")
}

fn keys(
    visitor: &Visitor,
    custom: &CustomApp,
    app: &App,
    again: Option<(&Posted, &Problem)>,
    next: Option<&str>,
) -> Markup {
    let up = with_next("/accounts/new", next);
    let definition = serde_json::to_string(custom).unwrap_or_default();
    let fields = asked(app).into_iter().map(|one| FieldView { name: input_of(&one.name), ..one });
    let value = |name: &str| again.and_then(|(given, _)| given.raw(name));
    html! {
        p .crumb { a href=(up) { "Choose another app" } }
        div .head { h1 { "Connect " (app.title) } }
        @if let Some((_, problem)) = again { (alert(problem)) }
        form .card method="post" autocomplete="off" {
            (visitor.key())
            input type="hidden" name="definition" value=(definition);
            p { "Its secrets go to " (custom.hosts.join(", ")) " and nowhere else." }
            label for="nickname" { "Nickname (optional)" }
            input #nickname name="nickname" maxlength="100" value=[value("nickname")];
            @for one in fields { (field(&one, value(&one.name))) }
            p .soft { "It is yours, and private until you say who else may use it. No step ever sees its keys." }
            div .buttons {
                button .act { "Connect" }
                button name="do" value="back" formnovalidate { "Describe it otherwise" }
                a href=(next.unwrap_or(&up)) { "Cancel" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(rows: &[(&str, &str, &str)]) -> Typed {
        let row = |(kind, name, template): &(&str, &str, &str)| Row {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
            template: (*template).to_owned(),
        };
        Typed { hosts: "api.example.com".to_owned(), rows: rows.iter().map(row).collect(), ..Typed::default() }
    }

    #[test]
    fn a_description_makes_the_definition_and_comes_back_from_it() {
        let mut typed = typed(&[
            ("header", "Authorization", "Bearer {token}"),
            ("header", "", ""),
            ("header", "Accept", "application/json"),
            ("basic", "{user}", "{word}"),
            ("segment", "1", "bot{token}"),
            ("json", "/key", "{key}"),
            ("form", "key", "{key}"),
            ("query", "key", "{key}"),
        ]);
        typed.plain = "user, team".to_owned();
        let (custom, _) = typed.checked().unwrap_or_else(|faults| panic!("{:?} {:?}", faults.rows, faults.rest));
        let fields: Vec<(&str, bool)> = custom.fields.iter().map(|field| (field.name.as_str(), field.secret)).collect();
        assert_eq!(fields, [("token", true), ("user", false), ("word", true), ("key", true), ("team", false)]);
        assert_eq!((custom.places.len(), custom.headers.len()), (6, 1));
        let (again, _) = Typed::again(&custom).checked().ok().expect("what it made is right");
        assert_eq!(again.places, custom.places);
        assert_eq!(again.headers, custom.headers);
    }

    #[test]
    fn what_is_wrong_is_said_where_it_was_typed() {
        let mut typed = typed(&[
            ("header", "", ""),
            ("header", "Host", "{token}"),
            ("query", "key", "{key"),
            ("segment", "first", "{key}"),
            ("header", "Bad Name", "plain"),
        ]);
        typed.hosts = "10.0.0.1".to_owned();
        typed.base_url = "https://{".to_owned();
        let Err(faults) = typed.checked() else { panic!("nothing of it is right") };
        assert_eq!(faults.rows.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4], "{:?}", faults.rows);
        assert!(!faults.hosts.is_empty() && !faults.base_url.is_empty(), "{:?}", faults.rest);
    }
}
