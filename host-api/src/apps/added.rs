//! Apps that are added while Keyhole runs. Each is kept in the operator's folder before it is known.
//!
//! An app that is there must never change or go while anybody works with it: where the credentials of its accounts go is its
//! to say. So there is adding and nothing else, and whoever has a reference to one keeps it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::{App, AppError, Catalog, Source, check};

/// Those that were added, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Added(OnceLock<Box<Node>>);

#[derive(Clone, Debug)]
struct Node {
    app: Arc<App>,
    rest: Added,
}

impl Added {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        std::iter::successors(self.0.get(), |node| node.rest.0.get()).map(|node| &node.app)
    }

    fn push(&self, app: Arc<App>) {
        let (mut end, mut node) = (self, Box::new(Node { app, rest: Self::default() }));
        while let Err(back) = end.0.set(node) {
            // Somebody's is there.
            node = back;
            if let Some(theirs) = end.0.get() {
                end = &theirs.rest;
            }
        }
    }
}

/// A definition that can be added.
pub struct NewApp {
    /// The app.
    pub app: App,
    text: String,
}

/// Why an app was not added. Nothing was kept.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// There is no folder to keep it in.
    #[error("this Keyhole has no folder for apps; whoever runs it names one: --apps DIR")]
    NoFolder,
    /// All that is wrong with the definition.
    #[error("{}", .0.iter().map(AppError::to_string).collect::<Vec<_>>().join("\n"))]
    Definition(Vec<AppError>),
    /// An app that is there stays as it is.
    #[error("there is an app {0}, and one that is there is not changed; give this one another name")]
    Taken(String),
    /// Two that look alike are taken for each other.
    #[error("the app {0} has that title; give this one another, by which people can tell the two apart")]
    Title(String),
    /// It would let credentials go where only the operator may let them.
    #[error(
        "{0} has {1}, which only whoever runs Keyhole may give; leave it out, or have them put the file into the folder"
    )]
    Loose(String, &'static str),
    /// The folder can't be written to.
    #[error("{} can't be written: {source}; make the folder one that Keyhole may write to, or put the file there", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Catalog {
    /// Checks a definition that somebody other than the operator wants to add.
    ///
    /// # Errors
    /// All that is wrong with it, or why it can't be added.
    pub fn prepare(&self, text: String) -> Result<NewApp, AddError> {
        if self.folder().is_none() {
            return Err(AddError::NoFolder);
        }
        let app = check(&text, "the definition").map_err(AddError::Definition)?;
        if self.get(&app.name).is_some() {
            return Err(AddError::Taken(app.name));
        }
        if let Some(other) = self.iter().find(|other| folded(&other.title) == folded(&app.title)) {
            return Err(AddError::Title(other.name.clone()));
        }
        for (loose, what) in [(app.insecure_http, "insecure_http"), (app.allow_ip, "allow_ip")] {
            if loose {
                return Err(AddError::Loose(app.name, what));
            }
        }
        Ok(NewApp { app, text })
    }

    /// Keeps what was prepared in the operator's folder. From when this returns on, it is an app like any other.
    ///
    /// Takes as long as the disk does.
    ///
    /// # Errors
    /// If it is there by now, or can't be kept.
    pub fn add(&self, new: NewApp) -> Result<Arc<App>, AddError> {
        let NewApp { mut app, text } = new;
        let folder = self.folder().ok_or(AddError::NoFolder)?;
        let path = folder.join(format!("{}.toml", app.name));
        match keep(folder, &path, &text, |folder| File::open(folder)?.sync_all()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(AddError::Taken(app.name)),
            Err(source) => return Err(AddError::Write { path, source }),
        }
        app.source = Source::File(path);
        let app = Arc::new(app);
        self.added.push(app.clone());
        Ok(app)
    }
}

/// What people see of a title at a glance: neither case nor blanks, nor what has no width.
fn folded(title: &str) -> String {
    title.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Writes a file that is not there yet: whole, or not at all. Half of one would keep the next start from its folder. `sync`
/// puts the folder on disk.
fn keep(folder: &Path, path: &Path, text: &str, sync: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    // No definition by its name, which is nobody else's.
    let half = folder.join(format!(".{}.new", ulid::Ulid::generate()));
    let written = OpenOptions::new().write(true).create_new(true).open(&half).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    // Unlike a rename, a link takes no file's place.
    let linked = written.and_then(|()| std::fs::hard_link(&half, path));
    let _ = std::fs::remove_file(&half);
    linked?;
    // What is said not to be kept must not be an app at the next start.
    sync(folder).inspect_err(|_| drop(std::fs::remove_file(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, more: &str) -> String {
        format!(
            "keyhole = 1\nname = {name:?}\ntitle = \"The {name}\"\nhosts = [\"api.example.com\"]\n{more}[[field]]\nname = \"key\"\n\
             secret = true\n[[place]]\nheader = \"x-key\"\ntemplate = \"{{key}}\"\n"
        )
    }

    #[test]
    fn an_added_app_is_known_at_once_and_after_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::embedded().with_dir(dir.path()).unwrap();
        for name in ["mine", "yours"] {
            catalog.add(catalog.prepare(definition(name, "")).unwrap()).unwrap();
            assert_eq!(catalog.get(name).unwrap().source, Source::File(dir.path().join(format!("{name}.toml"))));
        }
        assert_eq!(catalog.iter().filter(|app| ["mine", "yours"].contains(&app.name.as_str())).count(), 2);
        assert_eq!(catalog.nearest("yuors"), Some("yours"));
        let again = Catalog::embedded().with_dir(dir.path()).unwrap();
        assert!(again.get("mine").is_some() && again.get("yours").is_some());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing half is left");
    }

    #[test]
    fn an_app_that_is_there_is_not_changed_and_nothing_loose_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::embedded().with_dir(dir.path()).unwrap();
        for name in ["slack", "webhook"] {
            assert!(matches!(catalog.prepare(definition(name, "")), Err(AddError::Taken(_))), "{name}");
        }
        for more in ["insecure_http = true\n", "allow_ip = true\n"] {
            assert!(matches!(catalog.prepare(definition("mine", more)), Err(AddError::Loose(..))), "{more}");
        }
        assert!(matches!(catalog.prepare("keyhole = 1\n".to_owned()), Err(AddError::Definition(_))));
        assert!(matches!(Catalog::embedded().prepare(definition("mine", "")), Err(AddError::NoFolder)));
        // Of two who add it at once, another process among them, one does.
        let (one, two) = (catalog.prepare(definition("mine", "")), catalog.prepare(definition("mine", "")));
        catalog.add(one.unwrap()).unwrap();
        assert!(matches!(catalog.add(two.unwrap()), Err(AddError::Taken(_))));
        let kept = std::fs::read_to_string(dir.path().join("mine.toml")).unwrap();
        assert_eq!(kept, definition("mine", ""));
    }

    #[test]
    fn no_app_is_added_that_looks_like_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::embedded().with_dir(dir.path()).unwrap();
        catalog.add(catalog.prepare(definition("mine", "")).unwrap()).unwrap();
        for (title, there) in [
            ("Slack", "slack"),
            ("sLACK", "slack"),
            (" Slack ", "slack"),
            ("Sl\u{200b}ack", "slack"),
            ("the  MINE", "mine"),
        ] {
            let refused = catalog.prepare(definition("yours", "").replace("The yours", title));
            assert!(matches!(&refused, Err(AddError::Title(other)) if other == there), "{title:?}");
        }
        catalog.prepare(definition("yours", "")).unwrap();
    }

    #[test]
    fn what_is_not_kept_for_certain_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        let failed = keep(dir.path(), &path, "text", |_| Err(io::Error::other("the disk")));
        assert_eq!(failed.unwrap_err().to_string(), "the disk");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        keep(dir.path(), &path, "text", |_| Ok(())).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
    }

    #[test]
    fn a_folder_that_is_not_there_any_more_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::embedded().with_dir(dir.path()).unwrap();
        let new = catalog.prepare(definition("mine", "")).unwrap();
        dir.close().unwrap();
        assert!(matches!(catalog.add(new), Err(AddError::Write { .. })));
        assert!(catalog.get("mine").is_none());
    }
}
