//! The authorization server (`tests/oidc`), as a process, and a member's browser.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use url::Url;

/// What it is called, in the definitions too.
pub const HOST: &str = "auth.acme.example";
/// What else it is called: the hosts of definitions that come with Keyhole.
pub const HOSTS: [&str; 6] = [
    HOST,
    "api.x.com",
    "api.github.com",
    "oauth2.googleapis.com",
    "storage.googleapis.com",
    "api.appstoreconnect.apple.com",
];
/// Where a browser comes back to.
pub const CALLBACK: &str = "http://127.0.0.1:8471/callback";

/// A real authorization server. It ends with this.
pub struct Server {
    /// Its certificate.
    pub pem: String,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    process: Child,
    http: reqwest::Client,
}

impl Server {
    /// Starts one. Its packages are installed by `tests/run`.
    pub fn start(dir: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(HOSTS.map(str::to_owned)).unwrap().self_signed(&key).unwrap();
        let (cert_file, key_file) = (dir.join("server.pem"), dir.join("server.key"));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let oidc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/oidc");
        let mut process = Command::new("node")
            .arg("server.mjs")
            .current_dir(&oidc)
            .env("CERT", cert_file)
            .env("KEY", key_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node is installed");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the server starts; run `npm ci` in tests/oidc first");
        let pem = certificate.pem();
        Self { http: client(&pem, port), pem, port, process }
    }

    /// What it was asked for so far: `name` as in server.mjs.
    pub async fn count(&self, name: &str) -> u64 {
        self.counters().await[name].as_u64().unwrap_or(0)
    }

    /// The token that its resource took last.
    pub async fn taken(&self) -> String {
        self.counters().await["taken"].as_str().unwrap_or_default().to_owned()
    }

    async fn counters(&self) -> Value {
        let counters = self.http.get(format!("https://{HOST}/test/counters")).send().await.unwrap();
        serde_json::from_slice(&counters.bytes().await.unwrap()).unwrap()
    }

    /// Sets these knobs, and the others to normal.
    pub async fn set(&self, knobs: Value) {
        let set = self.http.post(format!("https://{HOST}/test/knobs")).body(knobs.to_string()).send().await.unwrap();
        assert!(set.status().is_success());
    }

    /// Asks something of `/test`.
    pub async fn post(&self, what: &str, body: Value) -> Value {
        let answer = self.http.post(format!("https://{HOST}/test/{what}")).body(body.to_string()).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Ends every access token.
    pub async fn forget(&self) {
        let forgot = self.http.post(format!("https://{HOST}/test/forget")).send().await.unwrap();
        assert!(forgot.status().is_success());
    }

    /// Whether it takes `token` at its resource.
    pub async fn takes(&self, token: &str) -> bool {
        let answer = self.http.get(format!("https://{HOST}/api/notes")).bearer_auth(token).send().await.unwrap();
        answer.status().is_success()
    }

    /// Uses a refresh token as `client`. Whether the server took it.
    pub async fn refresh(&self, client: &str, token: &str) -> bool {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self
            .http
            .post(format!("https://{HOST}/token"))
            .basic_auth(client, Some(crate::house::client_secret(client)));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        request.send().await.unwrap().status().is_success()
    }

    /// A browser that nobody is logged in with.
    pub fn browser(&self) -> Browser {
        Browser { http: client(&self.pem, self.port), cookies: BTreeMap::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client(pem: &str, port: u16) -> reqwest::Client {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .resolve(HOST, ([127, 0, 0, 1], port).into())
        .build()
        .unwrap()
}

/// What the member does when they are asked.
#[derive(Clone, Copy, PartialEq)]
pub enum Decision {
    Allow,
    Deny,
}

/// A member's browser: cookies, redirects and forms, without a screen.
pub struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Opens `url`, logs in as `login` where it is asked to, and allows what it is asked
    /// for. Where it comes back to: the callback, or the last page.
    pub async fn open(&mut self, url: &str, login: &str, decision: Decision) -> Url {
        let mut url = Url::parse(url).unwrap();
        let mut form: Option<Vec<(String, String)>> = None;
        for _ in 0..20 {
            if url.as_str().starts_with(CALLBACK) {
                return url;
            }
            let mut request = match form.take() {
                None => self.http.get(url.clone()),
                Some(fields) => {
                    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                    self.http.post(url.clone()).header("content-type", "application/x-www-form-urlencoded").body(body)
                }
            };
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", cookies.join("; "));
            let answer = request.send().await.unwrap();
            for cookie in answer.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                match value.is_empty() {
                    true => drop(self.cookies.remove(name)),
                    false => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
                }
            }
            if let Some(to) = answer.headers().get("location") {
                url = url.join(to.to_str().unwrap()).unwrap();
                continue;
            }
            let status = answer.status();
            let page = String::from_utf8(answer.bytes().await.unwrap().to_vec()).unwrap();
            assert!(status.is_success(), "{status} at {url}: {page}");
            let Some(action) = attribute(&page, "<form", "action") else { return url };
            let mut fields = hidden(&page);
            if decision == Decision::Deny && fields.iter().any(|(name, value)| name == "prompt" && value == "consent") {
                url.set_path(&format!("{}/abort", url.path()));
                continue;
            }
            if page.contains("name=\"login\"") {
                fields.push(("login".to_owned(), login.to_owned()));
                fields.push(("password".to_owned(), "x".to_owned()));
            }
            url = url.join(&action).unwrap();
            form = Some(fields);
        }
        panic!("the browser goes in circles: {url}");
    }
}

/// `attribute` of the first `tag` of `page`.
fn attribute(page: &str, tag: &str, attribute: &str) -> Option<String> {
    let tag = &page[page.find(tag)?..];
    let tag = &tag[..tag.find('>')?];
    let value = tag.split_once(&format!("{attribute}=\""))?.1;
    Some(value.split_once('"')?.0.replace("&amp;", "&"))
}

fn hidden(page: &str) -> Vec<(String, String)> {
    let inputs = page.match_indices("<input").map(|(at, _)| &page[at..]);
    let hidden = inputs.filter(|input| attribute(input, "<input", "type").as_deref() == Some("hidden"));
    hidden.filter_map(|i| Some((attribute(i, "<input", "name")?, attribute(i, "<input", "value")?))).collect()
}
