//! `keyhole audit`: who used which account, where, and with what answer; who did what to the workspace; and whether
//! that is all.

mod follow;
mod upkeep;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use comfy_table::{Cell, Color};
use jiff::{SignedDuration, Timestamp};
use keyhole::server::model::{AuditFilter, AuditQuery, Audited, MOST_LISTED};
use keyhole_host_api::broker::audit::{Act, Decision, Kind, Status, Use};

use super::client::Client;
use super::error::Result;
use super::output::{self, style};
use super::settings::{EgressFlags, Settings};

/// Show the audit: the requests that steps made and the accounts they were refused, and who did what to the workspace
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Audit {
    #[command(subcommand)]
    command: Option<Upkeep>,
    #[command(flatten)]
    filters: Filters,
    /// At most so many, the newest; export has no limit
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_LISTED)))]
    limit: u32,
    /// Show requests as they end and acts as they are done, from now until Ctrl-C; with --json a line each
    #[arg(long, short, conflicts_with_all = ["limit", "since", "until"])]
    follow: bool,
}

/// Look after the audit.
#[derive(Subcommand, Debug)]
enum Upkeep {
    /// See whether every record is as it was written, and whether all are there; exit code 1 if not
    ///
    /// Reads an export instead if a FILE is given: what was exported between two times is seen to be whole between
    /// them. Records that were cut off the end of the store show by what others saw of them, and by --heads.
    Verify {
        /// A file that `keyhole audit export` wrote; '-' for standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["heads", "save_heads"])]
        file: Option<PathBuf>,
        /// See that the records are still there which an earlier call saved
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        heads: Option<PathBuf>,
        /// Save the newest record's hash of each writer, to be kept where nobody reaches who reaches the store
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        save_heads: Option<PathBuf>,
    },
    /// Write records as they lie in the store, as JSON lines, oldest first
    ///
    /// A request has a record when it leaves and another when it ends, an act has one; filters look at each by itself.
    Export {
        #[command(flatten)]
        filters: Filters,
        /// Write to this file, which must not be there yet
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Remove what was recorded before a time; works while serving
    ///
    /// `keep` under [audit] in the configuration file has `keyhole serve` do so every hour.
    Prune {
        /// What was recorded before then: 90d, 2026-03-01, or a whole timestamp
        #[arg(long, value_name = "WHEN", value_parser = parse_since)]
        before: Timestamp,
        /// Remove it
        #[arg(long)]
        yes: bool,
    },
}

/// Which requests and acts.
#[derive(Args, Debug, Clone)]
struct Filters {
    /// Only requests of steps, or only acts: sign-ins, and what changes who may do what
    #[arg(long, value_enum)]
    kind: Option<KindFlag>,
    /// Only this account, by its id
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Only what this member did, and runs on their behalf
    #[arg(long)]
    member: Option<String>,
    /// Only this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only accounts for this app, and the app itself
    #[arg(long)]
    app: Option<String>,
    /// Only requests to this host, with the port where it is not the scheme's own
    #[arg(long)]
    host: Option<String>,
    /// Only those with this answer: a status such as 404, or a class such as 4xx
    #[arg(long)]
    status: Option<Status>,
    /// Only what was allowed, or refused
    #[arg(long, value_enum)]
    decision: Option<DecisionFlag>,
    /// Only since then: 2h, 3d, 2026-03-01, or a whole timestamp
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only before then
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    until: Option<Timestamp>,
}

impl Filters {
    fn query(self) -> AuditFilter {
        let Self { kind, account, member, run, app, host, status, decision, since, until } = self;
        let decision = decision.map(|decision| match decision {
            DecisionFlag::Allowed => Decision::Allowed,
            DecisionFlag::Refused => Decision::Refused,
        });
        let kind = kind.map(|kind| match kind {
            KindFlag::Request => Kind::Request,
            KindFlag::Act => Kind::Act,
        });
        AuditFilter { kind, account, member, run, app, host, status, decision, since, until }
    }
}

/// What a record tells of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KindFlag {
    /// A request of a step, or an account that was refused to it
    Request,
    /// What somebody did to the workspace
    Act,
}

/// What the broker decided.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DecisionFlag {
    /// Sent
    Allowed,
    /// Not sent
    Refused,
}

impl Audit {
    /// Does what was asked.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        match self.command {
            Some(Upkeep::Verify { file: Some(file), .. }) => {
                return upkeep::verify_file(&client, settings, &file).await;
            }
            Some(Upkeep::Verify { file: None, heads, save_heads }) => {
                return upkeep::verify(&client, settings, heads.as_deref(), save_heads.as_deref()).await;
            }
            Some(Upkeep::Export { filters, output }) => {
                return upkeep::export(&client, settings, &filters.query(), output.as_deref()).await;
            }
            Some(Upkeep::Prune { before, yes }) => return upkeep::prune(&client, settings, before, yes).await,
            None => {}
        }
        if self.follow {
            return follow::follow(&client, settings, &self.filters.query()).await;
        }
        let AuditFilter { kind, account, member, run, app, host, status, decision, since, until } =
            self.filters.query();
        let (limit, before) = (self.limit, None);
        let query = AuditQuery { kind, account, member, run, app, host, status, decision, since, until, limit, before };
        let told: Vec<Audited> = client.query(None, &["audit"], &query).await?;
        settings.out.either(&told, || text(&told))
    }
}

fn text(told: &[Audited]) -> String {
    if told.is_empty() {
        return format!("{}nothing is recorded that fits{:#}", style::DIM, style::DIM);
    }
    let mut table = output::table(&["when", "member", "step", "app", "what", "outcome", "reason"]);
    for one in told {
        let told = Line::of(one);
        table.add_row([
            Cell::new(output::local(told.at)),
            Cell::new(output::visible(told.member)),
            Cell::new(output::visible(told.step)),
            Cell::new(told.app),
            Cell::new(output::one_line(&told.what, 120)),
            Cell::new(told.outcome).fg(told.color),
            Cell::new(output::one_line(told.reason, 200)),
        ]);
    }
    output::table_text(&mut table)
}

/// What is shown of either kind.
pub struct Line<'a> {
    /// When.
    pub at: Timestamp,
    /// Who did it, or on whose behalf.
    pub member: &'a str,
    /// The step that did.
    pub step: &'a str,
    app: &'a str,
    what: String,
    /// What became of it.
    pub outcome: String,
    /// The colour of that.
    pub color: Color,
    /// Why it was refused, or failed. May be empty.
    pub reason: &'a str,
}

impl<'a> Line<'a> {
    /// The line for one record.
    pub fn of(told: &'a Audited) -> Self {
        let or_none = |text: &'a Option<String>| text.as_deref().unwrap_or("–");
        match told {
            Audited::Request(used) => {
                let (outcome, color) = answer(used.decision, used.status);
                let (app, what) = (or_none(&used.app), request(used));
                let reason = used.reason.as_deref().unwrap_or("");
                Self { at: used.at, member: &used.member, step: &used.step, app, what, outcome, color, reason }
            }
            Audited::Act(act) => {
                let (outcome, color) = match act.decision {
                    Decision::Allowed => ("done", Color::Green),
                    Decision::Refused => ("refused", Color::Red),
                };
                let (member, app, reason) =
                    (or_none(&act.member), or_none(&act.app), act.reason.as_deref().unwrap_or(""));
                let what = deed(act) + &proof(act);
                Self { at: act.at, member, step: "–", app, what, outcome: outcome.to_owned(), color, reason }
            }
        }
    }
}

/// What was done, and to what, in a few words: `members_add alice: member`.
pub fn deed(act: &Act) -> String {
    let mut text = act.act.clone();
    if let Some(about) = act.about.as_ref().filter(|about| Some(*about) != act.member.as_ref()) {
        text += &format!(" {about}");
    }
    if let Some(account) = &act.account {
        text += &format!(" {account}");
    }
    if let Some(detail) = &act.detail {
        text += &format!(": {detail}");
    }
    text
}

/// What it was done with, and from where: ` (by token 01J… from 192.0.2.1)`.
fn proof(act: &Act) -> String {
    match (&act.by, act.from) {
        (Some(by), Some(from)) => format!(" (by {by} from {from})"),
        (Some(by), None) => format!(" (by {by})"),
        (None, _) => String::new(),
    }
}

/// What was asked, in a few words.
pub fn request(used: &Use) -> String {
    match used.method.as_str() {
        "" => "to use the account".to_owned(),
        method => format!("{method} {}{}", used.host, used.path),
    }
}

/// What became of a request, in a word and a colour.
pub fn answer(decision: Decision, status: Option<u16>) -> (String, Color) {
    match (decision, status) {
        (Decision::Refused, _) => ("refused".to_owned(), Color::Red),
        (Decision::Allowed, Some(status)) if status < 400 => (status.to_string(), Color::Green),
        (Decision::Allowed, Some(status)) => (status.to_string(), Color::Yellow),
        (Decision::Allowed, None) => ("no answer".to_owned(), Color::Yellow),
    }
}

/// A point in time: a length of time before now, a date, or a timestamp.
pub fn parse_since(text: &str) -> std::result::Result<Timestamp, String> {
    let zone = jiff::tz::TimeZone::system();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<jiff::civil::DateTime>() {
        return zone.to_timestamp(date).map_err(|error| error.to_string());
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
    let ago = match days {
        Some(days) => Some(SignedDuration::from_hours(days * 24)),
        None => text.parse::<SignedDuration>().ok(),
    };
    ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok())
        .ok_or_else(|| format!("'{text}' is not a time; write 2h, 3d, 2026-03-01 or 2026-03-01T08:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_people_write_it() {
        let ago = |text: &str| (Timestamp::now().as_second() - parse_since(text).unwrap().as_second()) as f64;
        assert!((ago("2h") - 7200.0).abs() < 5.0);
        assert!((ago("3d") - 259_200.0).abs() < 5.0);
        assert_eq!(parse_since("2026-03-01T08:00:00Z").unwrap().to_string(), "2026-03-01T08:00:00Z");
        assert!(parse_since("2026-03-01").is_ok());
        assert!(parse_since("yesterday-ish").is_err());
    }
}
