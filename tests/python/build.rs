//! `keyhole build` of Python: errors at the author's lines, packages, the cache, and what the
//! author's code may do while it is built.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::rig::{file, rig, turn};

/// A folder with sources.
struct Source {
    dir: TempDir,
}

impl Source {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
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

    /// What `keyhole build --json` says of the error: message, place and help.
    fn error(&self, name: &str, more: &[&str]) -> (String, String, String) {
        // So that the tool chain is there, and the deadline is the build's own.
        let house = &rig().house;
        let (path, out) = (self.path(name).display().to_string(), self.dir.path().display().to_string());
        let mut args = vec!["--json", "build", path.as_str(), "--output", out.as_str()];
        args.extend(more);
        let ended = {
            let _turn = turn();
            house.call(&args)
        };
        assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
        let error = ended.json_error();
        assert_eq!(error.get("also"), None, "{error:#}");
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (text("message"), text("where"), text("help"))
    }

    fn at(&self, name: &str, line: &str) -> String {
        format!("{}:{line}", self.path(name).display())
    }
}

#[test]
fn errors_point_at_the_authors_file_and_line() {
    let source = Source::new();
    // Called like a module of Python's.
    source.write("email.py", "def handler(pd):\n    return 1 +\n");
    source.write(
        "top-level.py",
        "import helper\n\nprint('at the top level')\nhelper.boom()\n\ndef handler(pd):\n    pass\n",
    );
    source.write("helper.py", "def boom():\n    import not_there\n");
    let (message, place, _) = source.error("email.py", &[]);
    assert_eq!((message.as_str(), place), ("invalid syntax", source.at("email.py", "2:15")));

    let top = source.path("top-level.py").display().to_string();
    let said = {
        let _turn = turn();
        rig().house.call(&["build", &top, "--output", &source.dir.path().display().to_string()]).failed(1)
    };
    assert!(said.starts_with("at the top level\nerror: there is no module not_there\n"), "{said}");
    assert!(
        said.contains(&format!("at {}\n", source.at("helper.py", "2"))) && said.contains("requirements.txt"),
        "{said}"
    );
}

#[test]
fn packages_are_pure_python_and_nothing_of_theirs_runs_here() {
    let refused = |requirements: &str| {
        let source = Source::new();
        source.write("step.py", "def handler(pd):\n    pass\n");
        source.write("requirements.txt", requirements);
        let (message, place, help) = source.error("step.py", &[]);
        assert!(place.starts_with(&source.path("requirements.txt").display().to_string()), "{place}");
        (message, place.rsplit(':').next().unwrap_or_default().to_owned(), help)
    };
    let (message, line, help) = refused("# native\nnumpy\n");
    assert!(message.contains("the package numpy is not pure Python"), "{message}");
    assert!(line == "2" && help.contains("no native code"), "{line} {help}");
    for (requirements, named) in [
        ("inflection\n-e .\n", "-e"),
        ("inflection\ngit+https://a.example/b.git\n", "git+https://a.example/b.git"),
        ("inflection\na @ https://a.example/a.tar.gz\n", "a"),
        ("inflection\n./local\n", "./local"),
        ("inflection\n--no-binary :all:\n", "--no-binary"),
        // What pip would read otherwise than it looks, or fill in.
        ("# a comment \\\n-e git+https://a.example/b.git\n", "-e"),
        ("inflection\n--pre -e git+https://a.example/b.git\n", "--pre"),
        ("inflection\n--pre --no-binary=:all:\n", "--pre"),
        ("inflection\ninflection\u{c}-e .\n", "'inflection'"),
        ("inflection\n--index-url https://a.example/${HOME}/simple\n", "'--index-url'"),
        ("inflection\na @ https://a.example/${HOME}/a-1-py3-none-any.whl\n", "'a'"),
        ("inflection\n--index-url http://a.example/simple\n", "--index-url"),
        ("inflection\ngit+https://user:word@a.example/b.git\n", "git+https://…@a.example/b.git"),
    ] {
        let (message, line, _) = refused(requirements);
        assert!(message.starts_with(&format!("{named} ")) && line == "2", "{message} {line}");
    }
}

#[test]
fn one_way_out_a_build_reads_nothing_outside_of_its_source() {
    let source = Source::new();
    source.write("step.py", "import linked\n\ndef handler(pd):\n    pass\n");
    std::fs::write(source.dir.path().join("secret.py"), "KEY = 'the neighbour's'").expect("it is written");
    std::os::unix::fs::symlink(source.dir.path().join("secret.py"), source.path("linked.py")).expect("it is made");
    let (message, ..) = source.error("step.py", &[]);
    assert!(message.contains("linked.py lies outside of the step's source"), "{message}");
}

#[test]
fn bounded_a_build_ends_by_its_deadline_and_within_its_memory() {
    let source = Source::new();
    source.write("loop.py", "while True:\n    pass\n");
    source.write(
        "fill.py",
        "import itertools, os\nhere = os.path.dirname(__file__)\nfor n in itertools.count():\n    open(f'{here}/{n}.bin', 'wb').write(b'x' * (1 << 22))\n",
    );
    source.write("eat.py", "held = []\nwhile True:\n    held.append(b'x' * (1 << 20))\n");
    let started = Instant::now();
    let (message, _, help) = source.error("loop.py", &["--timeout", "12s"]);
    assert!(message.contains("deadline") && help.contains("see that it ends"), "{message} {help}");
    // What another build takes before it is its turn is not its own.
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
    let (message, ..) = source.error("fill.py", &[]);
    assert!(message.contains("wrote more than 1024 MiB of files"), "{message}");
    let (message, place, _) = source.error("eat.py", &[]);
    assert!(message.contains("more memory than a build has"), "{message}");
    assert!(place.starts_with(&source.path("eat.py").display().to_string()), "{place}");
}

#[test]
fn an_unchanged_source_is_not_built_again() {
    let rig = rig();
    let out = tempfile::tempdir().expect("a temporary directory");
    let folder = file("steps/api").display().to_string();
    let started = Instant::now();
    let built: Value =
        rig.house.call(&["--json", "build", &folder, "--output", &out.path().display().to_string()]).ok().json();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(built["name"], "python-api");
}
