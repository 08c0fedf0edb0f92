//! What Keyhole says of what goes on, on standard error.

use std::sync::OnceLock;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use super::settings::{Format, Level, Log};

/// What is said by the log of this process.
static SAID: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Begins it.
pub fn begin(log: Log) {
    let (said, handle) = reload::Layer::new(own_events(log.level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    if tracing_subscriber::registry().with(said).with(lines).try_init().is_ok() {
        let _ = SAID.set(handle);
    }
}

/// Says from now on what is of this level.
pub fn change(level: Level) {
    if let Some(said) = SAID.get() {
        // It fails only where the log is gone.
        let _ = said.reload(own_events(level));
    }
}

/// Keyhole's own events. Those of the libraries stay off: some of them print headers.
fn own_events(level: Level) -> EnvFilter {
    let level = match level {
        Level::Off => "off",
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    EnvFilter::new(format!("off,keyhole={level},keyhole_host_api={level}"))
}
