//! The component API: props, `$`, the log, errors.

use keyhole_tests::server::{answer, json};
use serde_json::{Value, json};

use crate::house::{House, echo, file};

fn api() -> std::path::PathBuf {
    file("steps/api.mjs")
}

/// The line, from 1, of the first line of api.mjs that holds `text`.
fn line_of(text: &str) -> usize {
    let source = std::fs::read_to_string(api()).expect("the step is there");
    source.lines().position(|line| line.contains(text)).expect("the line is there") + 1
}

#[test]
fn a_step_uses_the_whole_of_the_component_api() {
    let house = House::new();
    let store = ["--prop", "store=of-the-test"];
    let given = [
        "text=hi",
        r#"tags=["x"]"#,
        "ratio=0.5",
        r#"settings={"a": [1]}"#,
        "counts=[1, 2]",
        r#"things=[{"b": 1}]"#,
        "flags=[true, false]",
        "numbers=[0.5, 2]",
        r#"chosen={"label": "Tea", "value": "tea"}"#,
        r#"anything=[null, "x", 1]"#,
    ];
    let given: Vec<_> = given.iter().flat_map(|one| ["--prop", *one]).collect();
    let run = house.run(&api(), &json!({"a": 5}), &[&store[..], &given].concat());
    assert_eq!(run["status"], "ok", "{run:#}");
    assert_eq!((&run["step"], &run["version"]), (&json!("api-step-v2"), &json!("1.2.3")));
    let value = &run["return_value"];
    assert_eq!(value["text"], "HI!");
    assert_eq!(value["count"], 3);
    assert_eq!(value["tags"], json!(["x"]));
    assert_eq!(value["greeting"], "hello from shared");
    assert_eq!(value["typed"], json!([0.5, {"a": [1]}, [1, 2], [{"b": 1}], [true, false], [0.5, 2]]));
    assert_eq!(value["chosen"], json!([{"label": "Tea", "value": "tea"}, [null, "x", 1]]));
    assert_eq!(value["store"], json!([{"a": 1}, "otherwise", 1]));
    assert_eq!(value["refused"], "ttl takes a number of seconds, not -1");
    assert!(value["responded"].as_str().is_some_and(|text| text.contains("200 to 599")), "{run:#}");
    assert_eq!(value["event"], json!([5, 5]));
    assert_eq!(value["context"], json!([1, "string", "alice"]));
    let exports = &run["exports"];
    assert_eq!(exports["value"], json!({"when": "1970-01-01T00:00:00.000Z", "big": "10"}));
    assert_eq!(exports["circle"], json!({"name": "circle", "list": ["[Circular]"]}));
    assert_eq!(exports["$summary"], "Done");
    assert_eq!(value["entries"], json!([["count", 5], ["k", {"a": 1}], ["only", 1]]));
    assert!((50_000..=60_000).contains(&value["expires"].as_i64().expect("milliseconds")), "{run:#}");
    assert_eq!(value["stored"], json!([false, 5, true, true, false, ["count", "only"], 2]));
    assert_eq!(value["urls"], json!(["resume_url", "cancel_url"]));
    assert!(run["then"].as_str().expect("a pause").starts_with("run this step again after 1"), "{run:#}");

    let log: Vec<(&str, &str)> = run["log"]
        .as_array()
        .expect("a log")
        .iter()
        .map(|line| (line["level"].as_str().expect("a level"), line["text"].as_str().expect("a text")))
        .collect();
    assert_eq!(log[0], ("debug", "fine { a: [ 1 ] }"));
    assert_eq!(log[1], ("info", "text is 1"));
    assert_eq!(log[2], ("warn", "careful"));
    assert_eq!(log[3].0, "error");
    let place = format!("api.mjs:{}:", line_of("not thrown"));
    assert!(log[3].1.starts_with("Error: not thrown\n") && log[3].1.contains(&place), "{}", log[3].1);

    // What is random is not of the build, and what was stored is there.
    let again = house.run(&api(), &json!({}), &store);
    assert_eq!(again["return_value"]["store"][2], 2);
    assert_eq!(again["return_value"]["stored"], json!([true, 10, true, true, false, ["count", "only"], 2]));
    assert_ne!(again["return_value"]["random"], value["random"]);
    assert_eq!(again["return_value"]["text"], "HELLO!", "the default");
}

#[test]
fn the_definition_names_every_prop_that_is_filled_in() {
    let house = House::new();
    let inspected = house.call(&["--json", "inspect", &api().display().to_string()]).ok().json();
    let props = &inspected["definition"]["props"];
    let names: Vec<_> = props.as_object().expect("props").keys().map(String::as_str).collect();
    assert_eq!(names.len(), 19, "no alert and no interface: {names:?}");
    assert_eq!(props["db"], json!({"type": "data_store", "optional": true, "secret": false}));
    assert_eq!((&props["store"]["type"], &props["store"]["default"]), (&json!("data_store"), &json!("of-the-step")));
    assert_eq!(props["shared"]["app"], "bearer_crm");
    for key in ["optional", "configure", "reload"] {
        assert_eq!(props["shared"][key], true, "{key}");
    }
    assert_eq!(props["shared"]["scopes"], json!(["contacts.read"]));
    assert_eq!(props["text"]["description"], "Some text");
    assert_eq!(props["count"]["default"], 3, "a number in a text is one");
    assert_eq!(props["colour"]["options"][1], json!({"label": "Blue", "value": "blue"}));
    assert_eq!(props["secret"]["secret"], true);
    assert_eq!(props["list"]["configure"], true, "from the app's propDefinition");
    assert_eq!((&props["more"]["configure"], &props["more"]["reload"]), (&json!(true), &json!(true)));
    assert!(props["list"].get("reload").is_none());
    assert!(props["text"].get("configure").is_none());
}

#[test]
fn a_failed_run_names_the_line_of_the_source() {
    let house = House::new();
    let failed = |throw: &str| {
        let run = house.run(&api(), &json!({"throw": throw}), &[]);
        assert_eq!(run["status"], "failed", "{run:#}");
        run["error"].clone()
    };
    let error = failed("type");
    assert!(error["message"].as_str().expect("a message").contains("TypeError: thrown here"), "{error:#}");
    let trace = error["trace"].as_str().expect("a trace");
    let (thrown, called) = (line_of("thrown here"), line_of("this.fail(event.throw)"));
    assert!(trace.lines().next().is_some_and(|line| line.contains(&format!("fail (api.mjs:{thrown}:"))), "{trace}");
    assert!(trace.contains(&format!("run (api.mjs:{called}:")), "{trace}");

    for (throw, kind, retry, message) in [
        ("configuration", "input", false, "the channel is missing"),
        ("upstream", "upstream", true, "busy"),
        ("text", "step", false, "the step threw 'just text'"),
    ] {
        let error = failed(throw);
        assert_eq!((&error["kind"], &error["retry"]), (&json!(kind), &json!(retry)), "{error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error:#}");
    }
}

#[test]
fn exit_ends_the_step_where_it_stands() {
    let run = House::new().run(&api(), &json!({"exit": true}), &[]);
    assert_eq!((&run["status"], &run["return_value"]), (&json!("ok"), &Value::Null), "{run:#}");
    assert_eq!(run["exports"], json!({}), "nothing after it ran");
}

#[test]
fn options_and_additional_props_are_asked_of_the_step() {
    let house = House::new();
    let path = api().display().to_string();
    let asked = |prop: &str, more: &[&str]| {
        let mut args = vec!["--json", "run", path.as_str(), "--configure", prop];
        args.extend(more);
        house.call(&args).ok().json()
    };
    // On the app that defines the prop, with what the component passes on.
    assert_eq!(asked("list", &["--prop", "text=hi"])["options"], json!(["hi-0-shared"]));
    assert_eq!(asked("more", &[])["props"], json!({}));
    let added = json!({
        "extra": {"type": "string", "label": "After 21, List", "optional": true},
        "again": {"type": "string", "label": "List", "optional": true, "configure": true},
        "Due Date.1": {"type": "string", "optional": true},
        "8f3a": {"type": "integer", "default": 7},
        "": {"type": "string"},
    });
    assert_eq!(asked("more", &["--prop", "more=true"])["props"], added);
    assert_eq!(asked("shared", &["--prop", "more=true"])["props"], added, "asked by the account");
    let again = asked("again", &["--prop", "more=true"]);
    assert_eq!(again["options"], json!(["again-0-shared"]), "of a prop definition of this.shared");

    // An additional prop is taken when the step asks for it, and only then; nobody's options are asked for.
    let run = house.run(&api(), &json!({}), &["--prop", "more=true", "--prop", "extra=42"]);
    assert_eq!((&run["status"], &run["return_value"]["extra"]), (&json!("ok"), &json!("42")), "{run:#}");
    // Its name is the service's own, and its default holds where nothing is given. One that can't be is left out.
    let run = house.run(&api(), &json!({}), &["--prop", "more=true", "--prop", "Due Date.1=tomorrow"]);
    assert_eq!((&run["status"], &run["return_value"]["added"]), (&json!("ok"), &json!(["tomorrow", 7])), "{run:#}");
    let refused = house.end_of_run(&api(), &json!({}), &["--prop", "more=false", "--prop", "extra=42"]);
    assert!(
        refused.json_error()["message"].as_str().is_some_and(|text| text.contains("no prop 'extra'")),
        "{}",
        refused.stderr
    );
}

#[test]
fn options_see_data_stores_and_stay_where_no_props_can_be_added() {
    let house = House::new();
    let path = file("steps/choices.mjs");
    let options = |more: &[&str]| {
        let mut args = vec!["--json", "run", path.to_str().unwrap(), "--configure", "key", "--prop", "store=notes"];
        args.extend(more);
        house.call(&args).ok().json()
    };
    assert_eq!(options(&[])["options"], json!(["new"]));
    let run = |more: &[&str]| house.run(&path, &json!({}), &[&["--prop", "store=notes"], more].concat());
    assert_eq!(run(&["--prop", "key=a"])["return_value"], "of a, 0", "additionalProps see it, too");
    assert_eq!(options(&[])["options"], json!(["a", "new"]));
    // Without the options nobody could choose another value.
    let odd = options(&["--prop", "key=odd"]);
    assert_eq!((&odd["options"], odd.get("props")), (&json!(["a", "new"]), None), "{odd}");
}

#[test]
fn a_request_that_nobody_waits_for_is_sent_before_the_step_ends() {
    let mut house = House::new();
    let server = house.serve(&["api.sent.example"], |_| answer(204, "text/plain", ""));
    let event = json!({"send": "https://api.sent.example/hook"});
    let run = house.run(&api(), &event, &["--allow-host", "api.sent.example"]);
    assert_eq!(run["status"], "ok", "{run:#}");
    let received = server.received();
    let sent: Vec<_> = received.iter().map(|one| (one.method.as_str(), one.target.as_str())).collect();
    assert_eq!(sent, [("PUT", "/hook?q=1")]);
    assert_eq!(received[0].header("authorization"), Some("Basic dTpw"));
    assert_eq!(received[0].header("content-type"), Some("application/json"));
    assert_eq!(received[0].body, br#"{"a":1}"#.as_slice());
}

#[test]
fn a_request_that_somebody_put_together_is_sent_as_it_says() {
    let mut house = House::new();
    let _server = house.serve(&["api.requests.example"], |request| match request.target.as_str() {
        "/none" => json(404, &json!({"error": "none"})),
        "/text" => answer(200, "text/plain", "plain"),
        _ => echo(request),
    });
    let send = |request: Value| {
        let prop = format!("request={request}");
        house.value(&file("steps/request.mjs"), &["--allow-host", "api.requests.example", "--prop", &prop])
    };
    let url = "https://api.requests.example/x?a=1";

    let sent = send(json!({"method": "post", "url": url,
        "headers": [{"name": "x-one", "value": "1"}, {"name": "x-one", "value": "1b"},
            {"name": "x-two", "value": "2", "disabled": true}],
        "params": [{"name": "b", "value": "2 3"}],
        "auth": {"type": "bearer", "token": "t"},
        "body": {"contentType": "application/json", "mode": "raw", "raw": "{\"a\": 1}"}}));
    assert_eq!((&sent["method"], &sent["target"]), (&json!("POST"), &json!("/x?a=1&b=2+3")), "{sent:#}");
    assert_eq!((&sent["headers"]["x-one"], &sent["headers"]["x-two"]), (&json!("1, 1b"), &Value::Null), "{sent:#}");
    assert_eq!(sent["headers"]["authorization"], "Bearer t");
    assert_eq!((&sent["headers"]["content-type"], &sent["body"]), (&json!("application/json"), &json!("{\"a\": 1}")));

    let fields = |kind: &str| json!({"contentType": kind, "mode": "fields", "fields": [{"name": "a", "value": "1 2"}]});
    let put = |body: Value| {
        send(json!({"method": "PUT", "url": url, "headers": {"x-one": "1"}, "params": {"b": 2}, "body": body,
            "auth": {"type": "basic", "username": "u", "password": "p"}}))
    };
    let sent = put(fields("application/x-www-form-urlencoded"));
    assert_eq!((&sent["body"], &sent["headers"]["x-one"]), (&json!("a=1+2"), &json!("1")), "{sent:#}");
    assert_eq!((&sent["target"], &sent["headers"]["authorization"]), (&json!("/x?a=1&b=2"), &json!("Basic dTpw")));
    let kind = sent["headers"]["content-type"].as_str().expect("a type");
    assert!(kind.starts_with("application/x-www-form-urlencoded"), "{kind}");
    assert_eq!(put(fields("application/x-www-form-urlencoded; charset=utf-8"))["body"], "a=1+2");
    assert_eq!(put(fields("application/json"))["body"], r#"{"a":"1 2"}"#);
    let sent = put(fields("application/vnd.api+json"));
    assert_eq!(
        (&sent["body"], &sent["headers"]["content-type"]),
        (&json!(r#"{"a":"1 2"}"#), &json!("application/vnd.api+json"))
    );
    let sent = put(fields("multipart/form-data"));
    assert!(sent["body"].as_str().is_some_and(|body| body.contains("name=\"a\"\r\n\r\n1 2")), "{sent:#}");
    assert_eq!(put(json!({"own": [1]}))["body"], r#"{"own":[1]}"#);

    let got =
        send(json!({"url": url, "auth": {"type": "none"}, "method": null, "body": {"mode": "raw", "raw": "left"}}));
    assert_eq!((&got["method"], &got["headers"]["authorization"]), (&json!("GET"), &Value::Null), "{got:#}");
    assert_eq!(send(json!({"url": "https://api.requests.example/text"})), "plain");
    let missing = send(json!({"url": "https://api.requests.example/none"}));
    assert_eq!(missing["error"], "Request failed with status code 404");
    assert_eq!(missing["answer"], json!({"error": "none"}));
    assert_eq!(house.value(&file("steps/request.mjs"), &[]), json!({"error": "the prop request has no url"}));
}
