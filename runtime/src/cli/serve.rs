//! `keyhole serve`: the HTTP API, for members who are elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use keyhole::server::Api;
use keyhole::server::listen::{Listen, ListenError, Server};
use keyhole::server::{health, router};
use keyhole::telemetry::{Telemetry, Tracer};
use keyhole::workflow::{NEEDED_LATELY, RUNS_PER_EVENT, STEP_MEMORY, reached};
use keyhole_host_api::broker::audit::Pruned;
use keyhole_host_api::broker::{Egress, Own};
use keyhole_host_api::store::{Store, StoreError};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use url::{Host, Url};

use super::error::{Error, Result};
use super::home::Home;
use super::settings::{EgressFlags, Retention, RunsFile, ServeFlags, Served, Settings};
use super::{log, output};

/// How often old records of the audit and old runs are removed.
const RETENTION: Duration = Duration::from_secs(60 * 60);
/// It looks at the history's size, too, whenever runs have left this part of what is kept.
const GROWN: u64 = 10;
/// But not for fewer bytes.
const LEAST: u64 = 16 << 10;

/// How long runs that are under way may take to end when Keyhole is stopped.
const GRACE: Duration = Duration::from_secs(30);
/// How long a collector may take to get what is left for it.
const FLUSH: Duration = Duration::from_secs(5);

/// Serve the console, the HTTP API, the triggers of workflows, and their runs
///
/// Every other command works beside it on the same data directory, and from elsewhere with KEYHOLE_URL and
/// KEYHOLE_TOKEN; `keyhole tokens create` makes a token. GET /api/openapi.json describes the API.
#[derive(Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    serve: ServeFlags,

    #[command(flatten)]
    egress: EgressFlags,
}

impl Serve {
    /// Serves until someone asks it to stop.
    pub async fn run(self, settings: &Settings) -> Result {
        if let Some(remote) = &settings.remote {
            return Err(on_a_directory("serve", &remote.url));
        }
        let Served { listen, public_url, metrics } = settings.served(&self.serve)?;
        let egress = settings.egress(&self.egress)?;
        let telemetry = settings.telemetry()?;
        // From here on it does not end the program.
        let hangups = signal(SignalKind::hangup())?;
        // Before the data directory is touched: a wrong address or certificate should change nothing.
        let server = Server::bind(&listen).map_err(told)?;
        let told_at = match metrics {
            // What it tells is nobody's secret.
            Some(address) => Some(Server::bind(&Listen { address, tls: None, insecure: true }).map_err(told)?),
            None => None,
        };
        let url = format!("{}://{}/", server.scheme(), server.address());
        let public_url = match public_url {
            Some(url) => url,
            None => Url::parse(&url)?,
        };
        let mut telemetry = telemetry.as_ref().map(Telemetry::begin).transpose()?;
        let tracer = telemetry.as_ref().and_then(|telemetry| telemetry.tracer.clone());
        // Before anything is done that is counted.
        let counts = told_at.is_some() || telemetry.as_ref().is_some_and(Telemetry::wants_metrics);
        let metrics = if counts { Some(health::Metrics::begin()?) } else { None };
        let listen = [Some(&server), told_at.as_ref()].into_iter().flatten().map(Server::address).collect();
        let Begun { home, api, own } = begin(settings, egress, listen, public_url, tracer).await?;
        let kept = watch::Sender::new(Kept::of(settings));
        let router = router(api.clone());
        let metrics_url = told_at.as_ref().map(|told_at| format!("http://{}/metrics", told_at.address()));
        let telling = told_at.zip(metrics.as_ref()).map(|(server, metrics)| {
            let operators = health::operators(api.clone(), metrics);
            tokio::spawn(async move { server.run(operators, std::future::pending()).await })
        });
        if let (Some(telemetry), Some(metrics)) = (&mut telemetry, metrics) {
            let api = api.clone();
            telemetry.send_metrics(move || metrics.text(&api));
        }
        let set_up = set_up(&api).await?;
        match settings.out.json {
            true => settings.out.document(&json!({ "url": url, "metrics": metrics_url, "set_up": set_up }))?,
            false => output::stderr_line(&format!("keyhole serves on {url}")),
        }
        if let Some(set_up) = set_up {
            output::stderr_line(&format!("no member yet; set Keyhole up here: {set_up}"));
        }
        let retention = tokio::spawn(retain(api.clone(), kept.subscribe()));
        let (store, settings_then, flags) = (home.store.clone(), settings.clone(), self.egress);
        let reload = Reload { api: api.clone(), store, settings: settings_then, flags, own, kept };
        let changes = tokio::spawn(reload.run(hangups));
        let stop = {
            let api = api.clone();
            async move {
                super::interrupt().await;
                api.stop();
            }
        };
        server.run(router, stop).await.map_err(told)?;
        retention.abort();
        changes.abort();
        let left = api.runner.stop(GRACE).await;
        // Until then it tells that this process is being stopped.
        if let Some(telling) = telling {
            telling.abort();
        }
        if left > 0 {
            settings.out.note(format!("{left} runs were under way and go on when Keyhole is started again"));
        }
        // The last use of a token or an account may still be on its way.
        api.broker.settle().await?;
        api.runner.history().flush().await?;
        home.store.flush().await?;
        // Last: what a collector takes is nobody's loss, and it may be the one that is slow.
        if let Some(telemetry) = telemetry {
            telemetry.stop(FLUSH).await;
        }
        settings.out.note("stopped");
        Ok(())
    }
}

/// A data directory whose workflows run in this process.
pub struct Begun {
    /// The directory.
    pub home: Home,
    /// What works on it.
    pub api: Arc<Api>,
    /// Where the process is reached, which is closed to steps.
    own: Own,
}

/// Begins to run the workflows of the data directory, in a process that listens on these addresses. `tracer` takes
/// the spans of their runs.
pub async fn begin(
    settings: &Settings,
    mut egress: Egress,
    mut listen: Vec<SocketAddr>,
    public_url: Url,
    tracer: Option<Tracer>,
) -> Result<Begun> {
    let home = Home::open(settings).await?;
    home.members.finish_removals().await?;
    listen.extend(address_of(&public_url));
    let own = Own { listen, names: name_of(&public_url).into_iter().collect() };
    egress.own = own.clone();
    let api = home.api(settings, egress, Some(public_url.clone())).await?;
    api.oidc.change(settings.oidc()?);
    api.runner.reached_at(own.clone(), public_url);
    if let Some(tracer) = tracer {
        api.runner.trace_by(tracer);
    }
    api.serve_runs().await?;
    Ok(Begun { home, api, own })
}

/// Where the first member is made, while there is none.
async fn set_up(api: &Api) -> Result<Option<Url>> {
    if !api.members.list().await?.is_empty() {
        return Ok(None);
    }
    Ok(api.address_of(&api.set_up.begin()?))
}

/// A command that needs the data directory was sent to a server.
pub fn on_a_directory(command: &str, url: &Url) -> Error {
    Error::usage(format!("keyhole {command} works on a data directory")).at(url).help("unset KEYHOLE_URL")
}

/// The name and port by which browsers reach it.
fn name_of(url: &Url) -> Option<(String, u16)> {
    Some((url.domain()?.to_owned(), url.port_or_known_default()?))
}

/// The address by which browsers reach it, if that is one.
fn address_of(url: &Url) -> Option<SocketAddr> {
    let ip = match url.host()? {
        Host::Ipv4(ip) => ip.into(),
        Host::Ipv6(ip) => ip.into(),
        Host::Domain(_) => return None,
    };
    Some(SocketAddr::new(ip, url.port_or_known_default()?))
}

/// What takes over, with each hang-up signal, what the configuration file says now: all of it, or nothing.
struct Reload {
    api: Arc<Api>,
    store: Arc<dyn Store>,
    settings: Settings,
    flags: EgressFlags,
    own: Own,
    kept: watch::Sender<Kept>,
}

impl Reload {
    async fn run(self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            match self.read_again().await {
                Ok(fresh) => {
                    self.kept.send_replace(Kept::of(&fresh));
                    let file = fresh.config.as_ref().map(|path| path.display().to_string());
                    output::stderr_line(&format!("settings read again: {}", file.as_deref().unwrap_or("no file")));
                    for name in self.settings.only_at_start(&fresh) {
                        output::stderr_line(&format!("{name} stays as it was until Keyhole is started again"));
                    }
                }
                Err(error) => {
                    // Its exit code is for commands that end.
                    let _ = error.report(self.settings.out.json);
                    output::stderr_line("the settings stay as they were");
                }
            }
        }
    }

    async fn read_again(&self) -> Result<Settings> {
        let fresh = self.settings.again()?;
        let mut egress = fresh.egress(&self.flags)?;
        let oidc = fresh.oidc()?;
        egress.own = self.own.clone();
        egress.own.add(reached(&self.store).await?);
        self.api.broker.change(egress)?;
        log::change(fresh.log().level);
        self.api.oidc.change(oidc);
        self.api.data().set_most(fresh.store_size);
        self.api.runner.set_most_started(fresh.runs.most_per_event.unwrap_or(RUNS_PER_EVENT));
        self.api.workflows.work().components.set_most_memory(fresh.runs.most_memory.unwrap_or(STEP_MEMORY));
        Ok(fresh)
    }
}

/// How much stays of what is kept of the past.
#[derive(Clone, Copy)]
struct Kept {
    audit: Retention,
    runs: RunsFile,
}

impl Kept {
    fn of(settings: &Settings) -> Self {
        Self { audit: settings.retention, runs: settings.runs }
    }
}

/// Every hour, when that changes, and when the history has grown by much, removes what is not to be kept.
async fn retain(api: Arc<Api>, mut kept: watch::Receiver<Kept>) {
    let mut hours = tokio::time::interval(RETENTION);
    hours.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let history = api.runner.history();
    let mut written = 0_u64;
    loop {
        let most = kept.borrow().runs.keep_size.unwrap_or(u64::MAX);
        let all = tokio::select! {
            _ = hours.tick() => true,
            () = history.grown_to(written.saturating_add((most / GROWN).max(LEAST))) => false,
            changed = kept.changed() => if changed.is_ok() { true } else { return },
        };
        written = history.written();
        let Kept { audit, runs } = *kept.borrow_and_update();
        if all {
            retain_audit(&api, audit).await;
        }
        retain_runs(&api, runs).await;
        if all {
            // After old runs are gone, which may have been the last of an old version.
            match api.workflows.tidy(history, NEEDED_LATELY).await {
                Ok(tidied) => tracing::info!(?tidied, "what no workflow and no run needs"),
                Err(error) => tracing::error!(%error, "what no workflow and no run needs could not be removed"),
            }
        }
        if all && let Err(error) = api.data().sweep().await {
            tracing::error!(%error, "what is over in data stores could not be removed");
        }
    }
}

/// Removes what the audit is not to keep. Broken off at any point, the next time does the rest.
async fn retain_audit(api: &Api, Retention { keep, keep_records }: Retention) {
    if keep.is_none() && keep_records.is_none() {
        return;
    }
    let audit = api.broker.audit();
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

/// Removes the runs that are older, or more bytes, than what is kept.
async fn retain_runs(api: &Api, RunsFile { keep, keep_size, .. }: RunsFile) {
    let history = api.runner.history();
    let removed = async {
        let by_age = match keep.and_then(|keep| Timestamp::now().checked_sub(keep).ok()) {
            Some(before) => history.prune(before).await?,
            None => 0,
        };
        let by_size = match keep_size {
            Some(bytes) => history.shrink(bytes).await?,
            None => 0,
        };
        Ok::<_, StoreError>(by_age + by_size)
    };
    match removed.await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "the history's retention"),
        Err(error) => tracing::error!(%error, "old runs could not be removed"),
    }
}

pub fn told(error: ListenError) -> Error {
    match error {
        ListenError::InTheClear(_) | ListenError::Pem { .. } | ListenError::Tls(_) => Error::usage(error.to_string()),
        other => Error::from(other),
    }
}
