//! HTTP: the `requests` package as PyPI has it, `urllib.request` and `http.client`.

use serde_json::{Value, json};

use crate::rig::{SECRET, SILENT, rig};

const MARKER: &str = keyhole_host_api::broker::MARKER;

#[test]
fn sealed_credentials_arrive_in_each_place() {
    let run = rig().run("placed", json!({}), &[]);
    assert_eq!(run["status"], "ok", "{run:#}");
    let text = run.to_string();
    assert!(!text.contains(SECRET) && !text.contains(MARKER), "{text}");
    let value = &run["return_value"];
    assert_eq!(value[0]["headers"]["authorization"], "Bearer ‹bearer_crm.oauth_access_token›");
    assert_eq!(value[3]["target"], "/placed?key=‹query_maps.api_key›&q=a+b");

    // RFC 7617: "acct:" and the secret.
    let basic = "Basic YWNjdDpzM2NyZXRLM3lPZlRoZVRlc3RzMDEyMzQ1Njc4OUJhc2lj";
    let received: Vec<_> =
        rig().server.received().into_iter().filter(|request| request.target.starts_with("/placed")).collect();
    let authorizations: Vec<_> = received.iter().filter_map(|request| request.header("authorization")).collect();
    let bearer = format!("Bearer {SECRET}Bearer");
    assert_eq!(authorizations, [bearer.as_str(), basic, basic]);
    assert_eq!(received[3].target, format!("/placed?key={SECRET}Maps&q=a+b"));
}

#[test]
fn http_clients_work_as_elsewhere() {
    let run = rig().run("http", json!({}), &["--allow-host", SILENT]);
    assert_eq!(run["status"], "ok", "{run:#}");
    let value = &run["return_value"];
    let sent = &value["json"];
    assert_eq!((&sent["method"], &sent["target"]), (&json!("POST"), &json!("/echo?n=1&n=2")));
    assert_eq!((&sent["body"], &sent["headers"]["content-type"]), (&json!(r#"{"a": 1}"#), &json!("application/json")));
    assert!(sent["headers"]["user-agent"].as_str().is_some_and(|agent| agent.starts_with("python-requests/2.")));
    let expected = json!({
        "form": "a=1+2",
        "file": true,
        "redirect": ["https://api.bearer-crm.example/echo?redirected", 1],
        "packed": "packed text",
        "cookies": [200, "seen=yes"],
        "empty": [200, 204],
        "streamed": [3_000_000, true],
        "uploaded": 200_000,
        "unverified": 200,
        "urllib": [[200, "application/json", r#"{"a": 1}"#], [404, r#"{"error":"missing"}"#]],
        "client": ["{", "{"],
        "slow": "ReadTimeout",
    });
    for (name, expected) in expected.as_object().expect("an object") {
        assert_eq!(&value[name], expected, "{name}: {value:#}");
    }
    let refused = value["refused"].as_str().expect("an error");
    let reason = "keyhole: refused: bearer_crm credentials don't go to elsewhere.example";
    assert!(refused.starts_with("ConnectionError: ") && refused.contains(reason), "{refused}");
    let proxied = value["proxied"].as_str().expect("an error");
    assert!(proxied.contains("a step uses no proxy"), "{proxied}");
}

#[test]
fn bound_a_failed_request_says_whose_fault_it_is() {
    let failed = |how: &str| {
        let run = rig().run("broken", json!({"how": how}), &["--allow-host", SILENT]);
        assert_eq!(run["status"], "failed", "{run:#}");
        run["error"].clone()
    };
    for (how, kind, retry, message) in [
        ("missing", "upstream", false, "HTTPError: 404 Client Error"),
        ("busy", "upstream", true, "HTTPError: 503 Server Error"),
        ("silent", "upstream", true, "not done within 0.3 s"),
        ("refused", "refused", false, "keyhole: refused: the host elsewhere.example is not allowed"),
    ] {
        let error = failed(how);
        assert_eq!((&error["kind"], &error["retry"]), (&json!(kind), &json!(retry)), "{how}: {error:#}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{how}: {error:#}");
        assert!(error["trace"].as_str().is_some_and(|trace| trace.contains("File \"step.py\", line ")), "{error:#}");
        assert_ne!(error["message"], Value::Null);
    }
}
