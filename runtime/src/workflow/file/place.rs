//! Where in a workflow's file a value stands: of what was read without its place.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Where the value at `path` stands, by keys and by numbers within lists. Of what is not there, the place of what it would
/// be in.
pub(in crate::workflow) fn place_of(text: &str, path: &[&str]) -> Range<usize> {
    let Ok(root) = DeTable::parse(text) else { return 0..0 };
    let Some((first, rest)) = path.split_first() else { return root.span() };
    let Some(mut here) = root.get_ref().get(*first) else { return 0..0 };
    for part in rest {
        let inner = match here.get_ref() {
            DeValue::Table(table) => table.get(*part),
            DeValue::Array(items) => part.parse().ok().and_then(|number: usize| items.get(number)),
            _ => None,
        };
        match inner {
            Some(inner) => here = inner,
            None => break,
        }
    }
    here.span()
}
