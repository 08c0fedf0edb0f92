//! How services write a credential, and how a reader gets it back: both written without the scrubber's own
//! encoders and decoders, by libraries where there are some.

use std::collections::HashSet;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD,
};
use base64::{Engine as _, alphabet};
use percent_encoding::percent_decode;

pub(in crate::broker) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(in crate::broker) fn percent(text: &str, every: bool, upper: bool) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' if !every => char::from(byte).to_string(),
        _ if upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}

pub(in crate::broker) fn json_unicode(text: &str, upper: bool) -> String {
    let escape = |unit: u16| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
    text.encode_utf16().map(escape).collect()
}

pub(in crate::broker) fn entities(text: &str, hex: bool) -> String {
    text.chars().map(|c| if hex { format!("&#x{:x};", u32::from(c)) } else { format!("&#{};", u32::from(c)) }).collect()
}

pub(in crate::broker) fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The four ways in which base64 is written.
pub(in crate::broker) const BASE64: [&GeneralPurpose; 4] = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];

/// All the ways in which a service writes `secret` into text.
pub(in crate::broker) fn text_forms(secret: &str) -> Vec<String> {
    let json = serde_json::Value::from(secret).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let twice = serde_json::Value::from(&*json).to_string();
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    vec![
        secret.to_owned(),
        percent(secret, false, true),
        percent(secret, false, false),
        percent(secret, true, true),
        percent(secret, true, false),
        percent(&percent(secret, false, true), false, true),
        percent(secret, false, true).replace("%20", "+"),
        json.replace('/', "\\/"),
        twice[1..twice.len() - 1].to_owned(),
        json,
        json_unicode(secret, true),
        json_unicode(secret, false),
        json_unicode(secret, false).replace('\\', "\\\\"),
        html.replace('"', "&quot;").replace('\'', "&apos;"),
        html.replace('"', "&#34;").replace('\'', "&#39;"),
        html.replace('"', "&#x22;").replace('\'', "&#x27;"),
        entities(secret, true),
        entities(secret, false),
        entities(secret, true).to_uppercase().replace("&#X", "&#x"),
        entities(secret, false).replace(';', ""),
    ]
}

/// A reading of `output` in which `secret` shows.
pub(in crate::broker) fn reveals(output: &[u8], secret: &str) -> Option<&'static str> {
    let bytes = secret.as_bytes();
    let holds = |bytes_of: &[u8]| memchr::memmem::find(bytes_of, bytes).is_some();
    if holds(output) {
        return Some("as it is");
    }
    if holds(&percent_decode(output).collect::<Vec<u8>>()) {
        return Some("percent-decoded");
    }
    let spaced: Vec<u8> = output.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    if holds(&percent_decode(&spaced).collect::<Vec<u8>>()) {
        return Some("form-decoded");
    }
    if let Ok(text) = std::str::from_utf8(output)
        && let Ok(unescaped) = serde_json::from_str::<String>(&format!("\"{text}\""))
        && holds(unescaped.as_bytes())
    {
        return Some("as a JSON string");
    }
    if memchr::memmem::find(&output.to_ascii_lowercase(), hex(secret).as_bytes()).is_some() {
        return Some("as hexadecimal digits");
    }
    if in_base64(output, bytes) {
        return Some("as base64");
    }
    reads(output, bytes).then_some("escaped in some mixture")
}

/// Whether a token of base64 in `output`, its special digits perhaps escaped, has `bytes` within.
fn in_base64(output: &[u8], bytes: &[u8]) -> bool {
    for (from, to) in
        [("\\/", "/"), ("%2B", "+"), ("%2F", "/"), ("\\u002b", "+"), ("\\u002f", "/"), ("&#43;", "+"), ("&#x2F;", "/")]
    {
        let text = shown(output).replace(from, to);
        for token in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/-_".contains(c))) {
            // It may have lost its first digits, so that it begins anywhere in a group of four.
            for lost in ["", "A", "AA", "AAA"] {
                if base64_lenient(format!("{lost}{token}").as_bytes())
                    .is_some_and(|decoded| memchr::memmem::find(&decoded, bytes).is_some())
                {
                    return true;
                }
            }
        }
    }
    false
}

/// Whether `secret` can be read in `line`, or all of it but the bits that base64 has in a digit together with what
/// stands beside it: a server may have left that digit out.
pub(super) fn justifies(line: &[u8], secret: &str) -> bool {
    let bytes = secret.as_bytes();
    let inner = [&bytes[1..], &bytes[..bytes.len() - 1], &bytes[1..bytes.len() - 1]];
    reveals(line, secret).is_some() || inner.iter().any(|bytes| in_base64(line, bytes))
}

/// Base64 as the most lenient of readers have it: of either alphabet or both, without padding, and with whatever bits
/// at the end.
pub(super) fn base64_lenient(token: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let digit = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    // A group of one digit has no byte in it.
    let usable = if token.len() % 4 == 1 { token.len() - 1 } else { token.len() };
    LENIENT.decode(token[..usable].iter().map(digit).collect::<Vec<u8>>()).ok()
}

/// Whether there is a way to read `secret` in `text`, each of its characters written as it is or in any one escape.
/// Tries every way at every place.
fn reads(text: &[u8], secret: &[u8]) -> bool {
    let mut dead = HashSet::new();
    (0..text.len()).any(|start| reads_from(text, start, secret, 0, &mut dead))
}

/// The same from `at` on, with `read` bytes of the secret read before. `dead` holds what led nowhere.
fn reads_from(text: &[u8], at: usize, secret: &[u8], read: usize, dead: &mut HashSet<(usize, usize)>) -> bool {
    if read == secret.len() {
        return true;
    }
    if at == text.len() || dead.contains(&(at, read)) {
        return false;
    }
    let goes_on = (text[at] == secret[read] && reads_from(text, at + 1, secret, read + 1, dead))
        || escapes(&text[at..]).into_iter().any(|(decoded, taken)| {
            secret[read..].starts_with(&decoded) && reads_from(text, at + taken, secret, read + decoded.len(), dead)
        });
    if !goes_on {
        dead.insert((at, read));
    }
    goes_on
}

/// Every one character that a reader may take the beginning of `text` for, and how many bytes it has there.
fn escapes(text: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let mut found = Vec::new();
    match text[0] {
        b'+' => found.push((vec![b' '], 1)),
        b'%' => {
            for taken in [3, 5].into_iter().filter(|taken| *taken <= text.len()) {
                let once: Vec<u8> = percent_decode(&text[..taken]).collect();
                let twice: Vec<u8> = percent_decode(&once).collect();
                found.extend([once, twice].into_iter().filter(|one| one.len() == 1).map(|one| (one, taken)));
            }
        }
        b'\\' => {
            // A surrogate pair in JSON in JSON has 16 bytes.
            for taken in 2..=text.len().min(16) {
                let Ok(literal) = std::str::from_utf8(&text[..taken]) else { continue };
                let Some(once) = json_string(literal) else { continue };
                // JSON in JSON has its backslashes doubled. That one of them is itself written as a number is nobody's way.
                let doubled = !literal.replace("\\\\", "").contains("\\u");
                let twice = if doubled { json_string(&once) } else { None };
                let read = [Some(once), twice].into_iter().flatten().filter(|read| read.chars().count() == 1);
                found.extend(read.map(|read| (read.into_bytes(), taken)));
            }
            found.extend(script_escape(text));
        }
        b'&' => found.extend(entities_at(text)),
        _ => {}
    }
    found
}

fn json_string(literal: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{literal}\"")).ok()
}

/// What JavaScript has beyond JSON (ECMA-262, section 12.9.4): `\x41`, and a backslash before what needs none; also
/// within JSON.
fn script_escape(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let run = text.iter().take_while(|byte| **byte == b'\\').count();
    let rest = &text[run..];
    match rest {
        _ if run > 3 => None,
        [b'x', high, low, ..] => {
            let digits = [*high, *low];
            let value = std::str::from_utf8(&digits).ok().filter(|digits| !digits.starts_with('+'))?;
            Some((vec![u8::from_str_radix(value, 16).ok()?], run + 3))
        }
        [mark, ..] if mark.is_ascii_punctuation() => Some((vec![*mark], run + 1)),
        _ => None,
    }
}

/// Every entity of HTML that `text` may begin with. A numeric one may go without its semicolon, and then the digits at
/// its end may be another's.
fn entities_at(text: &[u8]) -> Vec<(Vec<u8>, usize)> {
    for (name, byte) in [("&amp;", b'&'), ("&lt;", b'<'), ("&gt;", b'>'), ("&quot;", b'"'), ("&apos;", b'\'')] {
        if text.starts_with(name.as_bytes()) {
            return vec![(vec![byte], name.len())];
        }
    }
    let (radix, prefix) = match text {
        [b'&', b'#', b'x' | b'X', ..] => (16, 3),
        [b'&', b'#', ..] => (10, 2),
        _ => return Vec::new(),
    };
    let digits = text[prefix..].iter().take_while(|byte| char::from(**byte).is_digit(radix)).count();
    // More leading zeros than that nobody writes.
    let read = |end: usize| {
        let value = u32::from_str_radix(std::str::from_utf8(&text[prefix..end]).ok()?, radix).ok()?;
        let taken = if text.get(end) == Some(&b';') { end + 1 } else { end };
        Some((char::from_u32(value)?.to_string().into_bytes(), taken))
    };
    (1..=digits.min(8)).filter_map(|count| read(prefix + count)).collect()
}
