//! The slots of a part: what has been measured since its view began.
//!
//! ```text
//!            view: n slots              later slots
//!   |------|------|------|------V------|------|····
//!   first slot                  view end       newest slot with data
//! ```
//!
//! Slot `k` is `[k*P, (k+1)*P)` since the epoch. Slots are kept from the beginning of the view to the
//! newest one with data, so their number is bounded by `n` plus what delay and tolerance span.

use std::collections::VecDeque;

use crate::expression::{Function, Part};
use crate::sum::ExactSum;

/// What was measured in one slot, of all series together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Slot {
    count: u64,
    least: f64,
    greatest: f64,
    sum: ExactSum,
}

impl Slot {
    fn add(&mut self, value: f64) {
        if self.count == 0 {
            (self.least, self.greatest) = (value, value);
        } else {
            self.least = self.least.min(value);
            self.greatest = self.greatest.max(value);
        }
        self.count += 1;
        self.sum.add(value);
    }

    #[expect(clippy::cast_precision_loss, reason = "a slot holds far fewer than 2^53 samples")]
    fn value(&self, function: Function) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        Some(match function {
            Function::Min => self.least,
            // A part of function last keeps no slots.
            Function::Max | Function::Last => self.greatest,
            Function::Sum => self.sum.value(),
            Function::Count => self.count as f64,
            Function::Avg => self.sum.value() / self.count as f64,
        })
    }
}

/// The next view of a part ends here: the smallest multiple of the period that is not yet due.
pub(crate) fn next_view_end(now_ms: i64, delay_ms: i64, period_ms: i64) -> i64 {
    (now_ms.saturating_sub(delay_ms).div_euclid(period_ms) + 1).saturating_mul(period_ms)
}

/// The window of one part of one alarm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    period_ms: i64,
    periods: i64,
    /// Number of the slot that begins at the view's end.
    end: i64,
    /// Slots from `end - periods` on; shorter than the view while its end is empty.
    slots: VecDeque<Slot>,
    /// The greatest (time, value) of the part's data, as far as it is known: for `last` exactly, else
    /// the time is exact if it can matter and the value is unused.
    pub(crate) newest: Option<(i64, f64)>,
}

impl Window {
    /// An empty window whose view ends at `view_end_ms`.
    pub(crate) fn new(part: &Part, view_end_ms: i64) -> Self {
        Window {
            period_ms: part.period_ms(),
            periods: i64::from(part.periods),
            end: view_end_ms.div_euclid(part.period_ms()),
            slots: VecDeque::new(),
            newest: None,
        }
    }

    /// End of the view, milliseconds.
    pub(crate) fn view_end_ms(&self) -> i64 {
        self.end.saturating_mul(self.period_ms)
    }

    /// First instant of the window, milliseconds.
    pub(crate) fn start_ms(&self) -> i64 {
        (self.end - self.periods).saturating_mul(self.period_ms)
    }

    /// How long before the view's end a sample may lie and still keep the part from being
    /// undetermined, milliseconds.
    pub(crate) fn patience_ms(&self, coefficient: u32) -> i64 {
        let periods = self.periods - 1 + i64::from(coefficient).saturating_mul(self.periods);
        periods.saturating_mul(self.period_ms)
    }

    /// Whether a sample at `time` lies before the window.
    pub(crate) fn is_behind(&self, time: i64) -> bool {
        time.div_euclid(self.period_ms) < self.end - self.periods
    }

    /// The span of the slot that holds `time`, milliseconds, half-open.
    pub(crate) fn slot_span(&self, time: i64) -> (i64, i64) {
        let start = time.div_euclid(self.period_ms).saturating_mul(self.period_ms);
        (start, start.saturating_add(self.period_ms))
    }

    fn place(&self, time: i64) -> Option<usize> {
        usize::try_from(time.div_euclid(self.period_ms) - (self.end - self.periods)).ok()
    }

    /// Adds a sample that lies in the window, or only remembers that there was one.
    pub(crate) fn add(&mut self, time: i64, value: f64) {
        self.remember(time, value);
        let Some(place) = self.place(time) else { return };
        if place >= self.slots.len() {
            self.slots.resize_with(place + 1, Slot::default);
        }
        if let Some(slot) = self.slots.get_mut(place) {
            slot.add(value);
        }
    }

    /// Remembers that there is a sample at `time`. Returns whether it is the newest by
    /// (time, value).
    pub(crate) fn remember(&mut self, time: i64, value: f64) -> bool {
        let newer = self.newest.is_none_or(|(newest, old)| (time, value) > (newest, old));
        if newer {
            self.newest = Some((time, value));
        }
        newer
    }

    /// Empties the slot that holds `time`.
    pub(crate) fn clear_slot(&mut self, time: i64) {
        let place = self.place(time);
        if let Some(slot) = place.and_then(|place| self.slots.get_mut(place)) {
            *slot = Slot::default();
        }
    }

    /// Moves the view by one slot.
    pub(crate) fn slide(&mut self) {
        self.end += 1;
        self.slots.pop_front();
    }

    /// End of the slot of the newest sample, milliseconds.
    pub(crate) fn newest_slot_end(&self) -> Option<i64> {
        self.newest.map(|(time, _)| self.slot_span(time).1)
    }

    /// Values of all slots of the window up to the newest with data, oldest first.
    pub(crate) fn values(&self, function: Function) -> impl Iterator<Item = Option<f64>> {
        self.slots.iter().map(move |slot| slot.value(function))
    }

    /// Values of the slots of the view, oldest first.
    pub(crate) fn view(&self, function: Function) -> impl Iterator<Item = Option<f64>> {
        let count = usize::try_from(self.periods).unwrap_or(usize::MAX);
        self.values(function).chain(std::iter::repeat(None)).take(count)
    }
}
