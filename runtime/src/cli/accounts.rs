//! `keyhole accounts`: connecting accounts, and who may use them.

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Cell, CellAlignment, Color};
use keyhole::server::model::{
    AccessView, AccountView, AccountsQuery, ConnectedView, CreatedLink, Deleted, FieldView, Grant, LinkView, Named,
    NewAccount, NewCredentials, NewLink, Rename, SetAccess, Tested, hidden,
};
use keyhole_host_api::accounts::{Access, Event, Health, Summary};
use keyhole_host_api::apps::CUSTOM;
use keyhole_host_api::members::MemberId;
use keyhole_host_api::vault::Secret;
use reqwest::Method;

use super::client::{Acting, Client};
use super::connect::{self, OAuthFlags};
use super::custom::CustomFlags;
use super::error::{Error, Result};
use super::output::{self, style};
use super::secrets::Values;
use super::settings::{AsMember, EgressFlags, Settings, parse_duration};

/// Connect accounts, and say who may use them
#[derive(Subcommand, Debug)]
pub enum Accounts {
    Connect(Box<ConnectFlags>),
    Reconnect(ReconnectFlags),
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
    /// Ask the service whether an account's credentials work
    Test {
        /// The account's id or nickname
        account: String,
        #[command(flatten)]
        as_member: AsMember,
        #[command(flatten)]
        egress: EgressFlags,
    },
    /// Delete an account and its credentials
    Delete {
        /// The account's id or nickname
        account: String,
        #[command(flatten)]
        as_member: AsMember,
        #[command(flatten)]
        egress: EgressFlags,
    },
    /// Links by which someone connects an account of yours in a browser, once
    #[command(subcommand)]
    Links(Links),
}

/// Connect links.
#[derive(Subcommand, Debug)]
pub enum Links {
    /// Make a link; its address is shown this once
    Create {
        /// The app, as `keyhole apps list` names it
        app: String,
        /// How long it is valid, such as 2h; 7 days at most [default: 24h]
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        expires: Option<std::time::Duration>,
        #[command(flatten)]
        as_member: AsMember,
    },
    /// List the links that nobody used yet
    List {
        #[command(flatten)]
        as_member: AsMember,
    },
    /// Take a link back
    Revoke {
        /// The link's id
        id: String,
        #[command(flatten)]
        as_member: AsMember,
    },
}

/// Connect an account anew: its id, links, nickname and access stay
///
/// This also proves that the account is yours, which opening it to others asks for.
#[derive(Args, Debug)]
pub struct ReconnectFlags {
    /// The account's id or nickname
    account: String,

    #[command(flatten)]
    as_member: AsMember,

    /// Store the credentials without trying them
    #[arg(long)]
    no_test: bool,

    /// Let them be another identity's at the service than the account's
    #[arg(long)]
    other_identity: bool,

    #[command(flatten)]
    values: Values,

    #[command(flatten)]
    oauth: OAuthFlags,

    #[command(flatten)]
    egress: EgressFlags,
}

/// Connect an account
///
/// An app with OAuth opens your browser; --device shows a code to enter on another machine instead.
/// Else, on a terminal each field is asked for, secrets hidden. In scripts, secrets come from files or standard input:
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

    /// Store the credentials without trying them
    #[arg(long)]
    no_test: bool,

    #[command(flatten)]
    values: Values,

    #[command(flatten)]
    oauth: OAuthFlags,

    #[command(flatten)]
    egress: EgressFlags,

    #[command(flatten)]
    custom: CustomFlags,
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
        let out = settings.out;
        let nowhere = EgressFlags::default();
        match self {
            Self::Connect(flags) => connect(*flags, settings).await,
            Self::Reconnect(flags) => reconnect(flags, settings).await,
            Self::List { app, as_member } => {
                let client = Client::open(settings, &nowhere).await?;
                let by = client.acting(&as_member, settings).await?;
                let accounts: Vec<AccountView> = client.query(Some(&by), &["accounts"], &AccountsQuery { app }).await?;
                out.either(&accounts, || list(&accounts))
            }
            Self::Show { account, as_member } => {
                let client = Client::open(settings, &nowhere).await?;
                let by = client.acting(&as_member, settings).await?;
                let account = client.account(&by, &account).await?;
                out.either(&account, || show(&account))
            }
            Self::Rename { account, nickname, as_member } => {
                let client = Client::open(settings, &nowhere).await?;
                let by = client.acting(&as_member, settings).await?;
                let account = client.account(&by, &account).await?;
                let path = ["accounts", account.id.as_str()];
                let renamed: Named = client.send(Method::PATCH, Some(&by), &path, &Rename { nickname }).await?;
                out.either(&renamed, || format!("{} is now called {}", account.id, output::visible(&renamed.nickname)))
            }
            Self::Access(flags) => access(flags, settings).await,
            Self::Test { account, as_member, egress } => {
                let client = Client::open(settings, &egress).await?;
                let by = client.acting(&as_member, settings).await?;
                let account = client.account(&by, &account).await?;
                let path = ["accounts", account.id.as_str(), "test"];
                let tested: Tested = client.ask(Method::POST, Some(&by), &path).await?;
                out.either(&tested, || tested_text(&tested))?;
                if tested.works == Some(false) { Err(Error::said()) } else { Ok(()) }
            }
            Self::Delete { account, as_member, egress } => {
                let client = Client::open(settings, &egress).await?;
                let by = client.acting(&as_member, settings).await?;
                let account = client.account(&by, &account).await?;
                let path = ["accounts", account.id.as_str()];
                let deleted: Deleted = client.ask(Method::DELETE, Some(&by), &path).await?;
                if let Some(why) = &deleted.upstream_error {
                    let warn = style::WARN;
                    let why = output::visible(why);
                    out.note(format!("{warn}warning:{warn:#} the service did not revoke it; do that there: {why}"));
                }
                out.either(&deleted, || deleted_text(&deleted))
            }
            Self::Links(links) => links.run(settings).await,
        }
    }
}

impl Links {
    async fn run(self, settings: &Settings) -> Result {
        let out = settings.out;
        let client = Client::open(settings, &EgressFlags::default()).await?;
        match self {
            Self::Create { app, expires, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let expires_in = expires.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
                let new = NewLink { app, expires_in };
                let made: CreatedLink = client.send(Method::POST, Some(&by), &["connect-links"], &new).await?;
                let address = made.url.0.expose();
                if address.starts_with('/') {
                    out.note("put the address of your keyhole serve before it");
                }
                out.note(format!("it opens once, until {}", output::local(made.link.expires)));
                out.either(&made, || address.to_owned())
            }
            Self::List { as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let links: Vec<LinkView> = client.get(Some(&by), &["connect-links"]).await?;
                out.either(&links, || links_text(&links))
            }
            Self::Revoke { id, as_member } => {
                let by = client.acting(&as_member, settings).await?;
                let link: LinkView = client.ask(Method::DELETE, Some(&by), &["connect-links", &id]).await?;
                out.either(&link, || format!("took back the link {} for {}", link.id, link.app))
            }
        }
    }
}

fn links_text(links: &[LinkView]) -> String {
    if links.is_empty() {
        return format!("{}no link; make one with: keyhole accounts links create APP{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["app", "member", "created", "expires", "id"]);
    for link in links {
        table.add_row([
            link.app.clone(),
            link.member.to_string(),
            output::local(link.created),
            output::local(link.expires),
            link.id.clone(),
        ]);
    }
    output::table_text(&mut table)
}

fn tested_text(tested: &Tested) -> String {
    let (nickname, reason) = (output::visible(&tested.nickname), tested.reason.as_deref().unwrap_or_default());
    match tested.works {
        Some(true) => format!("{}ok{:#}  {nickname} ({}) works", style::GOOD, style::GOOD, tested.id),
        Some(false) => {
            format!("{}FAIL{:#}  {nickname} ({}): {}", style::BAD, style::BAD, tested.id, output::visible(reason))
        }
        None => format!("{nickname} ({}): {}", tested.id, output::visible(reason)),
    }
}

async fn connect(flags: ConnectFlags, settings: &Settings) -> Result {
    let client = Client::open(settings, &flags.egress).await?;
    let by = client.acting(&flags.as_member, settings).await?;
    let (custom, fields, oauth) = if flags.app == CUSTOM {
        // Fields given by `--field` are plain, all others secret.
        let plain: Vec<String> = flags.values.plain()?.into_keys().collect();
        let custom = flags.custom.definition(&plain)?;
        let fields = custom.app()?.fields.iter().map(FieldView::from).collect();
        (Some(custom), fields, None)
    } else {
        flags.custom.must_be_empty(&flags.app)?;
        let app = client.app(&flags.app).await?;
        (None, app.fields, app.oauth)
    };
    let connected = match oauth.filter(|oauth| flags.oauth.wanted(oauth, &flags.values, &fields)) {
        Some(oauth) => {
            let start = keyhole::server::model::StartOAuth {
                app: flags.app.clone(),
                nickname: flags.nickname,
                fields: connect::fields(&flags.values, &fields, &flags.app)?,
                test: !flags.no_test,
                ..Default::default()
            };
            connect::by_oauth(&client, &by, start, &oauth, &flags.oauth).await?
        }
        None => {
            flags.oauth.must_be_empty(&flags.app)?;
            let values = flags.values.gather(&fields, &flags.app)?;
            let new = NewAccount {
                app: flags.app,
                nickname: flags.nickname,
                fields: hidden(values),
                custom,
                test: !flags.no_test,
            };
            client.send(Method::POST, Some(&by), &["accounts"], &new).await?
        }
    };
    show_connected(&connected, "connected", settings)
}

async fn reconnect(flags: ReconnectFlags, settings: &Settings) -> Result {
    let client = Client::open(settings, &flags.egress).await?;
    let by = client.acting(&flags.as_member, settings).await?;
    let account = client.account(&by, &flags.account).await?;
    let (fields, oauth) = if account.app == CUSTOM {
        (fields_of(&account), None)
    } else {
        let app = client.app(&account.app).await?;
        (app.fields, app.oauth)
    };
    let connected = match oauth.filter(|oauth| flags.oauth.wanted(oauth, &flags.values, &fields)) {
        Some(oauth) => {
            // Fields that are not given stay as they are.
            let fields: Vec<FieldView> =
                fields.into_iter().map(|field| FieldView { optional: true, ..field }).collect();
            let start = keyhole::server::model::StartOAuth {
                account: Some(account.id.to_string()),
                fields: connect::fields(&flags.values, &fields, &account.app)?,
                other_identity: flags.other_identity,
                test: !flags.no_test,
                ..Default::default()
            };
            connect::by_oauth(&client, &by, start, &oauth, &flags.oauth).await?
        }
        None => {
            flags.oauth.must_be_empty(&account.app)?;
            // Plain fields stay unless others are given.
            let stays = |field: FieldView| FieldView {
                default: account.plain.get(&field.name).cloned().or(field.default),
                ..field
            };
            let fields: Vec<FieldView> = fields.into_iter().map(stays).collect();
            let mut values = flags.values.gather(&fields, &account.app)?;
            for field in fields.iter().filter(|field| !field.secret) {
                if let Some(value) = account.plain.get(&field.name) {
                    values.entry(field.name.clone()).or_insert_with(|| Secret::new(value.clone()));
                }
            }
            let new =
                NewCredentials { fields: hidden(values), test: !flags.no_test, other_identity: flags.other_identity };
            let path = ["accounts", account.id.as_str(), "credentials"];
            client.send(Method::PUT, Some(&by), &path, &new).await?
        }
    };
    show_connected(&connected, "reconnected", settings)
}

/// What an account whose definition is its own consists of.
fn fields_of(account: &Summary) -> Vec<FieldView> {
    let field = |name: &String, secret: bool| FieldView {
        name: name.clone(),
        label: name.clone(),
        secret,
        host_only: false,
        lines: false,
        optional: false,
        choices: Vec::new(),
        default: None,
        help: None,
        find: None,
        by_oauth: false,
    };
    let plain = account.plain.keys().map(|name| field(name, false));
    plain.chain(account.secrets.iter().map(|name| field(name, true))).collect()
}

fn show_connected(account: &ConnectedView, what: &str, settings: &Settings) -> Result {
    for warning in &account.warnings {
        settings.out.note(format!("{}warning:{:#} {warning}", style::WARN, style::WARN));
    }
    settings.out.either(account, || {
        let (bold, nickname) = (style::BOLD, output::visible(&account.nickname));
        format!("{what} {bold}{nickname}{bold:#} ({}), access: {}", account.id, access_text(&account.access))
    })
}

async fn access(flags: AccessFlags, settings: &Settings) -> Result {
    let client = Client::open(settings, &EgressFlags::default()).await?;
    let by: Acting = client.acting(&flags.as_member, settings).await?;
    let account = client.account(&by, &flags.account).await?;
    let id = account.id.as_str();
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
    let mut now =
        AccessView { id: account.id.clone(), nickname: account.nickname.clone(), access: account.access.clone() };
    if let Some(access) = wanted {
        now =
            client.send(Method::PUT, Some(&by), &["accounts", id, "access"], &SetAccess { access, was: None }).await?;
    }
    for granted in &flags.grant {
        let grant = Grant { member: granted.to_string() };
        now = client.send(Method::POST, Some(&by), &["accounts", id, "grants"], &grant).await?;
    }
    for revoked in &flags.revoke {
        now = client.ask(Method::DELETE, Some(&by), &["accounts", id, "grants", revoked.as_str()]).await?;
        if now.access.includes(revoked) {
            return Err(Error::new(format!("{revoked} may use the account as every member of the workspace may"))
                .help("name those who may: keyhole accounts access ACCOUNT members NAME,NAME"));
        }
    }
    settings
        .out
        .either(&now, || format!("{} ({id}), access: {}", output::visible(&now.nickname), access_text(&now.access)))
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

fn list(accounts: &[AccountView]) -> String {
    if accounts.is_empty() {
        return format!("{}no account yet; connect one with: keyhole accounts connect APP{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&[
        "nickname",
        "app",
        "owner",
        "access",
        "health",
        "workflows",
        "uses",
        "last used",
        "created",
        "id",
    ]);
    for account in accounts {
        table.add_row([
            Cell::new(output::visible(&account.nickname)),
            Cell::new(&account.app),
            Cell::new(account.owner.as_str()),
            Cell::new(access_text(&account.access)),
            health_cell(&account.health),
            Cell::new(account.workflows.len()).set_alignment(CellAlignment::Right),
            Cell::new(account.uses).set_alignment(CellAlignment::Right),
            Cell::new(account.last_used.map_or_else(|| "never".to_owned(), output::local)),
            Cell::new(output::local(account.created)),
            Cell::new(account.id.as_str()),
        ]);
    }
    output::table_text(&mut table)
}

fn deleted_text(deleted: &Deleted) -> String {
    let nickname = output::visible(&deleted.nickname);
    let mut text = format!("deleted {nickname} ({}) and its credentials", deleted.deleted);
    if !deleted.workflows.is_empty() {
        text += &format!("\nthese workflows used it and need another one: {}", deleted.workflows.join(", "));
    }
    text
}

fn show(view: &AccountView) -> String {
    let AccountView { account, workflows, needs, history } = view;
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
    if let Some(tokens) = &account.oauth {
        about.push(("scopes", output::visible(&tokens.scopes.join(" ")).into_owned()));
        about.extend(tokens.expires.map(|expires| ("token expires", output::local(expires))));
    }
    let last = account.last_used.map_or_else(String::new, |last| format!(", last {}", output::local(last)));
    about.push(("uses", format!("{}{last}", account.uses)));
    if !workflows.is_empty() {
        about.push(("workflows", workflows.join(", ")));
    }
    for need in needs {
        let granted = match need.granted {
            Some(true) => "",
            Some(false) => "; not granted, reconnect it to be asked for it",
            None => "; whether it was granted is not known",
        };
        about.push(("needs", format!("{} for {}{granted}", output::visible(&need.scope), need.workflows.join(", "))));
    }
    about.push(("created", output::local(account.created)));
    about.push(("changed", output::local(account.updated)));
    let mut text = format!("{bold}{}{bold:#}\n{}", output::visible(&account.nickname), output::pairs(&about));
    let happened = |event: &Event| {
        let times = if event.times > 1 { format!(", {} times in a row", event.times) } else { String::new() };
        let by = event.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
        let what = event.what.to_string();
        format!("\n{}  {}{by}{times}", output::local(event.at), output::visible(&what))
    };
    if !history.is_empty() {
        text += "\n\nwhat happened to it";
        text.extend(history.iter().map(happened));
    }
    text
}
