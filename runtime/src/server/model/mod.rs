//! What goes over the wire where it is not a type of `keyhole_host_api` itself: requests,
//! and answers made of several of those. The CLI reads and writes the same types.

mod vault;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use keyhole_host_api::accounts::{Access, AccountId, Departed};
use keyhole_host_api::apps::{App, CustomApp, FieldDef, Flow, Place, Source};
use keyhole_host_api::members::{Member, MemberId, Role};
use keyhole_host_api::oauth::Upstream;
use keyhole_host_api::tokens::{Link, Token};
use keyhole_host_api::vault::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

pub use vault::{DamageView, ForgottenKey, KeyUse, MasterKey, RestoreQuery, RestoredView, RotatedView, VaultReport};

use super::schema;

/// A value of an account's field on its way in. It is never part of an answer.
#[derive(Clone)]
pub struct Hidden(pub Secret);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("‹hidden›")
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// For the CLI, which has to send it.
impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// The values of an account's fields, by their names.
pub type Fields = BTreeMap<String, Hidden>;

/// The fields as the accounts take them.
pub fn secrets(fields: Fields) -> BTreeMap<String, Secret> {
    fields.into_iter().map(|(name, Hidden(value))| (name, value)).collect()
}

/// The fields as they are sent.
pub fn hidden(fields: BTreeMap<String, Secret>) -> Fields {
    fields.into_iter().map(|(name, value)| (name, Hidden(value))).collect()
}

const fn yes() -> bool {
    true
}

/// That the server is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    /// Always true: a server that can't read its store answers with a problem.
    pub ok: bool,
    /// The program's version.
    pub version: String,
}

/// Who the caller is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The member.
    #[schema(value_type = String)]
    pub name: MemberId,
    /// What they may do.
    #[schema(value_type = schema::Role)]
    pub role: Role,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MemberView {
    /// Their name.
    #[schema(value_type = String)]
    pub name: MemberId,
    /// What they may do.
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub added: Timestamp,
}

impl From<Member> for MemberView {
    fn from(member: Member) -> Self {
        Self { name: member.id, role: member.role, added: member.added }
    }
}

/// A member to add.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// The name: up to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit.
    #[schema(min_length = 1, max_length = 63, pattern = "^[a-z0-9][a-z0-9._-]*$")]
    pub name: String,
    /// What they may do. Without it the first member is an admin, and the others are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Role>)]
    pub role: Option<Role>,
}

/// An account by its id and nickname.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
}

/// An account that was deleted with the member who had connected it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedWithMember {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// What became of its tokens at the service: `revoked`, `not_possible` or `failed`.
    pub upstream: String,
    /// Why they could not be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_error: Option<String>,
}

/// What stopped working when a member was removed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// The member.
    #[schema(value_type = String)]
    pub removed: MemberId,
    /// Their accounts, which were deleted.
    pub deleted: Vec<DeletedWithMember>,
    /// Others' accounts that they could use.
    pub revoked: Vec<Named>,
}

impl Removed {
    /// What `departed` tells of `member`, and `upstream` of each account at its service.
    pub fn new(member: MemberId, departed: Departed, mut upstream: BTreeMap<AccountId, Upstream>) -> Self {
        let deleted = departed.deleted.into_iter().map(|(id, nickname)| {
            let (upstream, upstream_error) = told(upstream.remove(&id).unwrap_or(Upstream::NotPossible));
            DeletedWithMember { id, nickname, upstream, upstream_error }
        });
        let revoked = departed.revoked.into_iter().map(|(id, nickname)| Named { id, nickname });
        Self { removed: member, deleted: deleted.collect(), revoked: revoked.collect() }
    }
}

/// An account to connect with what the app's definition asks for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// The app, or `custom`.
    pub app: String,
    /// What to call it. Made up if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// The value of each field.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub fields: Fields,
    /// The definition, for the app `custom` and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::CustomApp>)]
    pub custom: Option<CustomApp>,
    /// Whether to ask the service first if it takes them. Only if it does, they are stored.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub test: bool,
}

/// New values for an account that is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredentials {
    /// The value of each field.
    #[schema(value_type = BTreeMap<String, String>)]
    pub fields: Fields,
    /// Whether to ask the service first if it takes them.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub test: bool,
    /// Whether they may belong to another identity at the service than those they replace.
    #[serde(default)]
    pub other_identity: bool,
}

/// An account that was connected.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectedView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its app.
    pub app: String,
    /// Its nickname.
    pub nickname: String,
    /// Who owns it.
    #[schema(value_type = String)]
    pub owner: MemberId,
    /// Who else may use it.
    #[schema(value_type = schema::Access)]
    pub access: Access,
    /// What its owner should know.
    pub warnings: Vec<String>,
}

impl From<keyhole_host_api::accounts::Connected> for ConnectedView {
    fn from(connected: keyhole_host_api::accounts::Connected) -> Self {
        let (account, warnings) = (connected.account, connected.warnings);
        Self {
            id: account.id,
            app: account.app,
            nickname: account.nickname,
            owner: account.owner,
            access: account.access,
            warnings,
        }
    }
}

/// Another nickname.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The nickname: one line of at most 100 characters.
    pub nickname: String,
}

/// Who may use an account from now on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAccess {
    /// Who, besides its owner.
    #[schema(value_type = schema::Access)]
    pub access: Access,
}

/// One member more who may use an account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The member.
    #[schema(min_length = 1)]
    pub member: String,
}

/// An account's access after a change of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccessView {
    /// The account's id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// Who may use it besides its owner.
    #[schema(value_type = schema::Access)]
    pub access: Access,
}

impl From<keyhole_host_api::accounts::Account> for AccessView {
    fn from(account: keyhole_host_api::accounts::Account) -> Self {
        Self { id: account.id, nickname: account.nickname, access: account.access }
    }
}

/// An account that was deleted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// Its id.
    #[schema(value_type = String)]
    pub deleted: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// What became of its tokens at the service: `revoked`, `not_possible` or `failed`.
    pub upstream: String,
    /// Why they could not be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_error: Option<String>,
}

impl Deleted {
    /// What became of it here and at the service.
    pub fn new(deleted: AccountId, nickname: String, upstream: Upstream) -> Self {
        let (upstream, upstream_error) = told(upstream);
        Self { deleted, nickname, upstream, upstream_error }
    }
}

/// What became of tokens at the service, and why they could not be revoked.
fn told(upstream: Upstream) -> (String, Option<String>) {
    match upstream {
        Upstream::Revoked => ("revoked".to_owned(), None),
        Upstream::NotPossible => ("not_possible".to_owned(), None),
        Upstream::Failed(why) => ("failed".to_owned(), Some(why)),
    }
}

/// A field that an app asks for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FieldView {
    /// Its name.
    pub name: String,
    /// What a person calls it.
    pub label: String,
    /// Whether it is a credential.
    pub secret: bool,
    /// Whether steps get not even a placeholder for it.
    pub host_only: bool,
    /// Whether an account can do without it.
    pub optional: bool,
    /// The values that there are. Empty: any.
    pub choices: Vec<String>,
    /// The value if none is given.
    pub default: Option<String>,
    /// What it is.
    pub help: Option<String>,
    /// Where to find it.
    pub find: Option<String>,
    /// Whether the service gives it when an account is connected by OAuth.
    #[serde(default)]
    pub by_oauth: bool,
}

impl FieldView {
    fn new(field: &FieldDef, by_oauth: bool) -> Self {
        Self {
            name: field.name.clone(),
            label: field.label.clone(),
            secret: field.secret,
            host_only: field.host_only,
            optional: field.optional,
            choices: field.choices.clone(),
            default: field.default.clone(),
            help: field.help.clone(),
            find: field.find.clone(),
            by_oauth,
        }
    }
}

impl From<&FieldDef> for FieldView {
    fn from(field: &FieldDef) -> Self {
        Self::new(field, false)
    }
}

/// How accounts of an app can be connected by OAuth.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OAuthView {
    /// Whether a member is sent to the service; else the client asks for itself.
    pub asks_member: bool,
    /// Whether a code can be entered on another device.
    pub device: bool,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// Whether each account brings a client of its own; else an operator configures one.
    pub own_client: bool,
}

/// An app, in short.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AppSummary {
    /// Its name.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// The hosts that its secrets may go to.
    pub hosts: Vec<String>,
    /// The fields that it asks for.
    pub fields: Vec<String>,
    /// Where its definition is from.
    pub source: String,
}

/// An app.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AppView {
    /// Its name.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// The vendor's page on authentication.
    pub docs: Option<String>,
    /// Where requests start.
    pub base_url: Option<String>,
    /// The hosts that its secrets may go to.
    pub hosts: Vec<String>,
    /// The fields that it asks for.
    pub fields: Vec<FieldView>,
    /// Where secrets stand in a request.
    pub places: Vec<String>,
    /// Where they may stand, too.
    pub alternatives: Vec<String>,
    /// Headers without a secret.
    pub headers: Vec<String>,
    /// What steps may not ask for.
    pub denied: Vec<String>,
    /// How an account is tested.
    pub test: Option<String>,
    /// What the signer signs.
    pub signing: Vec<String>,
    /// Where its definition is from.
    pub source: String,
    /// How its accounts are connected by OAuth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthView>,
}

impl From<&App> for AppSummary {
    fn from(app: &App) -> Self {
        Self {
            name: app.name.clone(),
            title: app.title.clone(),
            hosts: app.hosts.iter().map(ToString::to_string).collect(),
            fields: app.fields.iter().map(|field| field.name.clone()).collect(),
            source: source(app),
        }
    }
}

impl From<&App> for AppView {
    fn from(app: &App) -> Self {
        let by_oauth = |name: &str| app.oauth.as_ref().is_some_and(|def| def.supplies(name) || name == "oauth_uid");
        Self {
            name: app.name.clone(),
            title: app.title.clone(),
            docs: app.docs.as_ref().map(ToString::to_string),
            base_url: app.base_url.as_ref().map(ToString::to_string),
            hosts: app.hosts.iter().map(ToString::to_string).collect(),
            fields: app.fields.iter().map(|field| FieldView::new(field, by_oauth(&field.name))).collect(),
            places: app.places.iter().map(place).collect(),
            alternatives: app.alternatives.iter().map(place).collect(),
            headers: app.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
            denied: app.deny.iter().map(ToString::to_string).collect(),
            test: app.test.as_ref().map(|test| format!("{} {}", test.method, test.path)),
            signing: app.signing.keys().cloned().collect(),
            source: source(app),
            oauth: app.oauth.as_ref().map(|def| OAuthView {
                asks_member: def.flow == Flow::Member,
                device: def.device.is_some(),
                scopes: def.scopes.clone(),
                own_client: def.own_client.is_some(),
            }),
        }
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::Header { name, template } => format!("header {name}: {template}"),
        Place::Basic { username, password } => format!("header authorization: Basic {username}:{password}"),
        Place::Query { name, template } => format!("query {name}={template}"),
        Place::Segment { index, template } => format!("part {index} of the path: {template}"),
        Place::Json { pointer, template } => format!("JSON body at {pointer}: {template}"),
        Place::Form { name, template } => format!("form field {name}={template}"),
        Place::Part { name, template } => format!("multipart field {name}={template}"),
        other => format!("{other:?}"),
    }
}

/// Where it is from. Not the operator's path: that is nobody else's business.
fn source(app: &App) -> String {
    match &app.source {
        Source::Keyhole => "Keyhole".to_owned(),
        Source::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        Source::Account => "the account".to_owned(),
    }
}

/// Which accounts to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AccountsQuery {
    /// Only those of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}

/// Which records of the audit to list.
#[derive(Clone, Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only this account, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only runs on behalf of this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Only this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Only since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only those that were allowed, or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Decision>)]
    pub decision: Option<keyhole_host_api::broker::Decision>,
    /// At most so many, the newest.
    #[serde(default = "some_records")]
    #[param(default = 100, minimum = 0)]
    pub limit: u32,
}

const fn some_records() -> u32 {
    100
}

/// A token, without its text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// What they call it.
    pub name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Until when it is valid.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        let Token { id, member, name, created, expires, last_used } = token;
        Self { id: id.to_string(), member, name, created, expires, last_used }
    }
}

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What to call it.
    pub name: String,
    /// For how many seconds it is valid; 90 days if nothing is said, 366 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u32>,
}

/// A token that was just made. Its text is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// What may be seen of it from now on.
    #[serde(flatten)]
    pub token: TokenView,
    /// Its text.
    #[serde(rename = "token")]
    #[schema(value_type = String)]
    pub text: Hidden,
}

/// Whose tokens to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TokensQuery {
    /// Those of every member, which admins may see.
    #[serde(default)]
    #[param(default = false)]
    pub all: bool,
}

/// A connect link, without its address.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// Its id.
    pub id: String,
    /// Who will own the account.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// The app.
    pub app: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Until when it is valid.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

impl From<Link> for LinkView {
    fn from(link: Link) -> Self {
        let Link { id, member, app, created, expires } = link;
        Self { id: id.to_string(), member, app, created, expires }
    }
}

/// A connect link to make, for an account of the caller's.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// The app.
    pub app: String,
    /// For how many seconds it is valid; a day if nothing is said, 7 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u32>,
}

/// A connect link that was just made. Its address is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedLink {
    /// What may be seen of it from now on.
    #[serde(flatten)]
    pub link: LinkView,
    /// Its address, for a browser. Only the path where the server was not told its public URL.
    #[schema(value_type = String)]
    pub url: Hidden,
}

/// An account to connect by OAuth, or to connect anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartOAuth {
    /// The app. May be left out for an account that is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// What to call it; else what the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// The fields that the service does not give.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub fields: Fields,
    /// The scopes to ask for instead of the definition's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// The id of the account to connect anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Whether it may come to belong to another identity at the service.
    #[serde(default)]
    pub other_identity: bool,
    /// Whether to ask the service whose it is before it is stored.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub test: bool,
    /// Where the browser is to come back to: a loopback address that the caller listens on.
    /// Needed for the browser's way alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// A connection that goes on in the browser.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct BegunView {
    /// Where to send the member.
    pub url: String,
    /// What the answer carries.
    pub state: String,
    /// Until when they have time.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

/// Where the browser came back.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishOAuth {
    /// The whole address, with its query.
    #[schema(value_type = String)]
    pub callback: Hidden,
}

/// A code to enter on another device.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    /// What to ask with whether it was entered.
    pub ticket: String,
    /// The code.
    pub user_code: String,
    /// Where to enter it.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// Until when there is time.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// How many milliseconds to wait before asking.
    pub interval: u64,
}

/// Asks whether the code was entered.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PollDevice {
    /// The ticket.
    #[schema(value_type = String)]
    pub ticket: Hidden,
}

/// Whether the code was entered.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// Not yet. Ask again after so many milliseconds.
    Pending(u64),
    /// The account is connected.
    Connected(ConnectedView),
}

/// What came of a test of an account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tested {
    /// The account's id.
    #[schema(value_type = String)]
    pub id: AccountId,
    /// Its nickname.
    pub nickname: String,
    /// Whether the service takes its credentials. Null if its app has no way to tell.
    pub works: Option<bool>,
    /// What the service said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An OAuth client to configure for an app.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClient {
    /// Its id.
    pub client_id: String,
    /// Its secret. None for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub client_secret: Option<Hidden>,
}

/// What became of an app's OAuth client.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Forgotten {
    /// The app.
    pub app: String,
    /// Whether there was one.
    pub forgotten: bool,
}
