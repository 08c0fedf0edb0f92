//! A URL, taken apart as far as `wasi:http` wants it. Whether it may be reached is
//! not decided here: the host parses it again, and that parse is what counts.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{Error, Result};

/// What may not stand as it is in a path or query. What is already encoded stays so.
const UNSAFE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub scheme: String,
    pub authority: String,
    pub path_with_query: String,
}

impl Target {
    /// `query` is encoded already.
    pub fn parse(url: &str, query: &str) -> Result<Target> {
        let problem = |what: &str| Error::input(format!("\"{}\" {what}", without_query(url)));
        let parts = url.split_once(':').and_then(|(scheme, rest)| Some((scheme, rest.strip_prefix("//")?)));
        let Some((scheme, rest)) = parts else {
            return Err(problem("is not a whole URL: it should start with https://"));
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _fragment)| before);
        let path_start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_start);
        if authority.is_empty() {
            return Err(problem("names no host"));
        }
        if authority.contains('@') {
            // Not quoted: what stands before the @ may be a placeholder.
            return Err(Error::input("a URL has a user or password before its host: use .basic_auth() instead"));
        }
        if !authority.is_ascii() {
            return Err(problem("has a host with non-ASCII letters: write it in its xn-- form"));
        }
        let mut path_with_query = String::with_capacity(1 + path.len() + query.len() + 1);
        if !path.starts_with('/') {
            path_with_query.push('/');
        }
        path_with_query.extend(utf8_percent_encode(path, UNSAFE));
        if !query.is_empty() {
            path_with_query.push(if path.contains('?') { '&' } else { '?' });
            path_with_query.push_str(query);
        }
        Ok(Target { scheme: scheme.to_ascii_lowercase(), authority: authority.to_owned(), path_with_query })
    }
}

/// `path` under `base`: `https://slack.com/api/` and `chat.list`, with one slash
/// between them whoever wrote it. A whole URL stays as it is.
pub(super) fn join(base: Option<&str>, path: &str) -> Option<String> {
    if path.starts_with("https://") || path.starts_with("http://") {
        return Some(path.to_owned());
    }
    let base = base?;
    if path.is_empty() || path.starts_with('?') {
        return Some(format!("{base}{path}"));
    }
    Some(format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/')))
}

/// A URL for a message: the query may carry what should not be in one.
pub(super) fn without_query(url: &str) -> &str {
    url.find(['?', '#']).map_or(url, |end| &url[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, query: &str) -> (String, String, String) {
        let target = Target::parse(url, query).expect("a URL");
        (target.scheme, target.authority, target.path_with_query)
    }

    fn parts(scheme: &str, authority: &str, path: &str) -> (String, String, String) {
        (scheme.to_owned(), authority.to_owned(), path.to_owned())
    }

    #[test]
    fn urls_come_apart() {
        assert_eq!(parse("https://slack.com/api/chat", ""), parts("https", "slack.com", "/api/chat"));
        assert_eq!(parse("HTTPS://a.example", "x=1"), parts("https", "a.example", "/?x=1"));
        assert_eq!(parse("https://a.example?x=1", "y=2"), parts("https", "a.example", "/?x=1&y=2"));
        assert_eq!(parse("https://a.example:8443/b#c", ""), parts("https", "a.example:8443", "/b"));
        assert_eq!(parse("https://[::1]:8443/b", ""), parts("https", "[::1]:8443", "/b"));
    }

    #[test]
    fn what_may_not_stand_in_a_path_is_encoded_once() {
        let (.., path) = parse("https://a.example/grün und \"x\"/50%25", "");
        assert_eq!(path, "/gr%C3%BCn%20und%20%22x%22/50%25");
    }

    #[test]
    fn what_is_no_url_says_what_to_write() {
        let message = |url| Target::parse(url, "").expect_err("not a URL").to_string();
        assert!(message("a.example/b?secret=1").contains("\"a.example/b\" is not a whole URL"));
        assert!(message("https:///b").contains("names no host"));
        assert!(message("https://user:pass@a.example").contains(".basic_auth()"));
    }

    #[test]
    fn a_path_joins_its_base_with_one_slash() {
        for (base, path) in [("https://a.example/v1", "me"), ("https://a.example/v1/", "/me")] {
            assert_eq!(join(Some(base), path).as_deref(), Some("https://a.example/v1/me"));
        }
        assert_eq!(join(Some("https://a.example/v1"), "?x=1").as_deref(), Some("https://a.example/v1?x=1"));
        assert_eq!(join(Some("https://a.example"), "https://b.example/c").as_deref(), Some("https://b.example/c"));
        assert_eq!(join(None, "me"), None);
    }
}
