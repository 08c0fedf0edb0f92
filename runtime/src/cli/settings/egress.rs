//! Where requests may go, and by which way: flags and `[egress]`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum, ValueHint};
use ipnet::IpNet;
use keyhole_host_api::broker::audit::AuditMode;
use keyhole_host_api::broker::{ClosedHost, Egress, Own, Proxy, Resolve};
use keyhole_host_api::vault::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::parse::{parsed, parsed_list};
use super::{Settings, read_text};
use crate::cli::error::{Error, Result};

/// The operator's flags on where requests may go.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Where requests go")]
pub struct EgressFlags {
    /// Lead a name to an address, as curl does; ADDR may have a port of its own, ADDR:PORT
    #[arg(long, value_name = "HOST:PORT:ADDR")]
    pub resolve: Vec<Resolve>,

    /// Trust the certificate authorities in this PEM file, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_cert: Vec<PathBuf>,

    /// Let requests reach these addresses although they are not public
    #[arg(long, value_name = "CIDR")]
    pub allow_range: Vec<IpNet>,

    /// Let no request reach this host: a name, *. and a name, or an address; at any port, unless one is named
    #[arg(long, value_name = "HOST")]
    pub close_host: Vec<ClosedHost>,

    /// Send every request by this HTTP proxy, which is asked to connect to the address that was checked
    #[arg(long, value_name = "http://HOST:PORT")]
    pub proxy: Option<Proxy>,

    /// Read USER:PASSWORD for the proxy from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub proxy_credentials: Option<PathBuf>,

    /// Ask this name server, by UDP and TCP, instead of those of the system
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub name_server: Vec<NameServer>,

    /// Whether a request waits until its audit record is on disk [default: strict]
    #[arg(long, value_name = "HOW", value_enum)]
    pub audit: Option<AuditFlag>,
}

/// How strictly the audit is kept.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum AuditFlag {
    /// A request leaves when its record is on disk
    Strict,
    /// Records are on disk within 50 ms
    Relaxed,
}

/// The address of a name server. Its port is 53 unless it says another.
#[derive(Clone, Copy, Debug)]
pub struct NameServer(SocketAddr);

impl FromStr for NameServer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        let address = alone.or_else(|_| text.parse());
        address
            .map(Self)
            .map_err(|_| format!("'{text}' is not a name server's address; write 9.9.9.9 or 10.0.0.53:5353"))
    }
}

/// What the configuration file says of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EgressFile {
    #[serde(deserialize_with = "parsed_list")]
    resolve: Vec<Resolve>,
    ca_cert: Vec<PathBuf>,
    #[serde(deserialize_with = "parsed_list")]
    allow_range: Vec<IpNet>,
    #[serde(deserialize_with = "parsed_list")]
    closed_hosts: Vec<ClosedHost>,
    #[serde(deserialize_with = "parsed")]
    proxy: Option<Proxy>,
    proxy_credentials: Option<PathBuf>,
    #[serde(deserialize_with = "parsed_list")]
    name_servers: Vec<NameServer>,
    audit: Option<AuditMode>,
}

impl EgressFile {
    /// Its paths, which start at the folder of the file.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.ca_cert.iter_mut().chain(&mut self.proxy_credentials)
    }
}

/// The flags, or the file's word where there are none.
fn or<T: Clone>(flags: &[T], file: &[T]) -> Vec<T> {
    if flags.is_empty() { file.to_vec() } else { flags.to_vec() }
}

impl Settings {
    /// Where requests may go: the flags, each kind replacing what the file says of it.
    pub fn egress(&self, flags: &EgressFlags) -> Result<Egress> {
        let file = &self.egress;
        let mut ca_certs = Vec::new();
        for path in or(&flags.ca_cert, &file.ca_cert) {
            let text = read_text(&path)?;
            if !text.contains("-----BEGIN CERTIFICATE-----") {
                return Err(Error::usage("the file holds no certificate in PEM form")
                    .at(path.display())
                    .help("a PEM certificate starts with -----BEGIN CERTIFICATE-----; openssl x509 -inform der turns others into it"));
            }
            ca_certs.push(text);
        }
        let mut proxy = flags.proxy.clone().or_else(|| file.proxy.clone());
        if let Some(path) = flags.proxy_credentials.as_ref().or(file.proxy_credentials.as_ref()) {
            let Some(proxy) = &mut proxy else {
                return Err(Error::usage("there are credentials for a proxy, and no proxy")
                    .at(path.display())
                    .help("name it with --proxy, or proxy in [egress]"));
            };
            proxy.credentials = Some(credentials(path)?);
        }
        let name_servers = or(&flags.name_server, &file.name_servers).into_iter().map(|NameServer(address)| address);
        Ok(Egress {
            resolve: or(&flags.resolve, &file.resolve),
            ca_certs,
            allow_ranges: or(&flags.allow_range, &file.allow_range),
            closed_hosts: or(&flags.close_host, &file.closed_hosts),
            proxy,
            name_servers: name_servers.collect(),
            own: Own::default(),
            shares: self.limits.shares(),
            audit: match flags.audit {
                Some(AuditFlag::Strict) => AuditMode::Strict,
                Some(AuditFlag::Relaxed) => AuditMode::Relaxed,
                None => file.audit.unwrap_or_default(),
            },
        })
    }
}

/// `USER:PASSWORD` for the proxy (RFC 7617, section 2).
fn credentials(path: &Path) -> Result<Secret> {
    let text = Zeroizing::new(read_text(path)?);
    let line = text.trim_end_matches(['\r', '\n']);
    if !line.contains(':') || line.contains(char::is_control) {
        return Err(Error::usage("the file is not one line of the form USER:PASSWORD").at(path.display()));
    }
    Ok(Secret::new(line.to_owned()))
}
