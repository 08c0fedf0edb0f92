//! `keyhole apps`: the services that one can connect to.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Subcommand, ValueHint};
use keyhole::server::model::{AppSummary, AppView, Forgotten, Hidden, NewApp, NewClient};
use keyhole::server::routes::apps as api;
use keyhole_host_api::apps::{self as definitions, AppError, Catalog, CatalogError};
use keyhole_host_api::oauth::ClientSummary;
use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::custom::About;
use super::error::{Error, Result};
use super::import::Import;
use super::new::New;
use super::output::{self, style};
use super::secrets::one_secret;
use super::settings::{EgressFlags, Settings, read_text};

/// List, show, check, draft and add app definitions
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
    /// Add an app by its definition, which is kept in the folder of --apps
    ///
    /// With --url or KEYHOLE_URL a server's admin adds it there, and it can be connected at once. An app that is there is
    /// not changed.
    Add {
        /// The definition, a TOML file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    New(Box<New>),
    #[command(subcommand)]
    Import(Box<Import>),
    /// Set the OAuth client by which members connect accounts of an app
    ///
    /// Register one at the service, with the redirect URI https://YOUR-KEYHOLE/oauth/callback, or http://127.0.0.1/callback
    /// for `keyhole accounts connect`. Its secret is asked for, or read from a file or standard input.
    Configure {
        /// The app's name
        app: String,
        /// The client's id
        #[arg(long, value_name = "ID", required_unless_present = "forget")]
        client_id: Option<String>,
        /// Read the client's secret from this file
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["stdin", "public"])]
        secret_file: Option<PathBuf>,
        /// Read the client's secret from standard input
        #[arg(long, conflicts_with = "public")]
        stdin: bool,
        /// The client has no secret
        #[arg(long)]
        public: bool,
        /// Forget the client that is configured
        #[arg(long, conflicts_with_all = ["client_id", "secret_file", "stdin", "public"])]
        forget: bool,
    },
    /// List the OAuth clients that are configured
    Clients,
}

impl Apps {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        match self {
            Self::List => {
                let apps = match &settings.remote {
                    Some(_) => Client::open(settings, &EgressFlags::default()).await?.get(None, &["apps"]).await?,
                    // The same without a data directory: a look at the apps should not make one.
                    None => api::summaries(&*catalog(settings)?),
                };
                out.either(&apps, || list(&apps))
            }
            Self::Show { app } if app == definitions::CUSTOM => {
                let about = About::custom();
                out.either(&about, || about.text())
            }
            Self::Show { app } => {
                let app = match &settings.remote {
                    Some(_) => Client::open(settings, &EgressFlags::default()).await?.app(&app).await?,
                    None => api::find(&*catalog(settings)?, &app).map_err(|problem| Error::of(problem).into_usage())?,
                };
                out.either(&app, || show(&app))
            }
            Self::Check { file } => {
                let text = read_text(&file)?;
                let app = definitions::check(&text, &file.display().to_string()).map_err(wrong_definitions)?;
                out.either(&json!({"ok": true, "app": AppView::from(&app)}), || {
                    let good = style::GOOD;
                    format!("{good}ok{good:#}  {} defines {} ({})", file.display(), app.name, app.title)
                })
            }
            Self::Add { file } => {
                let definition = read_text(&file)?;
                definitions::check(&definition, &file.display().to_string()).map_err(wrong_definitions)?;
                let client = Client::open(settings, &EgressFlags::default()).await?;
                let app: AppView = client.send(Method::POST, None, &["apps"], &NewApp { definition }).await?;
                if settings.remote.is_none() {
                    out.note("a keyhole serve that runs on this data directory knows it after its next start");
                }
                out.either(&app, || format!("added {} ({}): {}", app.name, app.title, app.source))
            }
            Self::New(new) => new.run(settings),
            Self::Import(import) => import.run(settings).await,
            Self::Configure { app, client_id, secret_file, stdin, public, forget } => {
                let client = Client::open(settings, &EgressFlags::default()).await?;
                // Also an app that there is not is said so before a secret is asked for.
                let app = client.app(&app).await?.name;
                let path = ["apps", &app, "client"];
                let Some(client_id) = client_id.filter(|_| !forget) else {
                    let was: Forgotten = client.ask(Method::DELETE, None, &path).await?;
                    return out.either(&was, || match was.forgotten {
                        true => format!("forgot the client of {app}; its accounts work until their tokens expire"),
                        false => format!("no client was configured for {app}"),
                    });
                };
                let client_secret =
                    if public { None } else { one_secret("client secret", secret_file.as_deref(), stdin)?.map(Hidden) };
                let new = NewClient { client_id, client_secret };
                let configured: ClientSummary = client.send(Method::PUT, None, &path, &new).await?;
                out.either(&configured, || format!("members connect {app} by the client {}", configured.client_id))
            }
            Self::Clients => {
                let client = Client::open(settings, &EgressFlags::default()).await?;
                let clients: Vec<ClientSummary> = client.get(None, &["clients"]).await?;
                out.either(&clients, || clients_text(&clients))
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

fn wrong_definitions(errors: Vec<AppError>) -> Error {
    Error::several(errors.into_iter().map(|error| {
        let place = format!("{}:{}:{}", error.file, error.line, error.column);
        let said = Error::new(error.message).at(place);
        if error.help.is_empty() { said } else { said.help(error.help) }
    }))
}

fn clients_text(clients: &[ClientSummary]) -> String {
    if clients.is_empty() {
        return format!("{}no client; set one with: keyhole apps configure APP{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["app", "client id", "secret", "configured"]);
    for client in clients {
        let secret = if client.has_secret { "sealed" } else { "none" };
        let configured = output::local(client.configured);
        table.add_row([client.app.clone(), output::visible(&client.client_id).into_owned(), secret.into(), configured]);
    }
    output::table_text(&mut table)
}

fn list(apps: &[AppSummary]) -> String {
    let mut table = output::table(&["app", "title", "asks for", "hosts"]);
    for app in apps {
        table.add_row([app.name.clone(), app.title.clone(), app.fields.join(", "), some_hosts(&app.hosts)]);
    }
    let text = output::table_text(&mut table);
    let dim = style::DIM;
    format!("{text}\n\n{dim}Another service: keyhole accounts connect {} --help{dim:#}", definitions::CUSTOM)
}

/// The first hosts, and how many more there are.
fn some_hosts(hosts: &[String]) -> String {
    match hosts.get(..3) {
        Some(first) if hosts.len() > 3 => format!("{}, and {} more", first.join(", "), hosts.len() - 3),
        _ => hosts.join(", "),
    }
}

fn show(app: &AppView) -> String {
    let bold = style::BOLD;
    let lines = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join("\n") };
    let mut about = vec![("hosts", app.hosts.join("\n"))];
    if let Some(url) = &app.base_url {
        about.push(("base URL", url.clone()));
    }
    about.push(("secrets go in", lines(app.places.iter().chain(&app.alternatives).cloned().collect())));
    if !app.headers.is_empty() {
        about.push(("headers", lines(app.headers.clone())));
    }
    about.push(("denied to steps", lines(app.denied.clone())));
    if let Some(test) = &app.test {
        about.push(("tested by", test.clone()));
    }
    if !app.signing.is_empty() {
        about.push(("signs", lines(app.signing.clone())));
    }
    if let Some(docs) = &app.docs {
        about.push(("docs", docs.clone()));
    }
    about.push(("defined by", app.source.clone()));

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
