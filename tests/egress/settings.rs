//! Settings that are read again while Keyhole serves: all of a file, or nothing of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use keyhole_tests::program::{KEY, Keyhole};
use keyhole_tests::server::{Server, json};
use serde_json::{Value, json};

/// A server that reads its settings from a file.
struct Serving {
    child: Child,
    /// What it says on standard error, a line each.
    said: mpsc::Receiver<String>,
    url: String,
    token: String,
}

impl Serving {
    fn on(keyhole: &Keyhole, config: &str) -> Self {
        let token = keyhole.call(&["--json", "tokens", "create", "--as", "alice"]).ok().json();
        write(keyhole, config);
        let path = path(keyhole).display().to_string();
        let mut command = keyhole.command(&["--json", "--config", &path, "serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = serde_json::Deserializer::from_reader(child.stdout.take().unwrap()).into_iter::<Value>();
        let url = said.next().unwrap().unwrap()["url"].as_str().unwrap().trim_end_matches('/').to_owned();
        let (line, said) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|said| line.send(said)));
        Self { child, said, url, token: token["token"].as_str().unwrap().to_owned() }
    }

    /// Has it read the file again, and waits for what it says of that, up to the line with `last`.
    fn hang_up(&self, last: &str) -> String {
        Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        let mut said = String::new();
        while !said.contains(last) {
            let line = self.said.recv_timeout(Duration::from_secs(60));
            said += &line.unwrap_or_else(|error| panic!("{error}, and not {last}: {said}"));
            said.push('\n');
        }
        said
    }

    /// Runs the workflow and gives the outcome of its only request.
    fn outcome(&self, keyhole: &Keyhole) -> String {
        let mut command = Command::new(keyhole_tests::workspace::keyhole());
        command
            .args(["--json", "workflows", "run", "w"])
            .env("KEYHOLE_URL", &self.url)
            .env("KEYHOLE_TOKEN", &self.token)
            .env("XDG_CONFIG_HOME", keyhole.data.path().join("none"))
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let run: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        match run["run"]["error"]["message"].as_str() {
            Some(message) => message.to_owned(),
            None => run["run"]["status"].as_str().unwrap_or_else(|| panic!("{run:#}")).to_owned(),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn path(keyhole: &Keyhole) -> std::path::PathBuf {
    keyhole.data.path().join("keyhole.toml")
}

fn write(keyhole: &Keyhole, config: &str) {
    std::fs::write(path(keyhole), config).unwrap();
}

/// A workflow `w` of alice's that asks `url`.
fn deploy(keyhole: &Keyhole, url: &str, more: &str) {
    let text = format!(
        "keyhole = 1\nname = \"w\"\n[[steps]]\nname = \"a\"\nuses = \"http-request\"\nprops = {{ url = {url:?} }}\n{more}\n"
    );
    let file = keyhole.data.path().join("workflow.toml");
    std::fs::write(&file, text).unwrap();
    keyhole.call(&["workflows", "deploy", file.to_str().unwrap(), "--as", "alice"]).ok();
}

#[test]
fn settings_are_read_again_whole_or_not_at_all() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let server = Server::http(&keyhole.authority, &["api.acme.example"], |_| json(200, &json!({})));
    let account = keyhole.connect("alice", KEY);
    deploy(&keyhole, "v1/me", &format!("links = {{ account = {account:?} }}"));
    let open = format!(
        "[egress]\nresolve = [\"{}\"]\nca_cert = [\"test-ca.pem\"]\nallow_range = [\"127.0.0.0/8\"]\n",
        server.resolve("api.acme.example")
    );
    let serving = Serving::on(&keyhole, &open);
    assert_eq!(serving.outcome(&keyhole), "ok");

    write(&keyhole, &format!("{open}closed_hosts = [\"api.acme.example\"]\n"));
    assert_eq!(serving.outcome(&keyhole), "ok", "nobody has said yet that it is to be read");
    let said = serving.hang_up("settings read again");
    assert!(said.contains("keyhole.toml"), "{said}");
    assert!(serving.outcome(&keyhole).contains("the operator has closed api.acme.example"));

    // A slip of the pen in one line: none of the others takes effect, and it is said where.
    write(&keyhole, &format!("{open}closed_hosts = []\n[limits.run]\nrequests = \"many\"\n"));
    let said = serving.hang_up("the settings stay as they were");
    assert!(said.contains("keyhole.toml:7:"), "{said}");
    assert!(serving.outcome(&keyhole).contains("the operator has closed api.acme.example"));
    // Nor does what can be read and makes no sense.
    std::fs::write(keyhole.data.path().join("empty.pem"), "nothing").unwrap();
    write(&keyhole, &open.replace("test-ca.pem", "empty.pem"));
    let said = serving.hang_up("the settings stay as they were");
    assert!(said.contains("holds no certificate"), "{said}");
    assert!(serving.outcome(&keyhole).contains("the operator has closed api.acme.example"));

    write(&keyhole, &format!("data_dir = \"elsewhere\"\n{open}[limits.account]\nrequests = \"2/h\"\n"));
    serving.hang_up("settings read again");
    assert_eq!(serving.outcome(&keyhole), "ok");
    assert_eq!(serving.outcome(&keyhole), "ok");
    let over = serving.outcome(&keyhole);
    assert!(over.contains("the account may send 2 requests an hour"), "{over}");
    assert_eq!(server.received().len(), 4);
}

#[test]
fn the_log_says_more_or_less_from_the_next_line_on() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let serving = Serving::on(&keyhole, "");
    let tidied = "what no workflow and no run needs";
    assert!(!serving.hang_up("settings read again").contains(tidied));
    write(&keyhole, "[log]\nlevel = \"info\"\n");
    serving.hang_up(tidied);
    write(&keyhole, "[log]\nlevel = \"loud\"\n");
    let said = serving.hang_up("the settings stay as they were");
    assert!(said.contains("keyhole.toml:2:") && said.contains("`off`"), "{said}");
    write(&keyhole, "[log]\nlevel = \"info\"\nformat = \"json\"\n");
    let said = serving.hang_up("until Keyhole is started again");
    assert!(said.contains("log.format stays"), "{said}");
}

#[test]
fn what_is_read_at_start_alone_is_said_to_stay() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let serving = Serving::on(&keyhole, "");
    write(&keyhole, "master_key = { file = \"other.key\" }\n");
    let said = serving.hang_up("until Keyhole is started again");
    assert!(said.contains("settings read again") && said.contains("master_key stays"), "{said}");
}

#[test]
fn bound_no_workflow_reaches_the_keyhole_that_runs_it_though_its_range_is_open() {
    let keyhole = Keyhole::default();
    keyhole.member("alice");
    let config = "[egress]\nallow_range = [\"127.0.0.0/8\", \"::1/128\"]\n";
    let serving = Serving::on(&keyhole, config);
    let port = serving.url.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}");
        deploy(&keyhole, &format!("{url}/api/openapi.json"), &format!("allow_hosts = [{url:?}]"));
        let outcome = serving.outcome(&keyhole);
        assert!(outcome.contains("Keyhole"), "{host}: {outcome}");
    }
    // A neighbour on the same address is reached.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut head).unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    });
    deploy(&keyhole, &format!("{url}/"), &format!("allow_hosts = [{url:?}]"));
    assert_eq!(serving.outcome(&keyhole), "ok");
}
