//! The `signer` interface: HMACs for the purposes that a definition lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use crate::apps::{Encoding, Hash, Signing};
use crate::vault::Secret;

/// The HMAC (RFC 2104) of `message`, in the definition's text form.
pub(crate) fn hmac(signing: &Signing, key: &Secret, message: &[u8]) -> String {
    written(signing.encoding, &tag_of(signing.hash, key.expose().as_bytes(), message))
}

/// The HMAC itself.
pub(super) fn tag_of(hash: Hash, key: &[u8], message: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha1 => tag::<Hmac<Sha1>>(key, message),
        Hash::Sha256 => tag::<Hmac<Sha256>>(key, message),
        Hash::Sha512 => tag::<Hmac<Sha512>>(key, message),
    }
}

/// The HMAC as text.
pub(super) fn written(encoding: Encoding, tag: &[u8]) -> String {
    match encoding {
        Encoding::Hex => super::hex(tag),
        Encoding::Base64 => STANDARD.encode(tag),
    }
}

/// HMAC-SHA256.
pub(super) fn sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn tag<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, and RFC 2202, test case 2.
    #[test]
    fn the_published_vectors_hold() {
        let key = Secret::new("Jefe".to_owned());
        let message = b"what do ya want for nothing?";
        let sign = |hash, encoding| hmac(&Signing { key: "k".into(), hash, encoding }, &key, message);
        assert_eq!(
            sign(Hash::Sha256, Encoding::Hex),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(sign(Hash::Sha1, Encoding::Hex), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert!(sign(Hash::Sha512, Encoding::Hex).starts_with("164b7a7bfcf819e2e395fbe73b56e0a3"));
        assert_eq!(sign(Hash::Sha1, Encoding::Base64), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    }
}
