//! README's table and the tests: each row has tests, and each test named there is one.

use std::collections::BTreeSet;

use keyhole_tests::workspace::{fixture, root};

/// The rows, as many as each part has.
const ROWS: [(char, usize); 5] = [('a', 7), ('b', 9), ('c', 7), ('d', 5), ('e', 3)];

/// The words in `text` that are named as the tests in here are: `a1_…`.
fn names(text: &str) -> BTreeSet<&str> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let named = |word: &&str| {
        let bytes = word.as_bytes();
        bytes.len() > 3 && (b'a'..=b'e').contains(&bytes[0]) && bytes[1].is_ascii_digit() && bytes[2] == b'_'
    };
    text.split(|letter| !word(letter)).filter(named).collect()
}

#[test]
fn readme_has_every_row_and_names_tests_that_exist() {
    let mut source = String::new();
    for entry in std::fs::read_dir(fixture("attacks")).unwrap() {
        source += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let tests: BTreeSet<&str> =
        names(&source).into_iter().filter(|name| source.contains(&format!("fn {name}()"))).collect();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let named = names(&readme);
    let missing: Vec<_> = named.difference(&tests).collect();
    assert!(missing.is_empty(), "README names tests that are not there: {missing:?}");
    for (part, count) in ROWS {
        for number in 1..=count {
            let row = format!("| {}{number} |", part.to_ascii_uppercase());
            let line = readme.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("README has no row {row}"));
            assert!(!names(line).is_empty(), "{row} names no test");
        }
    }
}
