//! Claims about accounts, on a real store and a real vault.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::apps::{CustomField, CustomPlace};
use crate::members::{MemberError, Role};
use crate::store::redb::RedbStore;
use crate::store::{Durable, Expect, Revision, Versioned};
use crate::vault::MasterKeySource;

const TOKEN: &str = "xoxb-1234567890-hunter2hunter2";

/// Counts reads, and fails them on demand.
pub(super) struct Watched {
    inner: RedbStore,
    reads: AtomicUsize,
    broken: AtomicBool,
}

#[async_trait]
impl Store for Watched {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match self.broken.load(Ordering::Relaxed) {
            true => Err(StoreError::Failed("broken".into())),
            false => self.inner.get(key).await,
        }
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn write(&self, key: &str, expect: Expect, value: Option<Vec<u8>>) -> Result<Revision, StoreError> {
        self.inner.write(key, expect, value).await
    }

    fn write_soon(&self, key: &str, value: Vec<u8>) -> Result<(), StoreError> {
        self.inner.write_soon(key, value)
    }

    fn write_all_soon(&self, records: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        self.inner.write_all_soon(records)
    }

    async fn scan_back(
        &self,
        prefix: &str,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.scan_back(prefix, before, limit).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    fn append(&self, key: &str, value: Vec<u8>) -> Result<Durable, StoreError> {
        self.inner.append(key, value)
    }

    async fn replace(&self, records: Vec<(String, Vec<u8>)>, kept: &'static [&'static str]) -> Result<(), StoreError> {
        self.inner.replace(records, kept).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush().await
    }
}

pub(super) struct House {
    store: Arc<Watched>,
    pub(super) accounts: Arc<Accounts>,
    dir: tempfile::TempDir,
}

pub(super) fn who(name: &str) -> MemberId {
    name.parse().unwrap()
}

fn fields(given: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    given.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned()))).collect()
}

pub(super) fn slack() -> Connect {
    connect("slack", &[("oauth_access_token", TOKEN)])
}

fn connect(app: &str, given: &[(&str, &str)]) -> Connect {
    Connect { app: app.to_owned(), nickname: None, fields: fields(given), custom: None }
}

/// A workspace with the admin ann, and the members alice, bob and carol.
pub(super) async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let inner = RedbStore::open(dir.path()).unwrap();
    let store = Arc::new(Watched { inner, reads: AtomicUsize::new(0), broken: AtomicBool::new(false) });
    let source = MasterKeySource::File(dir.path().join("master.key"));
    let vault = Arc::new(Vault::open(source, &(store.clone() as Arc<dyn Store>)).await.unwrap());
    let accounts = Arc::new(Accounts::new(store.clone(), vault, Arc::new(Catalog::embedded()), "w1"));
    for name in ["ann", "alice", "bob", "carol"] {
        accounts.members().add(who(name), None).await.unwrap();
    }
    House { store, accounts, dir }
}

/// Every byte under `dir`.
fn bytes_of(dir: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.flat_map(|path| std::fs::read(path).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn the_first_member_is_the_admin() {
    let House { accounts, .. } = house().await;
    let roles: Vec<_> =
        accounts.members().list().await.unwrap().into_iter().map(|m| (m.id.to_string(), m.role)).collect();
    let member = |name: &str| (name.to_owned(), Role::Member);
    assert_eq!(roles, [member("alice"), ("ann".to_owned(), Role::Admin), member("bob"), member("carol")]);
    let again = accounts.members().add(who("bob"), None).await;
    assert_eq!(again, Err(MemberError::Exists(who("bob"))));
}

#[tokio::test]
async fn a_new_account_is_private() {
    let House { accounts, .. } = house().await;
    let connected = accounts.connect(&who("alice"), slack()).await.unwrap();
    assert_eq!(connected.warnings, [""; 0]);
    assert_eq!(connected.account.access, Access::Private);
    assert_eq!(connected.account.nickname, "alice's Slack");
    assert_eq!(connected.account.shape("oauth_access_token").unwrap().prefix, "xoxb-");
    assert_eq!(accounts.secret(&connected.account, "oauth_access_token").unwrap().expose(), TOKEN);
}

#[tokio::test]
async fn access_is_as_the_matrix_says() {
    let House { accounts, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    // access, who, may use, sees
    let matrix = [
        ("private", "alice", true, true),
        ("private", "bob", false, false),
        ("private", "carol", false, false),
        ("private", "ann", false, true),
        ("bob", "alice", true, true),
        ("bob", "bob", true, true),
        ("bob", "carol", false, false),
        ("bob", "ann", false, true),
        ("workspace", "alice", true, true),
        ("workspace", "bob", true, true),
        ("workspace", "carol", true, true),
        ("workspace", "ann", true, true),
    ];
    for (access, name, may_use, sees) in matrix {
        accounts.set_access(&who("alice"), &id, access.parse().unwrap()).await.unwrap();
        let used = accounts.usable(&id, &who(name)).await;
        assert_eq!(used.is_ok(), may_use, "{access} {name}");
        if !may_use {
            assert!(matches!(used, Err(UseError::NoAccess { .. })), "{access} {name}");
        }
        let listed = accounts.list(&who(name)).await.unwrap();
        assert_eq!(listed.len(), usize::from(sees), "{access} {name}");
        assert!(listed.iter().all(|account| account.usable == may_use), "{access} {name}");
        assert_eq!(accounts.get(&who(name), &id).await.unwrap(), listed.first().cloned());
    }
    let nobody = accounts.usable(&id, &who("nobody")).await;
    assert!(matches!(nobody, Err(UseError::MemberRemoved(_))), "the whole workspace is its members");
}

#[tokio::test]
async fn a_revoked_grant_is_gone_at_the_next_check() {
    let House { accounts, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    for _ in 0..20 {
        accounts.grant(&who("alice"), &id, &who("bob")).await.unwrap();
        accounts.usable(&id, &who("bob")).await.unwrap();
        accounts.revoke(&who("alice"), &id, &who("bob")).await.unwrap();
        assert!(matches!(accounts.usable(&id, &who("bob")).await, Err(UseError::NoAccess { .. })));
    }
}

#[tokio::test]
async fn grants_made_at_once_are_all_kept() {
    let House { accounts, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    let names: Vec<String> = (0..24).map(|n| format!("m{n}")).collect();
    for name in &names {
        accounts.members().add(who(name), None).await.unwrap();
    }
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (accounts, id, to) = (accounts.clone(), id.clone(), who(name));
            tokio::spawn(async move { accounts.grant(&who("alice"), &id, &to).await.map(|_| ()) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for name in &names {
        accounts.usable(&id, &who(name)).await.unwrap();
    }
}

#[tokio::test]
async fn access_that_was_changed_meanwhile_is_not_written_over() {
    let House { accounts, .. } = house().await;
    let alice = who("alice");
    let id = accounts.connect(&alice, slack()).await.unwrap().account.id;
    accounts.grant(&alice, &id, &who("bob")).await.unwrap();
    let bobs = Access::Members([who("bob")].into());
    let refused = accounts.change_access(&alice, &id, Some(&Access::Private), Access::Workspace).await.err();
    assert!(matches!(refused, Some(ChangeError::AccessChanged)), "{refused:?}");
    assert_eq!(accounts.usable(&id, &who("bob")).await.unwrap().access, bobs);
    let changed = accounts.change_access(&alice, &id, Some(&bobs), Access::Private).await.unwrap();
    assert_eq!(changed.access, Access::Private);
}

#[tokio::test]
async fn only_the_owner_changes_an_account() {
    let House { accounts, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    accounts.grant(&who("alice"), &id, &who("bob")).await.unwrap();
    for name in ["bob", "carol", "ann", "nobody"] {
        let by = who(name);
        let new = fields(&[("oauth_access_token", "xoxb-0000000000-other")]);
        let refusals = [
            accounts.set_access(&by, &id, Access::Workspace).await.err(),
            accounts.grant(&by, &id, &who("carol")).await.err(),
            accounts.revoke(&by, &id, &who("bob")).await.err(),
            accounts.rename(&by, &id, "mine").await.err(),
            accounts.reconnect(&by, &id, new).await.err(),
        ];
        for refusal in refusals {
            // Whoever may see the account is told whose it is; the others, that there is none.
            let sees = name == "bob" || name == "ann";
            let refusal = refusal.unwrap();
            let fits = match sees {
                true => matches!(refusal, ChangeError::NotOwner { .. }),
                false => matches!(refusal, ChangeError::NotThere(_)),
            };
            assert!(fits, "{name}: {refusal}");
        }
    }
    assert!(matches!(accounts.delete(&who("bob"), &id).await, Err(ChangeError::NotOwner { .. })));
    assert!(matches!(accounts.delete(&who("carol"), &id).await, Err(ChangeError::NotThere(_))));
    let account = accounts.usable(&id, &who("alice")).await.unwrap();
    assert_eq!((account.nickname.as_str(), account.version), ("alice's Slack", 1));
}

#[tokio::test]
async fn not_there_and_not_yours_look_alike() {
    let House { accounts, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    let nothing = AccountId::generate();
    let carol = who("carol");
    let hidden = |text: String| text.replace(id.as_str(), "ID").replace(nothing.as_str(), "ID");
    for (theirs, none) in [
        (accounts.rename(&carol, &id, "x").await.err(), accounts.rename(&carol, &nothing, "x").await.err()),
        (accounts.delete(&carol, &id).await.err(), accounts.delete(&carol, &nothing).await.err()),
        (
            accounts.set_access(&carol, &id, Access::Workspace).await.err(),
            accounts.set_access(&carol, &nothing, Access::Workspace).await.err(),
        ),
    ] {
        assert_eq!(hidden(theirs.unwrap().to_string()), hidden(none.unwrap().to_string()));
    }
    assert_eq!(accounts.get(&carol, &id).await.unwrap(), None);
    let theirs = accounts.find(&carol, "alice's Slack").await.unwrap_err();
    assert_eq!(theirs.to_string().replace("alice's Slack", "X"), FindError::NotThere("X".into()).to_string());
    assert!(matches!(accounts.find(&carol, id.as_str()).await, Err(FindError::NotThere(_))));
}

#[tokio::test]
async fn an_admin_sees_and_deletes_but_does_not_use() {
    let House { accounts, .. } = house().await;
    let id = accounts.connect(&who("alice"), zendesk("acme")).await.unwrap().account.id;
    let seen = accounts.get(&who("ann"), &id).await.unwrap().unwrap();
    assert!(!seen.usable && seen.plain.is_empty());
    assert!(matches!(accounts.usable(&id, &who("ann")).await, Err(UseError::NoAccess { .. })));
    accounts.delete(&who("ann"), &id).await.unwrap();
    assert!(matches!(accounts.usable(&id, &who("alice")).await, Err(UseError::Deleted(_))));
}

#[tokio::test]
async fn a_deleted_account_leaves_a_tombstone_without_ciphertext() {
    let House { accounts, store, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    accounts.delete(&who("alice"), &id).await.unwrap();
    assert!(matches!(accounts.usable(&id, &who("alice")).await, Err(UseError::Deleted(_))));
    assert!(matches!(accounts.usable(&AccountId::generate(), &who("alice")).await, Err(UseError::NotThere(_))));
    let left = store.get(&format!("accounts/{id}")).await.unwrap().unwrap().value;
    let left = String::from_utf8(left).unwrap();
    assert!(!left.contains("sealed") && !left.contains("plain"), "{left}");
    assert_eq!(accounts.list(&who("alice")).await.unwrap(), []);
    assert!(matches!(accounts.delete(&who("alice"), &id).await, Err(ChangeError::NotThere(_))));
    assert!(matches!(accounts.rename(&who("alice"), &id, "x").await, Err(ChangeError::NotThere(_))));
}

fn zendesk(subdomain: &str) -> Connect {
    connect("zendesk", &[("subdomain", subdomain), ("email", "a@b.example"), ("api_token", "0123456789abcdef")])
}

#[tokio::test]
async fn no_field_smuggles_a_host_when_an_account_is_stored_nor_when_it_is_used() {
    let House { accounts, .. } = house().await;
    let evil = [
        "evil.com/",
        "a.b@c",
        "x#",
        "..",
        "evil.com",
        "a:1",
        "a/b",
        "a\\b",
        "a?b",
        "%2e",
        " acme",
        "acme ",
        "a\tb",
        "a\r\nb",
        "a\0",
        "-",
        "xn--",
        "*",
        "ａcme",
        "а",
        "",
    ];
    for subdomain in evil {
        let refused = accounts.connect(&who("alice"), zendesk(subdomain)).await;
        assert!(refused.is_err(), "{subdomain:?}");
    }
    let account = accounts.connect(&who("alice"), zendesk("acme")).await.unwrap().account;
    let app = account.app(accounts.catalog()).unwrap();
    assert_eq!(account.hosts(&app).unwrap()[0].to_string(), "acme.zendesk.com");
    for subdomain in evil {
        let mut altered = account.clone();
        altered.plain.insert("subdomain".into(), subdomain.into());
        assert!(altered.hosts(&app).is_err(), "{subdomain:?}");
        assert!(app.base_url(&altered.plain).is_err(), "{subdomain:?}");
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_the_fields_is_told_and_none_of_it_quoted() {
    let House { accounts, .. } = house().await;
    let given = [("subdomain", "hunter2.evil"), ("api_token", "hunter2\r\nX: y"), ("token", "hunter2")];
    let error = accounts.connect(&who("alice"), connect("zendesk", &given)).await.unwrap_err();
    let ConnectError::Fields(wrong) = &error else { panic!("{error}") };
    let fields: Vec<&str> = wrong.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(fields, ["subdomain", "email", "api_token", "token"], "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");

    for (app, given, part) in [
        ("slak", vec![], "did you mean slack?"),
        ("custom", vec![], "the app custom needs a definition"),
        ("slack", vec![("oauth_access_token", "xoxb-1234567890\n")], "line break"),
        ("slack", vec![("oauth_access_token", "hunter2")], "does not look like a Bot or user token"),
        (
            "twilio",
            vec![("account_sid", "AC0123456789abcdef0123456789abcdef")],
            "needs api_key_sid and api_key_secret, or",
        ),
    ] {
        let error = accounts.connect(&who("alice"), connect(app, &given)).await.unwrap_err().to_string();
        assert!(error.contains(part), "{app}: {error}");
    }
    let long = "x".repeat(20_000);
    let error = accounts.connect(&who("alice"), connect("slack", &[("oauth_access_token", &long)])).await.unwrap_err();
    assert!(error.to_string().len() < 200);
    assert!(matches!(accounts.connect(&who("nobody"), slack()).await, Err(ConnectError::NotMember(_))));
    assert_eq!(accounts.list(&who("ann")).await.unwrap(), [], "nothing was stored");
}

fn custom() -> CustomApp {
    CustomApp {
        title: "Acme".into(),
        hosts: vec!["api.acme.example.com".into()],
        base_url: Some("https://api.acme.example.com/".into()),
        fields: vec![CustomField { name: "key".into(), secret: true }],
        places: vec![CustomPlace::Header { name: "X-Key".into(), template: "{key}".into() }],
        headers: BTreeMap::new(),
    }
}

#[tokio::test]
async fn a_custom_account_carries_its_own_definition() {
    let House { accounts, .. } = house().await;
    let given = Connect { custom: Some(custom()), ..connect("custom", &[("key", "k-1234567")]) };
    let id = accounts.connect(&who("alice"), given).await.unwrap().account.id;
    let account = accounts.usable(&id, &who("alice")).await.unwrap();
    let app = account.app(accounts.catalog()).unwrap();
    assert_eq!((app.title.as_str(), account.nickname.as_str()), ("Acme", "alice's Acme"));
    assert_eq!(account.hosts(&app).unwrap()[0].to_string(), "api.acme.example.com");

    let evil = CustomApp { hosts: vec!["*.com".into()], base_url: None, ..custom() };
    for given in [
        Connect { custom: Some(evil), ..connect("custom", &[("key", "k-1234567")]) },
        Connect { custom: Some(custom()), ..slack() },
    ] {
        assert!(accounts.connect(&who("alice"), given).await.is_err());
    }
}

#[tokio::test]
async fn a_short_credential_is_warned_about() {
    let House { accounts, .. } = house().await;
    let given = Connect { custom: Some(custom()), ..connect("custom", &[("key", "ab12")]) };
    let warnings = accounts.connect(&who("alice"), given).await.unwrap().warnings;
    assert!(warnings[0].starts_with("key: has fewer than 8 characters"), "{warnings:?}");
    assert!(!warnings[0].contains("ab12"));
}

#[tokio::test]
async fn nicknames_are_made_up_once_and_found_exactly() {
    let House { accounts, .. } = house().await;
    let alice = who("alice");
    for expected in ["alice's Slack", "alice's Slack 2", "alice's Slack 3"] {
        assert_eq!(accounts.connect(&alice, slack()).await.unwrap().account.nickname, expected);
    }
    let found = accounts.find(&alice, "alice's Slack 2").await.unwrap();
    assert_eq!(accounts.find(&alice, found.id.as_str()).await.unwrap(), found);
    assert_eq!(accounts.find(&alice, &found.id.as_str().to_lowercase()).await.unwrap(), found);
    assert!(matches!(accounts.find(&alice, "alice's slack").await, Err(FindError::NotThere(_))));
    accounts.rename(&alice, &found.id, "  alice's Slack ").await.unwrap();
    let Err(FindError::Ambiguous { ids, .. }) = accounts.find(&alice, "alice's Slack").await else { panic!() };
    assert_eq!((ids.len(), ids.contains(&found.id)), (2, true));
    for bad in ["", "  ", "a\nb", &"x".repeat(101)] {
        assert!(accounts.rename(&alice, &found.id, bad).await.is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn reconnecting_keeps_the_account_and_replaces_its_credentials() {
    let House { accounts, .. } = house().await;
    let alice = who("alice");
    let old = accounts.connect(&alice, slack()).await.unwrap().account;
    accounts.grant(&alice, &old.id, &who("bob")).await.unwrap();
    accounts.set_health(&old.id, 1, Health::ReconnectNeeded { reason: "token_revoked".into() }).await.unwrap();
    let refused = accounts.usable(&old.id, &who("bob")).await.unwrap_err();
    assert!(refused.to_string().contains("token_revoked"), "{refused}");

    accounts.reconnect(&alice, &old.id, fields(&[("oauth_access_token", "xoxp-0000000000-new")])).await.unwrap();
    let new = accounts.usable(&old.id, &who("bob")).await.unwrap();
    assert_eq!((new.id.clone(), new.version, new.nickname.clone()), (old.id.clone(), 2, old.nickname.clone()));
    assert_eq!(accounts.secret(&new, "oauth_access_token").unwrap().expose(), "xoxp-0000000000-new");
    assert_eq!(new.shape("oauth_access_token").unwrap().prefix, "xoxp-");

    // A report about the old credentials says nothing of the new ones.
    accounts.set_health(&old.id, 1, Health::ReconnectNeeded { reason: "late".into() }).await.unwrap();
    accounts.usable(&old.id, &alice).await.unwrap();
    // Credentials put back from an older record do not open as the new version.
    let mixed = Account { sealed: old.sealed.clone(), ..Account::clone(&new) };
    assert!(accounts.secret(&mixed, "oauth_access_token").is_err());
}

#[tokio::test]
async fn a_record_copied_onto_another_accounts_key_is_not_that_account() {
    let House { accounts, store, .. } = house().await;
    let alices = accounts.connect(&who("alice"), slack()).await.unwrap().account;
    let bobs = accounts.connect(&who("bob"), slack()).await.unwrap().account;
    let copied = store.get(&format!("accounts/{}", alices.id)).await.unwrap().unwrap().value;
    store.write(&format!("accounts/{}", bobs.id), Expect::Any, Some(copied)).await.unwrap();
    assert!(accounts.usable(&bobs.id, &who("bob")).await.is_err());
    assert!(accounts.usable(&bobs.id, &who("alice")).await.is_err());
    let moved = Account { sealed: alices.sealed, ..bobs };
    assert!(accounts.secret(&moved, "oauth_access_token").is_err());
}

#[tokio::test]
async fn removing_a_member_leaves_nothing_usable() {
    let House { accounts, .. } = house().await;
    let members = accounts.members();
    let bobs = accounts.connect(&who("bob"), slack()).await.unwrap().account.id;
    accounts.set_access(&who("bob"), &bobs, Access::Workspace).await.unwrap();
    let alices = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    accounts.grant(&who("alice"), &alices, &who("bob")).await.unwrap();

    let departed = members.remove(&who("bob")).await.unwrap();
    assert_eq!(departed.deleted, [(bobs.clone(), "bob's Slack".to_owned())]);
    assert_eq!(departed.revoked, [(alices.clone(), "alice's Slack".to_owned())]);
    assert!(matches!(accounts.usable(&alices, &who("bob")).await, Err(UseError::MemberRemoved(_))));
    assert!(matches!(accounts.usable(&bobs, &who("carol")).await, Err(UseError::Deleted(_))));
    assert!(matches!(accounts.connect(&who("bob"), slack()).await, Err(ConnectError::NotMember(_))));
    assert_eq!(accounts.list(&who("bob")).await.unwrap(), []);
    assert!(matches!(members.remove(&who("bob")).await, Err(MemberError::NotThere(_))));

    // Another bob inherits nothing.
    members.add(who("bob"), None).await.unwrap();
    assert!(matches!(accounts.usable(&alices, &who("bob")).await, Err(UseError::NoAccess { .. })));
    assert!(matches!(accounts.usable(&bobs, &who("bob")).await, Err(UseError::Deleted(_))));
    assert!(matches!(members.remove(&who("ann")).await, Err(MemberError::LastAdmin(_))));
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_finished_before_the_name_is_used_again() {
    cut_short(false).await;
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_finished_at_the_start() {
    cut_short(true).await;
}

async fn cut_short(at_start: bool) {
    let House { accounts, store, .. } = house().await;
    let bobs = accounts.connect(&who("bob"), slack()).await.unwrap().account.id;
    let alices = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    accounts.grant(&who("alice"), &alices, &who("bob")).await.unwrap();
    // As after a kill between the mark and the sweep.
    let record = store.get("members/bob").await.unwrap().unwrap().value;
    let mut record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    record["removed"] = serde_json::json!(Timestamp::now());
    store.write("members/bob", Expect::Any, Some(serde_json::to_vec(&record).unwrap())).await.unwrap();

    assert!(matches!(accounts.usable(&bobs, &who("bob")).await, Err(UseError::MemberRemoved(_))));
    if at_start {
        accounts.members().finish_removals().await.unwrap();
        assert!(!accounts.list(&who("ann")).await.unwrap().iter().any(|account| account.id == bobs));
    }
    accounts.members().add(who("bob"), None).await.unwrap();
    assert!(matches!(accounts.usable(&bobs, &who("bob")).await, Err(UseError::Deleted(_))));
    assert!(matches!(accounts.usable(&alices, &who("bob")).await, Err(UseError::NoAccess { .. })));
}

#[tokio::test]
async fn a_check_that_cannot_be_made_is_a_no() {
    let House { accounts, store, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    store.broken.store(true, Ordering::Relaxed);
    assert!(matches!(accounts.usable(&id, &who("alice")).await, Err(UseError::Store(_))));
    store.broken.store(false, Ordering::Relaxed);
    // A damaged record, one of a newer version, and an entry that says neither.
    for damaged in ["{", "[]", r#"{"v":1,"account":{}}"#, r#"{"v":99}"#, r#"{"v":1}"#] {
        store.write(&format!("accounts/{id}"), Expect::Any, Some(damaged.into())).await.unwrap();
        assert!(accounts.usable(&id, &who("alice")).await.is_err(), "{damaged}");
    }
}

#[tokio::test]
async fn the_grant_check_reads_the_store_twice() {
    let House { accounts, store, .. } = house().await;
    let id = accounts.connect(&who("alice"), slack()).await.unwrap().account.id;
    accounts.grant(&who("alice"), &id, &who("bob")).await.unwrap();
    for name in ["alice", "bob", "carol"] {
        let before = store.reads.load(Ordering::Relaxed);
        let _ = accounts.usable(&id, &who(name)).await;
        assert_eq!(store.reads.load(Ordering::Relaxed) - before, 2, "{name}");
    }
}

#[tokio::test]
async fn no_credential_is_in_the_store_in_the_clear_nor_in_anything_shown() {
    let House { accounts, dir, .. } = house().await;
    let alice = who("alice");
    let account = accounts.connect(&alice, slack()).await.unwrap().account;
    accounts.connect(&alice, zendesk("acme")).await.unwrap();
    let shown = format!("{account:?} {}", serde_json::to_string(&accounts.list(&alice).await.unwrap()).unwrap());
    let stored = bytes_of(dir.path());
    for secret in [TOKEN, "hunter2hunter2", "0123456789abcdef"] {
        assert!(!shown.contains(secret));
        assert!(!holds(&stored, secret));
    }
    assert!(holds(&stored, "alice's Slack"), "the search would have found it");
}
