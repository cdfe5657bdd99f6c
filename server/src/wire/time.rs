//! Times as the Monasca API reads and writes them.

use moneta_storage::model::Timestamp;

/// An instant as a client wrote it. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Instant {
    /// The last millisecond that is not after it.
    pub(crate) floor: Timestamp,
    /// How far it lies after `floor`, nanoseconds.
    pub(crate) beyond_ns: u32,
}

impl Instant {
    /// The first millisecond that is not before it: where a span `[start, …)` or `[…, end)` of
    /// samples begins or ends.
    pub(crate) fn ceil(self) -> Timestamp {
        self.floor.plus_millis(i64::from(self.beyond_ns > 0))
    }
}

/// Reads an ISO 8601 calendar time. Without a zone it is UTC.
pub(crate) fn parse(text: &str) -> Option<Instant> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => {
            let (date, rest) = text.split_at_checked(at)?;
            (date, Some(rest.get(1..)?))
        }
        None => (text, None),
    };
    let day = parse_date(date)?;
    let (ms, beyond_ns) = time.map_or(Some((0, 0)), parse_time)?;
    Some(Instant { floor: Timestamp::from_millis(day * 86_400_000 + ms), beyond_ns })
}

/// Days since the epoch of `YYYY`, `YYYY-MM`, `YYYY-MM-DD` or `YYYYMMDD`.
fn parse_date(text: &str) -> Option<i64> {
    let (year, rest) = text.split_at_checked(4)?;
    let (month, day) = match rest.as_bytes() {
        [] => ("01", "01"),
        [b'-', _, _] => (rest.get(1..3)?, "01"),
        [b'-', _, _, b'-', _, _] => (rest.get(1..3)?, rest.get(4..6)?),
        [_, _, _, _] => rest.split_at_checked(2)?,
        _ => return None,
    };
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    let right = year >= 1 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    right.then(|| days_from_civil(year, month, day))
}

/// Milliseconds from midnight UTC of `HH:MM`, `HH:MM:SS`, `HH:MM:SS.f`, with or without colons, and
/// a zone; and the nanoseconds that are left.
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let zone_at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at_checked(zone_at)?;
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, fraction),
        None => (clock, "0"),
    };
    let (hour, minute, second) = match clock.as_bytes() {
        [_, _, b':', _, _] => (clock.get(..2)?, clock.get(3..)?, None),
        [_, _, b':', _, _, b':', _, _] => {
            (clock.get(..2)?, clock.get(3..5)?, Some(clock.get(6..)?))
        }
        [_, _, _, _] => (clock.get(..2)?, clock.get(2..)?, None),
        [_, _, _, _, _, _] => (clock.get(..2)?, clock.get(2..4)?, Some(clock.get(4..)?)),
        _ => return None,
    };
    if second.is_none() && fraction != "0" {
        return None;
    }
    let (hour, minute, second) = (digits(hour)?, digits(minute)?, digits(second.unwrap_or("00"))?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (ms, beyond_ns) = parse_fraction(fraction)?;
    let minutes = hour * 60 + minute - parse_zone(zone)?;
    Some((minutes * 60_000 + second * 1000 + ms, beyond_ns))
}

/// Milliseconds and nanoseconds of the digits behind a second. What is finer still counts as one.
fn parse_fraction(text: &str) -> Option<(i64, u32)> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{text:0<9}");
    let (ms, rest) = padded.split_at_checked(3)?;
    let (ns, finer) = rest.split_at_checked(6)?;
    let finer = finer.bytes().any(|b| b != b'0');
    let ns: u32 = ns.parse().ok()?;
    Some((digits(ms)?, if finer { ns.max(1) } else { ns }))
}

/// Minutes that a zone is ahead of UTC.
fn parse_zone(text: &str) -> Option<i64> {
    if text.is_empty() || text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = match rest.as_bytes() {
        [_, _] => (rest, "00"),
        [_, _, _, _] => rest.split_at_checked(2)?,
        [_, _, b':', _, _] => (rest.get(..2)?, rest.get(3..)?),
        _ => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = hours * 60 + minutes;
    Some(if sign == "-" { -ahead } else { ahead })
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the epoch; the year counted from March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since the epoch.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// `YYYY-MM-DDTHH:MM:SS`, and the milliseconds that are left.
fn seconds(time: Timestamp) -> (String, i64) {
    let ms = time.millis();
    let (year, month, day) = civil_from_days(ms.div_euclid(86_400_000));
    let of_day = ms.rem_euclid(86_400_000);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    (text, of_day % 1000)
}

/// As measurements and history show it: always three digits after the second.
pub(crate) fn format_ms(time: Timestamp) -> String {
    let (text, ms) = seconds(time);
    format!("{text}.{ms:03}Z")
}

/// As statistics and alarms show it: a fraction only if there is one.
pub(crate) fn format_short(time: Timestamp) -> String {
    let (text, ms) = seconds(time);
    if ms == 0 { format!("{text}Z") } else { format!("{text}.{ms:03}Z") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read() {
        let check = |text: &str, want: &str| {
            let got = parse(text).map(|instant| {
                let more = if instant.beyond_ns > 0 { "+" } else { "" };
                format!("{}{more}", format_ms(instant.floor))
            });
            assert_eq!(got.as_deref().unwrap_or("none"), want, "{text}");
        };
        check("2026", "2026-01-01T00:00:00.000Z");
        check("2026-11", "2026-11-01T00:00:00.000Z");
        check("2026-11-20", "2026-11-20T00:00:00.000Z");
        check("20261120", "2026-11-20T00:00:00.000Z");
        check("2026-11-20T09:06", "2026-11-20T09:06:00.000Z");
        check("2026-11-20 09:06:59Z", "2026-11-20T09:06:59.000Z");
        check("20261120T090659Z", "2026-11-20T09:06:59.000Z");
        check("2026-11-20T09:06:59.1Z", "2026-11-20T09:06:59.100Z");
        check("2026-11-20T09:06:59,12", "2026-11-20T09:06:59.120Z");
        check("2026-11-20T09:06:59.123000Z", "2026-11-20T09:06:59.123Z");
        check("2026-11-20T09:06:59.1239Z", "2026-11-20T09:06:59.123Z+");
        check("2026-11-20T09:06:59+01", "2026-11-20T08:06:59.000Z");
        check("2026-11-20T09:06:59-0130", "2026-11-20T10:36:59.000Z");
        check("2026-11-20T00:06:59+01:00", "2026-11-19T23:06:59.000Z");
        check("2024-02-29", "2024-02-29T00:00:00.000Z");
        check("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z");
        for text in [
            "",
            "1795166599",
            "1795166599123",
            "now",
            "2026-13",
            "2026-02-29",
            "2026-00-01",
            "2026-11-20T",
            "2026-11-20T24:00",
            "2026-11-20T09",
            "2026-11-20T09:06:60",
            "2026-11-20T09:06:59.",
            "2026-11-20T09:06.5",
            "2026-11-20T09:06:59X",
            "202611",
            "2026-11-20T09:06:59+1",
            "2026-11-20T09:06:59Zx",
            "+026-11-20",
            "0000-01-01",
            "2026-1-20",
            "２０２６",
        ] {
            check(text, "none");
        }
    }

    #[test]
    fn spans_round_up() {
        assert_eq!(parse("1970-01-01T00:00:00.0015Z").unwrap().ceil().millis(), 2);
        assert_eq!(parse("1970-01-01T00:00:00.001Z").unwrap().ceil().millis(), 1);
    }

    #[test]
    fn short_times_have_a_fraction_only_if_needed() {
        assert_eq!(format_short(Timestamp::from_millis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(format_short(Timestamp::from_millis(5)), "1970-01-01T00:00:00.005Z");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in -62_135_596_800_000_i64..253_402_300_800_000) {
            let time = Timestamp::from_millis(ms);
            let want = Some(Instant { floor: time, beyond_ns: 0 });
            prop_assert_eq!(parse(&format_ms(time)), want);
            prop_assert_eq!(parse(&format_short(time)), want);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = parse(&text);
        }
    }
}
