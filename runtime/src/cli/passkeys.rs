//! `keyhole passkeys`: the passkeys by which one signs in to the console.

use clap::Subcommand;
use keyhole::server::model::PasskeyView;
use reqwest::Method;

use super::client::Client;
use super::error::Result;
use super::output::{self, style};
use super::settings::{AsMember, EgressFlags, Settings};

/// List and remove your passkeys, which are added in the console's Settings
#[derive(Subcommand, Debug)]
pub enum Passkeys {
    /// List your passkeys
    List {
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Remove a passkey; sessions that it began end
    Remove {
        /// The passkey's id
        id: String,
        #[command(flatten)]
        as_member: AsMember,
    },
}

impl Passkeys {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        match self {
            Self::List { as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let passkeys: Vec<PasskeyView> = client.get(Some(&by), &["passkeys"]).await?;
                out.either(&passkeys, || list(&passkeys))
            }
            Self::Remove { id, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                // These would be another path.
                let path = if matches!(id.as_str(), "" | "." | "..") { "-" } else { id.as_str() };
                let removed: PasskeyView = client.ask(Method::DELETE, Some(&by), &["passkeys", path]).await?;
                out.either(&removed, || format!("removed {} ({})", removed.id, output::one_line(&removed.name, 80)))
            }
        }
    }
}

fn list(passkeys: &[PasskeyView]) -> String {
    if passkeys.is_empty() {
        return format!("{}no passkeys; add one in the console, under Settings{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["passkey", "added", "last used", "id"]);
    for passkey in passkeys {
        table.add_row([
            output::one_line(&passkey.name, 80),
            output::local(passkey.created),
            passkey.last_used.map_or_else(|| "never".to_owned(), output::local),
            passkey.id.clone(),
        ]);
    }
    output::table_text(&mut table)
}
