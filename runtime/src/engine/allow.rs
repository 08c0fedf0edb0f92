//! The allow-list: every interface that a component may import, and why it can do no harm.
//!
//! `link.rs` links exactly these, `inspect.rs` refuses everything else. Adding a line
//! here opens a way out of the sandbox unless what is linked for it is inert or goes
//! through the broker.

/// The contract's own package.
pub(super) const STEP_PACKAGE: &str = "keyhole:step";
/// The versions of the contract that this engine speaks: `0.1.*`.
pub(super) const STEP_VERSION: &str = "0.1.0";

/// What the world `step` exports.
pub(super) const EXPORTS: [&str; 3] = ["definition", "configure", "run"];

/// Interfaces of the contract.
const STEP_INTERFACES: [&str; 5] = ["types", "accounts", "flow", "data", "signer"];

/// WASI 0.2 interfaces.
pub(super) const WASI_INTERFACES: [&str; 29] = [
    // The broker.
    "wasi:http/types",
    "wasi:http/outgoing-handler",
    // Waiting, and bytes to and from the broker.
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    // Real, and harmless.
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    // No variables, arguments or working directory; exit ends the call.
    "wasi:cli/environment",
    "wasi:cli/exit",
    // Closed; the others go to the run's log.
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    // There is no terminal.
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    // No directory is preopened, so no descriptor ever exists.
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    // Every call is denied, so no socket ever exists.
    "wasi:sockets/network",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Whether a component may import `name`.
pub(super) fn allowed(name: &str) -> bool {
    let Some((interface, version)) = name.split_once('@') else { return false };
    let Ok(version) = semver::Version::parse(version) else { return false };
    if !version.pre.is_empty() || version.major != 0 {
        return false;
    }
    match interface.split_once('/') {
        Some((STEP_PACKAGE, interface)) => version.minor == 1 && STEP_INTERFACES.contains(&interface),
        Some(_) => version.minor == 2 && WASI_INTERFACES.contains(&interface),
        None => false,
    }
}
