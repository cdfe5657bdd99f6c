//! Which time counts as passed for good. A clock may be wrong, by years, and what is removed does not
//! come back when it is set right; so samples are removed by an instant of the store's own, which
//! follows the clock:
//!
//! * as long as the clock is less than a day ahead: at once, and never back;
//! * where it is further away, ahead or behind: when it has run on from there for an hour, in
//!   [`STEPS`] looks a minute apart, or when an operator asks for a sweep.
//!
//! Neither needs a write, so a store that gets none expires like any other. The instant is stored with
//! every removal and flush, else hourly, and when the store is closed; one that was shut down for
//! longer than a day begins to remove an hour after it was started. Readers are shown what the clock
//! says at once: that is taken back when the clock is.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::Timestamp;

/// The instant follows the clock over so many milliseconds without doubt: a day.
const LEAP_MS: i64 = 24 * 3_600_000;
/// Between two looks a clock that runs moves by more than nothing, and less than this.
const STEP_MS_MAX: i64 = 3_600_000;
/// So many looks in a row, a beat of the sweeper apart, make a doubtful clock the right one.
pub(super) const STEPS: u32 = 60;

/// The instant by which samples are removed.
pub(super) struct Passed(AtomicI64);

/// What is remembered of a clock that cannot be right, or could not be before.
#[derive(Default)]
pub(super) struct Doubt(Option<(i64, u32)>);

impl Passed {
    pub(super) fn at(instant: Timestamp) -> Self {
        Passed(AtomicI64::new(instant.millis()))
    }

    /// What to remove by, when the clock shows `now`: never by more than readers are not shown.
    pub(super) fn for_removal(&self, now: Timestamp) -> Timestamp {
        let passed = self.get();
        if passed.millis().saturating_sub(now.millis()) > LEAP_MS { now } else { passed }
    }

    /// What to hide by, when the clock shows `now`: a clock that is set back a little brings nothing
    /// back.
    pub(super) fn for_readers(&self, now: Timestamp) -> Timestamp {
        self.for_removal(now).max(now)
    }

    pub(super) fn get(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Acquire))
    }

    /// Whether a clock that shows `now` is not in doubt.
    pub(super) fn trusts(&self, now: Timestamp) -> bool {
        let ahead = now.millis().saturating_sub(self.get().millis());
        (-LEAP_MS..=LEAP_MS).contains(&ahead)
    }

    /// Follows a clock that is not in doubt. Whether it is not.
    pub(super) fn follow(&self, now: Timestamp) -> bool {
        let sure = self.trusts(now);
        if sure {
            self.0.fetch_max(now.millis(), Ordering::AcqRel);
        }
        sure
    }

    /// Takes the clock's word.
    pub(super) fn believe(&self, now: Timestamp) {
        self.0.store(now.millis(), Ordering::Release);
    }
}

impl Doubt {
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Looks at a clock that is in doubt. Whether it has run on for long enough to be believed.
    pub(super) fn is_over(&mut self, now: Timestamp, passed: Timestamp) -> bool {
        let now = now.millis();
        let steps = match self.0 {
            Some((last, steps)) if (1..=STEP_MS_MAX).contains(&now.saturating_sub(last)) => {
                steps + 1
            }
            Some(_) | None => {
                tracing::warn!(
                    clock_ms = now,
                    passed_ms = passed.millis(),
                    "the clock has leapt: nothing expires for good until it has run on for an hour"
                );
                0
            }
        };
        self.0 = (steps < STEPS).then_some((now, steps));
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = LEAP_MS;

    /// Looks at clocks, in turn; what counts as passed then.
    fn check(clocks: impl IntoIterator<Item = i64>, want: i64) {
        let (passed, mut doubt) = (Passed::at(Timestamp::from_millis(100 * DAY)), Doubt::default());
        for now in clocks.into_iter().map(Timestamp::from_millis) {
            if passed.follow(now) {
                doubt.clear();
            } else if doubt.is_over(now, passed.get()) {
                passed.believe(now);
            }
        }
        assert_eq!(passed.get().millis(), want);
    }

    #[test]
    fn time_passes_in_steps_and_never_back_by_little() {
        check([], 100 * DAY);
        check([101 * DAY], 101 * DAY);
        check([101 * DAY, 100 * DAY, 100 * DAY + 5], 101 * DAY);
        check((0..50).map(|day| (100 + day) * DAY), 149 * DAY);
    }

    #[test]
    fn a_clock_that_leaps_is_believed_when_it_has_run_on() {
        let looks = |from: i64, count: i64| (0..count).map(move |look| from + look * MINUTE);
        let steps = i64::from(STEPS);
        for leapt in [4000 * DAY, 102 * DAY, 98 * DAY, 0] {
            check(looks(leapt, steps), 100 * DAY);
            check(looks(leapt, steps + 1), leapt + steps * MINUTE);
            // One that stands still, or leaps again, is not.
            check(std::iter::repeat_n(leapt, 1000), 100 * DAY);
            check((0..1000).map(|look| leapt + 200 * DAY * (look % 2 + 1) * look), 100 * DAY);
            // Set right in time, it has done no harm.
            let right = 100 * DAY + 30 * MINUTE;
            check(looks(leapt, 30).chain([right]), right);
            check(looks(leapt, 50).chain([right]).chain(looks(leapt, 50)), right);
        }
    }

    #[test]
    fn readers_follow_the_clock_and_removal_does_not() {
        let passed = Passed::at(Timestamp::from_millis(100 * DAY));
        let check = |now: i64, readers: i64, removal: i64| {
            let now = Timestamp::from_millis(now);
            assert_eq!(passed.for_readers(now).millis(), readers);
            assert_eq!(passed.for_removal(now).millis(), removal);
        };
        check(100 * DAY, 100 * DAY, 100 * DAY);
        check(100 * DAY + 1, 100 * DAY + 1, 100 * DAY);
        check(9000 * DAY, 9000 * DAY, 100 * DAY);
        check(100 * DAY - 1, 100 * DAY, 100 * DAY);
        check(98 * DAY, 98 * DAY, 98 * DAY);
    }
}
