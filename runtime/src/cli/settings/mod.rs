//! Where settings come from: a flag wins over a variable, a variable over the
//! configuration file, the file over the default. A list given by flag replaces the file's.
//!
//! A file that says something unknown is refused, with line and column: a setting that
//! is silently ignored may have been someone's protection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use etcetera::BaseStrategy as _;
use keyhole_host_api::data::STORE_BYTES;
use keyhole_host_api::vault::MasterKeySource;
use serde::Deserialize;
use url::Url;

mod egress;
mod limits;
mod log;
mod parse;
mod serve;
mod sign_in;
mod telemetry;

use egress::EgressFile;
pub use egress::EgressFlags;
use limits::LimitsFile;
use log::LogFile;
pub use log::{Format, Level, Log, LogFlags};
pub use parse::{parse_duration, parse_size, parse_time};
use parse::{parsed_duration, parsed_keep, parsed_size};
use serve::ServeFile;
pub use serve::{ServeFlags, Served};
use sign_in::SignInFile;
use telemetry::TelemetryFile;

use super::client::Remote;
use super::error::{Context as _, Error, Result};
use super::output::Output;

/// The variable that holds the master key itself.
pub const MASTER_KEY_VARIABLE: &str = "KEYHOLE_MASTER_KEY";
/// The variable that names a command which prints the master key.
pub const MASTER_KEY_COMMAND_VARIABLE: &str = "KEYHOLE_MASTER_KEY_COMMAND";

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the store lies [default: keyhole in the XDG data directory]
    #[arg(long, global = true, env = "KEYHOLE_DATA_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,

    /// The configuration file [default: keyhole/config.toml in the XDG configuration directory]
    #[arg(long, global = true, env = "KEYHOLE_CONFIG", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// A folder with app definitions of your own, beside those that Keyhole brings
    #[arg(long, global = true, env = "KEYHOLE_APPS", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub apps: Option<PathBuf>,

    /// A Keyhole that runs elsewhere, instead of a data directory; with a token in KEYHOLE_TOKEN
    #[arg(long, global = true, env = "KEYHOLE_URL", value_name = "URL")]
    pub url: Option<Url>,

    /// Read the token for --url from this file
    #[arg(long, global = true, env = "KEYHOLE_TOKEN_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,

    /// Trust the certificate authorities in this PEM file for --url, too
    #[arg(long, global = true, env = "KEYHOLE_URL_CA_CERT", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub url_ca_cert: Option<PathBuf>,

    /// Print one JSON document, also for an error
    #[arg(long, global = true)]
    pub json: bool,

    /// Print only what was asked for
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// When to use colours; NO_COLOR holds for 'auto'
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub color: Option<Color>,

    #[command(flatten)]
    log: LogFlags,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal that has them.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// On whose behalf.
#[derive(Args, Debug, Clone)]
pub struct AsMember {
    /// The member on whose behalf [default: the only member, if there is just one]
    #[arg(long = "as", env = "KEYHOLE_MEMBER", value_name = "MEMBER")]
    pub member: Option<String>,
}

/// What the configuration file may say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    apps: Option<PathBuf>,
    member: Option<String>,
    color: Option<Color>,
    log: LogFile,
    master_key: Option<MasterKeyFile>,
    egress: EgressFile,
    limits: LimitsFile,
    run: RunFile,
    audit: Retention,
    runs: RunsFile,
    data: DataFile,
    serve: ServeFile,
    telemetry: TelemetryFile,
    sign_in: SignInFile,
}

/// What of runs is on disk and when, how much of their history stays, and how many come of one event.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunsFile {
    /// When what was acknowledged is on disk.
    pub durability: Durability,
    /// What is not older: all of it if it is left out.
    #[serde(deserialize_with = "parsed_keep")]
    pub keep: Option<Duration>,
    /// The newest, as long as they are not more bytes together.
    #[serde(deserialize_with = "parsed_size")]
    pub keep_size: Option<u64>,
    /// Most runs that one event leads to by calls and failures. 1,000 if it is left out.
    pub most_per_event: Option<u32>,
    /// Most memory that a step may have, in bytes. 1 GiB if it is left out.
    #[serde(deserialize_with = "parsed_size")]
    pub most_memory: Option<u64>,
}

/// When an event that was accepted, and what steps left, is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Before the event is answered, and before the next step begins.
    #[default]
    Strict,
    /// Within 50 ms: what is younger is lost with the process.
    Relaxed,
}

/// How much of the audit stays: all of it, unless one of these says otherwise.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// What is not older.
    #[serde(deserialize_with = "parsed_keep")]
    pub keep: Option<Duration>,
    /// So many records, the newest.
    pub keep_records: Option<u64>,
}

/// Without Debug: a command may have a credential of its own in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum MasterKeyFile {
    File(PathBuf),
    Command(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunFile {
    #[serde(deserialize_with = "parsed_duration")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "parsed_size")]
    memory: Option<u64>,
}

/// What data stores may take.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DataFile {
    #[serde(deserialize_with = "parsed_size")]
    store_size: Option<u64>,
}

/// All settings, with their precedence applied.
#[derive(Clone)]
pub struct Settings {
    /// What the command line said.
    global: Global,
    /// Where the store lies.
    pub data_dir: PathBuf,
    /// The configuration file that was read.
    pub config: Option<PathBuf>,
    /// The operator's app definitions.
    pub apps: Option<PathBuf>,
    /// Who is meant when a command does not say.
    pub member: Option<String>,
    /// Whether the data directory was named on the command line.
    pub data_dir_given: bool,
    /// The Keyhole that runs elsewhere, if commands are for it.
    pub remote: Option<Remote>,
    /// Where the master key is.
    pub master_key: MasterKeySource,
    /// The file's word on where requests may go.
    egress: EgressFile,
    /// Its word on how many there may be.
    limits: LimitsFile,
    /// Its word on how members sign in.
    sign_in: SignInFile,
    /// The file's limit on a run's time.
    pub timeout: Option<Duration>,
    /// The file's limit on a run's memory, in bytes.
    pub memory: Option<u64>,
    /// How much of the audit stays.
    pub retention: Retention,
    /// What of runs is kept, and how.
    pub runs: RunsFile,
    /// Most bytes of keys and values in one data store.
    pub store_size: u64,
    /// Its word on where `keyhole serve` is reached.
    serve: ServeFile,
    /// The file's word on where telemetry goes.
    telemetry: TelemetryFile,
    /// Its word on the log.
    log: LogFile,
    /// When to use colours.
    pub color: Color,
    /// How to print.
    pub out: Output,
}

impl Settings {
    /// Reads the configuration file and puts the flags above it.
    pub fn load(global: &Global, data_dir_given: bool) -> Result<Self> {
        let out = Output { json: global.json, quiet: global.quiet };
        let directories = etcetera::choose_base_strategy();
        let (path, file) = match &global.config {
            Some(path) => (Some(path.clone()), read(path, &read_text(path)?)?),
            None => match &directories {
                Ok(directories) => {
                    let path = directories.config_dir().join("keyhole/config.toml");
                    match std::fs::read_to_string(&path) {
                        Ok(text) => (Some(path.clone()), read(&path, &text)?),
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (None, File::default()),
                        Err(error) => {
                            return Err(Error::from(error)
                                .doing("the configuration file can't be read")
                                .at(path.display()));
                        }
                    }
                }
                Err(_) => (None, File::default()),
            },
        };
        let data_dir = match global.data_dir.clone().or(file.data_dir) {
            Some(dir) => dir,
            None => directories.help("name a directory with --data-dir DIR")?.data_dir().join("keyhole"),
        };
        Ok(Self {
            global: global.clone(),
            master_key: master_key(file.master_key, &data_dir)?,
            data_dir,
            data_dir_given,
            remote: global.url.clone().map(|url| Remote {
                url,
                token_file: global.token_file.clone(),
                ca_cert: global.url_ca_cert.clone(),
            }),
            config: path,
            apps: global.apps.clone().or(file.apps),
            member: file.member,
            egress: file.egress,
            limits: file.limits,
            sign_in: file.sign_in,
            timeout: file.run.timeout,
            memory: file.run.memory,
            retention: file.audit,
            runs: file.runs,
            store_size: file.data.store_size.unwrap_or(STORE_BYTES),
            serve: file.serve,
            telemetry: file.telemetry,
            log: file.log,
            color: global.color.or(file.color).unwrap_or(Color::Auto),
            out,
        })
    }

    /// The same command line's settings, as the configuration file has them now.
    pub fn again(&self) -> Result<Self> {
        let fresh = Self::load(&self.global, self.data_dir_given)?;
        match (&self.config, &fresh.config) {
            // It may be away for a moment, and the defaults are not what the operator said.
            (Some(path), None) => Err(Error::usage("the configuration file is not there any more").at(path.display())),
            _ => Ok(fresh),
        }
    }

    /// What `fresh` says otherwise of what is read at start alone.
    pub fn only_at_start(&self, fresh: &Self) -> impl Iterator<Item = &'static str> {
        let changed = [
            ("data_dir", self.data_dir != fresh.data_dir),
            ("apps", self.apps != fresh.apps),
            ("master_key", self.master_key != fresh.master_key),
            ("serve", self.serve != fresh.serve),
            ("telemetry", self.telemetry != fresh.telemetry),
            ("log.format", self.log().format != fresh.log().format),
            ("runs.durability", self.runs.durability != fresh.runs.durability),
        ];
        changed.into_iter().filter_map(|(name, changed)| changed.then_some(name))
    }

    /// The same on another data directory, with a master key and app definitions of its own.
    pub fn on(&self, data_dir: &Path, apps: &Path) -> Self {
        Self {
            master_key: MasterKeySource::File(data_dir.join("master.key")),
            data_dir: data_dir.to_owned(),
            remote: None,
            apps: Some(apps.to_owned()),
            ..self.clone()
        }
    }
}

/// Where the master key is: the environment, the configuration file, or `master.key` in
/// the data directory.
fn master_key(file: Option<MasterKeyFile>, data_dir: &Path) -> Result<MasterKeySource> {
    if let Some(value) = variable(MASTER_KEY_VARIABLE)? {
        return Ok(MasterKeySource::Env(value.into()));
    }
    if let Some(command) = variable(MASTER_KEY_COMMAND_VARIABLE)? {
        return Ok(MasterKeySource::Command(command));
    }
    Ok(match file {
        Some(MasterKeyFile::File(path)) => MasterKeySource::File(path),
        Some(MasterKeyFile::Command(command)) => MasterKeySource::Command(command),
        None => MasterKeySource::File(data_dir.join("master.key")),
    })
}

/// What a variable holds. One that is there and is no text must not be passed over: another master key would be made.
fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::usage(format!("{name} is not UTF-8 text"))),
    }
}

/// A text file, or an error that names it.
pub fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::usage("there is no such file").at(path.display()),
        std::io::ErrorKind::InvalidData => Error::usage("the file is not UTF-8 text").at(path.display()),
        _ => Error::from(error).doing("the file can't be read").at(path.display()),
    })
}

/// Reads the file's text; its relative paths start at the folder that the file is in.
fn read(path: &Path, text: &str) -> Result<File> {
    let mut file: File = toml::from_str(text).map_err(|error| {
        let (line, column) = error.span().map_or((1, 1), |span| line_column(text, span.start));
        Error::usage(error.message().trim().replace('\n', ", ")).at(format!("{}:{line}:{column}", path.display()))
    })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let anchor = |path: &mut PathBuf| *path = folder.join(&*path);
    file.data_dir.as_mut().map(anchor);
    file.apps.as_mut().map(anchor);
    file.egress.paths().for_each(anchor);
    file.serve.paths().for_each(anchor);
    file.telemetry.paths().for_each(anchor);
    file.sign_in.paths().for_each(anchor);
    if let Some(MasterKeyFile::File(path)) = &mut file.master_key {
        anchor(path);
    }
    Ok(file)
}

/// Line and column, both from 1, of a byte offset.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_is_named_with_line_and_column() {
        let error = read(Path::new("/etc/k.toml"), "member = \"a\"\n[egress]\nresolv = []\n").err().unwrap();
        let text = format!("{error:?}");
        assert!(text.contains("/etc/k.toml:3:1"), "{text}");
        assert!(text.contains("unknown field `resolv`"), "{text}");
        let error = read(Path::new("k.toml"), "[egress]\nallow_range = [\"10.0.0.0/33\"]\n").err().unwrap();
        assert!(format!("{error:?}").contains("k.toml:2:"), "{error:?}");
        let error = read(Path::new("k.toml"), "[run]\ntimeout = \"soon\"\n").err().unwrap();
        assert!(format!("{error:?}").contains("write 30s"), "{error:?}");
    }

    #[test]
    fn paths_in_the_file_start_at_its_folder() {
        let file =
            read(Path::new("/etc/keyhole/config.toml"), "apps = \"apps\"\nmaster_key.file = \"/run/key\"\n").unwrap();
        assert_eq!(file.apps.unwrap(), Path::new("/etc/keyhole/apps"));
        assert!(matches!(file.master_key, Some(MasterKeyFile::File(path)) if path == Path::new("/run/key")));
    }

    #[test]
    fn what_the_audit_keeps_is_at_least_an_hour() {
        let keep = |text: &str| read(Path::new("k.toml"), &format!("[audit]\n{text}\n")).map(|file| file.audit);
        assert_eq!(keep("keep = \"90d\"").unwrap().keep.unwrap(), Duration::from_secs(90 * 24 * 3600));
        assert_eq!(keep("keep_records = 1000").unwrap().keep_records, Some(1000));
        for wrong in ["keep = \"59m\"", "keep = \"0d\"", "keep = 90", "keep_records = -1"] {
            assert!(format!("{:?}", keep(wrong).err().unwrap()).contains("k.toml:2:"), "{wrong}");
        }
    }
}
