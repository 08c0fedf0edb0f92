//! `keyhole apps import`: drafts of definitions, for the operator to look through.
//!
//! A draft is printed or put into a new file. It never becomes an app by itself, and no
//! data directory is opened for it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use keyhole_host_api::apps::import::{self, Draft, Given, ImportError, MAX_DOCUMENT, SyntaxError};
use keyhole_host_api::broker::{Fetch, FetchError};
use serde_json::{Value, json};
use url::Url;

use super::error::{Context as _, Error, Result};
use super::output::{self, style};
use super::settings::{EgressFlags, Settings, read_text};

/// How long a document may take to arrive.
const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of a document that is fetched.
const FETCHED: usize = 32 << 20;
/// Most bytes of an authorization server's metadata.
const METADATA: usize = 1 << 20;

/// Draft an app definition from what a service publishes of itself
#[derive(Subcommand, Debug)]
pub enum Import {
    /// Draft it from an OpenAPI 3 or Swagger 2 document
    ///
    /// Servers come to hosts, security schemes to fields and places, OAuth flows to an [oauth] table. What is a guess is
    /// marked with 'Check:'.
    Openapi {
        /// The document, as JSON or YAML: a file, an https address, or - for standard input
        #[arg(value_name = "FILE|URL", value_hint = ValueHint::AnyPath)]
        document: String,
        #[command(flatten)]
        to: To,
    },
    /// Draft it from the metadata of an authorization server: RFC 8414, or OpenID Connect Discovery
    Discovery {
        /// The issuer, as the server writes it: https://id.example.com
        #[arg(value_name = "ISSUER", value_hint = ValueHint::Url)]
        issuer: String,
        #[command(flatten)]
        to: To,
    },
}

/// What a draft is made with, and where it goes.
#[derive(Args, Debug)]
pub struct To {
    /// The app's name [default: that of the file to write, or one made from the document]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Where requests start, instead of what the document says
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    base_url: Option<Url>,

    /// Write the draft to this new file, or into this folder as NAME.toml [default: standard output]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    out: Option<PathBuf>,

    #[command(flatten)]
    egress: EgressFlags,
}

impl Import {
    /// Drafts, and prints or writes the draft.
    pub async fn run(self, settings: &Settings) -> Result {
        let (Self::Openapi { to, .. } | Self::Discovery { to, .. }) = &self;
        to.must_have_room()?;
        match self {
            Self::Openapi { document, to } => {
                let mut given = to.given();
                let (text, place) = if document.starts_with("https://") || document.starts_with("http://") {
                    let url = Url::parse(&document).map_err(|error| Error::usage(error.to_string()).at(&document))?;
                    let fetch = Fetch::new(settings.egress(&to.egress)?, LIMIT, FETCHED);
                    settings.out.note(format!("fetching {url}"));
                    let fetched = fetch.document(&url).await.map_err(not_fetched)?;
                    let place = fetched.url.to_string();
                    given.document = Some(fetched.url);
                    (utf8(fetched.body.to_vec(), &place)?, place)
                } else if document == "-" {
                    (standard_input()?, "standard input".to_owned())
                } else {
                    (read_text(Path::new(&document))?, document)
                };
                let value = import::parse(&text).map_err(|error| unreadable(&error, &place))?;
                let draft = import::openapi(&value, &given).map_err(|error| no_draft(error).at(place))?;
                to.put(&draft, settings)
            }
            Self::Discovery { issuer, to } => {
                let urls = import::discovery_urls(&issuer).map_err(no_draft)?;
                let fetch = Fetch::new(settings.egress(&to.egress)?, LIMIT, METADATA);
                let given = to.given();
                for url in &urls {
                    settings.out.note(format!("fetching {url}"));
                    let Some(metadata) = metadata(&fetch, url).await? else { continue };
                    let draft =
                        import::discovery(&metadata, &issuer, &given).map_err(|error| no_draft(error).at(url))?;
                    return to.put(&draft, settings);
                }
                Err(Error::new("the issuer publishes no metadata")
                    .at(urls.iter().map(Url::as_str).collect::<Vec<_>>().join("\n"))
                    .help("give the issuer as the server writes it, with its path; or write the [oauth] table by hand"))
            }
        }
    }
}

/// The metadata at `url`, if there is any: servers answer a page for every address, too.
async fn metadata(fetch: &Fetch, url: &Url) -> Result<Option<Value>> {
    let fetched = match fetch.exactly(url).await {
        Ok(fetched) => fetched,
        Err(FetchError::Status { .. }) => return Ok(None),
        Err(error) => return Err(not_fetched(error)),
    };
    let place = url.to_string();
    let text = utf8(fetched.body.to_vec(), &place)?;
    if !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    import::parse(&text).map(Some).map_err(|error| unreadable(&error, &place))
}

impl To {
    /// Refuses a place that a draft can't be put into, before one is made.
    fn must_have_room(&self) -> Result {
        match &self.out {
            Some(path) if path.is_dir() => Ok(()),
            Some(path) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                Err(Error::usage("there is no such folder").at(path.display()).help("make it first, with mkdir"))
            }
            Some(path) if path.exists() => Err(is_there(path)),
            _ => Ok(()),
        }
    }

    fn given(&self) -> Given {
        // A definition's file is named after it.
        let of_file = self.out.as_deref().filter(|path| !path.is_dir()).and_then(Path::file_stem);
        let of_file = of_file.and_then(|stem| stem.to_str()).map(str::to_owned);
        Given { name: self.name.clone().or(of_file), base_url: self.base_url.clone(), document: None }
    }

    fn put(&self, draft: &Draft, settings: &Settings) -> Result {
        let out = settings.out;
        let path = match &self.out {
            Some(path) if path.is_dir() => Some(path.join(format!("{}.toml", draft.name))),
            other => other.clone(),
        };
        match &path {
            Some(path) => {
                write_new(path, draft.definition.as_bytes())?;
                let document = json!({"path": path, "name": draft.name, "notes": draft.notes, "usable": draft.usable});
                out.either(&document, || {
                    let bold = style::BOLD;
                    format!("{bold}{}{bold:#}  a draft of the app {}", path.display(), draft.name)
                })?;
            }
            None => {
                let document = json!({
                    "name": draft.name,
                    "definition": draft.definition,
                    "notes": draft.notes,
                    "usable": draft.usable,
                });
                out.either(&document, || draft.definition.clone())?;
            }
        }
        let warn = style::WARN;
        for note in &draft.notes {
            out.note(format!("{warn}check{warn:#}  {}", output::visible(note)));
        }
        let file = path.as_ref().map_or_else(|| format!("{}.toml", draft.name), |path| path.display().to_string());
        if path.as_deref().and_then(Path::file_stem).is_some_and(|stem| stem != draft.name.as_str()) {
            out.note(format!("{warn}check{warn:#}  --apps takes it once the file is named {}.toml", draft.name));
        }
        out.note(format!("next: look through it, then\n  keyhole apps check {file}"));
        out.note("  keyhole --apps DIR apps list, with DIR the folder that it is in");
        if draft.oauth {
            out.note(format!("  keyhole --apps DIR apps configure {} --client-id ID", draft.name));
        }
        Ok(())
    }
}

fn standard_input() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_DOCUMENT as u64 + 1)
        .read_to_end(&mut bytes)
        .doing("the document can't be read from standard input")?;
    utf8(bytes, "standard input")
}

fn utf8(bytes: Vec<u8>, place: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::new("the document is not UTF-8 text").at(place))
}

fn unreadable(error: &SyntaxError, place: &str) -> Error {
    Error::new(error.message.clone())
        .at(format!("{place}:{}:{}", error.line, error.column))
        .help("an OpenAPI document is JSON or YAML")
}

/// The message of these errors ends with what to do.
fn advised(message: &str) -> Error {
    match message.rsplit_once("; ") {
        Some((message, help)) => Error::new(message).help(help),
        None => Error::new(message),
    }
}

fn not_fetched(error: FetchError) -> Error {
    let said = advised(&error.to_string());
    if matches!(error, FetchError::Url(_)) { said.into_usage() } else { said }
}

fn no_draft(error: ImportError) -> Error {
    let said = advised(&error.to_string());
    match error {
        ImportError::Name(_) | ImportError::BaseUrl { .. } | ImportError::Issuer(_) => said.into_usage(),
        _ => said,
    }
}

/// What is said of a file that is in the way of a draft.
pub fn is_there(path: &Path) -> Error {
    Error::usage("the file is there already, and is not written over")
        .at(path.display())
        .help("give another one, or remove it")
}

/// Writes a file that must not be there yet: all of it, or nothing.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        let mut file =
            tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => is_there(path),
        _ => Error::from(error).doing("the file can't be written").at(path.display()),
    })
}
