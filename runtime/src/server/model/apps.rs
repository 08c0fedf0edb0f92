//! Apps, their fields, and the OAuth clients for them.

use keyhole_host_api::apps::{App, FieldDef, Flow, Place, SigV4Def, Source};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Hidden;

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
    /// Whether its value has several lines, as a key in PEM has.
    #[serde(default)]
    pub lines: bool,
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
            lines: field.lines,
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
            places: app.places.iter().map(place).chain(app.sigv4.iter().map(signature)).collect(),
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
        Place::Encoded { name, value } => format!("header {name}: {value}"),
        Place::Basic { username, password } => format!("header authorization: Basic {username}:{password}"),
        Place::Query { name, template } => format!("query {name}={template}"),
        Place::Segment { index, template } => format!("part {index} of the path: {template}"),
        Place::Json { pointer, template } => format!("JSON body at {pointer}: {template}"),
        Place::Form { name, template } => format!("form field {name}={template}"),
        Place::Part { name, template } => format!("multipart field {name}={template}"),
        other => format!("{other:?}"),
    }
}

fn signature(def: &SigV4Def) -> String {
    format!("signature of {{{}}} and {{{}}} (AWS Signature Version 4)", def.access_key_id, def.secret_access_key)
}

/// Where it is from. Not the operator's path: that is nobody else's business.
fn source(app: &App) -> String {
    match &app.source {
        Source::Keyhole => "Keyhole".to_owned(),
        Source::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        Source::Account => "the account".to_owned(),
    }
}

/// An app to add.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Its definition, in TOML.
    pub definition: String,
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
