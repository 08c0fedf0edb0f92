//! `Link` headers (RFC 8288, section 3), as far as paged lists need them.

/// The target of the first link to the next page in one header's value.
pub(super) fn next(value: &str) -> Option<String> {
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        let (mut relation, mut is_of_this, mut parameters) = (None, true, after);
        while let Some((name, value, after)) = parameter(parameters) {
            parameters = after;
            match name.to_ascii_lowercase().as_str() {
                // The first counts, whatever follows.
                "rel" => drop(relation.get_or_insert(value)),
                // It tells where another page goes on.
                "anchor" => is_of_this = false,
                _ => {}
            }
        }
        let is_next = |relation: &str| relation.eq_ignore_ascii_case("next");
        if is_of_this && relation.is_some_and(|relation| relation.split_ascii_whitespace().any(is_next)) {
            return Some(target.trim().to_owned());
        }
        rest = parameters;
    }
}

/// The parameter that `text` begins with, its value, and what follows.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    const SPACE: [char; 2] = [' ', '\t'];
    let text = text.trim_start_matches(SPACE).strip_prefix(';')?.trim_start_matches([';', ' ', '\t']);
    let end = text.find([' ', '\t', '=', ';', ',']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let Some(value) = after.trim_start_matches(SPACE).strip_prefix('=') else {
        return Some((name, String::new(), after));
    };
    let value = value.trim_start_matches(SPACE);
    let Some(quoted) = value.strip_prefix('"') else {
        let (value, after) = value.split_at(value.find([';', ',']).unwrap_or(value.len()));
        return Some((name, value.trim_end_matches(SPACE).to_owned(), after));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, letter) in quoted.char_indices() {
        match letter {
            '"' if !escaped => return Some((name, value, &quoted[at + 1..])),
            '\\' if !escaped => escaped = true,
            _ => {
                value.push(letter);
                escaped = false;
            }
        }
    }
    Some((name, value, ""))
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn the_next_page_is_found_whatever_stands_around_it() {
        for (value, page) in [
            ("<https://api/x?fields=a,b;c&page=2>; rel=\"next\"", "https://api/x?fields=a,b;c&page=2"),
            ("</x?page=1>; rel=\"prev\", </x?page=3>; rel=\"next\", </x?page=9>; rel=\"last\"", "/x?page=3"),
            ("<?page=2>;rel=next", "?page=2"),
            (" , <a>; title=\"x, <b>; rel=\\\"next\\\"\"; REL = \"last Next\" , <c>;rel=prev", "a"),
            ("<a>; rel; rel=next, <b>; hreflang=de ; rel=next", "b"),
            ("<a>; rel=next; anchor=\"/other\", <b>;; rel=next;", "b"),
            ("<a>; rel=prev; rel=next, <b>; rel=\"prev next\"", "b"),
            ("<a>; rel=\"next", "a"),
        ] {
            assert_eq!(next(value).as_deref(), Some(page), "{value}");
        }
        for none in
            ["", ",", "<a", "a; rel=next", "<a>", "<a>; rel=\"nextly\"", "<a>; title=\"rel=next\"", "<a>; xrel=next"]
        {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
