//! The `keyhole` program: one file a command.
//!
//! A command parses, calls what the HTTP API and the console call too, and prints. No
//! decision on who may do what is made in here.

mod accounts;
mod apps;
mod audit;
mod backup;
mod build;
mod cargo;
mod child;
mod client;
mod completions;
mod config;
mod configure;
mod connect;
mod custom;
mod data;
mod demo;
mod dev;
mod doctor;
mod error;
mod home;
mod import;
mod inspect;
mod javascript;
mod kept;
mod log;
mod members;
mod new;
mod output;
mod passkeys;
mod python;
mod run;
mod runs;
mod secrets;
mod serve;
mod sessions;
mod settings;
mod sign_in;
mod test;
mod tokens;
mod toolchain;
mod vault;
mod workflows;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use keyhole::engine::compile::worker_main;
use keyhole::engine::runtime_builder;
use keyhole::server::drafting;
use keyhole::workflow::render;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use serde_json::json;

use error::Result;
use settings::{Color, Global, Settings};

/// Runs code steps written by people you need not trust, against accounts of your
/// members, without ever handing a step the key.
#[derive(Parser, Debug)]
#[command(name = "keyhole", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::Demo),
    Build(build::Build),
    Run(run::Run),
    Inspect(inspect::Inspect),
    #[command(subcommand)]
    Workflows(workflows::Workflows),
    #[command(subcommand)]
    Runs(runs::Runs),
    Test(test::Test),
    Dev(dev::Dev),
    #[command(subcommand)]
    Data(data::Data),
    #[command(subcommand)]
    Apps(apps::Apps),
    #[command(subcommand)]
    Accounts(accounts::Accounts),
    #[command(subcommand)]
    Members(members::Members),
    Audit(audit::Audit),
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    SignIn(sign_in::SignIn),
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    #[command(subcommand)]
    Passkeys(passkeys::Passkeys),
    #[command(subcommand)]
    Vault(vault::Vault),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Serve(serve::Serve),
    #[command(subcommand)]
    Config(config::Config),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// The engine's own worker, which compiles a component within limits. It is none of the
/// commands: those are in everyone's completions.
const COMPILE: &str = "__compile";
/// And what works out workflows' templates, likewise.
const RENDER: &str = "__render";
/// And what drafts definitions for the console.
const DRAFT: &str = "__draft";

/// The whole program.
pub fn main() -> ExitCode {
    guard_process();
    if std::env::args_os().nth(1).is_some_and(|first| first == COMPILE) {
        return worker_main(std::io::stdin().lock(), std::io::stdout().lock());
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == RENDER) {
        return render::worker_main(std::io::stdin().lock(), std::io::stdout().lock());
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == DRAFT) {
        return drafting::worker_main(std::io::stdin().lock(), std::io::stdout().lock());
    }
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let data_dir_given = matches.value_source("data_dir") == Some(ValueSource::CommandLine);
        Ok((Cli::from_arg_matches(&matches)?, data_dir_given))
    });
    let (cli, data_dir_given) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return not_understood(&error),
    };
    let json = cli.global.json;
    match start(cli, data_dir_given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(json),
    }
}

fn start(cli: Cli, data_dir_given: bool) -> Result {
    if let Some(color) = cli.global.color {
        choose_colors(color);
    }
    if let Command::Completions(completions) = cli.command {
        return completions.run();
    }
    let settings = Settings::load(&cli.global, data_dir_given)?;
    choose_colors(settings.color);
    log::begin(settings.log());
    let runtime = runtime_builder().build()?;
    let ended = runtime.block_on(dispatch(cli.command, &settings));
    // What still runs is bounded by its own deadlines; nobody waits for it.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ended
}

async fn dispatch(command: Command, settings: &Settings) -> Result {
    match command {
        Command::Demo(command) => command.run(settings).await,
        Command::Build(command) => command.run(settings).await,
        Command::Run(command) => command.run(settings).await,
        Command::Inspect(command) => command.run(settings).await,
        Command::Workflows(command) => command.run(settings).await,
        Command::Runs(command) => command.run(settings).await,
        Command::Test(command) => command.run(settings).await,
        Command::Dev(command) => command.run(settings).await,
        Command::Data(command) => command.run(settings).await,
        Command::Apps(command) => command.run(settings).await,
        Command::Accounts(command) => command.run(settings).await,
        Command::Members(command) => command.run(settings).await,
        Command::Audit(command) => command.run(settings).await,
        Command::Tokens(command) => command.run(settings).await,
        Command::SignIn(command) => command.run(settings).await,
        Command::Sessions(command) => command.run(settings).await,
        Command::Passkeys(command) => command.run(settings).await,
        Command::Vault(command) => command.run(settings).await,
        Command::Backup(command) => command.run(settings).await,
        Command::Restore(command) => command.run(settings).await,
        Command::Serve(command) => command.run(settings).await,
        Command::Config(command) => command.run(settings),
        Command::Doctor(command) => command.run(settings).await,
        Command::Completions(_) => Ok(()),
    }
}

/// A command line that clap could not read, in clap's words or as JSON.
fn not_understood(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let text = error.render().to_string();
        let (message, help) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.trim_start_matches("error: ").trim();
        let error = json!({"error": {"message": message, "where": null, "help": help.trim()}});
        output::stderr_line(&format!("{error:#}"));
        return ExitCode::from(2);
    }
    // That nobody reads the help is no error.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// No core dumps and no debuggers, which would see credentials, and as many descriptors as the system
/// lets us have.
fn guard_process() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Not 0: the kernel ignores that where cores go to a program. It takes 1 as "none".
    let none = Rlimit { current: Some(1), maximum: Some(1) };
    if setrlimit(Resource::Core, none).is_err() {
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
    let descriptors = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: descriptors.maximum, ..descriptors });
}

/// Runs `open` as a process that may open its own `/proc/self/pagemap`, which the engine's pools do as they are made
/// and one that can't be dumped may not, unless it is root's. A debugger could attach meanwhile.
fn while_dumpable<T>(open: impl FnOnce() -> T) -> T {
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    let opened = open();
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    opened
}

fn choose_colors(color: Color) {
    match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::AlwaysAnsi,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// Ends when someone asks the program to stop.
async fn interrupt() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
