//! A slot: what is kept of the samples of one series in a span of five minutes or an hour.

use crate::model::{Sum, Timestamp};
use crate::retention::RollupStep;
use crate::segment::SeriesRows;

/// What is known of the finite samples of a series in one slot of a rollup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Where it begins.
    pub start: Timestamp,
    /// How long it is.
    pub step: RollupStep,
    /// Number of samples, at least 1.
    pub count: u64,
    /// Sum of the values.
    pub sum: f64,
    /// Smallest value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Earliest value.
    pub first: f64,
    /// Latest value.
    pub last: f64,
    /// How much a counter grew from the first to the last sample; where a value is less than the one
    /// before, it began again at zero.
    pub increase: f64,
}

/// What of a slot one row of a segment holds. The number is part of the row's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Component {
    Count = 1,
    Sum = 2,
    Min = 3,
    Max = 4,
    First = 5,
    Last = 6,
    Increase = 7,
}

const COMPONENTS: [Component; 7] = [
    Component::Count,
    Component::Sum,
    Component::Min,
    Component::Max,
    Component::First,
    Component::Last,
    Component::Increase,
];

/// Milliseconds between the rows of two components of a slot.
const COMPONENT_MS: i64 = 1 << 44;
/// Slots lie this side of this instant and of the one as long before the epoch, 278 years away; so a
/// time from here on is that of a row of a rollup, and one before is that of a sample.
pub(crate) const REACH_MS: i64 = COMPONENT_MS / 2;

impl Component {
    /// Where the rows of this component and those before it end.
    pub(crate) const fn end_ms(self) -> i64 {
        self as i64 * COMPONENT_MS + REACH_MS
    }

    /// Component and start of the slot of a row.
    fn split(time: i64) -> Option<(Self, i64)> {
        let number = (time + REACH_MS).div_euclid(COMPONENT_MS);
        let component = COMPONENTS.into_iter().find(|known| i64::from(*known as u8) == number)?;
        Some((component, time - number * COMPONENT_MS))
    }
}

impl Slot {
    fn of_one(start: i64, step: RollupStep, value: f64) -> Self {
        Slot {
            start: Timestamp::from_millis(start),
            step,
            count: 1,
            sum: value,
            min: value,
            max: value,
            first: value,
            last: value,
            increase: 0.0,
        }
    }

    /// Adds a sample behind all others; `sum` is of the values with it.
    fn add(&mut self, value: f64, sum: &Sum) {
        self.count += 1;
        self.sum = sum.total();
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.increase += if value >= self.last { value - self.last } else { value };
        self.last = value;
    }

    /// The first instant after it.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.start.plus_millis(self.step.millis())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn get(&self, component: Component) -> f64 {
        match component {
            Component::Count => self.count as f64,
            Component::Sum => self.sum,
            Component::Min => self.min,
            Component::Max => self.max,
            Component::First => self.first,
            Component::Last => self.last,
            Component::Increase => self.increase,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count was made from an integer; of a wrong one any number is as good"
    )]
    fn set(&mut self, component: Component, value: f64) {
        match component {
            Component::Count => self.count = value as u64,
            Component::Sum => self.sum = value,
            Component::Min => self.min = value,
            Component::Max => self.max = value,
            Component::First => self.first = value,
            Component::Last => self.last = value,
            Component::Increase => self.increase = value,
        }
    }
}

/// The slots of a series, ascending. Samples ascend in time; those that are not finite do not count.
pub(crate) fn slots_of(times: &[i64], values: &[f64], step: RollupStep) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    let mut end = i64::MIN;
    let mut sum = Sum::default();
    for (&time, &value) in times.iter().zip(values).filter(|(_, value)| value.is_finite()) {
        match slots.last_mut() {
            Some(slot) if time < end => {
                sum.add(value);
                slot.add(value, &sum);
            }
            Some(_) | None => {
                let start = time - time.rem_euclid(step.millis());
                end = start.saturating_add(step.millis());
                slots.push(Slot::of_one(start, step, value));
                sum = Sum::from(value);
            }
        }
    }
    slots
}

/// The rows that hold slots, component by component; each a column of its own.
pub(crate) fn columns(slots: &[Slot], sequence: u64) -> impl Iterator<Item = SeriesRows> {
    COMPONENTS.into_iter().map(move |component| {
        let base = component as i64 * COMPONENT_MS;
        SeriesRows {
            times: slots.iter().map(|slot| base + slot.start.millis()).collect(),
            sequences: vec![sequence; slots.len()],
            values: slots.iter().map(|slot| slot.get(component)).collect(),
            metas: Vec::new(),
        }
    })
}

/// Puts the slots of a series together again from rows: of a slot the count comes first.
pub(crate) struct Gathering {
    step: RollupStep,
    slots: Vec<Slot>,
    /// Where the next row probably belongs.
    at: usize,
}

impl Gathering {
    pub(crate) fn new(step: RollupStep) -> Self {
        Gathering { step, slots: Vec::new(), at: 0 }
    }

    /// Takes a row in; others than those of slots are passed over.
    pub(crate) fn add(&mut self, time: i64, value: f64) {
        let Some((component, start)) = Component::split(time) else { return };
        let is_here = |slot: &Slot| slot.start.millis() == start;
        if !self.slots.get(self.at).is_some_and(is_here) {
            match self.slots.binary_search_by_key(&start, |slot| slot.start.millis()) {
                Ok(at) => self.at = at,
                Err(at) if component == Component::Count => {
                    self.slots.insert(at, Slot::of_one(start, self.step, 0.0));
                    self.at = at;
                }
                Err(_) => return,
            }
        }
        if let Some(slot) = self.slots.get_mut(self.at) {
            slot.set(component, value);
        }
        self.at += 1;
    }

    /// The slots, ascending.
    pub(crate) fn into_slots(self) -> Vec<Slot> {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: RollupStep = RollupStep::FiveMinutes;
    const MS: i64 = STEP.millis();

    #[test]
    fn samples_become_slots() {
        let times = [-1, 0, 1, 2, MS - 1, 3 * MS];
        let values = [9.0, 5.0, f64::NAN, 2.0, 3.0, -1.0];
        let slots = slots_of(&times, &values, STEP);
        let starts: Vec<i64> = slots.iter().map(|slot| slot.start.millis()).collect();
        assert_eq!(starts, [-MS, 0, 3 * MS]);
        let middle = Slot {
            start: Timestamp::from_millis(0),
            step: STEP,
            count: 3,
            sum: 10.0,
            min: 2.0,
            max: 5.0,
            first: 5.0,
            last: 3.0,
            // 5 to 2 began again at zero: 2, then 1.
            increase: 3.0,
        };
        assert_eq!(slots[1], middle);
        assert_eq!(slots_of(&[1], &[f64::INFINITY], STEP), []);
    }

    #[test]
    fn slots_round_trip_as_rows_also_of_two_days() {
        let times: Vec<i64> = (-3000..3000).map(|i| i * 70_000).collect();
        let values: Vec<f64> = times.iter().map(|&time| (time % 977) as f64 / 10.0).collect();
        let slots = slots_of(&times, &values, STEP);
        let (before, after) = slots.split_at(1000);
        let mut gathering = Gathering::new(STEP);
        for part in [before, after] {
            let mut last = i64::MIN;
            for rows in columns(part, 1) {
                for (&time, &value) in rows.times.iter().zip(&rows.values) {
                    assert!(time > last && time >= REACH_MS);
                    last = time;
                    gathering.add(time, value);
                }
            }
        }
        assert_eq!(gathering.into_slots(), slots);
    }
}
