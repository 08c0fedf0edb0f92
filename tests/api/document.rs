//! The OpenAPI document: valid, and kept to by the server, whatever schemathesis sends.

use std::path::PathBuf;
use std::process::Command;

use keyhole_tests::program::KEY;
use keyhole_tests::workspace::root;
use serde_json::Value;

use crate::rig::{Served, call, client_at};

#[tokio::test]
async fn the_document_is_served_to_all_and_every_reference_in_it_leads_somewhere() {
    fn references<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => {
                into.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }
    let served = Served::with_members();
    let document =
        call(&client_at(1), "get", &format!("{}/api/openapi.json", served.url), None, None).await.ok().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 30);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    // Every variable of a path is described.
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let variables = path.matches('{').count();
            let described = operation["parameters"]
                .as_array()
                .map_or(0, |all| all.iter().filter(|parameter| parameter["in"] == "path").count());
            assert_eq!(variables, described, "{method} {path}");
        }
    }
}

#[test]
fn schemathesis_finds_no_failure_of_the_server() {
    // `tests/run` installs it.
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target.join("schemathesis/bin/schemathesis");
    if !program.exists() {
        eprintln!("skipped: schemathesis is not installed, since there is no python3 or tests/run did not run");
        return;
    }
    let served = Served::with_members();
    served.keyhole.connect("alice", KEY);
    let (token, _) = served.token("alice", &[]);
    let examples = if std::env::var_os("KEYHOLE_LONG").is_some() { "200" } else { "15" };
    let ended = Command::new(program)
        .current_dir(served.keyhole.data.path())
        .args(["run", &format!("{}/api/openapi.json", served.url)])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        // It has no end.
        .args(["--exclude-operation-id", "audit_follow"])
        // It does not know JSON lines.
        .args(["--exclude-operation-id", "audit_verify_export"])
        .args(["--max-examples", examples, "--seed", "1", "--no-color"])
        .output()
        .expect("schemathesis starts");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    // It did call, and was let in.
    assert!(said.contains("Tested") || said.contains("passed"), "{said}");
}
