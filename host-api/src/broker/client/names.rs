//! From a name to the addresses that may be connected to: by the operator's word, by the name servers of the
//! operator's choice, or by the system.
//!
//! Nothing may connect to an address that did not come from here.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::error::{ClientError, Closed};
use super::gate::Gate;

/// How long one name server may take to answer, once.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Whom to ask for a name's addresses.
#[derive(Clone)]
pub(super) enum Names {
    /// The system: `/etc/hosts`, and what `/etc/resolv.conf` says.
    System,
    /// The operator's name servers, and nothing else.
    Servers(Box<TokioResolver>),
}

impl Names {
    /// Those at `servers`, or the system if there are none. Asks nobody anything yet.
    pub(super) fn new(servers: &[SocketAddr]) -> Result<Self, ClientError> {
        if servers.is_empty() {
            return Ok(Self::System);
        }
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            config.connections.iter_mut().for_each(|connection| connection.port = server.port());
            config
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = ANSWER_WITHIN;
        let resolver = builder.build().map_err(|error| ClientError::Names(error.to_string()))?;
        Ok(Self::Servers(Box::new(resolver)))
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, NotFound> {
        match self {
            Self::System => {
                let found = tokio::net::lookup_host((name, 0)).await;
                Ok(found.map_err(|error| NotFound(error.to_string()))?.map(|address| address.ip()).collect())
            }
            // With its root dot, so that no search domain is tried.
            Self::Servers(resolver) => match resolver.lookup_ip(format!("{name}.")).await {
                Ok(found) => Ok(found.iter().collect()),
                Err(error) if error.is_no_records_found() => Err(NotFound("there is no such name".to_owned())),
                // Its text may quote what a server sent.
                Err(_) => Err(NotFound("the name servers give no answer".to_owned())),
            },
        }
    }
}

/// A name has no addresses.
#[derive(Debug, thiserror::Error)]
#[error("the name can't be resolved: {0}")]
pub(super) struct NotFound(String);

/// Resolves a name and passes on its addresses only if every one of them is allowed: a
/// name with one good and one bad address is somebody's attempt.
#[derive(Clone)]
pub(super) struct Resolver {
    pub(super) gate: Arc<Gate>,
    pub(super) names: Names,
    /// Where the operator leads names instead, by name and port.
    pub(super) fixed: Arc<HashMap<(String, u16), Vec<SocketAddr>>>,
}

impl Resolver {
    /// The addresses of `name`, each with the port to connect to.
    pub(super) async fn addresses(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Unreachable> {
        let addresses = match self.fixed.get(&(name.to_owned(), port)) {
            Some(fixed) => fixed.clone(),
            None => self.names.look_up(name).await?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
        };
        for address in &addresses {
            self.gate.address(*address)?;
        }
        Ok(addresses)
    }

    /// What a URL has in the place of a name. It was checked with the URL, and is once more.
    pub(super) fn literal(&self, address: SocketAddr) -> Result<Vec<SocketAddr>, Closed> {
        self.gate.address(address)?;
        Ok(vec![address])
    }
}

/// Why a name leads nowhere.
pub(super) enum Unreachable {
    NotFound(NotFound),
    Closed(Closed),
}

impl From<NotFound> for Unreachable {
    fn from(error: NotFound) -> Self {
        Self::NotFound(error)
    }
}

impl From<Closed> for Unreachable {
    fn from(error: Closed) -> Self {
        Self::Closed(error)
    }
}

impl From<Unreachable> for Box<dyn std::error::Error + Send + Sync> {
    fn from(error: Unreachable) -> Self {
        match error {
            Unreachable::NotFound(error) => Box::new(error),
            Unreachable::Closed(error) => Box::new(error),
        }
    }
}
