//! A request's body that streams: nobody can put a credential into what has left already,
//! so a placeholder that shows cuts the request.

use super::super::placeholder::Table;
use super::Refusal;

/// Watches a body that streams: a placeholder in it, this attempt's or not, cuts the request.
pub(in super::super) struct BodyWatch {
    table: Table,
    /// The end of what has passed, in which a placeholder may have begun.
    tail: Vec<u8>,
    /// The byte before that: a word may have begun with it.
    previous: Option<u8>,
}

impl BodyWatch {
    /// A watch for what `table` holds and what looks like it.
    pub(in super::super) fn new(table: &Table) -> Self {
        Self { table: table.copy(), tail: Vec::new(), previous: None }
    }

    /// Looks at the next part of the body, before it leaves.
    pub(in super::super) fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let reach = self.table.longest() - 1;
        let (seam, rest) = chunk.split_at(chunk.len().min(reach));
        let last = self.tail.last().copied();
        self.tail.extend_from_slice(seam);
        let finds = |previous, bytes| self.table.find_in_content_after(previous, bytes).next().is_some();
        if finds(self.previous, &self.tail) || finds(last, chunk) {
            return Err(Refusal::Streamed);
        }
        // One more than what is kept, so that the byte before it is known.
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(reach + 1)..]);
        self.previous = self.tail.drain(..self.tail.len().saturating_sub(reach)).next_back().or(self.previous);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_within_a_longer_word_is_chance_wherever_chunks_end() {
        let word = format!("in a longer word: abckhp1{} and more", "d".repeat(60));
        for size in 1..word.len() {
            let mut watch = BodyWatch::new(&Table::default());
            for chunk in word.as_bytes().chunks(size) {
                assert_eq!(watch.push(chunk), Ok(()), "{size}");
            }
        }
        let own = word.replace("abckhp1", "abc khp1");
        for size in 1..own.len() {
            let mut watch = BodyWatch::new(&Table::default());
            assert!(own.as_bytes().chunks(size).any(|chunk| watch.push(chunk).is_err()), "{size}");
        }
    }
}
