//! `keyhole members`: who shares this workspace.

use clap::{Subcommand, ValueEnum};
use keyhole::server::model::{AddedMember, MemberView, NewMember, Removed, Unbound};
use keyhole_host_api::members::{MemberId, Role};
use reqwest::Method;

use super::client::Client;
use super::error::Result;
use super::output::{self, style};
use super::settings::{EgressFlags, Settings};

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
        /// Print a link, too, by which they sign in to the console once, within 7 days
        #[arg(long)]
        invite: bool,
    },
    /// List the members
    List,
    /// Forget who a member, or oneself, is at the OpenID provider; sessions that they began with it end
    Unbind {
        /// The name
        name: MemberId,
    },
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
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        match self {
            Self::Add { name, role, invite } => {
                let role = role.map(|role| match role {
                    RoleFlag::Admin => Role::Admin,
                    RoleFlag::Member => Role::Member,
                });
                let new = NewMember { name: name.into(), role, invite };
                let added: AddedMember = client.send(Method::POST, None, &["members"], &new).await?;
                let said = format!("added {} ({})", added.member.name, added.member.role);
                let Some(invite) = &added.invite else { return out.either(&added, || said) };
                let address = invite.0.expose();
                out.note(said);
                if address.starts_with('/') {
                    out.note("put the address of your keyhole serve before it");
                }
                out.note(format!("it signs {} in, once, within 7 days; it is not shown again", added.member.name));
                out.either(&added, || address.to_owned())
            }
            Self::List => {
                let members: Vec<MemberView> = client.get(None, &["members"]).await?;
                out.either(&members, || list(&members))
            }
            Self::Unbind { name } => {
                let path = ["members", name.as_str(), "binding"];
                let unbound: Unbound = client.ask(Method::DELETE, None, &path).await?;
                let called = output::one_line(&unbound.called, 80);
                out.either(&unbound, || format!("{} is no longer {called} at {}", unbound.member, unbound.issuer))
            }
            Self::Remove { name } => {
                let removed: Removed = client.ask(Method::DELETE, None, &["members", name.as_str()]).await?;
                out.either(&removed, || removed_text(&removed))
            }
        }
    }
}

fn list(members: &[MemberView]) -> String {
    if members.is_empty() {
        return format!("{}nobody yet; add someone with: keyhole members add NAME{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["member", "role", "added"]);
    for member in members {
        table.add_row([member.name.to_string(), member.role.to_string(), output::local(member.added)]);
    }
    output::table_text(&mut table)
}

fn removed_text(removed: &Removed) -> String {
    let mut text = format!("removed {}", removed.removed);
    for account in &removed.deleted {
        text += &format!("\n  deleted their account {} ({})", output::visible(&account.nickname), account.id);
        if let Some(why) = &account.upstream_error {
            text += &format!("; the service did not revoke it, do that there: {}", output::visible(why));
        }
    }
    for account in &removed.revoked {
        text += &format!("\n  ended their grant on {} ({})", output::visible(&account.nickname), account.id);
    }
    if !removed.workflows.is_empty() {
        text += &format!("\n  these workflows stop working: {}", removed.workflows.join(", "));
    }
    text
}
