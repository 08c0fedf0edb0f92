//! The master key: where it comes from, and what is derived from it. The key itself encrypts
//! nothing; each use has a key of its own, derived with HKDF-SHA-256 (RFC 5869).
//!
//! It must never make a new key where an old one is needed, and never show a byte of one.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chacha20poly1305::XChaCha20Poly1305;
use hkdf::Hkdf;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::VaultError;
use super::seal::{KEY_BYTES, KeyBytes, cipher, random_key};

/// A command that talks to a KMS has this long.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// More than any encoding of a key, and more of a complaint than anyone reads.
const MAX_OUTPUT: u64 = 4096;
const MAX_SAID: usize = 500;

/// Where the master keys come from: each 32 bytes in base64 or hex, white space between them, the newest
/// first. There is one, unless it was rotated.
#[derive(Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file, made with mode 0600 when it is first needed.
    File(PathBuf),
    /// The value of an environment variable.
    Env(Zeroizing<String>),
    /// A command for `sh -c` that prints them within 10 s.
    Command(String),
}

impl fmt::Debug for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // The one is the key; the other may hold a token.
            Self::Env(_) => f.write_str("Env(…)"),
            Self::Command(_) => f.write_str("Command(…)"),
        }
    }
}

/// One master key. It has no `Debug`.
pub(super) struct MasterKey {
    id: String,
    wrapping: XChaCha20Poly1305,
    root: Hkdf<Sha256>,
}

impl MasterKey {
    fn new(key: &KeyBytes) -> Self {
        let root = Hkdf::<Sha256>::new(None, key.as_slice());
        let id = derive(&root, "id", "");
        let id = id[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let wrapping = cipher(&derive(&root, "wrap", ""));
        Self { id, wrapping, root }
    }

    /// Tells keys apart; the key can't be computed from it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn wrapping(&self) -> &XChaCha20Poly1305 {
        &self.wrapping
    }

    pub(super) fn derive(&self, purpose: &str) -> KeyBytes {
        derive(&self.root, "derive", purpose)
    }
}

fn derive(root: &Hkdf<Sha256>, kind: &str, purpose: &str) -> KeyBytes {
    let mut key = KeyBytes::default();
    root.expand_multi_info(&[b"keyhole/vault/1/", kind.as_bytes(), b"/", purpose.as_bytes()], key.as_mut_slice())
        .expect("32 bytes are less than HKDF's limit of 255 hashes");
    key
}

impl MasterKeySource {
    /// The keys, at least one. `expected` is the id of the one that the store needs, if it needs one: then
    /// no file is made.
    pub(super) async fn load(&self, expected: Option<&str>) -> Result<Vec<MasterKey>, VaultError> {
        match self {
            Self::File(path) => from_file(path, expected),
            Self::Env(value) => parse(value).map_err(|reason| bad("the environment variable".to_owned(), reason)),
            Self::Command(command) => from_command(command, COMMAND_DEADLINE).await,
        }
    }

    /// Puts a fresh key before the one that seals, `current`, in a key file. Unless someone else did so meanwhile.
    pub(super) fn add_key(&self, current: &str) -> Result<(), VaultError> {
        let Self::File(path) = self else { return Err(VaultError::NoNewKey) };
        change_file(path, |text| {
            if parse(text).is_ok_and(|keys| keys.first().is_some_and(|first| first.id() != current)) {
                return Ok(None);
            }
            let mut changed = fresh()?;
            changed.push_str(text);
            Ok(Some(changed))
        })
    }

    /// Takes the key `id` out of a key file.
    pub(super) fn remove_key(&self, id: &str) -> Result<(), VaultError> {
        let path = match self {
            Self::File(path) => path,
            Self::Env(_) => return Err(VaultError::NotOurs("an environment variable")),
            Self::Command(_) => return Err(VaultError::NotOurs("a command")),
        };
        change_file(path, |text| {
            let kept =
                text.split_whitespace().filter(|word| one(word).map_or(true, |key| MasterKey::new(&key).id() != id));
            // Of its full size from the start: growing would leave keys behind.
            let mut changed = Zeroizing::new(String::with_capacity(text.len() + 1));
            for word in kept {
                changed.push_str(word);
                changed.push('\n');
            }
            Ok(Some(changed))
        })
    }
}

/// The keys of the key file that is there.
pub(super) fn read(path: &Path) -> Result<Vec<MasterKey>, VaultError> {
    let file = File::open(path).map_err(|error| file_error(path, &error))?;
    keys_of(path, &read_file(path, &file)?)
}

fn bad(from: String, reason: &'static str) -> VaultError {
    VaultError::BadKey { from, reason }
}

/// The keys in a text, at least one.
fn parse(text: &str) -> Result<Vec<MasterKey>, &'static str> {
    let keys: Vec<MasterKey> =
        text.split_whitespace().map(|word| one(word).map(|key| MasterKey::new(&key))).collect::<Result<_, _>>()?;
    if keys.is_empty() { Err("it is empty") } else { Ok(keys) }
}

/// A key from its text.
fn one(text: &str) -> Result<KeyBytes, &'static str> {
    let mut key = KeyBytes::default();
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap_or_default() as u8;
            *byte = digit(0) << 4 | digit(1);
        }
        return Ok(key);
    }
    // 44 characters of base64 with padding, 43 without; the other alphabet is as good.
    let standard: Zeroizing<String> = Zeroizing::new(text.trim_end_matches('=').replace('-', "+").replace('_', "/"));
    let mut decoded = Zeroizing::new([0; 2 * KEY_BYTES]);
    let length = STANDARD_NO_PAD
        .decode_slice(standard.as_bytes(), decoded.as_mut_slice())
        .map_err(|_| "it is neither base64 nor hex, or too long")?;
    if length != KEY_BYTES {
        return Err("it has another length");
    }
    key.copy_from_slice(&decoded[..KEY_BYTES]);
    Ok(key)
}

fn from_file(path: &Path, expected: Option<&str>) -> Result<Vec<MasterKey>, VaultError> {
    loop {
        match File::open(path) {
            Ok(file) => return keys_of(path, &read_file(path, &file)?),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(path, &error)),
            Err(_) => {}
        }
        if let Some(expected) = expected {
            return Err(VaultError::KeyFileMissing { path: path.to_owned(), expected: expected.to_owned() });
        }
        make_file(path)?;
    }
}

fn keys_of(path: &Path, text: &str) -> Result<Vec<MasterKey>, VaultError> {
    parse(text).map_err(|reason| bad(format!("the file {}", path.display()), reason))
}

fn read_file(path: &Path, file: &File) -> Result<Zeroizing<String>, VaultError> {
    // Asked of the open file, so that it can't be exchanged in between.
    let mode = file.metadata().map_err(|error| file_error(path, &error))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(VaultError::KeyFileOpen { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_OUTPUT as usize));
    file.take(MAX_OUTPUT).read_to_string(&mut text).map_err(|error| file_error(path, &error))?;
    Ok(text)
}

/// A fresh key's line.
fn fresh() -> Result<Zeroizing<String>, VaultError> {
    let key = random_key()?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_OUTPUT as usize));
    STANDARD.encode_string(key.as_slice(), &mut text);
    text.push('\n');
    Ok(text)
}

/// Puts what `change` makes of the key file in its place, whole. Of several processes that do so at once,
/// each sees what the one before it wrote.
fn change_file(
    path: &Path,
    change: impl FnOnce(&str) -> Result<Option<Zeroizing<String>>, VaultError>,
) -> Result<(), VaultError> {
    let fail = |error: io::Error| file_error(path, &error);
    let file = loop {
        let file = File::open(path).map_err(fail)?;
        file.lock().map_err(fail)?;
        // It may have been replaced while the lock was waited for.
        let (locked, there) = (file.metadata().map_err(fail)?, path.metadata().map_err(fail)?);
        if (locked.dev(), locked.ino()) == (there.dev(), there.ino()) {
            break file;
        }
    };
    let Some(changed) = change(&read_file(path, &file)?)? else { return Ok(()) };
    if changed.len() as u64 > MAX_OUTPUT {
        return Err(VaultError::TooManyKeys { path: path.to_owned() });
    }
    beside(path, &changed, |temporary| std::fs::rename(temporary, path))
}

/// Writes `text` to a file of its own beside `path`, and has it put in place.
fn beside(path: &Path, text: &str, put: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), VaultError> {
    let fail = |error: io::Error| file_error(path, &error);
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{:016x}", u64::from_le_bytes(random)));
    let temporary = PathBuf::from(name);
    let made = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
        put(&temporary)
    })();
    // It may not have been made at all, or be in place already.
    let _ = std::fs::remove_file(&temporary);
    made.map_err(fail)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)
}

/// Makes the key file whole under another name and links it in place: of several processes that
/// do so at once one wins, and none reads half a key.
fn make_file(path: &Path) -> Result<(), VaultError> {
    beside(path, &fresh()?, |temporary| match std::fs::hard_link(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io::Error::other(format!(
            "it can't be made here ({error}); make it yourself, with mode 600: openssl rand -base64 32"
        ))),
        Ok(()) => Ok(()),
    })
}

fn file_error(path: &Path, error: &io::Error) -> VaultError {
    VaultError::KeyFile { path: path.to_owned(), reason: error.to_string() }
}

async fn from_command(command: &str, deadline: Duration) -> Result<Vec<MasterKey>, VaultError> {
    let failed = |reason: String, said: String| VaultError::Command { reason, said };
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("sh could not be started: {error}"), String::new()))?;
    let group = child.id();
    let mut printed = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT as usize));
    let mut complaint = Vec::new();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("it has no output".to_owned(), String::new()));
    };
    let ended = tokio::time::timeout(deadline, async {
        let (read, heard) = tokio::join!(read_some(stdout, &mut printed), read_some(stderr, &mut complaint));
        read.and(heard)?;
        child.wait().await
    })
    .await;
    let said = said(&complaint, &printed);
    let status = match ended {
        Ok(status) => status.map_err(|error| failed(error.to_string(), said.clone()))?,
        Err(_) => {
            // What the shell started must end, too.
            if let Some(group) = group.and_then(|group| rustix::process::Pid::from_raw(group.cast_signed())) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            return Err(failed(format!("it did not end within {} s", deadline.as_secs()), said));
        }
    };
    if !status.success() {
        return Err(failed(status.to_string(), said));
    }
    let text = std::str::from_utf8(&printed).map_err(|_| bad("the command".to_owned(), "it is not text"))?;
    parse(text).map_err(|reason| bad("the command".to_owned(), reason))
}

/// Reads up to [`MAX_OUTPUT`], then closes the pipe: whoever has more to say must not wait for ever.
async fn read_some(from: impl AsyncRead + Unpin, into: &mut Vec<u8>) -> io::Result<()> {
    from.take(MAX_OUTPUT).read_to_end(into).await.map(drop)
}

/// What a command complained of, in one line, unless what it printed is in it: that may be the key.
fn said(complaint: &[u8], printed: &[u8]) -> String {
    let printed = printed.trim_ascii();
    if !printed.is_empty() && complaint.windows(printed.len()).any(|part| part == printed) {
        return "(hidden: it repeats what it printed)".to_owned();
    }
    let text = String::from_utf8_lossy(complaint.trim_ascii());
    if text.is_empty() {
        return "nothing".to_owned();
    }
    text.chars().take(MAX_SAID).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";

    async fn id(source: MasterKeySource) -> String {
        source.load(None).await.unwrap_or_else(|error| panic!("{error}"))[0].id().to_owned()
    }

    async fn error(source: MasterKeySource) -> VaultError {
        match source.load(None).await {
            Ok(_) => panic!("it gave a key"),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn one_key_has_one_id_however_it_is_given() {
        let url_safe = BASE64.replace('/', "_");
        let given = [HEX, &HEX.to_uppercase(), BASE64, BASE64.trim_end_matches('='), &url_safe, &format!(" {HEX}\n")];
        let mut ids = Vec::new();
        for text in given {
            ids.push(id(MasterKeySource::Env(text.to_owned().into())).await);
            ids.push(id(MasterKeySource::Command(format!("echo '{}'", text.trim()))).await);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert_eq!(ids[0].len(), 16);
        assert!(!HEX.contains(&ids[0]));
        assert_ne!(id(MasterKeySource::Env(HEX.replace("ff", "fe").into())).await, ids[0]);
    }

    #[tokio::test]
    async fn what_is_no_key_is_refused_without_repeating_it() {
        for text in ["", "  \n", "hunter2", &HEX[2..], &format!("{HEX}00"), &BASE64[4..], &"A".repeat(200), "ключ"]
        {
            let error = error(MasterKeySource::Env(text.to_owned().into())).await;
            assert!(matches!(error, VaultError::BadKey { .. }));
            let shown = format!("{error} {error:?}");
            assert!(text.trim().is_empty() || !shown.contains(text.trim()), "{shown}");
        }
        assert_eq!(format!("{:?}", MasterKeySource::Env(HEX.to_owned().into())), "Env(…)");
    }

    #[tokio::test]
    async fn a_commands_failure_and_complaint_are_shown_but_not_what_it_printed() {
        let failing = error(MasterKeySource::Command("echo 'no such\nkey' >&2; exit 3".to_owned())).await;
        let said = "no such key".to_owned();
        assert_eq!(failing, VaultError::Command { reason: "exit status: 3".to_owned(), said });
        let chatty = error(MasterKeySource::Command(format!("echo {HEX}; echo got {HEX} >&2; false"))).await;
        assert!(!format!("{chatty} {chatty:?}").contains(HEX));
        let endless = error(MasterKeySource::Command("yes hunter2".to_owned())).await;
        assert!(matches!(endless, VaultError::Command { .. }), "ended by the closed pipe: {endless}");
        assert!(!format!("{endless} {endless:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let command = format!("sleep 1000 & echo $! > {}; wait", path.display());
        let Err(error) = from_command(&command, Duration::from_secs(1)).await else { panic!("it gave a key") };
        assert!(error.to_string().contains("within 1 s"), "{error}");
        let pid = std::fs::read_to_string(&path).unwrap();
        // Killed already; whoever inherits it collects it.
        let until = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            assert!(std::time::Instant::now() < until, "it lives on: {stat}");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn the_key_file_is_made_for_the_owner_alone_and_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let made = id(MasterKeySource::File(path.clone())).await;
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(id(MasterKeySource::File(path.clone())).await, made);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left there");
    }

    #[tokio::test]
    async fn a_key_file_that_others_can_read_is_refused_saying_chmod() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        id(MasterKeySource::File(path.clone())).await;
        for mode in [0o640, 0o604, 0o660, 0o644, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = error(MasterKeySource::File(path.clone())).await;
            assert_eq!(error, VaultError::KeyFileOpen { path: path.clone(), mode });
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        id(MasterKeySource::File(path)).await;
    }

    #[test]
    fn many_that_make_the_key_file_at_once_get_one_key() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("master.key");
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    let path = path.clone();
                    std::thread::spawn(move || from_file(&path, None).unwrap()[0].id().to_owned())
                })
                .collect();
            let mut keys: Vec<_> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
            keys.dedup();
            assert_eq!(keys.len(), 1);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[tokio::test]
    async fn a_key_file_that_is_missing_though_needed_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let Err(error) = MasterKeySource::File(path.clone()).load(Some("0123")).await else { panic!() };
        assert_eq!(error, VaultError::KeyFileMissing { path: path.clone(), expected: "0123".to_owned() });
        assert!(error.to_string().contains(&path.display().to_string()));
        assert!(!path.exists());
    }
}
