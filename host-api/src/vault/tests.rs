//! Tries to open what must not open.

use std::collections::BTreeMap;

use super::*;
use crate::store::redb::RedbStore;

never_shown!(Secret, Vault, Sealer<'static>, Ring, MasterKey);
wiped!(Secret, KeyBytes, XChaCha20Poly1305);
// Its Debug shows which kind it is alone.
static_assertions::assert_not_impl_any!(MasterKeySource: std::fmt::Display, serde::Serialize);
static_assertions::assert_not_impl_any!(Vault: Clone);
static_assertions::assert_not_impl_any!(MasterKey: Clone);
static_assertions::assert_impl_all!(Vault: Send, Sync);

const TOKEN: &str = "xoxb-correct-horse-battery-staple";
const HERE: Binding<'static> = Binding { workspace: "w", account: "01J", version: 3, terms: b"acme" };

fn env(byte: u8) -> MasterKeySource {
    MasterKeySource::Env(format!("{byte:02x}").repeat(32).into())
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    (dir, Arc::new(store))
}

async fn opened(source: MasterKeySource, store: &Arc<dyn Store>) -> Vault {
    Vault::open(source, store).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn sealed(vault: &Vault, binding: &Binding<'_>) -> Sealed {
    vault.sealer().await.unwrap_or_else(|error| panic!("{error}")).seal(binding, &fields()).unwrap()
}

async fn vault(byte: u8) -> Vault {
    let (_dir, store) = store();
    Vault::open(env(byte), &store).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn open_error(source: MasterKeySource, store: &Arc<dyn Store>) -> VaultError {
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
    let sealed = sealed(&vault, &HERE).await;
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
    let sealed = sealed(&vault, &HERE).await;
    let shown = format!("{sealed:?} {}", serde_json::to_string(&sealed).unwrap());
    for part in [TOKEN, &TOKEN[5..12], "horse", "sk_live"] {
        assert!(!shown.contains(part));
    }
    let again = self::sealed(&vault, &HERE).await;
    assert!(again != sealed, "a fresh key and fresh nonces each time");
}

#[tokio::test]
async fn a_ciphertext_moved_elsewhere_does_not_open() {
    let vault = vault(1).await;
    let sealed = sealed(&vault, &HERE).await;
    // So that its data key is kept: that must not help the others.
    assert!(vault.open_field(&HERE, &sealed, "token").is_ok());
    let elsewhere = [
        Binding { workspace: "v", ..HERE },
        Binding { account: "01K", ..HERE },
        Binding { version: 4, ..HERE },
        Binding { version: 2, ..HERE },
        // The same characters, divided otherwise.
        Binding { workspace: "w0", account: "1J", ..HERE },
        Binding { workspace: "", account: "w01J", ..HERE },
        Binding { terms: b"acme.evil", ..HERE },
        Binding { terms: b"", ..HERE },
    ];
    for binding in elsewhere {
        assert!(matches!(refused(&vault, &binding, &sealed, "token"), VaultError::NotGenuine { .. }));
        assert!(vault.unwrap(&binding, &sealed).is_err());
    }
    let mut swapped = sealed;
    swapped.swap_fields("token", "other");
    assert!(matches!(refused(&vault, &HERE, &swapped, "token"), VaultError::NotGenuine { .. }));
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_noticed() {
    let vault = vault(1).await;
    let sealed = sealed(&vault, &HERE).await;
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
        short.set_key_id(&vault.key_id());
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
    let (expected, got) = (right.key_id(), got.key_id());
    assert_eq!(error, VaultError::WrongMasterKey { expected, got });
    assert!(!error.to_string().contains("0202"));
}

#[tokio::test]
async fn what_another_master_key_sealed_does_not_open_even_under_a_forged_id() {
    let (one, other) = (vault(1).await, vault(2).await);
    let mut sealed = sealed(&one, &HERE).await;
    assert_eq!(refused(&other, &HERE, &sealed, "token"), VaultError::UnknownKey { key: one.key_id() });
    sealed.set_key_id(&other.key_id());
    assert!(matches!(refused(&other, &HERE, &sealed, "token"), VaultError::NotGenuine { .. }));
}

fn both(first: u8, second: u8) -> MasterKeySource {
    MasterKeySource::Env(format!("{} {}", format!("{first:02x}").repeat(32), format!("{second:02x}").repeat(32)).into())
}

#[tokio::test]
async fn a_new_master_key_takes_over_while_the_old_one_still_opens() {
    let (_dir, store) = store();
    let old = opened(env(1), &store).await;
    let before = sealed(&old, &HERE).await;
    assert!(matches!(old.rotate().await, Err(VaultError::NoNewKey)));

    // It is there, and not used before it is rotated to.
    let vault = opened(both(2, 1), &store).await;
    assert_eq!(vault.key_id(), old.key_id());
    let rotation = vault.rotate().await.unwrap();
    assert_eq!((rotation.from, rotation.to), (old.key_id(), vault.key_id()));
    assert_ne!(vault.key_id(), old.key_id());
    assert!(vault.open_field(&HERE, &before, "token").unwrap().expose() == TOKEN);

    let after = vault.sealer().await.unwrap_or_else(|error| panic!("{error}")).rewrap(&HERE, &before).unwrap();
    assert_eq!(after.key_id(), vault.key_id());
    let newest = opened(env(2), &store).await;
    assert!(newest.open_field(&HERE, &after, "token").unwrap().expose() == TOKEN);
    assert!(matches!(old.open_field(&HERE, &after, "token"), Err(VaultError::UnknownKey { .. })));
    assert!(matches!(old.sealer().await, Err(VaultError::WrongMasterKey { .. })), "it must not seal any more");
    assert!(matches!(open_error(env(1), &store).await, VaultError::WrongMasterKey { .. }));
}

#[tokio::test]
async fn a_key_file_is_rotated_while_others_use_it_and_keeps_the_old_key_until_it_is_forgotten() {
    let (dir, store) = store();
    let path = dir.path().join("master.key");
    let file = || MasterKeySource::File(path.clone());
    let (one, other) = (opened(file(), &store).await, opened(file(), &store).await);
    let before = sealed(&one, &HERE).await;
    let rotation = other.rotate().await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);

    // The one that was not told seals with the new key all the same, and opens what that sealed.
    let after = sealed(&one, &HERE).await;
    assert_eq!(after.key_id(), rotation.to);
    assert!(one.open_field(&HERE, &after, "token").unwrap().expose() == TOKEN);
    assert!(other.open_field(&HERE, &before, "token").unwrap().expose() == TOKEN);

    assert!(matches!(other.forget_key(&rotation.to).await, Err(VaultError::InUse { .. })));
    assert!(matches!(other.forget_key("0123").await, Err(VaultError::UnknownKey { .. })));
    other.forget_key(&rotation.from).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the store, the key, and nothing else");
    assert!(matches!(refused(&opened(file(), &store).await, &HERE, &before, "token"), VaultError::UnknownKey { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotations_at_once_lose_no_key() {
    let (dir, store) = store();
    let path = dir.path().join("master.key");
    let first = opened(MasterKeySource::File(path.clone()), &store).await;
    let before = sealed(&first, &HERE).await;
    let rotating: Vec<_> = (0..8)
        .map(|_| {
            let (store, path) = (Arc::clone(&store), path.clone());
            tokio::spawn(async move {
                let vault = opened(MasterKeySource::File(path), &store).await;
                vault.rotate().await.unwrap();
                sealed(&vault, &HERE).await
            })
        })
        .collect();
    let mut all = vec![before];
    for rotated in rotating {
        all.push(rotated.await.unwrap());
    }
    let last = opened(MasterKeySource::File(path), &store).await;
    for sealed in all {
        assert!(last.open_field(&HERE, &sealed, "token").unwrap().expose() == TOKEN);
    }
}

#[tokio::test]
async fn no_new_key_file_is_made_for_a_store_that_needs_the_old_one() {
    let (dir, store) = store();
    let path = dir.path().join("master.key");
    let id = match Vault::open(MasterKeySource::File(path.clone()), &store).await {
        Ok(vault) => vault.key_id(),
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
        store.write(check::KEY, Expect::Any, Some(junk.as_bytes().to_vec())).await.unwrap();
        assert!(matches!(open_error(env(1), &store).await, VaultError::Damaged { .. }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn vaults_that_open_an_empty_store_at_once_agree_on_one_key() {
    let (dir, store) = store();
    let path = dir.path().join("master.key");
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let (store, path) = (Arc::clone(&store), path.clone());
            tokio::spawn(async move {
                match Vault::open(MasterKeySource::File(path), &store).await {
                    Ok(vault) => vault.key_id(),
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
        let sealed = sealed(&vault, &binding).await;
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
    let sealed = sealed(&vault, &HERE).await;
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

/// Looks into the process's own memory, where the text was.
#[cfg(target_os = "linux")]
#[test]
fn sealed_a_secret_is_wiped_when_it_goes() {
    use std::os::unix::fs::FileExt as _;

    let text = "correct-horse-battery-staple".repeat(40);
    let secret = Secret::new(text.clone());
    let at = secret.expose().as_ptr() as u64;
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut seen = vec![0; text.len()];
    memory.read_exact_at(&mut seen, at).unwrap();
    assert!(seen == text.as_bytes(), "this is where it is");
    drop(secret);
    memory.read_exact_at(&mut seen, at).unwrap();
    assert!(!seen.windows(8).any(|part| text.as_bytes().windows(8).any(|of_it| part == of_it)));
}
