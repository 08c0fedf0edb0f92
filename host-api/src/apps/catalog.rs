//! All app definitions that this Keyhole knows: those that come with it, and those of a
//! folder of the operator's, which add to them or take their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{App, AppError, Source, check};

const EMBEDDED: &[(&str, &str)] = &[];

/// App definitions by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    apps: BTreeMap<String, Arc<App>>,
}

/// Why an operator's folder could not be taken. One bad file refuses the folder.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {}: {source}; give --apps a folder of .toml files", path.display())]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Definitions with errors: all of all files.
    #[error("{}", .0.iter().map(AppError::to_string).collect::<Vec<_>>().join("\n"))]
    Definitions(Vec<AppError>),
}

impl Catalog {
    /// The definitions that come with Keyhole.
    pub fn embedded() -> Self {
        let apps = EMBEDDED.iter().map(|(file, text)| {
            let app = check(text, file).unwrap_or_else(|errors| panic!("a test loads every embedded app: {errors:?}"));
            (app.name.clone(), Arc::new(app))
        });
        Self { apps: apps.collect() }
    }

    /// These, and those in the folder `dir`: each `NAME.toml` in it defines the app NAME.
    pub fn with_dir(mut self, dir: &Path) -> Result<Self, CatalogError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| CatalogError::Read { path, source }
        };
        let mut errors = Vec::new();
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(unreadable(dir))? {
            let path = entry.map_err(unreadable(dir))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let file = path.display().to_string();
            match check(&text, &file) {
                Ok(app) if path.file_stem().is_none_or(|stem| stem != app.name.as_str()) => errors.push(AppError {
                    file,
                    line: 1,
                    column: 1,
                    message: format!("the file defines {}, but is not called {}.toml", app.name, app.name),
                    help: "rename the file or the app, so that no two files define one app".to_owned(),
                }),
                Ok(mut app) => {
                    app.source = Source::File(path);
                    self.apps.insert(app.name.clone(), Arc::new(app));
                }
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() { Ok(self) } else { Err(CatalogError::Definitions(errors)) }
    }

    /// The app `name`. Not `custom`, whose definitions lie in accounts.
    pub fn get(&self, name: &str) -> Option<&Arc<App>> {
        self.apps.get(name)
    }

    /// Every app, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values()
    }

    /// The known name nearest to `name`, for an error that says what was meant.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let distance = |known: &&String| strsim::damerau_levenshtein(known, name);
        self.apps.keys().min_by_key(distance).filter(|known| distance(known) <= 2).map(String::as_str)
    }
}
