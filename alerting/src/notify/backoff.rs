//! When a failed attempt is repeated: pure computation, no clock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use moneta_storage::model::Timestamp;

/// Seconds from the end of one failed attempt to the next, the last for all further ones. A blip is
/// bridged in seconds, an outage is asked about every ten minutes.
const DELAYS_SECONDS: [u64; 8] = [1, 5, 30, 60, 120, 240, 480, DELAY_SECONDS_MAX];
const DELAY_SECONDS_MAX: u64 = 600;
/// A receiver that asks for more than this is asked again after this.
const RETRY_AFTER_SECONDS_MAX: u64 = 3600;
/// The longest wait there is.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(RETRY_AFTER_SECONDS_MAX);

/// How long to wait after the `attempts`-th failed attempt (from 1). Spread by up to a fifth in
/// either direction, so that notifications that failed together do not come back together; the
/// spread follows from `id`, so that the same attempt always waits as long.
pub(crate) fn delay(attempts: u32, id: &str) -> Duration {
    let at = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let seconds = DELAYS_SECONDS.get(at).copied().unwrap_or(DELAY_SECONDS_MAX);
    let mut hasher = DefaultHasher::new();
    (id, attempts).hash(&mut hasher);
    let percent = 80 + hasher.finish() % 41;
    Duration::from_millis((seconds * 10 * percent).min(DELAY_SECONDS_MAX * 1000))
}

/// The wait that a `Retry-After` header asks for: seconds, or a date such as
/// `Sun, 06 Nov 1994 08:49:37 GMT`. At most an hour; `None` if it is neither.
pub(crate) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let asked = match header.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if header.bytes().all(|b| b.is_ascii_digit()) && !header.is_empty() => Duration::MAX,
        Err(_) => http_date(header)?.since(now),
    };
    Some(asked.min(WAIT_MAX))
}

/// The preferred form of an HTTP date; the two obsolete ones are not read.
fn http_date(text: &str) -> Option<Timestamp> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i64::try_from(months.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let whole = words.next()? == "GMT" && words.next().is_none() && clock.next().is_none();
    let sane = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    (whole && sane).then(|| Timestamp::from_seconds(seconds))
}

/// Days from 1970-01-01 in the Gregorian calendar. The year is taken to begin in March, so that the
/// leap day is its last and the months before it have a regular pattern of lengths.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_grow_to_ten_minutes() {
        for (attempts, want) in [(1, 1), (2, 5), (3, 30), (4, 60), (7, 480), (8, 600), (1000, 600)]
        {
            let spread = |id: u32| delay(attempts, &id.to_string()).as_millis();
            let (low, high) =
                ((0..500).map(spread).min().unwrap(), (0..500).map(spread).max().unwrap());
            assert!(
                low >= want * 800 && high <= (want * 1200).min(600_000),
                "{attempts}: {low} {high}"
            );
            assert!(low < want * 850, "{attempts}: {low} is not spread");
            assert!(want == 600 || high > want * 1150, "{attempts}: {high} is not spread");
        }
        assert_eq!(delay(3, "a"), delay(3, "a"));
    }

    #[track_caller]
    fn check(header: &str, want: Option<u64>) {
        let now = Timestamp::from_seconds(784_111_777 - 100);
        assert_eq!(retry_after(header, now), want.map(Duration::from_secs), "{header}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("7200", Some(3600));
        check("99999999999999999999999", Some(3600));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(100));
        check("Sun, 06 Nov 1994 08:40:37 GMT", Some(0));
        check("Sun, 06 Nov 2094 08:49:37 GMT", Some(3600));
        check("Sun, 06 Now 1994 08:49:37 GMT", None);
        check("Sun, 06 Nov 1994 08:49:37 CET", None);
        check("Sun, 06 Nov 1994 08:49 GMT", None);
        check("-5", None);
        check("soon", None);
        check("", None);
    }

    #[test]
    fn days_follow_the_calendar() {
        assert_eq!(days_since_epoch(1970, 1, 1), 0);
        assert_eq!(days_since_epoch(2000, 2, 29), 11_016);
        assert_eq!(days_since_epoch(2000, 3, 1), 11_017);
        assert_eq!(days_since_epoch(2100, 3, 1) - days_since_epoch(2100, 2, 28), 1);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_not(header in ".{0,60}") {
            let _ = retry_after(&header, Timestamp::from_millis(0));
        }
    }
}
