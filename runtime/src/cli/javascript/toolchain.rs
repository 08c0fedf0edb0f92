//! The JavaScript tool chain: this program's own copy of guest-sdk/js, and the packages
//! that its lock file names, in a private folder of the user's cache.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::super::child::{self, Run};
use super::super::error::{Context as _, Error, Result};
use super::super::output::Output;
use super::super::toolchain::{self, Progress, WIT, files, hash, rename, turn, write_all};

/// Oldest Node.js that runs the tool chain.
const OLDEST_NODE: u32 = 20;

/// How to get Node.js.
pub const MISSING_NODE: &str =
    "install Node.js 20 or later with npm, as https://nodejs.org says, and see that it is in PATH";

/// What an installation needs.
const NETWORK: &str = "see that npm reaches its registry (npm ping), and that there are 500 MB of room";

/// What npm installs from.
const MANIFEST: &[(&str, &str)] = files!["guest-sdk/js": "package.json", "package-lock.json"];

/// What a build runs, and what it puts into components.
const SDK: &[(&str, &str)] = files![
    "guest-sdk/js":
    "index.js",
    "build/builtins.js",
    "build/bundle.js",
    "build/main.js",
    "build/packages.js",
    "build/problem.js",
    "build/roots.js",
    "build/sloppy.js",
    "build/sourcemap.js",
    "build/unicode.js",
    "build/zones.js",
    "node/crypto.js",
    "node/der.js",
    "node/events.js",
    "node/fs-promises.js",
    "node/fs.js",
    "node/http.js",
    "node/https.js",
    "node/keys.js",
    "node/lazy.js",
    "node/module.js",
    "node/process.js",
    "node/readline-promises.js",
    "node/readline.js",
    "node/signatures.js",
    "node/stream-consumers.js",
    "node/stream-promises.js",
    "node/stream-web.js",
    "node/stream.js",
    "node/timers-promises.js",
    "node/timers.js",
    "node/tls.js",
    "node/undici.js",
    "node/util-types.js",
    "node/util.js",
    "node/zlib.js",
    "runtime/accounts.js",
    "runtime/buffer.js",
    "runtime/component.js",
    "runtime/console.js",
    "runtime/dates.js",
    "runtime/engine.js",
    "runtime/failure.js",
    "runtime/fetch.js",
    "runtime/flow.js",
    "runtime/globals.js",
    "runtime/instance.js",
    "runtime/intl.js",
    "runtime/json.js",
    "runtime/locales.js",
    "runtime/props.js",
    "runtime/random.js",
    "runtime/raw.js",
    "runtime/request.js",
    "runtime/require.js",
    "runtime/send.js",
    "runtime/stack.js",
    "runtime/state.js",
    "runtime/store.js",
    "runtime/subtle.js",
    "runtime/timers.js",
    "runtime/unicode.js",
    "runtime/web.js",
    "runtime/zones.js",
];

/// Where everything about JavaScript is kept.
pub fn cache() -> Result<PathBuf> {
    toolchain::cache("javascript")
}

/// The tool chain, ready to build with.
pub struct Toolchain {
    /// The copy of guest-sdk/js.
    pub sdk: PathBuf,
    /// The contract's WIT.
    pub wit: PathBuf,
}

impl Toolchain {
    /// What tells one version of the tool chain from another.
    pub fn version() -> String {
        hash(MANIFEST.iter().chain(SDK).chain(WIT))
    }

    /// The tool chain in `cache`, installed if it is not there.
    pub async fn ready(cache: &Path, deadline: Instant, out: Output) -> Result<Self> {
        let tools = cache.join(format!("tools-{}", hash(MANIFEST.iter())));
        if !tools.join("node_modules").is_dir() {
            install(&tools, deadline, out).await.at(tools.display())?;
        }
        let sdk = tools.join(format!("sdk-{}", Self::version()));
        let wit = sdk.join("wit");
        if !sdk.is_dir() {
            let made = tempfile::Builder::new().prefix("sdk-").tempdir_in(&tools)?;
            write_all(made.path(), SDK)?;
            write_all(made.path(), &[("package.json", r#"{"type":"module"}"#)])?;
            write_all(&made.path().join("wit"), WIT)?;
            rename(made, &sdk)?;
        }
        Ok(Self { sdk, wit })
    }
}

/// Installs the packages that the lock file names, once for all builds.
async fn install(tools: &Path, deadline: Instant, out: Output) -> Result {
    let cache = tools.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(cache)?;
    let _turn = turn(cache, "JavaScript", deadline, out).await?;
    if tools.join("node_modules").is_dir() {
        return Ok(());
    }
    check_node(cache, deadline).await?;
    let what = "installing the JavaScript tool chain (once; about 430 MB)";
    let progress = Progress::new(what, out);
    let made = tempfile::Builder::new().prefix("install-").tempdir_in(cache)?;
    write_all(made.path(), MANIFEST)?;
    let mut npm = child::program("npm", made.path());
    // No package's own scripts: nothing in the tool chain needs them.
    npm.args(["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    let run = Run { name: "npm", missing: MISSING_NODE, deadline, slow: NETWORK, keep_stderr: true, memory: None };
    let ended = child::run_to_end(npm, &run).await;
    drop(progress);
    let ended = ended?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(
            Error::new(format!("npm could not install the JavaScript tool chain:\n{}", said.trim())).help(NETWORK)
        );
    }
    rename(made, tools)
}

async fn check_node(folder: &Path, deadline: Instant) -> Result {
    let mut node = child::program("node", folder);
    node.arg("--version");
    let run = Run { name: "node", missing: MISSING_NODE, deadline, slow: "", keep_stderr: true, memory: None };
    let ended = child::run_to_end(node, &run).await?;
    let version = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(Error::new(format!("Node.js {version} is too old for the JavaScript tool chain")).help(MISSING_NODE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_sdk_is_in_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/js");
        for folder in ["build", "node", "runtime"] {
            for file in std::fs::read_dir(root.join(folder)).unwrap() {
                let name = format!("{folder}/{}", file.unwrap().file_name().to_str().unwrap());
                assert!(SDK.iter().any(|(listed, _)| *listed == name), "{name} is not listed in SDK");
            }
        }
    }
}
