//! `keyhole serve`: the HTTP API, for members who are elsewhere.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueHint};
use jiff::Timestamp;
use keyhole::server::Api;
use keyhole::server::listen::{Listen, ListenError, Server};
use keyhole::server::router;
use keyhole_host_api::broker::audit::Pruned;
use serde_json::json;
use url::Url;

use super::error::{Error, Result};
use super::home::Home;
use super::output;
use super::settings::{EgressFlags, Retention, Settings};

/// How often old records of the audit and old runs are removed.
const RETENTION: Duration = Duration::from_secs(60 * 60);

/// How long runs that are under way may take to end when Keyhole is stopped.
const GRACE: Duration = Duration::from_secs(30);

/// Serve the HTTP API, the triggers of workflows, and their runs
///
/// Every other command works beside it on the same data directory, and from elsewhere with KEYHOLE_URL and
/// KEYHOLE_TOKEN; `keyhole tokens create` makes a token. GET /api/openapi.json describes the API.
#[derive(Args, Debug)]
pub struct Serve {
    /// The address to listen on; port 0 takes any that is free
    #[arg(long, value_name = "ADDR:PORT", env = "KEYHOLE_LISTEN", default_value = "127.0.0.1:8471")]
    listen: SocketAddr,

    /// The certificate chain for TLS, a PEM file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The certificate's key, a PEM file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Listen beyond loopback without TLS: only behind something that speaks TLS
    #[arg(long)]
    insecure: bool,

    /// Where browsers reach it, such as https://keyhole.example.com; OAuth comes back to /oauth/callback below
    /// [default: the address that it listens on]
    #[arg(long, value_name = "URL", env = "KEYHOLE_PUBLIC_URL")]
    public_url: Option<Url>,

    #[command(flatten)]
    egress: EgressFlags,
}

impl Serve {
    /// Serves until someone asks it to stop.
    pub async fn run(self, settings: &Settings) -> Result {
        if let Some(remote) = &settings.remote {
            return Err(Error::usage("keyhole serve works on a data directory")
                .at(&remote.url)
                .help("unset KEYHOLE_URL"));
        }
        if let Some(url) = &self.public_url
            && (!matches!(url.scheme(), "https" | "http") || url.path() != "/" || url.query().is_some())
        {
            return Err(Error::usage("--public-url is not of the form https://HOST").at(url));
        }
        let listen = Listen { address: self.listen, tls: self.tls_cert.zip(self.tls_key), insecure: self.insecure };
        let egress = settings.egress(&self.egress)?;
        // Before the data directory is touched: a wrong address or certificate should change nothing.
        let server = Server::bind(&listen).map_err(told)?;
        let home = Home::open(settings).await?;
        home.members.finish_removals().await?;
        let url = format!("{}://{}/", server.scheme(), server.address());
        let public_url = match self.public_url {
            Some(url) => url,
            None => Url::parse(&url)?,
        };
        let api = home.api(settings, egress, Some(public_url));
        api.serve_runs().await?;
        let router = router(api.clone());
        match settings.out.json {
            true => settings.out.document(&json!({ "url": url }))?,
            false => output::stderr_line(&format!("keyhole serves on {url}")),
        }
        let retention = tokio::spawn(retain(api.clone(), settings.retention));
        let history = tokio::spawn(retain_runs(api.clone(), settings.keep_runs));
        let stop = {
            let api = api.clone();
            async move {
                super::interrupt().await;
                api.stop();
            }
        };
        server.run(router, stop).await.map_err(told)?;
        retention.abort();
        history.abort();
        let left = api.runner.stop(GRACE).await;
        if left > 0 {
            settings.out.note(format!("{left} runs were under way and go on when Keyhole is started again"));
        }
        // The last use of a token or an account may still be on its way.
        api.broker.settle().await?;
        home.store.flush().await?;
        settings.out.note("stopped");
        Ok(())
    }
}

/// Every hour, removes what the audit is not to keep. Broken off at any point, the next time does the rest.
async fn retain(api: Arc<Api>, Retention { keep, keep_records }: Retention) {
    let audit = api.broker.audit();
    let mut hours = tokio::time::interval(RETENTION);
    hours.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while keep.is_some() || keep_records.is_some() {
        hours.tick().await;
        let pruned = async {
            let by_age = keep.and_then(|keep| Timestamp::now().checked_sub(keep).ok());
            let by_count = match keep_records {
                Some(count) => audit.newest(count).await?.map(|at| at.min(Timestamp::now())),
                None => None,
            };
            match by_age.max(by_count) {
                Some(before) => audit.prune(before, "retention", usize::MAX).await,
                None => Ok(Pruned::default()),
            }
        };
        match pruned.await {
            Ok(pruned) => tracing::info!(pruned.removed, pruned.kept, "the audit's retention"),
            Err(error) => tracing::error!(%error, "old records of the audit could not be removed"),
        }
    }
}

/// Every hour, removes runs that ended longer ago than they are kept.
async fn retain_runs(api: Arc<Api>, keep: Option<Duration>) {
    let Some(keep) = keep else { return };
    let mut hours = tokio::time::interval(RETENTION);
    hours.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        hours.tick().await;
        let Ok(before) = Timestamp::now().checked_sub(keep) else { return };
        match api.runner.history().prune(before).await {
            Ok(removed) => tracing::info!(removed, "the history's retention"),
            Err(error) => tracing::error!(%error, "old runs could not be removed"),
        }
    }
}

fn told(error: ListenError) -> Error {
    match error {
        ListenError::InTheClear(_) | ListenError::Pem { .. } | ListenError::Tls(_) => Error::usage(error.to_string()),
        other => Error::from(other),
    }
}
