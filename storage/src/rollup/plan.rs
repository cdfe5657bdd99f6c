//! Which parts of a span of time rollups answer, and which samples do.

use crate::model::{TimeRange, Timestamp};
use crate::retention::RollupStep;
use crate::segment::PARTITION_MS;

const STEPS: usize = RollupStep::ALL.len();

/// What a metric has, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Samples before this instant have expired.
    pub(crate) floor: i64,
    /// By step: slots before this instant have expired; `None`: there are none.
    pub(crate) rollups: [Option<i64>; STEPS],
}

/// What a rollup of a day is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is none.
    Missing,
    /// For what has expired of the samples.
    Frozen,
    /// For everything: it is what the samples say.
    Current,
}

/// A day and the states of its rollups, by step.
pub(crate) type Day = (i32, [State; STEPS]);

/// A part of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Samples.
    Raw(TimeRange),
    /// Slots that begin in the range.
    Rolled {
        step: RollupStep,
        range: TimeRange,
        /// Windows finer than the slots were asked for.
        coarse: bool,
    },
}

/// Cuts `range` into parts, ascending. Slots are used where they lie in one window, the longest first; and
/// whatever the window where samples have expired, the shortest first. Such a slot belongs where it
/// begins, so that pages do not count it twice. `days` ascend.
pub(crate) fn parts(
    days: &[Day],
    coverage: &Coverage,
    range: TimeRange,
    window_ms: Option<i64>,
) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut raw_from = range.start;
    let mut push = |start: i64, step: RollupStep, is_coarse: bool| {
        let start = Timestamp::from_millis(start);
        let end = start.plus_millis(step.millis());
        if raw_from < start {
            parts.push(Part::Raw(TimeRange::new(raw_from, start)));
        }
        raw_from = end;
        match parts.last_mut() {
            Some(Part::Rolled { step: last, range, coarse })
                if (*last, *coarse, range.end) == (step, is_coarse, start) =>
            {
                range.end = end;
            }
            Some(_) | None => {
                let range = TimeRange::new(start, end);
                parts.push(Part::Rolled { step, range, coarse: is_coarse });
            }
        }
    };
    for (day, states) in days {
        let day_start = i64::from(*day).saturating_mul(PARTITION_MS);
        let mut at = day_start.max(range.start.millis());
        let end = day_start.saturating_add(PARTITION_MS).min(range.end.millis());
        while at < end {
            let slot = |step: RollupStep| {
                let start = at - at.rem_euclid(step.millis());
                let floor = coverage.rollups.get(step.index()).copied().flatten()?;
                let is_there = match states.get(step.index()).copied().unwrap_or(State::Missing) {
                    State::Missing => false,
                    State::Frozen => start < coverage.floor,
                    State::Current => true,
                };
                (start >= floor && is_there).then_some((step, start))
            };
            let fits = |&(step, start): &(RollupStep, i64)| {
                let last = start + step.millis() - 1;
                let window =
                    |window_ms: i64| start.div_euclid(window_ms) == last.div_euclid(window_ms);
                start == at
                    && last < range.end.millis()
                    && window_ms.filter(|&window_ms| window_ms > 0).is_some_and(window)
            };
            let mut steps = RollupStep::ALL.into_iter();
            if let Some((step, start)) = steps.clone().rev().filter_map(slot).find(fits) {
                push(start, step, false);
                at = start + step.millis();
            } else if at >= coverage.floor {
                at = after(at, RollupStep::FiveMinutes);
            } else if let Some((step, start)) = steps.find_map(slot) {
                if start >= range.start.millis() {
                    push(start, step, true);
                }
                at = start + step.millis();
            } else {
                at = after(at, RollupStep::FiveMinutes);
            }
        }
    }
    if raw_from < range.end {
        parts.push(Part::Raw(TimeRange::new(raw_from, range.end)));
    }
    parts
}

/// The end of the slot that an instant lies in.
fn after(at: i64, step: RollupStep) -> i64 {
    at - at.rem_euclid(step.millis()) + step.millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    #[track_caller]
    fn check(
        states: [State; STEPS],
        (floor, rollups): (i64, [Option<i64>; STEPS]),
        (from, to): (i64, i64),
        window_ms: Option<i64>,
        want: &str,
    ) {
        let range = TimeRange::new(Timestamp::from_millis(from), Timestamp::from_millis(to));
        let coverage = Coverage { floor, rollups };
        let shown = parts(&[(0, states)], &coverage, range, window_ms).into_iter().map(|part| {
            let (name, range) = match part {
                Part::Raw(range) => ("raw", range),
                Part::Rolled { step: RollupStep::FiveMinutes, range, coarse: false } => {
                    ("5m", range)
                }
                Part::Rolled { step: RollupStep::FiveMinutes, range, coarse: true } => {
                    ("~5m", range)
                }
                Part::Rolled { step: RollupStep::Hour, range, coarse: false } => ("1h", range),
                Part::Rolled { step: RollupStep::Hour, range, coarse: true } => ("~1h", range),
            };
            format!("{name} {}-{}", range.start.millis() / MINUTE, range.end.millis() / MINUTE)
        });
        assert_eq!(shown.collect::<Vec<_>>().join(", "), want);
    }

    #[test]
    fn slots_that_lie_in_one_window_answer() {
        use State::{Current, Frozen, Missing};
        let both = (i64::MIN, [Some(i64::MIN); 2]);
        let all = [Current; 2];
        let day = (0, 4 * HOUR);
        check(all, both, day, Some(HOUR), "1h 0-240");
        check(all, both, day, Some(1 << 61), "1h 0-240");
        check(all, both, day, Some(10 * MINUTE), "5m 0-240");
        check(all, both, day, Some(MINUTE), "raw 0-240");
        check(all, both, day, None, "raw 0-240");
        check(
            all,
            both,
            (7 * MINUTE, 190 * MINUTE),
            Some(HOUR),
            "raw 7-10, 5m 10-60, 1h 60-180, 5m 180-190",
        );
        check(
            [Missing, Current],
            both,
            (7 * MINUTE, 190 * MINUTE),
            Some(HOUR),
            "raw 7-60, 1h 60-180, raw 180-190",
        );
        check([Current, Frozen], both, day, Some(HOUR), "5m 0-240");
        check([Frozen, Frozen], both, day, Some(HOUR), "raw 0-240");
    }

    #[test]
    fn what_has_expired_is_answered_by_frozen_slots() {
        use State::{Frozen, Missing};
        let from_three = 3 * HOUR + 10 * MINUTE;
        let both = (from_three, [Some(2 * HOUR), Some(HOUR)]);
        let day = (0, 6 * HOUR);
        check([Frozen; 2], both, day, Some(HOUR), "raw 0-60, 1h 60-240, raw 240-360");
        check(
            [Frozen; 2],
            both,
            day,
            Some(MINUTE),
            "raw 0-60, ~1h 60-120, ~5m 120-190, raw 190-360",
        );
        check(
            [Frozen; 2],
            both,
            (90 * MINUTE, 125 * MINUTE),
            Some(MINUTE),
            "raw 90-120, ~5m 120-125",
        );
        check([Missing, Frozen], both, day, None, "raw 0-60, ~1h 60-240, raw 240-360");
        check([Missing, Missing], both, day, Some(HOUR), "raw 0-360");
    }
}
