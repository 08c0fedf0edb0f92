//! `keyhole members`: who shares this workspace.

use clap::{Subcommand, ValueEnum};
use keyhole::server::model::{AddedMember, MemberView, NewMember, Removed, SetRole, Unbound};
use keyhole_host_api::members::{MemberId, Role};
use reqwest::Method;

use super::client::Client;
use super::error::Result;
use super::output::{self, Output, style};
use super::settings::{EgressFlags, Settings};

/// Add, list and remove members, and change what they may do
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
    /// Give a member another role
    Role {
        /// The name
        name: MemberId,
        /// What they may do from now on
        #[arg(value_enum)]
        role: RoleFlag,
    },
    /// Print another link, as `add --invite` does, for a member who never came in; those before open nothing any more
    Invite {
        /// The name
        name: MemberId,
    },
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

impl From<RoleFlag> for Role {
    fn from(flag: RoleFlag) -> Self {
        match flag {
            RoleFlag::Admin => Self::Admin,
            RoleFlag::Member => Self::Member,
        }
    }
}

impl Members {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let out = settings.out;
        match self {
            Self::Add { name, role, invite } => {
                let new = NewMember { name: name.into(), role: role.map(Role::from), invite };
                let added: AddedMember = client.send(Method::POST, None, &["members"], &new).await?;
                invited(out, &added, format!("added {} ({})", added.member.name, added.member.role))
            }
            Self::List => {
                let members: Vec<MemberView> = client.get(None, &["members"]).await?;
                out.either(&members, || list(&members))
            }
            Self::Role { name, role } => {
                let set = SetRole { role: role.into() };
                let member: MemberView = client.send(Method::PATCH, None, &["members", name.as_str()], &set).await?;
                out.either(&member, || format!("{} is {} from now on", member.name, member.role))
            }
            Self::Invite { name } => {
                let path = ["members", name.as_str(), "invite"];
                let again: AddedMember = client.ask(Method::POST, None, &path).await?;
                invited(out, &again, format!("invited {} again", again.member.name))
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

/// Prints what was done, and the link if there is one.
fn invited(out: Output, added: &AddedMember, said: String) -> Result {
    let Some(invite) = &added.invite else { return out.either(added, || said) };
    let address = invite.0.expose();
    out.note(said);
    if address.starts_with('/') {
        out.note("put the address of your keyhole serve before it");
    }
    out.note(format!("it signs {} in, once, within 7 days; it is not shown again", added.member.name));
    out.either(added, || address.to_owned())
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
