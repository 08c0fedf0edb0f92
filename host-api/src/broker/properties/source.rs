//! Cases made of bytes: a fuzzer's or proptest's. Equal bytes make equal cases, fewer bytes smaller ones, so that
//! both can shrink what they found.

use arbitrary::Unstructured;

/// Text that some encoding, parser or template treats apart.
const AWKWARD: &[&str] = &[
    "%", "%4", "%25", "%2541", "\\", "\\\\", "\\u00", "\\u0041", "\\x", "\"", "'", "&", "&#", "&amp;", "&#65;", "+",
    "/", "=", "==", "-", "_", ".", ":", ";", ",", " ", "\t", "<", ">", "{", "}", "[", "]", "é", "🔑", "\u{8}", "\u{c}",
    "khp1", "khp", "--", "a", "b", "0", "Zz9",
];

/// Where a case comes from. When the bytes have ended it goes on with zeros.
pub(super) struct Source<'b>(Unstructured<'b>);

impl<'b> Source<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Whether there are no more bytes to decide by.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A number from 0 to `most`, `most` included.
    pub fn upto(&mut self, most: usize) -> usize {
        self.0.int_in_range(0..=most).unwrap_or(0)
    }

    pub fn flag(&mut self) -> bool {
        self.upto(1) == 1
    }

    pub fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.upto(all.len() - 1)]
    }

    /// Any bytes, `most` of them at most.
    pub fn bytes(&mut self, most: usize) -> &'b [u8] {
        let length = self.upto(most).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    /// Text, of `most` pieces at most: characters that mean something to somebody, letters, and any characters at all.
    pub fn text(&mut self, most: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.upto(most) {
            match self.upto(7) {
                0..=3 => text.push_str(self.one_of::<&str>(AWKWARD)),
                4..=6 => text.push(char::from(b'a' + self.upto(25) as u8)),
                _ => text.push(self.0.arbitrary().unwrap_or(' ')),
            }
        }
        text
    }

    /// `bytes` in parts.
    pub fn cut<'c>(&mut self, mut bytes: &'c [u8]) -> Vec<&'c [u8]> {
        let mut parts = Vec::new();
        for _ in 0..self.upto(8) {
            let (part, rest) = bytes.split_at(self.upto(bytes.len()));
            parts.push(part);
            bytes = rest;
        }
        parts.push(bytes);
        parts
    }
}
