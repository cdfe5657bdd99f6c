//! Which segments are merged next: neighbours of a partition that are of like size, so that a byte
//! is written again only when it goes into something several times as large.
//!
//! ```text
//! young   ████████ ▌▌▌▌▌▌▌▌      eight times the greatest in all: merged
//!         ████████ ▌▌            waits; late rows of a kilobyte never rewrite a gigabyte
//! over    ████████ ▌             the day is over and quiet: merged at last, if ▌ is worth it
//! ```

use std::ops::Range;

/// So many neighbours are merged at once at most: each has a file and decoded blocks in memory.
const UNITS_MAX: usize = 32;
/// All inputs of a merge together. Its output needs as much space again while it is written.
const MERGE_BYTES_MAX: u64 = 8 << 30;
/// The inputs together are at least so many times as large as the largest of them. Each byte is
/// then written about log₈(all / flushed) times.
const GROWTH: u64 = 8;
/// With more than [`CROWD`] units in a partition this is enough, so that their number stays bounded:
/// sizes that fall by less than a third from one to the next always hold a window of this growth.
const GROWTH_CROWDED: u64 = 3;
const CROWD: usize = 32;
/// A partition that is over is merged into one when what it would add to the largest is at least one
/// part in so many of it.
const WORTH: u64 = 16;

/// Segments that one merge or flush has made of one partition: of one sequence range, and of disjoint
/// series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unit {
    pub(crate) bytes: u64,
    /// Whether it is as a flush wrote it.
    pub(crate) young: bool,
}

/// What can be said of a partition's future.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Age {
    /// More is to come.
    Open,
    /// Its day is over and nothing has come for a while.
    Over,
}

/// The units to merge next, if any: those that grow most. `units` are in order of their sequences.
pub(crate) fn choose(units: &[Unit], age: Age) -> Option<Range<usize>> {
    if age == Age::Over
        && let Some(all) = last_merge(units)
    {
        return Some(all);
    }
    let growth = if units.len() > CROWD { GROWTH_CROWDED } else { GROWTH };
    let mut best: Option<(u64, Range<usize>)> = None;
    for start in 0..units.len() {
        let (mut sum, mut largest) = (0_u64, 1_u64);
        for (at, unit) in units.iter().enumerate().skip(start).take(UNITS_MAX) {
            sum = sum.saturating_add(unit.bytes);
            largest = largest.max(unit.bytes);
            if sum > MERGE_BYTES_MAX {
                break;
            }
            // In sixteenths, so that windows of nearly the same growth can be told apart.
            let grown = sum.saturating_mul(16) / largest;
            let enough = grown >= growth * 16;
            if enough && best.as_ref().is_none_or(|(before, _)| *before < grown) {
                best = Some((grown, start..at + 1));
            }
        }
    }
    best.map(|(_, range)| range)
}

/// The first neighbours that fit together and are worth it, when no more is to come.
fn last_merge(units: &[Unit]) -> Option<Range<usize>> {
    let mut start = 0;
    while start < units.len() {
        let end = start + fitting(units.get(start..).unwrap_or_default());
        let some = units.get(start..end).unwrap_or_default();
        let sum: u64 = some.iter().map(|unit| unit.bytes).sum();
        let largest = some.iter().map(|unit| unit.bytes).max().unwrap_or(0);
        let all_young = some.iter().all(|unit| unit.young);
        if all_young || (some.len() > 1 && (sum - largest).saturating_mul(WORTH) >= largest) {
            return Some(start..end);
        }
        start = end;
    }
    None
}

/// How many of the first units, at least one, a merge may take.
pub(crate) fn fitting(units: &[Unit]) -> usize {
    let mut sum = 0_u64;
    let fits = |unit: &&Unit| {
        sum = sum.saturating_add(unit.bytes);
        sum <= MERGE_BYTES_MAX
    };
    units.iter().take(UNITS_MAX).take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(bytes: &[u64]) -> Vec<Unit> {
        bytes.iter().map(|&bytes| Unit { bytes, young: bytes < 100 }).collect()
    }

    #[track_caller]
    fn check(age: Age, bytes: &[u64], want: Option<Range<usize>>) {
        assert_eq!(choose(&units(bytes), age), want);
    }

    #[test]
    fn like_sizes_are_merged_when_there_are_enough() {
        check(Age::Open, &[10; 7], None);
        check(Age::Open, &[10; 8], Some(0..8));
        check(Age::Open, &[900, 10, 10, 10, 10, 10, 10, 10, 10], Some(1..9));
        check(Age::Open, &[], None);
    }

    #[test]
    fn a_little_late_data_does_not_rewrite_much() {
        check(Age::Open, &[1 << 30, 1000, 1000], None);
        check(Age::Over, &[1 << 30, 1000, 1000], None);
        check(Age::Over, &[1 << 30, 1 << 25, 1 << 25], Some(0..3));
    }

    #[test]
    fn a_partition_that_is_over_ends_as_one() {
        check(Age::Over, &[10], Some(0..1));
        check(Age::Over, &[1000], None);
        check(Age::Over, &[9000, 1000, 100, 10], Some(0..4));
    }

    #[test]
    fn what_is_too_large_for_one_merge_is_merged_in_parts() {
        check(Age::Over, &[6 << 30, 6 << 30, 1 << 30], Some(1..3));
        check(Age::Open, &[1 << 30; 9], Some(0..8));
    }

    proptest! {
        /// Flushes of any sizes: what is written again stays a small multiple of what was flushed,
        /// and the number of units stays bounded.
        #[test]
        fn amplification_and_number_of_units_are_bounded(
            flushes in prop::collection::vec(1_u64..2000, 1..600),
        ) {
            let (mut state, mut flushed, mut merged) = (Vec::new(), 0, 0);
            for bytes in flushes {
                flushed += bytes;
                state.push(Unit { bytes, young: true });
                while let Some(range) = choose(&state, Age::Open) {
                    prop_assert!(range.len() > 1);
                    let bytes = state[range.clone()].iter().map(|unit| unit.bytes).sum();
                    merged += bytes;
                    state.splice(range, [Unit { bytes, young: false }]);
                }
                prop_assert!(state.len() <= 64, "{} units", state.len());
            }
            prop_assert!(merged <= flushed * 6, "{merged} of {flushed}");
        }
    }
}
