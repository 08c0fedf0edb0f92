//! The console's routes, read from its source: a page that is new is walked by itself.

use keyhole_tests::workspace::root;

/// Those that need nobody to be signed in.
const OPEN: [&str; 10] = [
    "/",
    "/assets/{edition}/{name}",
    "/sign-in",
    "/sign-in/oidc",
    "/sign-in/oidc/callback",
    "/sign-in/passkey",
    "/sign-in/passkey/begin",
    "/sign-in/{link}",
    "/set-up/{key}",
    "/connect/{link}",
];

/// One address, with its parameters in braces.
pub struct Route {
    pub path: String,
    pub get: bool,
    pub post: bool,
}

impl Route {
    /// Whether one must be signed in.
    pub fn is_closed(&self) -> bool {
        !OPEN.contains(&self.path.as_str())
    }

    /// Whether there is a page to look at.
    pub fn is_page(&self) -> bool {
        let is_file = [".json", ".toml"].iter().any(|kind| self.path.ends_with(kind));
        self.get && !is_file && !self.path.ends_with("/events") && !self.path.starts_with("/assets/")
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// All that the source names.
pub fn routes() -> Vec<Route> {
    let folder = root().join("runtime/src/server/console");
    let mut all = Vec::new();
    for file in std::fs::read_dir(folder).expect("the console's source").flatten() {
        let path = file.path();
        if path.extension().is_some_and(|kind| kind == "rs") {
            all.extend(of(&std::fs::read_to_string(path).expect("a source file")));
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(all.len() > 25, "the source is written in another way now");
    all
}

fn of(source: &str) -> Vec<Route> {
    let one = |rest: &str| {
        let (path, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        let mut depth = 1;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        })?;
        let handlers = &rest[..end];
        assert!(!["put(", "patch(", "any("].iter().any(|other| handlers.contains(other)), "{path}: {handlers}");
        Some(Route { path: path.to_owned(), get: handlers.contains("get("), post: handlers.contains("post(") })
    };
    source.split(".route(").skip(1).filter_map(one).collect()
}

#[test]
fn the_routes_are_read_as_they_are_written() {
    let read =
        of("Router::new().route(\"/a\", get(a::b)).route(\n \"/c/{d}\",\n get(c::d).post(c::e),\n).route(X, get(x))");
    let read: Vec<_> = read.iter().map(|route| (route.path.as_str(), route.get, route.post)).collect();
    assert_eq!(read, [("/a", true, false), ("/c/{d}", true, true)]);
}
