//! `keyhole apps`: the services that one can connect to.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Subcommand, ValueHint};
use keyhole_host_api::apps::{self as definitions, App, AppError, Catalog, CatalogError, FieldDef, Place, Source};
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::output::{self, style};
use super::settings::{Settings, read_text};

/// List, show and check app definitions
#[derive(Subcommand, Debug)]
pub enum Apps {
    /// List the apps
    List,
    /// Show an app: its fields, its hosts, where its secrets go, what steps may not do
    Show {
        /// The app's name
        app: String,
    },
    /// Check a definition of your own
    Check {
        /// The definition, a TOML file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

impl Apps {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        match self {
            Self::List => {
                let catalog = catalog(settings)?;
                out.either(&catalog.iter().map(|app| summary(app)).collect::<Vec<_>>(), || list(&catalog))
            }
            Self::Show { app } => {
                let catalog = catalog(settings)?;
                let app = find(&catalog, &app)?;
                out.either(&document(&app), || show(&app))
            }
            Self::Check { file } => {
                let text = read_text(&file)?;
                let app = definitions::check(&text, &file.display().to_string()).map_err(wrong_definitions)?;
                out.either(&json!({"ok": true, "app": document(&app)}), || {
                    let good = style::GOOD;
                    format!("{good}ok{good:#}  {} defines {} ({})", file.display(), app.name, app.title)
                })
            }
        }
    }
}

/// The apps that this Keyhole knows, those of `--apps` included.
pub fn catalog(settings: &Settings) -> Result<Arc<Catalog>> {
    let catalog = Catalog::embedded();
    let Some(dir) = &settings.apps else { return Ok(Arc::new(catalog)) };
    match catalog.with_dir(dir) {
        Ok(catalog) => Ok(Arc::new(catalog)),
        Err(CatalogError::Definitions(errors)) => Err(wrong_definitions(errors)),
        Err(error) => Err(error.into()),
    }
}

/// The app, or an error that says which was perhaps meant.
pub fn find(catalog: &Catalog, name: &str) -> Result<Arc<App>> {
    if let Some(app) = catalog.get(name) {
        return Ok(app.clone());
    }
    Err(Error::usage(format!("there is no app '{name}'")).help(match catalog.nearest(name) {
        Some(near) => format!("did you mean {near}?"),
        None => format!(
            "keyhole apps list shows all; connect any other service with the app {}: keyhole accounts connect {} --help",
            definitions::CUSTOM,
            definitions::CUSTOM
        ),
    }))
}

fn wrong_definitions(errors: Vec<AppError>) -> Error {
    Error::several(errors.into_iter().map(|error| {
        let place = format!("{}:{}:{}", error.file, error.line, error.column);
        let said = Error::new(error.message).at(place);
        if error.help.is_empty() { said } else { said.help(error.help) }
    }))
}

fn list(catalog: &Catalog) -> String {
    let mut table = output::table(&["app", "title", "asks for", "hosts"]);
    for app in catalog.iter() {
        table.add_row([app.name.clone(), app.title.clone(), names(&app.fields), some_hosts(app)]);
    }
    let text = output::table_text(&mut table);
    let dim = style::DIM;
    format!("{text}\n\n{dim}Another service: keyhole accounts connect {} --help{dim:#}", definitions::CUSTOM)
}

fn names(fields: &[FieldDef]) -> String {
    fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn hosts(app: &App) -> Vec<String> {
    app.hosts.iter().map(ToString::to_string).collect()
}

/// The first hosts, and how many more there are.
fn some_hosts(app: &App) -> String {
    let hosts = hosts(app);
    match hosts.get(..3) {
        Some(first) if hosts.len() > 3 => format!("{}, and {} more", first.join(", "), hosts.len() - 3),
        _ => hosts.join(", "),
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Header { name, template } => format!("header {name}: {template}"),
        Place::Basic { username, password } => format!("header authorization: Basic {username}:{password}"),
        Place::Query { name, template } => format!("query {name}={template}"),
        Place::Segment { index, template } => format!("part {index} of the path: {template}"),
        Place::Json { pointer, template } => format!("JSON body at {pointer}: {template}"),
        Place::Form { name, template } => format!("form field {name}={template}"),
        Place::Part { name, template } => format!("multipart field {name}={template}"),
        other => format!("{other:?}"),
    }
}

fn source(app: &App) -> String {
    match &app.source {
        Source::Keyhole => "Keyhole".to_owned(),
        Source::File(path) => path.display().to_string(),
        Source::Account => "the account".to_owned(),
    }
}

fn show(app: &App) -> String {
    let bold = style::BOLD;
    let lines = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join("\n") };
    let mut about = vec![("hosts", hosts(app).join("\n"))];
    if let Some(url) = &app.base_url {
        about.push(("base URL", url.to_string()));
    }
    about.push(("secrets go in", lines(app.places.iter().chain(&app.alternatives).map(place).collect())));
    if !app.headers.is_empty() {
        about.push(("headers", lines(app.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect())));
    }
    about.push(("denied to steps", lines(app.deny.iter().map(ToString::to_string).collect())));
    if let Some(test) = &app.test {
        about.push(("tested by", format!("{} {}", test.method, test.path)));
    }
    if !app.signing.is_empty() {
        about.push(("signs", lines(app.signing.keys().cloned().collect())));
    }
    if let Some(docs) = &app.docs {
        about.push(("docs", docs.to_string()));
    }
    about.push(("defined by", source(app)));

    let mut fields = output::table(&["field", "", "what it is", "where to find it"]);
    for field in &app.fields {
        let kind = match (field.secret, field.optional) {
            (true, false) => "secret",
            (true, true) => "secret, optional",
            (false, true) => "optional",
            (false, false) => "",
        };
        let what = match &field.help {
            Some(help) => format!("{}: {help}", field.label),
            None => field.label.clone(),
        };
        fields.add_row([field.name.clone(), kind.to_owned(), what, field.find.clone().unwrap_or_default()]);
    }
    format!(
        "{bold}{}{bold:#}  {}\n\n{}\n{}",
        app.name,
        app.title,
        output::pairs(&about),
        output::table_text(&mut fields)
    )
}

fn summary(app: &App) -> Value {
    json!({
        "name": app.name,
        "title": app.title,
        "hosts": hosts(app),
        "fields": app.fields.iter().map(|field| &field.name).collect::<Vec<_>>(),
        "source": source(app),
    })
}

fn document(app: &App) -> Value {
    json!({
        "name": app.name,
        "title": app.title,
        "docs": app.docs.as_ref().map(ToString::to_string),
        "base_url": app.base_url.as_ref().map(ToString::to_string),
        "hosts": hosts(app),
        "fields": app.fields.iter().map(|field| json!({
            "name": field.name,
            "label": field.label,
            "secret": field.secret,
            "host_only": field.host_only,
            "optional": field.optional,
            "choices": field.choices,
            "default": field.default,
            "help": field.help,
            "find": field.find,
        })).collect::<Vec<_>>(),
        "places": app.places.iter().map(place).collect::<Vec<_>>(),
        "alternatives": app.alternatives.iter().map(place).collect::<Vec<_>>(),
        "headers": app.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>(),
        "denied": app.deny.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "test": app.test.as_ref().map(|test| format!("{} {}", test.method, test.path)),
        "signing": app.signing.keys().collect::<Vec<_>>(),
        "source": source(app),
    })
}
