//! A copy of the whole store in one encrypted file, and putting it back. Both work while others use
//! the same store.
//!
//! The file is as secret as the master key: what encrypts it is derived from that, so that whoever
//! takes backups needs no secret of their own, and whoever steals one has nothing. It has two lines of text,
//! which tell which key it needs, and then the records in pieces of 64 KiB, each
//! sealed with its place and with whether it is the last (the STREAM construction of Hoang, Reyhanitabar,
//! Rogaway and Vizár, 2015, with XChaCha20-Poly1305; the two lines are associated data). So a file that was
//! cut, joined or altered does not open.
//!
//! It must never write a record before the last piece was found genuine.

use std::sync::Arc;

use aead_stream::{DecryptorBE32, EncryptorBE32};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::Payload;
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::broker::audit;
use crate::store::{Revision, Store, StoreError};
use crate::vault::{Vault, VaultError};
use crate::workspace;

/// The first line of a backup.
const MAGIC: &str = "keyhole backup 1\n";
/// What the encrypting key is derived for.
const PURPOSE: &str = "backup";
/// Bytes of a piece, before it is sealed.
const PIECE: usize = 64 * 1024;
const TAG: usize = 16;
/// The counter and the flag for the last piece are the rest of the cipher's 24.
const NONCE: usize = 19;
/// Longest second line.
const HEAD: usize = 1024;
/// Records that are read at a time.
const PAGE: usize = 256;
/// What is read again at the end, if it was written meanwhile: each folder after the one that tells of what is in it,
/// so that whatever a backup has of a deploy, it has all that this needs. What is needed is written first.
const AGAIN: &[&str] = &["workflow-versions/", "workflow-files/", "components/", "component-pieces/"];
/// What happened is not undone by putting back what was there before.
const AUDIT: &[&str] = &[audit::FOLDER, audit::SAVED_KEYS, audit::MARKS];

/// Why there is no backup, or why it was not put back. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("it is no backup of Keyhole's")]
    NotABackup,
    /// Made by a later version.
    #[error("it was made by a newer version of Keyhole; restore it with that")]
    Newer,
    /// It was cut or altered.
    #[error("it was cut short or altered; nothing was restored: take another backup")]
    NotGenuine,
    /// It would be mixed with what is there.
    #[error(
        "it is of the workspace {theirs}, and this data directory holds the workspace {ours}; nothing was restored: \
         restore it into an empty directory"
    )]
    OtherWorkspace {
        /// The backup's.
        theirs: String,
        /// The store's.
        ours: String,
    },
    /// Something is there already.
    #[error("there are members or accounts, which the backup would replace; say --replace if that is meant")]
    NotEmpty,
    /// A backup with two keys would be of no use with one of them.
    #[error("the master key was rotated meanwhile; take the backup again")]
    Rotated,
    /// It could not be read.
    #[error("it can't be read: {0}")]
    Read(String),
    /// The key is not there.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a backup tells without being opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The workspace's id.
    pub workspace: String,
    /// Id of the master key that it needs.
    pub key: String,
    /// When it was begun.
    pub made: Timestamp,
    nonce: String,
}

/// What was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup told of itself.
    pub head: Head,
    /// How many records it had.
    pub records: usize,
}

/// The backup of `store`, as it is read: each record as it was at one instant of the reading.
///
/// # Errors
/// What the vault or the store says; later in the stream also [`BackupError::Rotated`].
pub async fn backup(
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
) -> Result<impl Stream<Item = Result<Bytes, BackupError>> + Send + 'static, BackupError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(VaultError::from)?;
    let key = vault.sealer().await?.key_id().to_owned();
    let workspace = workspace::id(&store).await?;
    let head = Head { workspace, key: key.clone(), made: Timestamp::now(), nonce: STANDARD.encode(nonce) };
    let line = serde_json::to_string(&head).map_err(|_| BackupError::NotABackup)?;
    let lines = format!("{MAGIC}{line}\n");
    let cipher = vault.derive_key_of(&key, PURPOSE)?;
    let writer = Writer {
        sealing: Some(EncryptorBE32::new((&*cipher).into(), (&nonce).into())),
        associated: lines.clone(),
        plain: BytesMut::new(),
        began: store.revision().await?,
        last: None,
        left: Left::All,
        key,
        store,
        vault,
    };
    let pieces =
        stream::try_unfold(writer, |mut writer| async move { Ok(writer.piece().await?.map(|piece| (piece, writer))) });
    Ok(stream::once(std::future::ready(Ok(Bytes::from(lines)))).chain(pieces))
}

/// What is still to be read.
enum Left {
    /// Everything.
    All,
    /// What is new in these folders.
    New(&'static [&'static str]),
    /// Nothing.
    Nothing,
}

struct Writer {
    /// `None` once the last piece was sealed.
    sealing: Option<EncryptorBE32<XChaCha20Poly1305>>,
    associated: String,
    /// Records, and pieces of records, that are not sealed yet.
    plain: BytesMut,
    /// The store's revision when it was begun.
    began: Revision,
    /// The last record that was read.
    last: Option<String>,
    left: Left,
    key: String,
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
}

impl Writer {
    async fn piece(&mut self) -> Result<Option<Bytes>, BackupError> {
        // One byte more than a piece, to know that it is not the last.
        while self.plain.len() <= PIECE && !matches!(self.left, Left::Nothing) {
            self.read().await?;
        }
        let Some(mut sealing) = self.sealing.take() else { return Ok(None) };
        let piece = self.plain.split_to(self.plain.len().min(PIECE));
        let payload = Payload { msg: &piece, aad: self.associated.as_bytes() };
        // A key's limit is 2^32 pieces, 256 TiB.
        let sealed = if self.plain.is_empty() {
            if self.vault.sealer().await?.key_id() != self.key {
                return Err(BackupError::Rotated);
            }
            sealing.encrypt_last(payload)
        } else {
            let sealed = sealing.encrypt_next(payload);
            self.sealing = Some(sealing);
            sealed
        };
        Ok(Some(sealed.map_err(|_| BackupError::NotGenuine)?.into()))
    }

    /// Reads on, a page at a time.
    async fn read(&mut self) -> Result<(), StoreError> {
        match self.left {
            Left::All => {
                let page = self.store.scan("", self.last.as_deref(), PAGE).await?;
                if page.is_empty() {
                    (self.left, self.last) = (Left::New(AGAIN), None);
                }
                for (key, found) in page {
                    // A chain must not have a later record and lack an earlier one, for which this was too early.
                    if !(key.starts_with(audit::FOLDER) && found.revision > self.began) {
                        put(&mut self.plain, key.as_bytes());
                        put(&mut self.plain, &found.value);
                    }
                    self.last = Some(key);
                }
            }
            Left::New([folder, rest @ ..]) => {
                let page = self.store.revisions(folder, self.last.as_deref(), PAGE).await?;
                if page.is_empty() {
                    (self.left, self.last) = (Left::New(rest), None);
                }
                for (key, revision) in page {
                    if revision > self.began
                        && let Some(found) = self.store.get(&key).await?
                    {
                        put(&mut self.plain, key.as_bytes());
                        put(&mut self.plain, &found.value);
                    }
                    self.last = Some(key);
                }
            }
            Left::New([]) => {
                // Again, after what they tell of: retention may have gone on meanwhile.
                for (key, found) in self.store.scan(audit::MARKS, None, usize::MAX).await? {
                    put(&mut self.plain, key.as_bytes());
                    put(&mut self.plain, &found.value);
                }
                self.left = Left::Nothing;
            }
            Left::Nothing => {}
        }
        Ok(())
    }
}

/// Puts the records of the backup `input` in the place of all that `store` has but the audit, in one
/// transaction. Members and accounts are replaced if `replace` says so. Tokens and access that were revoked after it was made are there again.
///
/// # Errors
/// One for each thing that an operator can do something about; then nothing was changed.
pub async fn restore<E: std::fmt::Display>(
    store: &Arc<dyn Store>,
    vault: &Vault,
    input: impl Stream<Item = Result<Bytes, E>> + Unpin,
    replace: bool,
) -> Result<Restored, BackupError> {
    let mut reader = Reader { input, read: BytesMut::new() };
    let (head, lines) = reader.head().await?;
    match workspace::settled(store).await? {
        Some(ours) if ours != head.workspace => {
            return Err(BackupError::OtherWorkspace { theirs: head.workspace, ours });
        }
        Some(_) if !replace => return Err(BackupError::NotEmpty),
        _ => {}
    }
    let nonce: [u8; NONCE] =
        STANDARD.decode(&head.nonce).ok().and_then(|nonce| nonce.try_into().ok()).ok_or(BackupError::NotGenuine)?;
    let cipher = vault.derive_key_of(&head.key, PURPOSE)?;
    let mut opening = DecryptorBE32::<XChaCha20Poly1305>::new((&*cipher).into(), (&nonce).into());
    let mut plain = BytesMut::new();
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    let not_genuine = |_| BackupError::NotGenuine;
    // A piece is known to be not the last by what follows it.
    while reader.fill(PIECE + TAG + 1).await? {
        let piece = reader.read.split_to(PIECE + TAG);
        let payload = Payload { msg: &piece, aad: lines.as_bytes() };
        plain.extend_from_slice(&opening.decrypt_next(payload).map_err(not_genuine)?);
        while let Some(record) = take_record(&mut plain)? {
            records.push(record);
        }
    }
    let payload = Payload { msg: &reader.read, aad: lines.as_bytes() };
    plain.extend_from_slice(&opening.decrypt_last(payload).map_err(not_genuine)?);
    while let Some(record) = take_record(&mut plain)? {
        records.push(record);
    }
    if !plain.is_empty() {
        return Err(BackupError::NotGenuine);
    }
    let count = records.len();
    audit::outdated_marks(store, &mut records).await?;
    store.replace(records, AUDIT).await?;
    Ok(Restored { head, records: count })
}

/// What the backup `input` tells without being opened.
///
/// # Errors
/// [`BackupError::NotABackup`], [`BackupError::Newer`], [`BackupError::Read`].
pub async fn head<E: std::fmt::Display>(
    input: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<Head, BackupError> {
    Ok(Reader { input, read: BytesMut::new() }.head().await?.0)
}

struct Reader<I> {
    input: I,
    read: BytesMut,
}

impl<E: std::fmt::Display, I: Stream<Item = Result<Bytes, E>> + Unpin> Reader<I> {
    /// Reads until there are `wanted` bytes. Whether there are.
    async fn fill(&mut self, wanted: usize) -> Result<bool, BackupError> {
        while self.read.len() < wanted {
            match self.input.next().await {
                Some(Ok(bytes)) => self.read.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(BackupError::Read(error.to_string())),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The second line, and both as they stand there.
    async fn head(&mut self) -> Result<(Head, String), BackupError> {
        self.fill(MAGIC.len() + HEAD).await?;
        let (name, _) = MAGIC.split_at(MAGIC.len() - 2);
        if !self.read.starts_with(name.as_bytes()) {
            return Err(BackupError::NotABackup);
        }
        if !self.read.starts_with(MAGIC.as_bytes()) {
            return Err(BackupError::Newer);
        }
        let end = self.read[MAGIC.len()..].iter().take(HEAD).position(|byte| *byte == b'\n');
        let end = MAGIC.len() + end.ok_or(BackupError::NotGenuine)?;
        let head = serde_json::from_slice(&self.read[MAGIC.len()..end]).map_err(|_| BackupError::NotGenuine)?;
        let lines = String::from_utf8(self.read.split_to(end + 1).to_vec()).map_err(|_| BackupError::NotGenuine)?;
        Ok((head, lines))
    }
}

/// Puts a length and as many bytes.
fn put(into: &mut BytesMut, bytes: &[u8]) {
    // The store's keys and values are far shorter than 4 GiB.
    into.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    into.put_slice(bytes);
}

/// The first record of `plain`, if it is there whole.
fn take_record(plain: &mut BytesMut) -> Result<Option<(String, Vec<u8>)>, BackupError> {
    let mut rest: &[u8] = plain;
    let mut part = || {
        let length = rest.get(..4).map(|mut length| length.get_u32_le() as usize)?;
        let part = rest.get(4..4 + length)?;
        rest = &rest[4 + length..];
        Some(part.to_vec())
    };
    let Some((key, value)) = part().and_then(|key| Some((key, part()?))) else { return Ok(None) };
    let taken = plain.len() - rest.len();
    plain.advance(taken);
    let key = String::from_utf8(key).map_err(|_| BackupError::NotGenuine)?;
    Ok(Some((key, value)))
}

#[cfg(test)]
never_shown!(Writer);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Expect;
    use crate::store::redb::RedbStore;
    use crate::vault::MasterKeySource;

    struct Place {
        dir: tempfile::TempDir,
        store: Arc<dyn Store>,
        vault: Arc<Vault>,
    }

    impl Place {
        async fn new(byte: u8) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
            let source = MasterKeySource::Env(format!("{byte:02x}").repeat(32).into());
            let vault = Arc::new(Vault::open(source, &store).await.unwrap_or_else(|error| panic!("{error}")));
            Self { dir, store, vault }
        }

        async fn put(&self, key: &str, value: &[u8]) {
            self.store.write(key, Expect::Any, Some(value.to_vec())).await.unwrap();
        }

        async fn backup(&self) -> Vec<u8> {
            let pieces = backup(self.store.clone(), self.vault.clone()).await.unwrap();
            let pieces: Vec<Bytes> = pieces.map(|piece| piece.unwrap()).collect().await;
            pieces.concat()
        }

        async fn restore(&self, backup: &[u8]) -> Result<Restored, BackupError> {
            // In pieces that are none of the file's.
            let pieces = backup.chunks(1000).map(|piece| Ok::<_, String>(Bytes::copy_from_slice(piece)));
            restore(&self.store, &self.vault, stream::iter(pieces), true).await
        }

        async fn all(&self) -> Vec<(String, Vec<u8>)> {
            let all = self.store.scan("", None, usize::MAX).await.unwrap();
            all.into_iter().map(|(key, found)| (key, found.value)).collect()
        }
    }

    #[tokio::test]
    async fn what_was_there_is_there_again_and_what_came_later_is_gone() {
        let place = Place::new(1).await;
        for number in 0..700 {
            place.put(&format!("things/{number:04}"), format!("{number} ").repeat(100).as_bytes()).await;
        }
        place.put("big/1", &vec![7; 300_000]).await;
        place.put("empty/1", b"").await;
        place.put("audit/1", b"before").await;
        let backup = place.backup().await;
        let before = place.all().await;
        place.put("things/0003", b"changed").await;
        place.put("things/new", b"new").await;
        place.put("audit/1", b"rewritten by nobody").await;
        place.put("audit/2", b"after").await;
        place.store.write("things/0004", Expect::Any, None).await.unwrap();

        let restored = place.restore(&backup).await.unwrap();
        assert_eq!(restored.records, before.len());
        let mut expected = before;
        expected.insert(1, ("audit/2".to_owned(), b"after".to_vec()));
        assert_eq!(place.all().await, expected, "the audit has what happened since");
        assert_eq!(place.dir.path().read_dir().unwrap().count(), 1);
    }

    #[tokio::test]
    async fn an_empty_directory_becomes_the_one_that_was_lost() {
        let lost = Place::new(1).await;
        lost.put("things/1", b"one").await;
        let backup = lost.backup().await;
        let new = Place::new(1).await;
        new.restore(&backup).await.unwrap();
        assert_eq!(new.all().await, lost.all().await);
        assert_eq!(workspace::id(&new.store).await.unwrap(), workspace::id(&lost.store).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_deployed_meanwhile_comes_whole_or_not_at_all() {
        let place = Place::new(1).await;
        let later = ["component-pieces/b/1", "components/b", "workflow-files/c/1", "workflow-versions/alice/w/2"];
        place.put("component-pieces/a/1", b"before").await;
        for number in 0..PAGE {
            place.put(&format!("b/{number:04}"), b"").await;
            place.put(&format!("workflow-g/{number:04}"), &[b'x'; PIECE / 64]).await;
        }
        let pieces = backup(place.store.clone(), place.vault.clone()).await.unwrap();
        let mut pieces = std::pin::pin!(pieces);
        let mut backup = [pieces.next().await.unwrap().unwrap(), pieces.next().await.unwrap().unwrap()].concat();
        for key in later {
            place.put(key, key.as_bytes()).await;
        }
        while let Some(piece) = pieces.next().await {
            backup.extend_from_slice(&piece.unwrap());
        }
        let new = Place::new(1).await;
        new.restore(&backup).await.unwrap();
        for key in later {
            let found = new.store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is missing"));
            assert_eq!(found.value, key.as_bytes());
        }
        assert_eq!(new.store.get("component-pieces/a/1").await.unwrap().unwrap().value, b"before");
    }

    #[tokio::test]
    async fn members_are_not_replaced_unasked() {
        let place = Place::new(1).await;
        let backup = place.backup().await;
        place.put("members/alice", b"{}").await;
        let before = place.all().await;
        let pieces = stream::iter([Ok::<_, String>(Bytes::from(backup))]);
        let error = restore(&place.store, &place.vault, pieces, false).await.unwrap_err();
        assert!(matches!(error, BackupError::NotEmpty), "{error}");
        assert_eq!(place.all().await, before);
    }

    #[tokio::test]
    async fn another_workspace_is_left_as_it_is() {
        let (one, other) = (Place::new(1).await, Place::new(1).await);
        other.put("accounts/01", b"{}").await;
        workspace::id(&one.store).await.unwrap();
        let backup = one.backup().await;
        // It has an account, so it needs its own id.
        let id = r#"{"v":1,"id":"01OTHER"}"#;
        other.put("workspace/own", id.as_bytes()).await;
        let before = other.all().await;
        assert!(matches!(other.restore(&backup).await, Err(BackupError::OtherWorkspace { .. })));
        assert_eq!(other.all().await, before);
    }

    #[tokio::test]
    async fn a_backup_shows_nothing_and_opens_with_its_master_key_alone() {
        let place = Place::new(1).await;
        place.put("members/alice", b"alice's nickname").await;
        let backup = place.backup().await;
        let text = String::from_utf8_lossy(&backup);
        assert!(!text.contains("alice"));
        assert!(text.starts_with("keyhole backup 1\n{\"workspace\":"));
        let other = Place::new(2).await;
        let error = other.restore(&backup).await.unwrap_err();
        assert!(matches!(error, BackupError::Vault(VaultError::UnknownKey { .. })), "{error}");
    }

    #[tokio::test]
    async fn a_backup_that_was_cut_joined_or_altered_changes_nothing() {
        let place = Place::new(1).await;
        place.put("things/1", &vec![b'x'; 3 * PIECE]).await;
        let backup = place.backup().await;
        place.put("things/2", b"later").await;
        let before = place.all().await;
        let head = MAGIC.len() + backup[MAGIC.len()..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let sealed = PIECE + TAG;
        let mut bad = vec![backup[..backup.len() - 1].to_vec(), [&backup[..], b"x"].concat()];
        // Whole pieces gone from the end, from the middle, twice, in another order.
        bad.push(backup[..head + 2 * sealed].to_vec());
        bad.push([&backup[..head + sealed], &backup[head + 2 * sealed..]].concat());
        bad.push([&backup[..head + sealed], &backup[head..]].concat());
        let (first, second) = (&backup[head..head + sealed], &backup[head + sealed..head + 2 * sealed]);
        bad.push([&backup[..head], second, first, &backup[head + 2 * sealed..]].concat());
        for at in (0..backup.len()).step_by(4999).chain(0..head) {
            let mut altered = backup.clone();
            altered[at] ^= 1;
            bad.push(altered);
        }
        for cut in [0, 5, MAGIC.len(), head - 1, head, head + 1] {
            bad.push(backup[..cut].to_vec());
        }
        for bad in bad {
            place.restore(&bad).await.unwrap_err();
        }
        assert_eq!(place.all().await, before);
        place.restore(&backup).await.unwrap();
    }
}
