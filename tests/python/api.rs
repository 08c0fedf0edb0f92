//! The API: what `pd` has, the log, errors.

use serde_json::{Value, json};

use crate::rig::{SECRET, file, rig};

/// The line, from 1, of the first line of a file of the step that holds `text`.
fn line_of(name: &str, text: &str) -> usize {
    let source = std::fs::read_to_string(file("steps/api").join(name)).expect("the file is there");
    source.lines().position(|line| line.contains(text)).expect("the line is there") + 1
}

#[test]
fn a_step_uses_the_whole_of_the_api() {
    let run = rig().run("the_api", json!({}), &["--prop", "count=4"]);
    assert_eq!(run["status"], "ok", "{run:#}");
    assert_eq!((&run["step"], &run["version"]), (&json!("python-api"), &json!("1.2.3")));
    let value = &run["return_value"];
    assert_eq!((&value["text"], &value["count"], &value["extra"]), (&json!("hello"), &json!(4), &Value::Null));
    assert_eq!(value["event"], json!(["the_api", "the_api"]));
    assert_eq!(value["context"], json!([1, "alice", 1]));
    assert_eq!(value["greeting"], "hello from a package", "a file of a package");
    assert_eq!(value["package"], "APurePackage", "from requirements.txt");
    assert_eq!(value["temporary"], json!(["kept in memory", ["a.txt"]]));
    assert_eq!(value["late"], json!([0.0, 1.0, 1]), "an import within a function");
    assert_eq!(value["asyncio"], json!([1, 2]));
    assert_eq!(run["exports"], json!({"value": {"a": [1, null]}, "$summary": "Done"}));

    let log: Vec<(&str, &str)> = run["log"]
        .as_array()
        .expect("a log")
        .iter()
        .map(|line| (line["level"].as_str().expect("a level"), line["text"].as_str().expect("a text")))
        .collect();
    let expected = [
        ("info", "text is 1"),
        ("warn", "careful"),
        ("error", "wrong way"),
        ("error", "complaint"),
        ("info", "no end of line"),
    ];
    assert_eq!(log, expected);

    let again = rig().value("the_api", &[]);
    assert_ne!(again["random"], value["random"], "what is random is not of the build");
    assert_ne!(again["early_random"], value["early_random"], "nor what was made in the build, and given no seed");
    assert_eq!(value["half"], "?", "half of a surrogate pair is no character");
    assert_eq!(again["count"], 3, "the default");
}

#[test]
fn the_definition_names_every_prop() {
    let inspected = rig().house.call(&["--json", "inspect", &rig().component]).ok().json();
    let definition = &inspected["definition"];
    assert_eq!(definition["description"], "Tries the whole of the API of Python steps.", "the module's docstring");
    let props = &definition["props"];
    let names: Vec<_> = props.as_object().expect("props").keys().map(String::as_str).collect();
    assert_eq!(names, ["basic", "bearer", "colour", "count", "list", "maps", "more", "secret", "store", "text"]);
    assert_eq!((&props["bearer"]["app"], &props["bearer"]["optional"]), (&json!("bearer_crm"), &json!(true)));
    assert_eq!(props["bearer"]["scopes"], json!(["contacts.read"]));
    assert_eq!(props["colour"]["options"], json!([{"label": "Blue", "value": "blue"}, "red"]));
    assert_eq!((&props["list"]["configure"], &props["more"]["configure"]), (&json!(true), &json!(true)));
    assert_eq!(props["secret"]["secret"], true);
    assert_eq!(props["store"]["type"], "data_store");
    let imports = inspected["imports"].to_string();
    assert!(imports.contains("wasi:sockets/tcp") && imports.contains("keyhole:step/flow"), "{imports}");
}

#[test]
fn a_failed_run_names_the_authors_lines() {
    let failed = |how: &str| {
        let run = rig().run("fail", json!({"how": how}), &[]);
        assert_eq!(run["status"], "failed", "{run:#}");
        run["error"].clone()
    };
    let error = failed("now");
    assert_eq!((&error["message"], &error["kind"]), (&json!("ValueError: raised here: now"), &json!("step")));
    let trace = error["trace"].as_str().expect("a trace");
    let raised =
        format!("File \"late.py\", line {}, in fail\n  raise ValueError(", line_of("late.py", "raise ValueError"));
    let called = format!("File \"step.py\", line {}, in fail\n", line_of("step.py", "return late.fail(how)"));
    assert!(trace.contains(&raised) && trace.contains(&called), "{trace}");
    assert!(!trace.contains("keyhole_sdk") && !trace.contains("wasm"), "nothing of the host's: {trace}");

    for (how, kind, message) in [
        ("configuration", "input", "the channel is missing"),
        ("exit", "step", "the step called sys.exit('no more')"),
        ("value", "step", "what handler returned is not JSON: a value of type object is not JSON"),
    ] {
        let error = failed(how);
        assert_eq!(error["kind"], kind, "{error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error:#}");
    }
}

#[test]
fn a_step_tells_the_workflow_what_comes_next() {
    let left = rig().run("leave", json!({}), &[]);
    assert_eq!((&left["status"], &left["return_value"]), (&json!("ok"), &Value::Null), "{left:#}");
    assert_eq!(left["exports"], json!({}), "nothing after it ran, whatever catches exceptions");

    let paused = rig().run("pause", json!({}), &[]);
    assert_eq!(paused["return_value"], json!(["cancel_url", "resume_url"]), "{paused:#}");
    assert!(paused["then"].as_str().expect("a pause").starts_with("run this step again after 1"), "{paused:#}");
}

#[tokio::test]
async fn a_step_answers_who_called_the_workflow() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rig = rig();
    let serving = rig.serve("answer", &format!(
        "keyhole = 1\nname = \"answer\"\ntrigger.http = {{ respond = \"workflow\" }}\n[[steps]]\nname = \"a\"\nuses = {:?}\n",
        rig.component
    ));
    let asked = json!({"do": "answer"}).to_string();
    let request = reqwest::Client::new().post(&serving.hook).header("content-type", "application/json").body(asked);
    let answer = request.send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers()["x-own"].to_str().unwrap()), (201, "yes"));
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({"made": true}));
}

#[test]
fn a_data_store_is_a_mapping() {
    let value = rig().value("store", &["--prop", "store=of-the-test"]);
    let expected = json!([
        [{"a": 1}, "otherwise", true, false, null, true, 3],
        [2, 3],
        [["count", "k", "once"], [["once", 3]], 3],
        "KeyError: 'k'",
        0
    ]);
    assert_eq!(value, expected);
}

#[test]
fn options_and_additional_props_are_asked_of_the_step() {
    let asked = |prop: &str, more: &[&str]| {
        let mut args = vec!["--json", "run", rig().component.as_str(), "--configure", prop];
        args.extend(more);
        rig().house.call(&args).ok().json()
    };
    assert_eq!(asked("list", &["--prop", "text=hi"])["options"], json!(["hi-0"]));
    assert_eq!(asked("more", &["--prop", "more=false"])["props"], json!({}));
    let props = asked("more", &["--prop", "more=true", "--prop", "text=hi"])["props"].clone();
    assert_eq!(props, json!({"extra": {"type": "string", "label": "After hi"}}));
    let run = rig().run("the_api", json!({}), &["--prop", "more=true", "--prop", "extra=42"]);
    assert_eq!(run["return_value"]["extra"], "42", "{run:#}");
}

#[test]
fn one_way_out_a_step_sees_nothing_of_the_machine() {
    let seen = rig().value("seen", &[]);
    let text = seen.to_string();
    assert!(!text.contains(SECRET) && !text.contains("root:"), "{text}");
    for when in ["built", "run"] {
        let found = &seen[when];
        assert_eq!((&found["environment"], &found["packages"]), (&json!({}), &json!([])), "{when}: {found:#}");
        for what in ["passwd", "proc", "link", "connected", "listened", "datagram", "program"] {
            let error = found[what].as_str().unwrap_or_else(|| panic!("{when}, {what}: {found:#}"));
            assert!(error.contains("Error: "), "{when}, {what}: {error}");
        }
    }
    assert!(seen["built"]["listed"].as_str().is_some_and(|error| error.contains("FileNotFoundError")), "{seen:#}");
    assert!(seen["built"]["above"].as_str().is_some_and(|error| error.contains("Error")), "{seen:#}");
    assert!(seen["built"]["random"].as_str().is_some_and(|error| error.contains("the same in every run")), "{seen:#}");
    let own: Vec<_> = seen["built"]["own"].as_array().expect("its source").iter().map(Value::to_string).collect();
    assert_eq!(own, ["\"late.py\"", "\"step.py\"", "\"words\""], "what it imports, and no more");
    assert!(seen["run"]["connected"].as_str().is_some_and(|error| error.contains("a step has no sockets")), "{seen:#}");
}
