//! `[limits]`: how much requests may be, by each run, of each account and in the whole workspace.

use std::time::Duration;

use keyhole::engine::MAX_DEADLINE;
use keyhole_host_api::broker::{Limits, Rate, Share, Shares};
use serde::{Deserialize, Deserializer, de};

use super::parse::{parse_byte_rate, parse_rate, parsed_duration, parsed_size};

/// What the configuration file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    run: RunLimits,
    account: ShareFile,
    workspace: ShareFile,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunLimits {
    #[serde(deserialize_with = "at_least_one")]
    requests: Option<u64>,
    #[serde(deserialize_with = "at_least_one")]
    at_once: Option<u64>,
    #[serde(deserialize_with = "parsed_rate")]
    rate: Option<Rate>,
    #[serde(deserialize_with = "parsed_size")]
    bytes_out: Option<u64>,
    #[serde(deserialize_with = "parsed_size")]
    bytes_in: Option<u64>,
    #[serde(deserialize_with = "parsed_size")]
    request_body: Option<u64>,
    #[serde(deserialize_with = "parsed_size")]
    response_body: Option<u64>,
    #[serde(deserialize_with = "parsed_wait")]
    first_byte: Option<Duration>,
    #[serde(deserialize_with = "parsed_wait")]
    between_bytes: Option<Duration>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ShareFile {
    #[serde(deserialize_with = "at_least_one")]
    at_once: Option<u64>,
    #[serde(deserialize_with = "rates")]
    requests: Vec<Rate>,
    #[serde(deserialize_with = "parsed_byte_rate")]
    bytes_out: Option<Rate>,
    #[serde(deserialize_with = "parsed_byte_rate")]
    bytes_in: Option<Rate>,
}

impl LimitsFile {
    /// The limits, with the defaults where the file says nothing.
    pub(super) fn shares(&self) -> Shares {
        let (run, or) = (&self.run, Limits::default());
        let count = |given: Option<u64>| given.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let share = |file: &ShareFile| Share {
            at_once: count(file.at_once),
            requests: file.requests.clone(),
            kib_out: file.bytes_out,
            kib_in: file.bytes_in,
        };
        Shares {
            run: Limits {
                requests: run.requests.unwrap_or(or.requests),
                at_once: count(run.at_once).unwrap_or(or.at_once),
                rate: run.rate,
                bytes_out: run.bytes_out.unwrap_or(or.bytes_out),
                bytes_in: run.bytes_in.unwrap_or(or.bytes_in),
                request_bytes: run.request_body.unwrap_or(or.request_bytes),
                response_bytes: run.response_body.unwrap_or(or.response_bytes),
                first_byte: run.first_byte.unwrap_or(or.first_byte),
                between_bytes: run.between_bytes.unwrap_or(or.between_bytes),
            },
            account: share(&self.account),
            workspace: share(&self.workspace),
        }
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(de::Error::custom("a limit is 1 at least; leave it out for none")),
        count => Ok(Some(count)),
    }
}

/// No step waits longer than it may run.
fn parsed_wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match parsed_duration(deserializer)? {
        Some(wait) if wait > MAX_DEADLINE || wait.is_zero() => Err(de::Error::custom("a step waits for 750 s at most")),
        wait => Ok(wait),
    }
}

fn parsed_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    parse_rate(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

fn parsed_byte_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    parse_byte_rate(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// One rate, or several that all hold.
fn rates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rate>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a rate such as \"50/s\", or a list of them")]
    enum Given {
        One(String),
        Several(Vec<String>),
    }
    let given = match Given::deserialize(deserializer)? {
        Given::One(rate) => vec![rate],
        Given::Several(rates) => rates,
    };
    given.iter().map(|rate| parse_rate(rate).map_err(de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(text: &str) -> Result<Shares, String> {
        toml::from_str::<LimitsFile>(text).map(|file| file.shares()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        assert_eq!(shares("").unwrap(), Shares::default());
        let some =
            shares("[run]\nrequests = 5\nbytes_in = \"1MiB\"\n[account]\nrequests = [\"5/s\", \"100/d\"]\n").unwrap();
        assert_eq!(some.run, Limits { requests: 5, bytes_in: 1 << 20, ..Limits::default() });
        assert_eq!(some.account.requests.len(), 2);
        assert_eq!(some.workspace, Share::default());
    }

    #[test]
    fn a_limit_that_is_none_is_refused() {
        for wrong in
            ["[run]\nrequests = 0", "[account]\nrequests = 5", "[account]\nrate = \"5/s\"", "[workspace]\nat_once = 0"]
        {
            assert!(shares(wrong).is_err(), "{wrong}");
        }
    }
}
