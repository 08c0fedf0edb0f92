//! All app definitions that this Keyhole knows: those that come with it, and those of a
//! folder of the operator's, which add to them or take their place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::added::Added;
use super::{App, AppError, Source, check};

macro_rules! embedded {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../catalog/", $name, ".toml")))),*]
    };
}

/// Name and text of each file of `catalog/`.
const EMBEDDED: &[(&str, &str)] = embedded![
    "airtable" "anthropic" "app_store_connect" "aws" "github" "github_app" "google_calendar" "google_service_account" "mailgun"
    "notion" "openai" "openweather" "s3" "sendgrid" "slack" "stripe" "twilio" "webhook" "x" "zendesk"
];

/// App definitions by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    apps: BTreeMap<String, Arc<App>>,
    folder: Option<PathBuf>,
    pub(super) added: Added,
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
        let apps = EMBEDDED.iter().map(|(name, text)| {
            let app = check(text, name).unwrap_or_else(|errors| panic!("a test loads every embedded app: {errors:?}"));
            (app.name.clone(), Arc::new(app))
        });
        Self { apps: apps.collect(), ..Self::default() }
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
        self.folder = Some(dir.to_owned());
        if errors.is_empty() { Ok(self) } else { Err(CatalogError::Definitions(errors)) }
    }

    /// The app `name`. Not `custom`, whose definitions lie in accounts.
    pub fn get(&self, name: &str) -> Option<&Arc<App>> {
        self.apps.get(name).or_else(|| self.added.iter().find(|app| app.name == name))
    }

    /// Every app, by name; those that were added meanwhile come last.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values().chain(self.added.iter())
    }

    /// The operator's folder, if there is one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The known name nearest to `name`, for an error that says what was meant.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let distance = |known: &&str| strsim::damerau_levenshtein(known, name);
        self.iter().map(|app| app.name.as_str()).min_by_key(distance).filter(|known| distance(known) <= 2)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::apps::Place;

    #[test]
    fn every_catalog_file_loads() {
        let mut errors = Vec::new();
        for (name, text) in EMBEDDED {
            match check(text, &format!("{name}.toml")) {
                Ok(app) => assert_eq!(app.name, *name),
                Err(found) => errors.extend(found.iter().map(AppError::to_string)),
            }
        }
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }

    #[test]
    fn every_file_of_the_catalog_folder_is_embedded() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalog");
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, EMBEDDED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    /// The plain fields of an account that takes every default and the first choice.
    fn plain(app: &App) -> BTreeMap<String, String> {
        let value = |name: &str| match name {
            "account_sid" => "AC0123456789abcdef0123456789abcdef".to_owned(),
            "email" | "client_email" => "a@b.example".to_owned(),
            "region" => "eu-west-3".to_owned(),
            "endpoint" => "s3.acme.example".to_owned(),
            "installation_id" => "42".to_owned(),
            "issuer_id" => "57246542-96fe-1a63-e053-0824d011072a".to_owned(),
            "key_id" => "2X9R4HXF34".to_owned(),
            "consumer_key" => "acme".repeat(4),
            _ => "acme".to_owned(),
        };
        app.fields
            .iter()
            .filter(|field| !field.secret && (!field.optional || field.default.is_some()))
            .map(|field| (field.name.clone(), field.default.clone().unwrap_or_else(|| value(&field.name))))
            .collect()
    }

    #[test]
    fn every_apps_test_request_lies_within_its_hosts_and_outside_its_deny_list() {
        for app in Catalog::embedded().iter() {
            let plain = plain(app);
            for (name, value) in &plain {
                app.field(name).unwrap().check(value).unwrap();
            }
            let hosts = app.hosts_for(&plain).unwrap();
            let Some(url) = app.test_url(&plain) else {
                // What a key may do at AWS, and a service account at Google, is different for each.
                // What is never sent can't be tried.
                let kept = app.fields.iter().all(|field| !field.has_placeholder());
                assert!(kept || app.sigv4.is_some() || app.jwt().is_some(), "{}: a test", app.name);
                continue;
            };
            let url = url.unwrap();
            assert!(hosts.iter().any(|host| host.matches_url(&url)), "{url}");
            assert_eq!(url.scheme(), "https");
            let method = &app.test.as_ref().unwrap().method;
            assert!(app.denied(method, &url).is_none(), "{url}");
            assert!(app.docs.is_some(), "{}: docs", app.name);
        }
    }

    #[test]
    fn every_prefix_begins_a_value_that_the_pattern_takes() {
        // What a placeholder looks like: prefix, mark, letters and digits.
        for app in Catalog::embedded().iter() {
            for field in &app.fields {
                for prefix in &field.prefixes {
                    let placeholder = format!("{prefix}khp1{}", "aB3".repeat(10));
                    assert_eq!(field.check(&placeholder), Ok(()), "{}.{}", app.name, field.name);
                    assert_eq!(field.prefix_of(&placeholder), prefix);
                }
            }
        }
    }

    #[test]
    fn what_mints_or_ends_credentials_is_denied_to_steps() {
        let catalog = Catalog::embedded();
        let twilio = "https://api.twilio.com/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef";
        let table = [
            ("slack", "POST", "https://slack.com/api/auth.revoke"),
            ("slack", "POST", "https://slack.com/api/oauth.v2.access"),
            ("slack", "POST", "https://slack.com/api/apps.uninstall"),
            ("slack", "POST", "https://slack.com/api/tooling.tokens.rotate"),
            ("github", "POST", "https://api.github.com/app/installations/1/access_tokens"),
            ("github", "DELETE", "https://api.github.com/applications/Iv1.x/token"),
            ("github", "POST", "https://api.github.com/repos/o/r/actions/runners/registration-token"),
            ("github", "POST", "https://api.github.com/repositories/1/keys"),
            ("sendgrid", "POST", "https://api.sendgrid.com/v3/api_keys"),
            ("sendgrid", "PUT", "https://api.sendgrid.com/v3/api_keys/x"),
            ("stripe", "POST", "https://api.stripe.com/v1/ephemeral_keys"),
            ("stripe", "POST", "https://api.stripe.com/v2/iam/api_keys"),
            ("twilio", "POST", &format!("{twilio}/Keys.json")),
            ("twilio", "POST", &format!("{twilio}/Tokens.json")),
            ("twilio", "GET", &format!("{twilio}.json")),
            ("twilio", "POST", "https://api.twilio.com/2010-04-01/Accounts.json"),
            ("openai", "POST", "https://api.openai.com/v1/organization/admin_api_keys"),
            ("openai", "POST", "https://api.openai.com/v1/organization/projects/p/service_accounts"),
            ("openai", "DELETE", "https://api.openai.com/v1/organization/projects/p/api_keys/k"),
            ("notion", "POST", "https://api.notion.com/v1/oauth/introspect"),
            ("mailgun", "POST", "https://api.mailgun.net/v1/keys"),
            ("mailgun", "POST", "https://api.mailgun.net/v3/domains/d.example/credentials"),
            ("zendesk", "POST", "https://acme.zendesk.com/api/v2/oauth/tokens.json"),
            ("zendesk", "POST", "https://acme.zendesk.com/api/v2/api_tokens.json"),
            ("anthropic", "GET", "https://api.anthropic.com/v1/organizations/api_keys"),
            ("google_calendar", "GET", "https://www.googleapis.com/oauth2/v1/tokeninfo"),
        ];
        for (app, method, url) in table {
            let denied = catalog.get(app).unwrap().denied(&method.parse().unwrap(), &url.parse().unwrap());
            assert!(denied.is_some(), "{method} {url}");
        }
    }

    #[test]
    fn what_steps_are_for_is_not_denied() {
        let catalog = Catalog::embedded();
        let twilio = "https://api.twilio.com/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef";
        let table = [
            ("slack", "POST", "https://slack.com/api/chat.postMessage"),
            ("github", "POST", "https://api.github.com/repos/o/r/issues"),
            ("github", "GET", "https://api.github.com/user/keys"),
            ("sendgrid", "POST", "https://api.sendgrid.com/v3/mail/send"),
            ("stripe", "POST", "https://api.stripe.com/v1/charges"),
            ("twilio", "POST", &format!("{twilio}/Messages.json")),
            ("openai", "POST", "https://api.openai.com/v1/responses"),
            ("notion", "POST", "https://api.notion.com/v1/pages"),
            ("airtable", "GET", "https://api.airtable.com/v0/app1/tbl1"),
            ("mailgun", "POST", "https://api.mailgun.net/v3/d.example/messages"),
            ("zendesk", "POST", "https://acme.zendesk.com/api/v2/tickets.json"),
            ("google_calendar", "POST", "https://www.googleapis.com/calendar/v3/calendars/primary/events"),
        ];
        for (app, method, url) in table {
            let app = catalog.get(app).unwrap();
            assert!(app.denied(&method.parse().unwrap(), &url.parse().unwrap()).is_none(), "{method} {url}");
        }
    }

    #[test]
    fn the_catalog_covers_every_place_and_per_account_hosts() {
        let catalog = Catalog::embedded();
        let places: Vec<&Place> = catalog.iter().flat_map(|app| app.all_places()).collect();
        assert!(places.iter().any(|p| matches!(p, Place::Header { name, .. } if name == "authorization")));
        assert!(places.iter().any(|p| matches!(p, Place::Header { name, .. } if name == "x-api-key")));
        assert!(places.iter().any(|p| matches!(p, Place::Basic { .. })));
        assert!(places.iter().any(|p| matches!(p, Place::Query { .. })));
        assert!(catalog.iter().any(|app| app.hosts.iter().any(|host| host.fields().next().is_some())));
    }

    const MINIMAL: &str = r#"
keyhole = 1
name = "NAME"
title = "N"
hosts = ["api.example.com"]
[[field]]
name = "key"
secret = true
[[place]]
header = "x-key"
template = "{key}"
"#;

    #[test]
    fn an_operators_folder_adds_and_overrides() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["slack", "mine"] {
            std::fs::write(dir.path().join(format!("{name}.toml")), MINIMAL.replace("NAME", name)).unwrap();
        }
        std::fs::write(dir.path().join("README.md"), "not a definition").unwrap();
        let catalog = Catalog::embedded().with_dir(dir.path()).unwrap();
        assert_eq!(catalog.get("mine").unwrap().source, Source::File(dir.path().join("mine.toml")));
        assert_eq!(catalog.get("slack").unwrap().title, "N");
        assert_eq!(catalog.get("github").unwrap().source, Source::Keyhole);
        assert_eq!(catalog.nearest("githbu"), Some("github"));
    }

    #[test]
    fn a_folder_with_errors_is_refused_with_all_of_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.toml"), "keyhole = 1\n").unwrap();
        std::fs::write(dir.path().join("b.toml"), MINIMAL.replace("NAME", "slack")).unwrap();
        let error = Catalog::embedded().with_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a.toml:1:1: name is missing"), "{error}");
        assert!(error.contains("b.toml:1:1: the file defines slack"), "{error}");
        let missing = dir.path().join("missing");
        assert!(matches!(Catalog::embedded().with_dir(&missing), Err(CatalogError::Read { .. })));
    }
}
