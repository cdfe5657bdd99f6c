//! Spans of time as operators write them: `30d`, `12h`, `forever`.

use std::time::Duration;

use moneta_storage::model::Keep;
use moneta_storage::retention::RollupStep;

const UNITS: [(&str, u64); 6] = [
    ("y", 365 * 24 * 3600),
    ("w", 7 * 24 * 3600),
    ("d", 24 * 3600),
    ("h", 3600),
    ("m", 60),
    ("s", 1),
];

/// Reads a number with a unit, or `forever`.
pub(crate) fn parse_keep(text: &str) -> Option<Keep> {
    if text == "forever" {
        return Some(Keep::Forever);
    }
    let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(*seconds)?;
    Some(Keep::For(Duration::from_secs(seconds)))
}

/// How a rollup's step is written.
pub(crate) fn step_text(step: RollupStep) -> &'static str {
    match step {
        RollupStep::FiveMinutes => "5m",
        RollupStep::Hour => "1h",
    }
}

/// Writes it with the greatest unit, weeks and years aside, that leaves nothing over.
pub(crate) fn format_keep(keep: Keep) -> String {
    let Keep::For(span) = keep else { return "forever".to_owned() };
    let seconds = span.as_secs();
    let fits = |(unit, length): &&(&str, u64)| {
        !matches!(*unit, "y" | "w") && seconds.is_multiple_of(*length)
    };
    let (unit, length) = UNITS.iter().find(fits).unwrap_or(&("s", 1));
    format!("{}{unit}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        let check = |text: &str, seconds: u64, again: &str| {
            let keep = parse_keep(text).unwrap();
            assert_eq!(keep, Keep::For(Duration::from_secs(seconds)), "{text}");
            assert_eq!(format_keep(keep), again);
        };
        check("30d", 30 * 86_400, "30d");
        check("1y", 365 * 86_400, "365d");
        check("2w", 14 * 86_400, "14d");
        check("36h", 36 * 3600, "36h");
        check("90m", 5400, "90m");
        check("61s", 61, "61s");
        assert_eq!(parse_keep("forever"), Some(Keep::Forever));
        assert_eq!(format_keep(Keep::Forever), "forever");
        for bad in ["", "d", "-1d", "1.5d", "30", "1 d", "99999999999999999999d", "1e3d"] {
            assert_eq!(parse_keep(bad), None, "{bad}");
        }
    }
}
