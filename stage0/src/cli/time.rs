//! Times and durations as rkt prints and reads them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What stands for a time that is not known.
const UNKNOWN: &str = "0001-01-01 00:00:00 +0000 UTC";

/// A time in the local zone: `2026-11-24 20:07:38.384 +0000 UTC`, milliseconds without trailing zeros.
pub(crate) fn absolute(time: Option<SystemTime>) -> String {
    absolute_in(time, &TimeZone::system())
}

fn absolute_in(time: Option<SystemTime>, zone: &TimeZone) -> String {
    let Some(time) = time.and_then(|time| Timestamp::try_from(time).ok()) else {
        return UNKNOWN.to_owned();
    };
    let time = time.to_zoned(zone.clone());
    let fraction = format!("{:03}", time.millisecond());
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction} {}", time.strftime("%Y-%m-%d %H:%M:%S"), time.strftime("%z %Z"))
}

/// A time in words, as seen at `now`: `now`, `5 minutes ago`, `a long while ago`.
pub(crate) fn relative(time: Option<SystemTime>, now: SystemTime) -> String {
    let Some(time) = time else { return "a long while ago".to_owned() };
    let (seconds, direction) = match now.duration_since(time) {
        Ok(past) => (past.as_secs(), "ago"),
        Err(future) => (future.duration().as_secs(), "from now"),
    };
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const WEEK: u64 = 7 * DAY;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 12 * MONTH;
    let words = match seconds {
        0 => return "now".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "1 minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        HOUR..7200 => "1 hour".to_owned(),
        7200..DAY => format!("{} hours", seconds / HOUR),
        DAY..172_800 => "1 day".to_owned(),
        172_800..WEEK => format!("{} days", seconds / DAY),
        WEEK..1_209_600 => "1 week".to_owned(),
        1_209_600..MONTH => format!("{} weeks", seconds / WEEK),
        MONTH..5_184_000 => "1 month".to_owned(),
        5_184_000..YEAR => format!("{} months", seconds / MONTH),
        // A year and a half is already two years.
        YEAR..46_656_000 => "1 year".to_owned(),
        46_656_000..62_208_000 => "2 years".to_owned(),
        62_208_000..1_150_848_000 => format!("{} years", seconds / YEAR),
        _ => "a long while".to_owned(),
    };
    format!("{words} {direction}")
}

/// A duration as messages show it: `0s`, `1.5s`, `1m30s`, `30m0s`, `24h0m0s`.
pub(crate) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let nanos = length.subsec_nanos();
    if seconds == 0 && nanos > 0 {
        return match nanos {
            0..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => {
                format!("{}µs", decimal(u64::from(nanos / 1_000), nanos % 1_000, 3))
            }
            _ => format!("{}ms", decimal(u64::from(nanos / 1_000_000), nanos % 1_000_000, 6)),
        };
    }
    let last = decimal(seconds % 60, nanos, 9);
    let minutes = seconds / 60;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{last}s"),
        (0, minutes) => format!("{minutes}m{last}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{last}s"),
    }
}

/// A number with a fraction of `digits` digits, whose trailing zeros are dropped.
fn decimal(whole: u64, fraction: u32, digits: usize) -> String {
    let fraction = format!("{fraction:0digits$}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

/// Reads a duration as flags take it: `30m`, `1h30m`, `1.5s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {}", super::print::quoted(text));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(
            || format!("time: missing unit in duration {}", super::print::quoted(text)),
        )?;
        let (number, after) = rest.split_at(end);
        let length = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(invalid()),
        };
        nanos = nanos.checked_add(scaled(number, unit).ok_or_else(invalid)?).ok_or_else(invalid)?;
        rest = after;
    }
    // As in the Go form, a duration must fit a signed 64-bit number of nanoseconds.
    i64::try_from(nanos)
        .ok()
        .and_then(|nanos| u64::try_from(nanos).ok())
        .map(Duration::from_nanos)
        .ok_or_else(invalid)
}

/// `number` (digits with at most one point) times `unit`.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
    let mut sum = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        sum = sum.checked_add(place.checked_mul(digit.to_digit(10)?.into())?)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_times() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (time, text) in [
            (Some(at(1_795_550_993_637)), "2026-11-24 20:09:53.637 +0000 UTC"),
            (Some(at(1_795_550_993_560)), "2026-11-24 20:09:53.56 +0000 UTC"),
            (Some(at(1_795_550_993_000)), "2026-11-24 20:09:53 +0000 UTC"),
            (None, UNKNOWN),
        ] {
            assert_eq!(absolute_in(time, &TimeZone::UTC), text);
        }
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(
            absolute_in(Some(at(1_795_550_993_500)), &berlin),
            "2026-11-24 21:09:53.5 +0100 CET"
        );
    }

    #[test]
    fn relative_times() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let day = 86_400;
        for (seconds, text) in [
            (0, "now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (119, "1 minute ago"),
            (120, "2 minutes ago"),
            (3_600, "1 hour ago"),
            (7_200, "2 hours ago"),
            (day, "1 day ago"),
            (2 * day, "2 days ago"),
            (7 * day, "1 week ago"),
            (14 * day, "2 weeks ago"),
            (29 * day, "4 weeks ago"),
            (30 * day, "1 month ago"),
            (60 * day, "2 months ago"),
            (359 * day, "11 months ago"),
            (360 * day, "1 year ago"),
            (540 * day, "2 years ago"),
            (720 * day, "2 years ago"),
            (36 * 360 * day, "36 years ago"),
            (37 * 360 * day, "a long while ago"),
        ] {
            assert_eq!(relative(Some(now - Duration::from_secs(seconds)), now), text, "{seconds}");
        }
        assert_eq!(relative(Some(now + Duration::from_secs(90)), now), "1 minute from now");
        assert_eq!(relative(None, now), "a long while ago");
    }

    #[test]
    fn durations_both_ways() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (1_800_000_000_000, "30m0s"),
            (86_400_000_000_000, "24h0m0s"),
        ] {
            let length = Duration::from_nanos(nanos);
            assert_eq!(duration(length), text);
            assert_eq!(parse_duration(text), Ok(length));
        }
        for (text, seconds) in
            [("0", 0), ("30m", 1800), ("24h", 86_400), ("1h30m", 5_400), ("+5s", 5), ("1.m", 60)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "-5s", "5 s", "s", ".s", "1..5s", "5x", "9999999h", "five"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
