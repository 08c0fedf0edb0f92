//! What the rows share: a workspace with one account, taking turns, and the table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use keyhole::engine::Input;
use keyhole_host_api::accounts::AccountId;
use keyhole_host_api::broker::{Broker, Egress, Limits, RunBooks, Scope};
use keyhole_tests::host::{self, Host};
use keyhole_tests::program::KEY;
use keyhole_tests::workspace;

/// What the bare side answers and sends where Keyhole has a placeholder.
pub const STAND_IN: &str = "acme_live_khp1AbCdEfGhIjKlMnOpQrStUvWxYz012345";

/// One comparison.
pub struct Row {
    /// What was done.
    pub what: String,
    /// How long it took, or what else was measured.
    pub measured: String,
    /// What it is compared with, and what that took.
    pub beside: String,
    /// Measured over compared.
    pub ratio: Option<f64>,
    /// What the ratio may be.
    pub at_most: Option<f64>,
}

impl Row {
    /// Two times, compared.
    pub fn times(what: impl Into<String>, measured: Duration, beside: &str, other: Duration) -> Self {
        Self {
            what: what.into(),
            measured: time(measured),
            beside: format!("{} {beside}", time(other)),
            ratio: Some(measured.as_secs_f64() / other.as_secs_f64()),
            at_most: None,
        }
    }

    /// With a target.
    pub fn at_most(mut self, ratio: f64) -> Self {
        self.at_most = Some(ratio);
        self
    }
}

/// Prints the rows as a table.
pub fn print(rows: &[Row]) {
    let head = ["what", "measured", "beside", "ratio", "target"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}x"));
        let target = match (row.ratio, row.at_most) {
            (Some(ratio), Some(target)) => {
                format!("<= {target:.2}x {}", if ratio <= target { "ok" } else { "OVER" })
            }
            _ => String::new(),
        };
        [row.what.clone(), row.measured.clone(), row.beside.clone(), ratio, target]
    });
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    println!();
    for [what, measured, beside, ratio, target] in &lines {
        let [a, b, c, d, _] = widths[..] else { unreachable!("five columns") };
        println!("{}", format!("{what:<a$}  {measured:>b$}  {beside:<c$}  {ratio:>d$}  {target}").trim_end());
    }
}

/// A duration for a person's eyes.
pub fn time(time: Duration) -> String {
    match time.as_nanos() {
        0..10_000 => format!("{:.2} µs", time.as_secs_f64() * 1e6),
        10_000..1_000_000 => format!("{:.1} µs", time.as_secs_f64() * 1e6),
        _ => format!("{:.2} ms", time.as_secs_f64() * 1e3),
    }
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Times two kinds of work in turns, so that both meet the same weather: the median over
/// `rounds` of the time for one of the `each` that a round does.
pub async fn in_turns<A, B>(
    rounds: usize,
    each: u32,
    mut one: impl FnMut() -> A,
    mut other: impl FnMut() -> B,
) -> Result<(Duration, Duration)>
where
    A: Future<Output = Result<()>>,
    B: Future<Output = Result<()>>,
{
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    // The first round warms both up.
    for round in 0..=rounds {
        let begun = Instant::now();
        one().await?;
        let between = Instant::now();
        other().await?;
        if round > 0 {
            ones.push((between - begun) / each);
            others.push(between.elapsed() / each);
        }
    }
    Ok((median(ones), median(others)))
}

/// A workspace in which alice has an account.
pub struct House {
    pub host: Host,
    pub account: AccountId,
}

impl House {
    pub async fn new() -> Self {
        let host = Host::with_apps(&workspace::fixture("benches/apps")).await;
        let account = host.connect("alice", "acme", &[("api_key", KEY)]).await;
        Self { host, account }
    }

    pub fn broker(&self, egress: Egress) -> Arc<Broker> {
        let accounts = &self.host.accounts;
        Arc::new(Broker::new(self.host.store.clone(), accounts.clone(), accounts.catalog().clone(), egress))
    }

    /// What a run of alice's is made for, with her account linked to the prop `acme`.
    pub fn scope(&self) -> Scope {
        let limits = Limits { requests: 1_000_000, bytes_out: u64::MAX, bytes_in: u64::MAX, ..Limits::default() };
        Scope { books: RunBooks::new(limits), ..host::scope("alice", &[("acme", "acme", Some(&self.account))]) }
    }
}

/// The bytes of a measured component.
pub fn component(package: &str) -> Result<Bytes> {
    Ok(std::fs::read(workspace::component(package))?.into())
}

/// What a step is called with.
pub fn input(event: &serde_json::Value) -> Input {
    Input {
        event: event.to_string(),
        steps: "{}".to_owned(),
        props: r#"{"name":"world"}"#.to_owned(),
        context: r#"{"run":"run-1","step":"step","attempt":1,"member":"alice","deadline_ms":30000}"#.to_owned(),
    }
}
