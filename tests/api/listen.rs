//! Where and how the server listens, and how it stops.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use keyhole_tests::program::{Ended, Keyhole};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

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

/// How a server with these settings is reached: where it listens, and by which URL browsers come.
fn reached(keyhole: &Keyhole, config: &str, variables: &[(&str, &str)], flags: &[&str]) -> (String, String) {
    let path = keyhole.data.path().join("keyhole.toml");
    std::fs::write(&path, config).unwrap();
    let args = [&["--json", "--config", path.to_str().unwrap(), "serve"], flags].concat();
    let mut command = keyhole.command(&args);
    let mut child = command.envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().unwrap();
    let said = serde_json::Deserializer::from_reader(child.stdout.take().unwrap()).into_iter::<Value>().next();
    child.kill().unwrap();
    child.wait().unwrap();
    let said = said.expect("it says how it is reached").unwrap();
    let url = |name: &str| url::Url::parse(said[name].as_str().unwrap()).unwrap();
    (url("url").host_str().unwrap().to_owned(), url("set_up").host_str().unwrap().to_owned())
}

#[test]
fn a_flag_wins_over_a_variable_a_variable_over_the_file_and_the_file_over_the_default() {
    let keyhole = Keyhole::default();
    let file = "[serve]\nlisten = \"127.0.0.2:0\"\npublic_url = \"https://file.example\"\n";
    let variables = [("KEYHOLE_LISTEN", "127.0.0.3:0"), ("KEYHOLE_PUBLIC_URL", "https://variable.example")];
    let flags = ["--listen", "127.0.0.4:0", "--public-url", "https://flag.example"];
    let pair = |listen: &str, public: &str| (listen.to_owned(), public.to_owned());
    assert_eq!(reached(&keyhole, file, &[], &[]), pair("127.0.0.2", "file.example"));
    assert_eq!(reached(&keyhole, file, &variables, &[]), pair("127.0.0.3", "variable.example"));
    assert_eq!(reached(&keyhole, file, &variables, &flags), pair("127.0.0.4", "flag.example"));
    assert_eq!(reached(&keyhole, "", &[], &flags[..2]), pair("127.0.0.4", "127.0.0.4"));
    // Also what is on or off.
    let open = "[serve]\nlisten = \"0.0.0.0:0\"\npublic_url = \"https://file.example\"\ninsecure = true\n";
    assert_eq!(reached(&keyhole, open, &[], &[]), pair("0.0.0.0", "file.example"));
    let path = keyhole.data.path().join("keyhole.toml");
    let refused = |variable: &str, flags: &[&str]| {
        let args = [&["--config", path.to_str().unwrap(), "serve"], flags].concat();
        let output = keyhole.command(&args).env("KEYHOLE_INSECURE", variable).output().unwrap();
        Ended::from(output).failed(2)
    };
    assert!(refused("0", &[]).contains("is not a loopback address"));
    assert!(refused("1", &["--insecure=no"]).contains("is not a loopback address"));
}

#[test]
fn config_check_judges_how_it_would_be_reached() {
    let keyhole = Keyhole::default();
    let path = keyhole.data.path().join("keyhole.toml");
    std::fs::write(keyhole.data.path().join("key.pem"), "no key").unwrap();
    for (config, told) in [
        ("listen = \"everywhere\"", "keyhole.toml:2:10"),
        ("public_url = \"https://keyhole.example/below\"", "is not of the form https://HOST"),
        ("listen = \"0.0.0.0:8471\"", "is not a loopback address"),
        ("tls_cert = \"key.pem\"", "needs a certificate and its key"),
        ("tls_cert = \"key.pem\"\ntls_key = \"key.pem\"", "key.pem: there is no certificate in it"),
        ("lisen = \"127.0.0.1:1\"", "unknown field `lisen`"),
    ] {
        std::fs::write(&path, format!("[serve]\n{config}\n")).unwrap();
        let said = keyhole.call(&["--config", path.to_str().unwrap(), "config", "check"]).failed(2);
        assert!(said.contains(told), "{config}: {said}");
    }
    std::fs::write(&path, "[serve]\nlisten = \"0.0.0.0:8471\"\ninsecure = true\n").unwrap();
    keyhole.call(&["--config", path.to_str().unwrap(), "config", "check"]).ok();
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
