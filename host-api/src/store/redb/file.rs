//! The store file: making it, opening it, and reading from it.
//!
//! **Why a read is cheap and never stale.** Beginning a read transaction in a file that
//! several processes write costs redb five system calls. So one is kept, with the bytes of
//! the file's header as they were *before* it began. Every commit, by any process, changes
//! the header before it is acknowledged (redb's docs/design.md, "Header synchronization"). So
//! as long as the header reads the same, the kept transaction shows all that was acknowledged.
//!
//! Nothing in here may let redb open a file that is shorter than its header says: redb would
//! fit the header to what is left.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ::redb::{
    Builder, ConcurrencyMode, Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TransactionError, WriteTransaction,
};

use crate::store::StoreError;

/// The store's name in its data directory.
pub const FILE_NAME: &str = "keyhole.redb";

/// The format of what is in the file. A file with a higher one is refused, one with a lower one is upgraded.
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
/// The revision of the latest write to any key.
pub(super) const REVISION_KEY: &str = "revision";

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Key to revision and bytes.
pub(super) const RECORDS: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("records");
pub(super) type Records = ReadOnlyTable<&'static str, (u64, &'static [u8])>;

/// Pages that redb keeps in memory. The rest is the kernel's business.
const CACHE_BYTES: usize = 64 << 20;

/// The header and both commit slots (redb's docs/design.md, "Database super-header").
const HEADER_BYTES: usize = 320;
type Header = [u8; HEADER_BYTES];

/// Why something could not be done with an open file.
pub(super) enum Failure {
    /// An earlier failure made the handle useless: open the file anew and try again.
    Latched,
    /// The same in the middle of a commit of what follows this revision: it may be in the file, or not.
    Unsure(u64),
    /// The reason.
    Store(StoreError),
}

/// One open handle of the file.
pub(super) struct Opened {
    path: PathBuf,
    database: Database,
    raw: File,
    snapshot: RwLock<Option<Arc<Snapshot>>>,
}

struct Snapshot {
    header: Header,
    records: Records,
}

impl Opened {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let raw = File::open(path).map_err(|error| from_io(path, &error))?;
        check_length(path, &raw)?;
        let database = open_database(path, &builder(ConcurrencyMode::MultiWriter))?;
        let opened = Self { path: path.to_owned(), database, raw, snapshot: RwLock::new(None) };
        guarded(path, || opened.upgrade())?;
        Ok(opened)
    }

    /// Checks the format version, and brings an older file up to this one.
    fn upgrade(&self) -> Result<(), StoreError> {
        let fail = |error: ::redb::Error| from_redb(&self.path, &error);
        let found = (|| {
            let meta = self.database.begin_read()?.open_table(META)?;
            Ok(meta.get(FORMAT_KEY)?.map(|found| found.value()))
        })();
        match found {
            Ok(Some(FORMAT)) => return Ok(()),
            Ok(Some(found)) if found > FORMAT => return Err(self.newer(found)),
            Ok(Some(_)) => {}
            Ok(None) | Err(::redb::Error::TableDoesNotExist(_) | ::redb::Error::TableTypeMismatch { .. }) => {
                let reason = "it is a database, but not Keyhole's".to_owned();
                return Err(StoreError::Corrupt { place: self.path.display().to_string(), reason });
            }
            Err(error) => return Err(fail(error)),
        }
        (|| {
            let writing = self.database.begin_write()?;
            {
                let mut meta = writing.open_table(META)?;
                // Another process may have been faster: read again what is there now.
                let found = meta.get(FORMAT_KEY)?.map_or(0, |found| found.value());
                for format in found..FORMAT {
                    upgrade_from(format, &writing)?;
                }
                meta.insert(FORMAT_KEY, FORMAT.max(found))?;
            }
            writing.commit()?;
            Ok(())
        })()
        .map_err(fail)
    }

    fn newer(&self, found: u64) -> StoreError {
        StoreError::NewerVersion { place: self.path.display().to_string(), found, known: FORMAT }
    }

    fn header(&self) -> Result<Header, Failure> {
        read_header(&self.raw).map_err(|error| Failure::Store(from_io(&self.path, &error)))
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, Failure> {
        let header = self.header()?;
        if let Some(kept) = &*self.snapshot.read().unwrap_or_else(PoisonError::into_inner)
            && kept.header == header
        {
            return Ok(Arc::clone(kept));
        }
        let reading = self.database.begin_read().map_err(|error| self.failure(error))?;
        let records = reading.open_table(RECORDS).map_err(|error| self.failure(error))?;
        let fresh = Arc::new(Snapshot { header, records });
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Lets go of a kept snapshot that is out of date, so that its pages can be used again.
    fn drop_stale_snapshot(&self) {
        let mut kept = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*kept
            && !self.header().is_ok_and(|header| header == snapshot.header)
        {
            *kept = None;
        }
    }

    /// Begins a write transaction unless another process is in one.
    pub(super) fn try_begin_write(&self) -> Result<Option<WriteTransaction>, Failure> {
        match self.database.try_begin_write() {
            Ok(writing) => Ok(Some(writing)),
            Err(TransactionError::WouldBlock) => Ok(None),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// What `error` means for the caller.
    pub(super) fn failure(&self, error: impl Into<::redb::Error>) -> Failure {
        match error.into() {
            ::redb::Error::PreviousIo | ::redb::Error::DatabaseClosed | ::redb::Error::LockPoisoned(_) => {
                Failure::Latched
            }
            error => Failure::Store(from_redb(&self.path, &error)),
        }
    }
}

/// What must change in a file of format `from` for the next one. Records carry versions
/// of their own; this is for the tables themselves. Format 0 was never released.
fn upgrade_from(from: u64, _writing: &WriteTransaction) -> Result<(), ::redb::Error> {
    debug_assert!(from < FORMAT);
    Ok(())
}

/// The file as all threads of this process share it. After a failed commit redb's handle
/// refuses everything; this opens the file anew.
pub(super) struct Shared {
    path: PathBuf,
    opened: RwLock<Option<Arc<Opened>>>,
    reopening: Mutex<()>,
    soon_failed: Mutex<Option<StoreError>>,
}

impl Shared {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE_NAME);
        if let Err(error) = path.metadata() {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(from_io(&path, &error));
            }
            create(dir, &path)?;
        }
        let opened = Opened::open(&path)?;
        Ok(Self {
            path,
            opened: RwLock::new(Some(Arc::new(opened))),
            reopening: Mutex::new(()),
            soon_failed: Mutex::new(None),
        })
    }

    pub(super) fn check(dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(FILE_NAME);
        let raw = File::open(&path).map_err(|error| from_io(&path, &error))?;
        check_length(&path, &raw)?;
        let mut builder = builder(ConcurrencyMode::MultiWriter);
        builder.set_check_integrity_on_open(true);
        open_database(&path, &builder).map(drop)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn soon_failed(&self) -> Option<StoreError> {
        self.soon_failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_soon_failed(&self, failed: Option<StoreError>) {
        *self.soon_failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    pub(super) fn opened(&self) -> Result<Arc<Opened>, StoreError> {
        if let Some(opened) = self.current() {
            return Ok(opened);
        }
        self.reopen(None)
    }

    fn current(&self) -> Option<Arc<Opened>> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the file anew, unless another thread has done so since `failed` was taken.
    pub(super) fn reopen(&self, failed: Option<Arc<Opened>>) -> Result<Arc<Opened>, StoreError> {
        let _one_at_a_time = self.reopening.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.current(), failed) {
            (Some(current), Some(failed)) if Arc::ptr_eq(&current, &failed) => {
                // Closed before it is opened again, so that its locks are gone.
                *self.opened.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            (Some(current), _) => return Ok(current),
            (None, _) => {}
        }
        let opened = Arc::new(Opened::open(&self.path)?);
        *self.opened.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// What `look` finds in the records as they are now.
    pub(super) fn read<T>(&self, look: impl Fn(&Records) -> Result<T, StorageError>) -> Result<T, StoreError> {
        let mut opened = self.opened()?;
        let mut last = None;
        for _ in 0..3 {
            let found = guarded(&self.path, || {
                Ok(opened.snapshot().and_then(|now| look(&now.records).map_err(|error| opened.failure(error))))
            });
            match found {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(Failure::Latched | Failure::Unsure(_))) => {}
                // What is wrong with the handle, another one may not see; what is wrong with the file, it will.
                Ok(Err(Failure::Store(error))) | Err(error) => {
                    if last.replace(error.clone()).is_some() {
                        return Err(error);
                    }
                    tracing::warn!(%error, "the store could not be read; it is opened anew");
                }
            }
            opened = self.reopen(Some(opened))?;
        }
        Err(last.unwrap_or_else(disk_fails))
    }

    /// The revision of the latest write.
    pub(super) fn revision(&self) -> Result<u64, StoreError> {
        let opened = self.opened()?;
        guarded(&self.path, || {
            (|| {
                let meta = opened.database.begin_read()?.open_table(META)?;
                Ok(meta.get(REVISION_KEY)?.map_or(0, |found| found.value()))
            })()
            .map_err(|error: ::redb::Error| from_redb(&self.path, &error))
        })
    }

    /// See [`Opened::drop_stale_snapshot`].
    pub(super) fn drop_stale_snapshot(&self) {
        if let Some(opened) = self.current() {
            opened.drop_stale_snapshot();
        }
    }
}

fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Builder::new();
    builder.set_concurrency_mode(mode).set_cache_size(CACHE_BYTES);
    builder
}

fn open_database(path: &Path, builder: &Builder) -> Result<Database, StoreError> {
    guarded(path, || builder.open(path).map_err(|error| from_redb(path, &error.into())))
}

/// Makes the file under another name and links it in place once it is whole, so that an empty
/// or half-made file is never taken for a store, and of two processes that race one wins.
fn create(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| StoreError::Failed(format!("no random bytes: {error}")))?;
    let temporary = RemovedOnDrop(dir.join(format!("{FILE_NAME}.new-{:016x}", u64::from_le_bytes(random))));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.0).map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                StoreError::NoDirectory { place: dir.display().to_string() }
            }
            _ => from_io(dir, &error),
        }
    })?;
    guarded(path, || {
        (|| {
            // Nobody else can have it open, and this mode writes the least.
            let database = builder(ConcurrencyMode::ExclusiveWriter).create(&temporary.0)?;
            let writing = database.begin_write()?;
            writing.open_table(RECORDS)?;
            let mut meta = writing.open_table(META)?;
            meta.insert(FORMAT_KEY, FORMAT)?;
            meta.insert(REVISION_KEY, 0)?;
            drop(meta);
            writing.commit()?;
            database.close()?;
            Ok(())
        })()
        .map_err(|error| from_redb(dir, &error))
    })?;
    match std::fs::hard_link(&temporary.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        // Some file systems have no hard links.
        Err(_) => std::fs::rename(&temporary.0, path).map_err(|error| from_io(dir, &error))?,
    }
    drop(temporary);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| from_io(dir, &error))
}

struct RemovedOnDrop(PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        // It is gone already if it was renamed.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn read_header(raw: &File) -> io::Result<Header> {
    let mut header = [0; HEADER_BYTES];
    raw.read_exact_at(&mut header, 0)?;
    Ok(header)
}

/// Refuses a file that is shorter than its header says. redb makes a file longer before, and
/// shorter after, it writes that into the header; so such a file was cut.
fn check_length(path: &Path, raw: &File) -> Result<(), StoreError> {
    let corrupt = |reason: String| Err(StoreError::Corrupt { place: path.display().to_string(), reason });
    loop {
        let length = raw.metadata().map_err(|error| from_io(path, &error))?.len();
        if length < HEADER_BYTES as u64 {
            return corrupt(format!("it was cut short: {length} bytes are left"));
        }
        let header = read_header(raw).map_err(|error| from_io(path, &error))?;
        let Some(stated) = stated_length(&header) else {
            return corrupt("it does not begin like a store".to_owned());
        };
        let length = raw.metadata().map_err(|error| from_io(path, &error))?.len();
        if length >= stated {
            return Ok(());
        }
        // Another process may have made it shorter after the header was read.
        if read_header(raw).map_err(|error| from_io(path, &error))? == header {
            return corrupt(format!("it was cut short: {length} of {stated} bytes are left"));
        }
    }
}

/// The length of a file with this header (redb's docs/design.md, "Database header").
fn stated_length(header: &Header) -> Option<u64> {
    const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
    let number = |at: usize| {
        let bytes = header[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(bytes))
    };
    let (page, region_header, region_data) = (number(12), number(16), number(20));
    let (full_regions, trailing) = (number(24), number(28));
    let regions = full_regions.checked_mul(region_header + region_data)?;
    let pages = regions + if trailing > 0 { region_header + trailing } else { 0 };
    let length = pages.checked_add(1)?.checked_mul(page)?;
    (header.starts_with(MAGIC) && page > 0).then_some(length)
}

/// Runs `work`, and takes a panic of redb, which happens on files altered by others, for damage.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(panic = said, place = %path.display(), "redb gave up on the store");
        let reason = "its pages contradict each other".to_owned();
        Err(StoreError::Corrupt { place: path.display().to_string(), reason })
    })
}

/// What is left to say when each handle failed like the one before.
pub(super) fn disk_fails() -> StoreError {
    StoreError::Failed("the disk fails again and again; see the system's log".to_owned())
}

fn from_io(path: &Path, error: &io::Error) -> StoreError {
    let place = path.display().to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { place },
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { place },
        io::ErrorKind::PermissionDenied => StoreError::Denied { place },
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            StoreError::NoDirectory { place: path.parent().unwrap_or(path).display().to_string() }
        }
        io::ErrorKind::UnexpectedEof => StoreError::Corrupt { place, reason: "it was cut short".to_owned() },
        io::ErrorKind::InvalidData => StoreError::Corrupt { place, reason: error.to_string() },
        _ => StoreError::Failed(format!("{place}: {error}")),
    }
}

fn from_redb(path: &Path, error: &::redb::Error) -> StoreError {
    use ::redb::Error;
    let place = path.display().to_string();
    match error {
        Error::Io(error) => from_io(path, error),
        Error::Corrupted(reason) => match reason.strip_prefix("Expected file format version <= 3, found ") {
            Some(found) => StoreError::NewerVersion { place, found: found.parse().unwrap_or(u64::MAX), known: 3 },
            None => StoreError::Corrupt { place, reason: reason.clone() },
        },
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreError::Held { place, holder: holder(path) },
        Error::PreviousIo => StoreError::Failed(format!("{place}: an earlier write failed; restart Keyhole")),
        error => StoreError::Failed(format!("{place}: {error}")),
    }
}

/// Another process that has the file open, as `PID (command)`.
pub(super) fn holder(path: &Path) -> String {
    find_holder(path).unwrap_or_else(|| "another process".to_owned())
}

fn find_holder(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Other users' processes don't show what they have open.
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        if pid != std::process::id()
            && open.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == path))
        {
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", command.trim()));
        }
    }
    None
}
