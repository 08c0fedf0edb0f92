//! What templates can't do, whatever their author writes: take the process's memory, its time or its life.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::rig::*;

/// `n` times: a value that holds another twice.
fn doubled(n: usize, last: &str) -> String {
    format!("{{% set a = [event, event] %}}{}{last}", "{% set a = [a, a] %}".repeat(n))
}

/// What takes time and no memory: two values that look the same are compared.
fn compared(n: usize) -> String {
    let other = format!("{{% set b = [event, event] %}}{}", "{% set b = [b, b] %}".repeat(n));
    doubled(n, &format!("{other}{{{{ a == b }}}}"))
}

/// The processes that work out templates for the server `of`.
fn renderers(of: u32) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let read = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let parent = format!("PPid:\t{of}");
        read("cmdline").contains("__render") && read("status").lines().any(|line| line == parent)
    };
    let names = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(is_one).collect()
}

/// A step that returns what the template makes.
fn step(template: &str) -> String {
    verb("a", "return", &format!("{template:?}"))
}

#[test]
fn bounded_a_template_ends_its_run_at_most_whatever_it_computes() {
    let keyhole = keyhole();
    let fine = format!("keyhole = 1\nname = \"fine\"\n{}", verb("a", "return", "\"{{ event.n + 1 }}\""));
    deploy(&keyhole, &fine).ok();
    let serving = Serving::on(&keyhole);
    let pid = serving.id();
    let server_now = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for hostile in [
        doubled(40, "{{ a | tojson }}"),
        doubled(60, "{{ a }}"),
        compared(40),
        doubled(
            60,
            "{% set b = [event, event] %}{% for i in range(60) %}{% set b = [b, b] %}{% endfor %}{{ a | pprint }}",
        ),
        "{{ [[[[event] * 1000] * 1000] * 1000] * 1000 }}".to_owned(),
        "{{ [[[[event] * 1000] * 1000] * 1000] * 1000 == [[[[event] * 1000] * 1000] * 1000] * 1000 }}".to_owned(),
        "{% for a in range(10000) %}{% for b in range(10000) %}{{ event }}{% endfor %}{% endfor %}".to_owned(),
        "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}".to_owned(),
        "{{ 'x' * 1000000000 }}".to_owned(),
    ] {
        deploy(&keyhole, &format!("{HEAD}{}", step(&hostile))).ok();
        let began = Instant::now();
        let args = ["--json", "workflows", "run", "w", "--no-wait", "--as", "alice", "--event", "-"];
        let event = json!({"n": 1, "text": "x".repeat(100)}).to_string();
        let started = keyhole.call_with(&args, &event).ok().json();
        let ended = until_status(&keyhole, started["run"].as_str().unwrap(), "failed");
        assert_eq!(ended["run"]["error"]["kind"], "template", "{ended:#}");
        assert!(began.elapsed() < Duration::from_secs(60), "{hostile}: {:?}", began.elapsed());
        // The same server does what others want.
        let started = keyhole
            .call_with(&["--json", "workflows", "run", "fine", "--no-wait", "--as", "alice", "--event", "-"], &event)
            .ok()
            .json();
        let shown = until_status(&keyhole, started["run"].as_str().unwrap(), "ok");
        assert_eq!(returned(&shown)["a"], 2);
    }
    let peak = server_now();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line with the most memory");
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kib < 1 << 20, "the server itself had {kib} KiB");
}

#[test]
fn what_works_out_templates_may_be_ended_by_others_and_the_run_is_judged_by_its_template() {
    let keyhole = keyhole();
    deploy(&keyhole, &format!("{HEAD}{}", step(&compared(40)))).ok();
    let serving = Serving::on(&keyhole);
    let args = ["--json", "workflows", "run", "w", "--no-wait", "--as", "alice", "--event", "-"];
    let started = keyhole.call_with(&args, &json!({"n": 1}).to_string()).ok().json();
    let one = until("a process that works out templates", || renderers(serving.id()).first().copied());
    assert!(std::process::Command::new("kill").args(["-KILL", &one.to_string()]).status().unwrap().success());
    // Another one takes its place, and that finds that it takes too long.
    let ended = until_status(&keyhole, started["run"].as_str().unwrap(), "failed");
    assert_eq!(ended["run"]["error"]["kind"], "template", "{}", ended["run"]);
    let message = ended["run"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("s of processor time"), "{message}");
}

#[test]
fn bounded_a_template_that_would_fill_its_readers_stack_is_refused_at_deploy() {
    let keyhole = keyhole();
    for deep in ["-".repeat(100_000), "not ".repeat(30_000)] {
        let path = file(&keyhole, &format!("{HEAD}{}", step(&format!("{{{{ {deep}1 }}}}"))));
        let said = keyhole.call(&["workflows", "deploy", path.to_str().unwrap(), "--as", "alice"]).failed(2);
        assert!(said.contains("an expression may have 600 characters"), "{said}");
    }
}

#[test]
fn a_step_whose_templates_make_too_much_together_fails() {
    let keyhole = keyhole();
    let many = (0..40).map(|n| format!("p{n} = \"{{{{ event.text }}}}\"")).collect::<Vec<_>>().join(", ");
    deploy(&keyhole, &format!("{HEAD}{}", verb("a", "return", &format!("{{ {many} }}")))).ok();
    let event = json!({"text": "x".repeat(1_000_000 - 100)});
    let ended = run(&keyhole, "w", &event);
    assert_eq!(ended["run"]["error"]["kind"], "template", "{}", ended["run"]);
    assert!(ended["run"]["error"]["message"].as_str().unwrap().contains("32 MiB"), "{}", ended["run"]);
}
