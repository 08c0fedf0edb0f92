//! `keyhole sign-in`: the way from a terminal into the console. The link signs in whoever opens it first, so it is shown
//! this once and kept nowhere.

use std::time::Duration;

use clap::Args;
use keyhole::server::model::{CreatedSignInLink, NewSignInLink};
use reqwest::Method;

use super::client::Client;
use super::error::Result;
use super::output;
use super::settings::{AsMember, EgressFlags, Settings, parse_time};

/// Make a link that signs you in to the console, once
#[derive(Args, Debug)]
pub struct SignIn {
    /// How long it is valid, such as 5m or 2h; 7 days at most [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expires: Option<Duration>,

    /// Open it in this machine's browser, too
    #[arg(long)]
    open: bool,

    #[command(flatten)]
    as_member: AsMember,
}

impl SignIn {
    /// Makes the link.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        let by = client.acting(&self.as_member, settings).await?;
        let expires_in = self.expires.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        let new = NewSignInLink { expires_in };
        let made: CreatedSignInLink = client.send(Method::POST, Some(&by), &["sign-in-links"], &new).await?;
        let address = made.url.0.expose();
        if address.starts_with('/') {
            out.note("put the address of your keyhole serve before it");
            if self.open {
                out.note("it is not opened, since that address is not known here: set KEYHOLE_URL to it");
            }
        }
        out.note(format!("it signs {} in, once, until {}", made.member, output::local(made.expires)));
        if self.open && !address.starts_with('/') {
            // That there is none to open is no error: the address is on the screen.
            let _ = open::that_detached(address);
        }
        out.either(&made, || address.to_owned())
    }
}
