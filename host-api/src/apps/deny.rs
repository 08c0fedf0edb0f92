//! What a step may not ask of a service although the account could: token, revoke and
//! introspection endpoints, and those that mint credentials. A rule must hold however
//! the path is spelled, so it is compared with every reading that a server may have.

use std::fmt;

use http::Method;
use percent_encoding::percent_decode_str;
use url::Url;

/// A method and path that are refused to steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    /// The method; `None` for every method.
    pub method: Option<Method>,
    /// The path.
    pub path: PathPattern,
    /// What it would give away, for the error message.
    pub reason: String,
}

impl Deny {
    pub(super) fn matches(&self, method: &Method, readings: &[Vec<String>]) -> bool {
        let method_fits = match &self.method {
            Some(own) => own.as_str().eq_ignore_ascii_case(method.as_str()),
            None => true,
        };
        method_fits && readings.iter().any(|segments| self.path.matches(segments))
    }
}

impl fmt::Display for Deny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_ref().map_or("*", Method::as_str);
        write!(f, "{method} {} ({})", self.path, self.reason)
    }
}

/// A path: `*` stands for any characters within a segment, `**` for any number of
/// segments, none included. Compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<String>,
}

/// Why a text is not a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a path pattern; it begins with '/', has no '?', '#', ';', '%' or empty segment, and '**' stands alone"
)]
pub struct PathPatternError(String);

impl PathPattern {
    /// Parses `text`, such as `/v1/api_keys/**`.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let wrong = || PathPatternError(text.to_owned());
        let path = text.strip_prefix('/').ok_or_else(wrong)?;
        let segments: Vec<String> = path.split('/').map(str::to_lowercase).collect();
        let fits = |segment: &String| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && !segment.contains(|c: char| c.is_control() || c.is_whitespace() || "?#;%\\".contains(c))
                && (segment == "**" || !segment.contains("**"))
        };
        if !segments.iter().all(fits) {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    fn matches(&self, path: &[String]) -> bool {
        segments_match(&self.segments, path)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Both loops keep one place to come back to, the last wildcard: its match grown by one
/// covers all that an earlier wildcard's could. So a hostile path costs at most
/// pattern × path, not an exponential.
fn wild<P, T>(pattern: &[P], text: &[T], is_wild: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && is_wild(&pattern[p]) {
            back = Some((p, t));
            p += 1;
        } else if p < pattern.len() && same(&pattern[p], &text[t]) {
            p += 1;
            t += 1;
        } else if let Some((wild_at, taken)) = back {
            back = Some((wild_at, taken + 1));
            p = wild_at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_wild)
}

fn segments_match(pattern: &[String], path: &[String]) -> bool {
    wild(pattern, path, |p| p == "**", |p, t| wild(p.as_bytes(), t.as_bytes(), |b| *b == b'*', |a, b| a == b))
}

/// No server decodes a path more often than a chain of a few proxies would.
const DECODINGS: usize = 5;

/// Every way in which a server may read `url`'s path: decoded once and more often, with
/// and without dot segments resolved, cut at a decoded `?`; each in lower case, without
/// empty segments, matrix parameters and what file servers drop from a name's end.
pub(super) fn readings(url: &Url) -> Vec<Vec<String>> {
    // `url` has resolved literal and `%2e` dot segments. What an encoded slash or a
    // second encoding hides is still in there.
    let mut text = url.path().to_owned();
    if !text.contains(['%', ';', '\\']) {
        return vec![segments(&text, false)];
    }
    let mut found = Vec::new();
    for _ in 0..DECODINGS {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        let ended = decoded == text;
        text = decoded;
        let cut = text.split(['?', '#']).next().unwrap_or_default();
        for (path, resolve_dots) in [(&*text, false), (&*text, true), (cut, false), (cut, true)] {
            let reading = segments(path, resolve_dots);
            if !found.contains(&reading) {
                found.push(reading);
            }
        }
        if ended {
            break;
        }
    }
    found
}

fn segments(path: &str, resolve_dots: bool) -> Vec<String> {
    let mut segments: Vec<String> = Vec::new();
    for raw in path.split(['/', '\\']) {
        // A NUL ends a C string; `;` begins matrix parameters.
        let name = raw.split([';', '\0']).next().unwrap_or_default();
        let name = name.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        match name {
            "" => {}
            "." if resolve_dots => {}
            ".." if resolve_dots => drop(segments.pop()),
            "." | ".." => segments.push(name.to_owned()),
            _ => segments.push(name.trim_end_matches('.').to_lowercase()),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denies(pattern: &str, url: &str) -> bool {
        let deny = Deny { method: None, path: PathPattern::parse(pattern).unwrap(), reason: String::new() };
        deny.matches(&Method::GET, &readings(&Url::parse(url).unwrap()))
    }

    #[test]
    fn a_denied_path_is_denied_however_it_is_spelled() {
        for path in [
            "/api/auth.revoke",
            "/api/auth.revoke/",
            "//api//auth.revoke",
            "/API/Auth.Revoke",
            "/api/auth%2erevoke",
            "/api/auth%2Erevoke",
            "/api/%61uth.revoke",
            "/api/%2561uth.revoke",
            "/api/%25%32%35%36%31uth.revoke",
            "/api%2Fauth.revoke",
            "/api%2fauth.revoke",
            "/api%252fauth.revoke",
            "/api%5cauth.revoke",
            "/api\\auth.revoke",
            "/api/./auth.revoke",
            "/api/x/../auth.revoke",
            "/api/x/%2e%2e/auth.revoke",
            "/api/x%2f..%2fauth.revoke",
            "/api/x/%252e%252e/auth.revoke",
            "/api/x/%252E./auth.revoke",
            "/x/..%2f/api/auth.revoke",
            "/api/auth.revoke;x=1",
            "/api;x=1/auth.revoke",
            "/api/auth.revoke%3Bx",
            "/api/auth.revoke%00.json",
            "/api/auth.revoke%20",
            "/api/auth.revoke.",
            "/api/auth.revoke?x=1",
            "/api/auth.revoke#x",
            "/api/auth.revoke%3Fx=1/y",
            "/api/auth.revoke%23x",
            "/api/\tauth.revoke",
        ] {
            let url = format!("https://slack.com{path}");
            assert!(denies("/api/auth.revoke", &url), "{path} got through");
        }
    }

    #[test]
    fn other_paths_are_not_denied() {
        for path in ["/", "/api", "/api/auth.test", "/api/auth.revoke/more", "/v2/api/auth.revoke", "/api/xauth.revoke"]
        {
            assert!(!denies("/api/auth.revoke", &format!("https://slack.com{path}")), "{path}");
        }
    }

    #[test]
    fn wildcards_match_within_and_across_segments() {
        let table = [
            ("/v3/api_keys/**", "/v3/api_keys", true),
            ("/v3/api_keys/**", "/v3/api_keys/1/2", true),
            ("/v3/api_keys/**", "/v3/api_keysx", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/c", false),
            ("/a/*/c", "/a/b/b/c", false),
            ("/api/oauth.*", "/api/oauth.v2.access", true),
            ("/api/oauth.*", "/api/oauth", false),
            ("/v1/**/keys", "/v1/keys", true),
            ("/v1/**/keys", "/v1/a/b/keys", true),
            ("/v1/**/keys", "/v1/keys/x", false),
            ("/v1/**/keys/**", "/v1/a/keys/keys/x", true),
            ("/a/*b*c", "/a/xbybzc", true),
            ("/**", "/anything", true),
            ("/**", "/", true),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(denies(pattern, &format!("https://a.b{path}")), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_path_made_to_cost_time_does_not() {
        let path = "/a".repeat(4_000) + &"%25".repeat(4_000);
        let begun = std::time::Instant::now();
        assert!(!denies("/**/a*a*a*a*b/**/c", &format!("https://a.b{path}")));
        assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn a_method_is_compared_without_regard_to_case() {
        let deny = Deny { method: Some(Method::POST), path: PathPattern::parse("/k").unwrap(), reason: String::new() };
        let at = readings(&Url::parse("https://a.b/k").unwrap());
        assert!(deny.matches(&Method::POST, &at));
        assert!(deny.matches(&Method::from_bytes(b"post").unwrap(), &at));
        assert!(!deny.matches(&Method::GET, &at));
    }

    #[test]
    fn what_is_not_a_path_pattern_is_refused() {
        for bad in ["", "a", "/a//b", "/a/", "/a?b", "/a;b", "/a%2f", "/a/..", "/a/b**", "/a b"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
