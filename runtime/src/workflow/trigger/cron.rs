//! The clock as a trigger: a cron pattern in a time zone.
//!
//! Over a change of daylight-saving time a job at a fixed hour runs once (Vixie cron's way): what falls into
//! the hour that is left out runs right after it, and what falls into the hour that is there twice runs in the
//! first of the two.

use std::str::FromStr as _;

use croner::Cron;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CronTrigger {
    /// Minute, hour, day of the month, month, day of the week: `0 9 * * 1-5`. Seconds may stand before them.
    pub schedule: String,
    /// The time zone in which to read it, such as `Europe/Vienna`. UTC if it is left out.
    #[serde(default = "utc")]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The pattern.
    #[error("'{0}' is no cron schedule: {1}; write five fields, such as '0 9 * * 1-5'")]
    Pattern(String, String),
    /// The time zone.
    #[error("'{0}' is no time zone; write one of the IANA database, such as Europe/Vienna")]
    TimeZone(String),
    /// There is no such time.
    #[error("'{0}' never comes again")]
    Never(String),
}

impl CronTrigger {
    /// The first time after `after`.
    ///
    /// # Errors
    /// What is wrong with the schedule.
    pub fn next(&self, after: Timestamp) -> Result<Timestamp, CronError> {
        let wrong = |error: croner::errors::CronError| CronError::Pattern(self.schedule.clone(), error.to_string());
        let cron = Cron::from_str(&self.schedule).map_err(wrong)?;
        let never = || CronError::Never(self.schedule.clone());
        let from = jiff02::Timestamp::from_second(after.as_second())
            .map_err(|_| never())?
            .in_tz(&self.time_zone)
            .map_err(|_| CronError::TimeZone(self.time_zone.clone()))?;
        let next = cron.find_next_occurrence(&from, false).map_err(|error| match error {
            croner::errors::CronError::TimeSearchLimitExceeded => never(),
            other => wrong(other),
        })?;
        Timestamp::from_second(next.timestamp().as_second()).map_err(|_| never())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let cron = CronTrigger { schedule: schedule.into(), time_zone: zone.into() };
        cron.next(after.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn a_schedule_is_read_in_its_time_zone() {
        assert_eq!(next("0 9 * * 1-5", "Europe/Vienna", "2026-01-02T09:00:00Z"), "2026-01-05T08:00:00Z");
        assert_eq!(next("0 9 * * *", "Europe/Vienna", "2026-07-01T08:00:00Z"), "2026-07-02T07:00:00Z");
        assert_eq!(next("*/15 * * * *", "UTC", "2026-01-01T00:07:30Z"), "2026-01-01T00:15:00Z");
    }

    #[test]
    fn over_a_change_of_daylight_saving_time_each_day_has_its_run() {
        // 2026-03-29 in Vienna has no 02:30, and 2026-10-25 has it twice.
        assert_eq!(next("30 2 * * *", "Europe/Vienna", "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
        assert_eq!(next("30 2 * * *", "Europe/Vienna", "2026-03-29T01:00:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(next("30 2 * * *", "Europe/Vienna", "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", "Europe/Vienna", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let wrong = |schedule: &str, zone: &str| {
            let cron = CronTrigger { schedule: schedule.into(), time_zone: zone.into() };
            cron.next("2026-01-01T00:00:00Z".parse().unwrap()).unwrap_err().to_string()
        };
        assert!(wrong("61 * * * *", "UTC").contains("is no cron schedule"));
        assert!(wrong("0 9 * * *", "Vienna").contains("IANA"));
        assert!(wrong("0 0 30 2 *", "UTC").contains("never"));
    }
}
