//! What can be said of a request before its templates have values.

use http::HeaderMap;
use serde_json::{Map, Value};

use super::{Asked, FILE, HTTP, PROPS, decoded, insert, method, parsed, text};
use crate::engine::StepFailure;
use crate::workflow::file::HTTP_REQUEST;
use crate::workflow::template::is_template;

/// The props that are a body.
const BODIES: [&str; 5] = ["json", "form", "text", "base64", FILE];

/// The prop that is wrong, if it is one, and what is wrong.
type Fault = (Option<String>, String);

/// Checks the props of a step that an account is linked to, or none.
pub fn check(props: &Map<String, Value>, has_account: bool) -> Result<(), Fault> {
    for (name, value) in props {
        one(name, value, has_account).map_err(|message| (Some(name.clone()), message))?;
    }
    if !props.contains_key("url") {
        return Err((None, format!("{HTTP_REQUEST} needs a URL: props.url = \"https://…\"")));
    }
    // One that is a template may turn out to be nothing.
    let mut bodies = BODIES.iter().filter(|name| props.get(**name).is_some_and(|value| !is_computed(value)));
    match (bodies.next(), bodies.next()) {
        (Some(_), Some(second)) => Err((Some((*second).to_owned()), super::ONE_BODY.to_owned())),
        _ => Ok(()),
    }
}

/// Whether a template decides of what type it is.
fn is_computed(value: &Value) -> bool {
    value.is_string() && is_template(value)
}

fn one(name: &str, value: &Value, has_account: bool) -> Result<(), String> {
    if !PROPS.contains(&name) {
        return Err(format!("{HTTP_REQUEST} has no prop '{name}'; it has {}", PROPS.join(", ")));
    }
    if is_computed(value) || (name == "pages" && is_template(value)) {
        return Ok(());
    }
    let mut alone = Map::from_iter([(name.to_owned(), value.clone())]);
    alone.entry("url").or_insert_with(|| HTTP[0].into());
    let asked: Asked =
        serde_json::from_value(Value::Object(alone)).map_err(|error| format!("props.{name}: {error}"))?;
    let said = |failure: StepFailure| failure.to_string();
    match name {
        "url" if HTTP.iter().any(|scheme| asked.url.starts_with(scheme)) => {
            parsed(&asked.url).map(drop).map_err(said)?
        }
        "url" if !has_account => {
            return Err(format!(
                "'{}' is a path below the base URL of an account's app, and none is linked: links.account = \"NICKNAME\"",
                asked.url
            ));
        }
        "method" => drop(asked.method.as_deref().map(method).transpose().map_err(said)?),
        "headers" => {
            for (name, value) in &asked.headers {
                let value = if is_template(value) { String::new() } else { text(value) };
                insert(&mut HeaderMap::new(), name, &value).map_err(said)?;
            }
        }
        "base64" => drop(asked.base64.as_deref().map(decoded).transpose().map_err(said)?),
        "pages" => asked.pages.as_ref().map_or(Ok(()), super::Pages::check).map_err(said)?,
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(props: Value, has_account: bool) -> Option<Fault> {
        check(props.as_object().unwrap(), has_account).err()
    }

    #[test]
    fn what_no_template_can_change_is_told_with_its_prop() {
        for (prop, value, told) in [
            ("mehtod", json!("GET"), "has no prop 'mehtod'; it has url, method"),
            ("url", json!("v1/x"), "none is linked"),
            ("url", json!("https://a b/"), "is no URL"),
            ("url", json!(1), "expected a string"),
            ("method", json!("GE T"), "is no HTTP method"),
            ("headers", json!(["a"]), "expected a map"),
            ("headers", json!({"a b": "c"}), "'a b' is no header's name"),
            ("headers", json!({"a": "b\nc"}), "the value of the header a"),
            ("query", json!("a=b"), "expected a map"),
            ("form", json!(1), "expected a map"),
            ("base64", json!("%%%"), "base64: "),
            ("fail_on_error", json!("no"), "expected a boolean"),
            ("pages", json!({}), "pages needs link = true, or cursor and parameter"),
            ("pages", json!({"cursor": "/next"}), "pages needs link = true"),
            ("pages", json!({"link": true, "max": 0}), "pages.max is 1 to 1000"),
            ("pages", json!({"link": true, "items": "data"}), "'data' is no JSON pointer"),
            ("pages", json!({"lnik": true}), "unknown field `lnik`"),
        ] {
            let mut props = json!({ "url": "https://a.example/" });
            props[prop] = value;
            let (at, message) = said(props, false).expect(told);
            assert_eq!(at.as_deref(), Some(prop), "{message}");
            assert!(message.contains(told), "{message}");
        }
        let (at, message) = said(json!({"url": "/x", "text": "a", "json": {"a": "{{ event }}"}}), true).unwrap();
        assert!(at.as_deref() == Some("text") && message.contains("a request has one body"), "{message}");
        assert_eq!(said(json!({"method": "GET"}), true).unwrap().0, None);
    }

    #[test]
    fn what_a_template_decides_is_left_to_the_run() {
        for props in [
            json!({"url": "{{ event.url }}", "method": "{{ event.method }}", "headers": "{{ event.headers }}"}),
            json!({"url": "https://{{ event.host }}/", "fail_on_error": "{{ event.strict }}", "base64": "{{ event.x }}"}),
            json!({"url": "https://a.example", "headers": {"a": "{{ event.a }}"}, "pages": {"link": true, "max": "{{ 3 }}"}}),
            json!({"url": "https://a.example", "json": "{{ event.json }}", "form": "{{ event.form }}"}),
        ] {
            assert_eq!(said(props, false), None);
        }
        assert_eq!(said(json!({"url": "v1/x"}), true), None);
    }
}
