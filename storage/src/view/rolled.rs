//! Reading rollups: which series have them where, and their slots.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::HashMap;

use super::{Budget, SERIES_AT_ONCE, View, decode_rows};
use crate::error::Error;
use crate::model::{MetricNo, Sequence, SeriesId, TimeRange, Timestamp};
use crate::retention::RollupStep;
use crate::rollup::plan::{self, Coverage, Day, Part, State};
use crate::rollup::{self, Component, Gathering, REACH_MS, Record, Slot};
use crate::segment::Segment;

const STEPS: usize = RollupStep::ALL.len();

/// Slots of a series, by step.
pub(super) type Slots = [Vec<Slot>; STEPS];

impl View {
    /// The longest slot, ms, with which windows were answered that it does not fit into, because the
    /// samples have expired. `None`: all windows are exact.
    #[must_use]
    pub fn resolution(&self) -> Option<i64> {
        Some(self.coarsest.load(Ordering::Relaxed)).filter(|&ms| ms > 0)
    }

    /// Cuts `series` where their rollups differ, and says what is read of each stretch.
    pub(super) fn parted<'a>(
        &self,
        series: &'a [SeriesId],
        range: TimeRange,
        window_ms: Option<i64>,
    ) -> Vec<(&'a [SeriesId], Vec<Part>)> {
        let all = || vec![(series, vec![Part::Raw(range)])];
        // As of an earlier moment a rollup may know too much.
        if window_ms.is_none() || self.upto != Sequence::MAX {
            return all();
        }
        let days = self.days(range);
        if days.is_empty() {
            return all();
        }
        let metrics: Vec<MetricNo> = series.iter().map(|&id| self.metric(id)).collect();
        let mut stretches = Vec::new();
        let mut rest = series;
        for same in metrics.chunk_by(|a, b| a == b) {
            let (these, others) = rest.split_at(same.len().min(rest.len()));
            rest = others;
            let coverage = same.first().and_then(|&metric| self.coverage(metric));
            let parts = match coverage {
                Some(coverage) => plan::parts(&days, &coverage, range, window_ms),
                None => vec![Part::Raw(range)],
            };
            stretches.push((these, parts));
        }
        stretches
    }

    /// What there is of a metric; `None`: it has no rollups.
    fn coverage(&self, metric: MetricNo) -> Option<Coverage> {
        let floors = self.sieve.as_ref()?.floors();
        let rollups = RollupStep::ALL.map(|step| floors.of_rollup(metric, step));
        rollups.iter().any(Option::is_some).then(|| Coverage { floor: floors.of(metric), rollups })
    }

    /// Days in `range` that have a rollup, ascending.
    fn days(&self, range: TimeRange) -> Vec<Day> {
        let Some(sieve) = self.sieve.as_ref().filter(|_| !self.moment.rolled.is_empty()) else {
            return Vec::new();
        };
        let mut days: BTreeMap<i32, [State; STEPS]> = BTreeMap::new();
        for &(tier, day) in self.moment.rolled.keys() {
            let span = rollup::span_of(day);
            let Some(step) = RollupStep::of_tier(tier) else { continue };
            if !span.overlaps(range) || self.shared.live.has_gap(tier, day) {
                continue;
            }
            let own = sieve.tombstones().iter().map(Arc::as_ref);
            let current = rollup::is_current(&self.moment, self.generation, (tier, day), own);
            let state = if current { State::Current } else { State::Frozen };
            let states = days.entry(day).or_insert([State::Missing; STEPS]);
            if let Some(place) = states.get_mut(step.index()) {
                *place = state;
            }
        }
        days.into_iter().collect()
    }

    /// The slots of `series` (not too many) that the parts ask for, and perhaps others of those days, in
    /// the order given.
    pub(super) fn find_slots(
        &self,
        series: &[SeriesId],
        parts: &[Part],
        budget: &mut Budget,
    ) -> Result<Vec<Slots>, Error> {
        let wanted = |step: RollupStep, day: i32| {
            let span = rollup::span_of(day);
            parts.iter().any(|part| match part {
                Part::Raw(_) => false,
                Part::Rolled { step: of, range, .. } => *of == step && range.overlaps(span),
            })
        };
        if !parts.iter().any(|part| matches!(part, Part::Rolled { .. })) {
            return Ok(Vec::new());
        }
        let mut found: Vec<Slots> = series.iter().map(|_| Slots::default()).collect();
        let at: HashMap<u64, usize> =
            series.iter().enumerate().map(|(at, id)| (u64::from(id.number()), at)).collect();
        let places = self.places(series);
        for segment in self.moment.rollups.iter() {
            let (tier, day) = (segment.address.tier, segment.address.partition);
            let Some(step) = RollupStep::of_tier(tier).filter(|&step| wanted(step, day)) else {
                continue;
            };
            let record = self.moment.rolled.get(&(tier, day)).copied().unwrap_or_default();
            let mut of_day: HashMap<u64, Gathering> = HashMap::default();
            read_slots(segment, step, &places, &at, &mut of_day)?;
            for (id, gathering) in of_day {
                let Some(slots) = at.get(&id).and_then(|&at| found.get_mut(at)) else { continue };
                let Some(slots) = slots.get_mut(step.index()) else { continue };
                let Some(series) = at.get(&id).and_then(|&at| series.get(at)) else { continue };
                let before = slots.len();
                slots.extend(self.undeleted(*series, gathering.into_slots(), &record));
                budget.spend(slots.len() - before)?;
            }
        }
        Ok(found)
    }

    /// Those of the slots of which nothing was deleted since their rollup was made.
    fn undeleted(&self, series: SeriesId, mut slots: Vec<Slot>, rollup: &Record) -> Vec<Slot> {
        if let Some(sieve) = self.sieve.as_ref().filter(|sieve| !sieve.tombstones().is_empty()) {
            slots.retain(|slot| !sieve.deleted(series, slot, rollup));
        }
        slots
    }

    /// The slots of a part.
    pub(super) fn slots_in<'a>(&self, slots: &'a Slots, part: &Part) -> &'a [Slot] {
        let Part::Rolled { step, range, coarse } = part else { return &[] };
        let slots = slots.get(step.index()).map(Vec::as_slice).unwrap_or_default();
        let from = slots.partition_point(|slot| slot.start < range.start);
        let to = slots.partition_point(|slot| slot.start < range.end);
        let these = slots.get(from..to).unwrap_or_default();
        if *coarse && !these.is_empty() {
            self.coarsest.fetch_max(step.millis(), Ordering::Relaxed);
        }
        these
    }

    /// Adds those of `series` to `some` that have a slot in `range` where samples have expired. Both in
    /// one order.
    pub(super) fn add_rolled(
        &self,
        series: &[SeriesId],
        range: TimeRange,
        some: &mut Vec<SeriesId>,
    ) -> Result<(), Error> {
        if self.moment.rolled.is_empty() || some.len() == series.len() {
            return Ok(());
        }
        let mut there: HashSet<SeriesId> = some.iter().copied().collect();
        // No slot fits into windows of a millisecond, so that those come where nothing else is.
        for (stretch, parts) in self.parted(series, range, Some(1)) {
            let missing: Vec<SeriesId> =
                stretch.iter().copied().filter(|id| !there.contains(id)).collect();
            for chunk in missing.chunks(SERIES_AT_ONCE) {
                let mut budget = Budget { left: u64::MAX, max: u64::MAX };
                let found = self.find_slots(chunk, &parts, &mut budget)?;
                for (&id, slots) in chunk.iter().zip(&found) {
                    if parts.iter().any(|part| !self.slots_in(slots, part).is_empty()) {
                        there.insert(id);
                    }
                }
            }
        }
        *some = series.iter().copied().filter(|id| there.contains(id)).collect();
        Ok(())
    }
}

/// Gathers the slots of the series in `at` from a segment.
fn read_slots(
    segment: &Segment,
    step: RollupStep,
    places: &[crate::segment::SeriesPlace],
    at: &HashMap<u64, usize>,
    of_day: &mut HashMap<u64, Gathering>,
) -> Result<(), Error> {
    let wanted = TimeRange::new(
        Timestamp::from_millis(REACH_MS),
        Timestamp::from_millis(Component::Increase.end_ms()),
    );
    let mut add = |series: u64, times: &[i64], values: &[f64]| {
        let slots = of_day.entry(series).or_insert_with(|| Gathering::new(step));
        for (&time, &value) in times.iter().zip(values) {
            slots.add(time, value);
        }
    };
    for entry in segment.row_blocks(places, wanted)? {
        let rows = segment.with_row_block(&entry, |block| decode_rows(block, at))?;
        let Some(rows) = rows else { continue };
        let mut start = 0;
        for chunk in rows.series.chunk_by(|a, b| a == b) {
            let range = start..start + chunk.len();
            start = range.end;
            let Some(&series) = chunk.first().filter(|series| at.contains_key(series)) else {
                continue;
            };
            let times = rows.times.get(range.clone()).unwrap_or_default();
            add(series, times, rows.values.get(range).unwrap_or_default());
        }
    }
    for entry in segment.series_blocks(places, wanted)? {
        let times = segment.times(&entry)?;
        let (values, _) = segment.values(&entry)?;
        add(u64::from(entry.place.series.number()), &times, &values);
    }
    Ok(())
}
