//! The ways in which a server writes one character of text: percent-encoding, the
//! escapes of JSON and JavaScript, the entities of HTML. A unit is one such escape.
//!
//! Ambiguous input has several readings, and all of them count: the scrub must not depend
//! on a guess which one the reader will take.

/// The most bytes that a unit has: a surrogate pair within JSON within JSON.
pub(super) const MAX_UNIT: usize = 16;

/// Most backslashes before an escaped letter: JSON within JSON.
const MAX_BACKSLASHES: usize = 3;
/// Most digits of a numeric entity, leading zeros included.
const MAX_DIGITS: usize = 8;

/// One reading of an escape.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    bytes: [u8; 4],
    length: u8,
    /// How many bytes of the input it is.
    pub(super) taken: u8,
}

impl Unit {
    /// What it stands for.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn byte(byte: u8, taken: usize) -> Self {
        Self { bytes: [byte, 0, 0, 0], length: 1, taken: taken as u8 }
    }

    fn char(char: char, taken: usize) -> Self {
        let mut bytes = [0; 4];
        let length = char.encode_utf8(&mut bytes).len() as u8;
        Self { bytes, length, taken: taken as u8 }
    }
}

/// All readings of the escape at the beginning of some input.
#[derive(Default)]
pub(super) struct Units {
    list: [Option<Unit>; MAX_DIGITS],
    /// The input ends within what may become an escape: ask again with more.
    pub(super) more: bool,
}

impl Units {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.list.iter().flatten()
    }

    fn add(&mut self, unit: Unit) {
        if let Some(free) = self.list.iter_mut().find(|free| free.is_none()) {
            *free = Some(unit);
        }
    }

    fn more() -> Self {
        Self { more: true, ..Self::default() }
    }
}

/// Whether an escape can begin with `byte`.
pub(super) fn introduces(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&' | b'+')
}

/// What units are made of, base64 and hexadecimal digits, too: every byte of a match is one of these or the secret's own.
pub(super) const MADE_OF: [bool; 256] = {
    let mut made_of = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let is = byte as u8;
        made_of[byte] =
            is.is_ascii_alphanumeric() || matches!(is, b'+' | b'/' | b'-' | b'_' | b'%' | b'\\' | b'&' | b'#' | b';');
        byte += 1;
    }
    made_of
};

/// Tells most escapes that stand for no wanted byte at a glance.
pub(super) struct Glance {
    /// For each byte after `%` in hexadecimal digits, whether it is wanted.
    percent: [bool; 256],
    /// For each byte, after which introducing bytes it can go on an escape that is wanted.
    next: [u8; 256],
}

impl Glance {
    /// Looks for escapes whose first byte is one of `wanted`.
    pub(super) fn new(wanted: &[bool; 256]) -> Self {
        let mut percent = *wanted;
        // The percent sign encoded once more.
        percent[usize::from(b'%')] = true;
        let mut next = [0; 256];
        let mut allow = |byte: u8, introducer: u8| next[usize::from(byte)] |= Self::bit(introducer);
        // These can stand for anything.
        for byte in [b'u', b'x', b'\\'] {
            allow(byte, b'\\');
        }
        allow(b'#', b'&');
        for byte in (0..=255).filter(|byte| wanted[usize::from(*byte)]) {
            match byte {
                b'\n' => allow(b'n', b'\\'),
                b'\r' => allow(b'r', b'\\'),
                b'\t' => allow(b't', b'\\'),
                b'\x08' => allow(b'b', b'\\'),
                b'\x0c' => allow(b'f', b'\\'),
                b' ' => (0..=255).for_each(|any| allow(any, b'+')),
                other if other.is_ascii_punctuation() => allow(other, b'\\'),
                _ => {}
            }
            for (name, _) in NAMED.iter().filter(|(_, named)| *named == byte) {
                allow(name[0], b'&');
            }
        }
        Self { percent, next }
    }

    /// Whether a wanted escape may stand at the beginning of `input`, which goes on after it.
    pub(super) fn may_begin(&self, input: &[u8]) -> bool {
        match *input {
            [b'%', high, low, ..] => {
                let (high, low) = (HEX[usize::from(high)], HEX[usize::from(low)]);
                high | low < 16 && self.percent[usize::from(high << 4 | low)]
            }
            [introducer, next, ..] => self.next[usize::from(next)] & Self::bit(introducer) != 0,
            _ => false,
        }
    }

    /// The first two bytes of every wanted escape, but of those that begin with `+`.
    pub(super) fn pairs(&self) -> impl Iterator<Item = [u8; 2]> {
        let percent = (0..16_u8).filter(|high| (0..16).any(|low| self.percent[usize::from(high << 4 | low)]));
        let digits = percent.flat_map(|high| (0..=255).filter(move |digit| HEX[usize::from(*digit)] == high));
        let others = [b'\\', b'&'].into_iter().flat_map(move |introducer| {
            let follows = move |next: &u8| self.next[usize::from(*next)] & Self::bit(introducer) != 0;
            (0..=255).filter(follows).map(move |next| [introducer, next])
        });
        digits.map(|digit| [b'%', digit]).chain(others)
    }

    const fn bit(introducer: u8) -> u8 {
        match introducer {
            b'\\' => 1,
            b'&' => 2,
            _ => 4,
        }
    }
}

/// The value of a hexadecimal digit; 16 for what is none.
const HEX: [u8; 256] = {
    let mut values = [16; 256];
    let mut byte = 0;
    while byte < 256 {
        if let Some(value) = (byte as u8 as char).to_digit(16) {
            values[byte] = value as u8;
        }
        byte += 1;
    }
    values
};

/// Reads the escape at the beginning of `input`. `end`: nothing follows `input`.
pub(super) fn read(input: &[u8], end: bool) -> Units {
    let mut units = match input.first() {
        Some(b'%') => percent(input),
        Some(b'\\') => backslash(input),
        Some(b'&') => entity(input, end),
        Some(b'+') => {
            let mut units = Units::default();
            units.add(Unit::byte(b' ', 1));
            units
        }
        _ => Units::default(),
    };
    units.more &= !end;
    units
}

/// `count` hexadecimal digits at `at`: their value, or `Err(true)` if the input ends
/// within them.
fn hex(input: &[u8], at: usize, count: usize) -> Result<u32, bool> {
    let mut value = 0;
    for index in at..at + count {
        let digit = char::from(*input.get(index).ok_or(true)?).to_digit(16).ok_or(false)?;
        value = value << 4 | digit;
    }
    Ok(value)
}

/// `%41`, and `%2541`, which is that encoded once more.
fn percent(input: &[u8]) -> Units {
    let mut units = Units::default();
    match hex(input, 1, 2) {
        Err(more) => units.more = more,
        Ok(value) => {
            units.add(Unit::byte(value as u8, 3));
            if value == u32::from(b'%') {
                match hex(input, 3, 2) {
                    Err(more) => units.more = more,
                    Ok(value) => units.add(Unit::byte(value as u8, 5)),
                }
            }
        }
    }
    units
}

/// `\"`, `\/`, `\\`, `\u0041`, `\x41`, also where JSON holds JSON: `\\\"`, `\\u0041`.
fn backslash(input: &[u8]) -> Units {
    let run = input.iter().take(MAX_BACKSLASHES + 1).take_while(|byte| **byte == b'\\').count();
    if run == input.len() && run <= MAX_BACKSLASHES {
        let mut units = Units::more();
        if run >= 2 {
            units.add(Unit::byte(b'\\', 2));
        }
        return units;
    }
    let mut units = Units::default();
    if run >= 2 {
        units.add(Unit::byte(b'\\', 2));
    }
    if run > MAX_BACKSLASHES {
        units.add(Unit::byte(b'\\', 4));
        return units;
    }
    let taken = run + 1;
    match input[run] {
        b'u' => match code_unit(input, run, 0) {
            Err(more) => units.more = more,
            Ok(char) => units.add(Unit::char(char, if char > '\u{ffff}' { 2 * (taken + 4) } else { taken + 4 })),
        },
        b'x' => match hex(input, taken, 2) {
            Err(more) => units.more = more,
            Ok(value) => units.add(Unit::byte(value as u8, taken + 2)),
        },
        b'n' => units.add(Unit::byte(b'\n', taken)),
        b'r' => units.add(Unit::byte(b'\r', taken)),
        b't' => units.add(Unit::byte(b'\t', taken)),
        b'b' => units.add(Unit::byte(b'\x08', taken)),
        b'f' => units.add(Unit::byte(b'\x0c', taken)),
        other if other.is_ascii_punctuation() => units.add(Unit::byte(other, taken)),
        _ => {}
    }
    units
}

/// The character of `\u…` with `run` backslashes, or of two of them that are a surrogate pair.
fn code_unit(input: &[u8], run: usize, at: usize) -> Result<char, bool> {
    let first = hex(input, at + run + 1, 4)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).ok_or(false);
    }
    let second = at + run + 5;
    for index in 0..=run {
        let expected = if index < run { b'\\' } else { b'u' };
        if *input.get(second + index).ok_or(true)? != expected {
            return Err(false);
        }
    }
    let low = hex(input, second + run + 1, 4)?;
    if !(0xdc00..0xe000).contains(&low) {
        return Err(false);
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)).ok_or(false)
}

const NAMED: [(&[u8], u8); 5] = [(b"amp;", b'&'), (b"lt;", b'<'), (b"gt;", b'>'), (b"quot;", b'"'), (b"apos;", b'\'')];

/// `&amp;`, `&#65;`, `&#x41;`. Browsers take a numeric one without its semicolon, too. Of its digits the last ones may
/// belong to what follows: once that is replaced, they are gone, and what is left reads as another character.
fn entity(input: &[u8], end: bool) -> Units {
    let mut units = Units::default();
    let rest = &input[1..];
    if rest.first() != Some(&b'#') {
        for (name, byte) in NAMED {
            if rest.starts_with(name) {
                units.add(Unit::byte(byte, 1 + name.len()));
            } else if name.starts_with(rest) {
                units.more = true;
            }
        }
        return units;
    }
    let (radix, digits) = match rest.get(1) {
        Some(b'x' | b'X') => (16, 2),
        _ => (10, 1),
    };
    let mut value = 0_u32;
    for (at, byte) in rest.iter().enumerate().skip(digits) {
        let Some(digit) = char::from(*byte).to_digit(radix).filter(|_| at - digits < MAX_DIGITS) else {
            return units;
        };
        value = value.saturating_mul(radix).saturating_add(digit);
        if let Some(char) = char::from_u32(value) {
            let closed = rest.get(at + 1) == Some(&b';');
            units.add(Unit::char(char, 2 + at + usize::from(closed)));
        }
    }
    if end { units } else { Units::more() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_a_glance_dismisses_is_no_escape_of_a_wanted_byte(
            input in proptest::collection::vec(proptest::sample::select(b"%\\&+#uxX0123456789abdefABDEF2541;nrtampltgquos/\" \xc3".to_vec()), 2..20),
            wanted in proptest::collection::vec(any::<u8>(), 0..6),
        ) {
            let table: [bool; 256] = std::array::from_fn(|byte| wanted.contains(&(byte as u8)));
            let glance = Glance::new(&table);
            let pairs: Vec<_> = glance.pairs().collect();
            for unit in read(&input, false).iter() {
                let taken = &input[..usize::from(unit.taken)];
                prop_assert!(taken.len() >= unit.bytes().len());
                prop_assert!(taken.iter().all(|byte| MADE_OF[usize::from(*byte)] || unit.bytes().contains(byte)), "{taken:?}");
                let first = unit.bytes()[0];
                if table[usize::from(first)] {
                    prop_assert!(glance.may_begin(&input), "{input:?} is {first}");
                    prop_assert!(input[0] == b'+' || pairs.iter().any(|pair| input.starts_with(pair)), "{input:?} is {first}");
                }
            }
        }
    }
}
