//! What one secret looks like in one encoding, element by element, and the thread that
//! follows it through the input.

use zeroize::Zeroizing;

use super::units::{self, Unit};

/// How a secret is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is, each character perhaps escaped.
    Text,
    /// In base64. The elements are 6-bit values.
    Base64,
    /// In hexadecimal digits of either case. The elements are lower-case digits.
    Hex,
}

/// One secret in one encoding.
pub(super) struct Pattern {
    /// Which secret.
    pub(super) secret: usize,
    pub(super) form: Form,
    elements: Zeroizing<Vec<u8>>,
    /// Base64: the bits of the first and the last element that belong to the secret; the
    /// others belong to its neighbours. All ones elsewhere.
    pub(super) first_mask: u8,
    pub(super) last_mask: u8,
}

const WHOLE: u8 = 0x3f;

/// The 6-bit value of a base64 digit of either alphabet (RFC 4648, sections 4 and 5).
pub(super) fn base64_value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// The digit of a 6-bit value in the standard alphabet, or in the URL-safe one.
pub(super) fn base64_digit(value: u8, url_safe: bool) -> u8 {
    match (value, url_safe) {
        (0..=25, _) => b'A' + value,
        (26..=51, _) => b'a' + value - 26,
        (52..=61, _) => b'0' + value - 52,
        (62, false) => b'+',
        (62, true) => b'-',
        (_, false) => b'/',
        (_, true) => b'_',
    }
}

impl Pattern {
    /// `secret` as it is.
    pub(super) fn text(secret: usize, bytes: &[u8]) -> Self {
        Self::new(secret, Form::Text, bytes.to_vec())
    }

    /// `secret` in hexadecimal digits.
    pub(super) fn hex(secret: usize, bytes: &[u8]) -> Self {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        Self::new(secret, Form::Hex, bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    /// `secret` in base64, `offset` bytes after the beginning of a group of three.
    pub(super) fn base64(secret: usize, bytes: &[u8], offset: usize) -> Self {
        let before = offset * 8 % 6;
        let bits = before + bytes.len() * 8;
        let after = (6 - bits % 6) % 6;
        let mut elements = Vec::with_capacity(bits.div_ceil(6));
        let mut held = 0_u32;
        let mut count = before;
        for byte in bytes {
            held = held << 8 | u32::from(*byte);
            count += 8;
            while count >= 6 {
                count -= 6;
                elements.push((held >> count) as u8 & WHOLE);
            }
        }
        if count > 0 {
            elements.push((held << (6 - count)) as u8 & WHOLE);
        }
        let first_mask = WHOLE >> before;
        let last_mask = WHOLE << after & WHOLE;
        Self { first_mask, last_mask, ..Self::new(secret, Form::Base64, elements) }
    }

    fn new(secret: usize, form: Form, elements: Vec<u8>) -> Self {
        Self { secret, form, elements: Zeroizing::new(elements), first_mask: WHOLE, last_mask: WHOLE }
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    pub(super) fn elements(&self) -> &[u8] {
        &self.elements
    }

    /// The first element that the secret alone decides.
    pub(super) fn whole_from(&self) -> usize {
        usize::from(self.first_mask != WHOLE)
    }

    /// How many elements make a match. A last one that a neighbour shares may be missing.
    pub(super) fn enough(&self) -> usize {
        self.len() - usize::from(self.last_mask != WHOLE)
    }

    /// Whether `byte` is the element at `index`.
    pub(super) fn is(&self, index: usize, byte: u8) -> bool {
        let Some(element) = self.elements.get(index) else { return false };
        match self.form {
            Form::Text => *element == byte,
            Form::Hex => *element == byte.to_ascii_lowercase(),
            Form::Base64 => base64_value(byte).is_some_and(|value| {
                let mask = match index {
                    0 => self.first_mask,
                    last if last + 1 == self.len() => self.last_mask,
                    _ => WHOLE,
                };
                (value ^ element) & mask == 0
            }),
        }
    }

    /// Whether what `unit` stands for is the elements from `index` on. Of base64, nobody
    /// escapes letters and digits.
    pub(super) fn are(&self, index: usize, unit: &Unit) -> bool {
        let escaped = |byte: u8| self.form == Form::Text || !byte.is_ascii_alphanumeric();
        unit.bytes().iter().enumerate().all(|(offset, byte)| escaped(*byte) && self.is(index + offset, *byte))
    }

    /// Every element that a match can begin with, and the bytes that can stand for it.
    pub(super) fn beginnings(&self) -> impl Iterator<Item = (usize, u8)> {
        let shared = (self.whole_from() == 1).then(|| {
            let fits = |value: &u8| (value ^ self.elements[0]) & self.first_mask == 0;
            (0..64).filter(fits).flat_map(|value| [base64_digit(value, false), base64_digit(value, true)])
        });
        let mut last = None;
        let shared = shared.into_iter().flatten().filter(move |digit| last.replace(*digit) != Some(*digit));
        let whole = self.whole_from();
        shared.map(|digit| (0, digit)).chain(self.writings(whole).map(move |byte| (whole, byte)))
    }

    /// Whether the element at `index` can be written as an escape.
    pub(super) fn can_be_escaped(&self, index: usize) -> bool {
        match self.form {
            Form::Text => true,
            Form::Base64 => self.elements[index] >= 62,
            Form::Hex => false,
        }
    }

    /// The bytes that can stand for the element at `index`, unescaped.
    pub(super) fn writings(&self, index: usize) -> impl Iterator<Item = u8> + use<> {
        let element = self.elements[index];
        let (one, other) = match self.form {
            Form::Text => (element, element),
            Form::Hex => (element, element.to_ascii_uppercase()),
            Form::Base64 => (base64_digit(element, false), base64_digit(element, true)),
        };
        std::iter::once(one).chain((one != other).then_some(other))
    }

    /// Whether an escape can begin with `byte` in this form. In base64, `+` is a digit.
    pub(super) fn escapes_with(&self, byte: u8) -> bool {
        match self.form {
            Form::Text => units::introduces(byte),
            Form::Base64 => byte != b'+' && units::introduces(byte),
            Form::Hex => false,
        }
    }
}

/// One attempt at finding a pattern that begins at one place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) pattern: usize,
    pub(super) start: usize,
    /// The input up to here is read,
    at: usize,
    /// and so are this many elements.
    index: usize,
    /// Where the shortest match that is found already ends.
    matched: Option<usize>,
    /// The first and the last element as they were read.
    pub(super) first: u8,
    pub(super) last: u8,
    pub(super) from: usize,
}

/// What became of a thread.
pub(super) enum Outcome {
    /// The input ended first.
    Pending,
    /// It ended; there was a match up to here.
    Matched(usize),
    /// There was none.
    Dead,
}

impl Thread {
    /// Begins at `start` of the input with the element `from`.
    pub(super) fn new(pattern: usize, start: usize, from: usize) -> Self {
        Self { pattern, start, at: start, index: from, matched: None, first: 0, last: 0, from }
    }

    /// The same in an input without its first `gone` bytes, which are before its start.
    pub(super) fn moved(self, gone: usize) -> Self {
        Self {
            start: self.start - gone,
            at: self.at - gone,
            matched: self.matched.map(|matched| matched - gone),
            ..self
        }
    }

    /// How many elements were matched.
    pub(super) fn elements(&self) -> usize {
        self.index
    }

    /// Reads on. Where the input has several readings, the others go to `forks`.
    pub(super) fn advance(
        &mut self,
        pattern: &Pattern,
        input: &[u8],
        end: bool,
        forks: &mut Vec<Thread>,
        work: &mut u64,
    ) -> Outcome {
        loop {
            *work += 1;
            if self.index >= pattern.enough() {
                self.matched = Some(self.at);
            }
            if self.index == pattern.len() {
                break;
            }
            let Some(byte) = input.get(self.at).copied() else {
                if end {
                    break;
                }
                return Outcome::Pending;
            };
            let raw = pattern.is(self.index, byte);
            if !pattern.escapes_with(byte) {
                if !raw {
                    break;
                }
                self.take(byte, 1, 1);
                continue;
            }
            let units = units::read(&input[self.at..], end);
            if units.more {
                return Outcome::Pending;
            }
            let before = *self;
            let mut taken = false;
            let mut read = |last: u8, bytes: usize, elements: usize| {
                let mut next = before;
                next.take(last, bytes, elements);
                if std::mem::replace(&mut taken, true) { forks.push(next) } else { *self = next }
            };
            if raw {
                read(byte, 1, 1);
            }
            for unit in units.iter().filter(|unit| pattern.are(before.index, unit)) {
                read(unit.bytes()[0], usize::from(unit.taken), unit.bytes().len());
            }
            if !taken {
                break;
            }
        }
        self.matched.map_or(Outcome::Dead, Outcome::Matched)
    }

    fn take(&mut self, last: u8, bytes: usize, elements: usize) {
        if self.index == self.from {
            self.first = last;
        }
        self.last = last;
        self.at += bytes;
        self.index += elements;
    }
}
