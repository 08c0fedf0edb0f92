//! What a page may hold. What members, steps and services write may be as long as they like, and a page may not: each
//! piece of it is counted as it stands in the page, so that quotes and empty lines are not free, and what has no room
//! is left out, and said to be.

use std::borrow::Cow;
use std::io::Write;

use maud::{Markup, html};

/// Bytes of one value, log or list of requests.
pub(super) const PIECE: usize = 12_000;
/// What stands around such a piece at most: its heading, its frame, and that there is more.
const AROUND: usize = 1_200;

/// Bytes that are left of what a page may have, as HTML.
pub(super) struct Room(usize);

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// What `fill` makes of the room, or nothing if there is none left that would be worth it.
    pub(super) fn part(&mut self, fill: impl FnOnce(&mut Self) -> Markup) -> Option<Markup> {
        let before = self.0;
        self.0 = before.checked_sub(AROUND).filter(|left| *left > 0)?;
        let part = fill(self);
        self.0 = before.saturating_sub(part.0.len());
        Some(part)
    }

    /// Whether there is room for this, which is taken then.
    pub(super) fn holds(&mut self, part: &Markup) -> bool {
        let rest = self.0.checked_sub(part.0.len());
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// The first of `all`, as many as there is room for.
    pub(super) fn rows<T>(
        &mut self,
        most: usize,
        all: impl IntoIterator<Item = T>,
        row: impl Fn(T) -> Markup,
    ) -> Vec<Markup> {
        let mut left = most.min(self.0);
        let fits = |row: &Markup| {
            let rest = left.checked_sub(row.0.len());
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let rows: Vec<Markup> = all.into_iter().map(row).take_while(fits).collect();
        self.0 -= rows.iter().map(|row| row.0.len()).sum::<usize>();
        rows
    }

    /// The beginning of `text`, of at most `most` bytes.
    pub(super) fn text<'t>(&mut self, text: &'t str, most: usize) -> &'t str {
        let shown = cut(text, most.min(self.0));
        self.0 -= weight(shown);
        shown
    }

    /// A value, laid out for a person to read.
    pub(super) fn json(&mut self, text: &str) -> Markup {
        let (shown, is_whole) = laid_out(text, PIECE.min(self.0));
        self.0 -= weight(&shown);
        html! { pre tabindex="0" { (shown) } @if !is_whole { (more()) } }
    }
}

/// Says that something was left out. The page has an element of this id that says where it is to be had.
pub(super) fn more() -> Markup {
    html! { p .soft { "… " a href="#whole" { "there is more" } } }
}

/// A value laid out for a person, in at most so many bytes of HTML, and whether that is all of it.
pub(super) fn laid_out(text: &str, most: usize) -> (String, bool) {
    let mut page = Page { text: Vec::new(), left: most };
    let mut to = serde_json::Serializer::pretty(&mut page);
    let is_whole = serde_transcode::transcode(&mut serde_json::Deserializer::from_str(text), &mut to).is_ok();
    // Without what is left of a character that was cut.
    let shown = page.text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    (shown.to_owned(), is_whole)
}

/// What a row says of a text: so many characters at most, and twice as many bytes.
pub(super) fn brief(text: &str, chars: usize) -> Cow<'_, str> {
    let shown = cut(text, chars * 2);
    let shown = shown.char_indices().nth(chars).map_or(shown, |(at, _)| &shown[..at]);
    match shown.len() == text.len() {
        true => text.into(),
        false => format!("{shown}…").into(),
    }
}

/// The beginning of `text`, of at most `most` bytes in a page.
fn cut(text: &str, most: usize) -> &str {
    let mut used = 0;
    let over = text.char_indices().find(|(_, one)| {
        used += weight(one.encode_utf8(&mut [0; 4]));
        used > most
    });
    over.map_or(text, |(at, _)| &text[..at])
}

/// Bytes of a text as it stands in a page.
pub(super) fn weight(text: &str) -> usize {
    text.bytes().map(of_byte).sum()
}

fn of_byte(byte: u8) -> usize {
    match byte {
        b'"' => "&quot;".len(),
        b'&' => "&amp;".len(),
        b'<' | b'>' => "&lt;".len(),
        _ => 1,
    }
}

/// Takes what has room, and then no more: a value may be much longer when it is laid out.
struct Page {
    text: Vec<u8>,
    left: usize,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let fits = |byte: &&u8| {
            let rest = self.left.checked_sub(of_byte(**byte));
            self.left = rest.unwrap_or(0);
            rest.is_some()
        };
        let taken = bytes.iter().take_while(fits).count();
        if taken == 0 && !bytes.is_empty() {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_stands_in_the_page() {
        let text = "\"a\" < b && c > 'é'";
        assert_eq!(weight(text), html! { (text) }.0.len());
        let value = serde_json::json!({ "k\"ey": text.repeat(100) }).to_string();
        for most in [0, 1, 7, 100, 101, 102, 103, 500] {
            let (shown, is_whole) = laid_out(&value, most);
            assert!(html! { (shown) }.0.len() <= most && !is_whole, "{most}: {shown}");
            assert!(html! { (cut(text, most)) }.0.len() <= most);
        }
        assert!(laid_out(&value, 100_000).1);
    }

    #[test]
    fn a_room_is_never_overfull_and_rows_that_are_empty_fill_it_too() {
        let mut room = Room::new(10_000);
        let mut page = String::new();
        let lines = vec![""; 8_192];
        while let Some(part) = room.part(|room| {
            let rows = room.rows(4_000, &lines, |line| html! { div { (line) } });
            html! { h3 { "Log" } @for row in &rows { (row) } (room.json("{\"a\": \"\\\"\\\"\\\"\"}")) (more()) }
        }) {
            page += &part.0;
        }
        assert!((8_000..=10_000).contains(&page.len()), "{}", page.len());
    }

    #[test]
    fn a_row_says_the_beginning_of_a_long_text() {
        assert_eq!(brief("short", 5), "short");
        assert_eq!(brief("longer", 5), "longe…");
        assert_eq!(brief(&"\"".repeat(200), 200), format!("{}…", "\"".repeat(66)));
    }
}
