//! Bytes in the store, in pieces, since records are not blobs.
//!
//! Each blob has a folder of its own, which nobody writes to twice: whoever takes one away can't take away what
//! somebody else is writing. What refers to a blob is written after it, and taken away before it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::store::{Expect, Store, StoreError};

/// Bytes of one piece.
const PIECE: usize = 256 * 1024;
/// Pieces that are read at a time.
const PAGE: usize = 64;
/// Behind every name of a piece.
const LAST: char = '~';

/// A name for a new blob.
pub(super) fn name() -> String {
    ulid::Ulid::generate().to_string()
}

/// Whether what has this name was begun before `before`. What has none of [`name`]'s was, by an older version.
pub(super) fn is_older(name: &str, before: Timestamp) -> bool {
    let begun = name.parse::<ulid::Ulid>().ok().and_then(|name| i64::try_from(name.timestamp_ms()).ok());
    begun.is_none_or(|begun| begun < before.as_millisecond())
}

/// The time of which everything that was begun before has ended, or was given up.
pub(super) fn long_ago(grace: SignedDuration) -> Timestamp {
    Timestamp::now().checked_sub(grace).unwrap_or(Timestamp::MIN)
}

/// Puts `bytes` into `folder`, which ends with a slash. On disk when this returns.
pub(super) async fn put(store: &Arc<dyn Store>, folder: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let pieces = bytes.chunks(PIECE).enumerate();
    let pieces = pieces.map(|(number, piece)| store.append(&format!("{folder}{number:06}"), piece.to_vec()));
    for piece in pieces.collect::<Result<Vec<_>, _>>()? {
        piece.await?;
    }
    Ok(())
}

/// What is in `folder`.
pub(super) async fn get(store: &Arc<dyn Store>, folder: &str, about: usize) -> Result<Bytes, StoreError> {
    let mut bytes = BytesMut::with_capacity(about);
    let mut last: Option<String> = None;
    loop {
        let page = store.scan(folder, last.as_deref(), PAGE).await?;
        let Some((key, _)) = page.last() else { return Ok(bytes.freeze()) };
        last = Some(key.clone());
        for (_, piece) in page.into_iter().filter(|(key, _)| !key[folder.len()..].contains('/')) {
            bytes.extend_from_slice(&piece.value);
        }
    }
}

/// Takes away the pieces right in `folder`, and leaves folders within it alone. Broken off, the next time does the rest.
pub(super) async fn delete(store: &Arc<dyn Store>, folder: &str) -> Result<(), StoreError> {
    let mut last: Option<String> = None;
    loop {
        let page = store.scan(folder, last.as_deref(), PAGE).await?;
        let Some((key, _)) = page.last() else { return Ok(()) };
        last = Some(key.clone());
        let pieces = page.iter().map(|(key, _)| key).filter(|key| !key[folder.len()..].contains('/'));
        try_join_all(pieces.map(|key| store.write(key, Expect::Any, None))).await?;
    }
}

/// The folders below `root`, which ends with a slash: each as what stands between that and its pieces.
pub(super) async fn folders(store: &Arc<dyn Store>, root: &str) -> Result<Vec<String>, StoreError> {
    let mut folders = Vec::new();
    let mut last: Option<String> = None;
    // One piece of each is read.
    while let Some((key, _)) = store.scan(root, last.as_deref(), 1).await?.pop() {
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
        last = Some(format!("{folder}/{LAST}"));
        folders.extend(folder.strip_prefix(root).map(str::to_owned));
    }
    Ok(folders)
}
