//! `keyhole tokens`: what members prove to a running Keyhole who they are with.

use std::time::Duration;

use clap::Subcommand;
use comfy_table::{Cell, Color};
use jiff::Timestamp;
use keyhole::server::model::{CreatedToken, NewToken, TokenView, TokensQuery};
use reqwest::Method;

use super::client::Client;
use super::error::Result;
use super::output::{self, style};
use super::settings::{AsMember, EgressFlags, Settings, parse_time};

/// Make, list and revoke tokens for the HTTP API
#[derive(Subcommand, Debug)]
pub enum Tokens {
    /// Make a token; it is shown this once
    Create {
        /// What to call it, such as the machine that it is for
        #[arg(long, default_value = "cli")]
        name: String,
        /// How long it is valid, such as 12h or 30d; 366 days at most [default: 90d]
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        expires: Option<Duration>,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// List your tokens
    List {
        /// Those of every member, which admins may see
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Revoke a token; it holds from the next request on
    Revoke {
        /// The token's id
        id: String,
    },
}

impl Tokens {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        match self {
            Self::Create { name, expires, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let expires_in = expires.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
                let new = NewToken { name, expires_in };
                let made: CreatedToken = client.send(Method::POST, Some(&by), &["tokens"], &new).await?;
                let TokenView { id, member, expires, .. } = &made.token;
                let until = output::local(*expires);
                out.note(format!("this token ({id}) speaks for {member} until {until}; it is not shown again"));
                out.either(&made, || made.text.0.expose().to_owned())
            }
            Self::List { all, as_member } => {
                let by = if all { None } else { Some(client.acting(&as_member, settings).await?) };
                let tokens: Vec<TokenView> = client.query(by.as_ref(), &["tokens"], &TokensQuery { all }).await?;
                out.either(&tokens, || list(&tokens))
            }
            Self::Revoke { id } => {
                let path = if matches!(id.as_str(), "" | "." | "..") { "-" } else { id.as_str() };
                let revoked: TokenView = client.ask(Method::DELETE, None, &["tokens", path]).await?;
                out.either(&revoked, || {
                    format!("revoked {} ({}) of {}", output::visible(&revoked.name), revoked.id, revoked.member)
                })
            }
        }
    }
}

fn list(tokens: &[TokenView]) -> String {
    if tokens.is_empty() {
        return format!("{}no token; make one with: keyhole tokens create{:#}", style::DIM, style::DIM);
    }
    let now = Timestamp::now();
    let mut table = output::table(&["name", "member", "created", "expires", "last used", "id"]);
    for token in tokens {
        let expires = output::local(token.expires);
        let expires = if token.expires <= now { Cell::new(expires).fg(Color::Red) } else { Cell::new(expires) };
        table.add_row([
            Cell::new(output::visible(&token.name)),
            Cell::new(token.member.as_str()),
            Cell::new(output::local(token.created)),
            expires,
            Cell::new(token.last_used.map_or_else(|| "never".to_owned(), output::local)),
            Cell::new(&token.id),
        ]);
    }
    output::table_text(&mut table)
}
