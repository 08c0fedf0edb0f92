//! What Keyhole costs, measured beside what it is compared with, in one run:
//! `cargo bench --profile dist`, with `-- run request` for some rows, or `-- --quick`.
//!
//! Each file beside this one is a row of the table in README.md. Each row runs in a process
//! of its own, so that no row's memory, threads or open files bear on the next.

mod bare;
mod common;
mod grants;
mod history;
mod javascript;
mod request;
mod run;
mod scrub;
mod sender;
mod server;
mod throughput;
mod waiting;

use std::process::Command;

/// The program's own, on both sides of each comparison.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use anyhow::{Context, Result, bail, ensure};
use keyhole_tests::workspace;

const ROWS: [&str; 8] = ["run", "javascript", "request", "scrub", "grants", "waiting", "history", "throughput"];
/// The first argument in a row's process; the row's name follows.
const ROW: &str = "__row";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [waiting::SERVER, authority] => waiting::serve(authority.as_ref()),
        [ROW, name, options @ ..] => row(name, options.contains(&"--quick")),
        options => all(options),
    }
}

fn all(options: &[&str]) -> Result<()> {
    let mut wanted: Vec<&str> = Vec::new();
    let mut passed_on: Vec<&str> = Vec::new();
    for option in options {
        match *option {
            // What `cargo bench` adds.
            "--bench" => {}
            "--quick" => passed_on.push(option),
            name if ROWS.contains(&name) => wanted.push(name),
            other => bail!("{other}: pass --quick, and names of rows: {}", ROWS.join(", ")),
        }
    }
    if wanted.is_empty() {
        wanted = ROWS.to_vec();
    }
    build()?;
    let mut failed = Vec::new();
    for name in wanted {
        let status = Command::new(std::env::current_exe()?)
            .args([ROW, name])
            .args(&passed_on)
            // On the disk that the build is on: what durability costs can't be seen on a tmpfs.
            .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
            .status()?;
        if !status.success() {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

/// Builds the program, which some rows start, as the benchmark was built.
fn build() -> Result<()> {
    if std::env::var_os("KEYHOLE_BIN").is_some() {
        return Ok(());
    }
    let folder = workspace::profile();
    let profile = match folder.file_name().and_then(|name| name.to_str()).context("a profile has a name")? {
        "debug" => "dev",
        name => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace::root()).args(["build", "--locked", "--bin", "keyhole", "--profile", profile]);
    ensure!(cargo.status()?.success(), "the program does not build");
    Ok(())
}

fn row(name: &str, quick: bool) -> Result<()> {
    // As the program has it: on a worker of the runtime that steps belong on.
    let runtime = keyhole::engine::runtime_builder().build()?;
    let measured = match name {
        "run" => runtime.spawn(run::measure(quick)),
        "javascript" => runtime.spawn(javascript::measure(quick)),
        "request" => runtime.spawn(request::measure(quick)),
        "scrub" => runtime.spawn(scrub::measure(quick)),
        "grants" => runtime.spawn(grants::measure(quick)),
        "waiting" => runtime.spawn(waiting::measure(quick)),
        "throughput" => runtime.spawn(throughput::measure(quick)),
        "history" => runtime.spawn(history::measure(quick)),
        other => bail!("there is no row {other}"),
    };
    let rows = runtime.block_on(measured)?;
    common::print(&rows.with_context(|| format!("the row {name}"))?);
    Ok(())
}
