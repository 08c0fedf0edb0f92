//! The grant check that each injection and each request makes, in stores of three sizes: of
//! the thousand accounts that are in use, drawn at random from all over the store; and, for
//! what a cold one costs, of any account at all.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use keyhole_host_api::accounts::{AccountId, Connect};
use keyhole_host_api::vault::Secret;
use keyhole_tests::host::{Host, member};
use keyhole_tests::program::KEY;

use crate::common::{Row, median, time};

/// Accounts that are being connected at once; their writes share commits.
const AT_ONCE: usize = 8_000;
const IN_USE: usize = 1_000;
const CHECKS: u32 = 20_000;

pub async fn measure(quick: bool) -> Result<Vec<Row>> {
    let many = if quick { 100_000 } else { 1_000_000 };
    let mut times = Vec::new();
    for count in [1, 1_000, many] {
        let host = Host::new().await;
        let begun = Instant::now();
        let accounts = fill(&host, count).await?;
        let filled = begun.elapsed();
        let any = check(&host, &accounts).await?;
        let check = check(&host, &in_use(&accounts)).await?;
        let bytes =
            host.dir.path().read_dir()?.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>();
        println!(
            "{count:>9} accounts: a check takes {}, of any of them {}; connecting them took {:.1} s, the store has {:.1} MB",
            time(check),
            time(any),
            filled.as_secs_f64(),
            bytes as f64 / 1e6
        );
        times.push((count, check));
    }
    let (_, one) = times[0];
    let row = |&(count, check): &(usize, Duration)| {
        Row::times(format!("a grant check among {count} accounts"), check, "with one account", one).at_most(3.0)
    };
    Ok(times[1..].iter().map(row).collect())
}

async fn fill(host: &Host, count: usize) -> Result<Vec<AccountId>> {
    let accounts = stream::iter(0..count)
        .map(async |number| {
            let given = Connect {
                app: "acme".to_owned(),
                nickname: Some(format!("Acme {number}")),
                fields: [("api_key".to_owned(), Secret::new(KEY.to_owned()))].into(),
                custom: None,
            };
            host.accounts.connect(&member("alice"), given).await.map(|connected| connected.account.id)
        })
        .buffer_unordered(AT_ONCE);
    Ok(accounts.try_collect().await?)
}

/// Reproducible numbers.
struct Draw(u64);

impl Draw {
    fn one<'a>(&mut self, accounts: &'a [AccountId]) -> &'a AccountId {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &accounts[(self.0 >> 33) as usize % accounts.len()]
    }
}

fn in_use(accounts: &[AccountId]) -> Vec<AccountId> {
    let mut draw = Draw(7);
    (0..IN_USE).map(|_| draw.one(accounts).clone()).collect()
}

/// What the check of one of these takes.
async fn check(host: &Host, accounts: &[AccountId]) -> Result<Duration> {
    let alice = member("alice");
    let mut draw = Draw(11);
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        for _ in 0..CHECKS {
            host.accounts.usable(draw.one(accounts), &alice).await?;
        }
        rounds.push(begun.elapsed() / CHECKS);
    }
    Ok(median(rounds))
}
