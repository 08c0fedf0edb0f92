//! What a server may read in the bytes that it is sent. A placeholder that shows in any of
//! these readings counts; what shows in none leaves as the worthless string that it is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode;

use super::super::placeholder::{MARKER, MIN_RANDOM};

/// The ways in which a server may read these bytes: as they are, percent-decoded once and
/// twice, JSON-unescaped, and each base64 token in them decoded.
pub(super) fn readings(bytes: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut readings = vec![Cow::Borrowed(bytes)];
    if bytes.contains(&b'%') {
        let once: Vec<u8> = percent_decode(bytes).collect();
        if once.contains(&b'%') {
            readings.push(Cow::Owned(percent_decode(&once).collect()));
        }
        readings.push(Cow::Owned(once));
    }
    if memchr::memmem::find(bytes, b"\\u").is_some() {
        readings.push(Cow::Owned(json_unescape(bytes)));
    }
    // No shorter token can hold a placeholder.
    let shortest = (MARKER.len() + MIN_RANDOM) * 4 / 3;
    for token in bytes.split(|byte| !is_base64(*byte)).filter(|token| token.len() >= shortest) {
        let token = standard(token);
        // A token may begin in the middle of a group of four.
        for skip in 0..4 {
            readings.extend(token.get(skip..).and_then(decode).map(Cow::Owned));
        }
    }
    readings
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Either alphabet or both, with or without padding.
pub(super) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    decode(&standard(text))
}

/// The standard alphabet's characters in place of the URL-safe ones: some decoders take both in one text.
fn standard(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    text.iter().map(digit).collect()
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const TEXT: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    // A group of one character carries no byte.
    let unpadded = text.len() - text.iter().rev().take_while(|byte| **byte == b'=').count();
    TEXT.decode(if unpadded % 4 == 1 { &text[..unpadded - 1] } else { text }).ok()
}

/// `\uXXXX` of ASCII characters decoded; everything else as it is. A placeholder is ASCII.
fn json_unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = rest
            .strip_prefix(b"\\u")
            .and_then(|hex| std::str::from_utf8(hex.get(..4)?).ok())
            .and_then(|hex| u8::try_from(u16::from_str_radix(hex, 16).ok()?).ok());
        match escaped {
            Some(byte) => {
                plain.push(byte);
                rest = &rest[6..];
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}
