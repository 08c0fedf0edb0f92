//! Compiled code in memory that nobody can change, this process included.
//!
//! Loading compiled code is running it. What is authenticated and what is mapped must be the
//! same bytes: the file that it came from may change in between, a sealed one in memory can't.
//! Mapped from there, code and the memory that a step begins with are in memory once, and
//! loading costs no copy.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use wasmtime::Engine;
use wasmtime::component::Component;

/// What one of those who copy a file takes at a time.
const PART: usize = 256 << 10;

/// Compiled code, of a trust that is the caller's to establish.
pub(super) struct Code {
    file: File,
    /// Its size.
    pub bytes: usize,
}

impl Code {
    /// Takes a copy of `bytes`, and seals it.
    pub fn of(bytes: &[u8]) -> io::Result<Self> {
        let mut file = memory()?;
        file.write_all(bytes)?;
        Self::sealed(file)
    }

    /// Takes what `from` has beyond `head`, and seals it.
    pub fn read(from: &File, head: u64) -> io::Result<Self> {
        let file = memory()?;
        let bytes = from.metadata()?.len().saturating_sub(head);
        file.set_len(bytes)?;
        // Most of the time goes into finding memory for it.
        (0..bytes.div_ceil(PART as u64)).into_par_iter().try_for_each_init(
            || vec![0; PART],
            |buffer, part| {
                let at = part * PART as u64;
                let part = &mut buffer[..usize::try_from(bytes - at).unwrap_or(PART).min(PART)];
                from.read_exact_at(part, head + at)?;
                file.write_all_at(part, at)
            },
        )?;
        Self::sealed(file)
    }

    fn sealed(file: File) -> io::Result<Self> {
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Ok(Self { file, bytes })
    }

    /// Gives all its bytes to `hasher`, from where they are.
    pub fn hash(&self, hasher: &mut blake3::Hasher) -> io::Result<()> {
        hasher.update_mmap_rayon(self.path()).map(drop)
    }

    /// Gives all its bytes to `to`, in order.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        io::copy(&mut file, &mut to).map(drop)
    }

    /// Where this process finds it.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }

    /// Maps it as a component.
    ///
    /// # Safety
    ///
    /// It is what [`Engine::precompile_component`] made, every byte of it: it is run.
    #[allow(unsafe_code)]
    pub unsafe fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: as the caller says; and the file is sealed, so that no one can change what
        // is mapped. wasmtime checks that it is for this version and these settings.
        unsafe { Component::deserialize_file(engine, self.path()) }
    }
}

/// A file in memory that can be sealed.
fn memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // It is mapped, and no program: where `vm.memfd_noexec` is set, some kernels refuse one that may be. Kernels
    // before 6.3 don't know the flag.
    let made = memfd_create("keyhole-code", flags | MemfdFlags::NOEXEC_SEAL).or_else(|error| match error {
        Errno::INVAL => memfd_create("keyhole-code", flags),
        error => Err(error),
    });
    Ok(made?.into())
}
