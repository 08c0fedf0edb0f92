//! `keyhole sessions`: where one is signed in to the console.

use clap::Subcommand;
use keyhole::server::model::{SessionView, SignedOut};
use keyhole_host_api::members::MemberId;
use reqwest::Method;

use super::client::Client;
use super::error::Result;
use super::output::{self, style};
use super::settings::{AsMember, EgressFlags, Settings};

/// List and end your sessions in the console
#[derive(Subcommand, Debug)]
pub enum Sessions {
    /// List where you are signed in
    List {
        #[command(flatten)]
        as_member: AsMember,
    },
    /// End a session; it holds from the next request on
    End {
        /// The session's id
        id: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// End every session of a member, and take back the links that would sign them in; they can, and an admin
    EndAll {
        /// The member
        member: MemberId,
    },
}

impl Sessions {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        match self {
            Self::List { as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let sessions: Vec<SessionView> = client.get(Some(&by), &["sessions"]).await?;
                out.either(&sessions, || list(&sessions))
            }
            Self::End { id, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                // These would be another path.
                let path = if matches!(id.as_str(), "" | "." | "..") { "-" } else { id.as_str() };
                let ended: SessionView = client.ask(Method::DELETE, Some(&by), &["sessions", path]).await?;
                out.either(&ended, || format!("ended {} ({})", ended.id, output::one_line(&ended.browser, 80)))
            }
            Self::EndAll { member } => {
                let path = ["members", member.as_str(), "sign-out"];
                let out_now: SignedOut = client.ask(Method::POST, None, &path).await?;
                out.either(&out_now, || format!("ended {} sessions of {}", out_now.ended, out_now.member))
            }
        }
    }
}

fn list(sessions: &[SessionView]) -> String {
    if sessions.is_empty() {
        return format!("{}signed in nowhere; sign in with: keyhole sign-in{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["browser", "signed in", "last used", "ends", "id"]);
    for session in sessions {
        table.add_row([
            output::one_line(&session.browser, 80),
            output::local(session.created),
            output::local(session.last_used),
            output::local(session.expires),
            session.id.clone(),
        ]);
    }
    output::table_text(&mut table)
}
