//! `keyhole data`: what steps keep between runs.

use std::time::Duration;

use clap::Subcommand;
use comfy_table::Cell;
use keyhole::server::model::{Cleared, DataStoreView, EntriesQuery, EntryView, KeyQuery, NewEntry};
use reqwest::Method;

use super::client::Client;
use super::error::{Error, Result};
use super::output::{self, style};
use super::settings::{EgressFlags, Settings, parse_time};

/// Look into data stores, which steps share, and change what is in them
#[derive(Subcommand, Debug)]
pub enum Data {
    /// List the data stores that have something in them
    List,
    /// List entries of a data store, in the order of their keys
    Entries {
        /// The store's name
        store: String,
        /// Only those whose keys begin so
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// Only those after this key, for the next page
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show the value at a key, as JSON
    Get {
        /// The store's name
        store: String,
        /// The key
        key: String,
    },
    /// Put a value at a key
    Set {
        /// The store's name
        store: String,
        /// The key
        key: String,
        /// The value as JSON, or - to read it from standard input
        value: String,
        /// For so long, such as 10m or 30d; for good if it is left out
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        ttl: Option<Duration>,
        /// Only if the entry still has this revision; 0 if there is to be none
        #[arg(long)]
        revision: Option<u64>,
    },
    /// Take a key away
    Delete {
        /// The store's name
        store: String,
        /// The key
        key: String,
    },
    /// Take all entries away
    Clear {
        /// The store's name
        store: String,
    },
}

impl Data {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        match self {
            Self::List => {
                let stores: Vec<DataStoreView> = client.get(None, &["data"]).await?;
                out.either(&stores, || list(&stores))
            }
            Self::Entries { store, prefix, after, limit } => {
                let query = EntriesQuery { prefix, after, limit };
                let found: Vec<EntryView> = client.query(None, &["data", &store], &query).await?;
                out.either(&found, || entries(&found))
            }
            Self::Get { store, key } => {
                let found: EntryView = client.query(None, &["data", &store, "entry"], &KeyQuery { key }).await?;
                out.either(&found, || found.value.get().to_owned())
            }
            Self::Set { store, key, value, ttl, revision } => {
                let text = if value == "-" { std::io::read_to_string(std::io::stdin())? } else { value };
                let value = serde_json::from_str(&text).map_err(|error| {
                    Error::usage(format!("the value is not JSON: {error}"))
                        .help("a text needs its quotes: '\"like this\"'")
                })?;
                let ttl = ttl.map(|ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1));
                let new = NewEntry { key, value, ttl, revision };
                let put: EntryView = client.send(Method::PUT, None, &["data", &store, "entry"], &new).await?;
                out.either(&put, || format!("put {}, revision {}", output::visible(&put.key), put.revision))
            }
            Self::Delete { store, key } => {
                let query = KeyQuery { key };
                let gone: Cleared = client.ask_with(Method::DELETE, None, &["data", &store, "entry"], &query).await?;
                out.either(&gone, || format!("took {} away", output::visible(&query.key)))
            }
            Self::Clear { store } => {
                let gone: Cleared = client.ask(Method::DELETE, None, &["data", &store]).await?;
                out.either(&gone, || format!("took {} entries away", gone.entries))
            }
        }
    }
}

fn list(stores: &[DataStoreView]) -> String {
    if stores.is_empty() {
        return format!("{}no data store has anything in it{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["name", "entries", "bytes"]);
    for store in stores {
        table.add_row([Cell::new(&store.name), Cell::new(store.entries), Cell::new(store.bytes)]);
    }
    output::table_text(&mut table)
}

fn entries(entries: &[EntryView]) -> String {
    if entries.is_empty() {
        return format!("{}no such entry{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["key", "value", "expires", "revision"]);
    for entry in entries {
        table.add_row([
            Cell::new(output::visible(&entry.key)),
            Cell::new(output::one_line(entry.value.get(), 60)),
            Cell::new(entry.expires.map_or_else(|| "never".to_owned(), output::local)),
            Cell::new(entry.revision),
        ]);
    }
    output::table_text(&mut table)
}
