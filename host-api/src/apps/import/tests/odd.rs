//! Documents that no service has.

use proptest::prelude::*;

use super::*;
use crate::apps::import::discovery;

#[test]
fn a_few_lines_of_yaml_cannot_stand_for_terabytes() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let of = format!("*a{}, ", level - 1).repeat(9);
        bomb += &format!("a{level}: &a{level} [{}]\n", of.trim_end_matches(", "));
    }
    let began = std::time::Instant::now();
    assert!(parse(&bomb).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&format!("a: {}", "[".repeat(100_000))).is_err());
    assert!(parse(&"- ".repeat(100_000)).is_err());
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn a_document_made_to_cost_time_or_memory_does_not() {
    let began = std::time::Instant::now();
    // Variables that hold variables, and many of each.
    let names: Vec<String> = (0..20).map(|n| format!("v{n}")).collect();
    let variables: serde_json::Map<String, Value> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.clone(), json!({"default": format!("/{}", format!("{{v{}}}", n + 1).repeat(40))})))
        .collect();
    let _ = openapi(
        &document(json!({"servers": [{"url": "https://a.acme.com{v0}", "variables": variables}]})),
        &Given::default(),
    );
    let choices: Vec<String> = (0..5000).map(|n| format!("c{n}")).collect();
    let variables: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({"enum": choices}))).collect();
    for most in [3, 16, 20] {
        let url = format!(
            "https://{}.acme.com/",
            names[..most].iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(".")
        );
        let _ = openapi(&document(json!({"servers": [{"url": url, "variables": variables}]})), &Given::default());
    }
    let _ = openapi(
        &document(json!({"servers": [{"url": format!("https://a.acme.com/{}", "{x}/".repeat(100_000))}]})),
        &Given::default(),
    );
    // Tens of thousands of schemes, all at once and one by one.
    let schemes: serde_json::Map<String, Value> =
        (0..50_000).map(|n| (format!("s{n}"), json!({"type": "apiKey", "in": "header", "name": "X-Key"}))).collect();
    let all: serde_json::Map<String, Value> = schemes.keys().map(|name| (name.clone(), json!([]))).collect();
    let _ =
        openapi(&document(json!({"components": {"securitySchemes": schemes}, "security": [all]})), &Given::default());
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// Values such as a document has, in places where it does not have them.
fn value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "/",
        "https://api.acme.com/{a}",
        "https://{a}.{b}.acme.com:{c}/{d}",
        "{a}",
        "{",
        "}",
        "{}://{}",
        "//x",
        "http",
        "bearer",
        "basic",
        "oauth2",
        "apiKey",
        "header",
        "query",
        "cookie",
        "Authorization",
        "#/components/securitySchemes/a",
        "a b\n\u{0}\"'''\\",
        "é\u{202e}",
        "https://acme.com/token",
        "3.0.0",
        "2.0",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "openapi",
        "swagger",
        "servers",
        "url",
        "variables",
        "a",
        "b",
        "c",
        "d",
        "enum",
        "default",
        "components",
        "securitySchemes",
        "securityDefinitions",
        "security",
        "type",
        "scheme",
        "in",
        "name",
        "flows",
        "flow",
        "authorizationCode",
        "tokenUrl",
        "authorizationUrl",
        "scopes",
        "paths",
        "/oauth/{x",
        "get",
        "parameters",
        "$ref",
        "info",
        "title",
        "x-origin",
        "x-providerName",
        "host",
        "basePath",
        "schemes",
        "issuer",
        "token_endpoint",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

/// Every place in a document.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{}", escaped(key)), into))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| pointers(value, &format!("{at}/{n}"), into))
        }
        _ => {}
    }
}

/// A document that has something of everything.
fn full() -> Value {
    let flow =
        json!({"authorizationUrl": "https://acme.com/a", "tokenUrl": "https://acme.com/t", "scopes": {"s": "x"}});
    json!({
        "openapi": "3.0.3", "info": {"title": "Acme", "x-providerName": "acme.com", "x-origin": [{"url": "https://acme.com/o.json"}]},
        "servers": [{"url": "https://{a}.{b}.acme.com:{c}/{d}", "variables": {"b": {"enum": ["x", "y"]}, "c": {"default": "443"}, "d": {"default": "v1"}}}],
        "paths": {"/oauth/{x}": {"get": {"security": [{"a": [], "b": []}], "parameters": [{"in": "header", "name": "token"}]}}},
        "components": {"securitySchemes": {"a": {"type": "oauth2", "flows": {"authorizationCode": flow}}, "b": {"type": "apiKey", "in": "query", "name": "k"}}},
        "security": [{"a": []}],
    })
}

fn survives(document: &Value) -> Result<(), TestCaseError> {
    let base = Some("https://acme.com/docs/".parse().unwrap());
    for given in [Given::default(), Given { document: base, ..Given::default() }] {
        match openapi(document, &given) {
            Ok(draft) => prop_assert!(check(&draft.definition, "t").is_ok()),
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control), "{error}"),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_document_is_too_odd(document in value()) {
        survives(&document)?;
        let _ = discovery(&document, "https://id.acme.com/t1", &Given::default());
    }

    #[test]
    fn no_change_to_a_document_is_too_odd(at in any::<prop::sample::Index>(), change in value()) {
        let mut document = full();
        let mut places = Vec::new();
        pointers(&document, "", &mut places);
        *document.pointer_mut(at.get::<String>(&places)).unwrap() = change;
        survives(&document)?;
    }

    #[test]
    fn no_text_is_too_odd(text in ".{0,200}", cut in any::<prop::sample::Index>()) {
        let _ = parse(&text);
        let whole = full().to_string();
        let _ = parse(&whole[..cut.index(whole.len())]);
        let _ = parse(&format!("a: &x [*x, {text}]"));
    }
}
