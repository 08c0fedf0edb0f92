//! Where things lie in the source tree, and the test components, built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root")
}

/// A file under `tests/`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The component of a guest or example crate, by its package name.
pub fn component(package: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(build_all);
    let file = format!("{}.wasm", package.replace('-', "_"));
    let path = target().join("wasm32-wasip2/release").join(file);
    assert!(path.exists(), "{} was not built; is {package} listed in PACKAGES?", path.display());
    path
}

/// Every crate that is built to a component for the tests.
const PACKAGES: [&str; 12] = [
    "bare-server",
    "hostile",
    "inert",
    "small",
    "client",
    "verbs",
    "fetch",
    "echo-key",
    "slack-post",
    "github-issue",
    "raw-http",
    "definition-loop",
];

fn build_all() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"]);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "the test components build");
}

/// Cargo's folder for what is built.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The folder with what is built of the profile that this program is of.
pub fn profile() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows where it is");
    // <target>/<profile>/deps/<program>
    program.ancestors().nth(2).expect("cargo built it").to_owned()
}

/// The built `keyhole` program: `tests/run` builds it before the tests, and the benchmark before its rows.
pub fn keyhole() -> PathBuf {
    std::env::var_os("KEYHOLE_BIN").map_or_else(|| profile().join("keyhole"), PathBuf::from)
}

/// A person's browser. Says so if there is none: the test is skipped.
pub fn chromium() -> Option<PathBuf> {
    let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    let found = places.into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: Chromium is not installed, and tests/run could not install it");
    }
    found
}
