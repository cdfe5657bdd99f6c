//! Makes the rollup of a day, from its samples and from what is frozen in the one before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::slot::{Gathering, REACH_MS, Slot, columns, slots_of};
use super::{Home, Record, is_current, span_of};
use crate::deletion::Tombstone;
use crate::error::Error;
use crate::key::Key;
use crate::manifest::Change;
use crate::merge::{Gathered, SPLIT_BYTES, Source, each_series};
use crate::model::{Sequence, TenantId, Timestamp};
use crate::output::{Numbers, Output, discard, metric_lookup};
use crate::retention::{RollupStep, Rules};
use crate::segment::{
    PARTITION_MS, SAMPLES, Segment, SegmentAddress, SeriesPlace, SeriesRows, partition_of,
};
use crate::sieve::{Basis, TenantSieve};
use crate::threads::Shared;

/// The last segment of a rollup takes what is left.
const SEGMENTS_MAX: usize = 64;

/// Why a rollup has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// There is none, or samples have come since; the newest so far. More may be on their way.
    Samples(Sequence),
    /// Something was deleted, or other rollups are asked for.
    Now,
}

/// Whether slots can be named, and all samples of the day are there.
pub(crate) fn can_be_rolled(shared: &Shared, day: i32) -> bool {
    let start = i64::from(day).saturating_mul(PARTITION_MS);
    (-REACH_MS + PARTITION_MS..REACH_MS - PARTITION_MS).contains(&start)
        && !shared.live.has_gap(SAMPLES, day)
}

/// Whether all of a day is older than `keep` ms.
pub(crate) fn is_over(day: i32, keep: i64, now: Timestamp) -> bool {
    keep < i64::MAX && span_of(day).end.millis() <= now.millis().saturating_sub(keep)
}

/// Days whose rollup of a step has to be made.
pub(crate) fn due(
    shared: &Shared,
    rules: &Rules,
    step: RollupStep,
    now: Timestamp,
) -> BTreeMap<i32, Due> {
    let Some(keep) = rules.longest(step) else { return BTreeMap::new() };
    let tier = step.tier();
    let moment = shared.live.moment();
    let mut newest: BTreeMap<i32, Sequence> = BTreeMap::new();
    for segment in moment.segments.iter() {
        let here = newest.entry(segment.address.partition).or_default();
        *here = segment.facts.sequences.1.max(*here);
    }
    let rolled: Vec<i32> =
        moment.rolled.keys().filter(|home| home.0 == tier).map(|home| home.1).collect();
    let days: BTreeSet<i32> = newest.keys().copied().chain(rolled).collect();
    let tombstones = || moment.tombstones.iter().map(Arc::as_ref);
    let due = days.into_iter().filter(|&day| {
        day < partition_of(now.millis())
            && can_be_rolled(shared, day)
            && !shared.live.has_gap(tier, day)
            && !moment.head_days.contains(&day)
            && !is_over(day, keep, now)
            && !is_current(&moment, rules.generation(), (tier, day), tombstones())
    });
    let why = |day: i32| {
        let newest = newest.get(&day).copied().unwrap_or(Sequence::ZERO);
        match moment.rolled.get(&(tier, day)) {
            Some(record) if newest <= record.covered => Due::Now,
            Some(_) | None => Due::Samples(newest),
        }
    };
    due.map(|day| (day, why(day))).collect()
}

/// Rollups that no policy asks for any more, or that are older than every policy keeps them.
pub(crate) fn expired(shared: &Shared, rules: &Rules, now: Timestamp) -> Vec<Home> {
    let moment = shared.live.moment();
    let expired = moment.rolled.iter().filter(|&(&(tier, day), record)| {
        match RollupStep::of_tier(tier).and_then(|step| rules.longest(step)) {
            Some(keep) => is_over(day, keep, now),
            // With its record the policies may have been lost.
            None => record.covered > Sequence::ZERO,
        }
    });
    expired.map(|(home, _)| *home).collect()
}

/// Removes a rollup. Returns the bytes given back.
pub(crate) fn remove(shared: &Shared, home: Home) -> Result<u64, Error> {
    let removed = segments_of(&shared.live.moment().rollups, home);
    let bytes = removed.iter().map(|segment| segment.facts.bytes).sum();
    let mut change = Change { removed, ..Change::default() };
    change.batch.delete(&Key::Rollup(home.0, home.1));
    let forget = |live: &mut crate::live::State| {
        Arc::make_mut(&mut live.rolled).remove(&home);
    };
    change.commit(shared, forget).inspect_err(|error| shared.stop(error))?;
    Ok(bytes)
}

fn segments_of(segments: &[Arc<Segment>], home: Home) -> Vec<Arc<Segment>> {
    let here = |segment: &&Arc<Segment>| (segment.address.tier, segment.address.partition) == home;
    segments.iter().filter(here).cloned().collect()
}

/// Makes the rollup of a day and puts it in the place of the one before. `false`: not now.
pub(crate) fn roll(shared: &Shared, step: RollupStep, day: i32) -> Result<bool, Error> {
    let home = (step.tier(), day);
    // Whatever is looked at from here on is at least as new as the numbers.
    let numbers = Numbers::take(shared, SEGMENTS_MAX);
    let rules = shared.retention.rules();
    let moment = shared.live.moment();
    if moment.head_days.contains(&day) {
        return Ok(false);
    }
    let samples = segments_of(&moment.segments, (SAMPLES, day));
    let before = segments_of(&moment.rollups, home);
    let old = moment.rolled.get(&home).copied();
    let newest = samples.iter().chain(&before).map(|segment| segment.facts.sequences.1).max();
    let covered = newest.into_iter().chain(old.map(|old| old.covered)).max();
    let covered = covered.unwrap_or(Sequence::ZERO);
    let deletions = moment.tombstones.iter().map(|tombstone| tombstone.number);
    let deletions = deletions.chain(old.map(|old| old.deletions)).max().unwrap_or(0);
    let record = Record { covered, deletions, generation: rules.generation() };
    let bytes = samples.iter().chain(&before).map(|segment| segment.facts.bytes).sum();
    let _room = shared.space.reserve(bytes)?;
    let mut roll = Roll {
        shared,
        rules,
        step,
        old,
        tombstones: &moment.tombstones,
        now: shared.clock.now(),
        tenants: HashMap::new(),
        address: SegmentAddress { tier: home.0, partition: day, number: 0 },
        sequence: covered,
        numbers,
        open: None,
        places: Vec::new(),
        done: Vec::new(),
    };
    let metric_of = metric_lookup(&shared.index);
    let sources =
        samples.iter().chain(&before).flat_map(|segment| Source::segment(segment, &metric_of));
    let written = each_series(sources.collect(), |place, gathered| {
        if shared.is_closing() {
            return Err(Error::Stopped { reason: "the store is closing".into() });
        }
        roll.add(place, gathered)
    });
    if let Err(error) = written.and_then(|()| roll.close()) {
        discard(&roll.done);
        return Err(error);
    }
    let added = std::mem::take(&mut roll.done);
    let mut change = Change { removed: before, added, ..Change::default() };
    change.batch.put(&Key::Rollup(home.0, home.1), record.encode());
    let note = |live: &mut crate::live::State| {
        Arc::make_mut(&mut live.rolled).insert(home, record);
    };
    change.commit(shared, note).inspect_err(|error| shared.stop(error))
}

/// A rollup being made.
struct Roll<'a> {
    shared: &'a Shared,
    rules: Arc<Rules>,
    step: RollupStep,
    old: Option<Record>,
    tombstones: &'a [Arc<Tombstone>],
    now: Timestamp,
    tenants: HashMap<TenantId, Option<TenantSieve>>,
    address: SegmentAddress,
    sequence: Sequence,
    numbers: Numbers,
    open: Option<Output>,
    /// Series of the open segment.
    places: Vec<SeriesPlace>,
    done: Vec<Arc<Segment>>,
}

impl Roll<'_> {
    fn add(&mut self, place: SeriesPlace, gathered: &mut Gathered<'_>) -> Result<(), Error> {
        let slots = self.slots(place, gathered)?;
        if slots.is_empty() {
            return Ok(());
        }
        for rows in columns(&slots, self.sequence.number()) {
            self.output()?.writer.add(place, &rows)?;
        }
        self.places.push(place);
        let full = self.open.as_ref().is_some_and(|output| output.writer.bytes() >= SPLIT_BYTES);
        if full && self.numbers.left() > 0 { self.close() } else { Ok(()) }
    }

    /// The slots of a series; none if nobody asks for them.
    fn slots(
        &mut self,
        place: SeriesPlace,
        gathered: &mut Gathered<'_>,
    ) -> Result<Vec<Slot>, Error> {
        let (rules, shared, now) = (&self.rules, self.shared, self.now);
        let tombstones = self.tombstones;
        let sieve = self.tenants.entry(place.tenant).or_insert_with(|| {
            let tenant = place.tenant;
            TenantSieve::new(tenant, rules, &shared.index, now, tombstones, Basis::Gone)
        });
        let Some(sieve) = sieve else { return Ok(Vec::new()) };
        let Some(expired) = sieve.floors().of_rollup(place.metric, self.step) else {
            return Ok(Vec::new());
        };
        gathered.read()?;
        let (mut rows, before) = split(&gathered.rows, self.step);
        sieve.sift(place.metric, place.series, &mut rows);
        crate::merge::resolve(&mut rows);
        let mut slots = slots_of(&rows.times, &rows.values, self.step);
        if let Some(old) = self.old {
            // What has expired of the samples is as it was when it could be seen last.
            let floor = sieve.floors().of(place.metric);
            let is_frozen = |slot: &Slot| slot.start.millis() < floor;
            slots.retain(|slot| !is_frozen(slot));
            let kept = |slot: &Slot| is_frozen(slot) && !sieve.deleted(place.series, slot, &old);
            slots = before.into_iter().filter(kept).chain(slots).collect();
        }
        slots.retain(|slot| slot.start.millis() >= expired);
        Ok(slots)
    }

    fn output(&mut self) -> Result<&mut Output, Error> {
        if self.open.is_none() {
            let number = self.numbers.next().expect("a segment is closed only while some are left");
            let address = SegmentAddress { number, ..self.address.clone() };
            self.open = Some(Output::create(self.shared, address, 1)?);
        }
        Ok(self.open.as_mut().expect("just made"))
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(output) = self.open.take() {
            let places = std::mem::take(&mut self.places);
            let sequences = (self.sequence, self.sequence);
            self.done.extend(output.finish(self.shared, sequences, &places)?);
        }
        Ok(())
    }
}

/// The samples among rows, in their order, and the slots.
fn split(rows: &SeriesRows, step: RollupStep) -> (SeriesRows, Vec<Slot>) {
    let mut samples = SeriesRows::default();
    let mut gathering = Gathering::new(step);
    let columns = rows.times.iter().zip(&rows.sequences).zip(&rows.values);
    for ((&time, &sequence), &value) in columns {
        if time >= REACH_MS {
            gathering.add(time, value);
        } else {
            samples.times.push(time);
            samples.sequences.push(sequence);
            samples.values.push(value);
        }
    }
    (samples, gathering.into_slots())
}
