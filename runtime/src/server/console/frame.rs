//! What every page has around its content, and the headers that bind what a browser may do with it. Whatever is put
//! into a page is text: maud escapes it, and nothing here goes around that.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::session::Visitor;
use super::words::{Said, said};
use crate::server::problem::Problem;

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");
const ICON: &str = include_str!("assets/icon.svg");
/// Stands in their addresses, so that a browser may keep them for ever.
static EDITION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = blake3::Hasher::new();
    hash.update(STYLE.as_bytes()).update(SCRIPT.as_bytes()).update(ICON.as_bytes());
    hash.finalize().to_hex()[..16].to_owned()
});

/// What a page may load, and who may show it. Forms lead to Keyhole alone; how one goes on at a service, see `to_service`.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The parts of the console.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Accounts,
    Workflows,
    Runs,
    Members,
    Apps,
    Audit,
    Settings,
}

impl Part {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Accounts, "Accounts", "/accounts"),
        (Self::Workflows, "Workflows", "/workflows"),
        (Self::Runs, "Runs", "/runs"),
        (Self::Members, "Members", "/members"),
        (Self::Apps, "Apps", "/apps"),
        (Self::Audit, "Audit", "/audit"),
        (Self::Settings, "Settings", "/settings"),
    ];
}

/// A page for who is signed in.
pub(super) fn page(visitor: &Visitor, part: Part, title: &str, content: Markup) -> Response {
    answer(StatusCode::OK, title, signed_in(visitor, Some(part), &content))
}

/// One with a form that has to be filled in again.
pub(super) fn again(visitor: &Visitor, part: Part, problem: &Problem, title: &str, content: Markup) -> Response {
    answer(problem.code(), title, signed_in(visitor, Some(part), &content))
}

/// A page for who is not, or need not be: with nothing but its content.
pub(in crate::server) fn bare(status: StatusCode, title: &str, content: Markup) -> Response {
    answer(status, title, html! { main #content .narrow tabindex="-1" { (content) } })
}

fn signed_in(visitor: &Visitor, part: Option<Part>, content: &Markup) -> Markup {
    html! {
        a .skip href="#content" { "Skip to the content" }
        header .top {
            div {
                a .brand href="/accounts" { "Keyhole" }
                nav aria-label="Main" {
                    ul {
                        @for (one, name, path) in Part::ALL {
                            li { a href=(path) aria-current=[(part == Some(one)).then_some("page")] { (name) } }
                        }
                    }
                }
                div .who {
                    span .soft { (visitor.member.id) }
                    form method="post" action="/sign-out" .inline { (visitor.key()) button .plain { "Sign out" } }
                }
            }
        }
        main #content tabindex="-1" { (content) }
    }
}

fn answer(status: StatusCode, title: &str, body: Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – Keyhole" }
                link rel="icon" href=(format!("/assets/{}/icon.svg", *EDITION));
                link rel="stylesheet" href=(format!("/assets/{}/console.css", *EDITION));
                script src=(format!("/assets/{}/console.js", *EDITION)) defer {}
            }
            body { (body) }
        }
    };
    let mut response = (status, markup.into_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Other sites learn nothing by it, and our forms say where they are from: without, browsers tell no origin.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// What is no page: a file, for the visitor to keep.
pub(super) fn file(kind: &'static str, name: &str, text: String) -> Response {
    let kept = format!("attachment; filename=\"{name}\"");
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, kept)], text).into_response()
}

/// What says that it did not work, above a form or on a page of its own.
pub(super) fn alert(problem: &Problem) -> Markup {
    let Said { detail, help } = said(problem);
    html! {
        div .notice .bad role="alert" {
            p { strong { (problem.title) } }
            p { (detail) }
            @if let Some(help) = help { p { (help) } }
        }
    }
}

/// A problem, as a page.
pub(in crate::server) struct Wrong(Problem);

impl Wrong {
    /// What it shows, for a page that shows it in its own way.
    pub(super) fn into_problem(self) -> Problem {
        self.0
    }
}

impl<E: Into<Problem>> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let Said { detail, help } = said(&problem);
        let content = html! {
            h1 { (problem.title) }
            p { (detail) }
            @if let Some(help) = help { p { (help) } }
        };
        let mut response = bare(problem.code(), &problem.title, content);
        // Whoever knows that somebody is signed in shows it within what those see.
        problem.mark(&mut response);
        response
    }
}

/// `problem` for who is signed in.
pub(super) fn wrong(visitor: &Visitor, problem: Problem, from: Response) -> Response {
    let content = html! {
        div .head { h1 { (problem.title) } }
        (alert(&problem))
        p { a href="/accounts" { "Go to your accounts" } }
    };
    let mut response = answer(problem.code(), &problem.title, signed_in(visitor, None, &content));
    // What the log is told, and what else was said of it.
    *response.extensions_mut() = from.extensions().clone();
    for (name, value) in from.headers() {
        if matches!(*name, header::RETRY_AFTER | header::SET_COOKIE) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// The stylesheet, the script and the icon.
pub(super) async fn asset(Path((edition, name)): Path<(String, String)>) -> Response {
    let (kind, text) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", STYLE),
        "console.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Problem::not_there("there is nothing at this address").into_response(),
    };
    let keep = if edition == *EDITION { "public, max-age=31536000, immutable" } else { "no-store" };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)], text).into_response()
}
