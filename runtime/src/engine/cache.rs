//! Compiled code on disk, by content.
//!
//! Loading compiled code is running it, so no byte of a file is used before the keyed MAC
//! over all of them is right, and it is used from a copy that can't change. A file that is wrong in any way is removed and made again.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wasmtime::Engine;

use super::code::Code;
use super::config::CodeCacheConfig;

/// What a file begins with. The last byte is the format's version.
const MAGIC: &[u8; 8] = b"khcode\0\x01";
const MAC_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + MAC_BYTES;
const EXTENSION: &str = "khcode";

/// The folder with compiled code.
pub(super) struct CodeCache {
    config: CodeCacheConfig,
    /// What wasmtime's version, settings, this processor and our key come to: code for another is not for us.
    engine: [u8; 32],
}

impl CodeCache {
    /// Makes the folder. Where that fails nothing is kept, which is slow and not wrong.
    pub fn open(config: CodeCacheConfig, engine: &Engine) -> Option<Self> {
        let made = fs::DirBuilder::new().recursive(true).create(&config.dir).and_then(|()| restrict(&config.dir));
        if let Err(error) = made {
            tracing::warn!(
                "compiled code is not kept, so each start compiles again: {}: {error}",
                config.dir.display()
            );
            return None;
        }
        let mut hasher = Blake3Hasher(blake3::Hasher::new_keyed(&config.key));
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(Self { config, engine: *hasher.0.finalize().as_bytes() })
    }

    /// The code for the component with this digest, authenticated.
    pub fn load(&self, component: &[u8; 32]) -> Option<Code> {
        let path = self.path(component);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.discard(&path, &error.to_string());
                return None;
            }
        };
        match self.verified(component, &file) {
            Ok(Some(code)) => {
                // The time of last use, for pruning; a folder that can't be written to is not pruned either.
                let _ = file.set_modified(SystemTime::now());
                Some(code)
            }
            Ok(None) => {
                self.discard(&path, "it is not what this Keyhole wrote");
                None
            }
            // Of the memory that it is read into, perhaps: the file may be good.
            Err(error) => {
                tracing::warn!("compiled code is not used: {}: {error}", path.display());
                None
            }
        }
    }

    /// Removes the code for a component that could not be loaded although it is authentic.
    pub fn reject(&self, component: &[u8; 32], reason: &str) {
        self.discard(&self.path(component), reason);
    }

    /// Keeps the code for the component with this digest.
    pub fn store(&self, component: &[u8; 32], code: &Code) {
        if let Err(error) = self.write(component, code) {
            tracing::warn!("compiled code is not kept: {}: {error}", self.config.dir.display());
        }
        self.prune();
    }

    /// The code in `file`, if its MAC is right over what was read.
    fn verified(&self, component: &[u8; 32], file: &File) -> io::Result<Option<Code>> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        let mac = head.strip_prefix(MAGIC).and_then(|mac| <[u8; MAC_BYTES]>::try_from(mac).ok());
        let Some(mac) = mac else { return Ok(None) };
        let code = Code::read(file, HEAD_BYTES as u64)?;
        // `blake3::Hash` compares in constant time.
        let right = self.mac(component, &code)? == blake3::Hash::from_bytes(mac);
        Ok(right.then_some(code))
    }

    fn mac(&self, component: &[u8; 32], code: &Code) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.config.key);
        hasher.update(MAGIC).update(&self.engine).update(component);
        code.hash(&mut hasher)?;
        Ok(hasher.finalize())
    }

    fn write(&self, component: &[u8; 32], code: &Code) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix("tmp-").tempfile_in(&self.config.dir)?;
        file.write_all(MAGIC)?;
        file.write_all(self.mac(component, code)?.as_bytes())?;
        code.write(&mut file)?;
        // Not flushed to disk: a file cut short by a crash has the wrong MAC.
        file.persist(self.path(component))?;
        Ok(())
    }

    fn path(&self, component: &[u8; 32]) -> PathBuf {
        let component = blake3::Hash::from_bytes(*component).to_hex();
        let engine = blake3::Hash::from_bytes(self.engine).to_hex();
        self.config.dir.join(format!("{component}-{}.{EXTENSION}", &engine[..16]))
    }

    fn discard(&self, path: &Path, reason: &str) {
        tracing::warn!("compiled code is not used, and made again: {}: {reason}", path.display());
        // A file that can't be removed is looked at again, and refused again.
        let _ = fs::remove_file(path);
    }

    /// Removes the least recently used files until all together fit, and leftovers of crashes.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.config.dir) else { return };
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let code = path.extension().is_some_and(|extension| extension == EXTENSION);
            if code {
                files.push((used, metadata.len(), path));
            } else if used.elapsed().is_ok_and(|age| age.as_secs() > 3600) {
                let _ = fs::remove_file(path);
            }
        }
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        files.sort_by_key(|(used, ..)| *used);
        for (_, bytes, path) in files {
            if total <= self.config.max_bytes {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= bytes;
            }
        }
    }
}

fn restrict(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

struct Blake3Hasher(blake3::Hasher);

impl Hasher for Blake3Hasher {
    fn finish(&self) -> u64 {
        u64::from_le_bytes(*self.0.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
