//! `keyhole accounts`: connecting accounts, and who may use them.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Cell, Color};
use keyhole_host_api::accounts::{Access, Connect, Health, Summary};
use keyhole_host_api::apps::{CUSTOM, CustomApp, CustomField, CustomPlace, Template};
use keyhole_host_api::members::MemberId;
use serde_json::json;

use super::apps;
use super::error::{Error, Result};
use super::home::Home;
use super::output::{self, style};
use super::secrets::Values;
use super::settings::{AsMember, Settings};

/// Connect accounts, and say who may use them
#[derive(Subcommand, Debug)]
pub enum Accounts {
    Connect(ConnectFlags),
    /// List the accounts that you may see
    List {
        /// Only those of this app
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Show an account. Its secrets are never shown
    Show {
        /// The account's id or nickname
        account: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Give an account another nickname
    Rename {
        /// The account's id or nickname
        account: String,
        /// The new nickname
        nickname: String,
        #[command(flatten)]
        as_member: AsMember,
    },
    Access(AccessFlags),
    /// Delete an account and its credentials
    Delete {
        /// The account's id or nickname
        account: String,
        #[command(flatten)]
        as_member: AsMember,
    },
}

/// Connect an account
///
/// On a terminal each field is asked for, secrets hidden. In scripts, secrets come from files or standard input:
///   keyhole accounts connect sendgrid --as alice --key-file key.txt
///   printf %s "$KEY" | keyhole accounts connect openai --as alice --stdin
///
/// The app 'custom' is for a service that has no definition: name its hosts, and where its secrets go. Each {name} in
/// a header, query or Basic is a secret field; give it with --field NAME=VALUE if it is none:
///   keyhole accounts connect custom --host api.example.com --header 'Authorization: Bearer {token}'
///   keyhole accounts connect custom --host api.example.com --basic '{user}:{password}' --field user=alice
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct ConnectFlags {
    /// The app, as `keyhole apps list` names it, or 'custom'
    app: String,

    /// What to call the account [default: made from your name and the app's]
    #[arg(long)]
    nickname: Option<String>,

    #[command(flatten)]
    as_member: AsMember,

    /// Kept for scripts: this version connects without trying the credentials
    #[arg(long, hide = true)]
    no_test: bool,

    #[command(flatten)]
    values: Values,

    #[command(flatten)]
    custom: CustomFlags,
}

/// The definition of a `custom` app.
#[derive(Args, Debug)]
#[command(next_help_heading = "For the app 'custom'")]
struct CustomFlags {
    /// A host that the secrets may go to; *.example.com for all below
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,

    /// A header of each request, such as 'Authorization: Bearer {token}'
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// User name and password of HTTP Basic, such as '{user}:{password}'
    #[arg(long, value_name = "USER:PASSWORD")]
    basic: Option<String>,

    /// A query parameter of each request, such as 'key={key}'
    #[arg(long, value_name = "NAME=VALUE")]
    query: Vec<String>,

    /// Where requests start, such as https://api.example.com/v1/
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,

    /// What to call the service
    #[arg(long)]
    title: Option<String>,
}

/// Say who may use an account: its owner alone, the workspace, or some members
///
///   keyhole accounts access ACCOUNT private
///   keyhole accounts access ACCOUNT members bob,carol
///   keyhole accounts access ACCOUNT --grant bob --revoke carol
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct AccessFlags {
    /// The account's id or nickname
    account: String,

    /// Who may use it besides its owner
    #[arg(value_enum, required_unless_present_any = ["grant", "revoke"], conflicts_with_all = ["grant", "revoke"])]
    access: Option<Setting>,

    /// With 'members': their names
    #[arg(value_delimiter = ',', requires = "access")]
    members: Vec<MemberId>,

    /// Let this member use it, too
    #[arg(long, value_name = "MEMBER", value_delimiter = ',')]
    grant: Vec<MemberId>,

    /// End this member's grant; it holds from the next request of a run on
    #[arg(long, value_name = "MEMBER", value_delimiter = ',')]
    revoke: Vec<MemberId>,

    #[command(flatten)]
    as_member: AsMember,
}

/// Who may use an account.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Setting {
    /// Its owner alone
    Private,
    /// Every member
    Workspace,
    /// The members that are named
    Members,
}

impl Accounts {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let home = Home::open(settings).await?;
        let out = settings.out;
        match self {
            Self::Connect(flags) => connect(flags, &home, settings).await,
            Self::List { app, as_member } => {
                let member = home.member(&as_member, settings).await?;
                let mut accounts = home.accounts.list(&member).await?;
                accounts.retain(|account| app.as_ref().is_none_or(|app| *app == account.app));
                out.either(&accounts, || list(&accounts))
            }
            Self::Show { account, as_member } => {
                let member = home.member(&as_member, settings).await?;
                let account = home.account(&member, &account).await?;
                out.either(&account, || show(&account))
            }
            Self::Rename { account, nickname, as_member } => {
                let member = home.member(&as_member, settings).await?;
                let account = home.account(&member, &account).await?;
                let renamed = home.accounts.rename(&member, &account.id, &nickname).await?;
                out.either(&json!({"id": renamed.id, "nickname": renamed.nickname}), || {
                    format!("{} is now called {}", account.id, output::visible(&renamed.nickname))
                })
            }
            Self::Access(flags) => access(flags, &home, settings).await,
            Self::Delete { account, as_member } => {
                let member = home.member(&as_member, settings).await?;
                let account = home.account(&member, &account).await?;
                home.accounts.delete(&member, &account.id).await?;
                out.either(&json!({"deleted": account.id, "nickname": account.nickname}), || {
                    format!("deleted {} ({}) and its credentials", output::visible(&account.nickname), account.id)
                })
            }
        }
    }
}

async fn connect(flags: ConnectFlags, home: &Home, settings: &Settings) -> Result {
    let member = home.member(&flags.as_member, settings).await?;
    let (custom, fields) = if flags.app == CUSTOM {
        let custom = flags.custom.definition(&flags.values)?;
        let fields = custom.app()?.fields;
        (Some(custom), fields)
    } else {
        flags.custom.must_be_empty(&flags.app)?;
        (None, apps::find(&home.catalog, &flags.app)?.fields.clone())
    };
    let values = flags.values.gather(&fields, &flags.app)?;
    let given = Connect { app: flags.app, nickname: flags.nickname, fields: values, custom };
    let connected = home.accounts.connect(&member, given).await?;
    let account = connected.account;
    for warning in &connected.warnings {
        settings.out.note(format!("{}warning:{:#} {warning}", style::WARN, style::WARN));
    }
    let document = json!({
        "id": account.id,
        "app": account.app,
        "nickname": account.nickname,
        "owner": account.owner,
        "access": account.access,
        "warnings": connected.warnings,
    });
    settings.out.either(&document, || {
        let (bold, nickname) = (style::BOLD, output::visible(&account.nickname));
        format!("connected {bold}{nickname}{bold:#} ({}), access: {}", account.id, access_text(&account.access))
    })
}

async fn access(flags: AccessFlags, home: &Home, settings: &Settings) -> Result {
    let member = home.member(&flags.as_member, settings).await?;
    let account = home.account(&member, &flags.account).await?;
    let id = &account.id;
    let wanted = match flags.access {
        Some(Setting::Private) => Some(Access::Private),
        Some(Setting::Workspace) => Some(Access::Workspace),
        Some(Setting::Members) if flags.members.is_empty() => {
            return Err(Error::usage("no member is named").help("keyhole accounts access ACCOUNT members bob,carol"));
        }
        Some(Setting::Members) => Some(Access::Members(flags.members.iter().cloned().collect())),
        None => None,
    };
    if !flags.members.is_empty() && !matches!(flags.access, Some(Setting::Members)) {
        return Err(Error::usage("members are named, but the access is another")
            .help("keyhole accounts access ACCOUNT members bob,carol"));
    }
    let mut now = match wanted {
        Some(wanted) => home.accounts.set_access(&member, id, wanted).await?.access,
        None => account.access.clone(),
    };
    for granted in &flags.grant {
        now = home.accounts.grant(&member, id, granted).await?.access;
    }
    for revoked in &flags.revoke {
        now = home.accounts.revoke(&member, id, revoked).await?.access;
        if now.includes(revoked) {
            return Err(Error::new(format!("{revoked} may use the account as every member of the workspace may"))
                .help("name those who may: keyhole accounts access ACCOUNT members NAME,NAME"));
        }
    }
    settings.out.either(&json!({"id": id, "nickname": account.nickname, "access": now}), || {
        format!("{} ({id}), access: {}", output::visible(&account.nickname), access_text(&now))
    })
}

impl CustomFlags {
    fn must_be_empty(&self, app: &str) -> Result {
        let given = [
            ("--host", !self.host.is_empty()),
            ("--header", !self.header.is_empty()),
            ("--basic", self.basic.is_some()),
            ("--query", !self.query.is_empty()),
            ("--base-url", self.base_url.is_some()),
            ("--title", self.title.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Error::usage(format!("{flag} is for the app {CUSTOM}; {app} has a definition"))
                .help(format!("keyhole apps show {app}"))),
            None => Ok(()),
        }
    }

    /// The definition that the flags make. Fields given by `--field` are plain, all others secret.
    fn definition(&self, values: &Values) -> Result<CustomApp> {
        if self.host.is_empty() {
            return Err(Error::usage("the app custom needs a host").help("add --host api.example.com"));
        }
        let plain = values.plain()?;
        let mut names: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut fields_of = |text: &str, flag: &str| -> Result<bool> {
            let template = Template::parse(text).map_err(|error| Error::usage(error.to_string()).at(flag))?;
            for field in template.fields() {
                if seen.insert(field.to_owned()) {
                    names.push(field.to_owned());
                }
            }
            Ok(template.fields().next().is_some())
        };
        let mut places = Vec::new();
        let mut headers = BTreeMap::new();
        for header in &self.header {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Error::usage("a --header is not of the form 'NAME: VALUE'"));
            };
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            if fields_of(&value, "--header")? {
                places.push(CustomPlace::Header { name, template: value });
            } else {
                headers.insert(name, value);
            }
        }
        if let Some(basic) = &self.basic {
            let (username, password) = basic.split_once(':').unwrap_or((basic, ""));
            fields_of(username, "--basic")?;
            fields_of(password, "--basic")?;
            places.push(CustomPlace::Basic { username: username.to_owned(), password: password.to_owned() });
        }
        for query in &self.query {
            let Some((name, template)) = query.split_once('=') else {
                return Err(Error::usage("a --query is not of the form NAME=VALUE"));
            };
            fields_of(template, "--query")?;
            places.push(CustomPlace::Query { name: name.to_owned(), template: template.to_owned() });
        }
        for name in plain.keys() {
            if seen.insert(name.clone()) {
                names.push(name.clone());
            }
        }
        let field = |name: String| CustomField { secret: !plain.contains_key(&name), name };
        Ok(CustomApp {
            title: self.title.clone().unwrap_or_default(),
            hosts: self.host.clone(),
            base_url: self.base_url.clone(),
            fields: names.into_iter().map(field).collect(),
            places,
            headers,
        })
    }
}

fn access_text(access: &Access) -> String {
    match access {
        Access::Private => "private".to_owned(),
        Access::Workspace => "workspace".to_owned(),
        Access::Members(members) => members.iter().map(MemberId::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn health_cell(health: &Health) -> Cell {
    match health {
        Health::Ok => Cell::new("ok").fg(Color::Green),
        Health::ReconnectNeeded { .. } => Cell::new("reconnect needed").fg(Color::Red),
    }
}

fn list(accounts: &[Summary]) -> String {
    if accounts.is_empty() {
        return format!("{}no account yet; connect one with: keyhole accounts connect APP{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["nickname", "app", "owner", "access", "health", "created", "id"]);
    for account in accounts {
        table.add_row([
            Cell::new(output::visible(&account.nickname)),
            Cell::new(&account.app),
            Cell::new(account.owner.as_str()),
            Cell::new(access_text(&account.access)),
            health_cell(&account.health),
            Cell::new(output::local(account.created)),
            Cell::new(account.id.as_str()),
        ]);
    }
    output::table_text(&mut table)
}

fn show(account: &Summary) -> String {
    let bold = style::BOLD;
    let mut about = vec![
        ("id", account.id.to_string()),
        ("app", account.app.clone()),
        ("owner", account.owner.to_string()),
        ("access", access_text(&account.access)),
        (
            "health",
            match &account.health {
                Health::Ok => "ok".to_owned(),
                Health::ReconnectNeeded { reason } => format!("reconnect needed: {}", output::visible(reason)),
            },
        ),
    ];
    if let Some(uid) = &account.uid {
        about.push(("known there as", output::visible(uid).into_owned()));
    }
    for (name, value) in &account.plain {
        about.push((name.as_str(), output::visible(value).into_owned()));
    }
    for name in &account.secrets {
        about.push((name.as_str(), format!("{}sealed{:#}", style::DIM, style::DIM)));
    }
    about.push(("created", output::local(account.created)));
    about.push(("changed", output::local(account.updated)));
    format!("{bold}{}{bold:#}\n{}", output::visible(&account.nickname), output::pairs(&about))
}
