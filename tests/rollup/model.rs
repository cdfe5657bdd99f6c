//! What statistics should say: samples, and what was said of them when they were rolled up.

use std::collections::{BTreeMap, BTreeSet};

use moneta_storage::model::{Keep, TimeRange, Timestamp};
use moneta_storage::retention::RollupStep;
use moneta_storage::rollup::Slot;

use super::{DAY, HOUR, MINUTE, SERIES, STEPS, metric_of, policies};

/// Count, sum, least and greatest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sums(pub(super) u64, pub(super) f64, pub(super) f64, pub(super) f64);

impl Sums {
    pub(super) fn of(value: f64) -> Self {
        Sums(1, value, value, value)
    }

    pub(super) fn join(into: &mut Option<Sums>, other: Sums) {
        let Sums(count, sum, min, max) = other;
        *into =
            Some(into.map_or(other, |s| Sums(s.0 + count, s.1 + sum, s.2.min(min), s.3.max(max))));
    }
}

impl From<&Slot> for Sums {
    fn from(slot: &Slot) -> Self {
        Sums(slot.count, slot.sum, slot.min, slot.max)
    }
}

/// What the model knows of a slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    Is(Option<Sums>),
    /// It was rolled up for the first time when its samples could have been removed.
    Open,
}

#[derive(Default)]
pub(super) struct Model {
    /// Everything written and not deleted: (series, time) → value.
    samples: BTreeMap<(u8, i64), f64>,
    policies: usize,
    /// What has expired, by metric.
    floors: BTreeMap<&'static str, i64>,
    /// Below, rows may be gone.
    gone: BTreeMap<&'static str, i64>,
    /// Days of which there is a rollup of a step; whether that is certain.
    rolled: BTreeMap<(RollupStep, i64), bool>,
    slots: BTreeMap<(u8, RollupStep, i64), Known>,
}

impl Model {
    fn floor(&self, series: u8) -> i64 {
        self.floors.get(metric_of(series)).copied().unwrap_or(i64::MIN)
    }

    fn asks(&self, series: u8, step: RollupStep) -> bool {
        let policies = policies(self.policies);
        let policy = policies.of("t", metric_of(series));
        policy.is_some_and(|policy| policy.rollups.iter().any(|rollup| rollup.step == step))
    }

    pub(super) fn write(&mut self, series: u8, time: i64, value: f64) {
        self.samples.insert((series, time), value);
    }

    /// Lets expire what is old now.
    pub(super) fn expire(&mut self, now: i64) {
        let policies = policies(self.policies);
        for metric in ["cpu", "mem"] {
            let Some(policy) = policies.of("t", metric) else { continue };
            let Keep::For(span) = policy.raw else { continue };
            let floor = now - i64::try_from(span.as_millis()).unwrap();
            let stored = self.floors.entry(metric).or_insert(i64::MIN);
            *stored = floor.max(*stored);
            if policy.rollups.is_empty() {
                self.gone.insert(metric, *stored);
            }
        }
    }

    pub(super) fn set_policies(&mut self, number: usize) {
        self.gone.extend(self.floors.clone());
        self.policies = number;
    }

    pub(super) fn delete(&mut self, host: u8, range: TimeRange) {
        let inside = |time: i64| range.contains(Timestamp::from_millis(time));
        self.samples.retain(|(series, time), _| series / 2 != host || !inside(*time));
        let floors: Vec<i64> = (0..SERIES).map(|series| self.floor(series)).collect();
        self.slots.retain(|(series, step, start), _| {
            let end = start + step.millis();
            let frozen = *start < floors[usize::from(*series)];
            let overlaps = *start < range.end.millis() && range.start.millis() < end;
            series / 2 != host || !frozen || !overlaps
        });
    }

    fn sums(&self, series: u8, from: i64, to: i64) -> Option<Sums> {
        let mut sums = None;
        for value in self.samples.range((series, from)..(series, to)).map(|(_, value)| *value) {
            Sums::join(&mut sums, Sums::of(value));
        }
        sums
    }

    pub(super) fn roll(&mut self, now: i64) {
        let days: BTreeSet<i64> =
            self.samples.keys().map(|(_, time)| time.div_euclid(DAY)).collect();
        let days: Vec<i64> = days.into_iter().filter(|day| (day + 1) * DAY <= now).collect();
        for step in STEPS {
            if !(0..SERIES).any(|series| self.asks(series, step)) {
                self.rolled.retain(|(of, _), _| *of != step);
                self.slots.retain(|(_, of, _), _| *of != step);
                continue;
            }
            let known = self.rolled.keys().filter(|key| key.0 == step).map(|key| key.1);
            let all: BTreeSet<i64> = days.iter().copied().chain(known).collect();
            for day in all {
                self.roll_day(step, day);
            }
        }
    }

    fn roll_day(&mut self, step: RollupStep, day: i64) {
        let before = self.rolled.get(&(step, day)).copied();
        let span = day * DAY..(day + 1) * DAY;
        // Whether files of the day are still there is certain where something of it is seen.
        let seen = |(series, time): &(u8, i64)| span.contains(time) && *time >= self.floor(*series);
        let certain = self.samples.keys().any(seen);
        for series in 0..SERIES {
            let floor = self.floor(series);
            let gone = self.gone.get(metric_of(series)).copied().unwrap_or(i64::MIN);
            for start in span.clone().step_by(usize::try_from(step.millis()).unwrap()) {
                let place = (series, step, start);
                if !self.asks(series, step) {
                    self.slots.remove(&place);
                    continue;
                }
                let said = Known::Is(self.sums(series, start, start + step.millis()));
                let known = if start >= floor {
                    said
                } else if before == Some(true) {
                    self.slots.get(&place).copied().unwrap_or(Known::Is(None))
                } else if before.is_none() && certain && start >= gone {
                    said
                } else {
                    Known::Open
                };
                self.slots.insert(place, known);
            }
        }
        let there = before.unwrap_or(certain) || certain && before.is_none();
        self.rolled.insert((step, day), there);
    }

    /// What statistics of an hour should say.
    pub(super) fn hour(&self, series: u8, start: i64) -> Known {
        let floor = self.floor(series);
        if start >= floor {
            return Known::Is(self.sums(series, start, start + HOUR));
        }
        let day = start.div_euclid(DAY);
        let frozen = |step: RollupStep, start: i64| {
            let slot = self.slots.get(&(series, step, start)).copied().unwrap_or(Known::Is(None));
            match self.rolled.get(&(step, day)) {
                Some(true) if self.asks(series, step) => Some(slot),
                Some(false) if self.asks(series, step) => Some(Known::Open),
                Some(_) | None => None,
            }
        };
        if let Some(known) = frozen(RollupStep::Hour, start) {
            return known;
        }
        let mut all = None;
        for start in (start..start + HOUR).step_by(300_000) {
            let end = start + 5 * MINUTE;
            let of_samples = || Known::Is(self.sums(series, start.max(floor), end.max(floor)));
            let part = match start >= floor {
                true => of_samples(),
                false => frozen(RollupStep::FiveMinutes, start).unwrap_or_else(of_samples),
            };
            match part {
                Known::Is(Some(part)) => Sums::join(&mut all, part),
                Known::Is(None) => {}
                Known::Open => return Known::Open,
            }
        }
        Known::Is(all)
    }
}
