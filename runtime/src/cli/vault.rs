//! `keyhole vault`: the master key, and whether everything opens.

use clap::Subcommand;
use keyhole::server::model::{ForgottenKey, MasterKey, RotatedView, VaultReport};
use reqwest::Method;

use super::client::Client;
use super::error::{Error, Result};
use super::output::{self, style};
use super::settings::{EgressFlags, Settings};

/// Exchange the master key, and see that everything opens
#[derive(Subcommand, Debug)]
pub enum Vault {
    /// Make another master key the one that seals; works while serving
    ///
    /// A fresh key is put before the old one in the key file. Where keys come from a variable or a command, put a
    /// new one before the old one there first. The old key stays until it is forgotten: backups that were made with it need it.
    Rotate,
    /// Open everything that is sealed, and say what does not open
    Check,
    /// Take an old master key out of the key file, once nothing needs it
    Forget {
        /// The key's id, as `keyhole vault check` shows it
        key: String,
    },
}

impl Vault {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        match self {
            Self::Rotate => {
                let rotated: RotatedView = client.ask(Method::POST, None, &["vault", "rotate"]).await?;
                out.either(&rotated, || rotated_text(&rotated))?;
                whole(&rotated.report)
            }
            Self::Check => {
                let report: VaultReport = client.ask(Method::POST, None, &["vault", "check"]).await?;
                out.either(&report, || report_text(&report))?;
                whole(&report)
            }
            Self::Forget { key } => {
                let asked = MasterKey { key };
                let forgotten: ForgottenKey = client.send(Method::POST, None, &["vault", "forget"], &asked).await?;
                out.either(&forgotten, || format!("forgot the master key {}", forgotten.forgotten))
            }
        }
    }
}

fn rotated_text(rotated: &RotatedView) -> String {
    let mut text = format!("{} seals from now on\n{}", rotated.to, report_text(&rotated.report));
    text += &format!(
        "\n{}{} stays, for backups that were made with it; take it away with: keyhole vault forget {}{:#}",
        style::DIM,
        rotated.from,
        rotated.from,
        style::DIM
    );
    text
}

fn report_text(report: &VaultReport) -> String {
    let mut text = String::new();
    let mut table = output::table(&["master key", "records", ""]);
    for key in &report.keys {
        let seals = if key.key == report.seals { "seals" } else { "" };
        table.add_row([key.key.clone(), key.records.to_string(), seals.to_owned()]);
    }
    text += &output::table_text(&mut table);
    text += &format!("\n{} of {} records open", report.opened, report.opened + report.damaged.len() as u64);
    for damage in &report.damaged {
        text += &format!("\n  {}: {}", damage.record, output::visible(&damage.reason));
    }
    text
}

/// What does not open is a failure, for whoever runs this by night.
fn whole(report: &VaultReport) -> Result {
    match report.damaged.len() {
        0 => Ok(()),
        1 => {
            Err(Error::new("a record does not open").help("restore a backup, or have its owner reconnect the account"))
        }
        many => Err(Error::new(format!("{many} records do not open"))
            .help("restore a backup, or have their owners reconnect the accounts")),
    }
}
