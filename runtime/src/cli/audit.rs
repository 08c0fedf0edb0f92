//! `keyhole audit`: who used which account, where, and with what answer.

use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color};
use jiff::{SignedDuration, Timestamp};
use keyhole::server::model::AuditQuery;
use keyhole_host_api::broker::audit::{Decision, Use};

use super::client::Client;
use super::error::Result;
use super::output::{self, style};
use super::settings::{EgressFlags, Settings};

/// Show the audit: the requests that steps made, and the accounts they were refused
#[derive(Args, Debug)]
pub struct Audit {
    /// Only this account, by its id
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Only runs on behalf of this member
    #[arg(long)]
    member: Option<String>,
    /// Only this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only since then: 2h, 3d, 2026-03-01, or a whole timestamp
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only those that were allowed, or refused
    #[arg(long, value_enum)]
    decision: Option<DecisionFlag>,
    /// At most so many, the newest
    #[arg(long, short = 'n', default_value_t = 100)]
    limit: usize,
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
    /// Lists what the filters leave.
    pub async fn run(self, settings: &Settings) -> Result {
        let client = Client::open(settings, &EgressFlags::default()).await?;
        let query = AuditQuery {
            account: self.account,
            member: self.member,
            run: self.run,
            since: self.since,
            decision: self.decision.map(|decision| match decision {
                DecisionFlag::Allowed => Decision::Allowed,
                DecisionFlag::Refused => Decision::Refused,
            }),
            limit: u32::try_from(self.limit).unwrap_or(u32::MAX),
        };
        let uses: Vec<Use> = client.query(None, &["audit"], &query).await?;
        settings.out.either(&uses, || text(&uses))
    }
}

fn text(uses: &[Use]) -> String {
    if uses.is_empty() {
        return format!("{}no request is recorded that fits{:#}", style::DIM, style::DIM);
    }
    table(uses)
}

/// The records as a table.
pub fn table(uses: &[Use]) -> String {
    let mut table = output::table(&["when", "member", "step", "app", "request", "answer", "reason"]);
    for used in uses {
        let (answer, color) = answer(used.decision, used.status);
        table.add_row([
            Cell::new(output::local(used.at)),
            Cell::new(output::visible(&used.member)),
            Cell::new(output::visible(&used.step)),
            Cell::new(used.app.as_deref().unwrap_or("–")),
            Cell::new(output::one_line(&request(used), 120)),
            Cell::new(answer).fg(color),
            Cell::new(output::one_line(used.reason.as_deref().unwrap_or(""), 200)),
        ]);
    }
    output::table_text(&mut table)
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
