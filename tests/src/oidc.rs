//! npm's oidc-provider, an authorization server of the real world, which `tests/run` installs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::server::Authority;
use crate::workspace::root;

/// One that runs until it is dropped.
pub struct Oidc {
    /// Where it listens on 127.0.0.1, as `auth.acme.example`.
    pub port: u16,
    process: Child,
}

impl Oidc {
    /// Starts it, with its certificate in `dir`.
    pub fn start(authority: &Authority, dir: &Path) -> Self {
        let (certificate, key) = authority.issue_pem(&["auth.acme.example"]);
        let (cert_file, key_file) = (dir.join("service.pem"), dir.join("service.key"));
        std::fs::write(&cert_file, certificate).expect("the certificate is written");
        std::fs::write(&key_file, key).expect("its key is written");
        let mut process = Command::new("node")
            .arg("server.mjs")
            .current_dir(root().join("tests/oidc"))
            .env("CERT", cert_file)
            .env("KEY", key_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node is installed");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("the server starts; run `npm ci` in tests/oidc first");
        Self { port, process }
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
