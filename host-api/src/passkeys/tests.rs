//! What a device could answer, and must not get by with: an authenticator of the tests' own, which says what it is told.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::members::Role;
use crate::oidc::Bindings;
use crate::store::redb::RedbStore;
use crate::tokens::{Basis, Sessions};

const ORIGIN: &str = "https://keyhole.example";
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A device with one key.
struct Device {
    key: EcdsaKeyPair,
    id: Vec<u8>,
    handle: Value,
    origin: &'static str,
    place: &'static str,
    flags: u8,
    count: u32,
}

impl Device {
    fn new(id: u8) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self {
            key,
            id: vec![id; 32],
            handle: Value::Null,
            origin: ORIGIN,
            place: "keyhole.example",
            flags: PRESENT | VERIFIED,
            count: 0,
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let data = json!({
            "type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false,
        });
        data.to_string().into_bytes()
    }

    fn data(&self, more: u8) -> Vec<u8> {
        let mut data = Sha256::digest(self.place).to_vec();
        data.push(self.flags | more);
        data.extend(self.count.to_be_bytes());
        data
    }

    /// Makes the key known (WebAuthn Level 3, section 6.5), without attestation.
    fn create(&mut self, options: &Value) -> String {
        self.handle = options["user"]["id"].clone();
        let mut data = self.data(0x40);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend(&self.id);
        let point = self.key.public_key().as_ref();
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&point[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&point[33..65]);
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).unwrap());
        object.extend(data);
        json!({
            "id": encoded(&self.id), "rawId": encoded(&self.id), "type": "public-key",
            "response": {
                "attestationObject": encoded(&object),
                "clientDataJSON": encoded(&self.client_data("webauthn.create", options)),
            },
            "clientExtensionResults": {"credProps": {"rk": true}},
        })
        .to_string()
    }

    fn get(&self, options: &Value) -> String {
        let (data, client) = (self.data(0), self.client_data("webauthn.get", options));
        let signed = [&data[..], &Sha256::digest(&client)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": encoded(&self.id), "rawId": encoded(&self.id), "type": "public-key",
            "response": {
                "authenticatorData": encoded(&data), "clientDataJSON": encoded(&client),
                "signature": encoded(signature.as_ref()), "userHandle": self.handle,
            },
            "clientExtensionResults": {},
        })
        .to_string()
    }
}

struct House {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    members: Members,
    passkeys: Passkeys,
    alice: Member,
}

async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
    let members = Members::new(store.clone());
    members.add("root".parse().unwrap(), Some(Role::Admin)).await.unwrap();
    let alice = members.add("alice".parse().unwrap(), None).await.unwrap();
    let passkeys = Passkeys::new(store.clone(), Some(&ORIGIN.parse().unwrap()));
    House { _dir: dir, store, members, passkeys, alice }
}

impl House {
    async fn register(&self, device: &mut Device) -> Result<Passkey, PasskeyError> {
        let begun = self.passkeys.begin_register(&self.alice).await.unwrap();
        let answer = device.create(&begun.options);
        self.passkeys.register(&self.alice, "laptop", begun.ticket.expose(), &answer).await
    }

    async fn sign_in(&self, device: &Device) -> Result<String, PasskeyError> {
        let begun = self.passkeys.begin_sign_in().await.unwrap();
        let signed_in = self.passkeys.sign_in(begun.ticket.expose(), &device.get(&begun.options)).await;
        signed_in.map(|(member, _)| member.id.to_string())
    }
}

#[tokio::test]
async fn a_passkey_signs_its_member_in_until_it_is_removed() {
    let house = house().await;
    let mut device = Device::new(1);
    let kept = house.register(&mut device).await.unwrap();
    assert_eq!((kept.name.as_str(), kept.last_used), ("laptop", None));
    assert_eq!(house.sign_in(&device).await.unwrap(), "alice");
    assert!(house.passkeys.list(&house.alice.id).await.unwrap()[0].last_used.is_some());

    let sessions = Sessions::new(house.store.clone(), Bindings::new(house.store.clone()));
    let key = sessions.begin(&house.alice.id, "", Basis::Passkey(kept.id.clone())).await.unwrap();
    assert!(sessions.open(key.expose(), true).await.unwrap().is_some());
    let root: MemberId = "root".parse().unwrap();
    let others = house.passkeys.remove(&root, kept.id.as_str()).await;
    assert!(matches!(others, Err(PasskeyError::NotThere(_))), "it is not root's to know of");
    house.passkeys.remove(&house.alice.id, kept.id.as_str()).await.unwrap();
    assert!(sessions.open(key.expose(), true).await.unwrap().is_none(), "the session ends with it");
    assert_eq!(house.sign_in(&device).await.unwrap_err(), PasskeyError::NotValid);
}

#[tokio::test]
async fn an_answer_counts_once_for_the_challenge_that_it_is_to() {
    let house = house().await;
    let mut device = Device::new(1);
    house.register(&mut device).await.unwrap();
    let begun = house.passkeys.begin_sign_in().await.unwrap();
    let other = house.passkeys.begin_sign_in().await.unwrap();
    let answer = device.get(&begun.options);
    let to_another = house.passkeys.sign_in(other.ticket.expose(), &answer).await;
    assert_eq!(to_another.unwrap_err(), PasskeyError::NotValid);
    house.passkeys.sign_in(begun.ticket.expose(), &answer).await.unwrap();
    for ticket in [begun.ticket.expose(), other.ticket.expose(), "", "x"] {
        let again = house.passkeys.sign_in(ticket, &answer).await;
        assert_eq!(again.unwrap_err(), PasskeyError::NotUnderWay);
    }
    // What was begun for one thing is not for the other.
    let register = house.passkeys.begin_register(&house.alice).await.unwrap();
    let answer = device.get(&register.options);
    assert!(house.passkeys.sign_in(register.ticket.expose(), &answer).await.is_err());
    // Of several who try at once, one succeeds.
    let begun = house.passkeys.begin_sign_in().await.unwrap();
    let answer = device.get(&begun.options);
    let tries = (0..8).map(|_| house.passkeys.sign_in(begun.ticket.expose(), &answer));
    let tries = futures_util::future::join_all(tries).await;
    assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
}

#[tokio::test]
async fn what_another_origin_another_key_or_nobody_verified_signed_is_refused() {
    let house = house().await;
    let mut device = Device::new(1);
    house.register(&mut device).await.unwrap();
    let original = device.handle.clone();
    for origin in [
        "https://evil.example",
        "https://www.keyhole.example",
        "https://keyhole.example:8443",
        "http://keyhole.example",
        "https://keyhole.example.evil.example",
    ] {
        device.origin = origin;
        assert_eq!(house.sign_in(&device).await.unwrap_err(), PasskeyError::NotValid, "{origin}");
    }
    device.origin = ORIGIN;
    device.place = "evil.example";
    assert_eq!(house.sign_in(&device).await.unwrap_err(), PasskeyError::NotValid);
    device.place = "keyhole.example";
    for flags in [PRESENT, VERIFIED, 0] {
        device.flags = flags;
        assert_eq!(house.sign_in(&device).await.unwrap_err(), PasskeyError::NotValid, "{flags}");
    }
    device.flags = PRESENT | VERIFIED;
    for handle in [Value::Null, json!(""), json!(encoded(&[7; 16]))] {
        device.handle = handle;
        assert_eq!(house.sign_in(&device).await.unwrap_err(), PasskeyError::NotValid, "{}", device.handle);
    }
    let impostor = Device { id: device.id.clone(), handle: original.clone(), ..Device::new(1) };
    assert_eq!(house.sign_in(&impostor).await.unwrap_err(), PasskeyError::NotValid);
    device.handle = original;
    house.sign_in(&device).await.unwrap();

    let mut unverified = Device { flags: PRESENT, ..Device::new(2) };
    assert!(matches!(house.register(&mut unverified).await, Err(PasskeyError::Refused(_))));
    let mut elsewhere = Device { origin: "https://evil.example", ..Device::new(3) };
    assert!(matches!(house.register(&mut elsewhere).await, Err(PasskeyError::Refused(_))));
}

#[tokio::test]
async fn a_count_that_does_not_go_up_is_a_copy() {
    let house = house().await;
    let mut device = Device { count: 5, ..Device::new(1) };
    house.register(&mut device).await.unwrap();
    for (count, taken) in [(5, false), (6, true), (6, false), (3, false), (0, false), (9, true)] {
        device.count = count;
        assert_eq!(house.sign_in(&device).await.is_ok(), taken, "{count}");
    }
}

#[tokio::test]
async fn one_registers_for_oneself_and_each_key_once() {
    let house = house().await;
    let begun = house.passkeys.begin_register(&house.alice).await.unwrap();
    assert_eq!(begun.options["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(begun.options["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(begun.options["rp"]["id"], "keyhole.example");
    assert!(!begun.options["user"]["id"].to_string().contains("alice"));
    let root = house.members.get(&"root".parse().unwrap()).await.unwrap().unwrap();
    let mut device = Device::new(1);
    let answer = device.create(&begun.options);
    let others = house.passkeys.register(&root, "x", begun.ticket.expose(), &answer).await;
    assert_eq!(others.unwrap_err(), PasskeyError::NotUnderWay);
    house.register(&mut device).await.unwrap();
    assert_eq!(house.register(&mut device).await.unwrap_err(), PasskeyError::Known);
    let begun = house.passkeys.begin_register(&house.alice).await.unwrap();
    assert_eq!(begun.options["excludeCredentials"][0]["id"], encoded(&device.id));
    for name in ["", " ", "a\nb", &"x".repeat(NAME + 1)] {
        let named = house.passkeys.register(&house.alice, name, begun.ticket.expose(), "{}").await;
        assert_eq!(named.unwrap_err(), PasskeyError::Name, "{name:?}");
    }
    for id in 2..=u8::try_from(MOST).unwrap() {
        house.register(&mut Device::new(id)).await.unwrap();
    }
    assert!(matches!(house.passkeys.begin_register(&house.alice).await, Err(PasskeyError::TooMany(_))));
}

#[tokio::test]
async fn a_later_member_of_the_same_name_has_none() {
    let house = house().await;
    let mut device = Device::new(1);
    let kept = house.register(&mut device).await.unwrap();
    let (left, _) = house.passkeys.records.get(kept.id.as_str()).await.unwrap().unwrap();
    house.members.remove(&house.alice.id).await.unwrap();
    assert!(house.passkeys.list(&house.alice.id).await.unwrap().is_empty());
    house.members.add(house.alice.id.clone(), None).await.unwrap();
    // As if the removal had missed it.
    house.passkeys.records.put(kept.id.as_str(), Expect::Any, &left).await.unwrap();
    assert_eq!(house.sign_in(&device).await.unwrap_err(), PasskeyError::NotValid);
}

#[test]
fn there_are_passkeys_where_browsers_have_them() {
    for (url, possible) in [
        ("https://keyhole.example/", true),
        ("https://keyhole.example:8443/", true),
        ("http://localhost:8471/", true),
        ("http://keyhole.example/", false),
        ("http://127.0.0.1:8471/", false),
        ("https://192.0.2.1/", false),
        ("https://[2001:db8::1]/", false),
    ] {
        assert_eq!(relying_party(&url.parse().unwrap()).is_some(), possible, "{url}");
    }
}
