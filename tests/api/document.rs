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

/// A program that comes with schemathesis, which `tests/run` installs.
fn of_schemathesis(program: &str) -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let program = target.join("schemathesis/bin").join(program);
    if !program.exists() {
        eprintln!("skipped: schemathesis is not installed, since there is no python3 or tests/run did not run");
        return None;
    }
    Some(program)
}

/// Prints, for each file named after the schema, whether it keeps to it.
const VALIDATE: &str = "\
import json, sys, tomllib, jsonschema_rs
schema = jsonschema_rs.validator_for(json.load(open(sys.argv[1])))
print(json.dumps([schema.is_valid(tomllib.load(open(file, 'rb'))) for file in sys.argv[2:]]))
";

#[test]
fn the_schema_of_workflow_files_takes_what_deploying_takes_and_refuses_what_it_refuses() {
    let Some(python) = of_schemathesis("python") else { return };
    let served = Served::with_members();
    let folder = served.keyhole.data.path();
    let step = "[[steps]]\nname = \"a\"\nuses = \"http-request\"\nprops = { url = \"https://api.acme.example/\" }\n\
                allow_hosts = [\"api.acme.example\"]\n";
    let file = |more: &str, of_step: &str| format!("keyhole = 1\nname = \"w\"\n{more}\n{step}{of_step}\n");
    let good = [
        file("", ""),
        file(
            "description = \"d\"\non_error = \"https://alerts.acme.example/\"\n[trigger.http]\nrespond = \"workflow\"",
            "",
        ),
        file("[trigger.cron]\nschedule = \"0 9 * * 1-5\"\ntime_zone = \"Europe/Berlin\"", ""),
        file(
            "[limits]\nconcurrency = 4\nqueue = 10\nruns_per_minute = 60\ntimeout = \"1m 30s\"\nmemory = \"64 MiB\"",
            "",
        ),
        file("[limits]\ntimeout = 90\nmemory = \"0.5GB\"\n[trigger.http]\nbody_limit = 1000", ""),
        file(
            "[retry]\nattempts = 3\nwait = \"1s\"\nmax_wait = \"1m\"\non = [\"upstream\", \"host\"]",
            "timeout = \"5s\"",
        ),
        file("", "if = \"{{ event.n > 1 }}\"\nretry_requests = 2\nscopes = {}\nmemory = \"32MiB\""),
    ];
    let bad = [
        file("colour = \"red\"", ""),
        file("", "links = [\"a\"]"),
        file("", "linked = {}"),
        file("[trigger.cron]\nat = \"0 9 * * *\"", ""),
        file("[trigger.mail]", ""),
        file("[trigger.http]\nrespond = \"perhaps\"", ""),
        file("[limits]\nconcurrency = \"many\"", ""),
        file("[limits]\nconcurrency = -1", ""),
        file("[retry]\nattempts = 3\non = [\"luck\"]", ""),
        file("", "timeout = \"soon\""),
        file("", "memory = \"much\""),
        file("", "memory = \"4 MiBs\""),
        file("[trigger.http]\nbody_limit = \"short\"", ""),
        file("", "retry_requests = 1000"),
        file("", "").replace("keyhole = 1", "keyhole = 2"),
        file("", "").replace("\"w\"", "\"No Name\""),
        file("", "").replace("name = \"a\"", "name = \"1 a\""),
        file("", "").replace("uses", "use"),
        "keyhole = 1\nname = \"w\"\n".to_owned(),
    ];
    let schema = folder.join("schema.json");
    std::fs::write(&schema, served.keyhole.call(&["workflows", "schema"]).ok().stdout).unwrap();
    let mut files = Vec::new();
    for (number, text) in good.iter().chain(&bad).enumerate() {
        let path = folder.join(format!("{number}.toml"));
        std::fs::write(&path, text).unwrap();
        let deployed = served.keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "alice"]);
        assert_eq!(deployed.code == 0, number < good.len(), "{text}\n{}", deployed.stderr);
        files.push(path);
    }
    // What deploying these takes is shown by tests of theirs.
    let examples =
        ["github-digest", "webhook-to-slack"].map(|name| root().join("examples").join(name).join("workflow.toml"));
    files.extend(examples);
    let said = Command::new(python).args(["-c", VALIDATE]).arg(schema).args(&files).output().expect("python starts");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let valid: Vec<bool> = serde_json::from_slice(&said.stdout).unwrap();
    for (number, valid) in valid.into_iter().enumerate() {
        let is_bad = (good.len()..good.len() + bad.len()).contains(&number);
        assert_eq!(valid, !is_bad, "{}", std::fs::read_to_string(&files[number]).unwrap());
    }
}

#[test]
fn schemathesis_finds_no_failure_of_the_server() {
    let Some(program) = of_schemathesis("schemathesis") else { return };
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
