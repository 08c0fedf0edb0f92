//! Where in the input a pattern may begin, found at a fraction of a cycle a byte.
//!
//! A match begins in one of two ways, and each has its search.
//!
//! * Its first elements, as many as the *window* has, stand unescaped. Then every run of
//!   `window - 3` places within them begins four bytes that only patterns have. So it is
//!   enough to look at four bytes every `window - 3` bytes: a hash of them asks a bitmap
//!   whether any pattern has them anywhere in its window (Wu and Manber, 1994).
//! * An escape stands among them. Then it begins with one of three bytes, for which memchr
//!   looks, or with one of a few pairs of bytes where those three are frequent; what stands
//!   before it and what it stands for tell which patterns may be meant.
//!
//! Neither keeps a secret as it is: hashes and numbers of patterns, which are wiped, and the set of its characters.

use std::ops::Range;
use std::sync::OnceLock;

use zeroize::Zeroize;

use super::pairs::Pairs;
use super::pattern::{Form, Pattern};
use super::units::{self, Glance, MADE_OF, MAX_UNIT, introduces};

/// Longest window. A longer one would look at less of the input, but it does so little already.
const MAX_WINDOW: usize = 64;
const GRAM: usize = 4;
/// Places that are looked at together, see [`Bits::skip`].
const LOOKS: usize = 4;
/// The input is searched in pieces that stay in the processor's cache from one search to the other.
const PIECE: usize = 32 * 1024;
/// After so many escapes in an input that are none of a pattern's, pairs of bytes are looked for.
const FREQUENT: usize = 16;
const NONE: u32 = u32::MAX;

pub(super) struct Index {
    window: usize,
    grams: Chains,
    /// Whether `grams` may have something for a key.
    has_gram: Bits,
    escapes: Chains,
    /// The same for `escapes`.
    has_escape: Bits,
    /// Whether an escape that stands for this byte can be within a window.
    escaped: [bool; 256],
    glance: Glance,
    /// Looks for [`Glance::pairs`]. It is made once an input needs it; not every processor can do it.
    pairs: OnceLock<Option<Pairs>>,
    /// Whether a secret has a space in its window: form encoding writes it as `+`.
    space: bool,
    /// For each byte, where in `beginnings` the patterns are that can begin with it.
    by_first: Vec<u32>,
    /// Patterns and the element that a match would begin with.
    beginnings: Vec<(u32, u8)>,
    /// Whether a match may begin with two bytes, both unescaped.
    has_pair: Bits,
    /// Whether a match can have a byte in it.
    possible: [bool; 256],
    /// No match has fewer bytes: as many as the elements that it must have, since no unit stands for more than it takes.
    shortest: usize,
}

/// A set of keys, told by their hashes: it may take a key for one of its own that is none.
struct Bits {
    words: Vec<u64>,
    /// Of a hash, what says which bit it is.
    mask: u32,
}

impl Bits {
    /// Of `keys` together with `room` for each, at most `most` bits.
    fn new(keys: impl ExactSizeIterator<Item = u32>, room: usize, most: usize) -> Self {
        let bits = (keys.len() * room).clamp(1 << 10, most).next_power_of_two();
        let mut set = Self { words: vec![0; bits / 64], mask: bits as u32 - 1 };
        for key in keys {
            let bit = hash(key) & set.mask;
            set.words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        set
    }

    fn may_have(&self, key: u32) -> bool {
        let bit = hash(key) & self.mask;
        self.words[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// Whether the set may have the four bytes of `input` at `at`.
    fn may_have_gram(&self, input: &[u8], at: usize) -> bool {
        input[at..].first_chunk().is_some_and(|gram| self.may_have(u32::from_le_bytes(*gram)))
    }

    /// From `at` on, in steps and before `end`, the first place where one of the next few looks may find four bytes
    /// of the set. All of the search's time is spent here: alone, it has its values in registers, and written so that
    /// no look asks whether it is within its slice.
    #[inline(never)]
    fn skip(&self, input: &[u8], mut at: usize, step: usize, end: usize) -> usize {
        let words = self.words.as_slice();
        if words.is_empty() || step < GRAM {
            return at;
        }
        let last = words.len() - 1;
        let look = |place: &[u8]| {
            let bit = place.first_chunk().map_or(0, |gram| hash(u32::from_le_bytes(*gram)));
            words[(bit / 64) as usize & last] >> (bit % 64)
        };
        // Some looks at a time, so that the processor waits for their bytes together.
        for group in input.get(at..end).unwrap_or_default().chunks_exact(LOOKS * step) {
            let (first, rest) = group.split_at(step);
            let (second, rest) = rest.split_at(step);
            let (third, fourth) = rest.split_at(step);
            if (look(first) | look(second) | look(third) | look(fourth)) & 1 == 1 {
                break;
            }
            at += group.len();
        }
        at
    }
}

/// Lists of (pattern, element) by the hash of what is seen there.
struct Chains {
    heads: Vec<u32>,
    mask: u32,
    /// Pattern, element, and the next link of the list.
    links: Vec<(u32, u32, u32)>,
}

/// All bits of which depend on all of the key's.
fn hash(key: u32) -> u32 {
    (u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

impl Chains {
    fn new(entries: &[(u32, u32, u32)]) -> Self {
        let buckets = (entries.len() * 2).clamp(16, 1 << 20).next_power_of_two();
        let mut chains = Self { heads: vec![NONE; buckets], mask: buckets as u32 - 1, links: Vec::new() };
        chains.links.reserve_exact(entries.len());
        for (key, pattern, element) in entries {
            let bucket = (hash(*key) & chains.mask) as usize;
            let next = std::mem::replace(&mut chains.heads[bucket], chains.links.len() as u32);
            chains.links.push((*pattern, *element, next));
        }
        chains
    }

    /// Patterns and elements whose key has the hash of `key`.
    fn get(&self, key: u32) -> impl Iterator<Item = (usize, usize)> {
        let mut next = self.heads[(hash(key) & self.mask) as usize];
        std::iter::from_fn(move || {
            let (pattern, element, after) = *self.links.get(next as usize)?;
            next = after;
            Some((pattern as usize, element as usize))
        })
    }
}

/// What an escape's place is known by: the byte before it, if it is not the first of a
/// window, and the first byte that it stands for.
fn escape_key(before: Option<u8>, byte: u8) -> u32 {
    before.map_or(0x100, u32::from) << 8 | u32::from(byte)
}

fn pair_key(byte: u8, next: u8) -> u32 {
    u32::from(byte) << 8 | u32::from(next)
}

impl Index {
    pub(super) fn new(patterns: &[Pattern]) -> Self {
        let whole = |pattern: &Pattern| pattern.enough() - pattern.whole_from();
        let shortest = patterns.iter().map(whole).min().unwrap_or(GRAM);
        let window = shortest.min(MAX_WINDOW);
        let mut grams = Vec::with_capacity(patterns.len() * window * 2);
        let mut escapes = Vec::new();
        let mut escaped = [false; 256];
        let mut space = false;
        let mut firsts = Vec::new();
        let mut pairs = Vec::new();
        for (number, pattern) in patterns.iter().enumerate() {
            let number = number as u32;
            let from = pattern.whole_from();
            for element in from..=from + window - GRAM {
                each_writing(pattern, element, |gram| grams.push((gram, number, (element - from) as u32)));
            }
            for element in (from..from + window).filter(|element| pattern.can_be_escaped(*element)) {
                for byte in pattern.writings(element) {
                    escaped[usize::from(byte)] = true;
                    space |= byte == b' ';
                    if element == from {
                        escapes.push((escape_key(None, byte), number, element as u32));
                        continue;
                    }
                    let before = pattern.writings(element - 1);
                    escapes.extend(before.map(|before| (escape_key(Some(before), byte), number, element as u32)));
                }
            }
            for (element, byte) in pattern.beginnings() {
                firsts.push((byte, number, element as u8));
                pairs.extend(pattern.writings(element + 1).map(|next| pair_key(byte, next)));
            }
        }

        let has_gram = Bits::new(grams.iter().map(|(gram, ..)| *gram), 256, 1 << 21);
        let chained = Chains::new(&grams);
        grams.zeroize();
        let has_pair = Bits::new(pairs.iter().copied(), 16, 1 << 16);
        pairs.zeroize();

        firsts.sort_unstable();
        let mut by_first = vec![0_u32; 257];
        for (byte, ..) in &firsts {
            by_first[usize::from(*byte) + 1] += 1;
        }
        for byte in 0..256 {
            by_first[byte + 1] += by_first[byte];
        }
        let beginnings = firsts.iter().map(|(_, number, element)| (*number, *element)).collect();
        firsts.zeroize();
        let escape_chains = Chains::new(&escapes);
        let has_escape = Bits::new(escapes.iter().map(|(key, ..)| *key), 16, 1 << 16);
        escapes.zeroize();
        let glance = Glance::new(&escaped);
        let mut possible = MADE_OF;
        for pattern in patterns.iter().filter(|pattern| pattern.form == Form::Text) {
            pattern.elements().iter().for_each(|byte| possible[usize::from(*byte)] = true);
        }
        Self {
            window,
            grams: chained,
            has_gram,
            escapes: escape_chains,
            has_escape,
            glance,
            pairs: OnceLock::new(),
            escaped,
            space,
            by_first,
            beginnings,
            has_pair,
            possible,
            shortest,
        }
    }

    /// How many bytes at the end of the input [`Index::candidates`] does not cover: a match
    /// that begins there may not have shown enough of itself.
    pub(super) fn tail(&self) -> usize {
        self.window - 1 + 2 * MAX_UNIT
    }

    /// Calls `found` with each pattern and the place where its first whole element would be,
    /// for every match that begins in `input[from..until]`. At least [`Index::tail`] bytes
    /// must follow `until`. `dismissed` is how many escapes were none of a pattern's.
    pub(super) fn candidates(
        &self,
        input: &[u8],
        from: usize,
        until: usize,
        patterns: &[Pattern],
        dismissed: &mut usize,
        found: &mut impl FnMut(usize, usize),
    ) {
        // The first whole element may come after a shared one that is an escape.
        let until = until + MAX_UNIT;
        let mut piece = from;
        while piece < until {
            let end = (piece + PIECE).min(until);
            self.unescaped(input, piece, end, patterns, found);
            self.with_escape(input, piece, end, patterns, dismissed, found);
            piece = end;
        }
    }

    /// Windows without an escape that begin in `input[from..until]`.
    fn unescaped(
        &self,
        input: &[u8],
        from: usize,
        until: usize,
        patterns: &[Pattern],
        found: &mut impl FnMut(usize, usize),
    ) {
        let reach = self.window - GRAM;
        let step = reach + 1;
        let end = until + reach;
        let mut at = from + reach;
        loop {
            at = self.has_gram.skip(input, at, step, end);
            if at >= end {
                return;
            }
            for at in (0..LOOKS).map(|place| at + place * step).take_while(|at| *at < end) {
                self.with_gram(input, at, until, patterns, found);
            }
            at += LOOKS * step;
        }
    }

    /// Windows without an escape that begin before `until` and have the four bytes at `at` in them.
    #[cold]
    fn with_gram(
        &self,
        input: &[u8],
        at: usize,
        until: usize,
        patterns: &[Pattern],
        found: &mut impl FnMut(usize, usize),
    ) {
        if !self.has_gram.may_have_gram(input, at) {
            return;
        }
        let Some(gram) = input[at..].first_chunk::<GRAM>() else { return };
        for (pattern, offset) in self.grams.get(u32::from_le_bytes(*gram)) {
            let form = &patterns[pattern];
            let element = form.whole_from() + offset;
            let fits = gram.iter().enumerate().all(|(place, byte)| form.is(element + place, *byte));
            // A window of the next piece is found there.
            if fits && at - offset < until {
                found(pattern, at - offset);
            }
        }
    }

    /// Windows with an escape that begin in `input[from..until]`.
    fn with_escape(
        &self,
        input: &[u8],
        from: usize,
        until: usize,
        patterns: &[Pattern],
        dismissed: &mut usize,
        found: &mut impl FnMut(usize, usize),
    ) {
        // An escape that belongs to a window of the next piece is found there.
        let end = until + self.window - 1;
        let mut see = |at: usize| {
            if !self.glance.may_begin(&input[at..]) || !self.may_stand(input, at) {
                return false;
            }
            for unit in units::read(&input[at..], false).iter() {
                let Some(byte) = unit.bytes().first().copied().filter(|byte| self.escaped[usize::from(*byte)]) else {
                    continue;
                };
                let before = at.checked_sub(1).map(|before| input[before]);
                let after_another = before.map(|before| self.escapes.get(escape_key(Some(before), byte)));
                for (pattern, element) in
                    self.escapes.get(escape_key(None, byte)).chain(after_another.into_iter().flatten())
                {
                    let form = &patterns[pattern];
                    let whole = element - form.whole_from();
                    let Some(start) = at.checked_sub(whole) else { continue };
                    let raw = &input[start..at];
                    let fits = raw.iter().enumerate().all(|(offset, byte)| form.is(form.whole_from() + offset, *byte));
                    if fits && start >= from && start < until && form.are(element, unit) {
                        found(pattern, start);
                    }
                }
            }
            true
        };
        let mut rest = from;
        while let Some(at) = self.introducer(input, rest, end, *dismissed >= FREQUENT) {
            *dismissed += usize::from(!see(at));
            rest = at + 1;
        }
        if self.space {
            memchr::memchr_iter(b'+', &input[from..end]).for_each(|at| _ = see(from + at));
        }
    }

    /// The first place in `input[from..end]` where an escape may begin, `+` aside. By pairs of bytes it is found more
    /// slowly, but fewer are found that are none of a pattern's.
    fn introducer(&self, input: &[u8], from: usize, end: usize, by_pairs: bool) -> Option<usize> {
        let pairs = || Pairs::new(&self.glance.pairs().collect::<Vec<_>>());
        if by_pairs && let Some(pairs) = self.pairs.get_or_init(pairs) {
            return pairs.find(input, from, end);
        }
        memchr::memchr3(b'%', b'\\', b'&', &input[from..end]).map(|at| from + at)
    }

    /// Whether an escape of one character of punctuation, such as `\\/`, is where one may be. Of
    /// other escapes it is not known before they are read.
    fn may_stand(&self, input: &[u8], at: usize) -> bool {
        let [b'\\', byte, ..] = input[at..] else { return true };
        if byte == b'\\' || !byte.is_ascii_punctuation() {
            return true;
        }
        let may_be = |before| self.has_escape.may_have(escape_key(before, byte));
        may_be(None) || at > 0 && may_be(Some(input[at - 1]))
    }

    /// Where in `input[from..]` a match can begin, or the beginning of one: where bytes that a match can have go on for
    /// as long as the shortest, or up to the end.
    pub(super) fn stretches<'i>(&'i self, input: &'i [u8], from: usize) -> impl Iterator<Item = Range<usize>> + 'i {
        let mut rest = from;
        std::iter::from_fn(move || {
            let start = rest + input[rest..].iter().position(|byte| self.possible[usize::from(*byte)])?;
            let length = input[start..].iter().position(|byte| !self.possible[usize::from(*byte)]);
            rest = length.map_or(input.len(), |length| start + length);
            Some(start..rest)
        })
        .filter(|stretch| stretch.len() >= self.shortest || stretch.end == input.len())
    }

    /// Whether a match may begin with `byte`, which begins no escape, before `next`.
    pub(super) fn may_begin(&self, byte: u8, next: u8) -> bool {
        introduces(next) || self.has_pair.may_have(pair_key(byte, next))
    }

    /// The patterns that can begin with `byte`, and with which element.
    pub(super) fn beginning_with(&self, byte: u8) -> impl Iterator<Item = (usize, usize)> {
        let byte = usize::from(byte);
        let range = self.by_first[byte] as usize..self.by_first[byte + 1] as usize;
        self.beginnings[range].iter().map(|(pattern, element)| (*pattern as usize, usize::from(*element)))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.has_gram.words.zeroize();
        self.grams.heads.zeroize();
        self.has_escape.words.zeroize();
        self.escapes.heads.zeroize();
        self.has_pair.words.zeroize();
        self.by_first.zeroize();
        self.beginnings.zeroize();
    }
}

/// Every way in which the four elements from `element` on can be written, unescaped.
fn each_writing(pattern: &Pattern, element: usize, mut each: impl FnMut(u32)) {
    let both: [[u8; 2]; GRAM] = std::array::from_fn(|offset| {
        let mut writings = pattern.writings(element + offset);
        let one = writings.next().unwrap_or_default();
        [one, writings.next().unwrap_or(one)]
    });
    let differing = (0..GRAM).fold(0_u8, |mask, offset| mask | u8::from(both[offset][0] != both[offset][1]) << offset);
    let mut write = |choice: u8| {
        each(u32::from_le_bytes(std::array::from_fn(|offset| both[offset][usize::from(choice >> offset & 1)])));
    };
    match pattern.form {
        Form::Hex => (0..16).filter(|choice| choice & !differing == 0).for_each(write),
        // Nobody mixes base64's alphabets.
        Form::Base64 if differing != 0 => [0, 15].into_iter().for_each(write),
        _ => write(0),
    }
}
