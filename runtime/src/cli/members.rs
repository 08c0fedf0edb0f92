//! `keyhole members`: who shares this workspace.

use clap::{Subcommand, ValueEnum};
use keyhole_host_api::accounts::Departed;
use keyhole_host_api::members::{Member, MemberId, Role};
use serde_json::{Value, json};

use super::error::Result;
use super::home::Home;
use super::output::{self, style};
use super::settings::Settings;

/// Add, list and remove members
#[derive(Subcommand, Debug)]
pub enum Members {
    /// Add a member; the first one is an admin
    Add {
        /// The name: a-z, 0-9, '.', '_' and '-'
        name: MemberId,
        /// What they may do [default: member; admin for the first]
        #[arg(long, value_enum)]
        role: Option<RoleFlag>,
    },
    /// List the members
    List,
    /// Remove a member: their accounts are deleted, and grants to them end
    Remove {
        /// The name
        name: MemberId,
    },
}

/// What a member may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleFlag {
    /// Sees that accounts exist, and may delete them, besides what a member may
    Admin,
    /// Connects accounts, and uses those they may
    Member,
}

impl Members {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let home = Home::open(settings).await?;
        let out = settings.out;
        match self {
            Self::Add { name, role } => {
                let role = role.map(|role| match role {
                    RoleFlag::Admin => Role::Admin,
                    RoleFlag::Member => Role::Member,
                });
                let member = home.members.add(name, role).await?;
                out.either(&document(&member), || format!("added {} ({})", member.id, member.role))
            }
            Self::List => {
                let members = home.members.list().await?;
                out.either(&members.iter().map(document).collect::<Vec<_>>(), || list(&members))
            }
            Self::Remove { name } => {
                let departed = home.members.remove(&name).await?;
                out.either(&departed_document(&name, &departed), || departed_text(&name, &departed))
            }
        }
    }
}

fn document(member: &Member) -> Value {
    json!({"name": member.id, "role": member.role, "added": member.added})
}

fn list(members: &[Member]) -> String {
    if members.is_empty() {
        return format!("{}nobody yet; add someone with: keyhole members add NAME{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["member", "role", "added"]);
    for member in members {
        table.add_row([member.id.to_string(), member.role.to_string(), output::local(member.added)]);
    }
    output::table_text(&mut table)
}

fn departed_document(name: &MemberId, departed: &Departed) -> Value {
    let list = |accounts: &[(keyhole_host_api::accounts::AccountId, String)]| {
        accounts.iter().map(|(id, nickname)| json!({"id": id, "nickname": nickname})).collect::<Vec<_>>()
    };
    json!({"removed": name, "deleted": list(&departed.deleted), "revoked": list(&departed.revoked)})
}

fn departed_text(name: &MemberId, departed: &Departed) -> String {
    let mut text = format!("removed {name}");
    for (id, nickname) in &departed.deleted {
        text += &format!("\n  deleted their account {} ({id})", output::visible(nickname));
    }
    for (id, nickname) in &departed.revoked {
        text += &format!("\n  ended their grant on {} ({id})", output::visible(nickname));
    }
    text
}
