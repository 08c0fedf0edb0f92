//! Tries to open what must not open.

use std::collections::BTreeMap;

use super::*;
use crate::store::redb::RedbStore;

static_assertions::assert_not_impl_any!(Secret: std::fmt::Debug, std::fmt::Display, serde::Serialize);
static_assertions::assert_not_impl_any!(Vault: std::fmt::Debug, Clone, serde::Serialize);
static_assertions::assert_not_impl_any!(MasterKey: std::fmt::Debug, Clone, serde::Serialize);
static_assertions::assert_impl_all!(Vault: Send, Sync);

const TOKEN: &str = "xoxb-correct-horse-battery-staple";
const HERE: Binding<'static> = Binding { workspace: "w", account: "01J", version: 3 };

fn env(byte: u8) -> MasterKeySource {
    MasterKeySource::Env(format!("{byte:02x}").repeat(32))
}

fn store() -> (tempfile::TempDir, RedbStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    (dir, store)
}

async fn vault(byte: u8) -> Vault {
    let (_dir, store) = store();
    Vault::open(env(byte), &store).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn open_error(source: MasterKeySource, store: &dyn Store) -> VaultError {
    match Vault::open(source, store).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

fn fields() -> BTreeMap<String, Secret> {
    let secret = |text: &str| Secret::new(text.to_owned());
    [("token", secret(TOKEN)), ("other", secret("sk_live_other")), ("empty", secret(""))]
        .map(|(name, secret)| (name.to_owned(), secret))
        .into()
}

fn refused(vault: &Vault, binding: &Binding<'_>, sealed: &Sealed, field: &str) -> VaultError {
    match vault.open_field(binding, sealed, field) {
        Ok(_) => panic!("{binding:?} {field} opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_was_sealed_opens_also_after_json() {
    let vault = vault(1).await;
    let sealed = vault.seal(&HERE, &fields()).unwrap();
    let json = serde_json::to_string(&sealed).unwrap();
    let back: Sealed = serde_json::from_str(&json).unwrap();
    assert!(back == sealed);
    assert_eq!(back.fields().collect::<Vec<_>>(), ["empty", "other", "token"]);
    for (name, secret) in fields() {
        assert!(vault.open_field(&HERE, &back, &name).unwrap().expose() == secret.expose());
    }
    assert_eq!(refused(&vault, &HERE, &back, "none"), VaultError::NoField { field: "none".to_owned() });
}

#[tokio::test]
async fn nothing_of_a_credential_is_in_what_is_stored_or_printed() {
    let vault = vault(1).await;
    let sealed = vault.seal(&HERE, &fields()).unwrap();
    let shown = format!("{sealed:?} {}", serde_json::to_string(&sealed).unwrap());
    for part in [TOKEN, &TOKEN[5..12], "horse", "sk_live"] {
        assert!(!shown.contains(part));
    }
    let again = vault.seal(&HERE, &fields()).unwrap();
    assert!(again != sealed, "a fresh key and fresh nonces each time");
}

#[tokio::test]
async fn a_ciphertext_moved_elsewhere_does_not_open() {
    let vault = vault(1).await;
    let sealed = vault.seal(&HERE, &fields()).unwrap();
    // So that its data key is kept: that must not help the others.
    assert!(vault.open_field(&HERE, &sealed, "token").is_ok());
    let elsewhere = [
        Binding { workspace: "v", ..HERE },
        Binding { account: "01K", ..HERE },
        Binding { version: 4, ..HERE },
        Binding { version: 2, ..HERE },
        // The same characters, divided otherwise.
        Binding { workspace: "w0", account: "1J", version: 3 },
        Binding { workspace: "", account: "w01J", version: 3 },
    ];
    for binding in elsewhere {
        assert!(matches!(refused(&vault, &binding, &sealed, "token"), VaultError::NotGenuine { .. }));
        assert!(vault.rewrap(&binding, &sealed).is_err());
    }
    let mut swapped = sealed;
    swapped.swap_fields("token", "other");
    assert!(matches!(refused(&vault, &HERE, &swapped, "token"), VaultError::NotGenuine { .. }));
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_noticed() {
    let vault = vault(1).await;
    let sealed = vault.seal(&HERE, &fields()).unwrap();
    assert!(vault.open_field(&HERE, &sealed, "token").is_ok());
    for part in [None, Some("token")] {
        let mut bits = 0;
        loop {
            let mut altered = sealed.clone();
            if !altered.flip(part, bits) {
                break;
            }
            assert!(matches!(refused(&vault, &HERE, &altered, "token"), VaultError::NotGenuine { .. }));
            bits += 1;
        }
        assert!(bits >= (24 + 32 + 16) * 8, "{bits}");
    }
    for json in [
        r#"{"key":"k","wrapped":"","fields":{"token":""}}"#,
        r#"{"key":"k","wrapped":"AAAA","fields":{"token":"AAAA"}}"#,
    ] {
        let mut short: Sealed = serde_json::from_str(json).unwrap();
        short.set_key_id(vault.key_id());
        assert!(matches!(refused(&vault, &HERE, &short, "token"), VaultError::NotGenuine { .. }));
    }
    let error = serde_json::from_str::<Sealed>(r#"{"key":"k","wrapped":"hunter2!","fields":{}}"#).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_wrong_master_key_is_told_by_id_when_the_vault_opens() {
    let (_dir, store) = store();
    let right = Vault::open(env(1), &store).await.unwrap_or_else(|error| panic!("{error}"));
    Vault::open(env(1), &store).await.unwrap_or_else(|error| panic!("{error}"));
    let got = vault(2).await;
    let error = open_error(env(2), &store).await;
    let (expected, got) = (right.key_id().to_owned(), got.key_id().to_owned());
    assert_eq!(error, VaultError::WrongMasterKey { expected, got });
    assert!(!error.to_string().contains("0202"));
}

#[tokio::test]
async fn what_another_master_key_sealed_does_not_open_even_under_a_forged_id() {
    let (one, other) = (vault(1).await, vault(2).await);
    let mut sealed = one.seal(&HERE, &fields()).unwrap();
    assert_eq!(refused(&other, &HERE, &sealed, "token"), VaultError::UnknownKey { key: one.key_id().to_owned() });
    sealed.set_key_id(other.key_id());
    assert!(matches!(refused(&other, &HERE, &sealed, "token"), VaultError::NotGenuine { .. }));
}

#[tokio::test]
async fn a_new_master_key_takes_over_while_the_old_one_still_opens() {
    let (old, new) = (vault(1).await, vault(2).await);
    let sealed = old.seal(&HERE, &fields()).unwrap();
    assert_eq!(new.add_key(env(1)).await.unwrap(), old.key_id());
    assert!(new.open_field(&HERE, &sealed, "token").unwrap().expose() == TOKEN);
    let rewrapped = new.rewrap(&HERE, &sealed).unwrap();
    assert_eq!(rewrapped.key_id(), new.key_id());
    let newest = vault(2).await;
    assert!(newest.open_field(&HERE, &rewrapped, "token").unwrap().expose() == TOKEN);
    assert!(old.open_field(&HERE, &rewrapped, "token").is_err());
}

#[tokio::test]
async fn no_new_key_file_is_made_for_a_store_that_needs_the_old_one() {
    let (dir, store) = store();
    let path = dir.path().join("master.key");
    let id = match Vault::open(MasterKeySource::File(path.clone()), &store).await {
        Ok(vault) => vault.key_id().to_owned(),
        Err(error) => panic!("{error}"),
    };
    std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    let error = open_error(MasterKeySource::File(path.clone()), &store).await;
    assert_eq!(error, VaultError::KeyFileMissing { path: path.clone(), expected: id });
    assert!(!path.exists());
    std::fs::rename(dir.path().join("elsewhere"), &path).unwrap();
    assert!(Vault::open(MasterKeySource::File(path), &store).await.is_ok());
}

#[tokio::test]
async fn a_store_with_accounts_but_no_check_record_is_not_given_a_new_key() {
    let (dir, store) = store();
    store.write("accounts/01J", Expect::Any, Some(b"{}".to_vec())).await.unwrap();
    let path = dir.path().join("master.key");
    assert!(matches!(open_error(MasterKeySource::File(path.clone()), &store).await, VaultError::Damaged { .. }));
    assert!(!path.exists());
    for junk in ["", "{}", r#"{"v":1,"key":"x","sealed":"!"}"#] {
        store.write(CHECK_KEY, Expect::Any, Some(junk.as_bytes().to_vec())).await.unwrap();
        assert!(matches!(open_error(env(1), &store).await, VaultError::Damaged { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn vaults_that_open_an_empty_store_at_once_agree_on_one_key() {
    let (dir, store) = store();
    let store = Arc::new(store);
    let path = dir.path().join("master.key");
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let (store, path) = (Arc::clone(&store), path.clone());
            tokio::spawn(async move {
                match Vault::open(MasterKeySource::File(path), &*store).await {
                    Ok(vault) => vault.key_id().to_owned(),
                    Err(error) => panic!("{error}"),
                }
            })
        })
        .collect();
    let mut ids = Vec::new();
    for opened in opening {
        ids.push(opened.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn what_is_kept_of_many_accounts_stays_bounded() {
    let vault = vault(1).await;
    for version in 0..MAX_UNWRAPPED as u64 + 100 {
        let binding = Binding { version, ..HERE };
        let sealed = vault.seal(&binding, &fields()).unwrap();
        assert!(vault.open_field(&binding, &sealed, "token").unwrap().expose() == TOKEN);
    }
    assert!(vault.unwrapped.read().unwrap().len() <= MAX_UNWRAPPED);
}

#[tokio::test]
async fn derived_keys_differ_by_purpose_and_master_key() {
    let (one, other) = (vault(1).await, vault(2).await);
    assert_eq!(one.derive_key("code cache"), vault(1).await.derive_key("code cache"));
    assert_ne!(one.derive_key("code cache"), one.derive_key("sessions"));
    assert_ne!(one.derive_key("code cache"), other.derive_key("code cache"));
}

/// `cargo test --release -p keyhole-host-api vault::tests::speed -- --ignored --nocapture`
#[tokio::test]
#[ignore = "prints figures"]
async fn speed() {
    let vault = vault(1).await;
    let sealed = vault.seal(&HERE, &fields()).unwrap();
    for _ in 0..2 {
        let started = std::time::Instant::now();
        for _ in 0..100_000 {
            std::hint::black_box(vault.open_field(&HERE, &sealed, "token").unwrap());
        }
        println!("opening a field: {:?}", started.elapsed() / 100_000);
        let started = std::time::Instant::now();
        for _ in 0..100_000 {
            std::hint::black_box(vault.unwrap(&HERE, &sealed).unwrap());
        }
        println!("unwrapping a data key, once an account version: {:?}", started.elapsed() / 100_000);
    }
}
