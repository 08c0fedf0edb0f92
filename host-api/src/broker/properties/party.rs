//! An account of an app with a place of every kind, as a step has been handed it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::super::placeholder::{Origin, Shape, Table};
use super::super::survey::Party;
use crate::accounts::{Access, Account, AccountId, Health};
use crate::apps::check;

const APP: &str = r#"keyhole = 1
name = "acme"
title = "Acme"
hosts = ["api.acme.example"]

[[field]]
name = "token"
secret = true
prefixes = ["xoxb-"]

[[place]]
header = "X-Key"
template = "Key {token}"

[[place]]
basic = { username = "{token}", password = "" }
alternative = true

[[place]]
query = "key"
template = "{token}"
alternative = true

[[place]]
segment = 2
template = "k{token}"
alternative = true

[[place]]
json = "/auth/token"
template = "{token}"
alternative = true

[[place]]
json = "/list/1/a~1b"
template = "key:{token}"
alternative = true

[[place]]
form = "token"
template = "{token}"
alternative = true

[[place]]
multipart = "token"
template = "{token}"
alternative = true
"#;

/// What a session knows of its account, and the placeholder that the step has.
pub(super) struct Handed {
    pub table: Table,
    pub parties: BTreeMap<AccountId, Arc<Party>>,
    pub placeholder: String,
}

/// Made once: a placeholder is drawn at random, so no case can hold one but by asking for it.
pub(super) fn handed() -> &'static Handed {
    static HANDED: OnceLock<Handed> = OnceLock::new();
    HANDED.get_or_init(|| {
        let app = check(APP, "acme.toml").unwrap_or_else(|errors| panic!("{errors:?}"));
        let id: AccountId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap_or_else(|error| panic!("{error}"));
        // Never opened: what is put in the placeholder's stead is the case's.
        let sealed = serde_json::json!({ "key": "none", "wrapped": "", "fields": {} });
        let account = Account {
            id: id.clone(),
            app: app.name.clone(),
            nickname: "main".to_owned(),
            owner: "ada".parse().unwrap_or_else(|error| panic!("{error}")),
            access: Access::Private,
            health: Health::Ok,
            version: 1,
            created: Timestamp::UNIX_EPOCH,
            updated: Timestamp::UNIX_EPOCH,
            proved: None,
            plain: BTreeMap::new(),
            shapes: BTreeMap::from([("token".to_owned(), crate::accounts::Shape::default())]),
            uid: None,
            custom: None,
            oauth: None,
            history: Vec::new(),
            sealed: serde_json::from_value(sealed).unwrap_or_else(|error| panic!("{error}")),
        };
        let mut table = Table::default();
        let origin =
            Origin { account: id.clone(), app: app.name.clone(), field: "token".to_owned(), prop: "acme".to_owned() };
        let shape = Shape { prefix: "xoxb-", length: None };
        let placeholder = table.mint(origin, shape).unwrap_or_else(|error| panic!("{error}"));
        let party = Party { account: Arc::new(account), app: Arc::new(app) };
        Handed { table, parties: BTreeMap::from([(id, Arc::new(party))]), placeholder }
    })
}
