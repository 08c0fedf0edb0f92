//! `keyhole build` of JavaScript: errors at the author's lines, what can't work, the cache,
//! and what the author's code may do while it is built.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{House, file};

/// A folder with sources.
struct Source {
    house: House,
    dir: TempDir,
}

impl Source {
    fn new() -> Self {
        Self { house: House::new(), dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        // Below a folder of its own: what lies beside it is outside of the source.
        self.dir.path().canonicalize().expect("it is there").join("source").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        std::fs::write(path, text).expect("it is written");
    }

    /// What `keyhole build --json` says of the errors: message, place and help of each.
    fn errors(&self, name: &str, more: &[&str]) -> Vec<(String, String, String)> {
        let (path, out) = (self.path(name).display().to_string(), self.dir.path().display().to_string());
        let mut args = vec!["--json", "build", path.as_str(), "--output", out.as_str()];
        args.extend(more);
        let ended = self.house.call(&args);
        assert_ne!(ended.code, 0, "{}", ended.stdout);
        let error = ended.json_error();
        let text = |error: &Value, key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let one = |error: &Value| (text(error, "message"), text(error, "where"), text(error, "help"));
        let also = error["also"].as_array().cloned().unwrap_or_default();
        std::iter::once(one(&error)).chain(also.iter().map(one)).collect()
    }

    /// The one error of a build.
    fn error(&self, name: &str, more: &[&str]) -> (String, String, String) {
        let mut errors = self.errors(name, more);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0)
    }
}

#[test]
fn errors_point_at_the_authors_file_and_line() {
    let source = Source::new();
    source.write("syntax.ts", "export default {\n  async run(): Promise<number> {\n    return 1 +;\n  },\n};\n");
    source.write("top.mjs", "import { boom } from './boom.mjs';\nboom();\nexport default { run() {} };\n");
    source.write("boom.mjs", "export function boom() {\n  throw new Error('no config');\n}\n");
    source.write("file.mjs", "\nimport x from './not-there.mjs';\nexport default { run() { return x; } };\n");
    source.write("plain.mjs", "export const x = 1;\n");
    source.write("a.app.mjs", "export default { type: 'app', app: 'a' };\n");
    source.write("random.mjs", "const id = crypto.randomUUID();\nexport default { run() { return id; } };\n");

    let at = |name: &str, place: &str| format!("{}:{place}", source.path(name).display());
    let (message, place, _) = source.error("syntax.ts", &[]);
    assert_eq!((message.as_str(), place), ("Unexpected \";\"", at("syntax.ts", "3:15")));
    let (message, place, help) = source.error("top.mjs", &[]);
    assert!(
        message.contains("top level failed: Error: no config") && help.contains("outside of functions"),
        "{message}"
    );
    assert!(place.starts_with(&at("boom.mjs", "2:")), "{place}");
    let (message, place, _) = source.error("file.mjs", &[]);
    assert!(message.contains("./not-there.mjs") && place == at("file.mjs", "2:15"), "{message} {place}");
    assert!(source.error("plain.mjs", &[]).0.contains("no default export"));
    assert!(source.error("a.app.mjs", &[]).0.contains("this is an app file"));
    let (message, place, _) = source.error("random.mjs", &[]);
    assert!(
        message.contains("same value in every run") && place.starts_with(&at("random.mjs", "1:")),
        "{message} {place}"
    );
    assert!(source.error("none.mjs", &[]).0.contains("no such file"));
}

#[test]
fn what_cannot_work_is_named_with_what_to_use() {
    let source = Source::new();
    source.write(
        "step.mjs",
        "import net from 'node:net';\nimport { exec } from 'child_process';\nimport pg from 'pg';\nexport default { run() { return [net, exec, pg]; } };\n",
    );
    let errors = source.errors("step.mjs", &[]);
    let expected = [("node:net", "1:", "fetch"), ("node:child_process", "2:", "no programs"), ("pg", "3:", "HTTP API")];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for ((message, place, help), (name, line, instead)) in errors.iter().zip(expected) {
        assert!(message.contains(name) && message.contains("can't work"), "{message}");
        assert!(place.contains(&format!("step.mjs:{line}")) && help.contains(instead), "{place} {help}");
    }
}

#[test]
fn one_way_out_a_build_reads_nothing_outside_of_its_source() {
    let source = Source::new();
    std::fs::write(source.dir.path().join("secret.txt"), "the neighbour's").unwrap();
    source.write("up.mjs", "import text from '../secret.txt';\nexport default { run() { return text; } };\n");
    source.write(
        "absolute.mjs",
        "import text from '/etc/passwd' with { type: 'text' };\nexport default { run() { return text; } };\n",
    );
    source.write("link.mjs", "import text from './link.txt';\nexport default { run() { return text; } };\n");
    std::os::unix::fs::symlink(source.dir.path().join("secret.txt"), source.path("link.txt")).unwrap();
    for name in ["up.mjs", "absolute.mjs", "link.mjs"] {
        let (message, place, _) = source.error(name, &[]);
        assert!(message.contains("outside of the step's source"), "{message}");
        assert!(place.contains(&format!("{name}:1:")), "{place}");
    }
}

#[test]
fn bounded_a_build_ends_by_its_deadline_and_within_its_memory() {
    let source = Source::new();
    source.write("warm.mjs", "export default { run() {} };\n");
    source.write("loop.mjs", "for (;;) {}\nexport default { run() {} };\n");
    source.write(
        "eat.mjs",
        "const held = [];\nfor (;;) held.push(new Uint8Array(1 << 20).fill(1));\nexport default { run() {} };\n",
    );
    source.write("node_modules/weight/package.json", r#"{"name": "weight", "main": "main.js"}"#);
    source.write("node_modules/weight/main.js", &format!("module.exports = '{}';\n", "w".repeat(3 << 20)));
    source.write(
        "large.mjs",
        "import weight from 'weight';\nconst held = new Uint8Array(64 << 20).fill(1);\nexport default { run: () => weight.length + held.length };\n",
    );
    // So that the tool chain is there, and the deadline is the build's own.
    let out = source.dir.path().display().to_string();
    source.house.call(&["build", &source.path("warm.mjs").display().to_string(), "--output", &out]).ok();

    let started = Instant::now();
    let (message, _, help) = source.error("loop.mjs", &["--timeout", "20s"]);
    assert!(message.contains("deadline") && help.contains("see that it ends"), "{message} {help}");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    let (message, ..) = source.error("eat.mjs", &[]);
    assert!(message.contains("more memory than a build has"), "{message}");
    let (message, _, help) = source.error("large.mjs", &[]);
    assert!(message.contains("and a step at most 64 MiB"), "{message}");
    assert!(help.contains("of it are weight (3.0 MiB of source)"), "{help}");
}

#[test]
fn an_unchanged_source_is_not_built_again() {
    let source = Source::new();
    source.write(
        "step.ts",
        "import { word } from './word';\nexport default defineComponent({ run() { return word; } });\n",
    );
    source.write("word.ts", "export const word: string = 'first';\n");
    let build = || {
        let started = Instant::now();
        let value = source.house.value(&source.path("step.ts"), &[]);
        (value, started.elapsed())
    };
    assert_eq!(build().0, "first");
    let out = source.dir.path().display().to_string();
    let started = Instant::now();
    let built =
        source.house.call(&["--json", "build", &source.path("step.ts").display().to_string(), "--output", &out]).ok();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(built.json()["name"], "step");
    source.write("word.ts", "export const word: string = 'second';\n");
    assert_eq!(build().0, "second", "a change anywhere in the source counts");
}

#[test]
fn common_js_and_typescript_are_built_without_configuration() {
    let source = Source::new();
    // A package that lies beside the step, and has another file for bundlers than for Node.js.
    source.write("node_modules/own/package.json", r#"{"name": "own", "main": "main.js", "module": "module.js"}"#);
    // It assigns to names that nobody declares, as code that is not strict may.
    source.write(
        "node_modules/own/main.js",
        "upper = (text) => { for (at = 0; at < text.length; at++); return at > 0 && text.toUpperCase(); };\nmodule.exports = upper;\n",
    );
    source.write("node_modules/own/module.js", "export const upper = 1;\n");
    source.write(
        "old.cjs",
        "const path = require('path');\nconst own = require('own');\nmodule.exports = { run() { return own(path.join('a', 'b')); } };\n",
    );
    source.write(
        "new.mts",
        "import own from 'own';\nenum Kind { A = 'a' }\ninterface Answer { kind: Kind; own: string }\nexport default defineComponent({ async run(): Promise<Answer> { return { kind: Kind.A satisfies Kind, own: own('b') }; } });\n",
    );
    assert_eq!(source.house.value(&source.path("old.cjs"), &[]), "A/B");
    assert_eq!(source.house.value(&source.path("new.mts"), &[]), json!({"kind": "a", "own": "B"}));
}

#[test]
fn the_types_know_what_a_step_may_say() {
    // The TypeScript of the tool chain, which any build installs.
    let source = Source::new();
    source.write("warm.mjs", "export default { run() {} };\n");
    let out = source.dir.path().display().to_string();
    source.house.call(&["build", &source.path("warm.mjs").display().to_string(), "--output", &out]).ok();
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"));
    let tools = std::fs::read_dir(base.join("keyhole/javascript")).expect("the tool chain's cache");
    let compiler = tools
        .map(|entry| entry.expect("an entry").path().join("node_modules/typescript/bin/tsc"))
        .find(|path| path.is_file())
        .expect("the tool chain has TypeScript");
    let checked =
        std::process::Command::new("node").arg(compiler).arg("-p").arg(file("steps")).output().expect("node starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
