//! The ways in which a server may write the key, and in which a step may read it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::rig::KEY;

/// The key as a server could write it, and what it is called.
pub fn encodings() -> Vec<(String, String)> {
    let mut forms = Vec::new();
    let each = |write: &dyn Fn(u8) -> String| KEY.bytes().map(write).collect::<String>();
    for (name, form) in [
        ("percent, lower", each(&|byte| format!("%{byte:02x}"))),
        ("percent, upper", each(&|byte| format!("%{byte:02X}"))),
        ("percent, punctuation alone", KEY.replace('_', "%5F")),
        ("JSON, lower", each(&|byte| format!("\\u{byte:04x}"))),
        ("JSON, upper", each(&|byte| format!("\\u{byte:04X}"))),
        ("JSON, some", KEY.replace('_', "\\u005f")),
        ("JavaScript", each(&|byte| format!("\\x{byte:02x}"))),
        ("HTML, decimal", each(&|byte| format!("&#{byte};"))),
        ("HTML, hexadecimal", each(&|byte| format!("&#x{byte:x};"))),
        ("HTML, upper", each(&|byte| format!("&#X{byte:X};"))),
        ("hex, lower", each(&|byte| format!("{byte:02x}"))),
        ("hex, upper", each(&|byte| format!("{byte:02X}"))),
        ("hex, mixed", each(&|byte| format!("{:X}{:x}", byte >> 4, byte & 15))),
        ("percent, twice", each(&|byte| format!("%25{byte:02X}"))),
        ("JSON in JSON", each(&|byte| format!("\\\\u{byte:04x}"))),
        ("some of each", format!("{}%5f{}", KEY[..4].replace('c', "\\u0063"), KEY[5..].replace('_', "&#95;"))),
        ("Basic, as password", STANDARD.encode(format!("api:{KEY}"))),
        ("Basic, as user", STANDARD.encode(format!("{KEY}:"))),
    ] {
        forms.push((name.to_owned(), form));
    }
    for (alphabet, engine) in
        [("standard", STANDARD), ("URL", URL_SAFE), ("standard, bare", STANDARD_NO_PAD), ("URL, bare", URL_SAFE_NO_PAD)]
    {
        for before in ["", "?", "??", "???"] {
            for after in ["", ">", ">>"] {
                forms.push((
                    format!("base64 {alphabet} {before}{after}"),
                    engine.encode(format!("{before}{KEY}{after}")),
                ));
            }
        }
    }
    forms
}

/// What a step would look for in what it got, whatever the alphabet and offset.
pub fn reads_the_key(text: &str) -> bool {
    let plain = |bytes: &[u8]| memchr::memmem::find(bytes, KEY.as_bytes()).is_some();
    let percent: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    if plain(text.as_bytes()) || plain(&percent) {
        return true;
    }
    let base64 = text.replace('-', "+").replace('_', "/");
    let tokens = base64.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '+' && letter != '/');
    tokens.into_iter().any(|token| {
        (0..4).any(|skip| {
            let digits = token.get(skip..).unwrap_or_default();
            let digits = &digits[..digits.len() - usize::from(digits.len() % 4 == 1)];
            STANDARD_NO_PAD.decode(digits).is_ok_and(|bytes| plain(&bytes))
        })
    })
}
