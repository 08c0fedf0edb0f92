//! How settings are written: lengths of time, sizes, rates.

use std::num::NonZeroU32;
use std::time::Duration;

use keyhole_host_api::broker::Rate;
use serde::{Deserialize, Deserializer, de};

pub(super) fn parsed_list<'de, D, T>(deserializer: D) -> std::result::Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| text.parse().map_err(|error| de::Error::custom(format!("'{text}': {error}"))))
        .collect()
}

/// A value that is written as text.
pub(super) fn parsed<'de, D, T>(deserializer: D) -> std::result::Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
}

pub(super) fn parsed_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Duration>, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// Shorter than that is more likely a slip of the pen than meant, and what is removed is gone.
pub(super) fn parsed_keep<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Duration>, D::Error> {
    let keep = parse_time(&String::deserialize(deserializer)?).map_err(de::Error::custom)?;
    if keep < Duration::from_secs(3600) {
        return Err(de::Error::custom("what is kept is kept for an hour at least; write 90d"));
    }
    Ok(Some(keep))
}

pub(super) fn parsed_size<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<u64>, D::Error> {
    parse_size(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// A length of time such as `30s`, `1m 30s`, `500ms`; a bare number means seconds.
pub fn parse_duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("'{text}' is not a length of time; write 30s, 500ms or 2m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// A length of time, days included.
pub fn parse_time(text: &str) -> std::result::Result<Duration, String> {
    match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => Ok(Duration::from_secs(u64::from(days) * 24 * 3600)),
        _ => parse_duration(text),
    }
}

/// A size such as `256MiB`; a bare number means bytes.
pub fn parse_size(text: &str) -> std::result::Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("'{text}' is not a size; write 64MiB or 1GiB"))
}

/// A rate such as `50/s` or `10000/d`.
pub fn parse_rate(text: &str) -> std::result::Result<Rate, String> {
    let wrong = || format!("'{text}' is not a rate; write 50/s, 1000/m, 10000/h or 100000/d");
    let (amount, per) = text.split_once('/').ok_or_else(wrong)?;
    rate(amount.trim().parse().map_err(|_| wrong())?, per).ok_or_else(wrong)
}

/// A rate of bytes such as `100MiB/h`, in KiB.
pub fn parse_byte_rate(text: &str) -> std::result::Result<Rate, String> {
    let wrong = || format!("'{text}' is not a rate of bytes from 1KiB to 4TiB; write 10MiB/s, 1GiB/h or 20GiB/d");
    let (size, per) = text.split_once('/').ok_or_else(wrong)?;
    let kib = parse_size(size.trim()).map_err(|_| wrong())? / 1024;
    let kib = u32::try_from(kib).ok().and_then(NonZeroU32::new).ok_or_else(wrong)?;
    rate(kib, per).ok_or_else(wrong)
}

fn rate(amount: NonZeroU32, per: &str) -> Option<Rate> {
    let seconds = match per.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Rate::new(amount, Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_read_as_people_write_them() {
        assert_eq!(parse_time("30d").unwrap(), Duration::from_secs(30 * 24 * 3600));
        assert_eq!(parse_time("12h").unwrap(), Duration::from_secs(12 * 3600));
        assert!(parse_time("soon").is_err());
    }

    #[test]
    fn lengths_of_time_and_sizes_read_as_people_write_them() {
        assert_eq!(parse_duration("30").unwrap(), Duration::from_secs(30));
        assert_eq!(parse_duration("1m 30s").unwrap(), Duration::from_secs(90));
        assert!(parse_duration("-3s").is_err());
        assert_eq!(parse_size("256MiB").unwrap(), 256 << 20);
        assert!(parse_size("lots").is_err());
    }

    #[test]
    fn rates_read_as_people_write_them() {
        let rate = parse_rate("50/s").unwrap();
        assert_eq!((rate.amount().get(), rate.per()), (50, Duration::from_secs(1)));
        let rate = parse_byte_rate("2MiB/h").unwrap();
        assert_eq!((rate.amount().get(), rate.per()), (2048, Duration::from_secs(3600)));
        for wrong in ["50", "0/s", "-1/s", "5/w", "/s", "50/", "1.5/s"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["10B/s", "lots/h", "1GiB", "5TiB/d"] {
            assert!(parse_byte_rate(wrong).is_err(), "{wrong}");
        }
    }
}
