//! `[serve]`: where and how `keyhole serve` is reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};
use keyhole::server::listen::Listen;
use serde::{Deserialize, Deserializer, de};
use url::Url;

use super::Settings;
use crate::cli::error::{Error, Result};

/// Where it listens unless it is said.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8471);

/// Flags and variables of `keyhole serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    /// The address to listen on; port 0 takes any that is free [default: 127.0.0.1:8471]
    #[arg(long, value_name = "ADDR:PORT", env = "KEYHOLE_LISTEN")]
    listen: Option<SocketAddr>,

    /// The certificate chain for TLS, a PEM file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = "KEYHOLE_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The certificate's key, a PEM file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, env = "KEYHOLE_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Listen beyond loopback without TLS: only behind something that speaks TLS
    #[arg(
        long, value_name = "BOOL", env = "KEYHOLE_INSECURE", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = BoolishValueParser::new()
    )]
    insecure: Option<bool>,

    /// Where browsers reach it, such as https://keyhole.example.com; OAuth comes back to /oauth/callback below
    /// [default: the address that it listens on]
    #[arg(long, value_name = "URL", env = "KEYHOLE_PUBLIC_URL", value_parser = public_url)]
    public_url: Option<Url>,

    /// Tell /metrics (as Prometheus reads them), /healthz and /readyz at this address, too: to anybody who reaches it
    #[arg(long, value_name = "ADDR:PORT", env = "KEYHOLE_METRICS")]
    metrics: Option<SocketAddr>,
}

/// What the configuration file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServeFile {
    listen: Option<SocketAddr>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    insecure: Option<bool>,
    #[serde(deserialize_with = "parsed_public_url")]
    public_url: Option<Url>,
    metrics: Option<SocketAddr>,
}

impl ServeFile {
    /// Its paths, which start at the folder of the file.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.tls_cert.iter_mut().chain(&mut self.tls_key)
    }
}

/// Where it is reached, with the precedence of settings applied.
pub struct Served {
    /// Where and how it listens.
    pub listen: Listen,
    /// Where browsers reach it, if that is elsewhere.
    pub public_url: Option<Url>,
    /// Where it tells how it is.
    pub metrics: Option<SocketAddr>,
}

impl Settings {
    /// Where `keyhole serve` is reached.
    pub fn served(&self, flags: &ServeFlags) -> Result<Served> {
        let (flags, file) = (flags.clone(), &self.serve);
        let certificate = flags.tls_cert.or_else(|| file.tls_cert.clone());
        let key = flags.tls_key.or_else(|| file.tls_key.clone());
        if certificate.is_some() != key.is_some() {
            return Err(Error::usage("TLS needs a certificate and its key, and there is one of them")
                .help("give --tls-cert and --tls-key, or tls_cert and tls_key in [serve]"));
        }
        Ok(Served {
            listen: Listen {
                address: flags.listen.or(file.listen).unwrap_or(LISTEN),
                tls: certificate.zip(key),
                insecure: flags.insecure.or(file.insecure).unwrap_or(false),
            },
            public_url: flags.public_url.or_else(|| file.public_url.clone()),
            metrics: flags.metrics.or(file.metrics),
        })
    }
}

/// An address for browsers: nothing follows the host.
fn public_url(text: &str) -> std::result::Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("'{text}' is no URL: {error}"))?;
    match matches!(url.scheme(), "https" | "http") && url.path() == "/" && url.query().is_none() {
        true => Ok(url),
        false => Err(format!("'{text}' is not of the form https://HOST")),
    }
}

fn parsed_public_url<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Url>, D::Error> {
    public_url(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}
