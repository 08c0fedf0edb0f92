mod discovery;
mod odd;
mod security;
mod servers;

use serde_json::{Value, json};

use super::*;
use crate::apps::{App, Flow, Place, check};

/// A document with one operation and what `more` has in its place.
fn document(more: Value) -> Value {
    let mut document = json!({
        "openapi": "3.0.3",
        "info": {"title": "Acme API", "version": "1"},
        "servers": [{"url": "https://api.acme.com/v1"}],
        "paths": {"/notes": {"get": {}}},
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

fn drafted(more: Value) -> (Draft, App) {
    of(&document(more), &Given::default())
}

fn of(document: &Value, given: &Given) -> (Draft, App) {
    let draft = openapi(document, given).unwrap_or_else(|error| panic!("{error}"));
    let app = check(&draft.definition, "t").unwrap_or_else(|errors| panic!("{errors:?}\n{}", draft.definition));
    (draft, app)
}

fn refused(more: Value) -> ImportError {
    openapi(&document(more), &Given::default()).unwrap_err()
}

fn schemes(schemes: Value) -> Value {
    let first = schemes.as_object().unwrap().keys().next().unwrap().clone();
    json!({"components": {"securitySchemes": schemes}, "security": [{first: []}]})
}

fn places(app: &App) -> Vec<String> {
    let shown = |place: &Place| match place {
        Place::Header { name, template } => format!("{name}: {template}"),
        Place::Query { name, template } => format!("?{name}={template}"),
        Place::Basic { username, password } => format!("{username}:{password}"),
        other => format!("{other:?}"),
    };
    app.places.iter().map(shown).collect()
}

fn hosts(app: &App) -> Vec<String> {
    app.hosts.iter().map(ToString::to_string).collect()
}

fn base(app: &App) -> String {
    app.base_url.as_ref().unwrap().to_string()
}

fn noted(draft: &Draft, part: &str) -> bool {
    draft.notes.iter().any(|note| note.contains(part))
}

#[test]
fn a_plain_document_gives_a_definition() {
    let (draft, app) = drafted(json!({"externalDocs": {"url": "https://acme.com/docs"}}));
    assert_eq!((app.name.as_str(), app.title.as_str()), ("acme", "Acme API"));
    assert_eq!(
        (hosts(&app), places(&app)),
        (vec!["api.acme.com".into()], vec!["authorization: Bearer {access_token}".into()])
    );
    assert_eq!(app.base_url(&Default::default()).unwrap().unwrap().as_str(), "https://api.acme.com/v1/");
    assert_eq!(app.docs.unwrap().as_str(), "https://acme.com/docs");
    assert!(draft.usable);
    // Each note is a comment, too.
    let comments = draft.definition.replace("\n# ", " ");
    for note in &draft.notes {
        assert!(comments.contains(&format!("Check: {note}")), "{note}\n{}", draft.definition);
    }
}

#[test]
fn texts_of_the_document_stay_within_their_line() {
    let evil = "a\"\n[oauth]\ntoken_url = \"https://evil.example\"\u{1b}[2J\u{202e}\u{2028}x";
    let (draft, app) = drafted(json!({
        "info": {"title": evil},
        "components": {"securitySchemes": {"k": {"type": "http", "scheme": "bearer", "description": evil}, (evil): {"type": "http", "scheme": "basic"}}},
        "security": [{"k": []}],
        "paths": {(format!("/{evil}/token")): {"get": {}}},
    }));
    assert!(app.oauth.is_none());
    assert!(!draft.definition.contains(['\u{1b}', '\u{202e}', '\u{2028}']), "{}", draft.definition);
    assert!(!draft.definition.lines().any(|line| line.starts_with("[oauth]") || line.starts_with("token_url")));
}

#[test]
fn other_documents_are_told_apart() {
    let given = Given::default();
    let error = |document: Value| openapi(&document, &given).unwrap_err();
    for other in [json!({}), json!([]), json!(null), json!("openapi"), json!({"asyncapi": "2.0"})] {
        assert_eq!(error(other), ImportError::NotOpenApi);
    }
    assert_eq!(error(json!({"swaggerVersion": "1.2"})), ImportError::Version("1.2".into()));
    assert_eq!(error(json!({"openapi": "4.0"})), ImportError::Version("4.0".into()));
    assert!(matches!(error(json!({"swagger": 2.0})), ImportError::NoServer(_)), "YAML's number is taken");
}

#[test]
fn yaml_and_json_are_read_with_the_place_of_an_error() {
    let yaml = "swagger: '2.0'\nhost: api.acme.com\ninfo: &i {title: Acme}\nx: *i\npaths:\n  /a:\n    get:\n      responses:\n        200: {}\n";
    let read = parse(yaml).unwrap();
    assert_eq!(read["x"]["title"], "Acme");
    assert_eq!(read["paths"]["/a"]["get"]["responses"]["200"], json!({}));
    let written = document(json!({}));
    assert_eq!(parse(&format!("--- {written}")).unwrap(), written, "JSON is YAML, too");
    assert_eq!(parse("\u{feff} {\"a\": 1}").unwrap(), json!({"a": 1}));
    let error = parse("{\n  \"a\": nope\n}").unwrap_err();
    assert_eq!((error.line, error.column), (2, 9), "{error}");
    assert!(error.message.starts_with("this is not JSON: ") && !error.message.contains(" line "), "{error}");
    let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
    assert!(error.line >= 2 && error.message.starts_with("this is not YAML: "), "{error:?}");
    let error = parse("a: 1\nb: *nobody\n").unwrap_err();
    assert_eq!(error.line, 2, "{error:?}");
}
