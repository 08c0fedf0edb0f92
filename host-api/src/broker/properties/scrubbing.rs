//! Of what a server answers no listed decoding holds a secret once it is scrubbed; all else is there byte for byte; and
//! nothing of this depends on how the answer came in chunks.

use std::sync::Arc;

use bytes::Bytes;

use super::super::scrub::{MIN_SECRET, Scrub, Scrubber};
use super::source::Source;
use super::writings::{BASE64, hex, justifies, reveals, shown, text_forms};
use crate::vault::Secret;

/// What is put for a secret. It ends with what no secret has in it, so that it makes none with its neighbours.
fn stand_in(number: usize) -> String {
    format!("Zkhp1AbCdEfGhIjKlMnOpQrStUvWxY012345{number}Z")
}

/// What one line of an answer must come out as.
enum Expected {
    /// As it was, unless it can be read as a secret: then without it.
    Whatever,
    /// As one of these.
    Written(Vec<String>),
    /// As base64 of the first, a stand-in, up to two dots, and the last.
    Base64(&'static base64::engine::GeneralPurpose, String, String),
}

/// Puts secrets into an answer in every way that a service may write them, whole, cut and among other things, and looks
/// at what comes out.
pub fn scrubbing(data: &[u8]) {
    let mut source = Source::new(data);
    let secrets: Vec<String> = (0..=source.upto(2)).filter_map(|_| secret(&mut source)).collect();
    if secrets.is_empty() {
        return;
    }
    let pairs = secrets.iter().enumerate().map(|(number, text)| (Secret::new(text.clone()), stand_in(number)));
    let scrubber = Arc::new(Scrubber::new(pairs.collect()));
    let mut lines = Vec::new();
    while lines.is_empty() || (!source.is_empty() && lines.len() < 8) {
        lines.push(line(&mut source, &secrets));
    }
    let input = lines.iter().map(|(line, _)| &line[..]).collect::<Vec<_>>().join(&b'\n');

    let output = in_chunks(&scrubber, &[&input]);
    let cut = source.cut(&input);
    assert_eq!(shown(&in_chunks(&scrubber, &cut)), shown(&output), "{secrets:?}: {cut:?} is another than the whole");
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(shown(&in_chunks(&scrubber, &single)), shown(&output), "{secrets:?}: byte by byte, {}", shown(&input));
    let once = scrubber.scrub(&input);
    assert_eq!(once.as_deref().unwrap_or(&input), output, "{secrets:?}: {}", shown(&input));
    assert_eq!(once.is_some(), output != input, "{secrets:?}: {}", shown(&input));

    // Neither a secret nor what is put for it has a line's end in it, so lines go in and come out one by one.
    let out: Vec<&[u8]> = output.split(|byte| *byte == b'\n').collect();
    assert_eq!(out.len(), lines.len(), "{secrets:?}: {} to {}", shown(&input), shown(&output));
    for ((line, expected), out) in lines.iter().zip(out) {
        let says = || format!("{secrets:?}: {} to {}", shown(line), shown(out));
        for secret in &secrets {
            assert_eq!(reveals(out, secret), None, "{}", says());
        }
        match expected {
            Expected::Whatever => {
                let justified = || secrets.iter().any(|secret| justifies(line, secret));
                assert!(out == line || justified(), "{}", says());
            }
            Expected::Written(all) => assert!(all.iter().any(|one| one.as_bytes() == out), "{}", says()),
            Expected::Base64(engine, before, after) => {
                use base64::Engine as _;
                let decoded = engine.decode(out).unwrap_or_else(|error| panic!("{error}: {}", says()));
                let decoded = shown(&decoded);
                let replaced = decoded.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after));
                let stood = |put: &str, number| put.strip_prefix(&*stand_in(number)).map(|dots| dots.len());
                let fits = |put: &str| (0..secrets.len()).any(|number| stood(put, number).is_some_and(|dots| dots < 3));
                assert!(replaced.is_some_and(fits), "{decoded}: {}", says());
            }
        }
    }
}

fn in_chunks(scrubber: &Arc<Scrubber>, chunks: &[&[u8]]) -> Vec<u8> {
    let mut scrub = Scrub::new(scrubber.clone());
    let mut output = Vec::new();
    for chunk in chunks {
        let mut chunk = Bytes::copy_from_slice(chunk);
        loop {
            output.extend_from_slice(&scrub.push(&mut chunk).expect("short inputs can be searched"));
            if chunk.is_empty() {
                break;
            }
        }
    }
    output.extend_from_slice(&scrub.finish().expect("short inputs can be searched"));
    output
}

fn secret(source: &mut Source<'_>) -> Option<String> {
    let text = match source.upto(3) {
        // Of few letters, so that it overlaps itself and others in every way.
        0 => (0..8 + source.upto(6)).map(|_| *source.one_of(&['a', 'b', '%', '\\', '+'])).collect(),
        1 => "x7".repeat(8) + &source.text(4),
        _ => source.text(16),
    };
    // Text as a field of an account has it: without line ends.
    let text: String = text.chars().filter(|c| *c != '\n' && *c != '\r').collect::<String>().replace('Z', "z");
    let apart = (0..3).all(|number| reveals(stand_in(number).as_bytes(), &text).is_none());
    (text.len() >= MIN_SECRET && apart).then_some(text)
}

fn line(source: &mut Source<'_>, secrets: &[String]) -> (Vec<u8>, Expected) {
    let (line, expected) = match source.upto(5) {
        0 => (source.bytes(200).to_vec(), Expected::Whatever),
        1 => {
            // Long enough for the searches that look at few bytes only.
            let some = source.text(8);
            let mut many = some.repeat(600 / some.len().max(1));
            let mut at = source.upto(many.len());
            while !many.is_char_boundary(at) {
                at -= 1;
            }
            many.insert_str(at, &written(source, secrets));
            (many.into_bytes(), Expected::Whatever)
        }
        2 => {
            // All of a secret's writing but a part.
            let mut form = written(source, secrets).into_bytes();
            let from = source.upto(form.len());
            form.drain(from..(from + 1 + source.upto(3)).min(form.len()));
            (form, Expected::Whatever)
        }
        3 => {
            let pieces = (0..=source.upto(4)).map(|_| match source.flag() {
                true => source.text(3),
                false => written(source, secrets),
            });
            (pieces.collect::<String>().into_bytes(), Expected::Whatever)
        }
        _ => return exactly(source, secrets),
    };
    (line.into_iter().filter(|byte| *byte != b'\n').collect(), expected)
}

/// A secret in any of its writings.
fn written(source: &mut Source<'_>, secrets: &[String]) -> String {
    let secret = source.one_of(secrets).clone();
    match source.upto(3) {
        0 => hex(&secret),
        1 => base64::Engine::encode(*source.one_of(&BASE64), source.text(2) + &secret + &source.text(1)),
        2 => secret.chars().map(|c| source.one_of(&text_forms(&c.to_string())).clone()).collect(),
        _ => source.one_of(&text_forms(&secret)).clone(),
    }
}

/// A secret in a writing of which it is known what must come out, unless the line can be read as another one.
fn exactly(source: &mut Source<'_>, secrets: &[String]) -> (Vec<u8>, Expected) {
    let number = source.upto(secrets.len() - 1);
    let secret = &secrets[number];
    let (line, expected) = match source.upto(3) {
        0 => {
            let lower = hex(secret);
            let line = if source.flag() { lower.to_uppercase() } else { lower };
            let put = hex(&stand_in(number));
            let fits = if line.bytes().any(|byte| byte.is_ascii_uppercase()) { put.to_uppercase() } else { put };
            (line, Expected::Written(vec![fits]))
        }
        1 => {
            let engine = *source.one_of(&BASE64);
            let (before, after) = (source.text(3).replace('\n', ""), source.text(3).replace('\n', ""));
            let line = base64::Engine::encode(engine, format!("{before}{secret}{after}"));
            // What stands beside it may be a part of it, too.
            let alone = reveals(format!("{before}{}", &secret[first_char(secret)..]).as_bytes(), secret).is_none()
                && reveals(&format!("{secret}{after}").as_bytes()[first_char(secret)..], secret).is_none();
            let expected = if alone { Expected::Base64(engine, before, after) } else { Expected::Whatever };
            (line, expected)
        }
        _ => (source.one_of(&text_forms(secret)).clone(), Expected::Written(vec![stand_in(number)])),
    };
    let others = secrets.iter().enumerate().filter(|(other, _)| *other != number);
    let clear = others.into_iter().all(|(_, other)| !justifies(line.as_bytes(), other));
    (line.into_bytes(), if clear { expected } else { Expected::Whatever })
}

fn first_char(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}
