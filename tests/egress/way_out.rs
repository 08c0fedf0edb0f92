//! By which way requests leave: through a proxy, by name servers of the operator's choice; and hosts that are closed.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Authority, Server, json};
use keyhole_tests::workspace::component;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const HOST: &str = "api.acme.example";

/// A proxy that connects to where it is asked to (CONNECT), and remembers what it was asked.
struct Proxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    /// What went through it, towards the service.
    passed: Arc<Mutex<Vec<u8>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    /// One that asks for these credentials, if any.
    fn new(credentials: Option<&'static str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, passed) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (log, copied) = (heads.clone(), passed.clone());
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Self::serve(client, credentials, log.clone(), copied.clone()));
            }
        });
        Self { port, heads, passed, _runtime: runtime }
    }

    async fn serve(
        client: TcpStream,
        credentials: Option<&'static str>,
        heads: Arc<Mutex<Vec<String>>>,
        passed: Arc<Mutex<Vec<u8>>>,
    ) -> Option<()> {
        let mut client = BufReader::new(client);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        heads.lock().unwrap().push(head.clone());
        let authorized =
            credentials.is_none_or(|basic| head.contains(&format!("Proxy-Authorization: Basic {basic}\r\n")));
        let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
        if !authorized {
            client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.ok()?;
            return None;
        }
        let Ok(mut server) = TcpStream::connect(&target).await else {
            client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await.ok()?;
            return None;
        };
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
        let mut client = client.into_inner();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let there = async {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = tokio::io::AsyncReadExt::read(&mut from_client, &mut buffer).await {
                passed.lock().unwrap().extend_from_slice(&buffer[..length]);
                if to_server.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! { () = there => {}, _ = tokio::io::copy(&mut from_server, &mut to_client) => {} }
        Some(())
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

struct Scene {
    keyhole: Keyhole,
    server: Server,
    account: String,
}

impl Scene {
    fn with(server: impl FnOnce(&Authority) -> Server) -> Self {
        let mut keyhole = Keyhole::default();
        let server = server(&keyhole.authority);
        keyhole.lead(HOST, &server);
        keyhole.member("alice");
        let account = keyhole.connect("alice", KEY);
        Self { keyhole, server, account }
    }

    fn new() -> Self {
        Self::with(|authority| Server::http(authority, &[HOST, "named.example"], |_| json(200, &json!({"ok": true}))))
    }

    /// Has alice's step ask these URLs, the account's key going with those of its host, and gives the run.
    fn ask(&self, urls: &[&str], more: &[&str]) -> Value {
        let asked = |url: &&str| json!({"url": url, "account": url.contains(HOST)});
        let requests: Vec<Value> = urls.iter().map(asked).collect();
        let event = json!({"attack": "sequence", "requests": requests});
        let link = format!("acme={}", self.account);
        let flags: Vec<&str> = ["--as", "alice", "--link", &link].iter().chain(more).copied().collect();
        let run = self.keyhole.run(&component("hostile"), &event, &flags);
        assert!(!run.to_string().contains(KEY), "{run:#}");
        run
    }
}

/// What became of each request: its status, or why it was refused or failed.
fn outcomes(run: &Value) -> Vec<String> {
    let requests = run["requests"].as_array().unwrap_or_else(|| panic!("{run:#}"));
    let outcome = |request: &Value| match request["status"].as_u64() {
        Some(status) => status.to_string(),
        None => {
            format!("{}: {}", request["decision"].as_str().unwrap(), request["reason"].as_str().unwrap_or_default())
        }
    };
    requests.iter().map(outcome).collect()
}

#[test]
fn bound_a_proxy_is_asked_for_the_address_that_was_checked_and_sees_no_credential() {
    let (scene, proxy) = (Scene::new(), Proxy::new(None));
    let run = scene.ask(&["https://api.acme.example/v1/me"], &["--proxy", &proxy.url()]);
    assert_eq!(outcomes(&run), ["200"], "{run:#}");
    let received = scene.server.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].header("host"), Some(HOST));
    assert_eq!(proxy.heads().len(), 1);
    let asked = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n", scene.server.port);
    assert!(proxy.heads()[0].starts_with(&asked), "{:?}", proxy.heads());
    assert!(!proxy.heads()[0].contains("acme"), "{:?}", proxy.heads());
    let passed = proxy.passed.lock().unwrap().clone();
    assert!(passed.len() > 200 && !String::from_utf8_lossy(&passed).contains(KEY));
}

#[test]
fn bound_an_address_that_is_closed_is_asked_of_no_proxy() {
    let (scene, proxy) = (Scene::new(), Proxy::new(None));
    let open = ["--proxy", &proxy.url(), "--allow-host", "169.254.169.254", "--allow-host", "metadata.example"];
    let resolve = ["--resolve", "metadata.example:443:169.254.169.254"];
    let urls = ["https://169.254.169.254/latest", "https://metadata.example/latest"];
    let run = scene.ask(&urls, &[&open[..], &resolve[..]].concat());
    for outcome in outcomes(&run) {
        assert!(outcome.starts_with("refused: ") && outcome.contains("metadata service"), "{run:#}");
    }
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
}

#[test]
fn a_proxy_gets_its_own_credentials_from_a_file_and_a_refusal_of_its_is_named() {
    // keyhole:swordfish
    let (scene, proxy) = (Scene::new(), Proxy::new(Some("a2V5aG9sZTpzd29yZGZpc2g=")));
    let file = scene.keyhole.data.path().join("proxy");
    std::fs::write(&file, "keyhole:swordfish\n").unwrap();
    let (url, path) = (proxy.url(), file.display().to_string());
    let run = scene.ask(&["https://api.acme.example/v1/me"], &["--proxy", &url, "--proxy-credentials", &path]);
    assert_eq!(outcomes(&run), ["200"], "{run:#}");
    assert!(!run.to_string().contains("swordfish"));
    let run = scene.ask(&["https://api.acme.example/v1/me"], &["--proxy", &url]);
    let outcome = outcomes(&run).remove(0);
    assert!(outcome.contains("the proxy") && outcome.contains("authorization required"), "{outcome}");
    assert_eq!(scene.server.received().len(), 1);
    // A password has no business on a command line.
    let secret = ["run", "x", "--proxy", "http://keyhole:swordfish@127.0.0.1:1"];
    let error = scene.keyhole.call(&secret).failed(2);
    assert!(error.contains("USER:PASSWORD into a file"), "{error}");
}

#[test]
fn http_2_and_plain_http_go_through_a_proxy_by_connect_too() {
    let scene = Scene::with(|authority| Server::http2(authority, &[HOST], |_| json(200, &json!({"two": true}))));
    let proxy = Proxy::new(None);
    let run =
        scene.ask(&["https://api.acme.example/v1/me", "https://api.acme.example/v1/me"], &["--proxy", &proxy.url()]);
    assert_eq!(outcomes(&run), ["200", "200"], "{run:#}");
    assert_eq!(proxy.heads().len(), 1, "one connection carries both: {:?}", proxy.heads());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = format!("http://plain.example:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut head).unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    });
    let port = plain.rsplit(':').next().unwrap();
    let lead = format!("plain.example:{port}:127.0.0.1");
    let flags = ["--proxy", &proxy.url(), "--allow-host", &plain, "--resolve", &lead];
    // Without the account's key, which goes over TLS alone.
    let event = json!({"attack": "sequence", "requests": [{"url": format!("{plain}/")}]});
    let run = scene.keyhole.run(&component("hostile"), &event, &[&["--as", "alice"], &flags[..]].concat());
    assert_eq!(outcomes(&run), ["204"], "{run:#}");
    assert!(proxy.heads()[1].starts_with(&format!("CONNECT 127.0.0.1:{port} ")), "{:?}", proxy.heads());
}

/// Answers each question for an IPv4 address of `named.example` with this one, and says that there is no other name
/// (RFC 1035, section 4.1.1).
fn name_server(address: [u8; 4]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let end = 12 + question[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let name = String::from_utf8_lossy(&question[13..end - 5]).replace(|c: char| c < ' ', ".");
            log.lock().unwrap().push(name.clone());
            let (known, v4) = (name == "named.example", question[end - 4..end - 2] == [0, 1]);
            let mut reply = question[..end].to_vec();
            let code = if known { 0x80 } else { 0x83 };
            reply[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, u8::from(known && v4), 0, 0, 0, 0]);
            if known && v4 {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                reply.extend(address);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    (port, asked)
}

#[test]
fn the_operators_name_servers_are_asked_and_no_others() {
    let scene = Scene::new();
    let (port, asked) = name_server([127, 0, 0, 1]);
    let server = format!("127.0.0.1:{port}");
    let url = format!("https://named.example:{}/", scene.server.port);
    let (open, other) = (format!("named.example:{}", scene.server.port), "https://unknown.example/");
    let flags = ["--name-server", &server, "--allow-host", &open, "--allow-host", "unknown.example"];
    let ask = |url: &str, flags: &[&str]| {
        let event = json!({"attack": "sequence", "requests": [{"url": url}]});
        let flags: Vec<&str> = ["--as", "alice"].iter().chain(flags).copied().collect();
        outcomes(&scene.keyhole.run(&component("hostile"), &event, &flags)).remove(0)
    };
    assert_eq!(ask(&url, &flags), "200");
    let outcome = ask(other, &flags);
    assert!(outcome.contains("there is no such name"), "{outcome}");
    assert!(asked.lock().unwrap().iter().all(|name| ["named.example", "unknown.example"].contains(&name.as_str())));
    // What they say is checked like any address.
    let (port, _) = name_server([169, 254, 169, 254]);
    let server = format!("127.0.0.1:{port}");
    let outcome = ask(&url, &["--name-server", &server, "--allow-host", &open]);
    assert!(outcome.starts_with("refused: ") && outcome.contains("metadata service"), "{outcome}");
    // And where nobody answers, nothing is sent.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let outcome = ask(&url, &["--name-server", &server, "--allow-host", &open]);
    assert!(outcome.contains("the name servers give no answer") || outcome.contains("timed out"), "{outcome}");
}

#[test]
fn a_name_with_its_port_leads_to_the_port_that_the_operator_says() {
    let scene = Scene::new();
    let lead = format!("named.example:8443:127.0.0.1:{}", scene.server.port);
    let flags = ["--as", "alice", "--resolve", &lead, "--allow-host", "named.example:8443"];
    let event = json!({"attack": "sequence", "requests": [{"url": "https://named.example:8443/"}]});
    let run = scene.keyhole.run(&component("hostile"), &event, &flags);
    assert_eq!(outcomes(&run), ["200"], "{run:#}");
    assert_eq!(scene.server.received()[0].header("host"), Some("named.example:8443"));
}

#[test]
fn a_closed_host_is_closed_for_accounts_and_for_what_a_workflow_opens() {
    let scene = Scene::new();
    let run = scene.ask(&["https://api.acme.example/v1/me"], &["--close-host", "*.example"]);
    let outcome = outcomes(&run).remove(0);
    assert!(outcome.contains("the operator has closed api.acme.example"), "{outcome}");
    let run = scene.ask(&["https://api.acme.example/v1/me"], &["--close-host", HOST, "--allow-host", HOST]);
    assert!(outcomes(&run)[0].starts_with("refused: "), "{run:#}");
    assert!(scene.server.received().is_empty());
    // The host's own calls, too: a key can't be tried there.
    let mut args = vec!["accounts", "connect", "acme", "--as", "alice", "--stdin", "--close-host", HOST];
    args.extend(scene.keyhole.flags().iter().map(String::as_str));
    let ended = scene.keyhole.call_with(&args, KEY);
    assert!(ended.code != 0 && ended.stderr.contains("the operator has closed"), "{}{}", ended.stdout, ended.stderr);
    assert!(scene.server.received().is_empty());
}
