//! A request's body that streams: nobody can put a credential into what has left already,
//! so a placeholder that shows cuts the request.

use super::super::placeholder::Table;
use super::Refusal;

/// Watches a body that streams: a placeholder in it, this attempt's or not, cuts the request.
pub(in super::super) struct BodyWatch {
    table: Table,
    /// The end of what has passed, in which a placeholder may have begun.
    tail: Vec<u8>,
}

impl BodyWatch {
    /// A watch for what `table` holds and what looks like it.
    pub(in super::super) fn new(table: &Table) -> Self {
        Self { table: table.copy(), tail: Vec::new() }
    }

    /// Looks at the next part of the body, before it leaves.
    pub(in super::super) fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let reach = self.table.longest() - 1;
        let (seam, rest) = chunk.split_at(chunk.len().min(reach));
        self.tail.extend_from_slice(seam);
        if self.table.find_in_content(&self.tail).next().is_some() || self.table.find_in_content(chunk).next().is_some()
        {
            return Err(Refusal::Streamed);
        }
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(reach)..]);
        self.tail.drain(..self.tail.len().saturating_sub(reach));
        Ok(())
    }
}
