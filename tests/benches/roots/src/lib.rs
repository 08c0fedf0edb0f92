//! The web's authorities, and for a measurement there is one: that of the file which `SSL_CERT_FILE` names.

use std::sync::LazyLock;

use pki_types::pem::PemObject as _;
use pki_types::{CertificateDer, TrustAnchor};

/// Becomes a list of them.
pub struct Roots;

/// The authorities that are trusted.
pub const TLS_SERVER_ROOTS: Roots = Roots;

static ROOTS: LazyLock<Vec<TrustAnchor<'static>>> = LazyLock::new(|| {
    let file = std::env::var_os("SSL_CERT_FILE").expect("SSL_CERT_FILE names a file");
    let certificate = CertificateDer::from_pem_file(file).expect("a certificate");
    vec![webpki::anchor_from_trusted_cert(&certificate).expect("an authority's certificate").to_owned()]
});

impl From<Roots> for Vec<TrustAnchor<'static>> {
    fn from(_: Roots) -> Self {
        ROOTS.clone()
    }
}
