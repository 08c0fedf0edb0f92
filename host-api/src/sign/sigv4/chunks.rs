//! Bodies whose chunks are signed one by one (`Content-Encoding: aws-chunked`): each
//! signature is checked, and made again with the real key, as the chunk passes.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>, and for trailers
//! `sigv4-streaming-trailers.html` beside it.

use std::fmt::Write as _;

use subtle::ConstantTimeEq as _;

use super::{CredentialScope, SigningKey, sha256};

/// Longest chunk, in bytes: it is held until its signature was checked. SDKs write 64 KiB to 1 MiB.
const CHUNK: usize = 2 << 20;
/// Longest line before a chunk, and longest trailer.
const LINE: usize = 1024;
/// Most trailers.
const TRAILERS: usize = 16;

/// Why a body in chunks was cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not in the form.
    #[error("the body is not in signed chunks, as x-amz-content-sha256 says")]
    Form,
    /// Too long to be held.
    #[error("a signed chunk of the body is longer than {CHUNK} bytes; have the SDK write shorter ones")]
    TooLong,
    /// Not made with the placeholder, or not over this chunk.
    #[error("a chunk's signature is not the one that this account's placeholders make")]
    Signature,
    /// Cut off.
    #[error("the body ends before its last chunk")]
    Ended,
}

/// Signatures each of which covers the one before.
struct Chain {
    key: SigningKey,
    last: String,
}

impl Chain {
    fn next(&mut self, kind: &str, time: &str, scope: &CredentialScope, rest: &str) -> &str {
        self.last = self.key.sign(kind, time, scope, &format!("{}\n{rest}", self.last));
        &self.last
    }
}

/// What comes next in the body.
enum At {
    Chunk,
    Trailers {
        count: usize,
        canonical: String,
    },
    /// The empty line after the last chunk.
    LastLine,
    End,
}

/// Signs a body in chunks again while it streams.
pub(crate) struct Chunks {
    time: String,
    scope: CredentialScope,
    given: Chain,
    ours: Chain,
    trailers: bool,
    /// What is not a whole chunk or line yet.
    held: Vec<u8>,
    at: At,
}

impl Chunks {
    pub(super) fn new(
        time: String,
        scope: CredentialScope,
        (given, given_seed): (SigningKey, String),
        (ours, our_seed): (SigningKey, String),
        trailers: bool,
    ) -> Self {
        let given = Chain { key: given, last: given_seed };
        let ours = Chain { key: ours, last: our_seed };
        Self { time, scope, given, ours, trailers, held: Vec::new(), at: At::Chunk }
    }

    /// Takes the next bytes, and gives what can leave. As many bytes leave in the end as came in.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, ChunkError> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut done = 0;
        // Moved out, so that the parts can be signed while they are read.
        let mut held = std::mem::take(&mut self.held);
        loop {
            let rest = &held[done..];
            let used = match &self.at {
                At::Chunk => self.chunk(rest, &mut out)?,
                At::Trailers { .. } => self.trailer(rest, &mut out)?,
                At::LastLine => match rest {
                    [b'\r', b'\n', ..] => {
                        out.extend_from_slice(b"\r\n");
                        self.at = At::End;
                        Some(2)
                    }
                    [] | [b'\r'] => None,
                    _ => return Err(ChunkError::Form),
                },
                At::End if rest.is_empty() => None,
                At::End => return Err(ChunkError::Form),
            };
            match used {
                Some(used) => done += used,
                None => break,
            }
        }
        held.drain(..done);
        self.held = held;
        Ok(out)
    }

    /// The body has ended.
    pub(crate) fn end(&self) -> Result<(), ChunkError> {
        match self.at {
            At::End => Ok(()),
            _ => Err(ChunkError::Ended),
        }
    }

    /// `SIZE;chunk-signature=SIGNATURE`, the chunk and a line end, if all of it is there.
    fn chunk(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, ChunkError> {
        let Some(line) = line(rest)? else { return Ok(None) };
        let (digits, signature) = line.split_once(";chunk-signature=").ok_or(ChunkError::Form)?;
        let hex = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| hex).ok_or(ChunkError::Form)?;
        if size > CHUNK {
            return Err(ChunkError::TooLong);
        }
        let start = line.len() + 2;
        // After the last chunk, trailers follow at once.
        let line_end = if size == 0 { 0 } else { 2 };
        let Some(all) = rest.get(start..start + size + line_end) else { return Ok(None) };
        let (data, end) = all.split_at(size);
        if !end.is_empty() && end != b"\r\n" {
            return Err(ChunkError::Form);
        }
        let signed = format!("{}\n{}", sha256(b""), sha256(data));
        let ours = self.signed_again("AWS4-HMAC-SHA256-PAYLOAD", &signed, signature)?;
        let _ = write!(Text(out), "{digits};chunk-signature={ours}\r\n");
        out.extend_from_slice(all);
        if size == 0 {
            self.at = match self.trailers {
                true => At::Trailers { count: 0, canonical: String::new() },
                false => At::LastLine,
            };
        }
        Ok(Some(start + all.len()))
    }

    /// A trailer, the last of which is the signature of the others.
    fn trailer(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, ChunkError> {
        let Some(line) = line(rest)? else { return Ok(None) };
        let At::Trailers { count, canonical } = &mut self.at else { return Err(ChunkError::Form) };
        let (name, value) = line.split_once(':').ok_or(ChunkError::Form)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            let signed = sha256(canonical.as_bytes());
            let ours = self.signed_again("AWS4-HMAC-SHA256-TRAILER", &signed, value)?;
            let at = line.len() - line.split_once(':').map_or(0, |(_, value)| value.trim_start().len());
            let _ = write!(Text(out), "{}{ours}\r\n", &line[..at]);
            self.at = At::LastLine;
        } else {
            *count += 1;
            if *count > TRAILERS {
                return Err(ChunkError::Form);
            }
            let _ = writeln!(canonical, "{name}:{value}");
            let _ = write!(Text(out), "{line}\r\n");
        }
        Ok(Some(line.len() + 2))
    }

    fn signed_again(&mut self, kind: &str, signed: &str, signature: &str) -> Result<&str, ChunkError> {
        let expected = self.given.next(kind, &self.time, &self.scope, signed);
        if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
            return Err(ChunkError::Signature);
        }
        Ok(self.ours.next(kind, &self.time, &self.scope, signed))
    }
}

/// The line that `rest` begins with, without its end, if that is there.
fn line(rest: &[u8]) -> Result<Option<&str>, ChunkError> {
    let window = &rest[..rest.len().min(LINE)];
    match memchr::memmem::find(window, b"\r\n") {
        Some(end) => std::str::from_utf8(&rest[..end]).map(Some).map_err(|_| ChunkError::Form),
        None if window.len() == LINE => Err(ChunkError::Form),
        None => Ok(None),
    }
}

/// Bytes that text is written to.
struct Text<'b>(&'b mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
never_shown!(Chain, Chunks);
