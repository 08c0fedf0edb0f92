//! Bodies that are too long to hold, in parts. Their bytes count up, so that one which is lost, doubled or out of its
//! place is seen.

use std::io::Write as _;

use keyhole_sdk::http::Body;
use keyhole_sdk::prelude::*;

/// Bytes that are written at a time. No buffer on the way is as long, or a multiple of it.
const PIECE: usize = 10_007;

fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// Reads the answer of `from` chunk by chunk, and asks for `seen` when the first is there. Gives the length, that of
/// the longest chunk, and whether every byte was in its place.
pub fn download(key: &str, from: &str, seen: &str) -> Result<Value> {
    let mut answer = http::get(from).bearer_auth(key).send()?.error_for_status()?;
    let (mut length, mut longest, mut in_place) = (0, 0, true);
    while let Some(chunk) = answer.chunk()? {
        if length == 0 {
            http::get(seen).bearer_auth(key).send()?.error_for_status()?;
        }
        in_place &= (length..).zip(&chunk).all(|(at, is)| *is == byte(at));
        length += chunk.len();
        longest = longest.max(chunk.len());
    }
    Ok(json!({ "length": length, "longest": longest, "in_place": in_place }))
}

/// Sends what `from` answers on to `to`, whose answer it gives.
pub fn relay(key: &str, from: &str, to: &str) -> Result<Value> {
    let answer = http::get(from).bearer_auth(key).send()?.error_for_status()?;
    http::put(to).bearer_auth(key).body(Body::from_reader(answer)).send()?.error_for_status()?.json()
}

/// Writes `length` bytes to `to` piece by piece, and waits after the first until `arrived` answers. Gives the answer.
pub fn upload(key: &str, to: &str, arrived: &str, length: usize) -> Result<Value> {
    let mut body = http::put(to).bearer_auth(key).upload()?;
    for begin in (0..length).step_by(PIECE) {
        let piece: Vec<u8> = (begin..length.min(begin + PIECE)).map(byte).collect();
        body.write_all(&piece)?;
        if begin == 0 {
            body.flush()?;
            http::get(arrived).bearer_auth(key).send()?.error_for_status()?;
        }
    }
    body.finish()?.wait()?.error_for_status()?.json()
}
