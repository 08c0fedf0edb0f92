//! Fills `{field}` and `{field|way}` into text, so that a test says in its event
//! where a placeholder goes and how it is bent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyhole_sdk::prelude::*;

use crate::Input;

/// `text` with each `{field}` replaced by that field of the account linked to `acme`.
/// Braces around anything that is no field's name stay, so JSON can be written as it is.
pub fn fill(input: &Input, text: &str) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let inside = rest.find('}').map(|close| &rest[1..close]);
        match inside.filter(|inside| inside.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_' | b'|' | b'-'))) {
            Some(inside) if !inside.is_empty() => {
                let (field, way) = inside.split_once('|').unwrap_or((inside, "plain"));
                let account = input.acme.as_ref().ok_or("the template needs the account acme linked")?;
                filled.push_str(&bend(&account.auth(field)?, way)?);
                rest = &rest[inside.len() + 2..];
            }
            _ => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn bend(value: &str, way: &str) -> Result<String> {
    Ok(match way {
        "plain" => value.to_owned(),
        "base" => STANDARD.encode(value),
        // As the user and as the password of `Authorization: Basic`.
        "basic-user" => STANDARD.encode(format!("{value}:")),
        "basic-password" => STANDARD.encode(format!("api:{value}")),
        "hex" => value.bytes().map(|byte| format!("{byte:02x}")).collect(),
        "percent" => value.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        "unicode" => value.bytes().map(|byte| format!("\\u{:04x}", byte)).collect(),
        "reverse" => value.chars().rev().collect(),
        "upper" => value.to_uppercase(),
        // One that this run was never given, of the right shape.
        "altered" => {
            let last = value.chars().last().ok_or("an empty field")?;
            let other = if last == 'a' { 'b' } else { 'a' };
            format!("{}{other}", &value[..value.len() - last.len_utf8()])
        }
        "half" => value[..value.len() / 2].to_owned(),
        "spaced" => value.chars().flat_map(|letter| [letter, ' ']).collect(),
        other => return Err(Error::input(format!("no way \"{other}\" to bend a placeholder"))),
    })
}
