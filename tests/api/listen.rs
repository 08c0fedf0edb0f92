//! Where and how the server listens, and how it stops.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use keyhole_tests::program::{Ended, Keyhole};
use rcgen::{CertificateParams, KeyPair};

use crate::rig::{Served, by};

#[test]
fn it_does_not_listen_beyond_loopback_in_the_clear_unless_it_is_told_to() {
    let keyhole = Keyhole::default();
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        let said = keyhole.call(&["serve", "--listen", address]).failed(2);
        assert!(said.contains("--tls-cert") && said.contains("--insecure"), "{said}");
    }
    // Nothing was made on the way.
    assert!(!keyhole.data.path().join("data").exists());
    let served = Served::on(keyhole, &["--listen", "127.0.0.2:0"]);
    assert!(served.url.starts_with("http://127.0.0.2:"));
    let served = Served::on(Keyhole::default(), &["--listen", "0.0.0.0:0", "--insecure"]);
    assert!(served.url.starts_with("http://0.0.0.0:"));
}

#[tokio::test]
async fn over_tls_it_serves_http_2_and_the_program_is_its_client() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = |name: &str| keyhole.data.path().join(name).display().to_string();
    let (cert_file, key_file) = (path("cert.pem"), path("key.pem"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();

    let said = keyhole.call(&["serve", "--tls-cert", &key_file, "--tls-key", &key_file]).failed(2);
    assert!(said.contains("no certificate") && said.contains("key.pem"), "{said}");

    let served = Served::on(keyhole, &["--tls-cert", &cert_file, "--tls-key", &key_file]);
    let (token, _) = served.token("alice", &[]);
    let port = served.url.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}");
    assert!(served.url.starts_with("https://"));

    let list = ["--url", &url, "members", "list"];
    let mut without = served.remotely(&token, &list);
    assert!(Ended::from(without.output().unwrap()).failed(1).contains("can't be reached"));
    let mut with = served.remotely(&token, &list);
    Ended::from(with.env("KEYHOLE_URL_CA_CERT", &cert_file).output().unwrap()).ok();

    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = reqwest::Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
    let answer = client.get(format!("{url}/api/health")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    // No TLS, no answer.
    assert!(client.get(format!("http://localhost:{port}/api/health")).send().await.is_err());
}

#[tokio::test]
async fn it_stops_when_it_is_asked_to_and_lets_what_is_under_way_end() {
    let served = Served::with_members();
    let (token, _) = served.token("alice", &[]);
    by(&token, "get", &format!("{}/api/me", served.url), None).await.ok();
    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    let mut under_way = TcpStream::connect(&address).unwrap();
    let body = r#"{"name": "carol"}"#;
    let head = format!(
        "POST /api/members HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    under_way.write_all(head.as_bytes()).unwrap();
    // The server asks for the body when the request has come to its handler.
    let mut continued = [0; 25];
    under_way.read_exact(&mut continued).unwrap();
    assert!(continued.starts_with(b"HTTP/1.1 100"));
    let pid = served.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    // It takes no more connections from then on.
    while TcpStream::connect(&address).is_ok() {}
    under_way.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let data = served.keyhole.call(&["--json", "members", "list"]).ok().stdout;
    assert!(data.contains("carol"));
    let (code, took) = served.stop();
    assert_eq!(code, 0);
    assert!(took.as_secs() < 10, "{took:?}");
}
