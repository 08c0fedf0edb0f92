//! `keyhole backup` and `keyhole restore`: a copy of everything in one encrypted file.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, ValueHint};
use futures_util::{Stream, StreamExt as _, stream};
use keyhole::server::model::{RestoreQuery, RestoredView};
use keyhole_host_api::upkeep::backup;
use keyhole_host_api::vault::Vault;
use serde_json::json;

use super::client::Client;
use super::error::{Context as _, Error, Result};
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
        let pieces = client.download(&["backup"]).await?;
        if self.file.as_os_str() == "-" {
            write(pieces, &mut std::io::stdout().lock()).await?;
            return Ok(());
        }
        let dir = self.file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Under another name, for the owner alone, until it is whole.
        let mut file = tempfile::NamedTempFile::new_in(dir).doing("the backup can't be written").at(dir.display())?;
        let bytes = write(pieces, file.as_file_mut()).await.map_err(|error| error.at(self.file.display()))?;
        file.as_file().sync_all().doing("the backup can't be written").at(self.file.display())?;
        file.persist_noclobber(&self.file).map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => taken(&self.file),
            _ => Error::new(error.error.to_string()).at(self.file.display()),
        })?;
        out.either(&json!({"file": self.file, "bytes": bytes}), || {
            format!("wrote {} ({}); it needs the master key", self.file.display(), output::size(bytes))
        })
    }
}

fn taken(file: &Path) -> Error {
    Error::usage("the file is there already").at(file.display()).help("choose another name, or take it away first")
}

async fn write(mut pieces: impl Stream<Item = Result<Bytes>> + Unpin, into: &mut impl Write) -> Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        into.write_all(&piece).doing("the backup can't be written")?;
    }
    into.flush().doing("the backup can't be written")?;
    Ok(bytes)
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
        let mut input: Box<dyn std::io::Read + Send> = if self.file.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(&self.file).doing("the backup can't be read").at(&place)?)
        };
        let mut read = move || {
            let mut piece = vec![0; PIECE];
            input.read(&mut piece).map(|length| {
                piece.truncate(length);
                Bytes::from(piece)
            })
        };
        let first = read().doing("the backup can't be read").at(&place)?;
        let head = backup::head(stream::iter([Ok::<_, String>(first.clone())])).await;
        let head = head.map_err(|error| Error::new(error.to_string()).at(&place))?;
        let rest = std::iter::from_fn(move || match read() {
            Ok(piece) if piece.is_empty() => None,
            read => Some(read),
        });
        Ok((head, stream::iter(std::iter::once(Ok(first)).chain(rest))))
    }
}
