//! Tests of merging as a whole, on a store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::merger::{Merger, QUIET, SPLIT_BYTES};
use crate::clock::ManualClock;
use crate::model::{Selector, SeriesId, TenantId, TimeRange, Timestamp};
use crate::scratch::{Scratch, request};
use crate::segment::{PARTITION_MS, Segment};
use crate::{Error, Store, StoreConfig};

const DAY: i64 = 20_000 * PARTITION_MS;
/// An hour into the day.
const START: i64 = DAY + 3_600_000;

/// A store with one tenant, and what was written to it.
struct Case {
    scratch: Scratch,
    store: Store,
    clock: Arc<ManualClock>,
    tenant: TenantId,
    written: BTreeMap<(u32, i64), u64>,
}

impl Case {
    fn new() -> Self {
        let scratch = Scratch::new();
        let (store, clock) = scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
        let tenant = store.tenant("t").unwrap();
        Case { scratch, store, clock, tenant, written: BTreeMap::new() }
    }

    fn flush(&mut self, samples: impl IntoIterator<Item = (u32, i64, f64)>) {
        let samples: Vec<_> = samples.into_iter().collect();
        for &(series, time, value) in &samples {
            self.written.insert((series, time), value.to_bits());
        }
        self.store.write(request(&self.store, self.tenant, samples)).unwrap();
        self.store.flush().unwrap();
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        self.store.shared().live.moment().segments.to_vec()
    }

    /// Bytes of the values of every series block.
    fn blocks(&self) -> Vec<Vec<u8>> {
        let blocks = |segment: &Arc<Segment>| -> Vec<Vec<u8>> {
            let entries = segment.all_series_blocks().unwrap();
            entries.iter().map(|entry| segment.sealed_part(entry.values_part).unwrap()).collect()
        };
        self.segments().iter().flat_map(blocks).collect()
    }

    #[track_caller]
    fn check(&self) {
        self.store.verify().unwrap();
        let all = self.store.select(self.tenant, &Selector::default()).unwrap();
        let mut read = BTreeMap::new();
        let view = self.store.view(self.tenant);
        view.read(&all, TimeRange::ALL, u64::MAX, |id: SeriesId, samples| {
            for (&time, value) in samples.times.iter().zip(&samples.values) {
                read.insert((id.number(), time), value.to_bits());
            }
            Ok::<_, Error>(())
        })
        .unwrap();
        assert!(read == self.written, "what is read is what was written");
    }
}

/// Merges all there is into segments of about so many bytes, as large merges are split.
pub(crate) fn merge_in_pieces(store: &Store, bytes: u64) {
    Merger::new(store.shared(), bytes).merge_all().unwrap();
}

/// Samples of series 0, one a second.
fn seconds(range: std::ops::Range<i64>) -> impl Iterator<Item = (u32, i64, f64)> {
    range.map(|second| (0, START + second * 1000, (second % 91) as f64 / 10.0))
}

#[test]
fn a_full_block_that_nothing_else_concerns_is_copied() {
    let mut case = Case::new();
    case.flush(seconds(0..5000));
    case.store.merge().unwrap();
    let before = case.blocks();
    assert_eq!(before.len(), 2, "a full block and a short one");
    // Written anew, blocks would begin with what comes first.
    case.flush(seconds(-1000..0).chain(seconds(5000..9000)));
    case.store.merge().unwrap();
    let after = case.blocks();
    assert_eq!(case.segments().len(), 1);
    assert!(after.contains(&before[0]), "the full one is as it was");
    assert!(!after.contains(&before[1]), "the short one has been joined with what follows");
    case.check();
}

#[test]
fn a_block_into_which_something_was_written_is_written_anew() {
    let mut case = Case::new();
    case.flush(seconds(0..8000));
    case.store.merge().unwrap();
    let before = case.blocks();
    // Over a sample, and between two.
    case.flush([(0, START + 1000, -1.0), (0, START + 4_500_500, -2.0)]);
    case.store.merge().unwrap();
    let after = case.blocks();
    assert!(before.iter().all(|block| !after.contains(block)));
    case.check();
    // A row in front of a block, and one behind it, do not concern it.
    let before = case.blocks();
    case.flush([(0, START - 1, 1.5), (0, START + 8_000_001, 1.5)]);
    case.store.merge().unwrap();
    assert_eq!(case.blocks(), before);
    case.check();
}

#[test]
fn a_large_merge_makes_several_segments_of_disjoint_series() {
    let mut case = Case::new();
    let samples = |step: i64| {
        (0..200_u32).flat_map(move |series| {
            let value = move |at: i64| (f64::from(series) * 1e3 + (step * 200 + at) as f64).sin();
            (0..200).map(move |at| (series, DAY + (step * 200 + at) * 1000, value(at)))
        })
    };
    for step in 0..3 {
        case.flush(samples(step));
    }
    Merger::new(case.store.shared(), 64 << 10).merge_all().unwrap();
    let segments = case.segments();
    assert!(segments.len() > 1, "{} segments", segments.len());
    let ranges: BTreeSet<_> = segments.iter().map(|segment| segment.facts.sequences).collect();
    assert_eq!(ranges.len(), 1, "all of one sequence range");
    let mut series = BTreeSet::new();
    for segment in &segments {
        assert!(segment.facts.bytes < 256 << 10, "{} bytes", segment.facts.bytes);
        for group in segment.table_groups() {
            for (place, _) in segment.table_group(group).unwrap() {
                assert!(series.insert(place), "a series is in one of them only");
            }
        }
    }
    case.check();
    // They are merged with what follows together, also after a restart.
    case.flush(samples(3));
    drop(segments);
    drop(case.store);
    (case.store, _) = case.scratch.store(StoreConfig::default(), DAY + PARTITION_MS);
    case.check();
    case.store.merge().unwrap();
    assert_eq!(case.segments().len(), 1);
    case.check();
}

#[test]
fn a_merge_whose_inputs_have_gone_changes_nothing() {
    let mut case = Case::new();
    case.flush(seconds(0..10));
    let input = case.segments();
    case.store.merge().unwrap();
    let shared = case.store.shared();
    let change = crate::manifest::Change { removed: input, ..crate::manifest::Change::default() };
    assert!(!change.commit(shared, |_| panic!("nothing is changed")).unwrap());
    case.check();
}

#[test]
fn bytes_flushed_and_merged_are_counted() {
    let mut case = Case::new();
    case.flush(seconds(0..1000));
    case.flush(seconds(1000..2000));
    let flushed = case.store.stats();
    assert_eq!((flushed.flushed_bytes, flushed.merged_bytes), (flushed.segment_bytes, 0));
    case.store.merge().unwrap();
    let merged = case.store.stats();
    assert_eq!(merged.flushed_bytes, flushed.flushed_bytes);
    assert_eq!(merged.merged_bytes, merged.segment_bytes);
}

#[test]
fn a_day_that_is_over_and_quiet_is_merged_for_the_last_time() {
    let mut case = Case::new();
    case.flush(seconds(0..1000));
    case.flush(seconds(1000..2000));
    let shared = case.store.shared().clone();
    let mut merger = Merger::new(&shared, SPLIT_BYTES);
    let chosen = |merger: &mut Merger<'_>| merger.choose().map(|(_, inputs)| inputs.len());
    assert_eq!(chosen(&mut merger), None, "the day before today still gets something");
    let later = DAY + 2 * PARTITION_MS + 1;
    case.clock.set(Timestamp::from_millis(later));
    assert_eq!(chosen(&mut merger), None, "something may still be on its way");
    let quiet = i64::try_from(QUIET.as_millis()).unwrap();
    case.clock.set(Timestamp::from_millis(later + quiet));
    // The store's own merger may have been quicker.
    assert!(chosen(&mut merger) == Some(2) || case.segments().len() == 1);
}
