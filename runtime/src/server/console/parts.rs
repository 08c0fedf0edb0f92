//! What several pages show alike: an app's icon, a time, a state, a field, the way to the next page.

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::accounts::{Access, Health};
use keyhole_host_api::apps::{App, Source};
use maud::{Markup, html};

use crate::server::Api;
use crate::server::model::FieldView;

/// Rows of a list on one page.
pub(super) const ROWS: usize = 50;

/// What people call the app.
pub(super) fn title_of(api: &Api, app: &str) -> String {
    api.catalog().get(app).map_or_else(|| app.to_owned(), |app| app.title.clone())
}

/// Where what is given goes, for an app that did not come with Keyhole: its title proves nothing.
pub(super) fn added(app: &App) -> Markup {
    html! {
        @if matches!(app.source, Source::File(_)) {
            p {
                bdi { (app.title) } " did not come with Keyhole: an admin or whoever runs it added it. What you give goes to "
                @for (at, host) in app.destinations().iter().enumerate() { @if at > 0 { ", " } code { (host) } } "."
            }
        }
    }
}

/// The same, in a list of apps.
pub(super) fn added_in_short(app: &App) -> Markup {
    let hosts = app.destinations();
    html! {
        @if let (Source::File(_), Some(host)) = (&app.source, hosts.first()) {
            ", added here, for " (host) @if hosts.len() > 1 { " and " (hosts.len() - 1) " more" }
        }
    }
}

/// A letter on a colour, both of the name alone. Nothing that a screen reader should read.
pub(super) fn icon(title: &str) -> Markup {
    let letter = title.chars().find(|c| c.is_alphanumeric()).unwrap_or('?');
    let colour = title.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 8;
    html! { span class=(format!("icon i{colour}")) aria-hidden="true" { (letter.to_uppercase()) } }
}

/// How long ago, with the exact time for who points at it.
pub(super) fn ago(then: Timestamp) -> Markup {
    html! { time datetime=(then) title=(utc(then)) { (since(Timestamp::now().duration_since(then))) } }
}

/// The exact time.
pub(super) fn exact(then: Timestamp) -> Markup {
    html! { time datetime=(then) { (utc(then)) } }
}

/// How long ago, and the exact time: where one thing has to be told from the next.
pub(super) fn when(then: Timestamp) -> Markup {
    html! { time datetime=(then) { (since(Timestamp::now().duration_since(then))) " " small { (utc(then)) } } }
}

fn utc(then: Timestamp) -> String {
    then.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn since(passed: SignedDuration) -> String {
    let some = |count: i64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let (ahead, seconds) = (passed.is_negative(), passed.as_secs().abs());
    let text = match seconds {
        0..60 if ahead => "in a moment".to_owned(),
        0..60 => "just now".to_owned(),
        60..3600 => some(seconds / 60, "minute"),
        3600..86_400 => some(seconds / 3600, "hour"),
        _ => some(seconds / 86_400, "day"),
    };
    match seconds {
        0..60 => text,
        _ if ahead => format!("in {text}"),
        _ => format!("{text} ago"),
    }
}

/// How long, of milliseconds.
pub(super) fn lasted(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// Bytes, such as `1.2 KiB`.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// Who may use an account, in a word.
pub(super) fn access(access: &Access) -> Markup {
    let text = match access {
        Access::Private => "private".to_owned(),
        Access::Workspace => "workspace".to_owned(),
        Access::Members(members) if members.len() == 1 => "1 member".to_owned(),
        Access::Members(members) => format!("{} members", members.len()),
    };
    html! { span .mark { (text) } }
}

pub(super) fn health(health: &Health) -> Markup {
    html! {
        @match health {
            Health::Ok => { span .mark .good { "works" } }
            Health::ReconnectNeeded { .. } => { span .mark .bad { "reconnect needed" } }
        }
    }
}

/// One field of an app, as a person fills it in. A secret is not shown as it is typed, and never filled in again.
pub(super) fn field(field: &FieldView, value: Option<&str>) -> Markup {
    let id = format!("field-{}", field.name);
    let about = format!("{id}-help");
    let described = (field.help.is_some() || field.find.is_some()).then_some(about.as_str());
    let value = value.filter(|_| !field.secret);
    html! {
        label for=(id) { (field.label) @if field.optional { " (optional)" } }
        @if field.lines {
            textarea .hidden[field.secret] id=(id) name=(field.name) rows="6" spellcheck="false" autocomplete="off" required[!field.optional]
                aria-describedby=[described] {}
        } @else if field.choices.is_empty() {
            input id=(id) name=(field.name) type=(if field.secret { "password" } else { "text" }) autocomplete="off"
                spellcheck="false" required[!field.optional && field.default.is_none()] value=[value]
                placeholder=[field.default.as_deref()] aria-describedby=[described];
        } @else {
            @let chosen = value.or(field.default.as_deref());
            select id=(id) name=(field.name) aria-describedby=[described] {
                @if field.optional && field.default.is_none() { option value="" { "none" } }
                @for choice in &field.choices { option selected[chosen == Some(choice)] { (choice) } }
            }
        }
        @if described.is_some() {
            small id=(about) {
                @if let Some(help) = &field.help { (help) " " }
                @if let Some(find) = &field.find { "You find it here: " (find) }
            }
        }
    }
}

/// The way to the pages before and after this one, of a list that is counted.
pub(super) fn pages(path: &str, query: &str, page: usize, rows: usize) -> Markup {
    pages_of(path, &[("q", query)], page, rows)
}

/// The same for a list with more in its query. What is empty is left out.
pub(super) fn pages_of(path: &str, query: &[(&str, &str)], page: usize, rows: usize) -> Markup {
    let to = |page: usize| {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(query.iter().filter(|(_, value)| !value.is_empty()));
        format!("{path}?{}", pairs.append_pair("page", &page.to_string()).finish())
    };
    turn("Pages", page, rows.div_ceil(ROWS), to)
}

/// The way to the pages before and after this one, of `last`, which have the addresses that `to` gives.
fn turn(label: &str, page: usize, last: usize, to: impl Fn(usize) -> String) -> Markup {
    html! {
        @if last > 1 {
            nav .pages aria-label=(label) {
                span { @if page > 1 { a href=(to(page - 1)) rel="prev" { "Previous" } } }
                span .soft { "Page " (page) " of " (last) }
                span { @if page < last { a href=(to(page + 1)) rel="next" { "Next" } } }
            }
        }
    }
}

/// The rows of one page.
pub(super) fn of_page<T>(rows: &[T], page: usize) -> &[T] {
    nth(rows, page, ROWS)
}

fn nth<T>(rows: &[T], page: usize, at_once: usize) -> &[T] {
    let from = page.saturating_sub(1).saturating_mul(at_once).min(rows.len());
    &rows[from..(from + at_once).min(rows.len())]
}

/// One of several lists on a page: its name is its heading's, and the query's.
pub(super) struct Part<'l, T> {
    /// Those on this page.
    pub(super) rows: &'l [T],
    /// The way to the others.
    pub(super) pages: Markup,
}

impl<'l, T> Part<'l, T> {
    pub(super) fn of(all: &'l [T], path: &str, name: &str, page: usize) -> Self {
        const ROWS: usize = 20;
        let page = page.clamp(1, all.len().div_ceil(ROWS).max(1));
        let to = |page: usize| format!("{path}?{name}={page}#{name}");
        let pages = turn(&format!("Pages of {name}"), page, all.len().div_ceil(ROWS), to);
        Self { rows: nth(all, page, ROWS), pages }
    }
}

/// Whether every word of `query` is in one of `texts`, in any case.
pub(super) fn matches(query: &str, texts: &[&str]) -> bool {
    if query.trim().is_empty() {
        return true;
    }
    let texts: Vec<String> = texts.iter().map(|text| text.to_lowercase()).collect();
    query.to_lowercase().split_whitespace().all(|word| texts.iter().any(|text| text.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_a_person_says_them() {
        for (seconds, text) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (90_000, "1 day ago"),
            (-30, "in a moment"),
            (-180, "in 3 minutes"),
        ] {
            assert_eq!(since(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn pages_hold_their_rows_whatever_is_asked_for() {
        let rows: Vec<usize> = (0..ROWS + 3).collect();
        assert_eq!(of_page(&rows, 1).len(), ROWS);
        assert_eq!(of_page(&rows, 2), [ROWS, ROWS + 1, ROWS + 2]);
        assert!(of_page(&rows, 3).is_empty() && of_page(&rows, usize::MAX).is_empty());
        assert_eq!(of_page(&rows, 0).len(), ROWS);
    }
}
