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
        self.find(after, |cron, after| cron.find_next_occurrence(after, false))
    }

    /// The last time up to `until`, itself included.
    ///
    /// # Errors
    /// What is wrong with the schedule.
    pub fn last(&self, until: Timestamp) -> Result<Timestamp, CronError> {
        self.find(until, |cron, until| cron.find_previous_occurrence(until, true))
    }

    fn find(
        &self,
        from: Timestamp,
        search: impl Fn(&Cron, &jiff02::Zoned) -> Result<jiff02::Zoned, croner::errors::CronError>,
    ) -> Result<Timestamp, CronError> {
        let wrong = |error: croner::errors::CronError| CronError::Pattern(self.schedule.clone(), error.to_string());
        let cron = Cron::from_str(&self.schedule).map_err(wrong)?;
        let never = || CronError::Never(self.schedule.clone());
        let from = jiff02::Timestamp::from_second(from.as_second())
            .map_err(|_| never())?
            .in_tz(&self.time_zone)
            .map_err(|_| CronError::TimeZone(self.time_zone.clone()))?;
        let found = search(&cron, &from).map_err(|error| match error {
            croner::errors::CronError::TimeSearchLimitExceeded => never(),
            other => wrong(other),
        })?;
        Timestamp::from_second(found.timestamp().as_second()).map_err(|_| never())
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
    fn an_hourly_schedule_runs_in_each_hour_that_there_is() {
        // The hour that is left out is passed over, and the one that is there twice has two runs.
        assert_eq!(next("0 * * * *", "Europe/Vienna", "2026-03-29T00:00:00Z"), "2026-03-29T01:00:00Z");
        assert_eq!(next("0 * * * *", "Europe/Vienna", "2026-10-25T00:00:00Z"), "2026-10-25T01:00:00Z");
        assert_eq!(next("0 * * * *", "Europe/Vienna", "2026-10-25T01:00:00Z"), "2026-10-25T02:00:00Z");
    }

    #[test]
    fn the_last_time_is_the_one_that_no_other_follows() {
        for (schedule, zone) in [
            ("0 * * * *", "Europe/Vienna"),
            ("30 2 * * *", "Europe/Vienna"),
            ("*/7 * * * *", "America/New_York"),
            ("0 9 * * 1-5", "Europe/Vienna"),
            ("15 30 1 * * *", "Australia/Lord_Howe"),
        ] {
            let cron = CronTrigger { schedule: schedule.into(), time_zone: zone.into() };
            // Over a whole year, and so over both changes.
            for day in 0..366 {
                let now = Timestamp::from_second(1_767_225_600 + day * 86_400 + day * 977 % 86_400).unwrap();
                let last = cron.last(now).unwrap();
                assert!(last <= now, "{schedule}: {last} is after {now}");
                assert!(cron.next(last).unwrap() > now, "{schedule}: {last} is not the last before {now}");
                assert_eq!(cron.last(last).unwrap(), last, "{schedule}");
            }
        }
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
