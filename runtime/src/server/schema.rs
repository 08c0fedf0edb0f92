//! The OpenAPI document: what the routes say of themselves, and what holds for all of them.
//!
//! The types in here only describe those of `keyhole_host_api`, which goes over the wire as
//! it is; a test holds each against the real one.
#![allow(dead_code, reason = "the types are there to be described")]

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, RefOr, ResponseBuilder, SecurityRequirement};

use super::model::Need;
use super::problem::{MEDIA_TYPE, Problem};

/// The name of the only security scheme.
const TOKEN: &str = "token";

/// What a member may do besides using accounts.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Adds and removes members, sees that an account exists, deletes it.
    Admin,
    /// Connects and uses accounts.
    Member,
}

/// Who may use an account besides its owner.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Nobody.
    Private,
    /// Every member.
    Workspace,
    /// These members.
    Members(Vec<String>),
}

/// Whether an account's credentials work, as far as is known.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// They do.
    Ok,
    /// They do not.
    ReconnectNeeded {
        /// What the service said.
        reason: String,
    },
}

/// What may be seen of an account.
#[derive(ToSchema)]
pub struct Account {
    /// The id.
    pub id: String,
    /// The app's name.
    pub app: String,
    /// What its owner calls it.
    pub nickname: String,
    /// Who connected it.
    pub owner: String,
    /// Who else may use it.
    pub access: Access,
    /// Whether it works.
    pub health: Health,
    /// When it was connected.
    #[schema(format = DateTime)]
    pub created: String,
    /// When it was last changed.
    #[schema(format = DateTime)]
    pub updated: String,
    /// How many requests carried its credentials.
    pub uses: u64,
    /// When the last of them was.
    #[schema(format = DateTime, required = false, nullable = false)]
    pub last_used: Option<String>,
    /// Whether the caller may use it. An admin sees accounts that they may not.
    pub usable: bool,
    /// The workflows that use it, `OWNER/NAME`: all to its owner and to an admin, their own to others.
    pub workflows: Vec<String>,
    /// The plain fields. Empty for whoever may not use it.
    pub plain: BTreeMap<String, String>,
    /// The names of the secret fields.
    pub secrets: Vec<String>,
    /// What identifies it at the service.
    #[schema(required = false, nullable = false)]
    pub uid: Option<String>,
    /// What is known of its tokens, if it was connected by OAuth.
    #[schema(required = false, nullable = false)]
    pub oauth: Option<Tokens>,
    /// The scopes that its workflows say they need, where it is shown by itself and there are any.
    #[schema(required = false, nullable = false)]
    pub needs: Option<Vec<Need>>,
    /// What happened to it, oldest first, where it is shown by itself.
    #[schema(required = false, nullable = false)]
    pub history: Option<Vec<Event>>,
}

/// Something that happened to an account.
#[derive(ToSchema)]
pub struct Event {
    /// When; the last time, if it happened several times in a row.
    #[schema(format = DateTime)]
    pub at: String,
    /// Who did it. None for what Keyhole did by itself.
    #[schema(required = false, nullable = false)]
    pub by: Option<String>,
    /// How often it happened in a row.
    pub times: u64,
    /// `connected`, `reconnected`, `refreshed`, `reconnect_needed`, `renamed` or `access`.
    pub what: String,
    /// Of a refresh: whether the service gave a new refresh token.
    #[schema(required = false, nullable = false)]
    pub rotated: Option<bool>,
    /// Why it must be reconnected.
    #[schema(required = false, nullable = false)]
    pub reason: Option<String>,
    /// The nickname before, or who could use it.
    #[schema(required = false, nullable = false)]
    pub from: Option<String>,
    /// The nickname since, or who can use it.
    #[schema(required = false, nullable = false)]
    pub to: Option<String>,
}

/// What may be known of an account's tokens.
#[derive(ToSchema)]
pub struct Tokens {
    /// The scopes that the service granted.
    pub scopes: Vec<String>,
    /// When the access token was given out.
    #[schema(format = DateTime)]
    pub obtained: String,
    /// When it expires.
    #[schema(format = DateTime, required = false, nullable = false)]
    pub expires: Option<String>,
    /// How often it was refreshed since the account was connected.
    pub refreshes: u64,
}

/// What the broker decided of a request.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Sent, with a credential.
    Allowed,
    /// Refused; nothing left the host.
    Refused,
}

/// Which of what the audit tells.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Requests of steps, and accounts that were refused to them.
    Request,
    /// What was done to the workspace.
    Act,
}

/// Something that the audit tells.
#[derive(ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Audited {
    /// A step's request, or an account that was refused to it.
    Request(Use),
    /// What was done to the workspace.
    Act(Act),
}

/// What was done to the workspace, or somebody was kept from.
#[derive(ToSchema)]
pub struct Act {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What, such as `members_add`: the name of the call that does it, or `sign_in`.
    pub act: String,
    /// Who did it, where that is a member.
    #[schema(required = false, nullable = false)]
    pub member: Option<String>,
    /// What they proved who they are with; `operator` is whoever has the data directory.
    #[schema(required = false, nullable = false)]
    pub by: Option<String>,
    /// Whom it was done to.
    #[schema(required = false, nullable = false)]
    pub about: Option<String>,
    /// The account that it was done to.
    #[schema(required = false, nullable = false)]
    pub account: Option<String>,
    /// Its app, or the app that it was done to.
    #[schema(required = false, nullable = false)]
    pub app: Option<String>,
    /// More of it: the role, who has access now, which token.
    #[schema(required = false, nullable = false)]
    pub detail: Option<String>,
    /// From which address, where it came over the network.
    #[schema(required = false, nullable = false)]
    pub from: Option<String>,
    /// Whether it was done.
    pub decision: Decision,
    /// Why it was not.
    #[schema(required = false, nullable = false)]
    pub reason: Option<String>,
}

/// One use of an account, or the refusal of one.
#[derive(ToSchema)]
pub struct Use {
    /// Its id.
    pub id: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The run.
    pub run: String,
    /// The step within the run.
    pub step: String,
    /// On whose behalf the run was.
    pub member: String,
    /// The account.
    #[schema(required = false, nullable = false)]
    pub account: Option<String>,
    /// Its app.
    #[schema(required = false, nullable = false)]
    pub app: Option<String>,
    /// The request's method.
    pub method: String,
    /// The request's host.
    pub host: String,
    /// The request's path. Never the query.
    pub path: String,
    /// The answer's status.
    #[schema(required = false, nullable = false)]
    pub status: Option<u16>,
    /// Bytes of the request's body.
    pub bytes_out: u64,
    /// Bytes of the answer's body.
    pub bytes_in: u64,
    /// What was decided.
    pub decision: Decision,
    /// Why it was refused, or how it failed.
    #[schema(required = false, nullable = false)]
    pub reason: Option<String>,
}

/// A record of the audit that was there.
#[derive(ToSchema)]
pub struct Head {
    /// Its writer.
    pub writer: String,
    /// Its place in that writer's chain.
    pub seq: u64,
    /// When it was written, to the millisecond.
    #[schema(format = DateTime)]
    pub at: String,
    /// Its hash.
    pub hash: String,
}

/// What is wrong with a record of the audit.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Its content is not what its hash says, or what follows stands on something else.
    Changed,
    /// It is not there, nor are some before it.
    Missing,
    /// There is another with its count.
    Duplicate,
    /// It is not where it was written.
    Moved,
    /// It is no record.
    Unreadable,
    /// It has a format that this version does not know.
    Newer,
    /// It was hashed with a key that is not at hand.
    NoKey,
    /// It has no key, and is younger than records that have.
    Unkeyed,
    /// Retention did not write this mark.
    Mark,
}

/// Something that is wrong with the audit.
#[derive(ToSchema)]
pub struct Finding {
    /// The record's writer.
    #[schema(required = false, nullable = false)]
    pub writer: Option<String>,
    /// Its count within that writer's chain.
    #[schema(required = false, nullable = false)]
    pub seq: Option<u64>,
    /// When it was written; of what is missing, when what follows or tells of it was.
    #[schema(format = DateTime, required = false, nullable = false)]
    pub at: Option<String>,
    /// What is wrong.
    pub what: What,
    /// Of `missing` and `no_key`: how many records.
    #[schema(required = false, nullable = false)]
    pub records: Option<u64>,
    /// Of `newer`: the format.
    #[schema(required = false, nullable = false)]
    pub format: Option<u32>,
    /// Of `no_key`: id of the master key.
    #[schema(required = false, nullable = false)]
    pub key: Option<String>,
    /// Its key in the store, or which line it is.
    #[schema(required = false, nullable = false)]
    pub place: Option<String>,
}

/// What was found when the audit was verified.
#[derive(ToSchema)]
pub struct Verified {
    /// Records that were read.
    pub records: u64,
    /// Those of older versions, which have no key: whoever could write the store could have made them.
    pub unkeyed: u64,
    /// Writers that they are of.
    pub writers: u64,
    /// How many things are wrong.
    pub wrong: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// The newest record of each writer, of those that wrote last.
    pub heads: Vec<Head>,
}

/// What was removed of the audit.
#[derive(ToSchema)]
pub struct Pruned {
    /// So many records.
    pub removed: u64,
    /// So many are older and were kept: an outcome may be still to come, or they can't be read.
    pub kept: u64,
    /// Whether there are more to remove: call again.
    pub more: bool,
}

/// The operator's OAuth client for an app.
#[derive(ToSchema)]
pub struct Client {
    /// The app.
    pub app: String,
    /// The client's id.
    pub client_id: String,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// When it was configured.
    #[schema(format = DateTime)]
    pub configured: String,
}

/// A member's own definition of a service that has none.
#[derive(ToSchema)]
pub struct CustomApp {
    /// What people call the service.
    #[schema(required = false)]
    pub title: String,
    /// The only hosts that its secrets may go to.
    pub hosts: Vec<String>,
    /// Where requests start. Ends with '/'.
    pub base_url: Option<String>,
    /// What the account consists of.
    pub fields: Vec<CustomField>,
    /// Where the secrets go.
    pub places: Vec<CustomPlace>,
    /// Headers without a secret.
    #[schema(required = false)]
    pub headers: BTreeMap<String, String>,
}

/// A field of a custom app.
#[derive(ToSchema)]
pub struct CustomField {
    /// Its name.
    pub name: String,
    /// Whether it is a credential.
    #[schema(required = false)]
    pub secret: bool,
}

/// Where a secret goes.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CustomPlace {
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// Its value, such as `Bearer {token}`.
        template: String,
    },
    /// `Authorization: Basic`.
    Basic {
        /// The template before the colon.
        username: String,
        /// The template after it.
        #[schema(required = false)]
        password: String,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
        /// Its value.
        template: String,
    },
    /// A part of the path.
    Segment {
        /// Which, from 1: the part after the first `/`.
        index: u32,
        /// Its value, such as `bot{token}`.
        template: String,
    },
    /// A value in a JSON body.
    Json {
        /// Where, as a JSON pointer (RFC 6901).
        pointer: String,
        /// Its value.
        template: String,
    },
    /// A field of a form body.
    Form {
        /// Its name.
        name: String,
        /// Its value.
        template: String,
    },
}

/// One document of the routes that are open and those that need a token.
pub(super) fn document(open: OpenApi, closed: OpenApi) -> OpenApi {
    let mut document = open;
    for item in document.paths.paths.values_mut() {
        each_operation(item, |operation| operation.security = Some(vec![SecurityRequirement::default()]));
    }
    document.merge(closed);
    document.info = InfoBuilder::new()
        .title("Keyhole")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Members, accounts, apps, tokens and the audit of one Keyhole. Every error is a problem (RFC 9457). \
             Whether something is not there, or not the caller's to know of, looks alike.",
        ))
        .build();
    document.security = Some(vec![SecurityRequirement::new::<_, _, &str>(TOKEN, [])]);
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A member's token: keyhole tokens create"))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
    components.schemas.insert("Problem".to_owned(), <Problem as utoipa::PartialSchema>::schema());
    let problem = ResponseBuilder::new()
        .description("It was not done, and this is why")
        .content(
            MEDIA_TYPE,
            ContentBuilder::new().schema(Some(utoipa::openapi::Ref::from_schema_name("Problem"))).build(),
        )
        .build();
    for item in document.paths.paths.values_mut() {
        each_operation(item, |operation| {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(problem.clone()));
        });
    }
    document
}

fn each_operation(item: &mut utoipa::openapi::PathItem, mut change: impl FnMut(&mut utoipa::openapi::path::Operation)) {
    for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete] {
        operation.iter_mut().for_each(&mut change);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use keyhole_host_api::broker::audit;
    use keyhole_host_api::{accounts, apps, broker, oauth};
    use serde_json::{Value, json};
    use utoipa::PartialSchema;

    use super::*;
    use crate::server::model::AccountView;

    /// The members of `value`, all of which must be described, and nothing else.
    fn fits<T: PartialSchema>(whole: &impl serde::Serialize, sparse: &impl serde::Serialize) {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&schema["properties"]), names(&serde_json::to_value(whole).unwrap()));
        let required: BTreeSet<String> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        assert_eq!(required, names(&serde_json::to_value(sparse).unwrap()));
    }

    #[test]
    fn each_description_fits_its_type() {
        let tokens = accounts::Tokens::now(Vec::new(), Some(std::time::Duration::from_secs(60)));
        let account = accounts::Summary {
            id: "01JDZZZZZZZZZZZZZZZZZZZZZZ".parse().unwrap(),
            app: "acme".into(),
            nickname: "a".into(),
            owner: "alice".parse().unwrap(),
            access: accounts::Access::Private,
            health: accounts::Health::Ok,
            created: Timestamp::now(),
            updated: Timestamp::now(),
            uses: 0,
            last_used: Some(Timestamp::now()),
            usable: true,
            plain: BTreeMap::new(),
            secrets: Vec::new(),
            uid: Some("u".into()),
            oauth: Some(tokens.clone()),
        };
        let sparse = accounts::Summary { uid: None, oauth: None, last_used: None, ..account.clone() };
        let view = |account, needs, history| AccountView { account, workflows: Vec::new(), needs, history };
        let need = Need { scope: "s".into(), workflows: Vec::new(), granted: None };
        let event = |what| accounts::Event { at: Timestamp::now(), by: Some("alice".parse().unwrap()), times: 1, what };
        let happened = event(accounts::What::Connected);
        fits::<Account>(&view(account, vec![need], vec![happened.clone()]), &view(sparse, Vec::new(), Vec::new()));
        let mut whole = serde_json::to_value(event(accounts::What::Refreshed { rotated: true })).unwrap();
        for what in [
            accounts::What::ReconnectNeeded { reason: "r".into() },
            accounts::What::Renamed { from: "a".into(), to: "b".into() },
            accounts::What::Access { from: "private".into(), to: "bob".into() },
        ] {
            let more = serde_json::to_value(event(what)).unwrap();
            whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        fits::<Event>(&whole, &accounts::Event { by: None, ..happened });
        fits::<Tokens>(&tokens, &accounts::Tokens { expires: None, ..tokens.clone() });
        let used = broker::Use {
            id: "i".into(),
            at: Timestamp::now(),
            run: "r".into(),
            step: "s".into(),
            member: "alice".into(),
            account: Some("a".into()),
            app: Some("acme".into()),
            method: "GET".into(),
            host: "h".into(),
            path: "/".into(),
            status: Some(200),
            bytes_out: 0,
            bytes_in: 0,
            decision: broker::Decision::Allowed,
            reason: Some("r".into()),
        };
        let sparse = broker::Use { account: None, app: None, status: None, reason: None, ..used.clone() };
        fits::<Use>(&used, &sparse);
        let act = audit::Act::refused("members_add", "r").member("ann").by("token k").about("alice");
        let act = act.account("a", "acme").detail("member").from("192.0.2.1".parse().ok());
        let sparse = audit::Act { at: act.at, decision: broker::Decision::Refused, ..audit::Act::done("members_add") };
        fits::<Act>(&act, &sparse);
        let head = audit::Head { writer: "w".into(), seq: 1, at: Timestamp::now(), hash: "h".into() };
        fits::<Head>(&head, &head);
        let finding = audit::Finding {
            writer: Some("w".into()),
            seq: Some(1),
            at: Some(Timestamp::now()),
            what: audit::What::NoKey { key: "k".into(), records: 1 },
            place: Some("p".into()),
        };
        let mut whole = serde_json::to_value(&finding).unwrap();
        let newer = serde_json::to_value(audit::What::Newer { format: 4 }).unwrap();
        whole["format"] = newer["format"].clone();
        let changed = audit::What::Changed;
        let sparse = audit::Finding { writer: None, seq: None, at: None, what: changed, place: None };
        fits::<Finding>(&whole, &sparse);
        fits::<Verified>(&audit::Verified::default(), &audit::Verified::default());
        fits::<Pruned>(&audit::Pruned::default(), &audit::Pruned::default());
        let client = oauth::ClientSummary {
            app: "acme".into(),
            client_id: "c".into(),
            has_secret: false,
            configured: Timestamp::now(),
        };
        fits::<Client>(&client, &client);
        // What a custom app may leave out is what serde has a default for.
        let least = json!({"hosts": [], "fields": [], "places": []});
        let read: apps::CustomApp = serde_json::from_value(least.clone()).unwrap();
        let whole = apps::CustomApp {
            title: "t".into(),
            base_url: Some("b".into()),
            headers: [("a".to_owned(), "b".to_owned())].into(),
            ..read
        };
        fits::<CustomApp>(&whole, &least);
    }

    #[test]
    fn the_words_of_each_choice_are_those_of_its_type() {
        let words = |schema: Value| schema["enum"].clone();
        assert_eq!(words(serde_json::to_value(Role::schema()).unwrap()), json!(["admin", "member"]));
        assert_eq!(words(serde_json::to_value(Decision::schema()).unwrap()), json!(["allowed", "refused"]));
        assert_eq!(words(serde_json::to_value(Kind::schema()).unwrap()), json!(["request", "act"]));
        let access = serde_json::to_value(Access::schema()).unwrap().to_string();
        for word in ["private", "workspace", "members"] {
            assert!(access.contains(word), "{access}");
        }
    }

    #[test]
    fn every_call_is_described_with_what_it_needs() {
        let document = serde_json::to_value(super::super::document()).unwrap();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(path.starts_with("/api/"), "{path}");
            for (method, call) in item.as_object().unwrap() {
                assert!(names.insert(call["operationId"].as_str().unwrap().to_owned()), "{path} {method}");
                assert!(call["responses"]["default"].is_object(), "{path} {method}");
                assert!(call["summary"].is_string(), "{path} {method}");
            }
        }
        assert!(names.len() > 25, "{names:?}");
    }
}
