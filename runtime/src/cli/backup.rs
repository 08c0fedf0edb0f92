//! `keyhole backup` and `keyhole restore`: a copy of everything in one encrypted file.

use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, ValueHint};
use futures_util::{Stream, StreamExt as _, stream};
use keyhole::server::model::{RestoreQuery, RestoredView};
use keyhole_host_api::upkeep::backup;
use keyhole_host_api::vault::Vault;
use serde_json::json;

use super::client::Client;
use super::error::{Context as _, Error, Result, written};
use super::output;
use super::settings::{EgressFlags, Settings};

/// Bytes that are read from a file at a time.
const PIECE: usize = 64 * 1024;

/// Write everything into one file, encrypted under the master key; works while serving
///
/// The file is of no use without the master key: keep a copy of that elsewhere.
#[derive(Args, Debug)]
pub struct Backup {
    /// The file, which must not be there yet; '-' for standard output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

/// Put a backup's records in the place of all that there are, but the audit; works while serving
///
/// Tokens and access that were revoked after it was taken are there again. Accounts whose tokens were
/// refreshed since may have to be reconnected.
#[derive(Args, Debug)]
pub struct Restore {
    /// The file; '-' for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Replace what is there
    #[arg(long)]
    replace: bool,
}

impl Backup {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        if self.file.as_os_str() != "-" && self.file.exists() {
            return Err(taken(&self.file));
        }
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let pieces = client.download(&["backup"], &()).await?;
        if self.file.as_os_str() == "-" {
            write(pieces, &mut std::io::stdout().lock(), "the backup").await?;
            return Ok(());
        }
        let bytes = write_new(pieces, &self.file, "the backup").await?;
        out.either(&json!({"file": self.file, "bytes": bytes}), || {
            format!("wrote {} ({}); it needs the master key", self.file.display(), output::size(bytes))
        })
    }
}

/// That a file is there which must not be.
pub fn taken(file: &Path) -> Error {
    Error::usage("the file is there already").at(file.display()).help("choose another name, or take it away first")
}

/// Writes `pieces` into a file that is not there yet, and says how many bytes they have. Under another name,
/// for the owner alone, until it is whole.
pub async fn write_new(pieces: impl Stream<Item = Result<Bytes>> + Unpin, path: &Path, what: &str) -> Result<u64> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = format!("{what} can't be written");
    let mut file = tempfile::NamedTempFile::new_in(dir).doing(&failed).at(dir.display())?;
    let bytes = write(pieces, file.as_file_mut(), what).await.map_err(|error| error.at(path.display()))?;
    file.as_file().sync_all().doing(&failed).at(path.display())?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(path),
        _ => Error::new(error.error.to_string()).at(path.display()),
    })?;
    Ok(bytes)
}

fn told(result: std::io::Result<()>, what: &str) -> Result {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).doing(format!("{what} can't be written"))
        }
        other => written(other),
    }
}

/// Writes `pieces` as they come, and says how many bytes they have.
pub async fn write(
    mut pieces: impl Stream<Item = Result<Bytes>> + Unpin,
    into: &mut impl Write,
    what: &str,
) -> Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        told(into.write_all(&piece), what)?;
    }
    told(into.flush(), what)?;
    Ok(bytes)
}

/// The bytes of a file, or of standard input for '-', some at a time.
pub fn pieces_of(path: &Path, what: &str) -> Result<impl Iterator<Item = std::io::Result<Bytes>> + Send + use<>> {
    let mut input: Box<dyn std::io::Read + Send> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).doing(format!("{what} can't be read")).at(path.display())?)
    };
    Ok(std::iter::from_fn(move || {
        let mut piece = vec![0; PIECE];
        match input.read(&mut piece) {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some(Ok(Bytes::from(piece)))
            }
            Err(error) => Some(Err(error)),
        }
    }))
}

impl Restore {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        let (head, pieces) = self.read().await?;
        if settings.remote.is_none() {
            // Before a data directory is made, and with it another key.
            Vault::has_key(&settings.master_key, &head.key).await?;
        }
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let query = RestoreQuery { replace: self.replace };
        let restored: RestoredView = client.upload(&["restore"], &query, pieces).await?;
        out.either(&restored, || format!("restored {} records of {}", restored.records, output::local(restored.made)))
    }

    /// What the file tells of itself, and all of it.
    async fn read(
        &self,
    ) -> Result<(backup::Head, impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin + 'static)> {
        let place = self.file.display().to_string();
        let mut pieces = pieces_of(&self.file, "the backup")?;
        let first = pieces.next().unwrap_or(Ok(Bytes::new())).doing("the backup can't be read").at(&place)?;
        let head = backup::head(stream::iter([Ok::<_, String>(first.clone())])).await;
        let head = head.map_err(|error| Error::new(error.to_string()).at(&place))?;
        Ok((head, stream::iter(std::iter::once(Ok(first)).chain(pieces))))
    }
}
