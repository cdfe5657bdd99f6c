//! Times as people write them, and as the API does.

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The current instant, in milliseconds since the epoch.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Milliseconds since the epoch of a time as people write it: `now`, `-1h`, `-1h30m`, `now-2d`, or
/// ISO 8601 (without a zone: UTC; without a clock time: midnight).
pub(crate) fn parse(text: &str, now: i64) -> anyhow::Result<i64> {
    let trimmed = text.trim();
    let relative = trimmed.strip_prefix("now").unwrap_or(trimmed);
    let parsed = match relative.chars().next() {
        None if trimmed == "now" => Some(now),
        Some('-') => {
            duration_ms(relative.get(1..).unwrap_or_default()).and_then(|ago| now.checked_sub(ago))
        }
        Some('+') => duration_ms(relative.get(1..).unwrap_or_default())
            .and_then(|ahead| now.checked_add(ahead)),
        Some(_) | None => absolute(trimmed),
    };
    parsed.with_context(|| {
        format!("cannot read the time {text:?}; write now, -1h, -30m or 2026-11-20T09:00:00Z")
    })
}

/// A time as the API writes and reads it: `2026-11-20T09:07:59.123Z`.
pub(crate) fn iso(ms: i64) -> anyhow::Result<String> {
    let Ok(time) = Timestamp::from_millisecond(ms) else {
        bail!("the time {ms} ms lies outside the years -9999 to 9999");
    };
    Ok(format!("{time:.3}"))
}

fn absolute(text: &str) -> Option<i64> {
    // A bare number would be read as a year or a date: say no instead of guessing.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil: DateTime = text.parse().ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// `1h30m`: numbers with a unit, s, m, h, d or w (also ms), in any order.
fn duration_ms(text: &str) -> Option<i64> {
    let (mut rest, mut total) = (text, 0_i64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_len = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_len)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit_ms)?)?;
        rest = tail;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_166_599_123;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        let got = parse(text, NOW).ok().map(|ms| iso(ms).unwrap());
        assert_eq!(got.as_deref(), want, "{text}");
    }

    #[test]
    fn times_relative_to_now() {
        check("now", Some("2026-11-20T09:23:19.123Z"));
        check("-1h", Some("2026-11-20T08:23:19.123Z"));
        check("-1h30m", Some("2026-11-20T07:53:19.123Z"));
        check("now-1d", Some("2026-11-19T09:23:19.123Z"));
        check("+10s", Some("2026-11-20T09:23:29.123Z"));
        check("-0ms", Some("2026-11-20T09:23:19.123Z"));
    }

    #[test]
    fn iso_times() {
        check("2026-11-20", Some("2026-11-20T00:00:00.000Z"));
        check("2026-11-20T09:00", Some("2026-11-20T09:00:00.000Z"));
        check("2026-11-20 09:00:01.5", Some("2026-11-20T09:00:01.500Z"));
        check("2026-11-20T09:00:00Z", Some("2026-11-20T09:00:00.000Z"));
        check("2026-11-20T10:00:00+01:00", Some("2026-11-20T09:00:00.000Z"));
    }

    #[test]
    fn what_is_no_time() {
        for text in
            ["", "-", "+", "yesterday", "-1", "-h", "-1y", "1h", "-1h30", "1795166599", "nowhere"]
        {
            check(text, None);
        }
        check("-99999999999999999999w", None);
        assert!(iso(i64::MAX).is_err());
    }

    #[test]
    fn what_we_write_we_read() {
        for ms in (-60_000_000_000_000_i64..250_000_000_000_000).step_by(123_456_789_123) {
            assert_eq!(parse(&iso(ms).unwrap(), 0).unwrap(), ms);
        }
    }

    #[test]
    fn a_time_cut_anywhere_is_read_or_refused() {
        for text in ["now-1h30m", "2026-11-20T09:07:59.123+01:00", "-1é", "+1w"] {
            for (at, _) in text.char_indices() {
                let _ = parse(&text[..at], NOW);
                let _ = parse(&text[at..], NOW);
            }
        }
    }
}
